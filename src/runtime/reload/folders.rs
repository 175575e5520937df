//! The folders that are watched. Not the files: whoever replaces one would end its watch.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tracing::warn;

use super::LOOK_EVERY;

/// What tells of changes.
pub(super) struct Folders {
    watcher: Option<RecommendedWatcher>,
    /// By path: which folder it was.
    watched: HashMap<PathBuf, (u64, u64)>,
}

impl Folders {
    pub(super) fn new(changed: &Arc<Notify>) -> Folders {
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
    pub(super) fn watch(&mut self, folders: Vec<PathBuf>) {
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
