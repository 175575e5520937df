//! `rename`: moves values to other paths. All are taken first and written then, so that two can change places. A path
//! that the value lacks is left alone.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vrl::path::OwnedValuePath;

use super::{Emit, Example, Transform, failure, paths, take_value};
use crate::event::{Body, Event};
use crate::outcome::Failure;
use crate::plan::expr::{Surroundings, TreeFinding, measure};
use crate::settings::References;

/// Old paths and their new ones, such as `{.orderId: .order_id}`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Spec(pub IndexMap<String, String>);

/// Run as a test and printed in the docs.
pub const EXAMPLE: Example = Example {
    yaml: "rename: { .orderId: .order.id, .none: .nothing }",
    input: r#"{"orderId": 7, "order": {"state": "PAID"}}"#,
    output: r#"{"order": {"id": 7, "state": "PAID"}}"#,
};

/// Parses the paths.
pub fn build(spec: &Spec, _: &References) -> Result<Box<dyn Transform>, Vec<TreeFinding>> {
    let mut findings = Vec::new();
    let mut moves = Vec::new();
    for (old, new) in &spec.0 {
        let from = paths::parse(old).map_err(|f| findings.push(TreeFinding::on_key([old], f))).ok();
        let to = paths::parse(new).map_err(|f| findings.push(TreeFinding::at([old], f))).ok();
        moves.extend(from.zip(to));
    }
    if findings.is_empty() { Ok(Box::new(Rename { moves })) } else { Err(findings) }
}

#[derive(Debug)]
struct Rename {
    moves: Vec<(OwnedValuePath, OwnedValuePath)>,
}

impl Transform for Rename {
    fn apply(&self, mut event: Event, _: Surroundings<'_>) -> Result<Emit, Failure> {
        let mut value = take_value(&mut event);
        let taken: Vec<_> =
            self.moves.iter().filter_map(|(from, to)| Some((to, value.remove(from, false)?))).collect();
        for (to, moved) in taken {
            value.insert(to, moved);
        }
        measure::check(&value).map_err(failure)?;
        event.body = Body::Value(value);
        Ok(Emit::One(event))
    }
}
