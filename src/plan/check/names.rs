//! Names that must be equal, and names that must differ.

use std::collections::HashMap;

use super::Placed;
use crate::settings::References;
use crate::spec::diagnostic::Diagnostic;
use crate::spec::pipeline::Pipeline;
use crate::spec::tree::{Document, Node, Path};

/// A reference where none of its kind may stand.
const MISPLACED: &str = "W0209";

/// Whether the file is called like its pipeline.
pub(super) fn pipeline(document: &Document, findings: &mut Vec<Diagnostic>) {
    let path = Path::root().then("pipeline");
    let written = document.at(&path).filter(|node| !document.skip.contains(&node.id));
    let Some(name) = written.and_then(Node::text) else { return };
    if let Some(file) = stem(document.source.name()).filter(|file| *file != name) {
        let label = document.label(&path, format!("the file is called `{file}`"));
        let message = format!("the pipeline `{name}` is not in a file of its name");
        let finding = Diagnostic::error("W0206", message, label);
        findings
            .push(finding.with_help(format!("rename the file to {name}.yaml, or write `pipeline: {file}`")));
    }
}

/// The file's name without its ending; `None` where it has none: standard input.
fn stem(name: &str) -> Option<&str> {
    let file = name.rsplit(['/', '\\']).next()?;
    file.strip_suffix(".yaml").or_else(|| file.strip_suffix(".yml"))
}

/// A secret in a name: names are in logs, metrics and headers.
pub(super) fn secrets(placed: &Placed<'_>, references: &References, findings: &mut Vec<Diagnostic>) {
    let (at, source) = (placed.at.then("source"), &placed.stage.source);
    let listed = placed.document.at(&at.then("topics")).is_some();
    let topic = |number| if listed { at.then("topics").then(number) } else { at.then("topic") };
    let topics =
        source.topics.iter().enumerate().map(|(number, name)| (topic(number), name.as_str(), "topic"));
    let single = [
        ("pattern", &source.pattern, "topic"),
        ("cluster", &source.cluster, "cluster"),
        ("group", &source.group, "group"),
    ];
    let single = single.iter().filter_map(|(key, name, what)| Some((at.then(*key), name.as_deref()?, *what)));
    let routes = placed.routes().into_iter();
    let routes =
        routes.filter_map(|(path, route)| Some((path.then("topic"), route.get("topic")?.text()?, "topic")));
    let dlq =
        placed.stage.dlq.iter().map(|dlq| (placed.path("dlq").then("topic"), dlq.topic.as_str(), "topic"));
    for (path, name, what) in topics.chain(single).chain(routes).chain(dlq) {
        if !references.resolve(name).is_ok_and(|resolved| resolved.is_secret()) {
            continue;
        }
        let label = placed.document.label(&path, "");
        // What is said for all stages of a file is said once.
        let told = |one: &Diagnostic| {
            one.code == MISPLACED && one.primary.source == label.source && one.primary.span == label.span
        };
        if !findings.iter().any(told) {
            let finding =
                Diagnostic::error(MISPLACED, format!("a secret cannot stand in the name of a {what}"), label)
                    .with_cause("names are shown: in logs, metrics, requests and dead letters")
                    .with_help("write the name, or ${var:NAME} or ${env:NAME}");
            findings.push(finding);
        }
    }
}

/// Two pipelines of one name, two stages in one group.
pub(super) fn across(
    files: &[(&Document, Option<&Pipeline>)],
    stages: &[Placed<'_>],
    references: &References,
    findings: &mut Vec<Diagnostic>,
) {
    let mut names: HashMap<&str, &Document> = HashMap::new();
    let path = Path::root().then("pipeline");
    for (document, spec) in files {
        let Some(spec) = spec else { continue };
        if let Some(first) = names.insert(spec.pipeline.as_str(), document) {
            let message = format!("there are two pipelines of the name `{}`", spec.pipeline);
            let finding = Diagnostic::error("W0208", message, document.label(&path, "again here"))
                .with_label(first.label(&path, "first here"))
                .with_help("give one of them another name, and its file too");
            findings.push(finding);
        }
    }
    for (document, spec) in files {
        let Some(spec) = spec else { continue };
        for old in &spec.was.0 {
            let Some(holder) = names.get(old.as_str()) else { continue };
            let message = format!("`{old}` is a pipeline still: it cannot be what `{}` was", spec.pipeline);
            let finding = Diagnostic::error("W0208", message, document.label(&Path::root().then("was"), ""))
                .with_label(holder.label(&path, "it is here"))
                .with_cause("both would read in one group, and give their records the same webhook ids")
                .with_help(format!("remove the file of `{old}`, or take `{old}` out of `was`"));
            findings.push(finding);
        }
    }
    let mut groups: HashMap<(&str, String), &Placed<'_>> = HashMap::new();
    for placed in stages {
        let source = &placed.stage.source;
        let group = source.group.clone().unwrap_or_else(|| format!("weir.{}", placed.identity));
        let group = references.shown(&group);
        let label = |placed: &Placed<'_>, text: String| {
            let source = placed.at.then("source");
            placed.document.label(&source.then("group"), text)
        };
        if let Some(first) = groups.insert((placed.cluster.as_str(), group.clone()), placed) {
            let finding = Diagnostic::error(
                "W0204",
                format!("two stages share the group `{group}`"),
                label(placed, format!("{} is in it", placed.service)),
            )
            .with_label(label(first, format!("{} is in it too", first.service)))
            .with_cause("each would be given a part of the records only")
            .with_help("take `group` out: the default is another for each stage");
            findings.push(finding);
        }
    }
}
