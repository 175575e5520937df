//! When files are read again: something has changed in their folders, or somebody asks. Changes that come together are read
//! together, the newest wins, and one reload ends before the next begins. What is pinned is settled here too, so that files
//! and pins never change at the same time.

mod ask;
mod folders;
mod guard;
mod past;
mod pins;
mod settings_file;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::Apply;
use super::change::{self, Action, Change, Files, Pinned, Settled, Wanted};
use super::follow::Follow;
use super::history::History;
use super::load::{Loader, Loading};
use super::plan::{self, Planned};
use super::reporter::Reporter;
use crate::plan::Revision;
use crate::spec::diagnostic;
use crate::spec::span::Source;
use crate::telemetry::clock;
use crate::telemetry::metrics::Metrics;
pub(super) use ask::Ask;
use folders::Folders;
use guard::{Guard, Tally};
use past::Past;

pub use ask::{Refused, Release, Reloaded, Reloader, Repinned, Rollback};
pub use settings_file::{SettingsFile, Waiting};

/// How long no file must change before they are read: editors and `git` write in several steps.
const QUIET: Duration = Duration::from_millis(30);
/// How long a folder may go on changing before it is read all the same.
const AT_LAST: Duration = Duration::from_millis(300);
/// How often the files are looked at although nothing was heard of a change: some file systems tell of none. How soon a pin of
/// another instance of the same store is known.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How often revisions that are watched are looked at.
const GLANCE_EVERY: Duration = Duration::from_secs(1);

/// Tells somebody what was found in the files each time that they were read, and whether that is something else than before.
pub type OnLoaded = Box<dyn FnMut(&Loading, bool) + Send + Sync>;

/// Reads files again and again.
pub struct Reload {
    /// Only locked by `with_loader`, one at a time.
    loader: Arc<Mutex<Loader>>,
    wanted: BTreeMap<String, Wanted>,
    /// The content of each pipeline's file when it was last good.
    files: BTreeMap<String, Revision>,
    pinned: BTreeMap<String, Pinned>,
    past: Past,
    settings_file: Option<SettingsFile>,
    guard: Guard,
    /// Tells how what runs is doing.
    status: Option<Reporter>,
    /// What was said of the files when they were last read.
    said: Said,
    requests: mpsc::Receiver<Ask>,
    apply: mpsc::Sender<Apply>,
    on_loaded: OnLoaded,
    metrics: Arc<Metrics>,
}

impl fmt::Debug for Reload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reload").field("wanted", &self.wanted.keys()).finish_non_exhaustive()
    }
}

/// What the first load came to, and what reads the files from then on.
#[derive(Debug)]
pub struct Begun {
    /// What is to run.
    pub settled: Settled,
    /// Reads the files again.
    pub reload: Reload,
    /// Asks for it.
    pub reloader: Reloader,
    /// What is to be applied then.
    pub changes: mpsc::Receiver<Apply>,
    /// Asks the repository that is followed, where one is.
    pub follow: Option<Follow>,
}

/// What a reload begins with.
pub struct Begin<'a> {
    /// What reads the files.
    pub loader: Loader,
    /// What they came to when they were first read.
    pub first: &'a Loading,
    /// What ran before, and what is pinned.
    pub history: History,
    /// The name of this process.
    pub instance: &'a str,
    /// The runtime file, where there is one.
    pub settings_file: Option<SettingsFile>,
    /// Where it is counted.
    pub metrics: &'a Arc<Metrics>,
    /// Who is told what was found.
    pub on_loaded: OnLoaded,
}

impl fmt::Debug for Begin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Begin").field("loader", &self.loader).finish_non_exhaustive()
    }
}

/// Begins with what was loaded first.
///
/// # Errors
/// The store does not say what is pinned: something could run that somebody has taken back.
pub async fn begin(begin: Begin<'_>) -> Result<Begun, crate::store::StoreError> {
    let Begin { loader, first, history, instance, settings_file, metrics, on_loaded } = begin;
    let (reloader, requests, follow) = Reloader::new(loader.following());
    let (apply, changes) = mpsc::channel(1);
    let past = Past::begin(history, instance).await?;
    let mut reload = Reload {
        loader: Arc::new(Mutex::new(loader)),
        wanted: BTreeMap::new(),
        files: BTreeMap::new(),
        pinned: BTreeMap::new(),
        past,
        settings_file,
        guard: Guard::default(),
        status: None,
        said: Said::of(first),
        requests,
        apply,
        on_loaded,
        metrics: Arc::clone(metrics),
    };
    reload.look_up_pins().await;
    let settled = reload.decide(first);
    reload.remember(&settled).await;
    Ok(Begun { settled, reload, reloader, changes, follow })
}

