//! One entry of `publish` as it is written.

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Unexpected};
use serde::{Deserialize, Deserializer, Serialize};

use crate::codec::{Format, Register, SchemaSpec, SubjectName};
use crate::seal::SignSpec;
use crate::spec::form::{TextOrBlock, text_or_block};

/// A topic that is written: after the handler has accepted, or, without a handler, after the transforms.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Publish")]
pub struct Spec {
    /// The topic. May be a template whose beginning is literal: no record decides how a topic's name begins.
    pub topic: String,
    /// Whether this entry is written: a VRL condition. Left out: always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// The key, a template. Left out: the `ce-partitionkey` of an answer that is a CloudEvent, else the source record's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Headers to add: literal names, templates as values.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub headers: IndexMap<String, String>,
    /// How the value is written. Left out: `json`; what is passed on as it is keeps the source's format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// The schema of `format: avro` and `protobuf`, or the JSON Schema by which each value of `format: json` is validated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<SchemaSpec>,
    /// Values are in the Confluent wire format, with the schema of `schema.file`: whether that is registered where it is
    /// compatible (`if_compatible`), or has to be registered already (`never`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub register: Option<Register>,
    /// How the subject is called: `topic` (`TOPIC-value`, the default), `record` or `topic_record`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject_name: Option<SubjectName>,
    /// The value, any YAML whose strings may be templates. Left out: the handler's answer; without a handler the event's
    /// value, byte for byte where nothing has looked into it. `null` writes a tombstone.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub value: Option<serde_json::Value>,
    /// Which partition: `key` (the default: murmur2 of the key, as Java's producer does) or `{partition: VRL}`.
    #[serde(default, skip_serializing_if = "PartitionBy::is_key")]
    pub partition_by: PartitionBy,
    /// Signs each record: for readers whose source has `verify`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign: Option<SignSpec>,
    /// Whether all entries are written in one transaction. Only `false`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub atomic: bool,
}

/// An example, run as a test and printed in the docs.
pub const EXAMPLE: &str =
    "publish: { topic: booking.paid, when: \"%response.status != 402\", key: \"{{ .booking_id }}\",
  value: { booking_id: \"{{ .booking_id }}\", payment_id: \"{{ %response.body.payment_id }}\" } }";

/// Which partition a record goes to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PartitionBy {
    /// By the key; without a key by chance.
    #[default]
    Key,
    /// The number that an expression gives.
    Partition(String),
}

impl PartitionBy {
    fn is_key(&self) -> bool {
        *self == PartitionBy::Key
    }
}

/// A null value is not an absent key.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<serde_json::Value>, D::Error> {
    serde_json::Value::deserialize(deserializer).map(Some)
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Partition {
    /// A VRL expression that gives the partition's number.
    partition: String,
}

impl TextOrBlock for PartitionBy {
    type Block = Partition;
    const EXPECTED: &'static str = "`key` or {partition: VRL}";

    fn of_text<E: Error>(text: &str) -> Result<PartitionBy, E> {
        match text {
            "key" => Ok(PartitionBy::Key),
            "round_robin" | "sticky" => Err(E::custom(format!("`{text}` is not available yet"))),
            _ => Err(E::invalid_value(Unexpected::Str(text), &Self::EXPECTED)),
        }
    }

    fn of_block<E>(Partition { partition }: Partition) -> Result<PartitionBy, E> {
        Ok(PartitionBy::Partition(partition))
    }
}

impl<'de> Deserialize<'de> for PartitionBy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text_or_block(deserializer)
    }
}

impl JsonSchema for PartitionBy {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PartitionBy".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let partition = Partition::json_schema(generator);
        json_schema!({ "anyOf": [{ "type": "string", "enum": ["key"] }, partition] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::span::Source;
    use crate::spec::tree::{Document, read};

    #[derive(Deserialize)]
    struct File {
        publish: Spec,
    }

    fn parse(text: &str) -> (Option<Spec>, usize) {
        let mut findings = Vec::new();
        let mut document = Document::parse(&Source::new("example", text), &mut findings).unwrap();
        let file: Option<File> = read(&mut document, &mut findings);
        (file.map(|file| file.publish), findings.len())
    }

    #[test]
    fn the_example_and_the_other_forms_are_read() {
        let (spec, findings) = parse(EXAMPLE);
        assert_eq!((spec.unwrap().topic.as_str(), findings), ("booking.paid", 0));
        let (spec, findings) =
            parse("publish: { topic: a, value: null, partition_by: { partition: \"3\" }, format: text }");
        let spec = spec.unwrap();
        assert_eq!((spec.value.as_ref(), findings), (Some(&serde_json::Value::Null), 0));
        assert_eq!(spec.partition_by, PartitionBy::Partition("3".into()));
        assert_eq!(serde_json::from_value::<Spec>(serde_json::to_value(&spec).unwrap()).unwrap(), spec);
        for wrong in [
            "publish: { topics: [a] }",
            "publish: { topic: a, partition_by: sticky }",
            "publish: { topic: a, key: null }",
        ] {
            assert!(parse(wrong).1 > 0, "{wrong}");
        }
    }
}
