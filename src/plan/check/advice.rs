//! Advice: the file can be run, and is perhaps not what its author meant.

use std::time::Duration;

use super::Placed;
use crate::deliver::retry::{Backoff, Spec as Retry};
use crate::spec::diagnostic::Diagnostic;
use crate::spec::pipeline::{Order, Pipeline};
use crate::spec::tree::{Node, Path};
use crate::spec::units;

pub(super) fn stage(placed: &Placed<'_>, pipeline: &Pipeline, findings: &mut Vec<Diagnostic>) {
    keys(placed, findings);
    patience(placed, pipeline, findings);
    priority(placed, findings);
}

/// A priority that has little to choose among.
fn priority(placed: &Placed<'_>, findings: &mut Vec<Diagnostic>) {
    let stage = &placed.stage;
    if stage.priority.is_none() {
        return;
    }
    let (message, help) = if stage.order == Some(Order::Partition) {
        (
            "`priority` has nothing to choose: each partition is worked on in its order",
            "take it out, or write `order: key`",
        )
    } else if stage.source.topics.len() == 1 {
        (
            "`priority` orders only what the stage holds: the backlog of one topic is read in its order",
            "write what is urgent to a topic of its own, and both into `topics`",
        )
    } else {
        return;
    };
    let label = placed.document.key_label(&placed.path("priority"), "");
    findings.push(Diagnostic::warning("W0508", message, label).with_help(help));
}

/// `key: .id` is the text `.id`.
fn keys(placed: &Placed<'_>, findings: &mut Vec<Diagnostic>) {
    for (path, route) in placed.routes() {
        let Some(key) = route.get("key").and_then(Node::text) else { continue };
        let name = key.strip_prefix(['.', '%']).unwrap_or("");
        let path_like = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '[' | ']' | '@');
        if name.starts_with(|c: char| c.is_alphabetic() || c == '_') && name.chars().all(path_like) {
            let label =
                placed.document.label(&path.then("key"), format!("every record gets the key `{key}`"));
            let finding = Diagnostic::warning("W0505", "this key is a text that looks like a path", label)
                .with_help(format!("key: \"{{{{ {key} }}}}\""));
            findings.push(finding);
        }
    }
}

/// Retries that may take longer than the pipeline's own limit.
fn patience(placed: &Placed<'_>, pipeline: &Pipeline, findings: &mut Vec<Diagnostic>) {
    let Some(max_age) = pipeline.slo.and_then(|slo| slo.max_age) else { return };
    if placed.stage.handler.is_none() {
        return;
    }
    let default = Retry::default();
    let waits = longest(placed.stage.retry.as_ref().unwrap_or(&default));
    if waits <= max_age.0 {
        return;
    }
    let retry = placed.path("retry");
    let said = format!("waits of up to {}; slo.max_age is {max_age}", spoken(waits));
    let places = [retry.then("max_attempts"), retry, Path::root().then("slo").then("max_age")];
    let place = places.into_iter().find(|path| placed.document.at(path).is_some()).unwrap_or_default();
    let message = "one failing record may hold its key longer than this pipeline's own limit";
    let finding = Diagnostic::warning("W0507", message, placed.document.key_label(&place, said))
        .with_help(format!("lower max_attempts, or set give_up_after: {max_age}"));
    findings.push(finding);
}

/// The sum of the longest waits that the policy allows.
fn longest(retry: &Retry) -> Duration {
    let or =
        |given: Option<units::Duration>, default: u64| given.map_or(Duration::from_secs(default), |d| d.0);
    let (initial, max) = (or(retry.initial_delay, 1), or(retry.max_delay, 600));
    let list = match &retry.backoff {
        Some(Backoff::List(list)) => Some(list.as_slice()),
        Some(Backoff::Exponential | Backoff::Fixed) | None => None,
    };
    let attempts =
        retry.max_attempts.unwrap_or_else(|| list.map_or(8, |list| u32::try_from(list.len()).unwrap_or(8)));
    let mut sum = Duration::ZERO;
    let mut wait = initial;
    // Beyond this many the sum is as good as endless.
    for attempt in 1..attempts.min(100_000) {
        let index = usize::try_from(attempt).unwrap_or(usize::MAX);
        let this = match list {
            Some(list) => list.get(index).or(list.last()).map_or(Duration::ZERO, |wait| wait.0),
            None => wait,
        };
        sum = sum.saturating_add(this);
        if !matches!(retry.backoff, Some(Backoff::Fixed)) {
            wait = wait.saturating_mul(2).min(max);
        }
    }
    retry.give_up_after.map_or(sum, |limit| sum.min(limit.0))
}

/// `50m 35s`
fn spoken(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let parts =
        [(seconds / 86_400, "d"), (seconds / 3_600 % 24, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let parts: Vec<String> =
        parts.iter().filter(|(n, _)| *n > 0).take(2).map(|(n, unit)| format!("{n}{unit}")).collect();
    if parts.is_empty() { format!("{}ms", duration.as_millis()) } else { parts.join(" ") }
}
