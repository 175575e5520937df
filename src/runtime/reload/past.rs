//! What has run before: asked of the history once, kept up to date from then on, and told to it.

use std::collections::{BTreeMap, BTreeSet};

use tracing::{error, warn};

use crate::git::Commit;
use crate::plan::Revision;
use crate::runtime::change::{Gone, Pinned, Settled, Wanted};
use crate::runtime::history::{History, Kept, Line, Pin};
use crate::spec::PipelineFile;
use crate::spec::span::Source;
use crate::store::StoreError;
use crate::telemetry::clock;

/// The commit that brought what runs, where nothing was changed since.
fn committed(one: &Wanted) -> Option<Commit> {
    let standing = one.pipeline.standing.as_ref().filter(|standing| !standing.dirty)?;
    standing.commit.as_deref().cloned()
}

/// The content that a pipeline runs from now on.
fn text_of(name: &str, one: &Wanted) -> Kept {
    Kept {
        pipeline: name.to_owned(),
        revision: one.pipeline.plan.revision.clone(),
        file: one.pipeline.file.to_string(),
        text: one.pipeline.text().to_owned(),
        commit: committed(one),
        at: clock::wall(),
    }
}

/// What stopped at its last line.
const STOP: &str = "stop";
/// What begins anew whatever it looks like.
const FRESH: &str = "fresh";

/// What has run before, and what is pinned.
#[derive(Debug)]
pub(super) struct Past {
    history: History,
    instance: String,
    /// The last line of each pipeline: what it did, and its revision then.
    last: BTreeMap<String, (String, Option<Revision>)>,
    names: BTreeSet<String>,
    gone: BTreeMap<String, Gone>,
    /// Why each broken file is, as it is in the history.
    broken: BTreeMap<String, String>,
    /// What was pinned when the store last answered.
    pins: Vec<(Pin, Kept)>,
    answers: bool,
}

impl Past {
    /// What the history knows.
    pub(super) async fn begin(history: History, instance: &str) -> Result<Past, StoreError> {
        let lines = history.last().await?;
        let names: BTreeSet<String> = lines.iter().map(|line| line.pipeline.clone()).collect();
        let last = lines.into_iter().map(|line| (line.pipeline, (line.action, line.revision))).collect();
        let mut past = Past {
            history,
            instance: instance.to_owned(),
            last,
            names,
            gone: BTreeMap::new(),
            broken: BTreeMap::new(),
            pins: Vec::new(),
            answers: true,
        };
        past.pins = past.ask_pins().await?;
        Ok(past)
    }

    /// Pipelines that have run and do not any more.
    pub(super) fn gone(&self) -> &BTreeMap<String, Gone> {
        &self.gone
    }

    /// Pipelines that have run at some time.
    pub(super) fn known(&self) -> &BTreeSet<String> {
        &self.names
    }

    pub(super) fn history(&self) -> &History {
        &self.history
    }

    /// Which of them run what is pinned: what ran last says so.
    pub(super) fn in_force(&self, pinned: &BTreeMap<String, Pinned>) -> BTreeSet<String> {
        let ran = |name: &String| self.last.get(name).and_then(|(_, revision)| revision.as_ref());
        let in_force = pinned.iter().filter(|(name, one)| ran(name) == Some(&one.pin.revision));
        in_force.map(|(name, _)| name.clone()).collect()
    }

    /// What is pinned, by pipeline; what was when the store last answered.
    pub(super) async fn pins(&mut self) -> Vec<(Pin, Kept)> {
        match self.ask_pins().await {
            Ok(pins) => {
                self.pins = pins;
                self.answers = true;
            }
            Err(error) => {
                if std::mem::replace(&mut self.answers, false) {
                    warn!(%error, "the store does not say what is pinned: what was pinned stays so");
                }
            }
        }
        self.pins.clone()
    }

    async fn ask_pins(&self) -> Result<Vec<(Pin, Kept)>, StoreError> {
        let mut pins = Vec::new();
        for pin in self.history.pins().await? {
            let kept = self.history.revisions(&pin.pipeline).await?;
            match kept.into_iter().find(|kept| kept.revision == pin.revision) {
                Some(kept) => pins.push((pin, kept)),
                None => error!(
                    pipeline = pin.pipeline,
                    revision = %pin.revision,
                    "it is pinned to a revision whose text is not kept: its file runs; release the pin"
                ),
            }
        }
        Ok(pins)
    }

