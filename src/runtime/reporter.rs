//! Makes the status of an instance when somebody asks: cheap, without waiting.

use std::sync::{Arc, PoisonError};
use std::time::UNIX_EPOCH;

use super::status::{Counts, Hold, PartitionStatus, PipelineStatus, StageStatus, StatusReport};
use super::watch::Seen;
use crate::flow::engine::Engine;
use crate::plan::Stage;
use crate::telemetry::health::Health;
use crate::telemetry::metrics::StageMetrics;

/// What a status is made of.
#[derive(Debug, Clone)]
pub struct Reporter {
    pub(super) stages: Vec<(Arc<Stage>, Arc<Engine>, Arc<StageMetrics>)>,
    /// By the names of the clusters.
    pub(super) clusters: Vec<(String, Seen)>,
}

impl Reporter {
    /// The state at this moment.
    pub fn report(&self) -> StatusReport {
        let mut pipelines: Vec<PipelineStatus> = Vec::new();
        for (stage, engine, metrics) in &self.stages {
            let status = stage_status(stage, engine, metrics);
            match pipelines.iter_mut().find(|pipeline| pipeline.pipeline == stage.pipeline) {
                Some(pipeline) => {
                    pipeline.health = pipeline.health.max(status.health);
                    pipeline.stages.push(status);
                }
                None => pipelines.push(PipelineStatus {
                    pipeline: stage.pipeline.clone(),
                    revision: stage.revision.short().to_owned(),
                    health: status.health,
                    stages: vec![status],
                }),
            }
        }
        pipelines.sort_by(|a, b| a.pipeline.cmp(&b.pipeline));
        let seen = |seen: &Seen| seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let clusters = self.clusters.iter().map(|(name, look)| (name.clone(), seen(look))).collect();
        StatusReport { files_read: true, draining: false, clusters, pipelines, broken: Vec::new() }
    }
}

fn stage_status(stage: &Stage, engine: &Engine, metrics: &StageMetrics) -> StageStatus {
    let report = engine.report();
    let health = if !report.held.is_empty() {
        Health::Failing
    } else if report.paused {
        Health::Paused
    } else if report.partitions.is_empty() {
        Health::Starting
    } else {
        Health::Healthy
    };
    let seconds = |at: std::time::SystemTime| at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut partitions: Vec<PartitionStatus> = report
        .partitions
        .iter()
        .map(|partition| PartitionStatus {
            topic: partition.partition.topic.to_string(),
            partition: partition.partition.number,
            paused: partition.paused,
            watermark: partition.watermark,
            lag: partition.lag,
        })
        .collect();
    partitions.sort();
    StageStatus {
        stage: stage.service.clone(),
        health,
        holds: report
            .held
            .into_iter()
            .map(|held| Hold { cause: held.cause, message: held.message, since: seconds(held.since) })
            .collect(),
        partitions,
        in_flight: u64::try_from(report.in_flight).unwrap_or(u64::MAX),
        retries_waiting: u64::try_from(report.waiting).unwrap_or(u64::MAX),
        counts: Counts::of(metrics),
    }
}
