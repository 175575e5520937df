//! `${env:}`, `${var:}`, `${secret:}`: do they resolve, and do they stand where they may.

use std::ops::Range;

use crate::settings::{ReferenceError, References};
use crate::spec::diagnostic::{Diagnostic, Label};
use crate::spec::tree::{Document, Kind, Node};

/// Keys whose texts are VRL.
const PROGRAMS: [&str; 4] = ["filter", "remap", "when", "partition"];

/// Checks every text of a file.
pub(super) fn check(document: &Document, references: &References, findings: &mut Vec<Diagnostic>) {
    visit(document, references, &document.root, "", findings);
}

fn visit(
    document: &Document,
    references: &References,
    node: &Node,
    key: &str,
    findings: &mut Vec<Diagnostic>,
) {
    match &node.kind {
        Kind::Null => {}
        Kind::List(items) => items.iter().for_each(|item| visit(document, references, item, key, findings)),
        Kind::Map(entries) => {
            for entry in entries {
                visit(document, references, &entry.value, &entry.key, findings);
            }
        }
        Kind::Scalar(text, _) if !document.skip.contains(&node.id) => {
            for part in occurrences(text) {
                let written = text.get(part.clone()).unwrap_or("");
                let label = Label::new(&document.source, node.locate(&document.source, part), "");
                findings.extend(judge(written, PROGRAMS.contains(&key), references, label));
            }
        }
        Kind::Scalar(..) => {}
    }
}

fn judge(written: &str, program: bool, references: &References, label: Label) -> Option<Diagnostic> {
    if program {
        let finding = Diagnostic::error("W0207", "a reference cannot stand in a program", label)
            .with_cause("it would paste text into code")
            .with_help(format!("set a value before it, and use that: set: {{ .x: \"{written}\" }}"));
        return Some(finding);
    }
    match references.resolve(written) {
        Ok(_) => None,
        Err(error) => {
            let code = if matches!(error, ReferenceError::Missing { .. }) { "W0201" } else { "W0209" };
            Some(Diagnostic::error(code, error.to_string(), label).with_help(error.help()))
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
