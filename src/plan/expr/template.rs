//! Templates: `{{ path }}` in a string. Parsed once; what a record puts in is never parsed again.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use vrl::path::{OwnedTargetPath, PathPrefix, parse_target_path};
use vrl::value::Value;

use super::finding::{self, Finding};
use super::program::unknown_metadata_finding;
use super::view::{Field, Reads, View};
use crate::event::json;
use crate::outcome::{Code, Failure};

/// How many wrong places of one template are said.
const MAX_FINDINGS: usize = 10;

/// A string with `{{ path }}` in it, or without. Prints as it was written, references unresolved.
#[derive(Clone)]
pub struct Template {
    source: String,
    parts: Vec<Part>,
    reads: Reads,
}

/// A piece of a template.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// Text of the file.
    Literal(String),
    /// What the record puts in.
    Insert(Insert),
}

/// A path whose value is put in.
#[derive(Debug, Clone, PartialEq)]
pub struct Insert {
    text: String,
    path: OwnedTargetPath,
    span: Range<usize>,
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Template({:?})", self.source)
    }
}

impl PartialEq for Template {
    fn eq(&self, other: &Template) -> bool {
        self.source == other.source && self.parts == other.parts
    }
}

impl Template {
    /// Parses a string. `{{ "text" }}` stands for the text itself, so `{{ "{{" }}` is a literal `{{`. Fails with all
    /// findings: `{{` that is not closed, what is not a path, `%` with an unknown name.
    pub fn parse(source: &str) -> Result<Template, Vec<Finding>> {
        let mut parts = Vec::new();
        let mut findings = Vec::new();
        let mut at = 0;
        while let Some(rest) = source.get(at..) {
            let Some(open) = rest.find("{{") else {
                push_literal(&mut parts, rest);
                break;
            };
            push_literal(&mut parts, rest.get(..open).unwrap_or(""));
            let inside = at + open + 2;
            let Some(length) = source.get(inside..).and_then(close) else {
                findings.push(
                    Finding::new(finding::TEMPLATE, "`{{` is not closed", at + open..source.len())
                        .help("write {{ .path }}; a literal `{{` is {{ \"{{\" }}"),
                );
                break;
            };
            match part(source.get(inside..inside + length).unwrap_or(""), inside) {
                Ok(Part::Literal(text)) => push_literal(&mut parts, &text),
                Ok(insert) => parts.push(insert),
                Err(finding) => findings.push(*finding),
            }
            // Each is found back in the file by a walk over the whole text.
            if findings.len() >= MAX_FINDINGS {
                break;
            }
            at = inside + length + 2;
        }
        if !findings.is_empty() {
            return Err(findings);
        }
        let reads = Reads::of(parts.iter().filter_map(|part| match part {
            Part::Insert(insert) => Some(&insert.path),
            Part::Literal(_) => None,
        }));
        Ok(Template { source: source.to_owned(), parts, reads })
    }

    /// The same with every literal piece put through `resolve`: how `${..}` is replaced, so that a secret that contains
    /// `{{` stays text.
    pub fn resolve<E>(mut self, mut resolve: impl FnMut(&str) -> Result<String, E>) -> Result<Template, E> {
        for part in &mut self.parts {
            if let Part::Literal(text) = part {
                *text = resolve(text)?;
            }
        }
        Ok(self)
    }

