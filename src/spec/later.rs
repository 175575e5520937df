//! What the grammar has and this version does not do yet: answered where it is written. One line each; whoever builds a
//! thing takes its line out and adds the field to its component's `Spec`.

use super::diagnostic::{Diagnostic, Label};
use super::tree::{Document, Entry, Kind, Node};

/// How many levels above the key are left out of the typed reading, because they mean nothing without it.
type Up = usize;

/// Where (`stage` stands for the file and for each of `stages`, `[]` for each item of a list or for what stands there
/// without one), at which value (empty: any), and how many levels are left out with it.
const LATER: &[(&str, &[&str], Up)] = &[
    ("delivery", &["exactly_once"], 0),
    ("topics", &[], 0),
    ("stage.dedupe", &[], 0),
    ("stage.source.key_format", &[], 0),
    ("stage.handler.sql", &[], 1),
    ("stage.publish.[].compression", &[], 0),
    ("stage.publish.[].partition_by.field", &[], 1),
    ("stage.publish.[].atomic", &["true"], 0),
    ("stage.dlq.after", &["park_key"], 0),
];

/// The same for weir.yaml.
const LATER_SETTINGS: &[(&str, &[&str], Up)] = &[
    ("kafka.static_membership", &["true"], 0),
    ("kafka.create_topics", &["true"], 0),
    ("outbox", &[], 0),
    ("dashboard", &[], 0),
];

/// Answers what a pipeline file asks for and this version does not do; leaves it out of what is read next.
pub(super) fn pipeline(document: &mut Document, findings: &mut Vec<Diagnostic>) {
    answer(document, LATER, findings);
}

/// Answers what weir.yaml asks for and this version does not do; leaves it out of what is read next.
pub(super) fn settings(document: &mut Document, findings: &mut Vec<Diagnostic>) {
    answer(document, LATER_SETTINGS, findings);
}

fn answer(document: &mut Document, table: &[(&str, &[&str], Up)], findings: &mut Vec<Diagnostic>) {
    let mut leave_out = Vec::new();
    for (at, values, up) in table {
        let (of_stage, path) = at.strip_prefix("stage.").map_or((false, *at), |path| (true, path));
        let path: Vec<&str> = path.split('.').collect();
        let mut found = Vec::new();
        find(&document.root, &path, &mut Vec::new(), &mut found);
        for stage in document.root.get("stages").map_or(&[][..], Node::entries) {
            if of_stage {
                find(&stage.value, &path, &mut Vec::new(), &mut found);
            }
        }
        for (entry, above) in found {
            let text = entry.value.text().unwrap_or("");
            let any = values.is_empty();
            if (!any && !values.contains(&text)) || document.skip.contains(&entry.value.id) {
                continue;
            }
            let (word, span) =
                if any { (entry.key.as_str(), entry.key_span) } else { (text, entry.value.span) };
            let label = Label::new(&document.source, span, "this version of Weir cannot do this");
            let help =
                if any { format!("take `{word}` out") } else { format!("take `{}: {word}` out", entry.key) };
            let message = if any {
                format!("`{word}` is not available yet")
            } else {
                format!("`{}: {word}` is not available yet", entry.key)
            };
            findings.push(Diagnostic::error("W0114", message, label).with_help(help));
            leave_out.push(
                above
                    .iter()
                    .rev()
                    .nth(up.saturating_sub(1))
                    .copied()
                    .filter(|_| *up > 0)
                    .unwrap_or(entry.value.id),
            );
        }
    }
    document.skip.extend(leave_out);
}

/// The entries at a path, each with the ids of the nodes above it.
fn find<'a>(node: &'a Node, path: &[&str], above: &mut Vec<u32>, found: &mut Vec<(&'a Entry, Vec<u32>)>) {
    let Some((step, rest)) = path.split_first() else { return };
    above.push(node.id);
    match (*step, &node.kind) {
        ("[]", Kind::List(items)) => items.iter().for_each(|item| find(item, rest, above, found)),
        ("[]", Kind::Map(_)) => {
            above.pop();
            find(node, rest, above, found);
            return;
        }
        (key, Kind::Map(entries)) => {
            for entry in entries.iter().filter(|entry| entry.key == key) {
                if rest.is_empty() {
                    found.push((entry, above.clone()));
                } else {
                    find(&entry.value, rest, above, found);
                }
            }
        }
        (_, Kind::Null | Kind::Scalar(..) | Kind::List(_)) => {}
    }
    above.pop();
}
