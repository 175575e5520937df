//! CloudEvents out, and CloudEvents that came in as such.

use serde_json::{Value, json};

use crate::event::{Body, Event};
use crate::handler::webhook::testing::{
    OK, Server, attempt, context, egress, event, references, serve, webhook,
};
use crate::handler::webhook::{Spec, build};
use crate::outcome::{Code, Failure};

/// The one request for an event: its headers by name, and its body.
async fn sent(keys: Value, event: &Event) -> Result<(Vec<(String, String)>, String), Failure> {
    let server = Server::start(vec![serve(OK)]).await;
    attempt(&webhook(&server.url("/"), &keys), event).await?;
    let request = String::from_utf8(server.requests().remove(0)).unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let headers = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    Ok((headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(), body.to_owned()))
}

fn attributes(headers: &[(String, String)]) -> Vec<(&str, &str)> {
    headers.iter().filter_map(|(name, value)| Some((name.strip_prefix("ce-")?, value.as_str()))).collect()
}

fn find<'a>(list: &[(&'a str, &'a str)], name: &str) -> Option<&'a str> {
    list.iter().find(|(other, _)| *other == name).map(|(_, value)| *value)
}

fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
}

fn binary() -> Value {
    json!({ "cloudevents": { "mode": "binary", "type": "order.any", "subject": "Euro € 😀 100%" } })
}

fn structured() -> Value {
    json!({ "cloudevents": { "mode": "structured", "type": "order.any" } })
}

