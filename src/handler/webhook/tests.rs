//! The handler against real receivers on loopback.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tokio_util::task::TaskTracker;

use super::Spec;
use super::compile::compile;
use super::testing::{
    OK, Server, Step, attempt, context, egress, event, header, references, serve, webhook, webhook_by,
};
use crate::event::{Body, Event, Trace};
use crate::handler::{Call, Handler, Notes};
use crate::outcome::{BodyEnd, Class, Code, Failure, HoldCause};
use crate::telemetry::clock;

const RETRY: Class = Class::Retry { after: None };

/// One request to a receiver with this script, under short limits; the failure that it ends in.
async fn failure(script: Vec<Step>) -> Failure {
    let server = Server::start(vec![script]).await;
    let limits = json!({ "timeout": "2s", "timeouts": { "first_byte": "100ms" } });
    let handler = webhook(&server.url("/v1"), &limits);
    let failure = attempt(&handler, &event(b"{}", &[])).await.unwrap_err();
    assert_eq!(handler.wire.pool.resting(), 0, "a connection that failed is not used again");
    assert!(failure.message.starts_with(&format!("posting to {}: ", server.address)), "{failure:?}");
    failure
}

fn write(text: &str) -> Step {
    Step::Write(text.as_bytes().to_vec())
}

#[tokio::test]
async fn what_breaks_before_the_head_is_a_retry_with_its_code() {
    let head = "HTTP/1.1 200 OK\r\n";
    let huge = format!("{head}x: {}\r\n\r\n", "a".repeat(40 << 10));
    for (script, code) in [
        (vec![Step::Reset], Code::Reset),
        (vec![Step::Close], Code::Reset),
        (vec![Step::Read, Step::Reset], Code::Reset),
        (vec![Step::Read, Step::Close], Code::Reset),
        (vec![Step::Read, write(head), Step::Close], Code::Reset),
        (vec![Step::Read, write(head), Step::Reset], Code::Reset),
        // An interim answer, and half of the one that was to follow.
        (vec![Step::Read, write("HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 O"), Step::Close], Code::Reset),
        (vec![Step::Read, Step::Hang], Code::Timeout),
        (vec![Step::Hang], Code::Timeout),
        (vec![Step::Read, write(head), Step::Hang], Code::Timeout),
        (vec![Step::Read, write("SSH-2.0-OpenSSH_9.6\r\n\r\n"), Step::Hang], Code::Protocol),
        (vec![Step::Read, write("HTTP/1.1 2x0 OK\r\n\r\n"), Step::Hang], Code::Protocol),
        (vec![Step::Read, write(&huge), Step::Hang], Code::Protocol),
        (vec![Step::Read, Step::WriteForEver(b"x"), Step::Hang], Code::Protocol),
        (vec![Step::Read, write("HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n"), Step::Hang], Code::Protocol),
    ] {
        let failure = failure(script.clone()).await;
        assert_eq!((failure.code, failure.class), (code, RETRY), "{script:?}: {failure:?}");
    }
}

#[tokio::test]
async fn a_refused_connection_is_a_retry() {
    let server = Server::start(vec![vec![Step::Close]]).await;
    let handler = webhook(&server.url("/"), &json!({}));
    drop(server);
    let failure = loop {
        match attempt(&handler, &event(b"{}", &[])).await {
            Err(failure) if failure.message.ends_with("refused") => break failure,
            other => drop(other.unwrap_err()),
        }
    };
    assert_eq!((failure.code, failure.class), (Code::Connect, RETRY));
    assert!(failure.message.ends_with("no connection: connection refused"), "{failure:?}");
}

