//! The `dlq` key as it is written.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

use crate::publish::{Problem, topic};
use crate::settings::References;
use crate::spec::form::{TextOrBlock, text_or_block};

/// Where records go that cannot be delivered: a topic, or `{topic, after}`. Left out, the stage pauses instead of dropping.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Spec {
    /// The topic. Literal: no record data.
    pub topic: String,
    /// What happens to later records of the same key.
    pub after: After,
}

/// An example, run as a test and printed in the docs.
pub const EXAMPLE: &str = "dlq: { topic: shop.orders.billing.dlq, after: continue }";

/// What happens to later records of a dead-lettered key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum After {
    /// They are delivered.
    #[default]
    Continue,
    /// They follow it to the DLQ until it is replayed. Not available yet.
    ParkKey,
}

impl Spec {
    /// The topic's name, references resolved.
    pub fn build(&self, references: &References) -> Result<String, Vec<Problem>> {
        let mut problems = Vec::new();
        if self.after == After::ParkKey {
            problems.push(Problem::at("after", "`park_key` is not available yet; write `continue`"));
        }
        let name = match references.resolve(&self.topic) {
            Ok(name) => name.expose().to_owned(),
            Err(error) => {
                problems.push(Problem::at("topic", format!("{error}; {}", error.help())));
                return Err(problems);
            }
        };
        if name.contains("{{") {
            problems.push(Problem::at("topic", "a dead-letter topic holds no record data; write its name"));
        } else if let Some(fault) = topic::fault(&name) {
            problems.push(Problem::at("topic", format!("{fault}; {}", topic::help(&name))));
        }
        if problems.is_empty() { Ok(name) } else { Err(problems) }
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Long {
    /// The topic.
    topic: String,
    /// What happens to later records of the same key: `continue` (the default) delivers them.
    #[serde(default)]
    after: After,
}

impl TextOrBlock for Spec {
    type Block = Long;
    const EXPECTED: &'static str = "a topic, or {topic, after}";

    fn of_text<E>(text: &str) -> Result<Spec, E> {
        Ok(Spec { topic: text.to_owned(), after: After::Continue })
    }

    fn of_block<E>(Long { topic, after }: Long) -> Result<Spec, E> {
        Ok(Spec { topic, after })
    }
}

impl<'de> Deserialize<'de> for Spec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text_or_block(deserializer)
    }
}

impl JsonSchema for Spec {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "DeadLetter".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let long = Long::json_schema(generator);
        json_schema!({ "anyOf": [{ "type": "string" }, long] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::span::Source;
    use crate::spec::tree::{Document, read};

    #[derive(Deserialize)]
    struct File {
        dlq: Option<Spec>,
    }

    #[test]
    fn the_example_is_read() {
        let mut findings = Vec::new();
        let source = Source::new("example", EXAMPLE);
        let mut document = Document::parse(&source, &mut findings).unwrap();
        let File { dlq } = read(&mut document, &mut findings).unwrap();
        assert_eq!(dlq.unwrap().topic, "shop.orders.billing.dlq");
        assert!(findings.is_empty(), "{findings:?}");
    }
}
