//! The nouns of an assignment: its epoch, the offset to commit, a moment, a commit. Only words; the tracker makes them.

use super::metadata::Cut;

/// One assignment of one partition. A later assignment has a greater number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// The **next** offset to read: what Kafka's commit and seek take. Not the offset of a record that was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NextOffset(pub i64);

pub use crate::telemetry::clock::Now;

/// What to commit for one partition: offset and metadata of one view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The assignment that it belongs to.
    pub epoch: Epoch,
    /// The offset: no record below it lacks a final outcome.
    pub next: NextOffset,
    /// The text beside it, at most as long as the limit (http-contract section 13).
    pub metadata: String,
    /// What to hand back to `Tracker::accepted` once the broker has taken it.
    pub serial: u64,
    /// What did not fit: to be counted and logged loudly where it is not empty.
    pub cut: Cut,
}