#[tokio::test]
async fn a_body_that_does_not_end_well_is_judged_by_its_status() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc";
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n";
    let gzip = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-encoding: gzip\r\n\r\nabc";
    let exact = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabcde";
    let endless = "HTTP/1.1 200 OK\r\n\r\n";
    for (script, body, end) in [
        (vec![write(head), Step::Close], "abc", BodyEnd::BrokenOff),
        (vec![write(head), Step::Hang], "abc", BodyEnd::BrokenOff),
        (vec![write(chunked), Step::Hang], "abc", BodyEnd::BrokenOff),
        (vec![write(gzip), Step::Hang], "abc", BodyEnd::Encoded),
        (vec![write(exact), Step::Hang], "abcde", BodyEnd::Complete),
        (vec![write(endless), write("abc"), Step::Close], "abc", BodyEnd::Complete),
        (vec![write(endless), Step::WriteForEver(b"abcdefg")], "abcde", BodyEnd::TooLong),
    ] {
        let script: Vec<Step> = std::iter::once(Step::Read).chain(script).collect();
        let server = Server::start(vec![script.clone()]).await;
        let handler = webhook(&server.url("/"), &json!({ "timeout": "300ms", "max_response": "5B" }));
        let answer = attempt(&handler, &event(b"{}", &[])).await.unwrap();
        assert_eq!((&*answer.body, answer.body_end), (body.as_bytes(), end), "{script:?}");
        let kept = usize::from(
            [gzip, exact].iter().any(|text| matches!(&script[1], Step::Write(w) if w == text.as_bytes())),
        );
        assert_eq!(handler.wire.pool.resting(), kept, "{script:?}");
    }
    let server = Server::start(vec![vec![
        Step::Read,
        write("HTTP/1.1 503 Down\r\ncontent-length: 9\r\n\r\nabc"),
        Step::Close,
    ]])
    .await;
    let failure = attempt(&webhook(&server.url("/"), &json!({})), &event(b"{}", &[])).await.unwrap_err();
    assert_eq!((failure.code, failure.answer.unwrap().body_end), (Code::Status, BodyEnd::BrokenOff));
}

#[tokio::test]
async fn a_trickling_answer_ends_at_the_timeout() {
    let server = Server::start(vec![vec![
        Step::Read,
        write("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\na"),
        Step::Hang,
    ]])
    .await;
    let limits = json!({ "timeout": "200ms", "timeouts": { "first_byte": "10s" } });
    let start = clock::now();
    let answer = attempt(&webhook(&server.url("/"), &limits), &event(b"{}", &[])).await.unwrap();
    assert_eq!(answer.body_end, BodyEnd::BrokenOff);
    let took = clock::now() - start;
    assert!((Duration::from_millis(190)..Duration::from_secs(5)).contains(&took), "{took:?}");
}

#[tokio::test]
async fn one_connection_carries_one_request_after_the_other() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-a: b\r\n\r\nhi";
    let server = Server::start(vec![serve(answer)]).await;
    let handler = webhook(&server.url("/"), &json!({}));
    for _ in 0..20 {
        let answer = attempt(&handler, &event(b"{}", &[])).await.unwrap();
        assert_eq!((answer.header("x-a"), &*answer.body), (Some("b"), &b"hi"[..]));
    }
    assert_eq!((server.connections(), server.requests().len(), handler.wire.pool.resting()), (1, 20, 1));
    handler.tidy(clock::now());
    assert_eq!(handler.wire.pool.resting(), 1);
    handler.tidy(clock::now() + Duration::from_secs(90));
    assert_eq!(handler.wire.pool.resting(), 0);
}

/// A wake-up that is lost would show as a timeout.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_over_two_threads_all_end() {
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n";
    let answer = [write(head), write("\r\n3\r\nabc\r\n"), write("2\r\nde\r\n0\r\n"), write("\r\n")];
    let script = (0..1000).flat_map(|_| std::iter::once(Step::Read).chain(answer.clone())).collect();
    let server = Server::start(vec![script]).await;
    let handler = Arc::new(webhook(&server.url("/"), &json!({ "concurrency": 32 })));
    let lanes = (0..32).map(|_| {
        let handler = Arc::clone(&handler);
        TaskTracker::new().spawn(async move {
            for _ in 0..25 {
                let answer = attempt(&handler, &event(&[b'a'; 5000], &[])).await.unwrap();
                assert_eq!((&*answer.body, answer.body_end), (&b"abcde"[..], BodyEnd::Complete));
            }
        })
    });
    for lane in futures_util::future::join_all(lanes).await {
        lane.unwrap();
    }
    assert!(server.connections() <= 32, "{}", server.connections());
    assert_eq!(server.requests().len(), 800);
}

