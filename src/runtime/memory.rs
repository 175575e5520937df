//! What memory is used for, once a second: `weir_memory_bytes` and its limits.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use super::reporter::Shown;
use super::{Config, watch};
use crate::telemetry::metrics::{Metrics, Pool};

/// Shows it until told to stop.
pub(super) async fn show(
    config: Config,
    metrics: Arc<Metrics>,
    shown: Arc<ArcSwap<Shown>>,
    stop: CancellationToken,
) {
    watch::each_second(&stop, || look(&config, &metrics, &shown.load())).await;
}

fn look(config: &Config, metrics: &Metrics, shown: &Shown) {
    let consumers = shown.stages.len();
    let times = u64::try_from(consumers).unwrap_or(u64::MAX);
    let most = super::MAX_RECORDS.saturating_mul(consumers);
    metrics.memory_limit(Pool::Records, bytes(config.records().min(most)));
    metrics.memory_limit(Pool::Fetch, config.prefetch(consumers).saturating_mul(times));
    let held = shown.stages.iter().map(|stage| stage.engine.bytes()).sum();
    metrics.memory_in_use(Pool::Records, bytes(held));
    let producers = shown.outputs.iter().flat_map(|outputs| [&outputs.records, &outputs.dead_letters]);
    let (used, limit) = producers.fold((0_usize, 0_usize), |(used, limit), producer| {
        let (its, its_limit) = producer.memory();
        (used.saturating_add(its), limit.saturating_add(its_limit))
    });
    metrics.memory_in_use(Pool::Producer, bytes(used));
    metrics.memory_limit(Pool::Producer, bytes(limit));
}

fn bytes(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
