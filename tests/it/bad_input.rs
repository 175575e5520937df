//! One bad record among good ones: it ends as its policy says, its neighbours arrive (B-01, B-05, B-09 to B-11).

use std::time::Duration;

use rdkafka::message::{Header, OwnedHeaders};

use crate::dead_letters::send;
use crate::delivery::Stage;
use crate::support::ledger::Dead;
use crate::support::receiver::status;
use crate::support::run::until;

const GOOD: &[u8] = br#"{"good":true}"#;

/// Sends good, bad, good to one partition, waits until all is committed, and returns the dead letters.
async fn among_good_ones(
    test: &str,
    more: &str,
    bad: (Option<&[u8]>, Option<&[u8]>, OwnedHeaders),
    delivered: usize,
) -> (Vec<Dead>, Stage) {
    let stage = Stage::set(test, more, |_| status(200)).await;
    let weir = stage.site.start("one").await;
    let (key, value, headers) = bad;
    send(&stage, Some(b"before"), Some(GOOD), OwnedHeaders::new(), 0);
    send(&stage, key, value, headers, 0);
    send(&stage, Some(b"after"), Some(GOOD), OwnedHeaders::new(), 0);
    stage.watched().all_committed(&stage.run, &[(0, 3)].into()).await;
    let arrivals = stage.receiver.arrivals();
    assert_eq!(arrivals.len(), delivered, "{test}");
    let good = arrivals.iter().filter(|arrival| arrival.body[..] == *GOOD).count();
    assert!(good >= 2, "{test}: both neighbours arrived");
    let dead = stage.kafka.read(&stage.run, &format!("{}.dlq", stage.topic));
    let counted = || async {
        let done = weir.metric("weir_events_completed_total", &[]).await;
        done == 3.0
    };
    until("three outcomes", Duration::from_secs(5), counted).await;
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
    (dead, stage)
}

