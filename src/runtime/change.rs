//! What a reload comes to: which revision each pipeline is to run, and what that means for each stage. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::load::{Broken, Loadable, Loading};
use crate::plan::{Revision, Stage, Standing};

/// A pipeline that is to run: its last good revision.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// What it runs.
    pub pipeline: Loadable,
    /// Why its file cannot run as it is now; the revision here is an older one.
    pub broken: Option<String>,
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
}

/// One line of what a reload has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The stage's service; the pipeline, or the file, that is broken.
    pub name: String,
    /// What is done.
    pub action: Action,
    /// Why: what asks for a restart; what is broken. Empty otherwise.
    pub why: String,
    /// The revision that it had; `None` for one that starts, or is broken.
    pub from: Option<Revision>,
    /// The revision that it has now; `None` for one that stops, or is broken.
    pub to: Option<Revision>,
    /// How the file of that revision stands in git, where git knows.
    pub standing: Option<Arc<Standing>>,
}

impl Change {
    /// A pipeline or a file that is broken.
    pub fn broken(name: &str, why: String) -> Change {
        Change { name: name.to_owned(), action: Action::Broken, why, from: None, to: None, standing: None }
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
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is to run after the files were read: whatever is good, and of what is broken the last good revision, where there was
/// one. A name stays with the file that has it, also while that file is broken: another file of the same name is broken
/// then. Also says which files are broken and have nothing that goes on.
pub fn settle(
    before: &BTreeMap<String, Wanted>,
    loading: &Loading,
) -> (BTreeMap<String, Wanted>, Vec<Broken>) {
    let mut wanted = BTreeMap::new();
    let mut homeless = Vec::new();
    for broken in &loading.broken {
        match before.values().find(|one| one.pipeline.file == broken.file) {
            Some(last) => {
                let last = Wanted { broken: Some(broken.why.clone()), ..last.clone() };
                wanted.insert(last.pipeline.plan.pipeline.clone(), last);
            }
            None => homeless.push(broken.clone()),
        }
    }
    for good in &loading.pipelines {
        let name = &good.plan.pipeline;
        if let Some(holder) = wanted.get(name) {
            let holder: &Wanted = holder;
            let why = format!(
                "{}: the name `{name}` is that of {}, which is broken and goes on with its last good revision",
                good.file, holder.pipeline.file
            );
            homeless.push(Broken { file: Arc::clone(&good.file), why });
            continue;
        }
        wanted.insert(name.clone(), Wanted { pipeline: good.clone(), broken: None });
    }
    (wanted, homeless)
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
    let reason = if old.cluster != new.cluster {
        "source.cluster"
    } else if old.group != new.group {
        "source.group"
    } else if old.topics != new.topics || old.pattern != new.pattern {
        "source.topics"
    } else if old.start != new.start {
        "source.start"
    } else if before.priority.is_some() != after.priority.is_some() {
        "priority"
    } else {
        return (Action::Swap, "");
    };
    (Action::Restart, reason)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::plan::{Plan, fixture};
    use crate::telemetry::metrics::PipelineFacts;

    fn loadable(file: &str, name: &str, text: &str) -> Loadable {
        let stage = Stage { service: name.to_owned(), pipeline: name.to_owned(), ..fixture::stage(None) };
        let plan =
            Plan { pipeline: name.to_owned(), revision: Revision::of(text), stages: vec![Arc::new(stage)] };
        Loadable { plan: Arc::new(plan), facts: PipelineFacts::default(), file: file.into(), standing: None }
    }

    fn broken(file: &str) -> Broken {
        Broken { file: file.into(), why: format!("{file}:1:1: error[W0302]: no") }
    }

    fn shown(wanted: &BTreeMap<String, Wanted>) -> Vec<(String, String, bool)> {
        let one = |(name, one): (&String, &Wanted)| {
            (name.clone(), one.pipeline.plan.revision.to_string(), one.broken.is_some())
        };
        wanted.iter().map(one).collect()
    }

    #[test]
    fn a_name_stays_with_the_file_that_has_it_while_it_is_broken() {
        let first = Loading { pipelines: vec![loadable("b.yaml", "x", "1")], ..Loading::default() };
        let (wanted, _) = settle(&BTreeMap::new(), &first);
        // A copy that comes first in the folder makes the original the second of its name.
        let copied = Loading {
            pipelines: vec![loadable("a.yaml", "x", "2")],
            broken: vec![broken("b.yaml")],
            ..Loading::default()
        };
        let (kept, homeless) = settle(&wanted, &copied);
        assert_eq!(shown(&kept), [("x".to_owned(), Revision::of("1").to_string(), true)]);
        assert!(homeless.len() == 1 && &*homeless[0].file == "a.yaml", "{homeless:?}");
        // The original is gone: the copy is the pipeline now.
        let moved = Loading { pipelines: vec![loadable("a.yaml", "x", "2")], ..Loading::default() };
        let (moved, homeless) = settle(&kept, &moved);
        assert_eq!(shown(&moved), [("x".to_owned(), Revision::of("2").to_string(), false)]);
        assert!(homeless.is_empty());
    }

    #[test]
    fn what_asks_for_another_consumer_restarts_and_all_else_swaps() {
        let base = || fixture::stage(None);
        let before = Arc::new(base());
        assert_eq!(action(&before, &before), (Action::Keep, ""));
        let changed = |change: &dyn Fn(&mut Stage)| {
            let mut stage = base();
            change(&mut stage);
            action(&before, &Arc::new(stage))
        };
        assert_eq!(changed(&|_| ()), (Action::Swap, ""), "a schema or a plugin has changed");
        assert_eq!(changed(&|stage| stage.max_in_flight = 7), (Action::Swap, ""));
        assert_eq!(changed(&|stage| stage.paused = true), (Action::Swap, ""));
        assert_eq!(
            changed(&|stage| stage.source.topics.push("u".into())),
            (Action::Restart, "source.topics")
        );
        assert_eq!(changed(&|stage| stage.source.group.push('2')), (Action::Restart, "source.group"));
        assert_eq!(changed(&|stage| stage.source.cluster.push('2')), (Action::Restart, "source.cluster"));
        assert_eq!(
            changed(&|stage| stage.order = crate::plan::Order::None),
            (Action::Swap, ""),
            "with a barrier"
        );
    }

    /// What a file holds: a pipeline's name and a number that stands for its text, or something broken.
    #[derive(Debug, Clone)]
    enum Held {
        Good(usize, u32),
        Broken,
    }

    fn edit() -> impl Strategy<Value = (usize, Option<Held>)> {
        let good = (0_usize..4, 0_u32..3).prop_map(|(name, text)| Held::Good(name, text));
        (0_usize..4, prop::option::weighted(0.8, prop_oneof![3 => good, 1 => Just(Held::Broken)]))
    }

    /// As the loader says it: of two files of one name the second is broken.
    fn read(files: &BTreeMap<usize, Held>) -> Loading {
        let mut loading = Loading::default();
        let mut taken = BTreeSet::new();
        for (file, held) in files {
            let path = format!("{file}.yaml");
            match held {
                Held::Good(name, text) if taken.insert(*name) => {
                    loading.pipelines.push(loadable(&path, &format!("p{name}"), &text.to_string()));
                }
                Held::Good(..) | Held::Broken => loading.broken.push(broken(&path)),
            }
        }
        loading
    }

    proptest! {
        /// After any edits: each file that can run runs as it is now, unless its name belongs to one that is broken; nothing
        /// runs whose file is gone; and a pipeline that was not touched is the same.
        #[test]
        fn after_each_edit_what_is_wanted_is_what_the_files_say(edits in prop::collection::vec(edit(), 1..30)) {
            let (mut files, mut wanted) = (BTreeMap::new(), BTreeMap::new());
            for (file, held) in edits {
                match held {
                    Some(held) => drop(files.insert(file, held)),
                    None => drop(files.remove(&file)),
                }
                let loading = read(&files);
                let (next, homeless) = settle(&wanted, &loading);
                for good in &loading.pipelines {
                    let is_homeless = homeless.iter().any(|one| one.file == good.file);
                    let runs = &next[&good.plan.pipeline];
                    prop_assert_eq!(runs.pipeline.plan.revision == good.plan.revision && runs.pipeline.file == good.file, !is_homeless || runs.pipeline.file == good.file);
                    prop_assert!(!is_homeless || runs.broken.is_some());
                }
                for (name, one) in &next {
                    let path: usize = one.pipeline.file.trim_end_matches(".yaml").parse().unwrap();
                    prop_assert!(files.contains_key(&path), "{} runs without a file", name);
                    // A broken one goes on as it was.
                    if one.broken.is_some() {
                        prop_assert!(Arc::ptr_eq(&wanted[name].pipeline.plan, &one.pipeline.plan));
                    }
                }
                for broken in &loading.broken {
                    let goes_on = next.values().any(|one| one.pipeline.file == broken.file);
                    prop_assert_eq!(goes_on, !homeless.contains(broken));
                }
                let (before, after) = (stages(&wanted), stages(&next));
                for change in changes(&before, &after) {
                    let (old, new) = (before.get(&*change.name), after.get(&*change.name));
                    prop_assert_eq!(change.action == Action::Start, old.is_none());
                    prop_assert_eq!(change.action == Action::Stop, new.is_none());
                }
                wanted = next;
            }
        }
    }
}
