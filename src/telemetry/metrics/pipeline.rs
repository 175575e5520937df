//! The series of one pipeline: its health, what the file says of it, and its own limits.

use std::time::Duration;

use prometheus::{IntGauge, Registry};

use super::series::Group;
use crate::telemetry::health::Health;

/// What the file says of a pipeline: the labels of `weir_pipeline_info`, and its `slo`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PipelineFacts {
    /// `owner` of the file; empty where absent.
    pub owner: String,
    /// The first 7 characters of the content hash.
    pub revision: String,
    /// The first 7 characters of the git commit that changed the file last, with `-dirty` where it differs from that;
    /// `uncommitted` where no commit has it; empty where unknown.
    pub commit: String,
    /// `at_least_once` or `exactly_once`.
    pub delivery: String,
    /// `slo.max_age`: no series where absent, so that no alert can fire.
    pub max_age: Option<Duration>,
    /// `slo.dlq_ratio`, 0 to 1: no series where absent.
    pub dlq_ratio: Option<f64>,
}

/// How a pipeline stands to its file: every word that there is for it.
pub(super) const SYNC: [&str; 5] = ["synced", "out_of_sync", "broken", "pinned", "renamed"];

/// What is shown of a pipeline.
#[derive(Debug)]
pub struct PipelineSeries {
    health: Vec<IntGauge>,
    sync: Vec<(&'static str, IntGauge)>,
    groups: [Group; 2],
}

impl PipelineSeries {
    pub(super) fn new(registry: &Registry, pipeline: &str, facts: &PipelineFacts) -> PipelineSeries {
        let g = Group::new(registry, &[("pipeline", pipeline)]);
        let health = g.gauges("weir_pipeline_health", "1 for the state that the pipeline is in.", "health");
        let health = Health::ALL.iter().map(|word| health.with_label_values(&[word.as_str()])).collect();
        let sync = g.gauges("weir_pipeline_sync", "1 for how the pipeline stands to its file.", "sync");
        let sync = SYNC.iter().map(|word| (*word, sync.with_label_values(&[word]))).collect();
        if let Some(age) = facts.max_age {
            g.real("weir_slo_max_age_seconds", "slo.max_age of the file.").set(age.as_secs_f64());
        }
        if let Some(ratio) = facts.dlq_ratio {
            g.real("weir_slo_dlq_ratio", "slo.dlq_ratio of the file.").set(ratio);
        }
        let labels = [
            ("pipeline", pipeline),
            ("owner", super::label(&facts.owner)),
            ("revision", &facts.revision),
            ("commit", &facts.commit),
            ("delivery", &facts.delivery),
        ];
        let info = Group::new(registry, &labels);
        info.gauge("weir_pipeline_info", "What the file says of the pipeline.").set(1);
        let series = PipelineSeries { health, sync, groups: [g, info] };
        series.set_health(Health::Starting);
        series
    }

    /// Takes the pipeline's series out.
    pub(super) fn unregister(&self) {
        self.groups.iter().for_each(Group::unregister);
    }

    /// It stands to its file like this from now on.
    pub fn set_sync(&self, word: &str) {
        for (known, gauge) in &self.sync {
            gauge.set(i64::from(*known == word));
        }
    }

    /// The pipeline is in this state from now on.
    pub fn set_health(&self, health: Health) {
        for (word, gauge) in Health::ALL.iter().zip(&self.health) {
            gauge.set(i64::from(*word == health));
        }
    }
}
