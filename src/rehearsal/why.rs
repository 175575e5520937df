//! What is known of the reason why a test has failed: the numbers that made its waits, the message of a dead letter or a hold.

use super::judge::Difference;
use super::load::Case;
use super::observed::Observed;
use crate::spec::testfile::PerStage;
use crate::spec::tree::{Node, Path};
use crate::spec::units::Duration;

/// One line, where something is known.
pub(super) fn why(case: &Case, seen: &Observed, differences: &[Difference]) -> Option<String> {
    let first = differences.first()?;
    if first.label.starts_with("waits") {
        return waits(case, seen, &first.label);
    }
    if let Some(held) = seen.held.values().flatten().next() {
        return Some(held.message.clone());
    }
    let letter = seen.dead_letters.first()?;
    let about_outcome = |one: &Difference| {
        ["outcome", "stages", "dlq", "requests", "replies", "published", "attempts"]
            .iter()
            .any(|key| one.label.starts_with(key))
    };
    differences.iter().any(about_outcome).then(|| letter.header("weir-error")).flatten()
}

/// Where the numbers stand that made the waits.
fn waits(case: &Case, seen: &Observed, label: &str) -> Option<String> {
    let stage = label.strip_prefix("waits.");
    let stage = case.file.stages.iter().find(|one| stage.is_none_or(|name| one.name == name))?;
    let expected = match case.expect.waits.as_ref()? {
        PerStage::One(list) => list,
        PerStage::Each(each) => each.get(&stage.name)?,
    };
    let got = seen.waits(&stage.service);
    let made = seen.requests(&stage.service);
    let mut parts = Vec::new();
    let (mut plain, mut asked) = (false, Vec::new());
    for (at, (wait, number)) in got.iter().enumerate() {
        let before = number.checked_sub(1).and_then(|before| made.get(before));
        match before.and_then(|before| before.retry_after.as_ref()) {
            Some(_) => asked.push((number, Duration(*wait))),
            None => plain |= expected.get(at).is_none_or(|expected| expected.0 != *wait),
        }
    }
    if plain {
        parts.extend(retry(case, &stage.name));
    }
    for (number, wait) in asked {
        parts.push(format!("answer {number} set the {wait} by Retry-After"));
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// What the file says of waits, and where; else the default.
fn retry(case: &Case, stage: &str) -> Option<String> {
    let document = case.file.pipeline.document.as_ref()?;
    let root = Path::root();
    let own = root.then("stages").then(stage).then("retry");
    let retry = if document.at(&own).is_some() { own } else { root.then("retry") };
    let source = document.source.name().rsplit('/').next().unwrap_or_default();
    for key in ["backoff", "initial_delay"] {
        let path = retry.then(key);
        let Some(node) = document.at(&path) else { continue };
        let text = match node.text() {
            Some("exponential" | "fixed") => continue,
            Some(text) => text.to_owned(),
            None => list(node.items()),
        };
        let line = document.source.position(document.label(&path, "").span.start).line;
        return Some(format!("retry.{key} is {text} ({source}:{line})"));
    }
    Some("retry.initial_delay is 1s, its default".to_owned())
}

fn list(items: &[Node]) -> String {
    let items: Vec<&str> = items.iter().filter_map(Node::text).collect();
    format!("[{}]", items.join(", "))
}