fn header(name: &str, value: &[u8]) -> OwnedHeaders {
    OwnedHeaders::new().insert(Header { key: name, value: Some(value) })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn null_empty_and_huge_keys_and_values() {
    let none = OwnedHeaders::new;
    let (dead, _) = among_good_ones("bad-null", "", (Some(b"k"), None, none()), 2).await;
    assert!(dead.is_empty(), "a tombstone is filtered by default");
    let (dead, stage) = among_good_ones("bad-empty", "", (Some(b""), Some(b""), none()), 3).await;
    assert!(dead.is_empty() && stage.receiver.arrivals().iter().any(|arrival| arrival.body.is_empty()));
    let (dead, _) = among_good_ones("bad-nokey", "", (None, Some(b"x"), none()), 3).await;
    assert!(dead.is_empty());
    let huge = vec![b'k'; 900_000];
    let (dead, _) = among_good_ones("bad-key", "", (Some(&huge), Some(b"x"), none()), 3).await;
    assert!(dead.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn not_json_is_dead_lettered_where_it_is_looked_into() {
    let filter = "transforms:\n  - filter: .good == true\n";
    let bad = (Some(&b"k"[..]), Some(&b"\xff not json"[..]), OwnedHeaders::new());
    let (dead, _) = among_good_ones("bad-json", filter, bad, 2).await;
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].value.as_deref(), Some(&b"\xff not json"[..]));
    assert_eq!(
        (dead[0].header("weir-reason"), dead[0].header("weir-code")),
        (Some("invalid"), Some("decode"))
    );
}

/// Depth, size, numbers and texts that JSON should not have: each ends as it is expected to, and what is read is passed on exactly.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b_05_hostile_json_is_dead_lettered_or_passed_on_exactly() {
    let more = "transforms:\n  - set: { .s: 1 }\n";
    let stage = Stage::set("bad-json-hostile", more, |_| status(200)).await;
    let nested = |depth: usize| format!(r#"{{"v":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
    let read = |text: &str| text.replacen("{\"", "{\"s\":1,\"", 1);
    let passes = [
        (nested(126), read(&nested(126))),
        (r#"{"v":9007199254740993}"#.into(), r#"{"s":1,"v":9007199254740993}"#.into()),
        (r#"{"v":-9223372036854775808}"#.into(), r#"{"s":1,"v":-9223372036854775808}"#.into()),
        (r#"{"v":1,"v":-0}"#.into(), r#"{"s":1,"v":-0.0}"#.into()),
        (r#"{"v":"\u0000\ud83d\ude00"}"#.into(), "{\"s\":1,\"v\":\"\\u0000\u{1f600}\"}".into()),
        ("17".to_owned(), r#"{"s":1}"#.to_owned()),
    ];
    let refused: Vec<Vec<u8>> = vec![
        nested(128).into_bytes(),
        "[".repeat(900_000).into_bytes(),
        r#"{"v":"#.repeat(150_000).into_bytes(),
        format!(r#"{{"v":{}}}"#, "9".repeat(100_000)).into_bytes(),
        br#"{"v":1e999}"#.to_vec(),
        br#"{"v":18446744073709551616}"#.to_vec(),
        br#"{"v":"\ud800"}"#.to_vec(),
        b"\xef\xbb\xbf{\"v\":1}".to_vec(),
        b"{\"v\":1}\0".to_vec(),
        br#"{"v":NaN}"#.to_vec(),
        b"{\"v\":\"\xff\"}".to_vec(),
        [b"{\"v\":\"", &[b'x'; 900_000][..]].concat(),
    ];
    for (text, _) in &passes {
        send(&stage, Some(b"k"), Some(text.as_bytes()), OwnedHeaders::new(), 0);
    }
    for bytes in &refused {
        send(&stage, Some(b"k"), Some(bytes), OwnedHeaders::new(), 0);
    }
    send(&stage, Some(b"k"), Some(b"{\"v\":\"last\"}"), OwnedHeaders::new(), 0);
    let weir = stage.site.start("one").await;
    let all = (passes.len() + refused.len() + 1) as i64;
    stage.watched().all_committed_within(&stage.run, &[(0, all)].into(), Duration::from_secs(20)).await;
    let arrivals = stage.receiver.arrivals();
    let bodies: Vec<&str> = arrivals.iter().map(|one| std::str::from_utf8(&one.body).unwrap()).collect();
    let expected = passes.iter().map(|(_, body)| body.as_str()).chain([r#"{"s":1,"v":"last"}"#]);
    assert_eq!(bodies, expected.collect::<Vec<_>>());
    let dead = stage.kafka.read(&stage.run, &format!("{}.dlq", stage.topic));
    let values: Vec<&[u8]> = dead.iter().map(|one| one.value.as_deref().unwrap_or_default()).collect();
    assert!(values == refused, "byte for byte, in order: {} of {}", values.len(), refused.len());
    for letter in &dead {
        let said = (letter.header("weir-reason"), letter.header("weir-code"));
        assert_eq!(said, (Some("invalid"), Some("decode")), "{:?}", letter.header("weir-error"));
    }
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_over_the_limit_is_dead_lettered() {
    let large = vec![b'x'; 300 * 1024];
    let (dead, _) =
        among_good_ones("bad-large", "", (Some(b"k"), Some(&large), OwnedHeaders::new()), 2).await;
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].header("weir-code"), Some("too_large"));
    assert_eq!(dead[0].value.as_deref().map(<[u8]>::len), Some(large.len()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_headers_reach_no_request() {
    for (test, name, value) in [
        ("bad-crlf", "x-note", &b"a\r\nx-evil: 1"[..]),
        ("bad-nul", "x-note", &b"a\0b"[..]),
        ("bad-bytes", "x-note", &b"caf\xc3\xa9"[..]),
    ] {
        let bad = (Some(&b"k"[..]), Some(GOOD), header(name, value));
        let (dead, stage) = among_good_ones(test, FORWARD, bad, 2).await;
        assert_eq!(dead.len(), 1, "{test}");
        assert_eq!(
            (dead[0].header("weir-reason"), dead[0].header("weir-code")),
            (Some("invalid"), Some("template"))
        );
        assert!(stage.receiver.arrivals().iter().all(|arrival| arrival.header("x-evil").is_none()));
    }
    for (test, name) in [
        ("bad-length", "content-length"),
        ("bad-host", "host"),
        ("bad-auth", "authorization"),
        ("bad-te", "transfer-encoding"),
    ] {
        let bad = (Some(&b"k"[..]), Some(GOOD), header(name, b"1"));
        let (dead, stage) = among_good_ones(test, FORWARD, bad, 3).await;
        assert!(dead.is_empty(), "{test}");
        assert!(stage.receiver.arrivals().iter().all(|arrival| arrival.header(name) != Some("1")), "{test}");
    }
}

/// Forwards every header that may be forwarded.
const FORWARD: &str = "    forward_headers: [\"*\"]\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_are_not_text() {
    let bytes = vec![b'x', b'-', 0xff, 0xfe];
    #[expect(unsafe_code, reason = "the only way to give the client a header name that is not UTF-8")]
    // SAFETY: the client copies the bytes into a C string and never reads them as text.
    let name = unsafe { std::str::from_utf8_unchecked(&bytes) };
    let bad = (Some(&b"k\xff"[..]), Some(GOOD), header(name, b"v"));
    let (dead, _) = among_good_ones("bad-name", "", bad, 3).await;
    assert!(dead.is_empty());
    let mut many = OwnedHeaders::new();
    for n in 0..10_000 {
        many = many.insert(Header { key: &format!("h{n}"), value: None::<&[u8]> });
    }
    let (dead, _) = among_good_ones("bad-many", "", (Some(b"k"), Some(GOOD), many), 3).await;
    assert!(dead.is_empty());
}

/// B-10, with every header forwarded: names that stand twice, a name without a letter, more than a request may carry.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn odd_and_countless_headers_are_forwarded_or_the_record_is_invalid() {
    let twice = header("x-twice", b"1").insert(Header { key: "x-twice", value: Some(b"2") });
    let (dead, stage) = among_good_ones("bad-twice", FORWARD, (Some(b"k"), Some(GOOD), twice), 3).await;
    let arrivals = stage.receiver.arrivals();
    let of_it = arrivals.iter().find(|arrival| arrival.header("x-twice").is_some()).unwrap();
    let values = of_it.headers.iter().filter(|(name, _)| name == "x-twice").map(|(_, value)| value.as_str());
    assert_eq!((values.collect::<Vec<_>>(), dead.len()), (vec!["1", "2"], 0));
    let mut many = OwnedHeaders::new();
    for n in 0..10_000 {
        many = many.insert(Header { key: &format!("h{n}"), value: Some(b"v") });
    }
    for (test, headers, code) in
        [("bad-unnamed", header("", b"v"), "template"), ("bad-countless", many, "too_large")]
    {
        let (dead, _) = among_good_ones(test, FORWARD, (Some(b"k"), Some(GOOD), headers), 2).await;
        let told: Vec<_> =
            dead.iter().map(|dead| (dead.header("weir-reason"), dead.header("weir-code"))).collect();
        assert_eq!(told, [(Some("invalid"), Some(code))], "{test}");
    }
}

/// B-11: in a URL by template it is escaped; a body of JSON and a header cannot carry it. Logs and labels do not name it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_no_text_is_escaped_or_the_record_is_invalid() {
    let mut stage = Stage::set("bad-bytes", "", |_| status(422)).await;
    let (topic, at) = (stage.topic.clone(), stage.receiver.url());
    let yaml = |url: &str, more: &str| {
        format!("source: {topic}\ndlq: {topic}.dlq\nhandler:\n  webhook:\n    url: \"{at}{url}\"\n{more}")
    };
    let (body, head) = (format!("{topic}-body"), format!("{topic}-head"));
    stage.site = stage
        .site
        .pipeline(&topic, &yaml("/{{ %key }}?k={{ %key }}", ""))
        .pipeline(&body, &yaml("/body", "    body: { k: \"{{ %key }}\" }\n"))
        .pipeline(&head, &yaml("/head", "    headers: { x-key: \"{{ %key }}\" }\n"));
    let weir = stage.site.start("one").await;
    send(&stage, Some(b"canarykey\xff\xfe"), Some(GOOD), OwnedHeaders::new(), 0);
    let three = || async { weir.metric("weir_events_completed_total", &[]).await == 3.0 };
    until("three outcomes", Duration::from_secs(20), three).await;
    let arrivals = stage.receiver.arrivals();
    let targets: Vec<&str> = arrivals.iter().map(|arrival| arrival.target.as_str()).collect();
    assert_eq!(targets, ["/hook/canarykey%FF%FE?k=canarykey%FF%FE"], "the others are never sent");
    let dead = stage.kafka.read(&stage.run, &format!("{topic}.dlq"));
    let mut told: Vec<_> =
        dead.iter().map(|dead| (dead.header("weir-pipeline").unwrap(), dead.header("weir-code"))).collect();
    told.sort_unstable();
    let template = Some("template");
    assert_eq!(told, [(&*topic, Some("status")), (&*body, template), (&*head, template)]);
    assert!(dead.iter().all(|dead| dead.key.as_deref() == Some(b"canarykey\xff\xfe")), "byte for byte");
    let (_, metrics) = weir.get("/metrics").await.unwrap();
    assert!(!metrics.contains("canarykey") && !weir.log().contains("canarykey"), "{metrics}");
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}
