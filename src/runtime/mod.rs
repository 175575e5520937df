//! Keeps what runs equal to what is wanted: starts the stages of the plans, reports how they stand, stops them in order
//! (reliability 1.12).

mod dlq;
mod memory;
mod reporter;
mod stage;
mod tokens;
mod watch;
pub mod status;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::flow::engine::{Common, Lone, Memory, Outputs};
use crate::flow::report::OnFinished;
use crate::handler::webhook::TokenSource;
use crate::kafka::KafkaError;
use crate::kafka::admin::Admin;
use crate::kafka::embedded::Embedded;
use crate::kafka::options::Cluster;
use crate::kafka::producer::Producer;
use crate::plan::Plan;
use crate::settings::memory as memory_share;
use crate::telemetry::metrics::{Metrics, StageMetrics};
pub use reporter::Reporter;
use stage::{Running, Start};

/// The most that a consumer may fetch ahead (M9).
const MAX_PREFETCH: u64 = 16 << 20;
/// What a stage may hold of records at least, whatever the others do, and at most without borrowing (M10).
const MIN_RESERVE: usize = 1 << 20;
const MAX_RESERVE: usize = 32 << 20;
/// What a stage may hold of records with what it borrows.
const MAX_RECORDS: usize = 64 << 20;
/// How long the poll threads may take beyond the grace: their last commit and their close.
const BEYOND_GRACE: Duration = Duration::from_secs(20);

/// What a runtime needs of the settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// How to reach Kafka.
    pub cluster: Cluster,
    /// Where the cluster's tokens come from, where clients sign on with one.
    pub token_source: Option<Arc<TokenSource>>,
    /// The in-process broker, where there is one.
    pub embedded: Option<Embedded>,
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
    admin: Admin,
    outputs: Outputs,
    stages: Vec<Running>,
    tasks: TaskTracker,
    kafka: watch::Seen,
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
        config: Config,
        plans: &[Arc<Plan>],
        metrics: &Arc<Metrics>,
        on_finished: Option<&OnFinished>,
    ) -> Result<Runtime, KafkaError> {
        let outputs = Outputs {
            records: Producer::build(&config.cluster, "weir-producer")?,
            dead_letters: Producer::build(&config.cluster, "weir-dlq-producer")?,
        };
        let admin = Admin::build(&config.cluster, "weir-admin")?;
        let mut runtime = Runtime {
            config,
            admin,
            outputs,
            stages: Vec::new(),
            tasks: TaskTracker::new(),
            kafka: watch::Seen::default(),
            metrics: Arc::clone(metrics),
            ending: CancellationToken::new(),
        };
        if let (Some(source), Some(tokens)) = (&runtime.config.token_source, &runtime.config.cluster.tokens) {
            let kept = tokens::keep(Arc::clone(source), tokens.clone(), runtime.ending.clone());
            runtime.tasks.spawn(kept);
        }
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
            let series: Arc<StageMetrics> = Arc::new(metrics.stage(&stage.pipeline, &stage.service));
            runtime.tasks.spawn(dlq::ensure(
                runtime.admin.clone(),
                runtime.config.embedded.clone(),
                Arc::clone(stage),
                runtime.ending.clone(),
            ));
            let running = Running::start(Start {
                config: &runtime.config,
                stage: Arc::clone(stage),
                outputs: runtime.outputs.for_stage(),
                metrics: series,
                tasks: runtime.tasks.clone(),
                lone: lone.clone(),
                on_finished: on_finished.cloned(),
                prefetch: runtime.config.prefetch(fit.len()),
                memory: Memory::new(reserve, MAX_RECORDS, common.clone()),
            })?;
            info!(stage = stage.service, group = stage.source.group, topics = ?stage.source.topics, "started");
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
            kafka: Arc::clone(&self.kafka),
        }
    }

    /// Runs until `stop`, then stops gracefully within the grace; at `force`, now.
    pub async fn run(self, stop: CancellationToken, force: CancellationToken) -> StopReport {
        let watch = watch::Watch {
            admin: self.admin.clone(),
            readers: self
                .stages
                .iter()
                .map(|running| watch::Reader {
                    topics: running.plan.source.topics.iter().map(|name| Arc::from(name.as_str())).collect(),
                    pattern: running.plan.source.pattern.clone(),
                    taken: None,
                    missed: Vec::new(),
                    poll: running.stopper(),
                    engine: Arc::clone(&running.engine),
                })
                .collect(),
            seen: Arc::clone(&self.kafka),
        };
        self.tasks.spawn(watch.run(self.ending.clone()));
        let memory = memory::Memory {
            metrics: Arc::clone(&self.metrics),
            engines: self.stages.iter().map(|running| Arc::clone(&running.engine)).collect(),
            outputs: self.outputs.clone(),
        };
        self.tasks.spawn(memory.run(self.config.clone(), self.ending.clone()));
        stop.cancelled().await;
        self.ending.cancel();
        info!(stages = self.stages.len(), "stopping: what is in flight may end");
        let Runtime { config, outputs, stages, tasks, .. } = self;
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
        let flush = if was_forced { Duration::ZERO } else { Duration::from_secs(5) };
        let flushed = tokio::task::spawn_blocking(move || {
            outputs.records.flush(flush).and(outputs.dead_letters.flush(flush)).is_ok()
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
