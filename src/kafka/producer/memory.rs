//! A log in memory: what a producer writes to where there is no Kafka. Each record is acknowledged at once, with the next offset
//! of its partition.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::Written;
use crate::event::Outgoing;

/// Records by the order in which they were written. Cheap to clone; clones are one log.
#[derive(Debug, Clone, Default)]
pub struct MemoryLog(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Told at each record.
    written: Arc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    /// Not taken yet.
    records: Vec<Appended>,
    ends: HashMap<(Arc<str>, i32), i64>,
}

/// A record and where it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Appended {
    /// Who wrote it.
    pub by: Arc<str>,
    /// The record.
    pub record: Outgoing,
    /// Where.
    pub written: Written,
}

impl MemoryLog {
    /// One that tells `written` of each record.
    pub fn new(written: Arc<Notify>) -> MemoryLog {
        MemoryLog(Arc::new(Shared { state: Mutex::default(), written }))
    }

    /// What was written since this was last asked.
    pub fn take(&self) -> Vec<Appended> {
        std::mem::take(&mut self.lock().records)
    }

    /// Records without a partition go to the first one.
    pub(super) fn append(&self, by: &Arc<str>, record: &Outgoing) -> Written {
        let mut state = self.lock();
        let partition = record.partition.unwrap_or(0);
        let end = state.ends.entry((Arc::clone(&record.topic), partition)).or_default();
        let written = Written { partition, offset: *end };
        *end += 1;
        state.records.push(Appended { by: Arc::clone(by), record: record.clone(), written });
        drop(state);
        self.0.written.notify_one();
        written
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::producer::Producer;

    #[tokio::test]
    async fn offsets_rise_in_each_partition_and_records_are_taken_once() {
        let log = MemoryLog::default();
        let producer = Producer::to_memory(&log, "stage");
        let to = |topic: &str, partition| Outgoing {
            topic: topic.into(),
            partition,
            key: None,
            value: None,
            headers: Vec::new(),
            timestamp: None,
        };
        let mut offsets = Vec::new();
        for record in [to("a", None), to("b", None), to("a", Some(0)), to("a", Some(1))] {
            offsets.push(producer.send(&record).await.unwrap().offset);
        }
        assert_eq!(offsets, [0, 0, 1, 0]);
        let taken: Vec<_> = log.take().iter().map(|one| one.record.topic.to_string()).collect();
        assert_eq!(taken, ["a", "b", "a", "a"]);
        assert_eq!((log.take(), producer.in_flight()), (Vec::new(), 0));
    }
}