impl Reload {
    /// Reads the files whenever they have changed or somebody asks, until told to stop; `status` tells how what runs is doing.
    pub async fn run(mut self, status: Reporter, stop: CancellationToken) {
        self.status = Some(status);
        let changed = Arc::new(Notify::new());
        let mut folders = Folders::new(&changed);
        folders.watch(self.folders().await);
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        looks.reset();
        let mut glances = tokio::time::interval(GLANCE_EVERY);
        glances.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let mut answers = Vec::new();
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some(ask) = self.requests.recv() => {
                    // Whoever stops waits for the answer: it is bounded.
                    let Some(()) = self.answer(ask, &mut answers).await else { return };
                    if answers.is_empty() {
                        continue;
                    }
                }
                () = changed.notified() => settle_down(&changed).await,
                _ = glances.tick(), if !self.guard.is_idle(&self.wanted) => {
                    self.put_back().await;
                    continue;
                }
                _ = looks.tick() => {
                    let same = self.is_up_to_date().await;
                    folders.watch(self.folders().await);
                    if same {
                        continue;
                    }
                }
            }
            let Some(reloaded) = self.read().await else { return };
            folders.watch(self.folders().await);
            answers.into_iter().for_each(|answer| drop(answer.send(reloaded.clone())));
        }
    }

    /// Does what is asked for; whoever asks for a reload is put among those who wait for it. `None` where the instance stops.
    async fn answer(&mut self, ask: Ask, waiting: &mut Vec<oneshot::Sender<Reloaded>>) -> Option<()> {
        match ask {
            Ask::Read { fresh, answer } => {
                self.past.begin_anew(fresh).await;
                waiting.push(answer);
            }
            Ask::Plan { texts, answer } => drop(answer.send(self.plan(texts).await)),
            Ask::Rollback { order, answer } => drop(answer.send(self.roll_back(order).await)),
            Ask::Release { order, answer } => drop(answer.send(self.release(order).await)),
        }
        Some(())
    }

    /// The folders of which changes are to be told.
    async fn folders(&self) -> Vec<PathBuf> {
        self.with_loader(|loader| loader.folders()).await
    }

    async fn is_up_to_date(&mut self) -> bool {
        self.settings_file.as_mut().into_iter().for_each(SettingsFile::look);
        let same = self.with_loader(|loader| loader.is_up_to_date()).await;
        let pins = self.pinned.values().map(|one| &one.pin);
        same && self.past.pins().await.iter().map(|(pin, _)| pin).eq(pins)
    }

    /// Reads the files and has applied what they say; `None` where the instance stops.
    async fn read(&mut self) -> Option<Reloaded> {
        self.settings_file.as_mut().into_iter().for_each(SettingsFile::look);
        let loading = match self.with_loader(Loader::load).await {
            Ok(loading) => loading,
            Err(error) => {
                error!(%error, "the folder of the pipelines cannot be read: everything goes on as it is");
                self.metrics.config_read(false, clock::wall());
                let why = format!("reading the folder of the pipelines: {error}");
                let changes = vec![Change::not_run("pipelines", Action::Broken, &why)];
                return Some(Reloaded { changes });
            }
        };
        let found = Said::of(&loading).findings;
        (self.on_loaded)(&loading, found != self.said.findings);
        self.said.findings = found;
        self.look_up_pins().await;
        let settled = self.decide(&loading);
        let before = self.wanted.clone();
        self.remember(&settled).await;
        let reloaded = self.has_applied(settled).await?;
        let done = self.tallies();
        self.guard.changed(&before, &self.wanted, &done, clock::now());
        Some(reloaded)
    }

    /// What is to run now.
    fn decide(&mut self, loading: &Loading) -> Settled {
        let in_force = self.past.in_force(&self.pinned);
        let files = Files {
            loading,
            pinned: &self.pinned,
            in_force: &in_force,
            gone: self.past.gone(),
            known: self.past.known(),
        };
        let settled = change::settle(&self.wanted, files);
        let good = loading.broken.is_empty() && settled.broken.is_empty();
        self.metrics.config_read(good, clock::wall());
        let read = loading.pipelines.iter();
        self.files.extend(read.map(|one| (one.plan.pipeline.clone(), one.plan.revision.clone())));
        settled
    }

    /// Notes what will run from now on, and forgets the pins that are void.
    async fn remember(&mut self, settled: &Settled) {
        for pin in &settled.passed {
            warn!(pipeline = pin.pipeline, was = %pin.revision, rejected = %pin.rejected, "the file says something else than what is rejected: it runs");
        }
        self.past.note(&self.wanted, settled).await;
        self.wanted.clone_from(&settled.wanted);
    }

    async fn has_applied(&mut self, settled: Settled) -> Option<Reloaded> {
        let (applied, changes) = oneshot::channel();
        self.apply.send(Apply { settled, applied }).await.ok()?;
        let changes = changes.await.ok()?;
        self.said.say(&changes);
        Some(Reloaded { changes })
    }

    /// What each pipeline has done.
    fn tallies(&self) -> BTreeMap<String, Tally> {
        let report = self.status.as_ref().map(Reporter::report).unwrap_or_default();
        report.pipelines.iter().map(|one| (one.pipeline.clone(), Tally::of(one))).collect()
    }

    async fn plan(&mut self, texts: Option<Vec<Arc<Source>>>) -> Result<Planned, Refused> {
        let unread = |error: std::io::Error| Refused::Unread(format!("reading the files: {error}"));
        let loading = match texts {
            None => self.with_loader(Loader::load).await.map_err(unread)?,
            Some(texts) => self.with_loader(|loader| loader.with(texts).load()).await.map_err(unread)?,
        };
        let in_force = self.past.in_force(&self.pinned);
        let files = Files {
            loading: &loading,
            pinned: &self.pinned,
            in_force: &in_force,
            gone: self.past.gone(),
            known: self.past.known(),
        };
        Ok(plan::plan(&self.wanted, files))
    }

    /// Does something with the loader on a thread that may wait.
    async fn with_loader<T: Send + 'static>(&self, act: impl FnOnce(&mut Loader) -> T + Send + 'static) -> T {
        let loader = Arc::clone(&self.loader);
        let act = move || act(&mut loader.lock().unwrap_or_else(PoisonError::into_inner));
        match tokio::task::spawn_blocking(act).await {
            Ok(made) => made,
            // Reading files panics on none; if it did, nobody knows what the loader holds.
            Err(failed) => std::panic::resume_unwind(failed.into_panic()),
        }
    }
}

