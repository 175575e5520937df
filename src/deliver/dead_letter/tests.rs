//! Every header, and the record byte for byte (H27).

use super::*;
use crate::event::{Origin, Topic, TopicId};
use crate::outcome::{Answer, BodyEnd};
use crate::settings::References;
use proptest::prelude::*;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

fn header(name: &'static [u8], value: Option<&'static [u8]>) -> Header {
    Header { name: Bytes::from_static(name), value: value.map(Bytes::from_static) }
}

fn original() -> Event {
    let topic = Topic {
        cluster: "c".into(),
        name: "shop.orders.v1".into(),
        id: Some(TopicId([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])),
    };
    Event {
        origin: Origin {
            topic: Arc::new(topic),
            partition: 3,
            offset: 184_467,
            timestamp: Some(1_767_225_600_042),
        },
        key: Some(Bytes::from_static(b"k\xff")),
        headers: vec![header(b"a", Some(b"1"))],
        body: Body::Raw(Some(Bytes::from_static(b"{\"broken"))),
        part: 0,
    }
}

fn facts() -> Facts<'static> {
    let first = UNIX_EPOCH + Duration::from_millis(1_767_225_600_500);
    Facts {
        pipeline: "order-billing",
        stage: "order-billing",
        revision: "4f2a9c1",
        commit: Some("9b1d0e77"),
        event_id: Some("evt-1"),
        webhook_id: "msg_smeh2b7g5zq2t6kkxlbpatvdcmph3z2u",
        replays: 0,
        attempts: 8,
        first_try: Some(first),
        last_try: Some(first + Duration::from_secs(600)),
        endpoint: Some("POST https://billing.internal/v1/invoices"),
        failed_parts: &[],
    }
}

fn answer(status: u16, body: &'static [u8]) -> Answer {
    Answer {
        status,
        headers: vec![
            ("content-type".into(), Bytes::from_static(b"application/json")),
            ("set-cookie".into(), Bytes::from_static(b"session=s3cr3t")),
        ],
        body: Bytes::from_static(body),
        body_end: BodyEnd::Complete,
    }
}

fn letter(original: &Event, facts: &Facts<'_>, reason: Reason, failure: Option<&Failure>) -> Outgoing {
    let code = failure.map_or(Code::Status, |failure| failure.code);
    record(&Arc::from("shop.dlq"), original, facts, reason, code, failure)
}

fn block(letter: &Outgoing) -> BTreeMap<String, String> {
    let begin = own(&letter.headers).len();
    let text = |h: &Header| {
        (h.name_text().into_owned(), String::from_utf8(h.value.clone().unwrap().to_vec()).unwrap())
    };
    letter.headers.iter().skip(begin).map(text).collect()
}