#[tokio::test]
async fn no_more_requests_are_made_at_once_than_the_file_says() {
    let server = Server::start(vec![serve(OK)]).await;
    let handler = webhook(&server.url("/"), &json!({ "concurrency": 3 }));
    let event = event(b"{}", &[]);
    let answers = futures_util::future::join_all((0..10).map(|_| attempt(&handler, &event))).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!((server.connections(), handler.wire.pool.resting()), (3, 3), "nor are more made at once");
}

#[tokio::test]
async fn a_resting_connection_that_was_closed_is_replaced_in_the_same_attempt() {
    let once = vec![Step::Read, write(OK), Step::WaitForGo, Step::Close];
    let server = Server::start(vec![once]).await;
    let handler = webhook(&server.url("/"), &json!({}));
    for round in 1..=5 {
        attempt(&handler, &event(b"{}", &[])).await.unwrap();
        assert_eq!(handler.wire.pool.resting(), 1, "nobody has told it yet");
        server.go();
        server.closed(round).await;
    }
    assert_eq!((server.connections(), server.requests().len()), (5, 5));
    handler.tidy(clock::now());
    assert_eq!(handler.wire.pool.resting(), 0, "tidy sees that it was closed");
}

#[tokio::test]
async fn a_connection_that_breaks_after_the_request_was_written_is_a_reset() {
    let server = Server::start(vec![vec![Step::Read, write(OK), Step::Read, Step::Close], serve(OK)]).await;
    let handler = webhook(&server.url("/"), &json!({}));
    attempt(&handler, &event(b"{}", &[])).await.unwrap();
    let failure = attempt(&handler, &event(b"{}", &[])).await.unwrap_err();
    assert_eq!((failure.code, server.connections(), server.requests().len()), (Code::Reset, 1, 2));
    attempt(&handler, &event(b"{}", &[])).await.unwrap();
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn answers_that_follow_each_other_unasked_end_the_connection() {
    let server = Server::start(vec![vec![Step::Read, write(&OK.repeat(2)), Step::Hang], serve(OK)]).await;
    let handler = webhook(&server.url("/"), &json!({}));
    for _ in 0..2 {
        attempt(&handler, &event(b"{}", &[])).await.unwrap();
    }
    assert_eq!((server.connections(), server.requests().len()), (2, 2));
}

#[tokio::test]
async fn a_redirect_is_never_followed() {
    let canary = Server::start(vec![serve(OK)]).await;
    for status in [301, 302, 303, 307, 308] {
        for to in [canary.url("/"), "file:///etc/passwd".to_owned(), "//evil".to_owned()] {
            let answer = format!("HTTP/1.1 {status} Moved\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n");
            let server = Server::start(vec![serve(&answer)]).await;
            let failure =
                attempt(&webhook(&server.url("/"), &json!({})), &event(b"{}", &[])).await.unwrap_err();
            assert_eq!(failure.class, Class::Hold(HoldCause::Redirect));
            assert_eq!(server.requests().len(), 1);
        }
    }
    assert_eq!(canary.connections(), 0);
}

#[tokio::test]
async fn an_untouched_value_arrives_byte_for_byte() {
    let server = Server::start(vec![serve(OK)]).await;
    let handler = webhook(&server.url("/"), &json!({}));
    assert!(!handler.reads_value());
    let values: [&[u8]; 6] = [
        br#"{"b":1 ,"a": 9007199254740993.10}"#,
        b"{broken",
        b"",
        b"\xff\x00\r\n\r\n",
        br#"{"n": 18446744073709551616}"#,
        b"null",
    ];
    for value in values {
        attempt(&handler, &event(value, &[])).await.unwrap();
        let request = server.requests().pop().unwrap();
        let head = request.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
        assert_eq!(&request[head..], value);
    }
}

#[tokio::test]
async fn every_header_of_the_contract_is_there() {
    let server = Server::start(vec![serve(OK)]).await;
    let keys = json!({
        "headers": { "Authorization": "Bearer ${secret:token}", "x-topic": "{{ %topic }}" },
        "forward_headers": ["x-shop-*", "authorization", "webhook-id"],
        "sign": { "secret": "${secret:sign}" }, "idempotency_key": true, "identify": true,
    });
    let handler = webhook(&server.url("/v1?a=b"), &keys);
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let event = event(
        b"{}",
        &[
            ("x-shop-a", b"1"),
            ("X-Shop-A", b"2"),
            ("x-other", b"3"),
            ("authorization", b"theirs"),
            ("webhook-id", b"theirs"),
            ("traceparent", parent.as_bytes()),
            ("tracestate", b"k=v"),
            ("correlation_id", b"req-771"),
        ],
    );
    let give_up_at = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000));
    for number in [1, 2] {
        let call = Call {
            event: &event,
            attempt: number,
            id: None,
            give_up_at,
            alone: false,
            notes: Notes::default(),
        };
        handler.attempt(&[call]).await.remove(0).unwrap();
    }
    let requests: Vec<String> =
        server.requests().into_iter().map(|bytes| String::from_utf8(bytes).unwrap()).collect();
    let [first, second] = requests.as_slice() else { panic!("{requests:?}") };
    let get = |name| header(first, name).unwrap_or_else(|| panic!("no {name} in {first}"));
    assert!(first.starts_with("POST /v1?a=b HTTP/1.1\r\n"));
    assert_eq!(get("host"), server.address.to_string());
    assert_eq!(get("webhook-id"), crate::event::webhook_id(&event.origin, "order-billing", 0));
    assert_eq!(get("weir-attempt"), "1");
    assert_eq!(header(second, "weir-attempt"), Some("2"));
    assert_eq!(get("weir-event"), "shop.orders.v1/3/184467");
    assert_eq!(get("weir-deadline"), "2000000000");
    assert_eq!(get("weir-sender"), "order-billing@r1");
    assert_eq!(get("idempotency-key"), format!("\"{}\"", get("webhook-id")));
    assert_eq!(get("content-type"), "application/json");
    assert_eq!(get("content-length"), "2");
    assert_eq!(get("accept-encoding"), "identity");
    assert_eq!(get("x-correlation-id"), "req-771");
    assert_eq!(get("tracestate"), "k=v");
    assert_eq!(get("x-topic"), "shop.orders.v1");
    assert_eq!(first.matches("x-shop-a: ").count(), 2);
    assert_eq!(first.matches("authorization: ").count(), 1);
    assert_eq!(get("authorization"), "Bearer c4n4ry");
    assert!(!first.contains("theirs") && !first.contains("x-other"));
    assert!(get("webhook-signature").starts_with("v1,"));
    let (one, two) = (get("traceparent"), header(second, "traceparent").unwrap());
    assert_ne!(one, two);
    assert_eq!(Trace::parse(one.as_bytes()), Trace::parse(parent.as_bytes()));
    assert_eq!(Trace::parse(two.as_bytes()), Trace::parse(parent.as_bytes()));
    assert!(!format!("{handler:?}").contains("c4n4ry"));
    assert_eq!(handler.endpoint(&event, None), Some(format!("POST http://{}/v1", server.address)));
}

