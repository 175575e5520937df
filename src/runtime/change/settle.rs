//! Which revision each pipeline is to run after the files were read: what is good; of what is broken the last good one; what is
//! pinned; and not what may be an old one under a new name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Pinned, Wanted};
use crate::plan::Revision;
use crate::runtime::history::{Pin, Until};
use crate::runtime::load::{Broken, Loadable, Loading};
use crate::spec::pipeline::Pipeline;

/// What was read, and what is known besides.
#[derive(Debug, Clone, Copy)]
pub struct Files<'a> {
    /// What the files came to.
    pub loading: &'a Loading,
    /// What is pinned, by pipeline.
    pub pinned: &'a BTreeMap<String, Pinned>,
    /// Those of them that run what is pinned, as far as is known: others have had a file since that says something else.
    pub in_force: &'a BTreeSet<String>,
    /// Pipelines that have run and do not any more, by name.
    pub gone: &'a BTreeMap<String, Gone>,
    /// Pipelines that have run at some time, or are known to begin anew.
    pub known: &'a BTreeSet<String>,
}

/// A pipeline that has run, and does not any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gone {
    /// What its groups and webhook ids are made of.
    pub identity: String,
    /// What it did, whatever its name.
    pub content: Revision,
}

impl Gone {
    /// What is known of a pipeline by what was written.
    pub fn of(spec: &Pipeline) -> Gone {
        Gone { identity: spec.identity().to_owned(), content: content(spec) }
    }
}

/// A pipeline that waits: it may be one that has stopped, under another name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renamed {
    /// The pipeline.
    pub pipeline: String,
    /// Its revision.
    pub revision: Revision,
    /// Which it may be, and what decides.
    pub why: String,
}

/// What is to run.
#[derive(Debug, Clone, Default)]
pub struct Settled {
    /// Each pipeline that is to run, by name.
    pub wanted: BTreeMap<String, Wanted>,
    /// The files of which nothing runs.
    pub broken: Vec<Broken>,
    /// What waits until it is known whether it is an old one.
    pub renamed: Vec<Renamed>,
    /// What held revisions until now, whose files say something else. It stays against what it rejects: another instance may still
    /// have that file, and this one may get it back.
    pub passed: Vec<Pin>,
}

/// What is to run after the files were read: whatever is good, what is pinned in place of what its file says, and of what is
/// broken the last good revision, where there was one. A name stays with the file that has it, also while that file is broken:
/// another file of the same name is broken then.
pub fn settle(before: &BTreeMap<String, Wanted>, files: Files<'_>) -> Settled {
    let mut settled = Settled::default();
    for broken in &files.loading.broken {
        match last_good(before, files, broken) {
            Some(last) => drop(settled.wanted.insert(last.pipeline.plan.pipeline.clone(), last)),
            None => settled.broken.push(broken.clone()),
        }
    }
    for good in &files.loading.pipelines {
        let name = &good.plan.pipeline;
        if let Some(holder) = settled.wanted.get(name) {
            let why = format!(
                "{}: the name `{name}` is that of {}, which is broken and goes on with its last good revision",
                good.file, holder.pipeline.file
            );
            settled.broken.push(Broken { file: Arc::clone(&good.file), why });
            continue;
        }
        if let Some(why) = may_be_old(good, before, files) {
            let (pipeline, revision) = (name.clone(), good.plan.revision.clone());
            settled.renamed.push(Renamed { pipeline, revision, why });
            continue;
        }
        settled.take(before, good, files.pinned.get(name));
    }
    settled
}

