//! Keeps what runs equal to what is wanted: starts the stages of the plans, reports how they stand, stops them in order
//! (reliability 1.12).

mod cluster;
mod dlq;
mod memory;
mod reporter;
mod stage;
mod tokens;
mod watch;
pub mod status;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::flow::engine::{Common, Lone, Memory};
use crate::flow::report::OnFinished;
use crate::kafka::KafkaError;
use crate::plan::Plan;
use crate::settings::memory as memory_share;
use crate::telemetry::metrics::Metrics;
use cluster::Clients;
pub use cluster::ClusterConfig;
pub use reporter::Reporter;
use stage::{Running, Start};

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

/// All stages of an instance.
#[derive(Debug)]
pub struct Runtime {
    config: Config,
    clusters: Vec<Clients>,
    stages: Vec<Running>,
    tasks: TaskTracker,
    metrics: Arc<Metrics>,
    /// Cancelled at a stop: what only looks at the cluster ends.
    ending: CancellationToken,
}

impl Runtime {
    /// Makes the clients and starts every stage that is not paused. Inside of a tokio runtime.
    ///
    /// # Errors
    /// A client that cannot be made (a property that librdkafka refuses). An unreachable broker is none.
    pub fn start(
        mut config: Config,
        plans: &[Arc<Plan>],
        metrics: &Arc<Metrics>,
        on_finished: Option<&OnFinished>,
    ) -> Result<Runtime, KafkaError> {
        let queue = config.producer_queue();
        let clusters = std::mem::take(&mut config.clusters).into_iter();
        let clusters: Vec<Clients> =
            clusters.map(|(name, cluster)| Clients::build(name, cluster, queue)).collect::<Result<_, _>>()?;
        let mut runtime = Runtime {
            config,
            clusters,
            stages: Vec::new(),
            tasks: TaskTracker::new(),
            metrics: Arc::clone(metrics),
            ending: CancellationToken::new(),
        };
        runtime.clusters.iter().for_each(|cluster| cluster.keep_token(&runtime.tasks, &runtime.ending));
        let all: Vec<_> = plans.iter().flat_map(|plan| &plan.stages).cloned().collect();
        let lone = Lone::default();
        let (fit, over) = all.split_at(all.len().min(runtime.config.most_consumers()));
        for stage in over {
            error!(
                stage = stage.service,
                memory = runtime.config.memory,
                needed = memory_share::needed(all.len()),
                "not started: limits.memory has no room for another consumer; it needs so many bytes"
            );
        }
        let reserve = runtime.config.reserve(fit.len());
        let common = Common::new(runtime.config.records().saturating_sub(reserve.saturating_mul(fit.len())));
        for stage in fit {
            let Some(cluster) = runtime.clusters.iter().find(|one| one.name == stage.source.cluster) else {
                error!(stage = stage.service, cluster = stage.source.cluster, "not started: no such cluster");
                continue;
            };
            let running = Running::start(Start {
                config: &runtime.config,
                cluster: &cluster.config.cluster,
                stage: Arc::clone(stage),
                outputs: cluster.outputs.for_stage(),
                metrics: Arc::new(metrics.stage(&stage.pipeline, &stage.service)),
                tasks: runtime.tasks.clone(),
                lone: lone.clone(),
                on_finished: on_finished.cloned(),
                prefetch: runtime.config.prefetch(fit.len()),
                memory: Memory::new(reserve, MAX_RECORDS, common.clone()),
            })?;
            let (admin, embedded) = (cluster.admin.clone(), cluster.config.embedded.clone());
            runtime.tasks.spawn(dlq::ensure(admin, embedded, Arc::clone(stage), runtime.ending.clone()));
            let source = &stage.source;
            info!(stage = stage.service, cluster = source.cluster, group = source.group, topics = ?source.topics, "started");
            runtime.stages.push(running);
        }
        Ok(runtime)
    }

    /// What makes this instance's status.
    pub fn reporter(&self) -> Reporter {
        let stages = self.stages.iter();
        Reporter {
            stages: stages
                .map(|running| {
                    (Arc::clone(&running.plan), Arc::clone(&running.engine), Arc::clone(&running.metrics))
                })
                .collect(),
            clusters: self.clusters.iter().map(|one| (one.name.clone(), Arc::clone(&one.seen))).collect(),
        }
    }

    /// Runs until `stop`, then stops gracefully within the grace; at `force`, now.
    pub async fn run(self, stop: CancellationToken, force: CancellationToken) -> StopReport {
        for cluster in &self.clusters {
            self.tasks.spawn(cluster.watch(self.stages.iter()).run(self.ending.clone()));
        }
        let memory = memory::Memory {
            metrics: Arc::clone(&self.metrics),
            engines: self.stages.iter().map(|running| Arc::clone(&running.engine)).collect(),
            outputs: self.clusters.iter().map(|cluster| cluster.outputs.clone()).collect(),
        };
        self.tasks.spawn(memory.run(self.config.clone(), self.ending.clone()));
        stop.cancelled().await;
        self.ending.cancel();
        info!(stages = self.stages.len(), "stopping: what is in flight may end");
        let Runtime { config, clusters, stages, tasks, .. } = self;
        for stage in &stages {
            stage.stop(config.shutdown_grace);
        }
        let handles: Vec<_> = stages.iter().map(Running::stopper).collect();
        let forced = force.clone();
        tasks.spawn(async move {
            forced.cancelled().await;
            handles.iter().for_each(crate::kafka::poll::PollHandle::stop_now);
        });
        let joined = tokio::task::spawn_blocking(move || {
            // Every one is joined, also behind one that was not clean.
            let ended: Vec<_> = stages.into_iter().map(Running::join).collect();
            ended.iter().all(|ended| ended.clean)
        });
        let clean = match tokio::time::timeout(config.shutdown_grace + BEYOND_GRACE, joined).await {
            Ok(Ok(clean)) => clean,
            Ok(Err(_)) | Err(_) => false,
        };
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
