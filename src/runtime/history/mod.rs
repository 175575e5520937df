//! What pipelines have run, what was done to them by hand, and what is pinned: in the store, so that it is known after a
//! restart, and to the other instances of the same store.

mod rows;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use tracing::warn;

use crate::git::{Commit, Standing};
use crate::plan::Revision;
use crate::store::{Store, StoreError};

/// How long the store may take for one question.
const WITHIN: Duration = Duration::from_secs(5);
/// Texts that are kept of a pipeline, the newest; pinned ones besides.
const TEXTS: i64 = 50;
/// Lines that are kept of a pipeline, the newest.
const LINES: i64 = 500;
/// How many characters of a revision or a commit are asked for at least: fewer name too much.
const PREFIX: usize = 4;

/// An older revision that is held against the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// The pipeline.
    pub pipeline: String,
    /// What it runs.
    pub revision: Revision,
    /// What the file said when it was pinned: it is held against that content.
    pub rejected: Revision,
    /// How long.
    pub until: Until,
    /// Who has pinned it.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// Since when.
    pub at: SystemTime,
}

impl Pin {
    /// Whether it holds while the file says this.
    pub fn holds(&self, file: &Revision) -> bool {
        match self.until {
            Until::Release => true,
            Until::Change => *file == self.rejected,
        }
    }
}

/// How long a revision is pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Until {
    /// Until the file says something else than what is rejected, and that can run.
    Change,
    /// Until somebody releases it.
    Release,
}

impl Until {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Until::Change => "change",
            Until::Release => "release",
        }
    }
}

/// A content that a pipeline had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The pipeline.
    pub pipeline: String,
    /// The hash of the text.
    pub revision: Revision,
    /// The file that it was in.
    pub file: String,
    /// The text.
    pub text: String,
    /// The git commit that brought it; `None` where unknown.
    pub commit: Option<Commit>,
    /// When it last began to run.
    pub at: SystemTime,
}

impl Kept {
    /// How it stands in git: as it was committed.
    pub fn standing(&self) -> Option<Arc<Standing>> {
        let commit = Arc::new(self.commit.clone()?);
        Some(Arc::new(Standing { commit: Some(commit), dirty: false }))
    }
}

/// Something that was done to a pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When.
    pub at: SystemTime,
    /// The instance that did it.
    pub instance: String,
    /// The pipeline.
    pub pipeline: String,
    /// The revision from then on; `None` where nothing runs.
    pub revision: Option<Revision>,
    /// What: `start`, `swap`, `restart`, `stop`, `broken`, `renamed`, `fresh`, `rollback`, `passed` (a pin whose file says something else now), `release`.
    pub action: String,
    /// Who; empty for what follows from files.
    pub actor: String,
    /// Why; empty where nobody said.
    pub reason: String,
}

/// Why a revision is not found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotFound {
    /// Too short a beginning.
    #[error("`{0}` is too short: give 4 characters of a revision or a commit at least")]
    Short(String),
    /// No such revision.
    #[error(
        "`{pipeline}` has had no revision or commit `{wanted}`; `weir history {pipeline}` shows those that it had"
    )]
    None {
        /// The pipeline.
        pipeline: String,
        /// What was asked for.
        wanted: String,
    },
    /// Several.
    #[error("`{wanted}` is the beginning of several revisions: {found}")]
    Several {
        /// What was asked for.
        wanted: String,
        /// Which.
        found: String,
    },
}

/// What is kept, over a store; without one nothing is.
#[derive(Debug, Clone, Default)]
pub struct History(Option<rows::Rows>);

impl History {
    /// Over a store.
    pub fn new(store: Store) -> History {
        History(Some(rows::Rows(store)))
    }

    /// Whether there is a store.
    pub fn is_kept(&self) -> bool {
        self.0.is_some()
    }

    /// What is pinned, by pipeline.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn pins(&self) -> Result<Vec<Pin>, StoreError> {
        let Some(rows) = &self.0 else { return Ok(Vec::new()) };
        bounded(rows.pins()).await
    }

    /// Pins, in place of what was pinned, and says so.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn pin(&self, pin: &Pin, line: &Line) -> Result<(), StoreError> {
        let Some(rows) = &self.0 else { return Err(no_store()) };
        bounded(rows.pin(pin, line)).await
    }

    /// Takes a pin back, and says so.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn unpin(&self, line: &Line) -> Result<(), StoreError> {
        let Some(rows) = &self.0 else { return Err(no_store()) };
        bounded(rows.unpin(line)).await
    }

    /// Keeps texts and lines. What cannot be kept is said in the log.
    pub async fn keep(&self, kept: &[Kept], lines: &[Line]) {
        let Some(rows) = self.0.as_ref().filter(|_| !kept.is_empty() || !lines.is_empty()) else { return };
        if let Err(error) = bounded(rows.keep(kept, lines)).await {
            warn!(%error, "what has changed is not in the history; look at the store");
        }
    }

    /// The last line of each pipeline that had one.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn last(&self) -> Result<Vec<Line>, StoreError> {
        let Some(rows) = &self.0 else { return Ok(Vec::new()) };
        bounded(rows.last()).await
    }

    /// The newest lines, of one pipeline or of all, at most so many.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn lines(&self, pipeline: Option<&str>, limit: u32) -> Result<Vec<Line>, StoreError> {
        let Some(rows) = &self.0 else { return Ok(Vec::new()) };
        bounded(rows.lines(pipeline, limit)).await
    }

    /// The contents that a pipeline had, the newest first.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn revisions(&self, pipeline: &str) -> Result<Vec<Kept>, StoreError> {
        let Some(rows) = &self.0 else { return Ok(Vec::new()) };
        bounded(rows.revisions(pipeline)).await
    }

    /// The newest content of each of these pipelines.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn newest(&self, pipelines: &[String]) -> Result<Vec<Kept>, StoreError> {
        let mut newest = Vec::new();
        for pipeline in pipelines {
            newest.extend(self.revisions(pipeline).await?.into_iter().next());
        }
        Ok(newest)
    }
}

/// The one content that the beginning of a revision or of a commit names.
///
/// # Errors
/// None does, or several.
pub fn named<'a>(pipeline: &str, kept: &'a [Kept], wanted: &str) -> Result<&'a Kept, NotFound> {
    if wanted.len() < PREFIX {
        return Err(NotFound::Short(wanted.to_owned()));
    }
    let fits = |one: &&Kept| {
        let commit = one.commit.as_ref().map_or("", |commit| commit.id.as_str());
        one.revision.starts_with(wanted) || commit.starts_with(wanted)
    };
    let found: Vec<&Kept> = kept.iter().filter(fits).collect();
    match found.as_slice() {
        [one] => Ok(one),
        [] => Err(NotFound::None { pipeline: pipeline.to_owned(), wanted: wanted.to_owned() }),
        several => {
            let found: Vec<&str> = several.iter().map(|one| one.revision.short()).collect();
            Err(NotFound::Several { wanted: wanted.to_owned(), found: found.join(", ") })
        }
    }
}

fn no_store() -> StoreError {
    StoreError::Unreachable(
        "there is none: set `store` in weir.yaml to a file or a database that can be written".to_owned(),
    )
}

async fn bounded<T>(ask: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let late = || StoreError::Unreachable(format!("no answer within {} s", WITHIN.as_secs()));
    tokio::time::timeout(WITHIN, ask).await.unwrap_or_else(|_| Err(late()))
}