/// What goes on while a file is broken.
fn last_good(before: &BTreeMap<String, Wanted>, files: Files<'_>, broken: &Broken) -> Option<Wanted> {
    let why = Some(broken.why.clone());
    let of_file = |pipeline: &&Loadable| pipeline.file == broken.file;
    // What is pinned is good, whatever the file says.
    let in_force = files.pinned.values().filter(|one| files.in_force.contains(&one.pin.pipeline));
    let held = in_force.into_iter().find_map(|Pinned { pin, pipeline }| {
        let pipeline = pipeline.as_ref().ok().filter(of_file)?.clone();
        Some(Wanted { pipeline, broken: why.clone(), pin: Some(pin.clone()) })
    });
    let last = || {
        let last = before.values().find(|one| of_file(&&one.pipeline))?;
        Some(Wanted { pipeline: last.pipeline.clone(), broken: why.clone(), pin: None })
    };
    held.or_else(last)
}

impl Settled {
    /// Takes a good file in, or what is pinned in its place.
    fn take(&mut self, before: &BTreeMap<String, Wanted>, good: &Loadable, pinned: Option<&Pinned>) {
        let name = &good.plan.pipeline;
        let wanted = |pipeline, pin| Wanted { pipeline, broken: None, pin };
        let Some(Pinned { pin, pipeline }) = pinned else {
            self.wanted.insert(name.clone(), wanted(good.clone(), None));
            return;
        };
        let is_moot = good.plan.revision == pin.revision && pin.until == Until::Change;
        if is_moot || !pin.holds(&good.plan.revision) {
            if before.get(name).is_some_and(|last| last.pin.as_ref() == Some(pin)) {
                self.passed.push(pin.clone());
            }
            self.wanted.insert(name.clone(), wanted(good.clone(), None));
            return;
        }
        match pipeline {
            Ok(pipeline) => {
                let pipeline = Loadable { file: Arc::clone(&good.file), ..pipeline.clone() };
                self.wanted.insert(name.clone(), wanted(pipeline, Some(pin.clone())));
            }
            Err(why) => {
                let why = format!("the pinned revision {} cannot run any more: {why}", pin.revision);
                match before.get(name).filter(|last| last.pin.as_ref() == Some(pin)) {
                    Some(last) => {
                        self.wanted.insert(name.clone(), Wanted { broken: Some(why), ..last.clone() });
                    }
                    None => self.broken.push(Broken { file: Arc::clone(&good.file), why }),
                }
            }
        }
    }
}

/// Why a pipeline may be one that has stopped, under another name; it has not run yet.
fn may_be_old(good: &Loadable, before: &BTreeMap<String, Wanted>, files: Files<'_>) -> Option<String> {
    let name = &good.plan.pipeline;
    if files.known.contains(name) || before.contains_key(name) {
        return None;
    }
    let now = Gone::of(good.spec()?);
    // Whose file is gone with this very reload has stopped too.
    let still = |name: &String| files.loading.pipelines.iter().any(|one| one.plan.pipeline == *name);
    let just_gone = before.iter().filter(|(name, _)| !still(name)).filter_map(|(name, one)| {
        let broken = files.loading.broken.iter().any(|broken| broken.file == one.pipeline.file);
        (!broken).then_some((name, Gone::of(one.pipeline.spec()?)))
    });
    let gone = files.gone.iter().map(|(name, gone)| (name, gone.clone())).chain(just_gone);
    let mut gone: Vec<(&String, Gone)> = gone.filter(|(name, _)| !still(name)).collect();
    if gone.iter().any(|(_, old)| old.identity == now.identity) {
        // It goes on where that one was.
        return None;
    }
    let was = &good.spec()?.was.0;
    gone.retain(|(old, gone)| was.contains(old) || gone.content == now.content);
    let (old, gone) = gone.first()?;
    let line =
        if gone.identity == **old { gone.identity.clone() } else { format!("[{}, {old}]", gone.identity) };
    Some(format!(
        "`{name}` may be `{old}`, which has stopped, under another name: write `was: {line}` to go on where it was, \
         or begin anew with `weir reload --fresh {name}`"
    ))
}

/// What a pipeline does, whatever its name is and was.
fn content(spec: &Pipeline) -> Revision {
    let nameless = Pipeline { pipeline: String::new(), was: Default::default(), ..spec.clone() };
    Revision::of(&serde_json::to_string(&nameless).unwrap_or_default())
}
