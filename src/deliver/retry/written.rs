//! The `retry` block as it is written.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::outcome::Code;
use crate::spec::units;

/// How often and how long a record is tried again. Left out: eight attempts, exponential from 1 s to 10 m.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// How many attempts are made, the first one included. Default 8; with a list of waits, its length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_attempts: Option<u32>,
    /// How waits grow: `exponential` (the default: a random time up to a cap that doubles), `fixed`, or the waits
    /// themselves, such as `[0s, 5s, 10s, 20s]`: the first is the wait before the first attempt, from when the record's turn has
    /// come; the last one repeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Backoff>,
    /// `exponential`: the cap of the first wait; `fixed`: every wait. Default 1s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_delay: Option<units::Duration>,
    /// `exponential`: the cap stops doubling here. Default 10m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_delay: Option<units::Duration>,
    /// How long after its first attempt a record is tried at all. A wait that would end later is cut for one last
    /// attempt. Default: no end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub give_up_after: Option<units::Duration>,
    /// Whether waits are spread by chance, so that many waiters do not return together. `false` waits exactly what is
    /// written (`exponential`: the whole cap). Default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<bool>,
    /// The only failures that are tried again: statuses, `5xx`, `dns`, `connect`, `reset`, `timeout`, `protocol`. What is
    /// not listed is dead-lettered at once. Default: the table of the webhook contract.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<Vec<Trigger>>,
}

/// An example, run as a test and printed in the docs.
pub const EXAMPLE: &str =
    "retry: { max_attempts: 8, backoff: exponential, initial_delay: 1s, max_delay: 5m }";

/// The form of the waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Backoff {
    /// Full jitter below a cap that doubles.
    Exponential,
    /// The same wait each time.
    Fixed,
    /// Entry k, from 1, is the wait before attempt k; the last repeats.
    List(Vec<units::Duration>),
}

/// A failure that is worth another attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trigger {
    /// This status.
    Status(u16),
    /// Any status from 500 to 599 that the table retries.
    ServerError,
    /// `dns`, `connect`, `reset`, `timeout` or `protocol`.
    Transport(Code),
}

impl<'de> Deserialize<'de> for Backoff {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;

        impl<'de> Visitor<'de> for Form {
            type Value = Backoff;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`exponential`, `fixed` or a list of waits, such as [0s, 5s, 10s, 20s]")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Backoff, E> {
                match text {
                    "exponential" => Ok(Backoff::Exponential),
                    "fixed" => Ok(Backoff::Fixed),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
                }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Backoff, A::Error> {
                let mut list = Vec::new();
                while let Some(wait) = entries.next_element()? {
                    list.push(wait);
                }
                Ok(Backoff::List(list))
            }
        }

        deserializer.deserialize_any(Form)
    }
}

impl Serialize for Backoff {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Backoff::Exponential => serializer.serialize_str("exponential"),
            Backoff::Fixed => serializer.serialize_str("fixed"),
            Backoff::List(list) => list.serialize(serializer),
        }
    }
}

impl JsonSchema for Backoff {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Backoff".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let wait = generator.subschema_for::<units::Duration>();
        json_schema!({ "anyOf": [
            { "type": "string", "enum": ["exponential", "fixed"] },
            { "type": "array", "items": wait, "minItems": 1 },
        ] })
    }
}

const TRANSPORTS: [Code; 5] = [Code::Dns, Code::Connect, Code::Reset, Code::Timeout, Code::Protocol];

impl<'de> Deserialize<'de> for Trigger {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;

        impl Visitor<'_> for Form {
            type Value = Trigger;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a status from 300 to 599, `5xx`, `dns`, `connect`, `reset`, `timeout` or `protocol`",
                )
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Trigger, E> {
                match u16::try_from(number) {
                    Ok(status @ 300..=599) => Ok(Trigger::Status(status)),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Unsigned(number), &self)),
                }
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Trigger, E> {
                match u64::try_from(number) {
                    Ok(number) => self.visit_u64(number),
                    Err(_) => Err(E::invalid_value(serde::de::Unexpected::Signed(number), &self)),
                }
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Trigger, E> {
                if text == "5xx" {
                    return Ok(Trigger::ServerError);
                }
                match TRANSPORTS.into_iter().find(|code| code.as_str() == text) {
                    Some(code) => Ok(Trigger::Transport(code)),
                    None => Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
                }
            }
        }

        deserializer.deserialize_any(Form)
    }
}

impl Serialize for Trigger {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Trigger::Status(status) => serializer.serialize_u16(*status),
            Trigger::ServerError => serializer.serialize_str("5xx"),
            Trigger::Transport(code) => serializer.serialize_str(code.as_str()),
        }
    }
}

impl JsonSchema for Trigger {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "RetryTrigger".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "integer", "minimum": 300, "maximum": 599 },
            { "type": "string", "enum": ["5xx", "dns", "connect", "reset", "timeout", "protocol"] },
        ] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::span::Source;
    use crate::spec::tree::{Document, read};

    #[derive(Deserialize)]
    struct File {
        retry: Option<Spec>,
    }

    #[test]
    fn the_example_is_read() {
        let mut findings = Vec::new();
        let source = Source::new("example", EXAMPLE);
        let mut document = Document::parse(&source, &mut findings).unwrap();
        let File { retry } = read(&mut document, &mut findings).unwrap();
        assert_eq!(retry.unwrap().max_attempts, Some(8));
        assert!(findings.is_empty(), "{findings:?}");
    }
}
