//! What a stage tells of itself: plain data for status, metrics and the demo.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::kafka::Partition;
use crate::outcome::{HoldCause, Outcome};

/// Told of every record that is finished, on the engine's threads. Must not wait.
pub type OnFinished = Arc<dyn Fn(Finished) + Send + Sync>;

/// A record that is finished.
#[derive(Debug, Clone, PartialEq)]
pub struct Finished {
    /// `pipeline.stage`, or the pipeline alone.
    pub service: String,
    /// `topic/partition/offset`.
    pub position: String,
    /// The key as text, bytes that are not UTF-8 replaced; `None` without a key.
    pub key: Option<String>,
    /// What became of it.
    pub outcome: Outcome,
    /// Attempts made.
    pub attempts: u32,
    /// Records published for it.
    pub published: u32,
}

/// Why a stage stands still.
#[derive(Debug, Clone, PartialEq)]
pub struct Held {
    /// Why.
    pub cause: HoldCause,
    /// Since when.
    pub since: SystemTime,
    /// One sentence, no secrets.
    pub message: String,
}

/// How an assigned partition stands.
#[derive(Debug, Clone, PartialEq)]
pub struct PartitionReport {
    /// Which.
    pub partition: Partition,
    /// Whether nothing of it is fetched at present.
    pub paused: bool,
    /// The next offset to commit.
    pub watermark: i64,
    /// Records without an outcome; with those not yet read, as far as the log reached when it was last looked at.
    pub lag: u64,
    /// How long the oldest of them has been there. Where it was not read yet nothing tells its time, and this is since
    /// when it is known to be there.
    pub behind: Duration,
    /// When the longest tried of its waiting records was first tried.
    pub oldest_first_try: Option<SystemTime>,
    /// How full its commit metadata is: 0 to 1.
    pub metadata_ratio: f64,
}

/// How a stage stands.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StageReport {
    /// Why it holds; empty while it works.
    pub held: Vec<Held>,
    /// Whether the file says `paused`.
    pub paused: bool,
    /// Assigned partitions.
    pub partitions: Vec<PartitionReport>,
    /// How many partitions are paused, those that are held included.
    pub paused_partitions: usize,
    /// Records received and not terminal.
    pub open: usize,
    /// Records at work.
    pub in_flight: usize,
    /// How many may be.
    pub limit: usize,
    /// Records that wait for their retry.
    pub waiting: usize,
    /// Bytes of the records held.
    pub bytes: usize,
    /// The record time of the oldest one that is not terminal, in milliseconds since 1970.
    pub oldest_timestamp: Option<i64>,
}
