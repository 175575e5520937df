//! The `source` key: which topics, from where, in which format.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::form::{TextOrBlock, text_or_block};
use crate::codec::{Format, SchemaSpec, Wide};
use crate::deliver::judge::OnInvalid;
use crate::seal::VerifySpec;

/// Where a stage's records come from: a topic's name, or a block.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Spec {
    /// The topics, without references resolved; at least one where there is no `pattern`.
    pub topics: Vec<String>,
    /// A regular expression over whole names, in place of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// The cluster of `kafka.clusters`; left out it is that of `kafka` itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The consumer group; left out it is `weir.PIPELINE`, `weir.PIPELINE.STAGE` in a file with stages.
    pub group: Option<String>,
    /// Where a group begins that never committed.
    pub start: Start,
    /// How values are written.
    pub format: Format,
    /// The schema of `format: avro` and `protobuf`, or the JSON Schema by which each value of `format: json` is validated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<SchemaSpec>,
    /// What becomes of a record that does not decode.
    pub on_invalid: OnInvalid,
    /// What becomes of an integer that no `i64` holds.
    pub wide_integers: Wide,
    /// What becomes of null values.
    pub on_tombstone: OnTombstone,
    /// What becomes of a committed offset that is not in the log any more.
    pub on_out_of_range: OnOutOfRange,
    /// Who must have signed them; `None`: nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify: Option<VerifySpec>,
}

/// The block as it is written.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SourceBlock")]
pub(crate) struct Block {
    /// The topic. One of `topic`, `topics` and `pattern`.
    #[serde(default, deserialize_with = "one_topic")]
    #[schemars(with = "Option<String>")]
    topic: Option<String>,
    /// Several topics, read by one group.
    topics: Option<Vec<String>>,
    /// Every topic whose whole name this regular expression matches, those that come later included: these are read from their
    /// beginning, and one that came while no instance ran from `start`.
    pattern: Option<String>,
    /// The cluster, by its name in `kafka.clusters` of weir.yaml; also that of `publish` and `dlq`. Default: that of `kafka`.
    cluster: Option<String>,
    /// The consumer group. Default `weir.PIPELINE`, `weir.PIPELINE.STAGE` in a file with stages. No two stages share one.
    group: Option<String>,
    /// Where a group begins that never committed: `earliest` (default), `latest`, or an RFC 3339 time.
    #[serde(default)]
    start: Start,
    /// How values are written. Default `json`.
    #[serde(default)]
    format: Format,
    /// The schema of `format: avro` and `protobuf`, or the JSON Schema by which each value of `format: json` is validated.
    schema: Option<SchemaSpec>,
    /// What becomes of a record that does not decode, or that `verify` refuses: `dlq` (default), `pause` or `discard`.
    #[serde(default)]
    on_invalid: OnInvalid,
    /// What becomes of an integer of JSON or Protobuf below -2^63 or above 2^63-1: `error` (default: the record is invalid) or `text`
    /// (its digits).
    #[serde(default)]
    wide_integers: Wide,
    /// What becomes of null values: `skip` (default), `deliver` or `dlq`.
    #[serde(default)]
    on_tombstone: OnTombstone,
    /// What becomes of a committed offset that is not in the log any more: `pause` (default), `earliest` or `latest`.
    #[serde(default)]
    on_out_of_range: OnOutOfRange,
    /// Who must have signed the records, over topic, key, value and event id; `on_invalid` is for those that nobody has.
    verify: Option<VerifySpec>,
}

/// Where a group begins that never committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// At the beginning of the log.
    #[default]
    Earliest,
    /// At its end.
    Latest,
    /// At the first record at or after this time.
    At(jiff::Timestamp),
}

/// What becomes of null values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnTombstone {
    /// They are filtered, and counted.
    #[default]
    Skip,
    /// They go on as null.
    Deliver,
    /// They are dead-lettered.
    Dlq,
}

