//! H18, H21 and the rules of section 7 at this level.

use super::*;
use crate::codec::Format;
use crate::event::{Origin, Topic as SourceTopic};
use crate::outcome::{BodyEnd, Class};
use crate::plan::expr::TreeFinding;
use crate::settings::References;
use proptest::prelude::*;
use serde_json::json;
use std::collections::BTreeMap;

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const ID: &str = "msg_smeh2b7g5zq2t6kkxlbpatvdcmph3z2u";

fn event(value: &str) -> Event {
    let topic = SourceTopic { cluster: "c".into(), name: "booking.requested".into(), id: None };
    Event {
        origin: Origin {
            topic: Arc::new(topic),
            partition: 1,
            offset: 7,
            timestamp: Some(1_767_225_600_042),
        },
        key: Some(Bytes::from_static(b"source-key")),
        headers: vec![
            header("traceparent", TRACE),
            header("tracestate", "vendor=1"),
            header("x-correlation-id", "corr-1"),
            header("x-own", "1"),
        ],
        body: Body::Value(event::json::parse(value.as_bytes()).unwrap()),
        part: 0,
    }
}

fn raw(value: Option<&'static str>) -> Event {
    Event { body: Body::Raw(value.map(|text| Bytes::from_static(text.as_bytes()))), ..event("{}") }
}

