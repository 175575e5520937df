//! `cast`: makes a value another type, or the record `invalid` where that would change what it says. A path that the
//! value lacks, and null, are left alone.

use std::time::SystemTime;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vrl::path::OwnedValuePath;
use vrl::value::Value;

use super::{Emit, Example, Transform, failure, paths, take_value};
use crate::event::{Body, Event};
use crate::outcome::Failure;
use crate::plan::expr::{Surroundings, TreeFinding};
use crate::settings::References;

/// Paths and the types they take, such as `{.amount: int}`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Spec(pub IndexMap<String, To>);

/// A type to cast to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum To {
    /// A whole number: of a text of digits, of a float without a fraction.
    Int,
    /// A number: of a text, of an integer up to 2^53.
    Float,
    /// True or false: of the texts `true` and `false`.
    Bool,
    /// A text: of a number, a boolean, a timestamp.
    String,
    /// A time: of an RFC 3339 text.
    Timestamp,
}

/// Run as a test and printed in the docs.
pub const EXAMPLE: Example = Example {
    yaml: "cast: { .amount: int, .id: string, .at: timestamp }",
    input: r#"{"amount": "1250", "id": 7, "at": "2024-05-01T12:00:00+02:00"}"#,
    output: r#"{"amount": 1250, "at": "2024-05-01T10:00:00Z", "id": "7"}"#,
};

/// Parses the paths.
pub fn build(spec: &Spec, _: &References) -> Result<Box<dyn Transform>, Vec<TreeFinding>> {
    let mut findings = Vec::new();
    let mut casts = Vec::new();
    for (key, to) in &spec.0 {
        match paths::parse(key) {
            Ok(path) => casts.push((path, *to)),
            Err(finding) => findings.push(TreeFinding::on_key([key], finding)),
        }
    }
    if findings.is_empty() { Ok(Box::new(Cast { casts })) } else { Err(findings) }
}

#[derive(Debug)]
struct Cast {
    casts: Vec<(OwnedValuePath, To)>,
}

impl Transform for Cast {
    fn apply(&self, mut event: Event, _: Surroundings<'_>) -> Result<Emit, Failure> {
        let mut value = take_value(&mut event);
        for (path, to) in &self.casts {
            let Some(field) = value.get_mut(path) else { continue };
            if *field == Value::Null {
                continue;
            }
            let Some(cast) = to.cast(field) else {
                let (path, kind, to) = (paths::name(path), field.kind_str(), to.as_str());
                return Err(failure(format!("`{path}` is a {kind} that cannot be cast to {to}")));
            };
            *field = cast;
        }
        event.body = Body::Value(value);
        Ok(Emit::One(event))
    }
}

/// Up to here every whole number is an `f64`.
const EXACT: i64 = 1 << 53;

impl To {
    fn as_str(self) -> &'static str {
        match self {
            To::Int => "int",
            To::Float => "float",
            To::Bool => "bool",
            To::String => "string",
            To::Timestamp => "timestamp",
        }
    }

    /// The value as this type; `None` where it has no such form.
    fn cast(self, value: &Value) -> Option<Value> {
        let text = value.to_str().map(str::trim);
        match (self, value) {
            (To::Int, Value::Integer(_))
            | (To::Float, Value::Float(_))
            | (To::Bool, Value::Boolean(_))
            | (To::String, Value::String(_))
            | (To::Timestamp, Value::Timestamp(_)) => Some(value.clone()),
            (To::Int, Value::Float(float)) => whole(float.into_inner()),
            (To::Int, _) => text?.parse::<i64>().ok().map(Value::from),
            (To::Float, Value::Integer(number)) => exact(*number),
            (To::Float, _) => {
                let number: f64 = text?.parse().ok()?;
                number.is_finite().then(|| Value::from_f64_or_zero(number))
            }
            (To::Bool, _) => text?.parse::<bool>().ok().map(Value::from),
            (To::String, Value::Bytes(bytes)) => std::str::from_utf8(bytes).ok().map(Value::from),
            (To::String, Value::Array(_) | Value::Object(_) | Value::Null) => None,
            (To::String, scalar) => Some(Value::from(scalar.to_string_lossy().into_owned())),
            (To::Timestamp, _) => {
                let time: jiff::Timestamp = text?.parse().ok()?;
                Some(Value::Timestamp(SystemTime::from(time).into()))
            }
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "whole and below 2^53")]
fn whole(float: f64) -> Option<Value> {
    let is_whole = float.fract() == 0.0 && float.abs() <= EXACT as f64;
    is_whole.then(|| Value::from(float as i64))
}

fn exact(number: i64) -> Option<Value> {
    (number.unsigned_abs() <= EXACT.unsigned_abs()).then(|| Value::from_f64_or_zero(number as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cast_keeps_what_the_value_says_or_fails() {
        let float = |f| Value::from_f64_or_zero(f);
        for (to, from, expected) in [
            (To::Int, Value::from(" 12 "), Some(Value::from(12))),
            (To::Int, float(3.0), Some(Value::from(3))),
            (To::Int, float(3.5), None),
            (To::Int, float(1e300), None),
            (To::Int, Value::from("12x"), None),
            (To::Int, Value::from(true), None),
            (To::Float, Value::from(3), Some(float(3.0))),
            (To::Float, Value::from(EXACT + 1), None),
            (To::Float, Value::from("nan"), None),
            (To::Float, Value::from("0.5"), Some(float(0.5))),
            (To::Bool, Value::from("true"), Some(Value::from(true))),
            (To::Bool, Value::from("yes"), None),
            (To::String, Value::from(7), Some(Value::from("7"))),
            (To::String, Value::Array(vec![]), None),
            (To::Timestamp, Value::from("2024-05-01"), None),
            (To::Timestamp, Value::from(7), None),
        ] {
            assert_eq!(to.cast(&from), expected, "{to:?} {from}");
        }
    }
}