#[tokio::test]
async fn a_value_that_no_header_can_carry_makes_the_record_invalid() {
    let server = Server::start(vec![serve(OK)]).await;
    let keys = json!({ "forward_headers": ["x-*"], "headers": { "y": "{{ %headers.z }}" } });
    let handler = webhook(&server.url("/"), &keys);
    for hostile in [&b"a\r\nx: y"[..], b"a\nb", b"\0", b"\xc3\xa9", b"\x7f", b"\r"] {
        for headers in [[("x-a", hostile), ("z", b"ok")], [("x-a", b"ok"), ("z", hostile)]] {
            let failure = attempt(&handler, &event(b"{}", &headers)).await.unwrap_err();
            assert_eq!((failure.code, failure.class), (Code::Template, Class::Invalid), "{hostile:?}");
        }
    }
    let long = vec![b'a'; 4097];
    let failure = attempt(&handler, &event(b"{}", &[("x-a", &long), ("z", b"ok")])).await.unwrap_err();
    assert_eq!(failure.code, Code::TooLarge);
    let many: Vec<(&str, &[u8])> =
        (0..10_000).map(|_| ("x-a", &b"v"[..])).chain([("z", &b"ok"[..])]).collect();
    assert_eq!(attempt(&handler, &event(b"{}", &many)).await.unwrap_err().code, Code::TooLarge);
    assert_eq!(server.connections(), 0, "nothing was sent");
    attempt(&handler, &event(b"{}", &[("x-a", b"ok\t"), ("z", b"ok")])).await.unwrap();
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn bodies_are_made_as_the_file_says() {
    let server = Server::start(vec![serve(OK)]).await;
    let value: Value =
        json!({ "id": 9_007_199_254_740_993_i64, "name": "a\"b &", "tags": [1], "none": null });
    let decoded = |value: &Value| Event { body: Body::Value(value.clone().into()), ..event(b"", &[]) };
    let flat = json!({ "id": 1, "name": "a b&c", "none": null, "ok": true });
    let body = json!({ "n": "{{ .id }}", "text": "x {{ .name }}", "fixed": [true, 1.5] });
    for (keys, value, expected, media_type) in [
        (
            json!({}),
            &value,
            r#"{"id":9007199254740993,"name":"a\"b &","none":null,"tags":[1]}"#,
            "application/json",
        ),
        (
            json!({ "body": body }),
            &value,
            r#"{"fixed":[true,1.5],"n":9007199254740993,"text":"x a\"b &"}"#,
            "application/json",
        ),
        (
            json!({ "content": "form" }),
            &flat,
            "id=1&name=a+b%26c&ok=true",
            "application/x-www-form-urlencoded",
        ),
        (json!({ "content": "text", "body": "id {{ .id }}" }), &flat, "id 1", "text/plain; charset=utf-8"),
        (json!({ "content": "raw", "body": "{{ .name }}" }), &flat, "a b&c", "application/octet-stream"),
    ] {
        attempt(&webhook(&server.url("/"), &keys), &decoded(value)).await.unwrap();
        let request = String::from_utf8(server.requests().pop().unwrap()).unwrap();
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        assert_eq!((body, header(head, "content-type")), (expected, Some(media_type)));
    }
    let sent = server.requests().len();
    for (keys, value, code) in [
        (json!({ "content": "form" }), &value, Code::Template),
        (json!({ "content": "text" }), &value, Code::Template),
        (json!({ "body": "{{ .nosuch }}" }), &value, Code::Template),
        (json!({ "max_body": "20B" }), &value, Code::TooLarge),
    ] {
        let failure = attempt(&webhook(&server.url("/"), &keys), &decoded(value)).await.unwrap_err();
        assert_eq!((failure.code, failure.class), (code, Class::Invalid), "{keys}");
    }
    assert_eq!(server.requests().len(), sent);
}

#[tokio::test]
async fn the_limit_of_a_body_is_exact_and_a_tombstone_has_none() {
    let server = Server::start(vec![serve(OK)]).await;
    let keys = json!({ "max_body": "10B", "method": "DELETE", "sign": { "secret": "${secret:sign}" } });
    let handler = webhook(&server.url("/"), &keys);
    attempt(&handler, &event(&[b'a'; 10], &[])).await.unwrap();
    assert_eq!(attempt(&handler, &event(&[b'a'; 11], &[])).await.unwrap_err().code, Code::TooLarge);
    let tombstone = Event { body: Body::Raw(None), ..event(b"", &[]) };
    attempt(&handler, &tombstone).await.unwrap();
    let request = String::from_utf8(server.requests().pop().unwrap()).unwrap();
    assert!(request.starts_with("DELETE / HTTP/1.1\r\n") && request.ends_with("\r\n\r\n"));
    assert_eq!(header(&request, "content-length"), Some("0"));
    assert_eq!(header(&request, "weir-tombstone"), Some("true"));
    assert_eq!(header(&request, "content-type"), None);
    attempt(&handler, &event(b"", &[])).await.unwrap();
    let empty = String::from_utf8(server.requests().pop().unwrap()).unwrap();
    assert_eq!(
        (header(&empty, "weir-tombstone"), header(&empty, "content-type")),
        (None, Some("application/json"))
    );
}

#[tokio::test]
async fn a_refused_address_sees_no_connection() {
    let canary = Server::start(vec![serve(OK)]).await;
    let port = canary.address.port();
    let deny = json!({ "deny_cidrs": ["127.0.0.0/8"] });
    let names: [(&str, &[&str]); 2] = [("rebind.test", &["127.0.0.1"]), ("localhost", &["127.0.0.1", "::1"])];
    for host in ["127.0.0.1", "2130706433", "0x7f.1", "0177.0.0.1", "[::ffff:127.0.0.1]", "rebind.test"] {
        let handler = webhook_by(&format!("http://{host}:{port}/"), &json!({}), egress(&deny, &names));
        let failure = attempt(&handler, &event(b"{}", &[])).await.unwrap_err();
        assert_eq!(failure.class, Class::Hold(HoldCause::BlockedAddress), "{host}: {failure:?}");
    }
    let public = json!({ "profile": "public" });
    for host in ["127.0.0.1", "rebind.test", "localhost", "[::1]"] {
        let handler = webhook_by(&format!("https://{host}:{port}/"), &json!({}), egress(&public, &names));
        let failure = attempt(&handler, &event(b"{}", &[])).await.unwrap_err();
        assert_eq!(failure.code, Code::BlockedAddress, "{host}");
    }
    assert_eq!(canary.connections(), 0);
}

#[tokio::test]
async fn only_vetted_addresses_of_a_name_are_dialled() {
    let canary = Server::start_at("127.0.0.1:0", vec![serve(OK)]).await;
    let port = canary.address.port();
    let vetted = Server::start_at(&format!("127.0.0.2:{port}"), vec![serve(OK)]).await;
    let deny = json!({ "deny_cidrs": ["127.0.0.1/32"] });
    let names: [(&str, &[&str]); 2] =
        [("both.test", &["127.0.0.1", "127.0.0.3", "127.0.0.2"]), ("none.test", &[])];
    let handler = webhook_by(&format!("http://both.test:{port}/"), &json!({}), egress(&deny, &names));
    attempt(&handler, &event(b"{}", &[])).await.unwrap();
    assert_eq!((canary.connections(), vetted.connections()), (0, 1));
    let handler = webhook_by("http://none.test/", &json!({}), egress(&deny, &names));
    let failure = attempt(&handler, &event(b"{}", &[])).await.unwrap_err();
    assert_eq!((failure.code, failure.class), (Code::Dns, RETRY));
}

#[test]
fn what_a_block_may_not_say_is_refused_in_one_go() {
    let problems = |keys: Value| -> Vec<String> {
        let mut block = json!({ "url": "https://host/v1" });
        block.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        let spec: Spec = serde_json::from_value(block).unwrap();
        match compile(&spec, &context(egress(&json!({}), &[])), &references()) {
            Ok(_) => Vec::new(),
            Err(problems) => {
                assert!(!format!("{problems:?}").contains("c4n4ry"), "{problems:?}");
                problems.into_iter().map(|problem| problem.path).collect()
            }
        }
    };
    for name in
        ["Webhook-Id", "weir-x", "traceparent", "Host", "content-length", "te", "proxy-x", "a b", "é", ""]
    {
        assert_eq!(problems(json!({ "headers": { name: "x" } })), [format!("webhook.headers.{name}")]);
    }
    assert_eq!(problems(json!({ "headers": { "a": "${secret:broken}" } })), ["webhook.headers.a"]);
    assert_eq!(problems(json!({ "headers": { "a": "1", "A": "2" } })), ["webhook.headers.A"]);
    assert_eq!(
        problems(json!({
            "url": "ftp://x", "headers": { "a": "${secret:nosuch}" }, "forward_headers": ["ok", "a b*"],
            "body": { "a": ["{{ b"] }, "timeout": "11m", "timeouts": { "dns": "0s" }, "accept": [],
            "sign": { "secret": ["${secret:sign}", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"] },
        })),
        [
            "webhook.url",
            "webhook.headers.a",
            "webhook.forward_headers.1",
            "webhook.body.a.0",
            "webhook.sign.secret.1",
            "webhook.timeout",
            "webhook.timeouts.dns",
            "webhook.accept",
        ]
    );
    assert_eq!(
        problems(json!({ "forward_headers": ["*", "baggage", "authorization"] })),
        Vec::<String>::new()
    );
}

#[test]
fn a_template_that_looks_into_the_value_asks_for_it() {
    let reads = |keys: Value| webhook("http://host/v1", &keys).reads_value();
    assert!(!reads(json!({})) && !reads(json!({ "headers": { "a": "{{ %key }}" }, "content": "text" })));
    assert!(reads(json!({ "headers": { "a": "{{ .id }}" } })) && reads(json!({ "content": "form" })));
    assert!(
        reads(json!({ "body": { "a": "{{ .id }}" } })) && reads(json!({ "url": "http://host/v1/{{ .id }}" }))
    );
}

#[test]
fn an_attempt_is_small_enough_to_box() {
    let handler = webhook("http://host/v1", &json!({}));
    let event = event(b"", &[]);
    let call =
        Call { event: &event, attempt: 1, id: None, give_up_at: None, alone: false, notes: Notes::default() };
    let future = handler.one(&call);
    assert!(std::mem::size_of_val(&future) < 8 << 10, "{} bytes", std::mem::size_of_val(&future));
}

/// H02: the signature covers the body before its encoding.
#[tokio::test]
async fn a_body_is_compressed_after_it_is_signed() {
    use std::io::Read as _;
    let body = format!("[{}1]", "1,".repeat(500));
    for kind in ["gzip", "zstd"] {
        let server = Server::start(vec![serve(OK)]).await;
        let keys = json!({ "compress": kind, "sign": { "secret": "${secret:sign}" } });
        attempt(&webhook(&server.url("/"), &keys), &event(body.as_bytes(), &[])).await.unwrap();
        let request = server.requests().remove(0);
        let at = request.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        let (head, sent) = (std::str::from_utf8(&request[..at]).unwrap(), &request[at + 4..]);
        let header = |name: &str| {
            head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap().to_owned()
        };
        assert_eq!(header("content-encoding"), kind);
        assert_eq!(header("content-length"), sent.len().to_string());
        assert!(sent.len() < body.len() / 4);
        let mut plain = String::new();
        match kind {
            "gzip" => drop(flate2::read::GzDecoder::new(sent).read_to_string(&mut plain).unwrap()),
            _ => plain = String::from_utf8(zstd::bulk::decompress(sent, 10_000).unwrap()).unwrap(),
        }
        assert_eq!(plain, body);
        let mut expected = String::new();
        let references = references();
        let signer = super::sign::Signer::new(&["${secret:sign}".to_owned()], &references).unwrap();
        signer.write(&header("webhook-id"), &header("webhook-timestamp"), body.as_bytes(), &mut expected);
        assert_eq!(header("webhook-signature"), expected);
    }
}