/// What was said of the files: not again while it stays so.
#[derive(Debug, Default)]
struct Said {
    findings: Vec<String>,
    /// What does not run, and why.
    not_run: BTreeSet<(String, String)>,
}

impl Said {
    fn of(loading: &Loading) -> Said {
        let findings = loading.findings.iter().map(diagnostic::short).collect();
        Said { findings, not_run: BTreeSet::new() }
    }

    /// Says what a reload has done, where it has done something.
    fn say(&mut self, changes: &[Change]) {
        let shown = |revision: &Option<Revision>| revision.as_ref().map(ToString::to_string);
        let before = std::mem::take(&mut self.not_run);
        for change in changes {
            let (name, why) = (&change.name, &change.why);
            match change.action {
                Action::Keep => {}
                Action::Broken | Action::Renamed => {
                    let one = (name.clone(), why.clone());
                    if !before.contains(&one) {
                        let action = change.action.as_str();
                        error!(name, "{action}, and nothing new of it runs: {why}");
                    }
                    self.not_run.insert(one);
                }
                action @ (Action::Swap | Action::Restart | Action::Start | Action::Stop) => {
                    let (action, because) = (action.as_str(), Some(why).filter(|why| !why.is_empty()));
                    info!(
                        stage = name,
                        action,
                        because,
                        from = shown(&change.from),
                        to = shown(&change.to),
                        commit = change.standing.as_ref().map(ToString::to_string),
                        "reloaded"
                    );
                }
            }
        }
        if changes.iter().all(|change| change.action == Action::Keep) {
            debug!("the files were read again, and say the same");
        }
    }
}

/// Waits until nothing has changed for a moment.
async fn settle_down(changed: &Notify) {
    let quiet = async { while tokio::time::timeout(QUIET, changed.notified()).await.is_ok() {} };
    tokio::time::timeout(AT_LAST, quiet).await.ok();
}
