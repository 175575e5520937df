//! What a test expects.

use std::borrow::Cow;
use std::fmt;
use std::sync::LazyLock;

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::SeqAccessDeserializer;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::forms::{OneOrList, PerStage, Several};
use super::given::present;
use crate::outcome::{Code, HoldCause, Reason};
use crate::spec::units::Duration;

/// What is to come of the events. What is left out is not looked at; lists are exact.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Expect {
    /// What becomes of the record in the pipeline's one stage: of every one, or a list with one for each that is given.
    pub outcome: Option<Several<OutcomeWord>>,
    /// Why the stage holds, in place of an outcome.
    pub hold: Option<PerStage<Hold>>,
    /// What becomes of the records of each stage that took one; a stage that is not named took none.
    pub stages: Option<IndexMap<String, Several<OutcomeWord>>>,
    /// How many attempts are made for the record: for every one, or a list with one for each.
    pub attempts: Option<PerStage<Several<u32>>>,
    /// The waits between the attempts, each from the end of one to the beginning of the next of the same record.
    pub waits: Option<PerStage<Vec<Duration>>>,
    /// The requests in the order in which they are made, or how many.
    pub requests: Option<PerStage<Requests>>,
    /// What is written to topics, in its order; dead letters apart.
    pub published: Option<Vec<Published>>,
    /// The dead letters: one, or a list. Key and value are those of the record in any case.
    pub dlq: Option<OneOrList<DeadLetter>>,
}

impl Expect {
    /// Whether it looks at nothing.
    pub fn is_empty(&self) -> bool {
        *self == Expect::default()
    }
}

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Outcome")]
pub enum OutcomeWord {
    /// The handler accepted it, and what it publishes is written.
    Delivered,
    /// The pipeline does not want it.
    Filtered,
    /// It went to the DLQ.
    DeadLettered,
    /// `on_invalid: discard`.
    Discarded,
}

impl OutcomeWord {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            OutcomeWord::Delivered => "delivered",
            OutcomeWord::Filtered => "filtered",
            OutcomeWord::DeadLettered => "dead_lettered",
            OutcomeWord::Discarded => "discarded",
        }
    }
}

/// Why a stage holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold(pub HoldCause);

/// Why a record is dead-lettered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WordOfReason(pub Reason);

/// The same, finely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WordOfCode(pub Code);

const REASONS: [Reason; 4] = [Reason::Invalid, Reason::Rejected, Reason::Exhausted, Reason::Parked];
static HOLDS: LazyLock<Vec<&str>> = LazyLock::new(|| HoldCause::ALL.iter().map(|one| one.as_str()).collect());
static REASON_WORDS: LazyLock<Vec<&str>> = LazyLock::new(|| REASONS.iter().map(|one| one.as_str()).collect());
static CODES: LazyLock<Vec<&str>> = LazyLock::new(|| Code::ALL.iter().map(|one| one.as_str()).collect());

/// A word of a table that lies elsewhere.
macro_rules! words {
    ($($name:ident of $all:expr, $words:ident, $schema:literal;)+) => { $(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let word = String::deserialize(deserializer)?;
                let found = $all.iter().find(|one| one.as_str() == word);
                found.map(|one| $name(*one)).ok_or_else(|| D::Error::unknown_variant(&word, &$words))
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                $schema.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "enum": *$words })
            }
        }
    )+ };
}

words! {
    Hold of HoldCause::ALL, HOLDS, "Hold";
    WordOfReason of REASONS, REASON_WORDS, "Reason";
    WordOfCode of Code::ALL, CODES, "Code";
}

/// Requests one by one, or how many.
#[derive(Debug, Clone, PartialEq)]
pub enum Requests {
    /// How many.
    Count(usize),
    /// One by one.
    List(Vec<Request>),
}

impl<'de> Deserialize<'de> for Requests {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;

        impl<'de> Visitor<'de> for Form {
            type Value = Requests;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of requests, or how many")
            }

            fn visit_u64<E: Error>(self, count: u64) -> Result<Requests, E> {
                usize::try_from(count).map(Requests::Count).map_err(E::custom)
            }

            fn visit_i64<E: Error>(self, count: i64) -> Result<Requests, E> {
                let count = usize::try_from(count);
                count
                    .map(Requests::Count)
                    .map_err(|_| E::custom("there is no such number; write how many there are, from 0 on"))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Requests, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(seq)).map(Requests::List)
            }
        }
        deserializer.deserialize_any(Form)
    }
}

impl JsonSchema for Requests {
    fn schema_name() -> Cow<'static, str> {
        "Requests".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let request = generator.subschema_for::<Request>();
        json_schema!({ "anyOf": [
            { "type": "integer", "minimum": 0 },
            { "type": "array", "items": request },
        ] })
    }
}

/// A request that is expected.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Request {
    /// Its method.
    pub method: Option<String>,
    /// Where it goes.
    pub url: Option<String>,
    /// Headers that it has; it may have others.
    pub headers: IndexMap<String, String>,
    /// Its body: JSON, or a text.
    #[serde(deserialize_with = "present")]
    pub body: Option<Value>,
    /// What is in its body, besides other things.
    #[serde(deserialize_with = "present")]
    pub contains: Option<Value>,
    /// `valid`: it is signed. One that is signed wrongly fails the test in any case.
    pub signature: Option<Signature>,
}

/// What a signature is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Signature {
    /// There is one, by one of the secrets of `sign`.
    Valid,
}

/// A record that is expected in a topic.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Published {
    /// The topic.
    pub topic: Option<String>,
    /// The key as text; null: none.
    #[serde(deserialize_with = "present")]
    pub key: Option<Value>,
    /// The value as plain JSON, as it reads by the entry's format and schema.
    #[serde(deserialize_with = "present")]
    pub value: Option<Value>,
    /// What is in the value, besides other things.
    #[serde(deserialize_with = "present")]
    pub contains: Option<Value>,
    /// Headers that it has; it may have others.
    pub headers: IndexMap<String, String>,
}

/// A dead letter that is expected.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DeadLetter {
    /// The topic.
    pub topic: Option<String>,
    /// The stage that wrote it, by its name in the file.
    pub stage: Option<String>,
    /// Why.
    pub reason: Option<WordOfReason>,
    /// Why, finely.
    pub code: Option<WordOfCode>,
    /// Headers that it has; it may have others.
    pub headers: IndexMap<String, String>,
}
