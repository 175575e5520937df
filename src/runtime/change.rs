//! What a reload comes to: which revision each pipeline is to run, and what that means for each stage. Pure.

mod settle;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::history::Pin;
use super::load::{Broken, Loadable};
use crate::plan::{Revision, Stage, Standing};

pub use settle::{Files, Gone, Renamed, Settled, settle};

/// A pipeline that is to run: its last good revision, or one that is pinned.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// What it runs.
    pub pipeline: Loadable,
    /// Why its file cannot run as it is now; the revision here is an older one.
    pub broken: Option<String>,
    /// What holds it at an older revision.
    pub pin: Option<Pin>,
}

/// A pipeline whose older revision is held, and what it runs then: or why that cannot run any more.
#[derive(Debug, Clone)]
pub struct Pinned {
    /// What holds it.
    pub pin: Pin,
    /// What it runs.
    pub pipeline: Result<Loadable, String>,
}

/// What a reload does with a stage, or with a file that is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Nothing.
    Keep,
    /// The next attempt of each record runs under the new plan; the consumer stays.
    Swap,
    /// It is drained, and starts again.
    Restart,
    /// It starts.
    Start,
    /// It is drained, and stops.
    Stop,
    /// Its file cannot run: what ran goes on.
    Broken,
    /// It waits: it may be a pipeline that has stopped, under another name.
    Renamed,
}

/// One line of what a reload has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The stage's service; the pipeline, or the file, that is broken.
    pub name: String,
    /// What is done.
    pub action: Action,
    /// Why: what asks for a restart; what is broken, or waits. Empty otherwise.
    pub why: String,
    /// The revision that it had; `None` for one that starts, waits or is broken.
    pub from: Option<Revision>,
    /// The revision that it has now; `None` for one that stops, waits or is broken.
    pub to: Option<Revision>,
    /// How the file of that revision stands in git, where git knows.
    pub standing: Option<Arc<Standing>>,
}

impl Change {
    /// A pipeline or a file of which nothing new runs: one that is broken, or waits.
    pub fn not_run(name: &str, action: Action, why: &str) -> Change {
        let (from, to, standing) = (None, None, None);
        Change { name: name.to_owned(), action, why: why.to_owned(), from, to, standing }
    }
}

impl Action {
    /// As it is written in logs and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Keep => "keep",
            Action::Swap => "swap",
            Action::Restart => "restart",
            Action::Start => "start",
            Action::Stop => "stop",
            Action::Broken => "broken",
            Action::Renamed => "renamed",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is said of those of which nothing new runs.
pub fn not_run(wanted: &BTreeMap<String, Wanted>, broken: &[Broken], renamed: &[Renamed]) -> Vec<Change> {
    let goes_on = wanted.iter().filter_map(|(name, one)| Some((name.as_str(), one.broken.as_deref()?)));
    let broken = goes_on.chain(broken.iter().map(|one| (&*one.file, one.why.as_str())));
    let broken = broken.map(|(name, why)| Change::not_run(name, Action::Broken, why));
    let waits = renamed.iter().map(|one| Change::not_run(&one.pipeline, Action::Renamed, &one.why));
    broken.chain(waits).collect()
}

/// The stages of all pipelines by their services.
pub fn stages(wanted: &BTreeMap<String, Wanted>) -> BTreeMap<&str, &Arc<Stage>> {
    let stages = wanted.values().flat_map(|one| &one.pipeline.plan.stages);
    stages.map(|stage| (stage.service.as_str(), stage)).collect()
}

/// What becomes of each stage.
pub fn changes(before: &BTreeMap<&str, &Arc<Stage>>, after: &BTreeMap<&str, &Arc<Stage>>) -> Vec<Change> {
    let names: BTreeSet<&str> = before.keys().chain(after.keys()).copied().collect();
    let one = |name: &str| {
        let (old, new) = (before.get(name), after.get(name));
        let (action, why) = match (old, new) {
            (Some(before), Some(after)) => action(before, after),
            (None, _) => (Action::Start, ""),
            (_, None) => (Action::Stop, ""),
        };
        let revision = |stage: &&Arc<Stage>| stage.revision.clone();
        Change {
            name: name.to_owned(),
            action,
            why: why.to_owned(),
            from: old.map(revision),
            to: new.map(revision),
            standing: new.and_then(|stage| stage.in_git.get()),
        }
    };
    names.into_iter().map(one).collect()
}

/// What a new plan of a stage asks for, and where it is a restart, what has changed (R4).
pub fn action(before: &Arc<Stage>, after: &Arc<Stage>) -> (Action, &'static str) {
    if Arc::ptr_eq(before, after) {
        return (Action::Keep, "");
    }
    let (old, new) = (&before.source, &after.source);
    let reason = if before.identity != after.identity {
        "was"
    } else if old.cluster != new.cluster {
        "source.cluster"
    } else if old.group != new.group {
        "source.group"
    } else if old.topics != new.topics || old.pattern != new.pattern {
        "source.topics"
    } else if before.priority.is_some() != after.priority.is_some() {
        "priority"
    } else {
        return (Action::Swap, "");
    };
    (Action::Restart, reason)
}