fn expected(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn every_header_of_the_contract_is_there() {
    let failure = Failure::retry(Code::Status, "posting to billing.internal: 503")
        .with_detail("only for logs")
        .with_answer(answer(503, b"busy"));
    let letter = letter(&original(), &facts(), Reason::Exhausted, Some(&failure));
    assert_eq!(
        block(&letter),
        expected(&[
            ("weir-dlq", "1"),
            ("weir-reason", "exhausted"),
            ("weir-code", "status"),
            ("weir-error", "posting to billing.internal: 503"),
            ("weir-pipeline", "order-billing"),
            ("weir-stage", "order-billing"),
            ("weir-revision", "4f2a9c1"),
            ("weir-commit", "9b1d0e77"),
            ("weir-source-topic", "shop.orders.v1"),
            ("weir-source-topic-id", "AAAAAAAAAAAAAAAAAAAAAQ"),
            ("weir-source-partition", "3"),
            ("weir-source-offset", "184467"),
            ("weir-source-timestamp", "2026-01-01T00:00:00.042Z"),
            ("weir-event-id", "evt-1"),
            ("weir-webhook-id", "msg_smeh2b7g5zq2t6kkxlbpatvdcmph3z2u"),
            ("weir-replay-count", "0"),
            ("weir-attempts", "8"),
            ("weir-first-try", "2026-01-01T00:00:00.500Z"),
            ("weir-last-try", "2026-01-01T00:10:00.500Z"),
            ("weir-status", "503"),
            ("weir-response", "YnVzeQ=="),
            ("weir-endpoint", "POST https://billing.internal/v1/invoices"),
        ])
    );
    assert_eq!((letter.topic.as_ref(), letter.partition, letter.timestamp), ("shop.dlq", None, None));
    assert_eq!(letter.headers[1].name, MARK, "the block begins after the record's own headers");
}

#[test]
fn what_is_not_known_is_left_out() {
    let mut original = original();
    original.origin.timestamp = None;
    Arc::make_mut(&mut original.origin.topic).id = None;
    let nothing = Facts {
        commit: None,
        event_id: None,
        first_try: None,
        last_try: None,
        endpoint: None,
        attempts: 0,
        failed_parts: &[0, 2],
        ..facts()
    };
    let letter = letter(&original, &nothing, Reason::Invalid, None);
    let block = block(&letter);
    for absent in [
        "commit",
        "event-id",
        "source-topic-id",
        "source-timestamp",
        "first-try",
        "last-try",
        "endpoint",
        "status",
        "response",
        "answer",
    ] {
        assert!(!block.contains_key(&format!("weir-{absent}")), "{absent}");
    }
    assert_eq!(block["weir-failed-parts"], "0,2");
    assert!(block["weir-error"].contains("restart"));
}

#[test]
fn key_value_and_headers_stay_as_they_were() {
    let mut original = original();
    original.key = None;
    original.body = Body::Raw(None);
    original.headers = vec![
        header(b"a", Some(b"1")),
        header(b"a", None),
        header(b"\xff\xfe", Some(b"\x00\x01")),
        header(b"weir-dlq", Some(b"1")),
        header(b"weir-reason", Some(b"rejected")),
        header(b"weir-answer", Some(b"theirs")),
        header(b"a", Some(b"")),
    ];
    let mut letter = letter(&original, &facts(), Reason::Rejected, None);
    assert_eq!((letter.key.clone(), letter.value.clone()), (None, None));
    assert_eq!(own(&letter.headers), original.headers);
    assert!(!shrink(&mut letter), "the record's own weir-answer is not ours to take");
    assert_eq!(own(&letter.headers), original.headers);
    let again = Event { headers: letter.headers, ..original };
    let twice = super::record(&Arc::from("t"), &again, &facts(), Reason::Rejected, Code::Status, None);
    assert_eq!(own(&twice.headers), again.headers, "a replay takes off the last block only");
}

#[test]
fn the_answer_goes_first_then_the_response() {
    let failure =
        Failure::invalid(Code::Answer, "the answer lacks payment_id").with_answer(answer(201, b"{}"));
    let mut letter = letter(&original(), &facts(), Reason::Invalid, Some(&failure));
    let had = |letter: &Outgoing| {
        let block = block(letter);
        (block.contains_key("weir-answer"), block.contains_key("weir-response"), block.len())
    };
    let (_, _, all) = had(&letter);
    assert_eq!(had(&letter), (true, true, all));
    assert!(shrink(&mut letter));
    assert_eq!(had(&letter), (false, true, all - 1));
    assert!(shrink(&mut letter));
    assert_eq!(had(&letter), (false, false, all - 2));
    assert!(!shrink(&mut letter));
}

#[test]
fn only_a_publish_fault_carries_the_answer_and_no_cookie_goes_along() {
    let rejected = Failure::new(Code::Status, Class::Rejected, "400").with_answer(answer(400, b"no"));
    assert!(
        !block(&letter(&original(), &facts(), Reason::Rejected, Some(&rejected))).contains_key("weir-answer")
    );
    let fault = Failure::invalid(Code::Answer, "no").with_answer(answer(201, b"\xff\x00"));
    let block = block(&letter(&original(), &facts(), Reason::Invalid, Some(&fault)));
    let read = decode_answer(&block["weir-answer"]).unwrap();
    assert_eq!((read.status, read.body.as_ref(), read.headers.len()), (201, &b"\xff\x00"[..], 1));
    assert!(!format!("{block:?}").contains("s3cr3t"));
}

#[test]
fn long_texts_are_bounded() {
    let failure = Failure::retry(Code::Status, "ä".repeat(5_000))
        .with_answer(Answer { body: Bytes::from(vec![b'x'; 5_000]), ..answer(500, b"") });
    let block = block(&letter(&original(), &facts(), Reason::Exhausted, Some(&failure)));
    assert_eq!(STANDARD.decode(&block["weir-response"]).unwrap().len(), RESPONSE_HEAD);
    assert_eq!(block["weir-error"].len(), ERROR_MAX);
}

#[test]
fn the_written_forms_are_read() {
    let dlq = Spec { topic: "shop.orders.billing.dlq".into(), after: After::Continue };
    let short: Spec = serde_json::from_value(json!("shop.orders.billing.dlq")).unwrap();
    assert_eq!(short, dlq);
    for wrong in
        [json!(3), json!({}), json!({ "topic": "a", "then": 1 }), json!({ "topic": "a", "after": "stop" })]
    {
        assert!(serde_json::from_value::<Spec>(wrong.clone()).is_err(), "{wrong}");
    }
    let schema = serde_json::to_value(schemars::schema_for!(Spec)).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    assert!(
        validator.is_valid(&json!("a")) && validator.is_valid(&json!({ "topic": "a", "after": "park_key" }))
    );
    assert!(!validator.is_valid(&json!({ "topic": "a", "then": 1 })));
}

#[test]
fn the_topic_holds_no_record_data() {
    let references =
        References { vars: BTreeMap::from([("team".into(), "billing".into())]), ..References::default() };
    let build = |topic: &str, after| Spec { topic: topic.into(), after }.build(&references);
    assert_eq!(build("${var:team}.dlq", After::Continue).unwrap(), "billing.dlq");
    for wrong in ["{{ .team }}.dlq", "a.{{ %key }}", "", "__x", "a b", "${var:none}", "${secret"] {
        assert_eq!(build(wrong, After::Continue).unwrap_err()[0].path, "topic", "{wrong}");
    }
    assert_eq!(build("a", After::ParkKey).unwrap_err()[0].path, "after");
}

proptest! {
    #[test]
    fn any_record_is_kept_and_any_answer_reads_back(
        headers in prop::collection::vec((any::<Vec<u8>>(), any::<Option<Vec<u8>>>()), 0..6),
        value: Option<Vec<u8>>, timestamp: Option<i64>, body: Vec<u8>, status in 100u16..600, first in any::<Option<u32>>(),
    ) {
        let mut event = original();
        event.headers = headers.into_iter().map(|(n, v)| Header { name: n.into(), value: v.map(Bytes::from) }).collect();
        event.body = Body::Raw(value.clone().map(Bytes::from));
        event.origin.timestamp = timestamp;
        let first_try = first.map(|s| UNIX_EPOCH + Duration::from_secs(u64::from(s)));
        let answer = Answer { status, headers: Vec::new(), body: body.into(), body_end: BodyEnd::BrokenOff };
        prop_assert_eq!(decode_answer(&encode_answer(&answer)), Some(answer.clone()));
        let failure = Failure::invalid(Code::Answer, "no").with_answer(answer);
        let letter = letter(&event, &Facts { first_try, ..facts() }, Reason::Invalid, Some(&failure));
        prop_assert_eq!(own(&letter.headers), &event.headers[..]);
        prop_assert_eq!((letter.key, letter.value), (event.key, value.map(Bytes::from)));
    }

    #[test]
    fn no_text_makes_reading_an_answer_panic(text: String) {
        decode_answer(&text);
    }
}

#[test]
fn a_time_before_1970_has_negative_milliseconds() {
    assert_eq!(millis_of(UNIX_EPOCH - Duration::from_millis(5)), -5);
}
