//! `split`: makes one event of each entry of a list. Each is delivered apart, with a `webhook-id` of its own. Everything
//! around the list is in each of them; at the list's place stands the entry. An empty list is `filtered`, cause `empty`.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};
use vrl::path::OwnedValuePath;
use vrl::value::Value;

use super::{Emit, Example, Transform, failure, paths, take_value};
use crate::event::{Body, Event};
use crate::outcome::{Failure, Filter};
use crate::plan::expr::{Surroundings, TreeFinding, measure};
use crate::settings::References;
use crate::spec::form::{TextOrBlock, text_or_block};

/// The list to split; `split: .lines` is short for `split: {path: .lines}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Spec {
    /// The path of a list; `.` where the value itself is one.
    pub path: String,
}

/// Run as a test and printed in the docs.
pub const EXAMPLE: Example = Example {
    yaml: "split: .lines",
    input: r#"{"order": 7, "lines": [{"sku": "a"}, {"sku": "b"}]}"#,
    output: "{\"order\": 7, \"lines\": {\"sku\": \"a\"}}\n{\"order\": 7, \"lines\": {\"sku\": \"b\"}}",
};

/// The most events of one record.
const MAX_PARTS: usize = 10_000;

/// Parses the path.
pub fn build(spec: &Spec, _: &References) -> Result<Box<dyn Transform>, Vec<TreeFinding>> {
    let path = paths::parse(&spec.path).map_err(|finding| vec![TreeFinding::at(["path"], finding)])?;
    Ok(Box::new(Split { path }))
}

#[derive(Debug)]
struct Split {
    path: OwnedValuePath,
}

impl Transform for Split {
    fn apply(&self, mut event: Event, _: Surroundings<'_>) -> Result<Emit, Failure> {
        let mut value = take_value(&mut event);
        let list = match value.get_mut(&self.path).map(|found| std::mem::replace(found, Value::Null)) {
            Some(Value::Array(list)) => list,
            other => {
                let found = other.as_ref().map_or("nothing", Value::kind_str);
                return Err(failure(format!("`{}` is {found}, not a list", paths::name(&self.path))));
            }
        };
        if list.is_empty() {
            return Ok(Emit::Filtered(Filter::Empty));
        }
        if list.len() > MAX_PARTS || measure::nodes(&value).saturating_mul(list.len()) > measure::MAX_NODES {
            let what = format!("`{}` has {} entries: too many to split", paths::name(&self.path), list.len());
            return Err(failure(what));
        }
        let mut parts = Vec::with_capacity(list.len());
        for (part, entry) in (0u32..).zip(list) {
            let mut value = value.clone();
            value.insert(&self.path, entry);
            let origin = event.origin.clone();
            let (key, headers) = (event.key.clone(), event.headers.clone());
            parts.push(Event { origin, key, headers, body: Body::Value(value), part });
        }
        Ok(Emit::Many(parts))
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Block {
    /// The path of a list; `.` where the value itself is one.
    path: String,
}

impl TextOrBlock for Spec {
    type Block = Block;
    const EXPECTED: &'static str = "a path, or a block with `path`";

    fn of_text<E>(path: &str) -> Result<Spec, E> {
        Ok(Spec { path: path.to_owned() })
    }

    fn of_block<E>(Block { path }: Block) -> Result<Spec, E> {
        Ok(Spec { path })
    }
}

impl<'de> Deserialize<'de> for Spec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text_or_block(deserializer)
    }
}

impl JsonSchema for Spec {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Split".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let block = generator.subschema_for::<Block>();
        json_schema!({ "anyOf": [{ "type": "string" }, block] })
    }
}
