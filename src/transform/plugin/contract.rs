//! What goes into a plugin and what comes out, as JSON. A key, a header's name or its value that is not UTF-8 is
//! `{"base64": ".."}`, in both directions.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use vrl::value::{ObjectMap, Value};

use crate::event::json::{self, Json};
use crate::event::{Body, Event, Header, event_id};
use crate::plan::expr::{Surroundings, measure};

/// The most events of one call.
const MAX_EVENTS: usize = 10_000;
/// The most headers of an event.
const MAX_HEADERS: usize = 1_000;

static NULL: Value = Value::Null;

/// What a plugin is given. `value` is the first field: a plugin may rely on it.
#[derive(Serialize)]
struct Input<'a> {
    value: Json<'a>,
    key: Option<Text<'a>>,
    headers: Vec<(Text<'a>, Option<Text<'a>>)>,
    topic: &'a str,
    partition: i32,
    offset: i64,
    timestamp: Option<i64>,
    id: Cow<'a, str>,
}

/// Bytes that are text, or are not.
struct Text<'a>(&'a [u8]);

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Ok(text) = std::str::from_utf8(self.0) {
            return serializer.serialize_str(text);
        }
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("base64", &STANDARD.encode(self.0))?;
        map.end()
    }
}

/// The event as JSON. Fails where its value has no JSON form.
pub(super) fn input(event: &Event, around: Surroundings<'_>) -> Result<Vec<u8>, String> {
    let value = match &event.body {
        Body::Value(value) => value,
        Body::Raw(_) => &NULL,
    };
    let origin = &event.origin;
    let input = Input {
        value: Json(value),
        key: event.key.as_ref().map(|key| Text(key)),
        headers: event.headers.iter().map(pair).collect(),
        topic: &origin.topic.name,
        partition: origin.partition,
        offset: origin.offset,
        timestamp: origin.timestamp,
        id: around.id.map_or_else(|| Cow::Owned(event_id(event, value)), Cow::Borrowed),
    };
    serde_json::to_vec(&input).map_err(|why| format!("the value cannot be given to it: {why}"))
}

fn pair(Header { name, value }: &Header) -> (Text<'_>, Option<Text<'_>>) {
    (Text(name), value.as_ref().map(|value| Text(value)))
}

/// The answer of a filter.
pub(super) fn answer(output: &[u8]) -> Result<bool, String> {
    match json::parse(output) {
        Ok(Value::Boolean(answer)) => Ok(answer),
        Ok(other) => Err(format!("a filter answers true or false, and it answered {}", other.kind_str())),
        Err(why) => Err(no_json(&why)),
    }
}

/// The events that a plugin made of `event`. What an event leaves out stays as it was.
pub(super) fn events(output: &[u8], event: &Event) -> Result<Vec<Event>, String> {
    let list = match json::parse(output).map_err(|why| no_json(&why))? {
        Value::Array(list) => list,
        other => {
            return Err(format!(
                "a transform answers with a list of events, and it answered {}",
                other.kind_str()
            ));
        }
    };
    if list.len() > MAX_EVENTS {
        return Err(format!("it answered with {} events; {MAX_EVENTS} are the most", list.len()));
    }
    let several = list.len() > 1;
    let mut events = Vec::with_capacity(list.len());
    for (part, item) in (0u32..).zip(list) {
        let Value::Object(item) = item else {
            return Err(format!(
                "an event is an object, and number {part} of its list is {}",
                item.kind_str()
            ));
        };
        let mut made = Event { part: if several { part } else { event.part }, ..without_body(event) };
        fill(&mut made, item)?;
        events.push(made);
    }
    Ok(events)
}

fn without_body(event: &Event) -> Event {
    let (origin, key, headers) = (event.origin.clone(), event.key.clone(), event.headers.clone());
    Event { origin, key, headers, body: Body::Raw(None), part: event.part }
}

fn fill(event: &mut Event, item: ObjectMap) -> Result<(), String> {
    let mut value = None;
    for (field, given) in item {
        match field.as_str() {
            "value" => value = Some(given),
            "key" => event.key = bytes(&given).map_err(|why| format!("`key` {why}"))?,
            "headers" => event.headers = headers(given)?,
            other => {
                let other: String = other.chars().filter(|c| !c.is_control()).take(40).collect();
                return Err(format!("an event has `value`, `key` and `headers`, and no field `{other}`"));
            }
        }
    }
    let value = value.ok_or("an event needs a `value`")?;
    measure::check(&value)?;
    event.body = Body::Value(value);
    Ok(())
}

fn headers(given: Value) -> Result<Vec<Header>, String> {
    const FORM: &str = "`headers` is a list of pairs: [[\"name\", \"value\"]]";
    let Value::Array(list) = given else { return Err(FORM.to_owned()) };
    if list.len() > MAX_HEADERS {
        return Err(format!("an event has {} headers; {MAX_HEADERS} are the most", list.len()));
    }
    let mut headers = Vec::with_capacity(list.len());
    for pair in list {
        let Value::Array(pair) = pair else { return Err(FORM.to_owned()) };
        let [name, value] = pair.as_slice() else { return Err(FORM.to_owned()) };
        let name = bytes(name).map_err(|why| format!("a header's name {why}"))?;
        let name = name.filter(|name| !name.is_empty() && !name.contains(&0));
        let name = name.ok_or("a header's name is empty or has a NUL")?;
        let value = bytes(value).map_err(|why| format!("a header's value {why}"))?;
        headers.push(Header { name, value });
    }
    Ok(headers)
}