    /// The string as it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Its pieces in order; no two literals side by side, none empty.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The text, where no record puts anything in.
    pub fn as_literal(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// The text before the first `{{`: what no record decides.
    pub fn literal_prefix(&self) -> &str {
        match self.parts.first() {
            Some(Part::Literal(text)) => text,
            _ => "",
        }
    }

    /// Whether `.` is read, or `%id`, which comes from the payload.
    pub fn looks_into_payload(&self) -> bool {
        self.reads.payload
    }

    /// Whether `%id` is read.
    pub fn reads_id(&self) -> bool {
        self.reads.id
    }

    /// Whether `%response` is read.
    pub fn reads_response(&self) -> bool {
        self.reads.response
    }

    /// The paths that it reads.
    pub fn paths(&self) -> impl Iterator<Item = &OwnedTargetPath> {
        self.parts.iter().filter_map(|part| match part {
            Part::Insert(insert) => Some(&insert.path),
            Part::Literal(_) => None,
        })
    }

    /// The value: with its type where the template is one path and nothing else, text otherwise. Fails with code
    /// `template` where the record lacks a path.
    pub fn render_value(&self, view: &View<'_>) -> Result<Value, Failure> {
        match self.parts.as_slice() {
            [Part::Insert(insert)] => insert.value(view),
            _ => self.render_text(view).map(Value::from),
        }
    }

    /// The text. Numbers and booleans as JSON writes them, lists and objects as compact JSON. Fails with code `template`
    /// where the record lacks a path, where it is null, and where it is not UTF-8.
    pub fn render_text(&self, view: &View<'_>) -> Result<String, Failure> {
        let mut out = String::with_capacity(self.source.len());
        for part in &self.parts {
            match part {
                Part::Literal(text) => out.push_str(text),
                Part::Insert(insert) => out.push_str(&insert.text(view)?),
            }
        }
        Ok(out)
    }

    /// The bytes, for a Kafka key or a raw body: one path alone may be null (`None`) or not UTF-8.
    pub fn render_bytes(&self, view: &View<'_>) -> Result<Option<Bytes>, Failure> {
        match self.parts.as_slice() {
            [Part::Insert(insert)] => match insert.value(view)? {
                Value::Null => Ok(None),
                value => insert.bytes_of(&value).map(Some),
            },
            _ => self.render_text(view).map(|text| Some(text.into())),
        }
    }

    /// The text of a URL: each inserted value percent-encoded, before the first `?` of the file's text as (part of) one
    /// path segment, after it as (part of) a query value. Whether scheme, host and first segment may be templated is
    /// for the caller to judge.
    pub fn render_url(&self, view: &View<'_>) -> Result<String, Failure> {
        let mut out = String::with_capacity(self.source.len() + 16);
        let mut in_query = false;
        for part in &self.parts {
            match part {
                Part::Literal(text) => {
                    in_query |= text.contains('?');
                    out.push_str(text);
                }
                Part::Insert(insert) if in_query => out.push_str(&insert.query_value(view)?),
                Part::Insert(insert) => out.push_str(&insert.path_segment(view)?),
            }
        }
        Ok(out)
    }
}

fn push_literal(parts: &mut Vec<Part>, text: &str) {
    match parts.last_mut() {
        _ if text.is_empty() => {}
        Some(Part::Literal(before)) => before.push_str(text),
        _ => parts.push(Part::Literal(text.to_owned())),
    }
}

/// The length up to `}}`, which does not count inside double quotes.
fn close(text: &str) -> Option<usize> {
    let mut quoted = false;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '}' if !quoted && text.get(at..).is_some_and(|rest| rest.starts_with("}}")) => return Some(at),
            _ => {}
        }
    }
    None
}

fn part(inside: &str, start: usize) -> Result<Part, Box<Finding>> {
    let text = inside.trim();
    let from = start + (inside.len() - inside.trim_start().len());
    let span = from..from + text.len();
    if let Some(literal) = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')) {
        return Ok(Part::Literal(literal.replace("\\\"", "\"").replace("\\\\", "\\")));
    }
    let path = parse_path(text, span.clone())?;
    Ok(Part::Insert(Insert { text: text.to_owned(), path, span }))
}

