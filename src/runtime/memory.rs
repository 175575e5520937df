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
    pub(super) outputs: Outputs,
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
        let Outputs { records, dead_letters } = &self.outputs;
        let ((one, one_limit), (other, other_limit)) = (records.memory(), dead_letters.memory());
        self.metrics.memory_in_use(Pool::Producer, bytes(one.saturating_add(other)));
        self.metrics.memory_limit(Pool::Producer, bytes(one_limit.saturating_add(other_limit)));
    }
}

fn bytes(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
