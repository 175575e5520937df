//! Whether a partition may take more records: its records, its bytes, and the room in the commit metadata.

use std::time::Duration;

use super::metadata;

/// What one partition may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Records with a body.
    pub records: usize,
    /// Bytes of these bodies.
    pub bytes: usize,
    /// Characters of the commit metadata, prefix included: 4,096 is the broker's default.
    pub metadata: usize,
    /// The longest wait that a retry may have: the larger of `max_delay` and `retry_after_max`. A restored one is cut to
    /// it.
    pub max_wait: Duration,
}

/// Whether a partition takes new records. Closes at a limit, opens again below four fifths of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// It does.
    Open,
    /// It does not: pause it and go on polling.
    Full(Why),
}

/// What is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// The commit metadata is three quarters full, or could overflow by completions alone.
    Metadata,
    /// The number of records.
    Records,
    /// The bytes of the records.
    Bytes,
}

/// What a partition holds: the figures that its limits speak of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    /// Records that are open.
    pub(super) open: usize,
    /// Records with a body.
    pub(super) records: usize,
    /// Bytes of these bodies.
    pub(super) bytes: usize,
    /// Characters of the last commit's metadata.
    pub(super) written: usize,
    /// Bytes that the metadata could grow to: `worst_case`.
    pub(super) worst: usize,
    /// Whether what is polled next is in the metadata already: it needs no room there, and is waited for.
    pub(super) catching_up: bool,
}

impl Limits {
    /// Applies the limits; `room` is what was said before (hysteresis).
    pub(super) fn room(&self, load: &Load, room: Room) -> Room {
        let reached = |why: Why, value: usize, limit: usize| {
            let closed = room == Room::Full(why);
            value >= if closed { (limit / 5 * 4).max(1) } else { limit.max(1) }
        };
        // What the text could become by completions bounds what it was.
        let written = load.written.min(metadata::characters(load.worst));
        let metadata = reached(Why::Metadata, written, self.metadata / 4 * 3)
            || reached(Why::Metadata, load.worst, metadata::bytes_within(self.metadata));
        // With nothing open no completion would ever open it again, however little text the broker takes.
        if metadata && !load.catching_up && load.open > 0 {
            Room::Full(Why::Metadata)
        } else if reached(Why::Records, load.records, self.records) {
            Room::Full(Why::Records)
        } else if reached(Why::Bytes, load.bytes, self.bytes) {
            Room::Full(Why::Bytes)
        } else {
            Room::Open
        }
    }
}

/// The most bytes that the metadata can take whatever completes next, in O(1). `incompletes` are the records that are
/// not done, `range` is what lies between the committed offset and the highest one known, `tried` the sum of `weight`.
///
/// Runs: a pair of varints per isolated incomplete, the second of two bytes up to 16,384 and one more for each such
/// length of the range. Bitmap: a bit per offset. The fixed fields take 40 at most (the contract's 32 hold for offsets
/// up to 2^49).
pub(super) fn worst_case(incompletes: usize, range: u64, tried: usize) -> usize {
    let range = usize::try_from(range).unwrap_or(usize::MAX);
    let runs = incompletes.saturating_mul(3).saturating_add(range / 16_384);
    // The deltas between the entries add up to the range, too.
    runs.min(range / 8).saturating_add(tried).saturating_add(range / 16_384 * usize::from(tried > 0)) + 40
}

/// The bytes that one entry of a record with an attempt behind it may take: the delta (two, the rest is in
/// `worst_case`), attempts, due time, first try (four: eight years), phase, and reason and code.
pub(super) fn weight(attempts: u32, due_in: Duration, dead_letter: bool) -> usize {
    2 + metadata::varint_len(u64::from(attempts) + 1)
        + metadata::varint_len(due_in.as_secs().saturating_add(1))
        + 4
        + 1
        + 2 * usize::from(dead_letter)
}

#[cfg(test)]
mod tests;
