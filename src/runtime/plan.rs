//! What files would do, as data: nothing is changed by it. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::change::{self, Action, Change, Files, Wanted};
use super::load::Loadable;
use crate::plan::{Revision, Stage};
use crate::spec::diagnostic::Diagnostic;
use crate::spec::pipeline::Pipeline;

/// The longest value that a difference shows, in characters.
const SHOWN: usize = 200;

/// What files would do in place of those that run.
#[derive(Debug, Clone, Default)]
pub struct Planned {
    /// What would become of each stage, and what is broken or would wait.
    pub changes: Vec<Change>,
    /// What is written differently, by pipeline.
    pub differences: BTreeMap<String, Vec<Difference>>,
    /// What is to be said of the files.
    pub findings: Vec<Diagnostic>,
    /// Pipelines that would run another revision: as they run, and as they would.
    pub altered: Vec<(Loadable, Loadable)>,
}

/// A key that has another value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Where: `stages.payment.retry.max_attempts`, `transforms[0].filter`.
    pub path: String,
    /// The value before; `None` where there was none.
    pub from: Option<String>,
    /// The value after; `None` where there is none.
    pub to: Option<String>,
}

/// What these files would do.
pub fn plan(before: &BTreeMap<String, Wanted>, files: Files<'_>) -> Planned {
    let settled = change::settle(before, files);
    let running = change::stages(before);
    let wanted = change::stages(&settled.wanted).into_iter();
    // They were compiled anew: of equal revisions the one that runs is meant.
    let wanted: BTreeMap<&str, &Arc<Stage>> = wanted
        .map(|(service, stage)| match running.get(service) {
            Some(now) if now.revision == stage.revision => (service, *now),
            _ => (service, stage),
        })
        .collect();
    let mut changes = change::changes(&running, &wanted);
    changes.extend(change::not_run(&settled.wanted, &settled.broken, &settled.renamed));
    let altered = settled.wanted.iter().filter_map(|(name, after)| {
        let (old, new) = (&before.get(name)?.pipeline, &after.pipeline);
        (old.plan.revision != new.plan.revision).then(|| (old.clone(), new.clone()))
    });
    let altered: Vec<(Loadable, Loadable)> = altered.collect();
    let differences = altered
        .iter()
        .filter_map(|(old, new)| Some((new.plan.pipeline.clone(), differences(old.spec()?, new.spec()?))));
    let (differences, findings) = (differences.collect(), files.loading.findings.clone());
    Planned { changes, differences, findings, altered }
}

/// What is written differently, with the defaults of the file in each stage.
pub fn differences(before: &Pipeline, after: &Pipeline) -> Vec<Difference> {
    let mut found = Vec::new();
    compare("", &effective(before), &effective(after), &mut found);
    found
}

/// A pipeline with the file's defaults in each of its stages; what is not written is not there.
pub fn effective(pipeline: &Pipeline) -> Value {
    let mut whole = serde_json::to_value(pipeline).unwrap_or_default();
    if let (Some(root), Some(_)) = (whole.as_object_mut(), &pipeline.stages) {
        let stages = pipeline.stages().into_iter();
        let stages = stages.filter_map(|(name, stage)| {
            Some((name?.to_owned(), serde_json::to_value(stage).unwrap_or_default()))
        });
        root.insert("stages".to_owned(), Value::Object(stages.collect()));
        for default in ["retry", "dlq", "order", "max_in_flight", "priority", "track"] {
            root.remove(default);
        }
    }
    strip(&mut whole);
    whole
}

/// Takes out what is null.
fn strip(value: &mut Value) {
    match value {
        Value::Object(entries) => {
            entries.retain(|_, value| !value.is_null());
            entries.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn compare(path: &str, before: &Value, after: &Value, found: &mut Vec<Difference>) {
    match (before, after) {
        (Value::Object(old), Value::Object(new)) => {
            let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for key in keys {
                let at = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                either(&at, old.get(key), new.get(key), found);
            }
        }
        (Value::Array(old), Value::Array(new)) => {
            for at in 0..old.len().max(new.len()) {
                either(&format!("{path}[{at}]"), old.get(at), new.get(at), found);
            }
        }
        (old, new) if old == new => {}
        (old, new) => {
            found.push(Difference { path: path.to_owned(), from: Some(shown(old)), to: Some(shown(new)) })
        }
    }
}

fn either(path: &str, before: Option<&Value>, after: Option<&Value>, found: &mut Vec<Difference>) {
    match (before, after) {
        (Some(old), Some(new)) => compare(path, old, new, found),
        (old, new) => {
            found.push(Difference { path: path.to_owned(), from: old.map(shown), to: new.map(shown) })
        }
    }
}

fn shown(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

impl Planned {
    /// Whether anything would change.
    pub fn is_change(&self) -> bool {
        self.changes.iter().any(|change| change.action != Action::Keep)
    }

    /// How many stages or files there are of each action.
    pub fn count(&self, action: Action) -> usize {
        self.changes.iter().filter(|change| change.action == action).count()
    }

    /// The pipeline of a stage's service.
    pub fn pipeline_of(service: &str) -> &str {
        service.split('.').next().unwrap_or(service)
    }

    /// The revisions that a pipeline has and would have.
    pub fn revisions(&self, pipeline: &str) -> (Option<&Revision>, Option<&Revision>) {
        let of = self.changes.iter().find(|change| Planned::pipeline_of(&change.name) == pipeline);
        of.map_or((None, None), |change| (change.from.as_ref(), change.to.as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::PipelineFile;
    use crate::spec::span::Source;

    fn spec(text: &str) -> Pipeline {
        PipelineFile::parse(&Source::new("x", text), &mut Vec::new()).spec.unwrap()
    }

    fn told(before: &str, after: &str) -> Vec<(String, Option<String>, Option<String>)> {
        let found = differences(&spec(before), &spec(after));
        found.into_iter().map(|one| (one.path, one.from, one.to)).collect()
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn each_key_that_differs_is_named_with_both_values() {
        let before = "pipeline: a\nsource: t\ntransforms: [{ filter: .a == 1 }]\nretry: { max_attempts: 5 }\nhandler: log\n";
        assert_eq!(told(before, before), []);
        let after = "pipeline: a\nsource: t\ntransforms:\n  - filter: .a == 2\n  - remove: [.b]\nretry: { max_attempts: 8 }\nhandler: log\ndlq: d\n";
        let found = told(before, after);
        let at = |path: &str| found.iter().find(|one| one.0 == path).cloned();
        assert_eq!(
            at("transforms[0].filter"),
            Some(("transforms[0].filter".to_owned(), some(".a == 1"), some(".a == 2"))),
            "{found:?}"
        );
        assert!(at("transforms[1]").is_some_and(|one| one.1.is_none() && one.2.is_some()), "{found:?}");
        assert_eq!(at("retry.max_attempts"), Some(("retry.max_attempts".to_owned(), some("5"), some("8"))));
        assert!(found.iter().any(|one| one.0.starts_with("dlq")), "{found:?}");
    }

    #[test]
    fn a_default_of_the_file_is_a_change_of_the_stages_that_have_it() {
        let file = |retry: &str| {
            format!(
                "pipeline: a\n{retry}stages:\n  one: {{ source: t, handler: log, retry: {{ max_attempts: 2 }} }}\n  two: {{ source: u, handler: log }}\n"
            )
        };
        let found = told(&file(""), &file("retry: { max_attempts: 9 }\n"));
        assert!(
            found.iter().all(|one| one.0.starts_with("stages.two.retry")) && !found.is_empty(),
            "{found:?}"
        );
    }
}
