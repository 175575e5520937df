//! The steps of a stage, one after the other.

use std::fmt;
use std::sync::Arc;

use super::{Emit, Transform};
use crate::event::Event;
use crate::outcome::{Failure, Filter};
use crate::plan::expr::{Predicate, Surroundings, View};
use crate::telemetry::metrics::TransformErrorKind;

/// A compiled item of `transforms`.
#[derive(Debug)]
pub struct Step {
    /// What it is called: `name`, else the transform's word and its index, as in `filter-0`.
    pub name: String,
    /// The step is passed over where this is false; `None`: never.
    pub when: Option<Predicate>,
    /// The transform.
    pub transform: Box<dyn Transform>,
    /// Who looks on.
    pub watch: Option<Arc<dyn Watch>>,
}

/// Looks on while events pass through the steps of a stage: what `weir test` and `weir try` tell of them.
pub trait Watch: Send + Sync + fmt::Debug {
    /// An event has passed through a step.
    fn passed(&self, passage: Passage<'_>);
}

/// An event's way through one step.
#[derive(Debug, Clone, Copy)]
pub struct Passage<'a> {
    /// The step's name.
    pub step: &'a str,
    /// What `when` said; `None` where the step has none, or it could not be told.
    pub when: Option<bool>,
    /// The event before it.
    pub before: &'a Event,
    /// What became of it; the failure's message begins with the step's name.
    pub after: Result<&'a Emit, &'a Failure>,
}

/// A step that failed on an event.
#[derive(Debug, Clone, PartialEq)]
pub struct Failed {
    /// Which of the steps.
    pub step: usize,
    /// Whether its program failed, or the value is not what it takes.
    pub kind: TransformErrorKind,
    /// Why, for the record; the message begins with the step's name.
    pub failure: Failure,
}

impl Step {
    /// Applies the step to one event; passes it on untouched where `when` is false. A failure's message begins with the
    /// step's name.
    pub fn apply(
        &self,
        event: Event,
        around: Surroundings<'_>,
    ) -> Result<Emit, (TransformErrorKind, Failure)> {
        let Some(watch) = &self.watch else { return self.pass(event, around).1 };
        let before = event.clone();
        let (when, passed) = self.pass(event, around);
        let after = passed.as_ref().map_err(|(_, failure)| failure);
        watch.passed(Passage { step: &self.name, when, before: &before, after });
        passed
    }

    /// The same, and what `when` has said.
    fn pass(
        &self,
        event: Event,
        around: Surroundings<'_>,
    ) -> (Option<bool>, Result<Emit, (TransformErrorKind, Failure)>) {
        let named = |kind, mut failure: Failure| {
            failure.message = format!("{}: {}", self.name, failure.message);
            (kind, failure)
        };
        let applies = self.when.as_ref().map(|when| when.test(&View::of(&event, around)));
        let when = match applies.transpose() {
            Ok(when) => when,
            Err(failure) => return (None, Err(named(TransformErrorKind::Eval, failure))),
        };
        if when == Some(false) {
            return (when, Ok(Emit::One(event)));
        }
        let kind = self.transform.failure_kind();
        (when, self.transform.apply(event, around).map_err(|failure| named(kind, failure)))
    }

    /// Every way in which it can fail.
    pub fn fails_by(&self) -> Vec<TransformErrorKind> {
        let own = self.transform.failure_kind();
        let when = self.when.as_ref().map(|_| TransformErrorKind::Eval).filter(|kind| *kind != own);
        when.into_iter().chain([own]).collect()
    }

    /// Whether it may keep a thread for longer than a moment.
    pub fn blocks(&self) -> bool {
        self.transform.blocks()
    }

    /// Whether `%id` is read.
    pub fn reads_id(&self) -> bool {
        self.transform.reads_id() || self.when.as_ref().is_some_and(Predicate::reads_id)
    }

    /// Whether the step looks into the value.
    pub fn looks_into_payload(&self) -> bool {
        self.transform.looks_into_payload() || self.when.as_ref().is_some_and(Predicate::looks_into_payload)
    }
}

/// The most events that the steps of a stage may make of one record.
const MAX_PARTS: usize = 10_000;

/// Applies all steps to one record. `Filtered` where nothing is left: the cause of the last that ended. `part` counts from
/// 0 at the step that split, before later steps filter; where a part is split again, all are counted anew.
pub fn run(steps: &[Step], event: Event, around: Surroundings<'_>) -> Result<Emit, Failed> {
    let mut events = vec![event];
    let mut was_split = false;
    let mut filtered = Filter::Condition;
    for (at, step) in steps.iter().enumerate() {
        let failed = |(kind, failure)| Failed { step: at, kind, failure };
        let mut next = Vec::with_capacity(events.len());
        let mut splits = false;
        for event in events {
            match step.apply(event, around).map_err(failed)? {
                Emit::One(event) => next.push(event),
                Emit::Many(parts) => {
                    splits = true;
                    next.extend(parts);
                }
                Emit::Filtered(cause) => filtered = cause,
            }
            if next.len() > MAX_PARTS {
                let message = format!("{}: more than {MAX_PARTS} events of one record", step.name);
                return Err(failed((TransformErrorKind::Type, super::failure(message))));
            }
        }
        if splits && was_split {
            for (part, event) in (0u32..).zip(&mut next) {
                event.part = part;
            }
        }
        was_split |= splits;
        events = next;
    }
    match events.len() {
        0 => Ok(Emit::Filtered(filtered)),
        1 if !was_split => Ok(events.pop().map_or(Emit::Filtered(filtered), Emit::One)),
        _ => Ok(Emit::Many(events)),
    }
}
