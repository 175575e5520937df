//! An event that a test starts from.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::event::{Body, Event};

/// An event: one of `value`, `raw`, `raw_base64` and `file`, and what surrounds it.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Given {
    /// The topic that it is read from: chooses the stage. Left out where the pipeline reads one topic.
    pub topic: Option<String>,
    /// The key as text. Left out: none.
    #[serde(deserialize_with = "present")]
    pub key: Option<Value>,
    /// The value as plain JSON; it is encoded by the source's format and schema first. Null is a tombstone.
    #[serde(deserialize_with = "present")]
    pub value: Option<Value>,
    /// The value's bytes as text.
    pub raw: Option<String>,
    /// The value's bytes in base64.
    pub raw_base64: Option<String>,
    /// A file with the value's bytes, below the folder of this one.
    pub file: Option<String>,
    /// The headers.
    pub headers: IndexMap<String, String>,
    /// The record's time. Left out: the time at which the test begins, 2026-01-01T00:00:00Z.
    pub timestamp: Option<Moment>,
    /// The partition. Left out: 0.
    pub partition: Option<i32>,
    /// The offset. Left out: the one behind the event before it, from 0 on.
    pub offset: Option<i64>,
}

impl Given {
    /// A record as it was read: bytes that are text as `raw`, others in base64. A key or a header that is no text is written with
    /// what is none of it replaced.
    pub fn of_event(event: &Event) -> Given {
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        let headers =
            event.headers.iter().filter_map(|one| Some((text(&one.name), text(one.value.as_ref()?))));
        let mut given = Given {
            topic: Some(event.origin.topic.name.clone()),
            key: event.key.as_ref().map(|key| Value::String(text(key))),
            headers: headers.collect(),
            timestamp: event.origin.timestamp.map(Moment),
            partition: Some(event.origin.partition),
            offset: Some(event.origin.offset),
            ..Given::default()
        };
        match &event.body {
            Body::Raw(None) => given.value = Some(Value::Null),
            Body::Raw(Some(bytes)) => match std::str::from_utf8(bytes) {
                Ok(text) => given.raw = Some(text.to_owned()),
                Err(_) => given.raw_base64 = Some(STANDARD.encode(bytes)),
            },
            Body::Value(value) => given.raw = Some(value.to_string()),
        }
        given
    }

    /// The event as it is written.
    pub fn to_json(&self) -> Value {
        let texts = [
            ("topic", &self.topic),
            ("raw", &self.raw),
            ("raw_base64", &self.raw_base64),
            ("file", &self.file),
        ];
        let mut map = serde_json::Map::new();
        map.extend(texts.into_iter().filter_map(|(key, text)| Some((key.to_owned(), text.clone()?.into()))));
        map.extend(self.key.clone().map(|key| ("key".to_owned(), key)));
        map.extend(self.value.clone().map(|value| ("value".to_owned(), value)));
        if !self.headers.is_empty() {
            map.insert("headers".to_owned(), serde_json::json!(self.headers));
        }
        map.extend(self.timestamp.map(|Moment(millis)| ("timestamp".to_owned(), millis.into())));
        map.extend(self.partition.map(|number| ("partition".to_owned(), number.into())));
        map.extend(self.offset.map(|offset| ("offset".to_owned(), offset.into())));
        Value::Object(map)
    }
}

/// A time, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment(pub i64);

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;

        impl Visitor<'_> for Form {
            type Value = Moment;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a time such as 2026-08-21T09:00:00Z, or milliseconds since 1970")
            }

            fn visit_i64<E: Error>(self, millis: i64) -> Result<Moment, E> {
                Ok(Moment(millis))
            }

            fn visit_u64<E: Error>(self, millis: u64) -> Result<Moment, E> {
                i64::try_from(millis).map(Moment).map_err(E::custom)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Moment, E> {
                let time: Result<jiff::Timestamp, _> = text.parse();
                time.map(|time| Moment(time.as_millisecond())).map_err(|_| {
                    E::custom(format_args!("`{text}` is not a time; write one such as 2026-08-21T09:00:00Z"))
                })
            }
        }
        deserializer.deserialize_any(Form)
    }
}

impl JsonSchema for Moment {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Moment".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "string", "format": "date-time" }, { "type": "integer" }] })
    }
}

/// A value that is written, null too: not the same as none.
pub(super) fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}
