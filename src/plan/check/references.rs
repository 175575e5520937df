//! `${env:}`, `${var:}`, `${secret:}`: do they resolve, and do they stand where they may.

use std::ops::Range;

use crate::settings::{ReferenceError, References};
use crate::spec::diagnostic::{Diagnostic, Label, did_you_mean};
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
        Err(error @ ReferenceError::Malformed(_)) => {
            let finding = Diagnostic::error("W0209", error.to_string(), label);
            Some(finding.with_help("for the text `${` itself write `$${`"))
        }
        Err(ReferenceError::Missing { kind, name, known }) => {
            let finding = Diagnostic::error("W0201", format!("`${{{kind}:{name}}}` is not set"), label);
            let help = match did_you_mean(&name, known.iter().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => match kind.as_str() {
                    "var" => format!("add `{name}` to `vars` of weir.yaml"),
                    "secret" => format!(
                        "set WEIR_SECRET_{}, or put a file `{name}` where `secrets.files` points",
                        name.to_uppercase()
                    ),
                    _ => format!("set the variable {name}"),
                },
            };
            Some(finding.with_help(help))
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
