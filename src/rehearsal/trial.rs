//! One event through one pipeline, step by step: what `weir try` shows.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value as Json, json};

use super::compare;
use super::event::{record, to_json};
use super::judge::{Difference, body};
use super::load::Bench;
use super::observed::{Observed, Taken, Written};
use super::run::{self, Play};
use crate::event::{Body, Event};
use crate::settings::References;
use crate::spec::PipelineFile;
use crate::spec::testfile::{Given, Reply};
use crate::transform::{Emit, Passage, Watch};

/// What is tried.
#[derive(Debug)]
pub struct Trial<'a> {
    /// The pipeline.
    pub pipeline: &'a PipelineFile,
    /// What `${..}` stands for.
    pub references: &'a References,
    /// The event.
    pub given: &'a Given,
    /// The folder that files of the event lie below.
    pub folder: &'a std::path::Path,
    /// The answers that the requests of every stage get; `None`: they are really sent.
    pub replies: Option<Vec<Reply>>,
}

/// What was seen of an event on its way.
#[derive(Debug)]
pub struct Tried {
    /// Its way through the transforms of each stage.
    pub steps: Vec<Step>,
    /// Requests, in their order; none where they were really sent.
    pub requests: Vec<Json>,
    /// What would be written to topics.
    pub published: Vec<Json>,
    /// What would be written to the DLQ, with its reason.
    pub dead_letters: Vec<Json>,
    /// What became of the records, by stage.
    pub outcomes: Vec<Json>,
    /// Whether a request has no answer, since it was only shown.
    pub unanswered: bool,
}

/// An event's way through one step.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The stage's service.
    pub stage: String,
    /// The step's name.
    pub name: String,
    /// What it did: `kept`, `filtered`, `passed over`, `failed`, `made 3 events`.
    pub did: String,
    /// What it changed: what was there before is `expected`, what is there now `got`.
    pub changes: Vec<Difference>,
}

/// Lets an event through a pipeline. Fails where it cannot be begun: an event that is none, a pipeline that does not compile.
pub fn try_out(trial: &Trial<'_>, bench: &Bench) -> Result<Tried, String> {
    let given = record(trial.given, &indexmap::IndexMap::new(), trial.folder).map_err(|(_, why)| why)?;
    let steps: Arc<Mutex<Vec<Step>>> = Arc::default();
    let watch = |service: &str| {
        Arc::new(Recorder { stage: service.to_owned(), steps: Arc::clone(&steps) }) as Arc<dyn Watch>
    };
    let play = Play {
        pipeline: trial.pipeline,
        references: trial.references,
        given: std::slice::from_ref(&given),
        replies: trial.replies.as_ref().map(|list| {
            let services = trial.pipeline.spec.iter().flat_map(|spec| {
                let of = |name: Option<&str>| {
                    name.map_or_else(|| spec.pipeline.clone(), |name| format!("{}.{name}", spec.pipeline))
                };
                spec.stages().into_iter().map(move |(name, _)| of(name)).collect::<Vec<_>>()
            });
            services.map(|service| (service, list.clone())).collect()
        }),
        watch: Some(&watch),
    };
    let seen = run::play(&play, bench)?;
    let steps = steps.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut tried = tried(steps, &seen);
    let secrets = secrets(trial);
    let lists = [&mut tried.requests, &mut tried.published, &mut tried.dead_letters, &mut tried.outcomes];
    lists.into_iter().flatten().for_each(|value| mask(value, &secrets));
    Ok(tried)
}

/// The secrets that the pipeline names: none of them is shown.
fn secrets<'a>(trial: &Trial<'a>) -> Vec<&'a str> {
    let Some(document) = &trial.pipeline.document else { return Vec::new() };
    let text = document.source.text();
    let named = |(name, value): (&'a String, &'a String)| {
        (text.contains(&format!("${{secret:{name}}}")) && !value.is_empty()).then_some(value.as_str())
    };
    trial.references.secrets.iter().filter_map(named).collect()
}

fn mask(value: &mut Json, secrets: &[&str]) {
    match value {
        Json::String(text) => {
            for secret in secrets.iter().filter(|secret| text.contains(**secret)).collect::<Vec<_>>() {
                *text = text.replace(*secret, "***");
            }
        }
        Json::Array(list) => list.iter_mut().for_each(|item| mask(item, secrets)),
        Json::Object(map) => map.values_mut().for_each(|item| mask(item, secrets)),
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
}

fn tried(steps: Vec<Step>, seen: &Observed) -> Tried {
    let written = |one: &Written| json!({ "stage": one.by, "topic": &*one.record.topic, "key": one.key(), "value": one.shown });
    let letter = |one: &Written| {
        let mut shown = written(one);
        for (key, header) in [("reason", "weir-reason"), ("code", "weir-code"), ("error", "weir-error")] {
            if let (Some(object), Some(text)) = (shown.as_object_mut(), one.header(header)) {
                object.insert(key.to_owned(), json!(text));
            }
        }
        shown
    };
    let request = |made: &super::script::Made| {
        let header = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
            let text = if value.is_sensitive() || name == http::header::AUTHORIZATION {
                "***".to_owned()
            } else {
                String::from_utf8_lossy(value.as_bytes()).into_owned()
            };
            (name.as_str().to_owned(), json!(text))
        };
        let request = &made.request;
        json!({
            "stage": &*request.service,
            "method": request.method.as_str(),
            "url": request.url,
            "headers": request.headers.iter().map(header).collect::<serde_json::Map<_, _>>(),
            "body": body(&request.body),
        })
    };
    let outcome = |taken: &Taken| {
        let held = seen.held.get(&taken.service).and_then(|held| held.first());
        let word = taken.outcome.map_or_else(
            || {
                held.map_or("unknown".to_owned(), |held| {
                    format!("held ({}): {}", held.cause.as_str(), held.message)
                })
            },
            |outcome| outcome.as_str().to_owned(),
        );
        json!({ "stage": taken.service, "outcome": word, "attempts": seen.attempts(taken) })
    };
    Tried {
        steps,
        requests: seen.made.iter().map(request).collect(),
        published: seen.published.iter().map(written).collect(),
        dead_letters: seen.dead_letters.iter().map(letter).collect(),
        outcomes: seen.records.iter().map(outcome).collect(),
        unanswered: seen.made.iter().any(|made| !made.answered),
    }
}

#[derive(Debug)]
struct Recorder {
    stage: String,
    steps: Arc<Mutex<Vec<Step>>>,
}

impl Watch for Recorder {
    fn passed(&self, passage: Passage<'_>) {
        let mut changes = Vec::new();
        let did = match passage.after {
            _ if passage.when == Some(false) => "passed over, `when` is false".to_owned(),
            Ok(Emit::One(after)) => {
                compare::values("", &value(passage.before), &value(after), false, &mut changes);
                if changes.is_empty() { "kept".to_owned() } else { "changed".to_owned() }
            }
            Ok(Emit::Many(parts)) => format!("made {} events", parts.len()),
            Ok(Emit::Filtered(_)) => "filtered".to_owned(),
            Err(failure) => format!("failed: {}", failure.message),
        };
        let step = Step { stage: self.stage.clone(), name: passage.step.to_owned(), did, changes };
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        // Another attempt goes the same way.
        if !steps.contains(&step) {
            steps.push(step);
        }
    }
}

fn value(event: &Event) -> Json {
    match &event.body {
        Body::Value(value) => to_json(value),
        Body::Raw(raw) => raw.as_ref().map_or(Json::Null, body),
    }
}
