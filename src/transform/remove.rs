//! `remove`: takes paths out of the value. A path that the value lacks is no failure.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vrl::path::OwnedValuePath;

use super::{Emit, Example, Transform, paths, take_value};
use crate::event::{Body, Event};
use crate::outcome::Failure;
use crate::plan::expr::{Surroundings, TreeFinding};
use crate::settings::References;

/// Paths to take out, such as `[.customer.card, .internal]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Spec(pub Vec<String>);

/// Run as a test and printed in the docs.
pub const EXAMPLE: Example = Example {
    yaml: "remove: [.customer.card, .debug]",
    input: r#"{"customer": {"card": "4111", "name": "Ada"}}"#,
    output: r#"{"customer": {"name": "Ada"}}"#,
};

/// Parses the paths.
pub fn build(spec: &Spec, _: &References) -> Result<Box<dyn Transform>, Vec<TreeFinding>> {
    let mut findings = Vec::new();
    let mut paths = Vec::new();
    for (at, text) in spec.0.iter().enumerate() {
        match paths::parse(text) {
            Ok(path) => paths.push(path),
            Err(finding) => findings.push(TreeFinding::at([at.to_string()], finding)),
        }
    }
    if findings.is_empty() { Ok(Box::new(Remove { paths })) } else { Err(findings) }
}

#[derive(Debug)]
struct Remove {
    paths: Vec<OwnedValuePath>,
}

impl Transform for Remove {
    fn apply(&self, mut event: Event, _: Surroundings<'_>) -> Result<Emit, Failure> {
        let mut value = take_value(&mut event);
        for path in &self.paths {
            value.remove(path, false);
        }
        event.body = Body::Value(value);
        Ok(Emit::One(event))
    }
}
