//! When files are read again: something has changed in their folders, or somebody asks. Changes that come together are read
//! together, the newest wins, and one reload ends before the next begins.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::Apply;
use super::change::{self, Action, Change, Wanted};
use super::follow::{Follow, Request};
use super::load::{Broken, Loader, Loading};
use crate::plan::Revision;
use crate::telemetry::clock;
use crate::telemetry::metrics::Metrics;

/// How long no file must change before they are read: editors and `git` write in several steps.
const QUIET: Duration = Duration::from_millis(30);
/// How long a folder may go on changing before it is read all the same.
const AT_LAST: Duration = Duration::from_millis(300);
/// How often the files are looked at although nothing was heard of a change: some file systems tell of none.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Requests that wait; more are refused.
const QUEUE: usize = 64;

/// What a reload came to.
#[derive(Debug, Clone, Default)]
pub struct Reloaded {
    /// What was done with each stage, those that were kept among them, and which files are broken.
    pub changes: Vec<Change>,
}

/// Asks for a reload. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Reloader(mpsc::Sender<Request>);

impl Reloader {
    /// One that nobody hears.
    #[cfg(test)]
    pub(crate) fn deaf() -> Reloader {
        Reloader(mpsc::channel(1).0)
    }

    /// Reads the files now. `None` where the instance stops, or too many ask.
    pub async fn reload(&self) -> Option<Reloaded> {
        let (answer, reloaded) = oneshot::channel();
        self.0.try_send(answer).ok()?;
        reloaded.await.ok()
    }
}

/// Tells somebody what was found in the files.
pub type OnLoaded = Box<dyn FnMut(&Loading) + Send>;

/// Reads files again and again.
pub struct Reload {
    loader: Loader,
    wanted: BTreeMap<String, Wanted>,
    requests: mpsc::Receiver<Request>,
    apply: mpsc::Sender<Apply>,
    on_loaded: OnLoaded,
    metrics: Arc<Metrics>,
}

impl fmt::Debug for Reload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reload").field("loader", &self.loader).finish_non_exhaustive()
    }
}

/// What the first load came to, and what reads the files from then on.
#[derive(Debug)]
pub struct Begun {
    /// What is to run.
    pub wanted: BTreeMap<String, Wanted>,
    /// The files of which nothing runs.
    pub broken: Vec<Broken>,
    /// Reads the files again.
    pub reload: Reload,
    /// Asks for it.
    pub reloader: Reloader,
    /// What is to be applied then.
    pub changes: mpsc::Receiver<Apply>,
    /// Asks the repository that is followed, where one is.
    pub follow: Option<Follow>,
}

/// Begins with what was loaded first.
pub fn begin(loader: Loader, first: &Loading, metrics: &Arc<Metrics>, on_loaded: OnLoaded) -> Begun {
    let (wanted, broken) = change::settle(&BTreeMap::new(), first);
    metrics.config_read(first.broken.is_empty() && broken.is_empty(), clock::wall());
    let (mut ask, requests) = mpsc::channel(QUEUE);
    let follow = loader.following().map(|following| {
        let (asked, requests) = mpsc::channel(QUEUE);
        Follow { following, requests, reads: std::mem::replace(&mut ask, asked) }
    });
    let (apply, changes) = mpsc::channel(1);
    let reload =
        Reload { loader, wanted: wanted.clone(), requests, apply, on_loaded, metrics: Arc::clone(metrics) };
    Begun { wanted, broken, reload, reloader: Reloader(ask), changes, follow }
}

impl Reload {
    /// Reads the files whenever they have changed or somebody asks, until told to stop.
    pub async fn run(mut self, stop: CancellationToken) {
        let changed = Arc::new(Notify::new());
        let mut folders = Folders::new(&changed);
        folders.watch(self.loader.folders());
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        looks.reset();
        loop {
            let mut answers = Vec::new();
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some(answer) = self.requests.recv() => answers.push(answer),
                () = changed.notified() => settle_down(&changed).await,
                _ = looks.tick() => {
                    let (loader, same) = blocking(self.loader, |loader| loader.is_up_to_date()).await;
                    self.loader = loader;
                    folders.watch(self.loader.folders());
                    if same {
                        continue;
                    }
                }
            }
            // Whoever has asked by now is answered by this one.
            while let Ok(answer) = self.requests.try_recv() {
                answers.push(answer);
            }
            let (loader, loaded) = blocking(self.loader, Loader::load).await;
            self.loader = loader;
            let Some(reloaded) = self.settle(loaded).await else { return };
            folders.watch(self.loader.folders());
            answers.into_iter().for_each(|answer| drop(answer.send(reloaded.clone())));
        }
    }

    /// Has applied what was loaded; `None` where the instance stops.
    async fn settle(&mut self, loaded: Result<Loading, std::io::Error>) -> Option<Reloaded> {
        let loading = match loaded {
            Ok(loading) => loading,
            Err(error) => {
                error!(%error, "the folder of the pipelines cannot be read: everything goes on as it is");
                self.metrics.config_read(false, clock::wall());
                let why = format!("reading the folder of the pipelines: {error}");
                return Some(Reloaded { changes: vec![Change::broken("pipelines", why)] });
            }
        };
        let (wanted, broken) = change::settle(&self.wanted, &loading);
        self.metrics.config_read(loading.broken.is_empty() && broken.is_empty(), clock::wall());
        (self.on_loaded)(&loading);
        let (applied, changes) = oneshot::channel();
        self.wanted.clone_from(&wanted);
        self.apply.send(Apply { wanted, broken, applied }).await.ok()?;
        let changes = changes.await.ok()?;
        say(&changes);
        Some(Reloaded { changes })
    }
}

