//! What memory is used for, once a second: `weir_memory_bytes` and its limits.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{Config, watch};
use crate::flow::engine::{Engine, Outputs};
use crate::telemetry::metrics::{Metrics, Pool};

/// Who holds memory.
pub(super) struct Memory {
    pub(super) metrics: Arc<Metrics>,
    pub(super) engines: Vec<Arc<Engine>>,
    /// Of each cluster.
    pub(super) outputs: Vec<Outputs>,
}

impl Memory {
    /// Shows it until told to stop.
    pub(super) async fn run(self, config: Config, stop: CancellationToken) {
        let consumers = self.engines.len();
        let times = u64::try_from(consumers).unwrap_or(u64::MAX);
        let most = super::MAX_RECORDS.saturating_mul(consumers);
        self.metrics.memory_limit(Pool::Records, bytes(config.records().min(most)));
        self.metrics.memory_limit(Pool::Fetch, config.prefetch(consumers).saturating_mul(times));
        watch::each_second(&stop, || self.show()).await;
    }

    fn show(&self) {
        let held = self.engines.iter().map(|engine| engine.bytes()).sum();
        self.metrics.memory_in_use(Pool::Records, bytes(held));
        let producers = self.outputs.iter().flat_map(|outputs| [&outputs.records, &outputs.dead_letters]);
        let (used, limit) = producers.fold((0_usize, 0_usize), |(used, limit), producer| {
            let (its, its_limit) = producer.memory();
            (used.saturating_add(its), limit.saturating_add(its_limit))
        });
        self.metrics.memory_in_use(Pool::Producer, bytes(used));
        self.metrics.memory_limit(Pool::Producer, bytes(limit));
    }
}

fn bytes(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
