//! `flatten`: makes one level of nested objects, the names joined. Lists stay as they are.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vrl::path::OwnedValuePath;
use vrl::value::{ObjectMap, Value};

use super::{Emit, Example, Transform, failure, paths, take_value};
use crate::event::{Body, Event};
use crate::outcome::Failure;
use crate::plan::expr::{Surroundings, TreeFinding, measure};
use crate::settings::References;

/// What to flatten.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// The path of an object; `.` (the default) is the whole value.
    #[serde(default = "root")]
    pub path: String,
    /// What stands between the names. Default `.`.
    #[serde(default = "root")]
    pub separator: String,
}

fn root() -> String {
    ".".to_owned()
}

/// Run as a test and printed in the docs.
pub const EXAMPLE: Example = Example {
    yaml: "flatten: { separator: _ }",
    input: r#"{"order": {"id": 7, "total": {"cents": 5}}, "lines": [1]}"#,
    output: r#"{"lines": [1], "order_id": 7, "order_total_cents": 5}"#,
};

/// Parses the path.
pub fn build(spec: &Spec, _: &References) -> Result<Box<dyn Transform>, Vec<TreeFinding>> {
    let path = paths::parse(&spec.path).map_err(|finding| vec![TreeFinding::at(["path"], finding)])?;
    Ok(Box::new(Flatten { path, separator: spec.separator.clone() }))
}

#[derive(Debug)]
struct Flatten {
    path: OwnedValuePath,
    separator: String,
}

impl Transform for Flatten {
    fn apply(&self, mut event: Event, _: Surroundings<'_>) -> Result<Emit, Failure> {
        let mut value = take_value(&mut event);
        let nested = match value.get_mut(&self.path).map(|found| std::mem::replace(found, Value::Null)) {
            Some(Value::Object(map)) => map,
            other => {
                let found = other.as_ref().map_or("nothing", Value::kind_str);
                return Err(failure(format!("`{}` is {found}, not an object", paths::name(&self.path))));
            }
        };
        let mut flat =
            Flat { out: ObjectMap::new(), separator: &self.separator, bytes_left: measure::MAX_BYTES };
        flat.add("", nested)?;
        value.insert(&self.path, Value::Object(flat.out));
        event.body = Body::Value(value);
        Ok(Emit::One(event))
    }
}

struct Flat<'a> {
    out: ObjectMap,
    separator: &'a str,
    bytes_left: usize,
}

impl Flat<'_> {
    /// Recurses as deep as the value is, which decoding bounds. Names repeat in each field below them, so their bytes
    /// are counted.
    fn add(&mut self, prefix: &str, map: ObjectMap) -> Result<(), Failure> {
        for (key, value) in map {
            let name =
                if prefix.is_empty() { key.to_string() } else { format!("{prefix}{}{key}", self.separator) };
            let Some(left) = self.bytes_left.checked_sub(name.len()) else {
                return Err(failure(format!(
                    "the names of the result hold more than {} bytes",
                    measure::MAX_BYTES
                )));
            };
            self.bytes_left = left;
            match value {
                Value::Object(inner) if !inner.is_empty() => self.add(&name, inner)?,
                other => drop(self.out.insert(name.into(), other)),
            }
        }
        Ok(())
    }
}
