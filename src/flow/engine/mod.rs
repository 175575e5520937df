//! The engine of one stage: the trackers of its partitions behind one lock, the tasks that work on records, and the timer
//! that wakes for retries and probes. The poll thread feeds it (`intake`); `record` is what happens to one record.
//!
//! A task takes a record, runs it, hands the verdict back and takes the next in the same lock. So under load no task is
//! spawned per record, and an idle stage has no task but its timer.

mod board;
mod gauges;
mod memory;
mod place;
mod room;
mod intake;
mod work;

use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use super::report::OnFinished;
use crate::deliver::gate::Turned;
use crate::kafka::poll::PollHandle;
use crate::kafka::producer::Producer;
use crate::plan::Stage;
use crate::telemetry::clock::{self, both as now};
use crate::telemetry::metrics::StageMetrics;
use board::Board;
pub(super) use board::Job;
pub use intake::EngineIntake;
pub use memory::{Common, Memory};
pub use place::Lone;

/// Where a stage's records and dead letters go.
#[derive(Debug, Clone)]
pub struct Outputs {
    /// For `publish`.
    pub records: Producer,
    /// For dead letters alone, so that a full output holds none up (D12).
    pub dead_letters: Producer,
}

impl Outputs {
    /// The same for one stage, with its own share of the queues.
    pub fn for_stage(&self) -> Outputs {
        Outputs { records: self.records.for_stage(), dead_letters: self.dead_letters.for_stage() }
    }
}

/// What an engine is made of.
pub struct Parts {
    /// What to run.
    pub stage: Arc<Stage>,
    /// Where its output goes.
    pub outputs: Outputs,
    /// The memory of records that this stage may hold.
    pub memory: Memory,
    /// How much done work may stand uncommitted (`limits.uncommitted`).
    pub uncommitted: std::time::Duration,
    /// Its metrics.
    pub metrics: Arc<StageMetrics>,
    /// The tasks of the process.
    pub tasks: TaskTracker,
    /// The process's one right to work on a suspect record.
    pub lone: Lone,
    /// Who wants to know of finished records.
    pub on_finished: Option<OnFinished>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("stage", &self.stage.service).finish_non_exhaustive()
    }
}

/// One stage at work.
pub struct Engine {
    plan: ArcSwap<Stage>,
    outputs: Outputs,
    metrics: Arc<StageMetrics>,
    tasks: TaskTracker,
    /// The tokio runtime: the poll thread, which is not of it, starts tasks too.
    workers: tokio::runtime::Handle,
    on_finished: Option<OnFinished>,
    board: Mutex<Board>,
    room: Condvar,
    timer: Notify,
    /// Cancelled at the end: everything still at work is abandoned.
    end: CancellationToken,
    poll: OnceLock<PollHandle>,
    /// What others know of its partitions.
    told: Mutex<gauges::Told>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("stage", &self.plan.load().service).finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine without a consumer; its timer runs from here on. Inside of a tokio runtime.
    pub fn start(parts: Parts) -> Arc<Engine> {
        let end = CancellationToken::new();
        let board =
            Board::new(&parts.stage, parts.memory, parts.uncommitted, parts.lone, end.clone(), clock::now());
        let engine = Arc::new(Engine {
            plan: ArcSwap::new(parts.stage),
            outputs: parts.outputs,
            metrics: parts.metrics,
            tasks: parts.tasks,
            workers: tokio::runtime::Handle::current(),
            on_finished: parts.on_finished,
            board: Mutex::new(board),
            room: Condvar::new(),
            timer: Notify::new(),
            end,
            poll: OnceLock::new(),
            told: Mutex::default(),
        });
        gauges::begin(&engine.metrics, &engine.plan.load());
        engine.tasks.spawn(Arc::clone(&engine).keep_time());
        engine
    }

    /// What the poll thread feeds.
    pub fn intake(self: &Arc<Self>, poll: PollHandle) -> EngineIntake {
        // A second consumer for one engine does not exist; the first handle stays.
        self.poll.set(poll).ok();
        EngineIntake::new(Arc::clone(self))
    }

    /// Ends the timer and abandons what is still at work. After the poll thread has ended.
    pub fn end(&self) {
        self.end.cancel();
        self.timer.notify_one();
    }

    /// Replaces the plan: the next attempt of every record runs under the new one.
    pub fn swap(&self, stage: Arc<Stage>) {
        gauges::begin(&self.metrics, &stage);
        self.lock().replan(&stage, clock::now());
        self.plan.store(stage);
        self.timer.notify_one();
    }

    /// Another share of the memory, since there are more stages now, or fewer.
    pub fn reshare(&self, reserve: usize) {
        self.lock().reshare(reserve);
    }

    fn lock(&self) -> MutexGuard<'_, Board> {
        // A panic under the lock is a bug of ours; going on with the state is safer than to stop every stage for it: the
        // worst is a record that stays open, which is a repeat and never a loss.
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake_poll(&self) {
        if let Some(poll) = self.poll.get() {
            poll.wake();
        }
    }

    /// The stage's one sleeper: wakes for retries that are due and for probes, and starts what is ready.
    async fn keep_time(self: Arc<Self>) {
        loop {
            let (wake, urgent) = self.dispatch();
            if urgent {
                self.wake_poll();
            }
            let sleep = async {
                match wake {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.end.cancelled() => return,
                () = self.timer.notified() => {}
                () = sleep => {}
            }
        }
    }

    /// Starts tasks for what is ready, as far as there are slots; says when to look again, and whether a commit is waited
    /// for that should not wait for its time.
    fn dispatch(self: &Arc<Self>) -> (Option<Instant>, bool) {
        let now = now();
        let (mut jobs, mut turned) = (Vec::new(), Vec::new());
        let (looked, bare) = {
            let mut board = self.lock();
            while let Some(job) = board.take(now, &mut turned) {
                jobs.push(job);
            }
            let bare = board.take_bare(now.mono);
            ((board.wake_at(now.mono), board.commit_is_urgent()), bare)
        };
        self.log(turned);
        for job in jobs {
            self.tasks.spawn_on(Arc::clone(self).work(job), &self.workers);
        }
        if let Some(tried) = bare {
            self.tasks.spawn_on(Arc::clone(self).probe(tried), &self.workers);
        }
        looked
    }

    /// Says that the stage holds, or does not any more; the counter of it is set where the report is taken.
    fn log(&self, turned: impl IntoIterator<Item = Turned>) {
        for turn in turned {
            let stage = self.plan.load();
            match turn {
                Turned::Held(cause, message) => {
                    warn!(stage = stage.service, cause = cause.as_str(), "the stage holds: {message}");
                }
                Turned::Ended(cause) => {
                    info!(stage = stage.service, cause = cause.as_str(), "the hold has ended")
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