fn answer(status: u16, headers: &[(&str, &'static str)], body: &'static str) -> Answer {
    let header =
        |(name, value): &(&str, &'static str)| ((*name).to_owned(), Bytes::from_static(value.as_bytes()));
    let headers = headers.iter().map(header).collect();
    Answer { status, headers, body: Bytes::from_static(body.as_bytes()), body_end: BodyEnd::Complete }
}

const JSON: (&str, &str) = ("content-type", "application/json; charset=utf-8");

fn references() -> References {
    References { vars: BTreeMap::from([("team".into(), "booking".into())]), ..References::default() }
}

/// A schema of `{"n": long, "at": string}`.
fn avro() -> Codec {
    let text = r#"{"type":"record","name":"R","fields":[{"name":"n","type":"long"},{"name":"at","type":"string","default":"x"}]}"#;
    Codec::Avro(crate::codec::Avro::new(text.to_owned(), Vec::new()).unwrap())
}

/// The same as a message.
fn protobuf() -> Codec {
    let text = "message R { required int64 n = 1; optional string at = 2; }".to_owned();
    let document = crate::codec::Document { path: "r.proto".to_owned(), text };
    Codec::Protobuf(crate::codec::Protobuf::new(document, Vec::new()).unwrap())
}

fn own(spec: &Spec) -> Option<Codec> {
    spec.format.map(|format| match format {
        Format::Json => Codec::Json,
        Format::Text => Codec::Text,
        Format::Bytes => Codec::Bytes,
        Format::Avro => avro(),
        Format::Protobuf => protobuf(),
    })
}

fn built(spec: serde_json::Value, handler: bool) -> Result<Route, Vec<TreeFinding>> {
    let spec: Spec = serde_json::from_value(spec).unwrap();
    let place = Place { index: 2, handler, source: Codec::Json, own: own(&spec) };
    Route::build(&spec, place, &references())
}

fn route(spec: serde_json::Value, handler: bool) -> Route {
    built(spec, handler).unwrap()
}

fn inputs(answer: Option<&Answer>) -> Inputs<'_> {
    Inputs { attempts: 1, event_id: Some("evt-source"), webhook_id: ID, answer }
}

fn answered(spec: serde_json::Value, answer: &Answer) -> Result<Option<Outgoing>, Failure> {
    let event = event(r#"{"booking_id": "b-1", "amount": 12.50}"#);
    let records = render(&[route(spec, true)], &event, &inputs(Some(answer)));
    records.map(|mut records| records.pop()).map_err(failed)
}

fn failed(trouble: Trouble) -> Failure {
    match trouble {
        Trouble::Failed(failure) => failure,
        Trouble::Missing(missing) => panic!("{missing:?}"),
    }
}

fn passed(spec: serde_json::Value, event: &Event) -> Outgoing {
    let mut records = render(&[route(spec, false)], event, &inputs(None)).unwrap();
    records.pop().unwrap()
}

fn headers(record: &Outgoing) -> BTreeMap<String, String> {
    let text = |h: &Header| {
        (h.name_text().into_owned(), String::from_utf8(h.value.clone().unwrap().into()).unwrap())
    };
    record.headers.iter().map(text).collect()
}

fn text(bytes: Option<&Bytes>) -> Option<&str> {
    bytes.map(|bytes| std::str::from_utf8(bytes).unwrap())
}

fn fault(result: Result<Option<Outgoing>, Failure>) -> Failure {
    let failure = result.unwrap_err();
    assert_eq!((failure.code, failure.class), (Code::Answer, Class::Invalid), "{failure:?}");
    assert!(failure.answer.is_some(), "its replay starts here");
    failure
}

#[test]
fn the_answer_is_the_value_byte_for_byte_and_the_rest_is_added() {
    let body = "{ \"payment_id\": \"p-1\",  \"n\": 123456789012345678901234567890 }";
    let wide = answered(json!({ "topic": "booking.paid" }), &answer(201, &[JSON], body));
    assert!(fault(wide).message.contains("integer"), "a number that the next reader would refuse");
    let body = "{ \"payment_id\": \"p-1\" }";
    let record = answered(json!({ "topic": "booking.paid" }), &answer(201, &[JSON], body)).unwrap().unwrap();
    assert_eq!((record.topic.as_ref(), text(record.value.as_ref())), ("booking.paid", Some(body)));
    assert_eq!((text(record.key.as_ref()), record.timestamp), (Some("source-key"), Some(1_767_225_600_042)));
    let mut headers = headers(&record);
    let span = headers.remove("traceparent").unwrap();
    assert!(span.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-") && span != TRACE);
    let expected = [
        ("ce_id", "msg_smeh2b7g5zq2t6kkxlbpatvdcmph3z2u-2"),
        ("ce_causationid", "evt-source"),
        ("ce_correlationid", "corr-1"),
        ("tracestate", "vendor=1"),
    ];
    assert_eq!(headers, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
}

#[test]
fn the_state_of_a_trace_that_is_not_given_stays_behind() {
    for parent in [None, Some("rubbish")] {
        let mut event = raw(Some("{}"));
        event.headers.retain(|header| header.name != "traceparent");
        event.headers.extend(parent.map(|text| header("traceparent", text)));
        let given = answer(200, &[JSON], "{}");
        let inputs = inputs(Some(&given));
        let answered = render(&[route(json!({ "topic": "t" }), true)], &event, &inputs).unwrap().remove(0);
        for record in [answered, passed(json!({ "topic": "t" }), &event)] {
            let headers = headers(&record);
            assert!(!headers.contains_key("tracestate"), "{headers:?}");
            assert!(Trace::parse(headers["traceparent"].as_bytes()).is_some());
        }
    }
}

#[test]
fn an_id_of_its_own_stays() {
    let record =
        answered(json!({ "topic": "t" }), &answer(200, &[JSON], r#"{"id": "p-1"}"#)).unwrap().unwrap();
    let added = headers(&record);
    assert_eq!((added.get("ce_id"), added["ce_causationid"].as_str()), (None, "evt-source"));
    let spec = json!({ "topic": "t", "headers": { "ce_id": "{{ .booking_id }}" } });
    let record = answered(spec, &answer(200, &[JSON], "{}")).unwrap().unwrap();
    assert_eq!(headers(&record)["ce_id"], "b-1");
}

#[test]
fn templates_make_key_headers_value_and_topic() {
    let spec = json!({
        "topic": "${var:team}.paid.{{ %response.body.country }}",
        "key": "{{ .booking_id }}",
        "headers": { "x-status": "{{ %response.status }}" },
        "value": { "booking_id": "{{ .booking_id }}", "payment_id": "{{ %response.body.payment_id }}", "by": "${var:team}" },
        "partition_by": { "partition": "int!(%response.status) - 200" },
    });
    let answer = answer(201, &[JSON], r#"{"payment_id": 17, "country": "de"}"#);
    let record = answered(spec, &answer).unwrap().unwrap();
    assert_eq!(record.topic.as_ref(), "booking.paid.de");
    assert_eq!((text(record.key.as_ref()), record.partition), (Some("b-1"), Some(1)));
    let value = text(record.value.as_ref());
    assert_eq!(value, Some(r#"{"booking_id":"b-1","by":"booking","payment_id":17}"#));
    assert_eq!(headers(&record)["x-status"], "201");
}

#[test]
fn when_chooses_and_the_402_branch_is_another_event() {
    let entries = [
        json!({ "topic": "booking.paid", "when": "%response.status != 402" }),
        json!({ "topic": "booking.declined", "when": "%response.status == 402",
                "value": { "reason": "{{ %response.body.decline_code }}" } }),
    ];
    let routes: Vec<Route> = entries.into_iter().map(|spec| route(spec, true)).collect();
    let topics = |status| {
        let answer = answer(status, &[JSON], r#"{"decline_code": "funds"}"#);
        let records = render(&routes, &event("{}"), &inputs(Some(&answer))).unwrap();
        records.into_iter().map(|record| record.topic.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(topics(201), ["booking.paid"]);
    assert_eq!(topics(402), ["booking.declined"]);
}

#[test]
fn a_wrong_answer_is_invalid_and_never_asked_for_again() {
    let plain = || json!({ "topic": "t" });
    let field = || json!({ "topic": "t", "value": { "id": "{{ %response.body.payment_id }}" } });
    let empty = fault(answered(plain(), &answer(204, &[], "")));
    assert!(empty.message.contains("%response.body != null"));
    fault(answered(plain(), &answer(200, &[JSON], "null")));
    fault(answered(plain(), &answer(200, &[JSON], "{\"a\":")));
    fault(answered(field(), &answer(200, &[JSON], "{}")));
    fault(answered(field(), &answer(200, &[JSON], "{\"a\":")));
    fault(answered(json!({ "topic": "t", "when": "bool!(%response.body.ok)" }), &answer(200, &[JSON], "{}")));
    for end in [BodyEnd::TooLong, BodyEnd::BrokenOff, BodyEnd::Encoded] {
        for spec in [plain(), field()] {
            fault(answered(spec, &Answer { body_end: end, ..answer(200, &[JSON], r#"{"payment_id": 1}"#) }));
        }
        let status_only = json!({ "topic": "t", "value": { "status": "{{ %response.status }}" } });
        let cut = Answer { body_end: end, ..answer(200, &[JSON], "{") };
        assert!(answered(status_only, &cut).unwrap().is_some(), "who does not need the body does not mind");
    }
    let meant = json!({ "topic": "t", "when": "%response.body != null" });
    assert_eq!(answered(meant, &answer(204, &[], "")).unwrap(), None);
}

#[test]
fn text_is_text_or_a_json_string() {
    let plain = answer(200, &[("content-type", "text/plain")], "ok \"x\"");
    let value = |format| {
        let record = answered(json!({ "topic": "t", "format": format }), &plain).unwrap().unwrap();
        String::from_utf8(record.value.unwrap().into()).unwrap()
    };
    assert_eq!([value("json"), value("text"), value("bytes")], ["\"ok \\\"x\\\"\"", "ok \"x\"", "ok \"x\""]);
}

const CLOUD_EVENT: [(&str, &str); 7] = [
    JSON,
    ("ce-specversion", "1.0"),
    ("ce-id", "e-1"),
    ("ce-source", "/payments"),
    ("ce-type", "payment.made"),
    ("ce-partitionkey", "p%20%E2%82%AC"),
    ("ce-region", "eu"),
];

#[test]
fn a_binary_cloud_event_becomes_that_event() {
    let record =
        answered(json!({ "topic": "t" }), &answer(201, &CLOUD_EVENT, "{\"n\": 1}")).unwrap().unwrap();
    assert_eq!((text(record.key.as_ref()), text(record.value.as_ref())), (Some("p €"), Some("{\"n\": 1}")));
    let headers = headers(&record);
    for (name, value) in [
        ("content-type", JSON.1),
        ("ce_specversion", "1.0"),
        ("ce_id", "e-1"),
        ("ce_source", "/payments"),
        ("ce_type", "payment.made"),
        ("ce_partitionkey", "p €"),
        ("ce_region", "eu"),
        ("ce_causationid", "evt-source"),
    ] {
        assert_eq!(headers[name], value, "{name}");
    }
    let keyed =
        answered(json!({ "topic": "t", "key": "{{ .booking_id }}" }), &answer(201, &CLOUD_EVENT, "{}"));
    assert_eq!(text(keyed.unwrap().unwrap().key.as_ref()), Some("b-1"));
}

#[test]
fn a_202_is_never_read_as_one() {
    let record =
        answered(json!({ "topic": "t" }), &answer(202, &CLOUD_EVENT, "{\"n\": 1}")).unwrap().unwrap();
    let headers = headers(&record);
    assert_eq!(
        (headers["ce_id"].as_str(), headers.get("ce_type")),
        ("msg_smeh2b7g5zq2t6kkxlbpatvdcmph3z2u-2", None)
    );
    assert_eq!(text(record.key.as_ref()), Some("source-key"));
}

#[test]
fn a_structured_cloud_event_is_taken_apart() {
    let kind = [("content-type", "application/cloudevents+json; charset=utf-8")];
    let take = |body| answered(json!({ "topic": "t" }), &answer(200, &kind, body));
    let record = take(
        r#"{"specversion":"1.0","id":"e-1","source":"/p","type":"t","count":3,"partitionkey":"k","data":{"b":1,"a":[]}}"#,
    );
    let record = record.unwrap().unwrap();
    assert_eq!(
        (text(record.key.as_ref()), text(record.value.as_ref())),
        (Some("k"), Some(r#"{"b":1,"a":[]}"#))
    );
    let headers = headers(&record);
    assert_eq!((headers["ce_count"].as_str(), headers["content-type"].as_str()), ("3", "application/json"));
    let text_data = take(
        r#"{"specversion":"1.0","id":"e","source":"/p","type":"t","datacontenttype":"text/plain","data":"hi"}"#,
    );
    assert_eq!(text(text_data.unwrap().unwrap().value.as_ref()), Some("hi"));
    let bytes = take(r#"{"specversion":"1.0","id":"e","source":"/p","type":"t","data_base64":"AP8="}"#);
    assert_eq!(bytes.unwrap().unwrap().value.unwrap().as_ref(), b"\x00\xff");
    fault(take(r#"{"specversion":"1.0","source":"/p","type":"t","data":1}"#));
    fault(take(r#"{"specversion":"1.0","id":"e","source":"/p","type":"t"}"#));
    fault(take(r#"{"specversion":"1.0","id":"e","source":"/p","type":"t","data":1,"x":{}}"#));
    fault(take("[]"));
    fault(answered(json!({ "topic": "t" }), &answer(200, &CLOUD_EVENT[..3], "{}")));
}

#[test]
fn without_a_handler_the_value_passes_untouched_and_null_as_null() {
    let odd = "{ \"z\":1, \"a\": 1.10, \"big\": 123456789012345678901234567890";
    let record = passed(json!({ "topic": "t" }), &raw(Some(odd)));
    assert_eq!(text(record.value.as_ref()), Some(odd));
    let headers = headers(&record);
    assert_eq!((headers["x-own"].as_str(), headers["x-correlation-id"].as_str()), ("1", "corr-1"));
    assert!(headers["traceparent"] != TRACE && headers["traceparent"].starts_with(&TRACE[..36]));
    assert_eq!(record.headers.iter().filter(|h| h.name == "traceparent").count(), 1);
    assert_eq!(passed(json!({ "topic": "t" }), &raw(None)).value, None);
    let null = Event { body: Body::Value(Value::Null), ..event("{}") };
    assert_eq!(passed(json!({ "topic": "t" }), &null).value, None);
    assert_eq!(passed(json!({ "topic": "t", "value": null }), &event("{}")).value, None);
    let changed = passed(json!({ "topic": "t" }), &event(r#"{"b": 1}"#));
    assert_eq!(text(changed.value.as_ref()), Some(r#"{"b":1}"#));
}

#[test]
fn an_event_that_goes_on_under_its_own_id_has_not_caused_itself() {
    let mut own = raw(Some("{}"));
    own.headers.push(header("ce_id", "evt-source"));
    let headers = headers(&passed(json!({ "topic": "t" }), &own));
    assert_eq!((headers["ce_id"].as_str(), headers.get("ce_causationid")), ("evt-source", None));
}

#[test]
fn what_is_read_is_known() {
    let looks = |spec, handler| {
        let route = route(spec, handler);
        (route.looks_into_payload(), route.reads_response_body())
    };
    assert_eq!(looks(json!({ "topic": "t" }), false), (false, false));
    assert_eq!(looks(json!({ "topic": "t" }), true), (false, true));
    assert_eq!(looks(json!({ "topic": "t", "format": "text" }), false), (true, false));
    assert_eq!(looks(json!({ "topic": "t", "format": "json" }), false), (false, false));
    assert_eq!(looks(json!({ "topic": "t", "key": "{{ .a }}" }), false), (true, false));
    assert_eq!(looks(json!({ "topic": "t", "key": "{{ %key }}", "value": 1 }), true), (false, false));
    assert_eq!(
        looks(json!({ "topic": "t", "value": 1, "when": "%response.status == 200" }), true),
        (false, false)
    );
    assert_eq!(
        looks(json!({ "topic": "t", "value": 1, "when": "%response.body.ok == true" }), true),
        (false, true)
    );
    assert_eq!(looks(json!({ "topic": "t", "value": { "a": ["{{ %response }}"] } }), true), (false, true));
    assert_eq!(looks(json!({ "topic": "t.{{ .a }}", "value": "x" }), true), (true, false));
}

#[test]
fn what_is_wrong_is_found_with_its_place() {
    let places = |spec, handler| {
        let findings = built(spec, handler).unwrap_err();
        findings.into_iter().map(|f| f.path.join("/")).collect::<Vec<_>>()
    };
    for topic in [
        "",
        "{{ .a }}",
        "{{ .a }}.b",
        "_{{ .a }}",
        "__x{{ .a }}",
        "a b",
        "a/{{ .a }}",
        "__consumer_offsets",
        "${var:none}",
        "a{{ .a",
    ] {
        assert_eq!(places(json!({ "topic": topic }), true), ["topic"], "{topic}");
    }
    let many = json!({
        "topic": "t", "when": ".a ==", "key": "{{ a }}", "headers": { "weir-x": "1", "a": "{{" },
        "value": { "b": ["{{ }}"] }, "partition_by": { "partition": "3" }, "atomic": true,
    });
    let found = places(many, true);
    for expected in ["when", "key", "headers/weir-x", "headers/a", "value/b/0", "atomic"] {
        assert!(found.iter().any(|path| path == expected), "{expected} in {found:?}");
    }
    assert_eq!(
        places(json!({ "topic": "t", "partition_by": { "partition": "(" } }), true),
        ["partition_by/partition"]
    );
    assert_eq!(places(json!({ "topic": "t", "when": "%response.status == 1" }), false), ["when"]);
}

#[test]
fn what_a_record_renders_wrongly_is_its_own_fault() {
    let check = |spec| {
        let failure =
            render(&[route(spec, false)], &event(r#"{"a": "x y", "n": -1}"#), &inputs(None)).map_err(failed);
        let failure = failure.unwrap_err();
        assert_eq!((failure.code, failure.class, failure.answer), (Code::Template, Class::Invalid, None));
    };
    check(json!({ "topic": "t.{{ .a }}" }));
    check(json!({ "topic": "t.{{ .missing }}" }));
    check(json!({ "topic": "t", "key": "{{ .missing }}" }));
    check(json!({ "topic": "t", "partition_by": { "partition": ".n" } }));
}

proptest! {
    /// H21: whatever a record holds, the topic begins as the file says, and is one that Kafka takes.
    #[test]
    fn data_never_starts_a_topic(prefix in "[a-z._-]{0,4}", suffix in "[a-z._-]{0,4}", data: String, numbers: i64) {
        let spec = json!({ "topic": format!("{prefix}{{{{ .data }}}}{suffix}{{{{ .n }}}}") });
        let Ok(route) = built(spec, false) else { return Ok(()) };
        prop_assert!(!prefix.is_empty());
        let value = Value::Object([("data".into(), data.into()), ("n".into(), numbers.into())].into());
        let event = Event { body: Body::Value(value), ..event("{}") };
        match render(&[route], &event, &inputs(None)) {
            Ok(records) => {
                let topic = &records[0].topic;
                prop_assert!(topic.starts_with(&prefix) && topic::fault(topic).is_none());
                prop_assert!(!topic.starts_with("__"));
            }
            Err(trouble) => prop_assert_eq!(failed(trouble).code, Code::Template),
        }
    }

    #[test]
    fn no_answer_makes_it_panic(status in 200u16..300, kind: Option<String>, specversion: Option<String>, body: Vec<u8>) {
        let mut headers: Vec<(String, Bytes)> = Vec::new();
        headers.extend(kind.map(|kind| ("content-type".to_owned(), Bytes::from(kind))));
        headers.extend(specversion.map(|version| ("ce-specversion".to_owned(), Bytes::from(version))));
        let answer = Answer { status, headers, body: body.into(), body_end: BodyEnd::Complete };
        for format in ["json", "text", "bytes"] {
            let result = answered(json!({ "topic": "t", "format": format }), &answer);
            let code = result.err().map(|failure| failure.code);
            prop_assert!(code.is_none_or(|code| code == Code::Answer));
        }
    }
}

/// What is written by a schema fits it, wherever it comes from: a template, the event, an answer, an answer that is an event.
#[test]
fn a_schema_decides_what_is_written() {
    let spec = |value: Option<serde_json::Value>| {
        let mut spec = json!({"topic": "out", "format": "avro"});
        if let Some(value) = value {
            spec["value"] = value;
        }
        spec
    };
    let expected = |record: Outgoing| record.value.unwrap().to_vec();
    let written = [2, 2, b'x'];
    let inputs =
        |answer: Option<&'static Answer>| Inputs { attempts: 1, event_id: None, webhook_id: ID, answer };
    let render = |route: &Route, event: &Event, answer| {
        let inputs = inputs(answer);
        let view = View::of(event, Surroundings { attempts: 1, id: None, answer });
        route.render(&view, &inputs)
    };
    let by_template = route(spec(Some(json!({"n": "{{ .n }}"}))), false);
    assert_eq!(expected(render(&by_template, &event(r#"{"n": 1}"#), None).unwrap().unwrap()), written);
    let of_event = route(spec(None), false);
    assert!(of_event.looks_into_payload());
    assert_eq!(expected(render(&of_event, &event(r#"{"n": 1}"#), None).unwrap().unwrap()), written);
    let wrong = render(&of_event, &event(r#"{"n": "one"}"#), None).map_err(failed).unwrap_err();
    assert_eq!(
        (wrong.code, wrong.message.as_str()),
        (Code::Output, "encoding Avro: /n: expected long, got string")
    );

    let of_answer = route(spec(None), true);
    let given: &'static Answer = Box::leak(Box::new(answer(200, &[JSON], r#"{"n": 1}"#)));
    assert_eq!(expected(render(&of_answer, &event("{}"), Some(given)).unwrap().unwrap()), written);
    let attributes = [("ce-specversion", "1.0"), ("ce-id", "i"), ("ce-source", "/s"), ("ce-type", "t"), JSON];
    let as_event: &'static Answer = Box::leak(Box::new(answer(200, &attributes, r#"{"n": 1}"#)));
    let record = render(&of_answer, &event("{}"), Some(as_event)).unwrap().unwrap();
    let kinds: Vec<_> = record.headers.iter().filter(|header| header.name == "content-type").collect();
    assert_eq!(kinds.len(), 1);
    assert_eq!(kinds[0].value.as_deref(), Some(&b"application/avro"[..]));
    assert_eq!(expected(record), written);
    let as_message = route(json!({"topic": "out", "format": "protobuf"}), true);
    let record = render(&as_message, &event("{}"), Some(as_event)).unwrap().unwrap();
    assert!(record.headers.iter().any(|h| h.value.as_deref() == Some(&b"application/protobuf"[..])));
    assert_eq!(expected(record), [8, 1]);
    let other: &'static Answer = Box::leak(Box::new(answer(200, &attributes, r#"{"m": 1}"#)));
    let wrong = render(&of_answer, &event("{}"), Some(other)).map_err(failed).unwrap_err();
    assert_eq!(
        (wrong.code, wrong.message.contains("/n: expected long, it is missing")),
        (Code::Answer, true)
    );
}
