//! `filter`: lets an event go on where its condition is true. What it stops ends as `filtered`, cause `condition`.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

use super::{Context, Emit, Example, Transform, plugin};
use crate::event::Event;
use crate::outcome::{Failure, Filter as Cause};
use crate::plan::expr::{Predicate, Surroundings, TreeFinding, View};
use crate::spec::form::{TextOrBlock, text_or_block};
use crate::telemetry::metrics::TransformErrorKind;

/// A condition in VRL over `.` and `%`: an event goes on where it is true.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Spec {
    /// The condition.
    Condition(String),
    /// A plugin that answers true or false.
    Plugin(Block),
}

/// A filter that is no condition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "FilterBlock")]
pub struct Block {
    /// A function of a plugin that answers true or false.
    pub plugin: plugin::Spec,
}

/// Run as a test and printed in the docs.
pub const EXAMPLE: Example =
    Example { yaml: r#"filter: .status == "PAID""#, input: r#"{"id": 1, "status": "OPEN"}"#, output: "" };

/// Compiles the condition, or loads the plugin.
pub fn build(spec: &Spec, context: &Context<'_>) -> Result<Box<dyn Transform>, Vec<TreeFinding>> {
    match spec {
        Spec::Condition(text) => {
            let condition = Predicate::compile(text).map_err(super::spec::unplaced)?;
            Ok(Box::new(Filter { condition }))
        }
        Spec::Plugin(Block { plugin: spec }) => plugin::build_filter(&spec.0, context)
            .map_err(|list| list.into_iter().map(|found| found.under("plugin")).collect()),
    }
}

#[derive(Debug)]
struct Filter {
    condition: Predicate,
}

impl Transform for Filter {
    fn apply(&self, event: Event, around: Surroundings<'_>) -> Result<Emit, Failure> {
        if self.condition.test(&View::of(&event, around))? {
            return Ok(Emit::One(event));
        }
        Ok(Emit::Filtered(Cause::Condition))
    }

    fn looks_into_payload(&self) -> bool {
        self.condition.looks_into_payload()
    }

    fn failure_kind(&self) -> TransformErrorKind {
        TransformErrorKind::Eval
    }

    fn reads_id(&self) -> bool {
        self.condition.reads_id()
    }
}

impl TextOrBlock for Spec {
    type Block = Block;
    const EXPECTED: &'static str = "a condition in VRL, or a block with `plugin`";

    fn of_text<E>(condition: &str) -> Result<Spec, E> {
        Ok(Spec::Condition(condition.to_owned()))
    }

    fn of_block<E>(block: Block) -> Result<Spec, E> {
        Ok(Spec::Plugin(block))
    }
}

impl<'de> Deserialize<'de> for Spec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text_or_block(deserializer)
    }
}

impl JsonSchema for Spec {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Filter".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let block = generator.subschema_for::<Block>();
        json_schema!({ "anyOf": [{ "type": "string" }, block] })
    }
}