#[tokio::test]
async fn binary_has_its_attributes_in_headers() {
    let mut event = event(br#"{"metadata": {"eventId": "e-1", "correlationId": "c"}, "n":1}"#, &[]);
    event.key = Some("k 1".into());
    event.origin.timestamp = Some(1_767_225_600_123);
    let (headers, body) = sent(binary(), &event).await.unwrap();
    assert_eq!(body, r#"{"metadata": {"eventId": "e-1", "correlationId": "c"}, "n":1}"#, "byte for byte");
    assert_eq!(header(&headers, "content-type"), Some("application/json"));
    let ce = attributes(&headers);
    for (name, value) in [
        ("specversion", "1.0"),
        ("id", "e-1"),
        ("source", "/kafka/c/shop.orders.v1"),
        ("type", "order.any"),
        ("time", "2026-01-01T00:00:00.123Z"),
        ("subject", "Euro%20%E2%82%AC%20%F0%9F%98%80%20100%25"),
        ("partitionkey", "k%201"),
        ("sequence", "0000000000000184467"),
        ("correlationid", "c"),
    ] {
        assert_eq!(find(&ce, name), Some(value), "{name}");
    }
    assert_eq!(find(&ce, "traceparent"), header(&headers, "traceparent"), "one span");
}

#[tokio::test]
async fn structured_has_all_in_one_body() {
    let mut event = event(br#"{ "type": "order.paid", "n": 9007199254740993 }"#, &[]);
    event.key = Some(bytes::Bytes::from_static(b"\xff"));
    let (headers, body) = sent(structured(), &event).await.unwrap();
    assert_eq!(header(&headers, "content-type"), Some("application/cloudevents+json; charset=utf-8"));
    assert!(attributes(&headers).is_empty());
    assert!(body.contains(r#""data":{ "type": "order.paid", "n": 9007199254740993 }"#), "{body}");
    let parsed: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(parsed["type"], "order.paid");
    assert_eq!(parsed["datacontenttype"], "application/json");
    assert_eq!(parsed.get("partitionkey"), None, "no text, no attribute");
}

#[tokio::test]
async fn data_is_written_as_its_kind_asks() {
    let event = event(b"a \xe2\x82\xac", &[]);
    let of = async |content: &str| {
        let mut keys = structured();
        keys["content"] = content.into();
        sent(keys, &event).await
    };
    let (_, text) = of("text").await.unwrap();
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["data"], "a €");
    let (_, raw) = of("raw").await.unwrap();
    let raw: Value = serde_json::from_str(&raw).unwrap();
    assert_eq!((&raw["data_base64"], raw.get("data")), (&json!("YSDigqw="), None));
    assert_eq!(raw["datacontenttype"], "application/octet-stream");
    let failure = of("json").await.unwrap_err();
    assert_eq!(failure.code, Code::Decode, "{failure:?}");
}

#[tokio::test]
async fn a_tombstone_has_no_data() {
    let mut event = event(b"", &[]);
    event.body = Body::Raw(None);
    let (_, body) = sent(structured(), &event).await.unwrap();
    let parsed: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (parsed.get("data"), parsed.get("data_base64"), parsed.get("datacontenttype")),
        (None, None, None)
    );
    let (headers, body) = sent(binary(), &event).await.unwrap();
    assert_eq!((body.as_str(), header(&headers, "weir-tombstone")), ("", Some("true")));
    assert_eq!(header(&headers, "content-type"), None);
}

#[tokio::test]
async fn an_event_that_came_with_attributes_keeps_them() {
    let given: &[(&'static str, &[u8])] = &[
        ("ce_specversion", b"1.0"),
        ("ce_id", b"own"),
        ("ce_source", b"/shop"),
        ("ce_type", b"com.shop.paid"),
        ("ce_time", b"2020-01-01T00:00:00Z"),
        ("ce_myext", b"x y"),
        ("content-type", b"application/xml"),
    ];
    let (headers, body) = sent(binary(), &event(b"<a/>", given)).await.unwrap();
    let ce = attributes(&headers);
    for (name, value) in
        [("id", "own"), ("source", "/shop"), ("type", "com.shop.paid"), ("time", "2020-01-01T00:00:00Z")]
    {
        assert_eq!(find(&ce, name), Some(value), "{name}");
    }
    assert_eq!(find(&ce, "myext"), Some("x%20y"));
    assert_eq!((body.as_str(), header(&headers, "content-type")), ("<a/>", Some("application/xml")));
}

#[tokio::test]
async fn an_event_that_came_in_one_body_stays_the_same() {
    let value: &[u8] =
        br#"{"specversion":"1.0", "id":"own", "source":"/s", "type":"t", "ext": 7, "data": [1, 2]}"#;
    let event = event(value, &[("content-type", b"application/cloudevents+json")]);
    let (headers, body) = sent(structured(), &event).await.unwrap();
    assert_eq!(body.as_bytes(), value, "byte for byte");
    assert_eq!(header(&headers, "content-type"), Some("application/cloudevents+json; charset=utf-8"));
    let (headers, body) = sent(binary(), &event).await.unwrap();
    let ce = attributes(&headers);
    assert_eq!((find(&ce, "id"), find(&ce, "type"), find(&ce, "ext")), (Some("own"), Some("t"), Some("7")));
    assert_eq!((body.as_str(), header(&headers, "content-type")), ("[1,2]", Some("application/json")));
}

#[tokio::test]
async fn headers_of_records_never_pose_as_attributes() {
    let mut keys = binary();
    keys["forward_headers"] = json!(["*"]);
    let (headers, _) =
        sent(keys, &event(b"1", &[("ce-id", b"false"), ("ce-other", b"x"), ("x", b"y")])).await.unwrap();
    assert_ne!(header(&headers, "ce-id"), Some("false"));
    assert_eq!((header(&headers, "ce-other"), header(&headers, "x")), (None, Some("y")));
}

#[test]
fn what_is_missing_or_written_twice_is_named() {
    let problems = |keys: Value| {
        let mut block = json!({ "url": "http://127.0.0.1:1/" });
        block.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        let spec: Spec = serde_json::from_value(block).unwrap();
        let problems = build(&spec, &context(egress(&json!({}), &[])), &references()).unwrap_err();
        problems.into_iter().map(|problem| (problem.path, problem.message)).collect::<Vec<_>>()
    };
    let none = problems(json!({ "cloudevents": "binary" }));
    assert_eq!(
        none[0],
        ("webhook.cloudevents".into(), "an event that names no type needs one from here".into())
    );
    let mut twice = binary();
    twice["headers"] = json!({ "ce-id": "x" });
    assert_eq!(problems(twice)[0].0, "webhook.headers.ce-id");
    let mut many = binary();
    many["batch"] = json!({});
    assert_eq!(problems(many)[0].0, "webhook.cloudevents");
}
