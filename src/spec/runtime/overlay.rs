//! `WEIR_KAFKA_BROKERS=..` and `--listen ..` put into the tree of the runtime file, so that they are read and judged like
//! what the file says.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Spec;
use crate::spec::diagnostic::{Diagnostic, Label, did_you_mean};
use crate::spec::span::{Source, Span};
use crate::spec::tree::{Document, Path, Segment};

/// A value that counts more than that of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// Which key.
    pub path: Path,
    /// The value as it would be written in the file.
    pub value: String,
    /// Where it comes from, for messages: `WEIR_LISTEN`, `--listen`.
    pub origin: String,
}

impl Override {
    /// A flag that counts more than a variable and the file.
    pub fn flag(origin: &str, path: Path, value: impl Into<String>) -> Override {
        Override { path, value: value.into(), origin: origin.to_owned() }
    }
}

/// Variables that are read elsewhere.
const OTHERS: [&str; 5] = ["WEIR_LOG", "WEIR_CONFIG", "WEIR_SERVER", "WEIR_CONTEXT", "WEIR_COLOR"];
const PREFIX: &str = "WEIR_";

/// The overrides that the environment holds. A variable that is nearly one is a warning.
pub(super) fn of_environment(
    environment: &BTreeMap<String, String>,
    secret_prefix: &str,
    findings: &mut Vec<Diagnostic>,
) -> Vec<Override> {
    let paths = known_paths();
    let mut out = Vec::new();
    for (name, value) in environment {
        let Some(rest) = name.strip_prefix(PREFIX) else { continue };
        if OTHERS.contains(&name.as_str()) || name.starts_with(secret_prefix) {
            continue;
        }
        let written = rest.to_lowercase();
        let exact =
            paths.iter().find(|(spelt, open, _)| !open && *spelt == written).map(|(_, _, path)| path.clone());
        let entry = || {
            paths.iter().filter(|(_, open, _)| *open).find_map(|(spelt, _, path)| {
                let key = written.strip_prefix(spelt.as_str())?.strip_prefix('_')?;
                Some(path.then(key))
            })
        };
        match exact.or_else(entry) {
            Some(path) => out.push(Override { path, value: value.clone(), origin: name.clone() }),
            None => {
                let near = did_you_mean(&written, paths.iter().map(|(spelt, _, _)| spelt.as_str()));
                if let Some(near) = near {
                    let label = Label::new(&Source::new(name, ""), Span::default(), "");
                    let finding =
                        Diagnostic::warning("W0104", format!("the variable `{name}` sets nothing"), label);
                    findings
                        .push(finding.with_help(format!("did you mean `{PREFIX}{}`?", near.to_uppercase())));
                }
            }
        }
    }
    out
}

/// Puts them into the tree; a later one counts more. The value never is a text of the file: it cannot add keys.
pub(super) fn apply(document: &mut Document, overrides: &[Override]) {
    for one in overrides {
        document.put(&one.path, &one.value, Source::new(&one.origin, ""));
    }
}

/// Every key of the file as a variable spells it, whether it takes keys of the user's choice, and its path.
fn known_paths() -> Vec<(String, bool, Path)> {
    let schema = schemars::schema_for!(Spec).to_value();
    let mut out = Vec::new();
    collect(&schema, &schema, &Path::root(), &mut out);
    out
}

fn collect(root: &Value, schema: &Value, path: &Path, out: &mut Vec<(String, bool, Path)>) {
    let pointer =
        schema.get("$ref").and_then(Value::as_str).and_then(|reference| reference.strip_prefix('#'));
    let inner = pointer.and_then(|pointer| root.pointer(pointer)).unwrap_or(schema);
    let any = inner.get("anyOf").and_then(Value::as_array).and_then(|options| options.first());
    let inner = any.map_or(inner, |first| {
        let pointer =
            first.get("$ref").and_then(Value::as_str).and_then(|reference| reference.strip_prefix('#'));
        pointer.and_then(|pointer| root.pointer(pointer)).unwrap_or(first)
    });
    if let Some(properties) = inner.get("properties").and_then(Value::as_object) {
        for (key, value) in properties {
            collect(root, value, &path.then(key.as_str()), out);
        }
        return;
    }
    let open = inner.get("additionalProperties").is_some_and(Value::is_object);
    let words = path.segments().iter().filter_map(|segment| match segment {
        Segment::Key(key) => Some(key.as_str()),
        Segment::Index(_) => None,
    });
    out.push((words.collect::<Vec<_>>().join("_"), open, path.clone()));
}