/// What becomes of a committed offset that is not in the log any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnOutOfRange {
    /// The stage holds and says what is at stake.
    #[default]
    Pause,
    /// Reading goes on at the beginning of the log.
    Earliest,
    /// Reading goes on at its end.
    Latest,
}

/// An example, run as a test and printed in the docs.
pub const EXAMPLE: &str = "source: { topic: shop.orders.v1, start: latest, on_tombstone: deliver }";

impl Spec {
    /// A topic, everything else by default.
    pub fn of_topic(topic: impl Into<String>) -> Spec {
        Spec {
            topics: vec![topic.into()],
            pattern: None,
            cluster: None,
            group: None,
            start: Start::default(),
            format: Format::default(),
            schema: None,
            on_invalid: OnInvalid::default(),
            wide_integers: Wide::default(),
            on_tombstone: OnTombstone::default(),
            on_out_of_range: OnOutOfRange::default(),
            verify: None,
        }
    }
}

/// A topic's name; who writes a list here is told of `topics`.
fn one_topic<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    struct One;

    impl Visitor<'_> for One {
        type Value = String;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("one topic, or several as `topics: [a, b]`")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
            Ok(text.to_owned())
        }
    }

    deserializer.deserialize_str(One).map(Some)
}

impl TextOrBlock for Spec {
    type Block = Block;
    const EXPECTED: &'static str = "a topic or a block with `topic`";

    fn of_text<E>(text: &str) -> Result<Spec, E> {
        Ok(Spec::of_topic(text))
    }

    fn of_block<E: Error>(block: Block) -> Result<Spec, E> {
        let written = [block.topic.is_some(), block.topics.is_some(), block.pattern.is_some()];
        if written.into_iter().filter(|there| *there).count() > 1 {
            return Err(E::custom(
                "a source has one of `topic`, `topics` and `pattern`; write all topics into `topics`, or a `pattern` that \
                 takes them all",
            ));
        }
        let topics = match (block.topic, block.topics, &block.pattern) {
            (Some(topic), _, _) => vec![topic],
            (None, Some(topics), _) if topics.is_empty() => {
                return Err(E::custom(
                    "`topics` names no topic; write at least one: topics: [shop.orders.v1]",
                ));
            }
            (None, Some(topics), _) => topics,
            (None, None, Some(_)) => Vec::new(),
            (None, None, None) => return Err(E::missing_field("topic")),
        };
        Ok(Spec {
            topics,
            pattern: block.pattern,
            cluster: block.cluster,
            group: block.group,
            start: block.start,
            format: block.format,
            schema: block.schema,
            on_invalid: block.on_invalid,
            wide_integers: block.wide_integers,
            on_tombstone: block.on_tombstone,
            on_out_of_range: block.on_out_of_range,
            verify: block.verify,
        })
    }
}

impl<'de> Deserialize<'de> for Spec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text_or_block(deserializer)
    }
}

impl JsonSchema for Spec {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Source".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let block = generator.subschema_for::<Block>();
        json_schema!({ "anyOf": [{ "type": "string", "description": "The topic." }, block] })
    }
}

impl<'de> Deserialize<'de> for Start {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.as_str() {
            "earliest" => Ok(Start::Earliest),
            "latest" => Ok(Start::Latest),
            time => time.parse().map(Start::At).map_err(|_| {
                let forms = "earliest, latest or a time such as 2026-08-21T09:00:00Z";
                D::Error::custom(format_args!("`{time}` is no start; write {forms}"))
            }),
        }
    }
}

impl Serialize for Start {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Start::Earliest => serializer.serialize_str("earliest"),
            Start::Latest => serializer.serialize_str("latest"),
            Start::At(time) => serializer.collect_str(time),
        }
    }
}

impl JsonSchema for Start {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Start".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "examples": ["earliest", "latest", "2026-08-21T09:00:00Z"] })
    }
}
