//! One running stage: its engine and its poll thread.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tracing::error;

use super::Config;
use crate::flow::engine::{Engine, Lone, Memory, Outputs, Parts};
use crate::flow::metadata;
use crate::flow::report::OnFinished;
use crate::kafka::options::{Cluster, ConsumerOptions};
use crate::kafka::poll::{Ended, PollHandle, PollOptions, Poller};
use crate::kafka::{Begin, KafkaError};
use crate::plan::{self, Stage};
use crate::telemetry::metrics::StageMetrics;
use tokio_util::task::TaskTracker;

/// The stack of a poll thread: it runs librdkafka's calls and hand-overs, nothing deep.
const STACK: usize = 256 << 10;
/// The same where it tells how urgent records are: they are decoded there.
const RANKING_STACK: usize = 4 << 20;

/// A stage at work.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) plan: Arc<Stage>,
    pub(super) engine: Arc<Engine>,
    poll: PollHandle,
    thread: JoinHandle<Ended>,
}

/// What is known of a stage that is being drained.
#[derive(Debug)]
pub(super) struct Leaving {
    pub(super) plan: Arc<Stage>,
    pub(super) engine: Arc<Engine>,
    pub(super) poll: PollHandle,
}

/// What a stage is started with.
pub(super) struct Start<'a> {
    pub(super) config: &'a Config,
    pub(super) cluster: &'a Cluster,
    pub(super) stage: Arc<Stage>,
    pub(super) outputs: Outputs,
    pub(super) metrics: Arc<StageMetrics>,
    pub(super) tasks: TaskTracker,
    pub(super) lone: Lone,
    pub(super) on_finished: Option<OnFinished>,
    /// Bytes that its consumer may fetch ahead.
    pub(super) prefetch: u64,
    /// What it may hold of records.
    pub(super) memory: Memory,
}

impl Running {
    /// Starts the engine and the poll thread.
    pub(super) fn start(start: Start<'_>) -> Result<Running, KafkaError> {
        let Start { config, cluster, stage, outputs, metrics, tasks, lone, on_finished, prefetch, memory } =
            start;
        let mut consumer = ConsumerOptions::new(&stage.source.group, &format!("weir-{}", stage.service));
        consumer.prefetch = prefetch;
        consumer.short_ahead = stage.priority.is_some();
        let options = PollOptions {
            cluster: cluster.clone(),
            consumer,
            topics: stage.source.topics.clone(),
            begin: match stage.source.start {
                plan::Start::Earliest => Begin::Earliest,
                plan::Start::Latest => Begin::Latest,
                plan::Start::At(time) => Begin::At(time),
            },
            drain_deadline: config.drain_deadline,
            known_count: metadata::partition_count,
        };
        let engine = Engine::start(Parts {
            stage: Arc::clone(&stage),
            outputs,
            memory,
            uncommitted: config.uncommitted,
            metrics,
            tasks,
            lone,
            on_finished,
        });
        let built = Poller::build(options, |handle| engine.intake(handle));
        let poller = match built {
            Ok(poller) => poller,
            Err(error) => {
                engine.end();
                return Err(error);
            }
        };
        let poll = poller.handle();
        let service = stage.service.clone();
        let thread = std::thread::Builder::new()
            .name(format!("kc-{}", stage.service))
            .stack_size(if stage.priority.is_some() { RANKING_STACK } else { STACK })
            .spawn(move || {
                let end = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| poller.run()));
                end.unwrap_or_else(|_| {
                    error!(
                        stage = service,
                        "the poll thread has panicked: the stage stands still until a restart"
                    );
                    Ended { clean: false }
                })
            })
            .map_err(|_| KafkaError::timed_out("starting the poll thread"))?;
        Ok(Running { plan: stage, engine, poll, thread })
    }

    /// From here on records are worked on under this plan, which asks for no other consumer.
    pub(super) fn swap(&mut self, stage: Arc<Stage>) {
        self.engine.swap(Arc::clone(&stage));
        self.plan = stage;
    }

    /// What is known of it while somebody joins it.
    pub(super) fn leaving(&self) -> Leaving {
        Leaving { plan: Arc::clone(&self.plan), engine: Arc::clone(&self.engine), poll: self.poll.clone() }
    }

    pub(super) fn stop(&self, grace: Duration) {
        self.poll.stop(grace);
    }

    /// What stops it now, also while somebody joins it.
    pub(super) fn stopper(&self) -> PollHandle {
        self.poll.clone()
    }

    /// Waits for the poll thread, and ends the engine. Blocks.
    pub(super) fn join(self) -> Ended {
        let ended = self.thread.join().unwrap_or(Ended { clean: false });
        self.engine.end();
        ended
    }
}
