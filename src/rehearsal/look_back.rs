//! Records that have been: what becomes of each under the plan that runs, and what would under another. Nothing is sent and nothing
//! is written; every request is answered with 200.

use std::time::Duration;

use serde_json::Value as Json;

use super::compare;
use super::load::Bench;
use super::trial::{Trial, Tried, try_out};
use crate::event::Event;
use crate::settings::References;
use crate::spec::PipelineFile;
use crate::spec::testfile::{Given, Reply};
use crate::telemetry::clock;

/// Answers that each stage has at hand: one record of a stage asks for one.
const ANSWERS: usize = 8;
/// Records that are shown one by one, and places in one.
const SHOWN: usize = 20;
const PLACES: usize = 5;

/// What became of the records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Looked {
    /// How many were looked at.
    pub looked_at: usize,
    /// How many there were to look at: more, where the time was over.
    pub found: usize,
    /// Those that fare differently, at most 20 of them.
    pub different: Vec<Fares>,
    /// How many there are of those.
    pub differ: usize,
}

/// A record that fares differently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fares {
    /// `topic/partition/offset`.
    pub position: String,
    /// What becomes of it under the plan that runs.
    pub was: String,
    /// What would become of it.
    pub now: String,
    /// Which places of its requests and of what is published differ, without their values.
    pub places: Vec<String>,
}

/// Lets records through both plans until the time is over.
///
/// # Errors
/// A plan that cannot be begun.
pub fn look_back(
    (before, after): (&PipelineFile, &PipelineFile),
    references: &References,
    events: &[Event],
    bench: &Bench,
    within: Duration,
) -> Result<Looked, String> {
    let until = clock::now() + within;
    let mut looked = Looked { found: events.len(), ..Looked::default() };
    for event in events {
        if clock::now() >= until {
            break;
        }
        let given = Given::of_event(event);
        let replies = vec![Reply::of_status(200); ANSWERS];
        let tried = |pipeline| {
            let folder = std::path::Path::new(".");
            let trial = Trial { pipeline, references, given: &given, folder, replies: Some(replies.clone()) };
            try_out(&trial, bench)
        };
        let (old, new) = (tried(before)?, tried(after)?);
        looked.looked_at += 1;
        let (was, now) = (outcome(&old), outcome(&new));
        let places = places(&old, &new);
        if was == now && places.is_empty() {
            continue;
        }
        looked.differ += 1;
        if looked.different.len() < SHOWN {
            looked.different.push(Fares { position: event.origin.to_string(), was, now, places });
        }
    }
    Ok(looked)
}

/// What became of a record in each stage that took it, in one line.
fn outcome(tried: &Tried) -> String {
    let word = |one: &Json, key: &str| one.get(key).and_then(Json::as_str).unwrap_or_default().to_owned();
    let mut words: Vec<String> = tried.outcomes.iter().map(|one| word(one, "outcome")).collect();
    for letter in &tried.dead_letters {
        words.push(format!("{}, {}", word(letter, "reason"), word(letter, "code")));
    }
    if words.is_empty() { "not taken".to_owned() } else { words.join(", ") }
}

/// Where requests and published records differ. Headers that differ with each revision are left out.
fn places(old: &Tried, new: &Tried) -> Vec<String> {
    let requests = |tried: &Tried| -> Vec<Json> { tried.requests.iter().map(of_request).collect() };
    let mut found = Vec::new();
    let sides = [
        ("request", Json::Array(requests(old)), Json::Array(requests(new))),
        ("published", Json::Array(old.published.clone()), Json::Array(new.published.clone())),
    ];
    for (what, before, after) in sides {
        let mut differences = Vec::new();
        compare::values(what, &before, &after, false, &mut differences);
        found.extend(differences.into_iter().map(|one| one.label));
    }
    found.truncate(PLACES);
    found
}

fn of_request(request: &Json) -> Json {
    let mut kept = request.clone();
    if let Some(headers) = kept.get_mut("headers").and_then(Json::as_object_mut) {
        // They name the revision, or are made of what does.
        headers.retain(|name, _| {
            !name.starts_with("weir-") && !name.starts_with("webhook-") && name != "user-agent"
        });
    }
    kept
}
