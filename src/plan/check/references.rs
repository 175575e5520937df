//! `${env:}`, `${var:}`, `${secret:}`: do they resolve, and do they stand where they may.

use std::ops::Range;

use crate::settings::{ReferenceError, References};
use crate::spec::diagnostic::{Diagnostic, Label};
use crate::spec::tree::{Document, Kind, MAX_FINDINGS, Node};

/// Keys whose texts are VRL.
const PROGRAMS: [&str; 4] = ["filter", "remap", "when", "partition"];

/// How many references of one text are said to be wrong: each costs a walk over the text.
const MAX_OF_ONE_TEXT: usize = 10;

/// Checks every text of a file, up to so many findings.
pub(super) fn check(document: &Document, references: &References, findings: &mut Vec<Diagnostic>) {
    let mut visit = Visit { document, references, found: Vec::new() };
    visit.node(&document.root, "");
    findings.append(&mut visit.found);
}

struct Visit<'a> {
    document: &'a Document,
    references: &'a References,
    found: Vec<Diagnostic>,
}

impl Visit<'_> {
    fn node(&mut self, node: &Node, key: &str) {
        match &node.kind {
            Kind::Null => {}
            Kind::List(items) => items.iter().for_each(|item| self.node(item, key)),
            Kind::Map(entries) => entries.iter().for_each(|entry| self.node(&entry.value, &entry.key)),
            Kind::Scalar(text, _) if !self.document.skip.contains(&node.id) => self.text(node, text, key),
            Kind::Scalar(..) => {}
        }
    }

    fn text(&mut self, node: &Node, text: &str, key: &str) {
        let before = self.found.len();
        for part in occurrences(text) {
            if self.found.len() >= MAX_FINDINGS || self.found.len() - before >= MAX_OF_ONE_TEXT {
                return;
            }
            let written = text.get(part.clone()).unwrap_or("");
            let source = &self.document.source;
            // Found back in the file only where it is wrong: that is a walk over the whole text.
            let label = || Label::new(source, node.locate(source, part.clone()), "");
            self.found.extend(judge(written, PROGRAMS.contains(&key), self.references, label));
        }
    }
}

fn judge(
    written: &str,
    program: bool,
    references: &References,
    label: impl FnOnce() -> Label,
) -> Option<Diagnostic> {
    if program {
        let finding = Diagnostic::error("W0207", "a reference cannot stand in a program", label())
            .with_cause("it would paste text into code")
            .with_help(format!("set a value before it, and use that: set: {{ .x: \"{written}\" }}"));
        return Some(finding);
    }
    match references.resolve(written) {
        Ok(_) => None,
        Err(error) => {
            let code = if matches!(error, ReferenceError::Missing { .. }) { "W0201" } else { "W0209" };
            Some(Diagnostic::error(code, error.to_string(), label()).with_help(error.help()))
        }
    }
}

/// Each `${..}` of a text; up to the end where it is not closed. `$${` is none.
fn occurrences(text: &str) -> Vec<Range<usize>> {
    let mut out = Vec::new();
    let mut from = 0;
    while let Some(at) = text.get(from..).and_then(|rest| rest.find("${")).map(|at| at + from) {
        let literal = text.get(..at).is_some_and(|before| before.ends_with('$'));
        let end = text.get(at..).and_then(|rest| rest.find('}')).map_or(text.len(), |end| at + end + 1);
        if !literal {
            out.push(at..end);
        }
        from = if literal { at + 2 } else { end };
    }
    out
}
