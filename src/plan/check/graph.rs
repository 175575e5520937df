//! Which topics of one cluster lead to which: loops of dead letters, and cycles of published events.

use std::collections::{BTreeMap, BTreeSet};

use super::Placed;
use crate::plan::Pattern;
use crate::settings::References;
use crate::spec::diagnostic::{Diagnostic, Label};
use crate::spec::tree::Node;

/// A stage leads from each of its topics to one that it writes.
struct Edge<'a> {
    to: String,
    stage: &'a Placed<'a>,
    label: Label,
    dead_letter: bool,
    /// Not every record goes this way.
    conditional: bool,
}

pub(super) fn check(stages: &[&Placed<'_>], references: &References, findings: &mut Vec<Diagnostic>) {
    let mut edges: BTreeMap<String, Vec<Edge<'_>>> = BTreeMap::new();
    let written: BTreeSet<String> =
        stages.iter().flat_map(|placed| of_stage(placed, references)).map(|edge| edge.to).collect();
    for placed in stages {
        let named = placed.stage.source.topics.iter().filter_map(|topic| name(references, topic));
        let pattern = placed.stage.source.pattern.as_ref().and_then(|text| references.resolve(text).ok());
        let pattern = pattern.and_then(|text| Pattern::new(text.expose()).ok());
        let taken =
            written.iter().filter(|topic| pattern.as_ref().is_some_and(|pattern| pattern.takes(topic)));
        for topic in named.chain(taken.cloned()) {
            edges.entry(topic).or_default().extend(of_stage(placed, references));
        }
    }
    for (topic, out) in &edges {
        for edge in out {
            if edge.dead_letter {
                dead_letter_loop(topic, edge, &edges, findings);
            } else if *topic <= edge.to {
                // Each cycle has one edge that leaves its first topic by name: told once.
                cycle(topic, edge, &edges, findings);
            }
        }
    }
}

fn of_stage<'a>(placed: &'a Placed<'a>, references: &References) -> Vec<Edge<'a>> {
    let filters = placed.stage.transforms.iter().any(|item| item.kind.as_str() == "filter");
    let mut out = Vec::new();
    for (path, route) in placed.routes() {
        let Some(to) = route.get("topic").and_then(Node::text).and_then(|topic| name(references, topic))
        else {
            continue;
        };
        let label = placed.document.label(&path.then("topic"), format!("{} writes it", placed.service));
        let conditional = filters || route.get("when").is_some();
        out.push(Edge { to, stage: placed, label, dead_letter: false, conditional });
    }
    if let Some(to) = placed.stage.dlq.as_ref().and_then(|dlq| name(references, &dlq.topic)) {
        let label = placed.document.label(&placed.path("dlq").then("topic"), "the dead letters go here");
        out.push(Edge { to, stage: placed, label, dead_letter: true, conditional: true });
    }
    out
}

/// A topic's name; `None` where record data or a secret is in it or it does not resolve.
fn name(references: &References, written: &str) -> Option<String> {
    let name = references.resolve(written).ok().filter(|name| !name.is_secret())?;
    (!name.expose().contains("{{")).then(|| name.expose().to_owned())
}

fn dead_letter_loop(
    topic: &str,
    edge: &Edge<'_>,
    edges: &BTreeMap<String, Vec<Edge<'_>>>,
    findings: &mut Vec<Diagnostic>,
) {
    let Some(way) = way(&edge.to, topic, edges, &mut BTreeSet::new()) else { return };
    let reader = way.first().map_or(edge.stage, |first| first.stage);
    let source = reader.document.label(
        &reader.at.then("source").then(if reader.stage.source.pattern.is_some() {
            "pattern"
        } else {
            "topic"
        }),
        format!("{} reads it", reader.service),
    );
    let finding = Diagnostic::error(
        "W0210",
        format!("the dead letters of `{}` come back to it", edge.stage.service),
        edge.label.clone(),
    )
    .with_label(source)
    .with_cause("a record that cannot be processed would go round for ever")
    .with_help("give `dlq` a topic that leads nowhere");
    findings.push(finding);
}

fn cycle(
    topic: &str,
    edge: &Edge<'_>,
    edges: &BTreeMap<String, Vec<Edge<'_>>>,
    findings: &mut Vec<Diagnostic>,
) {
    let Some(way) = way(&edge.to, topic, edges, &mut BTreeSet::new()) else { return };
    if way.iter().any(|edge| edge.dead_letter) {
        return;
    }
    let names: Vec<&str> =
        [topic, edge.to.as_str()].into_iter().chain(way.iter().map(|edge| edge.to.as_str())).collect();
    let message = format!("events go round: {}", names.join(" -> "));
    let endless = !edge.conditional && way.iter().all(|edge| !edge.conditional);
    let finding = if endless {
        Diagnostic::error("W0211", message, edge.label.clone())
            .with_cause("nothing on the way ends it")
            .with_help("publish to another topic, or end it with a `filter` or a `when`")
    } else {
        Diagnostic::warning("W0211", message, edge.label.clone())
            .with_cause("only a `filter` or a `when` ends it")
    };
    findings.push(way.iter().fold(finding, |finding, edge| finding.with_label(edge.label.clone())));
}

/// The edges that lead from one topic to another; `None` where there is no way, nothing where they are the same.
fn way<'a>(
    from: &str,
    to: &str,
    edges: &'a BTreeMap<String, Vec<Edge<'a>>>,
    seen: &mut BTreeSet<String>,
) -> Option<Vec<&'a Edge<'a>>> {
    if from == to {
        return Some(Vec::new());
    }
    if !seen.insert(from.to_owned()) {
        return None;
    }
    for edge in edges.get(from).map_or(&[][..], Vec::as_slice) {
        if let Some(mut rest) = way(&edge.to, to, edges, seen) {
            rest.insert(0, edge);
            return Some(rest);
        }
    }
    None
}
