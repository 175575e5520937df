//! What tests have exercised: each transform and each side of its `when`, what a filter keeps and drops, each entry of
//! `publish`, retries, and the ways to a dead letter.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::load::CaseFile;
use super::observed::Observed;
use crate::handler::Spec;
use crate::outcome::{Outcome, Reason};
use crate::plan::{Plan, Stage};
use crate::publish::route;
use crate::transform::{Emit, Passage, Watch};

/// Something of a stage that a test may exercise.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    /// The stage's service.
    pub service: String,
    /// What it is: `filter-0 drops`.
    pub what: String,
}

/// Every point of the pipelines that were tested, and those that were exercised. Cheap to clone; clones are one.
#[derive(Debug, Clone, Default)]
pub struct Coverage(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// In the order of the files.
    points: Vec<Point>,
    hits: BTreeSet<Point>,
}

impl Coverage {
    /// Every point, and whether it was exercised, in the order of the files.
    pub fn points(&self) -> Vec<(Point, bool)> {
        let state = self.lock();
        state.points.iter().map(|point| (point.clone(), state.hits.contains(point))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hit(&self, service: &str, what: String) {
        self.lock().hits.insert(Point { service: service.to_owned(), what });
    }

    /// Adds the points of a pipeline.
    pub(super) fn expect(&self, plan: &Plan, file: &CaseFile) {
        let written =
            file.pipeline.spec.as_ref().map(crate::spec::pipeline::Pipeline::stages).unwrap_or_default();
        for (at, stage) in plan.stages.iter().enumerate() {
            let is_filter = |step: usize| {
                let item = written.get(at).and_then(|(_, stage)| stage.transforms.get(step));
                item.is_some_and(|item| item.kind.as_str() == "filter")
            };
            let handler = written.get(at).and_then(|(_, stage)| stage.handler.as_ref());
            let has_webhook = matches!(handler, Some(Spec::Webhook(_)));
            let mut state = self.lock();
            for what in of_stage(stage, has_webhook, is_filter) {
                let point = Point { service: stage.service.clone(), what };
                if !state.points.contains(&point) {
                    state.points.push(point);
                }
            }
        }
    }

    /// Looks on in a stage.
    pub(super) fn watch(&self, stage: &mut Stage) {
        let onlooker = Arc::new(Onlooker { service: stage.service.clone(), coverage: self.clone() });
        for step in &mut stage.steps {
            step.watch = Some(Arc::clone(&onlooker) as Arc<dyn Watch>);
        }
        for route in &mut stage.publish {
            route.watch(Arc::clone(&onlooker) as Arc<dyn route::Watch>);
        }
    }

    /// Takes note of what came of a test.
    pub(super) fn note(&self, most: &[(String, u32)], seen: &Observed) {
        for taken in &seen.records {
            if seen.attempts(taken) > 1 {
                self.hit(&taken.service, "retry".to_owned());
            }
            let Some(Outcome::DeadLettered(reason, _)) = taken.outcome else { continue };
            self.hit(&taken.service, "dead letter".to_owned());
            if reason == Reason::Exhausted
                && let Some((_, attempts)) = most.iter().find(|(service, _)| *service == taken.service)
            {
                self.hit(&taken.service, given_up(*attempts));
            }
        }
    }
}

fn of_stage(stage: &Stage, has_webhook: bool, is_filter: impl Fn(usize) -> bool) -> Vec<String> {
    let mut points = Vec::new();
    for (at, step) in stage.steps.iter().enumerate() {
        let name = &step.name;
        if step.when.is_some() {
            points.extend([format!("{name} when true"), format!("{name} when false")]);
        }
        match (is_filter(at), step.when.is_some()) {
            (true, _) => points.extend([format!("{name} keeps"), format!("{name} drops")]),
            (false, false) => points.push(name.clone()),
            (false, true) => {}
        }
    }
    for (at, route) in stage.publish.iter().enumerate() {
        points.push(entry(at, true));
        if route.has_when() {
            points.push(entry(at, false));
        }
    }
    if has_webhook {
        let attempts = stage.policy.retry.max_attempts();
        if attempts > 1 {
            points.push("retry".to_owned());
        }
        points.push(given_up(attempts));
    }
    if stage.dlq.is_some() {
        points.push("dead letter".to_owned());
    }
    points
}

fn entry(at: usize, applies: bool) -> String {
    format!("publish[{at}] {}", if applies { "writes" } else { "when false" })
}

fn given_up(attempts: u32) -> String {
    format!("give up after {attempts} attempt{}", if attempts == 1 { "" } else { "s" })
}

#[derive(Debug)]
struct Onlooker {
    service: String,
    coverage: Coverage,
}

impl Watch for Onlooker {
    fn passed(&self, passage: Passage<'_>) {
        let name = passage.step;
        let hit = |what: String| self.coverage.hit(&self.service, what);
        if let Some(when) = passage.when {
            hit(format!("{name} when {when}"));
        }
        if passage.when == Some(false) {
            return;
        }
        hit(name.to_owned());
        match passage.after {
            Ok(Emit::Filtered(_)) => hit(format!("{name} drops")),
            Ok(Emit::One(_) | Emit::Many(_)) => hit(format!("{name} keeps")),
            Err(_) => {}
        }
    }
}

impl route::Watch for Onlooker {
    fn considered(&self, at: usize, applies: bool) {
        self.coverage.hit(&self.service, entry(at, applies));
    }
}
