//! One stage as it runs: everything settled, nothing left to default. Immutable, behind an `Arc`; an attempt sees exactly
//! one.

use std::sync::Arc;

use super::expr::{Predicate, Surroundings, View};
use crate::codec::Format;
use crate::deliver::breaker::Numbers;
use crate::deliver::judge::Policy;
use crate::event::Event;
use crate::handler::Handler;
use crate::outcome::Failure;
use crate::transform::{Emit, Transform};

/// A pipeline as it runs.
#[derive(Debug)]
pub struct Plan {
    /// Its name.
    pub pipeline: String,
    /// Which content of its file this is.
    pub revision: Revision,
    /// Its stages, in the order of the file.
    pub stages: Vec<Arc<Stage>>,
}

/// The content hash of a pipeline's file: 64 hexadecimal digits, of which 7 are shown.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Revision(pub String);

impl Revision {
    /// The 7 characters that are shown.
    pub fn short(&self) -> &str {
        self.0.get(..7).unwrap_or(&self.0)
    }
}

/// A stage.
#[derive(Debug)]
pub struct Stage {
    /// `pipeline.stage`; the pipeline alone where the file has no `stages`.
    pub service: String,
    /// The pipeline's name.
    pub pipeline: String,
    /// Which content of the file this is.
    pub revision: Revision,
    /// Where records come from.
    pub source: Source,
    /// What is kept in order.
    pub order: Order,
    /// Records worked on at once, at least 1.
    pub max_in_flight: usize,
    /// Whether the file says `paused`.
    pub paused: bool,
    /// The transforms, in order.
    pub steps: Vec<Step>,
    /// The side effect; `None` for Kafka to Kafka.
    pub handler: Option<Arc<dyn Handler>>,
    /// What failures lead to.
    pub policy: Policy,
    /// When the breaker opens; `None` for `breaker: none` or without a handler.
    pub breaker: Option<Numbers>,
    /// Where dead letters go; `None`: the stage pauses instead.
    pub dlq: Option<Arc<str>>,
    /// Whether anything reads the value; if not it is never decoded.
    pub looks_into_payload: bool,
}

/// Where a stage's records come from.
#[derive(Debug, Clone)]
pub struct Source {
    /// The topics, at least one.
    pub topics: Vec<String>,
    /// The consumer group.
    pub group: String,
    /// Where a group begins that never committed.
    pub start: Start,
    /// How values are decoded.
    pub format: Format,
    /// What becomes of null values.
    pub on_tombstone: OnTombstone,
    /// What becomes of an offset that is not in the log.
    pub on_out_of_range: OnOutOfRange,
}

/// Where a group begins that never committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At the beginning of the log.
    Earliest,
    /// At its end.
    Latest,
    /// At the first record at or after this time, in milliseconds since 1970.
    At(i64),
}

/// What is kept in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// The records of a key.
    #[default]
    Key,
    /// The records of a partition.
    Partition,
    /// Nothing.
    None,
}

/// What becomes of null values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnTombstone {
    /// They are filtered, and counted.
    #[default]
    Skip,
    /// They go on as null.
    Deliver,
    /// They are dead-lettered.
    Dlq,
}

/// What becomes of an offset that is not in the log any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnOutOfRange {
    /// The stage holds and says what is at stake.
    #[default]
    Pause,
    /// Reading goes on at the beginning of the log.
    Earliest,
    /// Reading goes on at its end.
    Latest,
}

/// One transform of a stage.
#[derive(Debug)]
pub struct Step {
    /// `name:`, else kind and place: `remap_2`.
    pub name: String,
    /// Whether it applies.
    pub when: Option<Predicate>,
    /// What it does.
    pub transform: Box<dyn Transform>,
}

impl Step {
    /// Applies the transform where `when` says so. `attempts` is how many were made of this record.
    pub fn apply(&self, event: Event, attempts: u32) -> Result<Emit, Failure> {
        if let Some(when) = &self.when
            && !when.test(&View::of(&event, Surroundings { attempts, ..Surroundings::default() }))?
        {
            return Ok(Emit::One(event));
        }
        self.transform.apply(event)
    }
}