/// Parses a path of an event as it stands in a template, or as a key of `set`: `.a.b[0]`, `."odd-name"`, `%headers.x`.
pub fn parse_path(text: &str, span: Range<usize>) -> Result<OwnedTargetPath, Box<Finding>> {
    let wrong = |help: String| {
        let span = if span.is_empty() { span.start..span.start + 1 } else { span.clone() };
        Box::new(Finding::new(finding::PATH, format!("`{text}` is not a path"), span).help(help))
    };
    if !text.starts_with(['.', '%']) {
        return Err(wrong(if text.is_empty() || text.contains(['(', '|', ' ']) {
            "a template takes a path alone, such as .order.id or %key; compute in a `remap` before".to_owned()
        } else {
            let path = text.trim_start_matches(['$', '.']);
            format!("a path of the value begins with a full stop: .{path}")
        }));
    }
    if text == "%" || text == "." {
        return Ok(if text == "." {
            OwnedTargetPath::event_root()
        } else {
            OwnedTargetPath::metadata_root()
        });
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "_@-.[]%".contains(c);
    if !text.contains('"') && !text.chars().all(plain) {
        return Err(wrong("a template takes a path alone; compute in a `remap` before".to_owned()));
    }
    let path = parse_target_path(text).map_err(|_| {
        wrong(
            "names with other characters than letters, digits, `_`, `-` and `@` take quotes: .\"order id\""
                .to_owned(),
        )
    })?;
    if path.prefix == PathPrefix::Metadata {
        let first = path.path.segments.first().map(ToString::to_string).unwrap_or_default();
        let first = first.trim_start_matches('.');
        if !Field::ALL.iter().any(|field| field.name() == first) {
            return Err(Box::new(unknown_metadata_finding(first, span)));
        }
    }
    Ok(path)
}

/// Everything but letters, digits and `-._~` (RFC 3986, unreserved).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

impl Insert {
    /// The path.
    pub fn path(&self) -> &OwnedTargetPath {
        &self.path
    }

    /// Where the path stands, as bytes of the template as it was written.
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// The value as it is. Fails with code `template` where the record lacks it.
    pub fn value(&self, view: &View<'_>) -> Result<Value, Failure> {
        match view.get(&self.path) {
            Some(value) => Ok(value.into_owned()),
            None => Err(self.failure("is not in this record")),
        }
    }

    /// The value as text. Fails with code `template` where it is absent, null or not UTF-8.
    pub fn text(&self, view: &View<'_>) -> Result<String, Failure> {
        let bytes = self.bytes(view)?;
        String::from_utf8(bytes.into()).map_err(|_| self.failure("is not UTF-8 text"))
    }

    /// The value as one percent-encoded path segment. Fails with code `template` where it is absent, null, a list or an
    /// object, empty, `.` or `..`.
    pub fn path_segment(&self, view: &View<'_>) -> Result<String, Failure> {
        let bytes = self.scalar(view)?;
        if matches!(bytes.as_ref(), b"" | b"." | b"..") {
            return Err(self.failure("is empty, `.` or `..`, which cannot be a segment of a URL"));
        }
        Ok(percent_encode(&bytes, ENCODED).to_string())
    }

    /// The value as a percent-encoded query value. Fails with code `template` where it is absent, null, a list or an
    /// object.
    pub fn query_value(&self, view: &View<'_>) -> Result<String, Failure> {
        Ok(percent_encode(&self.scalar(view)?, ENCODED).to_string())
    }

    fn scalar(&self, view: &View<'_>) -> Result<Bytes, Failure> {
        match self.value(view)? {
            Value::Object(_) | Value::Array(_) => {
                Err(self.failure("is a list or an object, which a URL cannot carry"))
            }
            Value::Null => Err(self.failure("is null")),
            value => self.bytes_of(&value),
        }
    }

    fn bytes(&self, view: &View<'_>) -> Result<Bytes, Failure> {
        match self.value(view)? {
            Value::Null => Err(self.failure("is null")),
            value => self.bytes_of(&value),
        }
    }

    /// Text and bytes as they are, what has quotes in JSON without them, all else as JSON.
    fn bytes_of(&self, value: &Value) -> Result<Bytes, Failure> {
        match value {
            Value::Bytes(bytes) => Ok(bytes.clone()),
            Value::String(text) => Ok(text.as_bytes().clone()),
            Value::Timestamp(_) | Value::Regex(_) => Ok(value.coerce_to_bytes()),
            other => json::to_bytes(other, super::measure::MAX_BYTES)
                .map_err(|e| self.failure(&format!("cannot be written: {e}"))),
        }
    }

    fn failure(&self, what: &str) -> Failure {
        Failure::invalid(Code::Template, format!("`{}` {what}", self.text))
    }
}
