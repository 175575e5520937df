//! Makes the status of an instance when somebody asks: cheap, without waiting.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::UNIX_EPOCH;

use arc_swap::ArcSwap;

use super::change::Renamed;
use super::history::Pin;
use super::status::{Counts, Hold, PartitionStatus, PipelineStatus, StageStatus, StatusReport, Sync};
use super::watch::Seen;
use crate::flow::engine::{Engine, Outputs};
use crate::plan::{Revision, Stage, Standing};
use crate::telemetry::health::Health;
use crate::telemetry::metrics::{PipelineMetrics, StageMetrics};

/// What an instance shows of itself; made anew when what runs has changed.
#[derive(Debug, Default)]
pub(super) struct Shown {
    /// Whether the files were read once, good or bad.
    pub(super) files_read: bool,
    pub(super) stages: Vec<ShownStage>,
    /// By name.
    pub(super) pipelines: BTreeMap<String, ShownPipeline>,
    /// Files that cannot run: `file:line:col: message`.
    pub(super) broken: Vec<String>,
    /// Pipelines that wait until it is known whether they are old ones.
    pub(super) renamed: Vec<Renamed>,
    /// By the names of the clusters.
    pub(super) clusters: Vec<(String, Seen)>,
    pub(super) outputs: Vec<Outputs>,
}

/// A stage that runs, or is being drained.
#[derive(Debug)]
pub(super) struct ShownStage {
    pub(super) plan: Arc<Stage>,
    pub(super) engine: Arc<Engine>,
    pub(super) metrics: Arc<StageMetrics>,
}

/// A pipeline that is to run.
#[derive(Debug)]
pub(super) struct ShownPipeline {
    /// What it runs, or will as soon as what is being drained is gone.
    pub(super) revision: Revision,
    /// How its file stands in git.
    pub(super) standing: Option<Arc<Standing>>,
    /// Why its file cannot run as it is now.
    pub(super) broken: Option<String>,
    /// What holds it at an older revision.
    pub(super) pin: Option<Pin>,
    /// Whether a stage of it does not run yet.
    pub(super) waits: bool,
    pub(super) metrics: Option<Arc<PipelineMetrics>>,
}

/// Makes the status of an instance. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Reporter(pub(super) Arc<ArcSwap<Shown>>);

impl Reporter {
    /// The state at this moment. Also brings the gauges of health up to date.
    pub fn report(&self) -> StatusReport {
        let shown = self.0.load();
        let mut pipelines: BTreeMap<&str, PipelineStatus> = BTreeMap::new();
        for (name, pipeline) in &shown.pipelines {
            let sync = match pipeline {
                ShownPipeline { broken: Some(_), .. } => Sync::Broken,
                ShownPipeline { pin: Some(_), .. } => Sync::Pinned,
                ShownPipeline { waits: true, .. } => Sync::OutOfSync,
                ShownPipeline { .. } => Sync::Synced,
            };
            let status = PipelineStatus {
                pipeline: name.clone(),
                revision: pipeline.revision.short().to_owned(),
                commit: pipeline.standing.as_deref().cloned(),
                sync,
                why: pipeline.broken.clone().or_else(|| pipeline.pin.as_ref().map(pinned)),
                health: if pipeline.waits { Health::Starting } else { Health::Healthy },
                stages: Vec::new(),
            };
            pipelines.insert(name, status);
        }
        for stage in &shown.stages {
            let status = stage_status(stage);
            let pipeline = pipelines.entry(&stage.plan.pipeline).or_insert_with(|| PipelineStatus {
                pipeline: stage.plan.pipeline.clone(),
                revision: stage.plan.revision.short().to_owned(),
                commit: stage.plan.in_git.get().as_deref().cloned(),
                sync: Sync::OutOfSync,
                why: None,
                health: status.health,
                stages: Vec::new(),
            });
            pipeline.health = pipeline.health.max(status.health);
            pipeline.stages.push(status);
        }
        for waits in &shown.renamed {
            let status = PipelineStatus {
                pipeline: waits.pipeline.clone(),
                revision: waits.revision.short().to_owned(),
                commit: None,
                sync: Sync::Renamed,
                why: Some(waits.why.clone()),
                health: Health::Stopped,
                stages: Vec::new(),
            };
            pipelines.entry(&waits.pipeline).or_insert(status);
        }
        for (name, status) in &pipelines {
            let series = shown.pipelines.get(*name).and_then(|pipeline| pipeline.metrics.as_ref());
            if let Some(series) = series {
                series.set_health(status.health);
                series.set_sync(status.sync.as_str());
            }
        }
        let seen = |seen: &Seen| seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let clusters = shown.clusters.iter().map(|(name, look)| (name.clone(), seen(look))).collect();
        StatusReport {
            files_read: shown.files_read,
            draining: false,
            clusters,
            pipelines: pipelines.into_values().collect(),
            broken: shown.broken.clone(),
        }
    }
}

/// Who holds a pipeline at an older revision, and why.
fn pinned(pin: &Pin) -> String {
    format!("pinned by {}: {}; its file is at {}", pin.actor, pin.reason, pin.rejected)
}

fn stage_status(shown: &ShownStage) -> StageStatus {
    let ShownStage { plan: stage, engine, metrics, .. } = shown;
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
