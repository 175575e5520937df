//! Keeps what runs equal to what is wanted: reads files, applies what has changed, reports how the stages stand, stops them in
//! order (reliability 1.12).

pub mod change;
mod cluster;
mod dlq;
pub mod follow;
pub mod history;
pub mod load;
mod memory;
pub mod plan;
pub mod reload;
mod reporter;
mod stage;
mod stages;
mod tokens;
mod watch;
pub mod status;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::flow::report::OnFinished;
use crate::kafka::KafkaError;
use crate::settings::memory as memory_share;
use crate::telemetry::metrics::Metrics;
use change::{Change, Settled};
pub use cluster::ClusterConfig;
pub use reporter::Reporter;
use stage::Running;
pub use stages::EMBEDDED_PARTITIONS;
use stages::{Ending, Stages};

/// The most that a consumer may fetch ahead (M9).
const MAX_PREFETCH: u64 = 16 << 20;
/// What a stage may hold of records at least, whatever the others do, and at most without borrowing (M10).
const MIN_RESERVE: usize = 1 << 20;
const MAX_RESERVE: usize = 32 << 20;
/// What a stage may hold of records with what it borrows.
const MAX_RECORDS: usize = 64 << 20;
/// What the queue of a producer takes at least, a quarter of which a stage may fill, and at most (M7).
const MIN_QUEUE: u64 = 8 << 20;
const MAX_QUEUE: u64 = 64 << 20;
/// How long the poll threads may take beyond the grace: their last commit and their close.
const BEYOND_GRACE: Duration = Duration::from_secs(20);
/// How long what was handed to the producers may take to be acknowledged at a stop.
const FLUSH: Duration = Duration::from_secs(5);

/// What a runtime needs of the settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// The clusters that stages use, by name.
    pub clusters: BTreeMap<String, ClusterConfig>,
    /// `limits.memory`, in bytes.
    pub memory: u64,
    /// `limits.uncommitted`.
    pub uncommitted: Duration,
    /// `drain_deadline`.
    pub drain_deadline: Duration,
    /// `shutdown_grace`.
    pub shutdown_grace: Duration,
}

impl Config {
    /// Bytes that each consumer may fetch ahead: a quarter of the memory, divided (M9).
    fn prefetch(&self, consumers: usize) -> u64 {
        let share =
            self.memory / memory_share::FOR_PREFETCH / u64::try_from(consumers.max(1)).unwrap_or(u64::MAX);
        share.clamp(memory_share::MIN_PREFETCH, MAX_PREFETCH)
    }

    /// Bytes of all records together: half of the memory.
    fn records(&self) -> usize {
        usize::try_from(self.memory / 2).unwrap_or(usize::MAX)
    }

    /// Bytes of records that each stage may hold whatever the others do: half of those of all, divided (M10). What is left
    /// is shared.
    fn reserve(&self, consumers: usize) -> usize {
        (self.records() / 2 / consumers.max(1)).clamp(MIN_RESERVE, MAX_RESERVE)
    }

    /// Bytes that the queue of each producer takes: a quarter of the memory, divided by the two of each cluster (M7).
    fn producer_queue(&self) -> u64 {
        let producers = u64::try_from(self.clusters.len().max(1)).unwrap_or(u64::MAX).saturating_mul(2);
        (self.memory / 4 / producers).clamp(MIN_QUEUE, MAX_QUEUE)
    }

    /// How many consumers fit into the memory.
    fn most_consumers(&self) -> usize {
        memory_share::most_consumers(self.memory)
    }
}

/// How a runtime stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StopReport {
    /// Whether everything in flight had ended, was committed and closed in time.
    pub clean: bool,
}

/// An instance at work.
#[derive(Debug)]
pub struct Runtime {
    config: Config,
    stages: Stages,
    tasks: TaskTracker,
    metrics: Arc<Metrics>,
    /// Cancelled at a stop: what only looks at the cluster ends.
    ending: CancellationToken,
}

/// What files asked for, to be applied.
#[derive(Debug)]
pub struct Apply {
    settled: Settled,
    applied: oneshot::Sender<Vec<Change>>,
}