/// Says what a reload has done, where it has done something.
fn say(changes: &[Change]) {
    let shown = |revision: &Option<Revision>| revision.as_ref().map(ToString::to_string);
    let commit = |change: &Change| change.standing.as_ref().map(ToString::to_string);
    for change in changes {
        let (name, why) = (&change.name, &change.why);
        match change.action {
            Action::Keep => {}
            Action::Broken => error!(name, "broken, what ran goes on: {why}"),
            action @ (Action::Swap | Action::Restart | Action::Start | Action::Stop) => {
                let (action, because) = (action.as_str(), Some(why).filter(|why| !why.is_empty()));
                info!(
                    stage = name,
                    action,
                    because,
                    from = shown(&change.from),
                    to = shown(&change.to),
                    commit = commit(change),
                    "reloaded"
                );
            }
        }
    }
    if changes.iter().all(|change| change.action == Action::Keep) {
        debug!("the files were read again, and say the same");
    }
}

/// Waits until nothing has changed for a moment.
async fn settle_down(changed: &Notify) {
    let quiet = async { while tokio::time::timeout(QUIET, changed.notified()).await.is_ok() {} };
    tokio::time::timeout(AT_LAST, quiet).await.ok();
}

/// Does something with the loader on a thread that may wait.
async fn blocking<T: Send + 'static>(
    mut loader: Loader,
    act: impl FnOnce(&mut Loader) -> T + Send + 'static,
) -> (Loader, T) {
    let done = tokio::task::spawn_blocking(move || {
        let made = act(&mut loader);
        (loader, made)
    });
    match done.await {
        Ok(done) => done,
        // Reading files panics on none; if it did, nobody knows what the loader holds.
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    }
}

/// The folders that are watched. Not the files: whoever replaces one would end its watch.
struct Folders {
    watcher: Option<RecommendedWatcher>,
    /// By path: which folder it was.
    watched: HashMap<PathBuf, (u64, u64)>,
}

impl Folders {
    fn new(changed: &Arc<Notify>) -> Folders {
        let changed = Arc::clone(changed);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading is no change; an error may hide one.
            let is_change = event.map_or(true, |event| match event.kind {
                EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
                EventKind::Access(_) => false,
                _ => true,
            });
            if is_change {
                changed.notify_one();
            }
        });
        let watcher = watcher.inspect_err(|error| {
            warn!(%error, "folders cannot be watched: changes are found within {} s", LOOK_EVERY.as_secs());
        });
        Folders { watcher: watcher.ok(), watched: HashMap::new() }
    }

    /// Watches exactly these; one whose path leads elsewhere by now is watched anew.
    fn watch(&mut self, folders: Vec<PathBuf>) {
        let Some(watcher) = &mut self.watcher else { return };
        let now: HashMap<PathBuf, (u64, u64)> = folders
            .into_iter()
            .filter_map(|path| {
                let meta = std::fs::metadata(&path).ok()?;
                Some((path, (meta.dev(), meta.ino())))
            })
            .collect();
        for (path, _) in self.watched.iter().filter(|(path, id)| now.get(*path) != Some(*id)) {
            // It may be gone with its folder.
            watcher.unwatch(path).ok();
        }
        let mut kept = HashMap::new();
        for (path, id) in now {
            if self.watched.get(&path) != Some(&id)
                && let Err(error) = watcher.watch(&path, RecursiveMode::NonRecursive)
            {
                warn!(folder = %path.display(), %error, "cannot be watched: changes are found within {} s", LOOK_EVERY.as_secs());
            }
            kept.insert(path, id);
        }
        self.watched = kept;
    }
}
