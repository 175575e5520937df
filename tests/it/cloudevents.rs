//! CloudEvents, read by an implementation that is not ours: the Python package `cloudevents` (H07).

use std::time::Duration;

use rdkafka::message::{Header, OwnedHeaders};
use serde_json::{Value, json};

use crate::dead_letters::send;
use crate::delivery::Stage;
use crate::support::python::{as_json, python};
use crate::support::receiver::status;

/// Each event as the package reads it, one list for each request.
const READ: &str = r#"
import json, sys
from cloudevents.core.bindings import http
from cloudevents.core.formats.json import JSONFormat
def shown(event):
    attributes = {k: v if isinstance(v, str) else v.isoformat() for k, v in event.get_attributes().items()}
    data = event.get_data()
    return {'attributes': attributes, 'data': data.decode() if isinstance(data, bytes) else data}
for request in json.load(sys.stdin):
    if 'batch' in request['headers']['content-type']:
        events = [JSONFormat().read(None, json.dumps(item)) for item in json.loads(request['body'])]
    else:
        events = [http.from_http_event(http.HTTPMessage(request['headers'], request['body'].encode()))]
    print(json.dumps([shown(event) for event in events]))
"#;

/// What a stage with these keys sends for two records, as the package reads it.
async fn read(test: &str, keys: &str) -> Vec<Value> {
    let stage = Stage::set(test, keys, |_| status(200)).await;
    let own = OwnedHeaders::new()
        .insert(Header { key: "ce_specversion", value: Some("1.0") })
        .insert(Header { key: "ce_id", value: Some("own-1") })
        .insert(Header { key: "ce_source", value: Some("/elsewhere") })
        .insert(Header { key: "ce_type", value: Some("their.type") })
        .insert(Header { key: "ce_time", value: Some("2020-02-03T04:05:06Z") })
        .insert(Header { key: "ce_shop", value: Some("Euro \u{20ac} \u{1f600}") });
    let value = r#"{"event_id": "e-7", "type": "order.paid", "n": 9007199254740993}"#;
    send(&stage, Some("sch\u{fc}ssel".as_bytes()), Some(value.as_bytes()), OwnedHeaders::new(), 0);
    send(&stage, Some(b"other"), Some(b"[1]"), own, 0);
    let weir = stage.site.start("one").await;
    stage.watched().all_committed(&stage.run, &[(0, 2)].into()).await;
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
    let said = python(READ, &[], &as_json(&stage.receiver.arrivals()));
    let lists = said.lines().map(|line| serde_json::from_str::<Vec<Value>>(line).unwrap());
    let mut events: Vec<Value> = lists.flatten().collect();
    events.sort_by_key(|event| event["attributes"]["id"].to_string());
    events
}

/// The same event in every form; `topic` is part of what is made up.
fn judge(events: &[Value], test: &str) {
    let [first, second] = events else { panic!("{events:#?}") };
    let attributes = &first["attributes"];
    let source = attributes["source"].as_str().unwrap();
    assert!(source.starts_with("/kafka/") && source.contains(test), "{source}");
    for (name, value) in [
        ("id", "e-7"),
        ("type", "order.paid"),
        ("partitionkey", "sch\u{fc}ssel"),
        ("sequence", "0000000000000000000"),
        ("subject", "order 9007199254740993"),
    ] {
        assert_eq!(attributes[name], value, "{name}");
    }
    assert_eq!(
        first["data"],
        json!({"event_id": "e-7", "type": "order.paid", "n": 9_007_199_254_740_993_u64})
    );
    for (name, value) in [
        ("id", "own-1"),
        ("type", "their.type"),
        ("source", "/elsewhere"),
        ("time", "2020-02-03T04:05:06+00:00"),
        ("shop", "Euro \u{20ac} \u{1f600}"),
    ] {
        assert_eq!(second["attributes"][name], value, "a CloudEvent stays the same: {name}");
    }
    assert_eq!(second["data"], json!([1]));
}

fn keys(mode: &str) -> String {
    format!("    cloudevents: {{ mode: {mode}, type: made.up, subject: \"order {{{{ .n }}}}\" }}\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn are_read_by_another_sdk_in_every_form() {
    judge(&read("ce-binary", &keys("binary")).await, "ce-binary");
    judge(&read("ce-structured", &keys("structured")).await, "ce-structured");
    let batch = format!("{}    batch: {{ linger: 500ms }}\n", keys("structured"));
    judge(&read("ce-batch", &batch).await, "ce-batch");
}
