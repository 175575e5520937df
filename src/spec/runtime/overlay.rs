//! `WEIR_KAFKA_BROKERS=..` and `--listen ..` put into the tree of the runtime file, so that they are read and judged like
//! what the file says.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Spec;
use crate::spec::diagnostic::{Diagnostic, Label, did_you_mean};
use crate::spec::span::{Source, Span};
use crate::spec::tree::{Document, Entry, Node, Path, Segment};

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
    let known = known_keys();
    let mut out = Vec::new();
    for (name, value) in environment {
        let Some(rest) = name.strip_prefix(PREFIX) else { continue };
        if OTHERS.contains(&name.as_str()) || name.starts_with(secret_prefix) {
            continue;
        }
        let written = rest.to_lowercase();
        match known.iter().find_map(|key| key.path_of(&written)) {
            Some(path) => out.push(Override { path, value: value.clone(), origin: name.clone() }),
            None => {
                let begins: Vec<String> = known.iter().map(Known::begins).collect();
                if let Some(near) = did_you_mean(&written, begins.iter().map(String::as_str)) {
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
        document.put(&written(document, &one.path), &one.value, Source::new(&one.origin, ""));
    }
}

/// A path as the file spells it: a variable cannot have the `-` of a name.
fn written(document: &Document, path: &Path) -> Path {
    let mut out = Path::root();
    for segment in path.segments() {
        let Segment::Key(key) = segment else { return path.clone() };
        let entries = document.at(&out).map_or(&[][..], Node::entries);
        let spelt = |entry: &&Entry| entry.key.replace('-', "_") == *key;
        let found = entries.iter().find(|entry| entry.key == *key).or_else(|| entries.iter().find(spelt));
        out = out.then(found.map_or(key.as_str(), |entry| entry.key.as_str()));
    }
    out
}

/// A key of the file. A step of `None` is a key of the user's choice.
#[derive(Debug, Clone)]
struct Known(Vec<Option<String>>);

/// Of a librdkafka property, whose dots no variable can have.
const PROPERTIES: &str = "properties";

impl Known {
    /// How a variable begins that sets it: up to the first key of the user's choice.
    fn begins(&self) -> String {
        let words: Vec<&str> = self.0.iter().map_while(Option::as_deref).collect();
        words.join("_")
    }

    /// The path that a variable sets, where it spells this key.
    fn path_of(&self, written: &str) -> Option<Path> {
        let steps = bound(&self.0, written)?;
        let mut path = Path::root();
        let mut before = "";
        for step in &steps {
            path = if before == PROPERTIES {
                path.then(step.replace('_', ".").as_str())
            } else {
                path.then(step.as_str())
            };
            before = step;
        }
        Some(path)
    }
}

/// The steps with the keys that the user chose, where they spell this text with `_` between them.
fn bound(steps: &[Option<String>], written: &str) -> Option<Vec<String>> {
    let (step, rest) = steps.split_first()?;
    let with = |key: &str, mut more: Vec<String>| {
        more.insert(0, key.to_owned());
        Some(more)
    };
    match step {
        Some(word) if rest.is_empty() => (written == word).then(|| vec![word.clone()]),
        Some(word) => with(word, bound(rest, written.strip_prefix(word.as_str())?.strip_prefix('_')?)?),
        None if rest.is_empty() => (!written.is_empty()).then(|| vec![written.to_owned()]),
        None => written.match_indices('_').find_map(|(at, _)| {
            let (key, more) = written.split_at_checked(at).filter(|(key, _)| !key.is_empty())?;
            with(key, bound(rest, more.strip_prefix('_')?)?)
        }),
    }
}

/// Every key of the file; those without a key of the user's choice first.
fn known_keys() -> Vec<Known> {
    let schema = schemars::schema_for!(Spec).to_value();
    let mut out = Vec::new();
    collect(&schema, &schema, &mut Vec::new(), &mut out);
    out.sort_by_key(|key: &Known| key.0.iter().filter(|step| step.is_none()).count());
    out
}

fn collect(root: &Value, schema: &Value, steps: &mut Vec<Option<String>>, out: &mut Vec<Known>) {
    let inner = referred(root, schema);
    let any = inner.get("anyOf").and_then(Value::as_array).and_then(|options| options.first());
    let inner = any.map_or(inner, |first| referred(root, first));
    let mut below = |step: Option<String>, schema: &Value| {
        steps.push(step);
        collect(root, schema, steps, out);
        steps.pop();
    };
    if let Some(properties) = inner.get("properties").and_then(Value::as_object) {
        properties.iter().for_each(|(key, value)| below(Some(key.clone()), value));
    } else if let Some(each) = inner.get("additionalProperties").filter(|each| each.is_object()) {
        below(None, each);
        out.push(Known(steps.clone()));
    } else {
        out.push(Known(steps.clone()));
    }
}

/// What a schema refers to; itself where it refers to nothing.
fn referred<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    let pointer =
        schema.get("$ref").and_then(Value::as_str).and_then(|reference| reference.strip_prefix('#'));
    pointer.and_then(|pointer| root.pointer(pointer)).unwrap_or(schema)
}
