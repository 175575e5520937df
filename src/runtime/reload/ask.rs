//! What is asked of whoever reads the files, one at a time, and what is answered.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::git::Following;
use crate::plan::Revision;
use crate::runtime::change::Change;
use crate::runtime::follow::Follow;
use crate::runtime::history::{NotFound, Until};
use crate::runtime::plan::Planned;
use crate::spec::span::Source;

/// Requests that wait; more are refused.
const QUEUE: usize = 64;

/// What a reload came to.
#[derive(Debug, Clone, Default)]
pub struct Reloaded {
    /// What was done with each stage, those that were kept among them, and which files are broken or wait.
    pub changes: Vec<Change>,
}

/// Which older revision is to be held, and why.
#[derive(Debug, Clone)]
pub struct Rollback {
    /// The pipeline.
    pub pipeline: String,
    /// The beginning of a revision, or of a commit.
    pub to: String,
    /// Why.
    pub reason: String,
    /// Who says so.
    pub actor: String,
    /// How long.
    pub until: Until,
    /// Only says what would be done.
    pub dry_run: bool,
}

/// Which pin is to be taken back.
#[derive(Debug, Clone)]
pub struct Release {
    /// The pipeline.
    pub pipeline: String,
    /// Why.
    pub reason: String,
    /// Who says so.
    pub actor: String,
    /// Only says what would be done.
    pub dry_run: bool,
}

/// What became of a pin.
#[derive(Debug, Clone)]
pub struct Repinned {
    /// The revision before.
    pub from: Revision,
    /// The revision from now on.
    pub to: Revision,
    /// What was done with each stage; what would be, where nothing was to be done.
    pub changes: Vec<Change>,
}

/// Why something is not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The instance stops, or too many ask.
    #[error("the instance stops, or too many requests wait: ask again")]
    Busy,
    /// There is no such pipeline.
    #[error("no pipeline `{0}` is to run")]
    NoPipeline(String),
    /// There is no such revision.
    #[error(transparent)]
    NoRevision(#[from] NotFound),
    /// Nothing is to be done.
    #[error("{0}")]
    Conflict(String),
    /// It cannot run any more.
    #[error("this revision cannot run any more: {0}")]
    Broken(String),
    /// The store does not answer.
    #[error("{0}")]
    Store(String),
    /// The folder of the pipelines cannot be read.
    #[error("{0}")]
    Unread(String),
}

/// A request and where its answer goes.
#[derive(Debug)]
pub(in crate::runtime) enum Ask {
    Read { fresh: Vec<String>, answer: oneshot::Sender<Reloaded> },
    Plan { texts: Option<Vec<Arc<Source>>>, answer: oneshot::Sender<Result<Planned, Refused>> },
    Rollback { order: Rollback, answer: oneshot::Sender<Result<Repinned, Refused>> },
    Release { order: Release, answer: oneshot::Sender<Result<Repinned, Refused>> },
}

/// Asks whoever reads the files. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Reloader {
    asks: mpsc::Sender<Ask>,
    /// Where a repository is followed it is asked first.
    reads: mpsc::Sender<Ask>,
}

impl Reloader {
    /// What is asked, and who asks a repository first where one is followed.
    pub(super) fn new(following: Option<Arc<Following>>) -> (Reloader, mpsc::Receiver<Ask>, Option<Follow>) {
        let (asks, asked) = mpsc::channel(QUEUE);
        let Some(following) = following else {
            return (Reloader { reads: asks.clone(), asks }, asked, None);
        };
        let (reads, requests) = mpsc::channel(QUEUE);
        let follow = Follow { following, requests, reads: asks.clone() };
        (Reloader { asks, reads }, asked, Some(follow))
    }

    /// One that nobody hears.
    #[cfg(test)]
    pub(crate) fn deaf() -> Reloader {
        let (asks, reads) = (mpsc::channel(1).0, mpsc::channel(1).0);
        Reloader { asks, reads }
    }

    /// Reads the files now. `fresh`: pipelines that begin anew, although they look like others that have stopped.
    ///
    /// # Errors
    /// The instance stops, or too many ask.
    pub async fn reload(&self, fresh: Vec<String>) -> Result<Reloaded, Refused> {
        ask(&self.reads, |answer| Ask::Read { fresh, answer }).await
    }

    /// What these files would do in place of those that it reads; its own as they are now where there are none.
    ///
    /// # Errors
    /// The instance stops, too many ask, or its files cannot be read.
    pub async fn plan(&self, texts: Option<Vec<Arc<Source>>>) -> Result<Planned, Refused> {
        ask(&self.asks, |answer| Ask::Plan { texts, answer }).await?
    }

    /// Runs an older revision of a pipeline, and holds it against its file.
    ///
    /// # Errors
    /// Why not.
    pub async fn roll_back(&self, order: Rollback) -> Result<Repinned, Refused> {
        ask(&self.asks, |answer| Ask::Rollback { order, answer }).await?
    }

    /// Takes a pin back: the pipeline runs what its file says.
    ///
    /// # Errors
    /// Why not.
    pub async fn release(&self, order: Release) -> Result<Repinned, Refused> {
        ask(&self.asks, |answer| Ask::Release { order, answer }).await?
    }
}

async fn ask<T>(whom: &mpsc::Sender<Ask>, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Result<T, Refused> {
    let (answer, answered) = oneshot::channel();
    whom.try_send(ask(answer)).map_err(|_| Refused::Busy)?;
    answered.await.map_err(|_| Refused::Busy)
}
