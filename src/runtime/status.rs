//! What a running instance says of itself: plain data, made by the runtime, shown by `api` and `cli`.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

pub use crate::flow::report::{Finished, OnFinished};
use crate::outcome::HoldCause;
use crate::plan::Standing;
pub use crate::telemetry::health::Health;
use crate::telemetry::metrics::StageSeries;

/// The state of an instance at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct StatusReport {
    /// Whether the pipeline files were read once, good or bad.
    pub files_read: bool,
    /// Whether the instance is stopping.
    pub draining: bool,
    /// The Kafka clusters that stages use by name, as far as known.
    pub clusters: BTreeMap<String, KafkaStatus>,
    /// Each pipeline, sorted by name; those whose file is broken and that never ran are not here.
    pub pipelines: Vec<PipelineStatus>,
    /// Files that could not be loaded: `file:line:col: message`.
    pub broken: Vec<String>,
}

/// What is known of a Kafka cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct KafkaStatus {
    /// Whether it answers; `None` before the first answer or failure.
    pub up: Option<bool>,
    /// The cluster's id; empty while unknown.
    pub cluster_id: String,
    /// How many brokers it has; 0 while unknown.
    pub nodes: usize,
}

impl StatusReport {
    /// How many clusters answer, how many do not, and of how many it is not known yet.
    pub fn kafka(&self) -> (usize, usize, usize) {
        let count = |up: Option<bool>| self.clusters.values().filter(|cluster| cluster.up == up).count();
        (count(Some(true)), count(Some(false)), count(None))
    }
}

/// One pipeline.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PipelineStatus {
    /// Its name.
    pub pipeline: String,
    /// The first 7 characters of its content hash.
    pub revision: String,
    /// The commit that gave its file that content, and whether the file differs from it; `None` where git does not know.
    pub commit: Option<Standing>,
    /// How it stands to its file.
    pub sync: Sync,
    /// Why it does not run what its file says: what is broken (`file:line:col: message`), who has pinned an older revision, or
    /// what it waits for.
    pub why: Option<String>,
    /// The worst of its stages.
    #[serde(serialize_with = "word")]
    pub health: Health,
    /// Its stages in the order of the file.
    pub stages: Vec<StageStatus>,
}

/// How a pipeline stands to its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Sync {
    /// It runs what the file says.
    Synced,
    /// A change waits for a drain, or could not be applied.
    OutOfSync,
    /// The file has errors, and the last good revision runs.
    Broken,
    /// An older revision is held against the file.
    Pinned,
    /// It may be a pipeline that has stopped, under another name: it waits until somebody has said so.
    Renamed,
}

impl Sync {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Sync::Synced => "synced",
            Sync::OutOfSync => "out_of_sync",
            Sync::Broken => "broken",
            Sync::Pinned => "pinned",
            Sync::Renamed => "renamed",
        }
    }
}

/// One stage on this instance.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StageStatus {
    /// The service name: the pipeline's name where the file has no `stages`, else `pipeline.stage`.
    pub stage: String,
    /// How it is doing.
    #[serde(serialize_with = "word")]
    pub health: Health,
    /// Why it has paused itself; empty while it works.
    pub holds: Vec<Hold>,
    /// Its partitions, sorted.
    pub partitions: Vec<PartitionStatus>,
    /// Records being worked on.
    pub in_flight: u64,
    /// Records that wait for their retry.
    pub retries_waiting: u64,
    /// What was done since the process started.
    pub counts: Counts,
}

/// A stage that has paused itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hold {
    /// Why.
    #[serde(serialize_with = "cause")]
    pub cause: HoldCause,
    /// One sentence, no secrets.
    pub message: String,
    /// Since when, in seconds since 1970.
    pub since: u64,
}

/// One assigned partition.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PartitionStatus {
    /// The topic.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// Whether it is paused.
    pub paused: bool,
    /// The next offset to commit.
    pub watermark: i64,
    /// Records without an outcome, those not yet read included.
    pub lag: u64,
}

/// What a stage has done since the process started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Records read.
    pub received: u64,
    /// Records accepted, and every publish acknowledged.
    pub delivered: u64,
    /// Records that the file does not want.
    pub filtered: u64,
    /// Records that the DLQ acknowledged.
    pub dead_lettered: u64,
    /// Records discarded as the file says.
    pub discarded: u64,
    /// Records published.
    pub published: u64,
    /// Attempts of the handler.
    pub attempts: u64,
    /// Those of them that were not accepted.
    pub failed_attempts: u64,
    /// Dead letters of records that could not be read, or that the steps could not take.
    pub invalid: u64,
}

impl Counts {
    /// Of the counters of a stage.
    pub fn of(series: &StageSeries) -> Counts {
        let [delivered, filtered, dead_lettered, discarded] = series.completed();
        Counts {
            received: series.events_received.get(),
            delivered,
            filtered,
            dead_lettered,
            discarded,
            published: series.published(),
            attempts: series.attempts(),
            failed_attempts: series.failed_attempts(),
            invalid: series.invalid(),
        }
    }
}

fn word<S: Serializer>(health: &Health, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(health.as_str())
}

fn cause<S: Serializer>(cause: &HoldCause, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(cause.as_str())
}
