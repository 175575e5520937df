//! A tree of YAML whose strings are templates: `body`, `value`, `set`. What a record puts in is a value, never text of
//! the tree.

use bytes::Bytes;
use vrl::value::{KeyString, Value};

use super::finding::{self, Finding};
use super::measure;
use super::template::Template;
use super::view::View;
use crate::event::json;
use crate::outcome::{Code, Failure};

/// A tree of literals and templates. Keys are literal.
#[derive(Debug, Clone, PartialEq)]
pub enum ValueTemplate {
    /// A value that no record changes.
    Literal(Value),
    /// A string with `{{ path }}` in it, or with `${..}` before [`ValueTemplate::resolve`].
    Text(Template),
    /// A list.
    List(Vec<ValueTemplate>),
    /// An object.
    Map(Vec<(KeyString, ValueTemplate)>),
}

/// A finding in a block of YAML: the keys and indexes that lead to a value (or to a key), and the finding inside its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeFinding {
    /// Keys and (decimal) indexes from the root of the block.
    pub path: Vec<String>,
    /// Whether the last key itself is meant, not its value.
    pub on_key: bool,
    /// What is wrong with that text.
    pub finding: Finding,
}

impl TreeFinding {
    /// In the text of the value at a path.
    pub fn at(path: impl IntoIterator<Item = impl Into<String>>, finding: Finding) -> TreeFinding {
        TreeFinding { path: path.into_iter().map(Into::into).collect(), on_key: false, finding }
    }

    /// In the text of the last key of a path.
    pub fn on_key(path: impl IntoIterator<Item = impl Into<String>>, finding: Finding) -> TreeFinding {
        TreeFinding { on_key: true, ..TreeFinding::at(path, finding) }
    }

    /// The same for a block that stands under `key`.
    #[must_use]
    pub fn under(mut self, key: &str) -> TreeFinding {
        self.path.insert(0, key.to_owned());
        self
    }
}

impl ValueTemplate {
    /// Parses every string of the tree. Fails with all findings. Integers beyond `i64` are refused.
    pub fn parse(tree: &serde_json::Value) -> Result<ValueTemplate, Vec<TreeFinding>> {
        let mut findings = Vec::new();
        let value = parse(tree, &mut Vec::new(), &mut findings);
        if findings.is_empty() { Ok(value) } else { Err(findings) }
    }

    /// The same with every literal piece of every string put through `resolve`.
    pub fn resolve<E>(self, resolve: &mut impl FnMut(&str) -> Result<String, E>) -> Result<ValueTemplate, E> {
        Ok(match self {
            ValueTemplate::Literal(value) => ValueTemplate::Literal(value),
            ValueTemplate::Text(template) => {
                let template = template.resolve(&mut *resolve)?;
                match template.as_literal() {
                    Some(text) => ValueTemplate::Literal(text.into()),
                    None => ValueTemplate::Text(template),
                }
            }
            ValueTemplate::List(list) => ValueTemplate::List(
                list.into_iter().map(|item| item.resolve(resolve)).collect::<Result<_, E>>()?,
            ),
            ValueTemplate::Map(map) => ValueTemplate::Map(
                map.into_iter()
                    .map(|(key, item)| Ok((key, item.resolve(resolve)?)))
                    .collect::<Result<_, E>>()?,
            ),
        })
    }

    /// The value for this record. Fails with code `template` where the record lacks a path, and over the bounds of
    /// [`measure`].
    pub fn render(&self, view: &View<'_>) -> Result<Value, Failure> {
        Ok(match self {
            ValueTemplate::Literal(value) => value.clone(),
            ValueTemplate::Text(template) => template.render_value(view)?,
            ValueTemplate::List(list) => {
                Value::Array(list.iter().map(|item| item.render(view)).collect::<Result<_, _>>()?)
            }
            ValueTemplate::Map(map) => Value::Object(
                map.iter()
                    .map(|(key, item)| Ok((key.clone(), item.render(view)?)))
                    .collect::<Result<_, Failure>>()?,
            ),
        })
    }

    /// The value for this record as JSON, at most `limit` bytes.
    pub fn render_json(&self, view: &View<'_>, limit: usize) -> Result<Bytes, Failure> {
        let value = self.render(view)?;
        measure::check(&value).map_err(|e| Failure::invalid(Code::Template, e))?;
        json::to_bytes(&value, limit).map_err(|e| Failure::invalid(Code::Template, e.to_string()))
    }

    /// Whether `.` is read, or `%id`, which comes from the payload.
    pub fn looks_into_payload(&self) -> bool {
        self.any(&Template::looks_into_payload)
    }

    /// Whether `%id` is read.
    pub fn reads_id(&self) -> bool {
        self.any(&Template::reads_id)
    }

    /// Whether `%response` is read.
    pub fn reads_response(&self) -> bool {
        self.any(&Template::reads_response)
    }

    fn any(&self, test: &impl Fn(&Template) -> bool) -> bool {
        match self {
            ValueTemplate::Literal(_) => false,
            ValueTemplate::Text(template) => test(template),
            ValueTemplate::List(list) => list.iter().any(|item| item.any(test)),
            ValueTemplate::Map(map) => map.iter().any(|(_, item)| item.any(test)),
        }
    }
}

fn parse(tree: &serde_json::Value, path: &mut Vec<String>, findings: &mut Vec<TreeFinding>) -> ValueTemplate {
    let mut child = |key: String, item: &serde_json::Value| {
        path.push(key);
        let value = parse(item, path, findings);
        path.pop();
        value
    };
    match tree {
        serde_json::Value::Array(list) => {
            ValueTemplate::List(list.iter().enumerate().map(|(i, item)| child(i.to_string(), item)).collect())
        }
        serde_json::Value::Object(map) => ValueTemplate::Map(
            map.iter().map(|(key, item)| (key.as_str().into(), child(key.clone(), item))).collect(),
        ),
        serde_json::Value::String(text) => match Template::parse(text) {
            Ok(template) => ValueTemplate::Text(template),
            Err(list) => {
                findings.extend(list.into_iter().map(|finding| TreeFinding::at(path.iter(), finding)));
                ValueTemplate::Literal(Value::Null)
            }
        },
        serde_json::Value::Number(number) if number.is_u64() && !number.is_i64() => {
            let finding = Finding::new(finding::TEMPLATE, "an integer beyond 2^63-1 would be rounded", 0..1)
                .help("write it in quotes");
            findings.push(TreeFinding::at(path.iter(), finding));
            ValueTemplate::Literal(Value::Null)
        }
        serde_json::Value::Number(_) | serde_json::Value::Bool(_) | serde_json::Value::Null => {
            ValueTemplate::Literal(Value::from(tree))
        }
    }
}
