//! What came of a test, as data.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value as Json;

use super::script::Made;
use crate::event::Outgoing;
use crate::flow::report::Held;
use crate::outcome::Outcome;

/// What came of a test.
#[derive(Debug, Default)]
pub struct Observed {
    /// The records that stages took, in their order.
    pub(super) records: Vec<Taken>,
    /// The requests, in their order.
    pub(super) made: Vec<Made>,
    /// What was published, in its order.
    pub(super) published: Vec<Written>,
    /// The dead letters, in their order.
    pub(super) dead_letters: Vec<Written>,
    /// Why stages held at the end, by service.
    pub(super) held: BTreeMap<String, Vec<Held>>,
    /// Answers that nobody asked for, by service.
    pub(super) left: BTreeMap<String, usize>,
    /// What may never happen, and is Weir's fault.
    pub(super) faults: Vec<String>,
    /// How long it took in virtual time.
    pub virtual_time: Duration,
}

/// A record that a stage took.
#[derive(Debug, Clone)]
pub(super) struct Taken {
    pub(super) service: String,
    /// `topic/partition/offset`.
    pub(super) position: String,
    /// Which of the given events it is.
    pub(super) given: Option<usize>,
    pub(super) key: Option<bytes::Bytes>,
    pub(super) value: Option<bytes::Bytes>,
    /// `None`: the stage holds it, or it waits.
    pub(super) outcome: Option<Outcome>,
    /// Attempts made, where it has an outcome.
    pub(super) attempts: u32,
}

/// A record that was written to a topic.
#[derive(Debug, Clone)]
pub(super) struct Written {
    /// The service of the stage that wrote it.
    pub(super) by: String,
    pub(super) record: Outgoing,
    /// Its value as plain JSON.
    pub(super) shown: Json,
}

impl Written {
    /// The last value of a header, as text.
    pub(super) fn header(&self, name: &str) -> Option<String> {
        let found = self.record.headers.iter().rev().find(|header| header.name == name.as_bytes())?;
        found.value.as_ref().map(|value| String::from_utf8_lossy(value).into_owned())
    }

    pub(super) fn key(&self) -> Option<String> {
        self.record.key.as_ref().map(|key| String::from_utf8_lossy(key).into_owned())
    }
}

impl Observed {
    /// The records of a stage.
    pub(super) fn of(&self, service: &str) -> Vec<&Taken> {
        self.records.iter().filter(|taken| taken.service == service).collect()
    }

    /// The requests of a stage.
    pub(super) fn requests(&self, service: &str) -> Vec<&Made> {
        self.made.iter().filter(|made| &*made.request.service == service).collect()
    }

    /// How many attempts a record has seen.
    pub(super) fn attempts(&self, taken: &Taken) -> u32 {
        let made = self.requests(&taken.service);
        let made = made.iter().filter(|made| made.event == taken.position);
        let asked = made.map(|made| made.attempt).max().unwrap_or(0);
        if taken.outcome.is_some() { taken.attempts } else { asked }
    }

    /// The waits between the attempts of one record, of all records of a stage in the order in which they ended; each with the
    /// number of the request that ended the wait.
    pub(super) fn waits(&self, service: &str) -> Vec<(Duration, usize)> {
        let made = self.requests(service);
        let mut waits = Vec::new();
        for (number, next) in made.iter().enumerate() {
            let before = made.iter().take(number).rev().find(|one| one.event == next.event);
            let Some(before) = before.filter(|before| before.attempt < next.attempt) else { continue };
            let ended = before.ended.unwrap_or(before.begun);
            waits.push((next.begun.mono.saturating_duration_since(ended.mono), number));
        }
        waits
    }
}