    /// A line of this moment.
    pub(super) fn line(&self, pipeline: &str, revision: Option<&Revision>, action: &str) -> Line {
        Line {
            at: clock::wall(),
            instance: self.instance.clone(),
            pipeline: pipeline.to_owned(),
            revision: revision.cloned(),
            action: action.to_owned(),
            actor: String::new(),
            reason: String::new(),
        }
    }

    /// A line is in the history that says what runs from now on.
    pub(super) fn noted(&mut self, line: &Line) {
        self.last.insert(line.pipeline.clone(), (line.action.clone(), line.revision.clone()));
    }

    /// Lets pipelines begin anew that look like others which have stopped.
    pub(super) async fn begin_anew(&mut self, pipelines: Vec<String>) {
        let lines: Vec<Line> = pipelines.iter().map(|name| self.line(name, None, FRESH)).collect();
        self.history.keep(&[], &lines).await;
        self.names.extend(pipelines);
    }

    /// Notes what runs from now on, where it is something else than before.
    pub(super) async fn note(&mut self, before: &BTreeMap<String, Wanted>, settled: &Settled) {
        let (mut kept, mut lines) = (Vec::new(), Vec::new());
        for pin in &settled.passed {
            let mut line = self.line(&pin.pipeline, Some(&pin.rejected), "passed");
            line.reason = "the file says something else than what is rejected".to_owned();
            lines.push(line);
        }
        for (name, one) in &settled.wanted {
            self.note_one(name, one, &mut lines);
            let revision = |one: &Wanted| one.pipeline.plan.revision.clone();
            let ran = before.get(name).map(revision);
            if one.pin.is_none() && ran != Some(revision(one)) {
                kept.push(text_of(name, one));
            }
        }
        for broken in &settled.broken {
            self.note_broken(&broken.file, None, &broken.why, &mut lines);
        }
        self.note_gone(before, settled, &mut lines);
        self.history.keep(&kept, &lines).await;
        self.look_up_gone(&settled.wanted).await;
    }

    fn note_one(&mut self, name: &str, one: &Wanted, lines: &mut Vec<Line>) {
        let revision = &one.pipeline.plan.revision;
        self.names.insert(name.to_owned());
        self.gone.remove(name);
        match &one.broken {
            Some(why) => self.note_broken(name, Some(revision), why, lines),
            None => drop(self.broken.remove(name)),
        }
        let last = self.last.get(name);
        if last.is_some_and(|(action, known)| action != STOP && known.as_ref() == Some(revision)) {
            return;
        }
        let action = if last.is_none_or(|(action, _)| action == STOP) { "start" } else { "change" };
        let line = self.line(name, Some(revision), action);
        self.noted(&line);
        lines.push(line);
    }

    /// A file is broken: once for each reason.
    fn note_broken(&mut self, name: &str, revision: Option<&Revision>, why: &str, lines: &mut Vec<Line>) {
        if self.broken.insert(name.to_owned(), why.to_owned()).as_deref() != Some(why) {
            lines.push(Line { reason: why.to_owned(), ..self.line(name, revision, "broken") });
        }
    }

    fn note_gone(&mut self, before: &BTreeMap<String, Wanted>, settled: &Settled, lines: &mut Vec<Line>) {
        for (name, one) in before {
            if settled.wanted.contains_key(name) {
                continue;
            }
            self.gone.extend(one.pipeline.spec().map(|spec| (name.clone(), Gone::of(spec))));
            let line = self.line(name, None, STOP);
            self.noted(&line);
            lines.push(line);
        }
    }

    /// What those did that have run in an earlier process only.
    async fn look_up_gone(&mut self, wanted: &BTreeMap<String, Wanted>) {
        let unknown = |name: &&String| !wanted.contains_key(*name) && !self.gone.contains_key(*name);
        let names: Vec<String> = self.last.keys().filter(unknown).cloned().collect();
        if names.is_empty() {
            return;
        }
        match self.history.newest(&names).await {
            Ok(kept) => self.gone.extend(kept.into_iter().filter_map(|kept| {
                let read = PipelineFile::parse(&Source::new(&kept.file, kept.text), &mut Vec::new());
                Some((kept.pipeline, Gone::of(read.spec.as_ref()?)))
            })),
            Err(error) => warn!(%error, "the store does not say what pipelines did that have stopped"),
        }
    }
}
