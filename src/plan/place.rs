//! From a finding inside a block to its line and column in the file.

use super::expr::{Finding, TreeFinding};
use crate::spec::diagnostic::Diagnostic;
use crate::spec::tree::{Document, Kind, Path};

/// A finding in a block that stands at `base`.
pub(super) fn tree_finding(document: &Document, base: &Path, found: &TreeFinding) -> Diagnostic {
    let path = walk(document, base, found.path.iter().map(String::as_str));
    let Finding { code, message, span, cause, help, vrl: _ } = found.finding.clone();
    let label = match found.on_key {
        true => document.key_label(&path, ""),
        false if span.is_empty() || span.end == usize::MAX => document.label(&path, ""),
        false => document.label_in(&path, span, ""),
    };
    let diagnostic = Diagnostic::error(code, message, label);
    let diagnostic = match cause {
        Some(cause) => diagnostic.with_cause(cause),
        None => diagnostic,
    };
    match help {
        Some(help) => diagnostic.with_help(help),
        None => diagnostic,
    }
}

/// Where the `index`-th item of a list stands in the file: items that could not be read are in the file and not in the
/// Spec.
pub(super) fn item(document: &Document, list: &Path, index: usize) -> Path {
    let Some(Kind::List(items)) = document.at(list).map(|node| &node.kind) else { return list.then(index) };
    let mut kept = items.iter().enumerate().filter(|(_, item)| !document.skip.contains(&item.id));
    list.then(kept.nth(index).map_or(index, |(at, _)| at))
}

/// Something that is wrong at a key such as `webhook.headers.x-kind` or `waits[1]` of a block that stands at `base`.
pub(super) fn problem(
    document: &Document,
    base: &Path,
    key: &str,
    code: &'static str,
    message: &str,
) -> Diagnostic {
    let steps = key.split(['.', '[']).map(|step| step.trim_end_matches(']')).filter(|step| !step.is_empty());
    let path = walk(document, base, steps);
    Diagnostic::told(code, message, document.label(&path, ""))
}

/// Whether something at a key follows from a finding that was made inside of it: a list that is empty without its wrong
/// items.
pub(super) fn follows(document: &Document, base: &Path, key: &str) -> bool {
    let path = walk(document, base, key.split('.').filter(|step| !step.is_empty()));
    let Some(node) = document.at(&path) else { return false };
    let inside = node.items().iter().chain(node.entries().iter().map(|entry| &entry.value));
    inside.into_iter().any(|node| document.skip.contains(&node.id))
}

/// Follows keys and decimal indexes: which of the two a step is, the file says.
fn walk<'s>(document: &Document, base: &Path, steps: impl Iterator<Item = &'s str>) -> Path {
    steps.fold(base.clone(), |path, step| {
        let in_list = document.at(&path).is_some_and(|node| matches!(node.kind, Kind::List(_)));
        match step.parse::<usize>() {
            Ok(index) if in_list => path.then(index),
            Ok(_) | Err(_) => path.then(step),
        }
    })
}
