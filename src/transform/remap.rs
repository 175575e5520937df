//! `remap`: a VRL program that changes the value. `abort`, and a call with `!` that fails, make the record `invalid`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Emit, Example, Transform, take_value};
use crate::event::{Body, Event};
use crate::outcome::Failure;
use crate::plan::expr::{Program, Surroundings, TreeFinding};
use crate::settings::References;
use crate::telemetry::metrics::TransformErrorKind;

/// A program in VRL: reads `.` and `%`, writes to `.`. Write it as a `|` block.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Spec(pub String);

/// Run as a test and printed in the docs.
pub const EXAMPLE: Example = Example {
    yaml: "remap: |\n  .amount_cents = int!(.total.cents)\n  .email = downcase!(.customer.email)\n  del(.customer)\n",
    input: r#"{"total": {"cents": 1250}, "customer": {"email": "Ada@Shop.Test"}}"#,
    output: r#"{"amount_cents": 1250, "email": "ada@shop.test", "total": {"cents": 1250}}"#,
};

/// Compiles the program.
pub fn build(spec: &Spec, _: &References) -> Result<Box<dyn Transform>, Vec<TreeFinding>> {
    let program = Program::compile(&spec.0).map_err(super::spec::unplaced)?;
    Ok(Box::new(Remap { program }))
}

#[derive(Debug)]
struct Remap {
    program: Program,
}

impl Transform for Remap {
    fn apply(&self, mut event: Event, around: Surroundings<'_>) -> Result<Emit, Failure> {
        let value = take_value(&mut event);
        event.body = Body::Value(self.program.run(&event, value, around)?);
        Ok(Emit::One(event))
    }

    fn failure_kind(&self) -> TransformErrorKind {
        TransformErrorKind::Eval
    }

    fn reads_id(&self) -> bool {
        self.program.reads_id()
    }
}
