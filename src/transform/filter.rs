//! `filter`: lets an event go on where its condition is true. What it stops ends as `filtered`, cause `condition`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Emit, Example, Transform};
use crate::event::Event;
use crate::outcome::{Failure, Filter as Cause};
use crate::plan::expr::{Predicate, Surroundings, TreeFinding, View};
use crate::settings::References;

/// A condition in VRL over `.` and `%`: an event goes on where it is true.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Spec(pub String);

/// Run as a test and printed in the docs.
pub const EXAMPLE: Example =
    Example { yaml: r#"filter: .status == "PAID""#, input: r#"{"id": 1, "status": "OPEN"}"#, output: "" };

/// Compiles the condition.
pub fn build(spec: &Spec, _: &References) -> Result<Box<dyn Transform>, Vec<TreeFinding>> {
    let condition = Predicate::compile(&spec.0).map_err(super::spec::unplaced)?;
    Ok(Box::new(Filter { condition }))
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

    fn is_program(&self) -> bool {
        true
    }

    fn reads_id(&self) -> bool {
        self.condition.reads_id()
    }
}
