//! A scripted answer.

use std::fmt;

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::given::present;
use crate::spec::units::Duration;

/// What is heard of a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// An answer.
    Answer(Answered),
    /// None within the handler's limits.
    Timeout,
    /// No connection.
    Connect,
    /// The connection breaks behind the request.
    Reset,
    /// The name is not known.
    Dns,
    /// The certificate is not trusted.
    Tls,
}

/// An answer: a status alone, or a block.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Answer")]
pub struct Answered {
    /// The status, from 100 to 599.
    pub status: u16,
    /// The headers.
    #[serde(default)]
    pub headers: IndexMap<String, String>,
    /// The body: a text as it is, anything else as JSON.
    #[serde(default, deserialize_with = "present")]
    pub body: Option<Value>,
    /// How long it takes. Left out: no time.
    #[serde(default)]
    pub after: Duration,
}

impl Reply {
    /// An answer of this status, without a body.
    pub fn of_status(status: u16) -> Reply {
        Reply::Answer(Answered { status, headers: IndexMap::new(), body: None, after: Duration::default() })
    }
}

const WORDS: &[&str] = &["timeout", "connect", "reset", "dns", "tls"];

impl<'de> Deserialize<'de> for Reply {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;

        impl<'de> Visitor<'de> for Form {
            type Value = Reply;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a status, a block with `status`, or one of timeout, connect, reset, dns, tls")
            }

            fn visit_u64<E: Error>(self, status: u64) -> Result<Reply, E> {
                let Reply::Answer(answered) = Reply::of_status(u16::try_from(status).unwrap_or(0)) else {
                    return Err(E::custom("this is not a status"));
                };
                answer(answered)
            }

            fn visit_i64<E: Error>(self, status: i64) -> Result<Reply, E> {
                self.visit_u64(u64::try_from(status).unwrap_or(0))
            }

            fn visit_str<E: Error>(self, word: &str) -> Result<Reply, E> {
                match word {
                    "timeout" => Ok(Reply::Timeout),
                    "connect" => Ok(Reply::Connect),
                    "reset" => Ok(Reply::Reset),
                    "dns" => Ok(Reply::Dns),
                    "tls" => Ok(Reply::Tls),
                    _ => Err(E::unknown_variant(word, WORDS)),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Reply, A::Error> {
                answer(Answered::deserialize(MapAccessDeserializer::new(map))?)
            }
        }
        deserializer.deserialize_any(Form)
    }
}

fn answer<E: Error>(answered: Answered) -> Result<Reply, E> {
    if !(100..=599).contains(&answered.status) {
        return Err(E::custom("this is not a status; write one from 100 to 599"));
    }
    Ok(Reply::Answer(answered))
}

impl JsonSchema for Reply {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Reply".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let block = generator.subschema_for::<Answered>();
        json_schema!({ "anyOf": [
            { "type": "integer", "minimum": 100, "maximum": 599 },
            { "type": "string", "enum": WORDS },
            block,
        ] })
    }
}
