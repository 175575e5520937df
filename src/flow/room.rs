//! Whether a partition may take more records: its records, its bytes, and the room in the commit metadata.

use std::time::Duration;

/// What one partition may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Records with a body.
    pub records: usize,
    /// Bytes of these bodies.
    pub bytes: usize,
    /// Characters of the commit metadata, prefix included: 4,096 is the broker's default.
    pub metadata: usize,
    /// The longest wait that a restored retry may have: the larger of `max_delay` and `retry_after_max`.
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
