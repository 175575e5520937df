//! The ledgers of one run (docs/rules.md, L1 to L6), in memory: this process is never touched by a fault.

use std::collections::HashMap;
use std::time::Duration;

use crate::support::metadata::Done;

/// All that was written down in one run. Times are those of `Run::now`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledgers {
    pub(crate) intents: Vec<Intent>,
    pub(crate) acked: Vec<Acked>,
    pub(crate) arrivals: Vec<Arrival>,
    pub(crate) dead: Vec<Dead>,
    pub(crate) commits: Vec<Sample>,
    pub(crate) faults: Vec<Fault>,
}

/// L1: what the load was about to send. The uid is its index in the ledger.
#[derive(Debug, Clone)]
pub(crate) struct Intent {
    pub(crate) key: u32,
    /// 0, 1, 2 .. for each key.
    pub(crate) seq: u32,
    /// Hash of the value.
    pub(crate) hash: u64,
}

/// L2: what Kafka acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Acked {
    pub(crate) uid: usize,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
}

/// L3: one request at the receiver.
#[derive(Debug, Clone, Default)]
pub(crate) struct Arrival {
    pub(crate) start: Duration,
    pub(crate) method: String,
    /// When the answer was decided, just before its first byte; none while it hangs, or when it broke off.
    pub(crate) end: Option<Duration>,
    /// The record, where the body is one of the load's.
    pub(crate) uid: Option<usize>,
    pub(crate) key: u32,
    pub(crate) seq: u32,
    /// Of the body.
    pub(crate) hash: u64,
    /// `weir-attempt`; 0 where the header is missing.
    pub(crate) attempt: u32,
    pub(crate) webhook_id: String,
    /// `topic/partition/offset`, of `weir-event`.
    pub(crate) event: String,
    /// Path and query, as they came.
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: bytes::Bytes,
    /// Of a complete answer.
    pub(crate) status: Option<u16>,
}

impl Arrival {
    /// Whether it asks without a record (`probe: head | options`).
    pub(crate) fn is_bare(&self) -> bool {
        matches!(self.method.as_str(), "HEAD" | "OPTIONS")
    }

    /// A complete answer with a status that counts as success.
    pub(crate) fn accepted(&self) -> bool {
        self.end.is_some() && self.status.is_some_and(|status| (200..300).contains(&status))
    }

    /// A header of the request.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// L4: one record of the DLQ.
#[derive(Debug, Clone, Default)]
pub(crate) struct Dead {
    pub(crate) at: Duration,
    pub(crate) uid: Option<usize>,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
}

impl Dead {
    /// A `weir-*` header, as text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(found, _)| found == name)?;
        std::str::from_utf8(value).ok()
    }
}

/// L5: what the group had committed for one partition at a time. `at` is when the answer was there.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sample {
    pub(crate) at: Duration,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) metadata: String,
}

/// L6: one fault.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub(crate) at: Duration,
    pub(crate) what: &'static str,
    /// What shows that it bit; empty = it did not.
    pub(crate) evidence: String,
    /// What the group had committed when it had bitten; a partition that is missing had nothing.
    pub(crate) committed: HashMap<i32, (i64, Done)>,
}

impl Ledgers {
    /// Where Kafka put each acknowledged record.
    pub(crate) fn positions(&self) -> HashMap<usize, (i32, i64)> {
        self.acked.iter().map(|acked| (acked.uid, (acked.partition, acked.offset))).collect()
    }
}

/// The hash by which payloads are compared (FNV-1a, 64 bits).
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
