//! What an envelope says of an event besides its id: its type, and the correlation id that travels with it.

use std::borrow::Cow;

use vrl::value::Value;

use super::Event;

/// The correlation id: of the headers `ce_correlationid`, `correlation_id`, `correlation-id`, `correlationId`,
/// `x-correlation-id` (in any case of letters; the first that there is), else of the value (`metadata.correlationId`,
/// `metadata.correlation_id`, `correlation_id`, `correlationId`, `correlationid`). `value` is `Value::Null` where nothing
/// looked into it. Empty counts as absent.
///
/// Source: design, section 5.
pub fn correlation_id<'a>(event: &'a Event, value: &'a Value) -> Option<Cow<'a, str>> {
    const HEADERS: [&str; 5] =
        ["ce_correlationid", "correlation_id", "correlation-id", "correlationid", "x-correlation-id"];
    header(event, &HEADERS).map(Cow::Borrowed).or_else(|| {
        in_metadata(value, &["correlationId", "correlation_id"])
            .or_else(|| field(value, &["correlation_id", "correlationId", "correlationid"]))
    })
}

/// The event type: of the value (`metadata.eventType`, `metadata.event_type`, `event_type`, `eventType`, `type`), else of
/// the headers `ce_type`, `event_type`, `event-type`, `eventType`. Empty counts as absent.
///
/// Source: design, section 5.
pub fn event_type<'a>(event: &'a Event, value: &'a Value) -> Option<Cow<'a, str>> {
    in_metadata(value, &["eventType", "event_type"])
        .or_else(|| field(value, &["event_type", "eventType", "type"]))
        .or_else(|| header(event, &["ce_type", "event_type", "event-type", "eventtype"]).map(Cow::Borrowed))
}

fn header<'a>(event: &'a Event, names: &[&str]) -> Option<&'a str> {
    if event.headers.is_empty() {
        return None;
    }
    names.iter().find_map(|name| {
        let found = event.headers.iter().rev().find(|h| h.name.eq_ignore_ascii_case(name.as_bytes()))?;
        std::str::from_utf8(found.value.as_ref()?).ok().filter(|text| !text.is_empty())
    })
}

fn in_metadata<'a>(value: &'a Value, names: &[&str]) -> Option<Cow<'a, str>> {
    field(value.as_object()?.get("metadata")?, names)
}

fn field<'a>(value: &'a Value, names: &[&str]) -> Option<Cow<'a, str>> {
    let object = value.as_object()?;
    names.iter().find_map(|name| match object.get(*name)? {
        Value::Integer(number) => Some(Cow::Owned(number.to_string())),
        other => other.to_str().filter(|text| !text.is_empty()).map(Cow::Borrowed),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Body, Header, Origin, Topic};
    use bytes::Bytes;
    use std::sync::Arc;

    fn event(headers: &[(&'static str, &'static str)]) -> Event {
        let topic = Topic { cluster: String::new(), name: "t".into(), id: None };
        let header = |(name, value): &(&'static str, &'static str)| Header {
            name: Bytes::from_static(name.as_bytes()),
            value: Some(Bytes::from_static(value.as_bytes())),
        };
        Event {
            origin: Origin { topic: Arc::new(topic), partition: 0, offset: 0, timestamp: None },
            key: None,
            headers: headers.iter().map(header).collect(),
            body: Body::Raw(None),
            part: 0,
        }
    }

    fn value(json: &str) -> Value {
        serde_json::from_str::<serde_json::Value>(json).unwrap().into()
    }

    #[test]
    fn a_header_wins_and_the_value_stands_in() {
        let body =
            value(r#"{"metadata": {"correlationId": "m", "eventType": "order.paid"}, "correlation_id": 7}"#);
        let none = event(&[]);
        assert_eq!(correlation_id(&none, &body).as_deref(), Some("m"));
        assert_eq!(event_type(&none, &body).as_deref(), Some("order.paid"));
        let with = event(&[("X-Correlation-Id", "x"), ("ce_type", "t"), ("ce_correlationid", "")]);
        assert_eq!(correlation_id(&with, &body).as_deref(), Some("x"));
        assert_eq!(event_type(&with, &Value::Null).as_deref(), Some("t"));
        assert_eq!(correlation_id(&none, &value(r#"{"correlation_id": 7}"#)).as_deref(), Some("7"));
    }

    #[test]
    fn what_is_no_text_is_absent() {
        let none = event(&[]);
        for json in ["null", "[]", "5", r#"{"metadata": 5, "correlation_id": {}, "type": ""}"#] {
            let value = value(json);
            assert_eq!((correlation_id(&none, &value), event_type(&none, &value)), (None, None), "{json}");
        }
    }
}