/// A text, null, or bytes in base64.
fn bytes(given: &Value) -> Result<Option<Bytes>, &'static str> {
    const FORM: &str = "is a text, null, or {\"base64\": \"..\"}";
    match given {
        Value::Null => Ok(None),
        Value::Object(map) if map.len() == 1 => {
            let text = map.get("base64").and_then(Value::to_str).ok_or(FORM)?;
            STANDARD.decode(text).map(|bytes| Some(bytes.into())).map_err(|_| FORM)
        }
        other => other.to_str().map(|text| Some(Bytes::copy_from_slice(text.as_bytes()))).ok_or(FORM),
    }
}

fn no_json(why: &json::JsonError) -> String {
    format!("its output is no JSON: {why}")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::event::{Origin, Topic};

    fn event(value: &str) -> Event {
        let topic = Topic { cluster: String::new(), name: "orders".into(), id: None };
        let origin =
            Origin { topic: Arc::new(topic), partition: 3, offset: 7, timestamp: Some(1_800_000_000_000) };
        let header = |name: &'static [u8], value: Option<&'static [u8]>| Header {
            name: Bytes::from_static(name),
            value: value.map(Bytes::from_static),
        };
        Event {
            origin,
            key: Some(Bytes::from_static(b"\xff")),
            headers: vec![header(b"a", Some(b"1")), header(b"a", None), header(b"\xfe", Some(b"\xfd"))],
            body: Body::Value(json::parse(value.as_bytes()).unwrap()),
            part: 0,
        }
    }

    #[test]
    fn what_goes_in_is_exact_and_begins_with_the_value() {
        let around = Surroundings { id: Some("e-1"), ..Surroundings::default() };
        let text = input(&event(r#"{"n": 9223372036854775807, "t": "ü"}"#), around).unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            r#"{"value":{"n":9223372036854775807,"t":"ü"},"key":{"base64":"/w=="},"#.to_owned()
                + r#""headers":[["a","1"],["a",null],[{"base64":"/g=="},{"base64":"/Q=="}]],"#
                + r#""topic":"orders","partition":3,"offset":7,"timestamp":1800000000000,"id":"e-1"}"#
        );
        let tombstone = Event { body: Body::Raw(None), ..event("1") };
        assert!(input(&tombstone, around).unwrap().starts_with(br#"{"value":null,"#));
        let bytes = Event { body: Body::Value(Value::from(Bytes::from_static(b"\xff"))), ..event("1") };
        assert!(input(&bytes, around).unwrap_err().contains("no JSON form"));
    }

    #[test]
    fn what_an_event_leaves_out_stays() {
        let before = event("1");
        let made = events(br#"[{"value": 9007199254740993}]"#, &before).unwrap();
        let expected = Event { body: Body::Value(Value::from(9_007_199_254_740_993_i64)), ..before.clone() };
        assert_eq!(made, [expected]);
        let made = events(
            br#"[{"value": null, "key": null, "headers": []}, {"value": "x", "key": {"base64": "AP8="},
            "headers": [["b", "2"], ["b", null]]}]"#,
            &before,
        )
        .unwrap();
        assert_eq!(made.iter().map(|event| event.part).collect::<Vec<_>>(), [0, 1]);
        assert_eq!((made[0].key.clone(), made[0].headers.len()), (None, 0));
        assert_eq!(made[0].body, Body::Value(Value::Null));
        assert_eq!(made[1].key.as_deref(), Some(&b"\0\xff"[..]));
        assert_eq!(made[1].headers.iter().map(|one| one.value.is_some()).collect::<Vec<_>>(), [true, false]);
        assert_eq!(events(b"[]", &before).unwrap(), []);
        let part = Event { part: 4, ..before };
        assert_eq!(events(br#"[{"value": 1}]"#, &part).unwrap()[0].part, 4);
    }

    #[test]
    fn what_is_no_answer_is_named() {
        let deep = format!(r#"[{{"value": {}1{}}}]"#, "[".repeat(200), "]".repeat(200));
        for (output, said) in [
            ("", "no JSON"),
            ("\u{fffd}", "no JSON"),
            ("[", "no JSON"),
            (&deep, "no JSON"),
            ("{}", "a list of events, and it answered"),
            ("null", "a list of events"),
            ("[1]", "number 0 of its list is"),
            ("[{}]", "needs a `value`"),
            (r#"[{"value": 1, "topic": "x"}]"#, "no field `topic`"),
            (r#"[{"value": 1, "key": 1}]"#, "`key` is a text"),
            (r#"[{"value": 1, "key": {"base64": "*"}}]"#, "`key` is a text"),
            (r#"[{"value": 1, "headers": {"a": "b"}}]"#, "a list of pairs"),
            (r#"[{"value": 1, "headers": [["a"]]}]"#, "a list of pairs"),
            (r#"[{"value": 1, "headers": [["a\u0000", "b"]]}]"#, "a NUL"),
            (r#"[{"value": 1, "headers": [["", "b"]]}]"#, "empty"),
            (r#"[{"value": 18446744073709551615}]"#, "rounded"),
        ] {
            let why = events(output.as_bytes(), &event("1")).unwrap_err();
            assert!(why.contains(said), "{output}: {why}");
        }
        let many = format!("[{}{{}}]", r#"{"value":1},"#.repeat(10_000));
        assert!(events(many.as_bytes(), &event("1")).unwrap_err().contains("10001 events"));
        assert_eq!((answer(b"true"), answer(b" false")), (Ok(true), Ok(false)));
        for output in ["1", "\"true\"", "", "[true]"] {
            assert!(answer(output.as_bytes()).is_err(), "{output}");
        }
    }
}