impl Runtime {
    /// One that runs nothing yet. Inside of a tokio runtime.
    pub fn new(config: Config, metrics: &Arc<Metrics>, on_finished: Option<&OnFinished>) -> Runtime {
        let (tasks, ending) = (TaskTracker::new(), CancellationToken::new());
        let stages = Stages::new(config.clone(), metrics, on_finished, tasks.clone(), ending.clone());
        Runtime { config, stages, tasks, metrics: Arc::clone(metrics), ending }
    }

    /// Makes what runs what is wanted.
    ///
    /// # Errors
    /// A client that cannot be made (a property that librdkafka refuses). An unreachable broker is none.
    pub fn apply(&mut self, settled: Settled) -> Result<Vec<Change>, KafkaError> {
        self.stages.apply(settled)
    }

    /// Makes the clients of a cluster although no stage uses it, so that its state shows.
    ///
    /// # Errors
    /// A client that cannot be made.
    pub fn open(&mut self, cluster: &str) -> Result<(), KafkaError> {
        self.stages.open(cluster)
    }

    /// What makes this instance's status.
    pub fn reporter(&self) -> Reporter {
        Reporter(self.stages.shown())
    }

    /// Runs until `stop`, and applies what comes in by `changes`; then stops gracefully within the grace; at `force`, now.
    pub async fn run(
        mut self,
        mut changes: mpsc::Receiver<Apply>,
        stop: CancellationToken,
        force: CancellationToken,
    ) -> StopReport {
        let (config, metrics) = (self.config.clone(), Arc::clone(&self.metrics));
        self.tasks.spawn(memory::show(config, metrics, self.stages.shown(), self.ending.clone()));
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = self.stages.left(), if self.stages.is_leaving() => {}
                Some(Apply { settled, applied }) = changes.recv() => {
                    // What failed was said.
                    let done = self.stages.apply(settled).unwrap_or_default();
                    applied.send(done).ok();
                }
            }
        }
        // Whoever still waits for a change learns that it will not come.
        drop(changes);
        self.end(force).await
    }

    async fn end(self, force: CancellationToken) -> StopReport {
        self.ending.cancel();
        info!(stages = self.stages.len(), "stopping: what is in flight may end");
        let Runtime { config, stages, tasks, .. } = self;
        let handles = stages.stop();
        let Ending { running, mut leaving, clusters } = stages.into_ending();
        let forced = force.clone();
        tasks.spawn(async move {
            forced.cancelled().await;
            handles.iter().for_each(crate::kafka::poll::PollHandle::stop_now);
        });
        let joined = tokio::task::spawn_blocking(move || {
            // Every one is joined, also behind one that was not clean.
            let ended: Vec<_> = running.into_iter().map(Running::join).collect();
            ended.iter().all(|ended| ended.clean)
        });
        let all = async {
            let mut clean = joined.await.unwrap_or(false);
            while let Some(left) = leaving.join_next().await {
                clean &= left.is_ok_and(|(_, ended)| ended.clean);
            }
            clean
        };
        let clean = tokio::time::timeout(config.shutdown_grace + BEYOND_GRACE, all).await.unwrap_or(false);
        let was_forced = force.is_cancelled();
        force.cancel();
        let flushed = tokio::task::spawn_blocking(move || {
            let within = if was_forced { Duration::ZERO } else { FLUSH };
            // At the same time: one that does not answer takes no time of the others.
            std::thread::scope(|scope| {
                let flushes: Vec<_> =
                    clusters.iter().map(|cluster| scope.spawn(move || cluster.flush(within))).collect();
                let flushed: Vec<bool> =
                    flushes.into_iter().map(|flush| flush.join().unwrap_or(false)).collect();
                flushed.iter().all(|flushed| *flushed)
            })
        });
        let flushed = flushed.await.unwrap_or(false);
        tasks.close();
        let ended = tokio::time::timeout(Duration::from_secs(5), tasks.wait()).await.is_ok();
        let clean = clean && flushed && ended && !was_forced;
        if clean {
            info!("stopped: everything that was finished is committed");
        } else {
            warn!("stopped, not cleanly: some records may be delivered again");
        }
        StopReport { clean }
    }
}
