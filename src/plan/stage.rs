//! A pipeline as it runs: everything settled, nothing left to default. Immutable, behind an `Arc`; an attempt sees exactly
//! one.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use sha2::{Digest, Sha256};

use crate::codec::{Codec, Wide};
use crate::deliver::breaker::Numbers;
use crate::deliver::judge::Policy;
use crate::event::Event;
use crate::git::Standing;
use crate::handler::Handler;
use crate::plan::expr::Surroundings;
use crate::plan::{Pattern, Priority};
use crate::publish::route::Route;
use crate::seal::Verifier;
use crate::spec::pipeline::Order;
use crate::spec::source::{OnOutOfRange, OnTombstone};
use crate::transform::{self, Counted, Emit, Failed, Step};

/// A pipeline as it runs.
#[derive(Debug)]
pub struct Plan {
    /// Its name.
    pub pipeline: String,
    /// Which content of its file this is.
    pub revision: Revision,
    /// Its stages, in the order of the file; at least one.
    pub stages: Vec<Arc<Stage>>,
}

/// The content hash of a pipeline's file: SHA-256 in 64 hexadecimal digits, of which 7 are shown. Derefs to the whole.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Revision(Arc<str>);

impl Revision {
    /// Of a file's text.
    pub fn of(text: &str) -> Revision {
        Revision(data_encoding::HEXLOWER.encode(&Sha256::digest(text.as_bytes())).into())
    }

    /// One that was kept: 64 hexadecimal digits.
    pub fn known(digits: String) -> Revision {
        Revision(digits.into())
    }

    /// The 7 digits that are shown.
    pub fn short(&self) -> &str {
        self.0.get(..7).unwrap_or(&self.0)
    }
}

impl std::ops::Deref for Revision {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Revision {
    /// The 7 digits that are shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short())
    }
}

impl fmt::Debug for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Revision({self})")
    }
}

/// How a stage's file stands in git, as it was when the files were read last. The one thing of a stage that may change while it
/// runs: the same content can be committed, and nothing is swapped for that.
#[derive(Debug, Default)]
pub struct InGit(ArcSwapOption<Standing>);

impl InGit {
    /// `None` where git does not know the file.
    pub fn get(&self) -> Option<Arc<Standing>> {
        self.0.load_full()
    }

    /// It stands like this now.
    pub fn set(&self, standing: Option<Arc<Standing>>) {
        self.0.store(standing);
    }
}

/// A stage.
#[derive(Debug)]
pub struct Stage {
    /// `pipeline.stage`; the pipeline alone where the file has no `stages`. In the webhook id, logs, metrics.
    pub service: String,
    /// The same of the name that its pipeline had first: what webhook ids and the group's default are made of.
    pub identity: String,
    /// The pipeline's name.
    pub pipeline: String,
    /// The stage's name; `None` for the single stage of a file without `stages`.
    pub stage: Option<String>,
    /// Which content of the file this is.
    pub revision: Revision,
    /// How the file stands in git.
    pub in_git: InGit,
    /// Which records are worked on first; `None`: all are alike.
    pub priority: Option<Priority>,
    /// Whether the file says `paused`.
    pub paused: bool,
    /// Where records come from.
    pub source: Source,
    /// What is kept in order.
    pub order: Order,
    /// Records worked on at once, at least 1.
    pub max_in_flight: usize,
    /// The transforms, in order.
    pub steps: Vec<Step>,
    /// Who may be inside of the transforms at once; `None` where none of them keeps a thread for long.
    pub seats: Option<tokio::sync::Semaphore>,
    /// The side effect; `None` for Kafka to Kafka.
    pub handler: Option<Arc<dyn Handler>>,
    /// What is written to topics after the handler has accepted, in order.
    pub publish: Vec<Route>,
    /// What failures lead to.
    pub policy: Policy,
    /// When the breaker opens; `None` for `breaker: none` or without a handler.
    pub breaker: Option<Numbers>,
    /// Where dead letters go; `None`: the stage pauses instead.
    pub dlq: Option<DeadLetters>,
    /// Whether anything reads the value; if not it is never decoded.
    pub looks_into_payload: bool,
    /// Whether anything behind a transform asks for the event id, which the transforms may have removed or changed.
    pub needs_id: bool,
}

/// Where a stage's records come from.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// The cluster that it reads and writes, by name.
    pub cluster: String,
    /// The topics, at least one where there is no pattern.
    pub topics: Vec<String>,
    /// Which topics, in place of their names.
    pub pattern: Option<Pattern>,
    /// The consumer group.
    pub group: String,
    /// Where a group begins that never committed.
    pub start: Start,
    /// How values are decoded.
    pub codec: Codec,
    /// What becomes of an integer of JSON or Protobuf that no `i64` holds.
    pub wide_integers: Wide,
    /// What becomes of null values.
    pub on_tombstone: OnTombstone,
    /// What becomes of an offset that is not in the log.
    pub on_out_of_range: OnOutOfRange,
    /// Who must have signed them; `None`: nobody.
    pub verify: Option<Verifier>,
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

/// Where a stage's dead letters go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetters {
    /// The topic.
    pub topic: Arc<str>,
}

impl Stage {
    /// Applies the transforms to a record whose value is decoded where the stage looks into it. `attempts`: how many were
    /// made before this one; `id`: the event id before the transforms, where it is known.
    pub fn transform(&self, event: Event, attempts: u32, id: Option<&str>) -> Result<Emit, Failed> {
        transform::run(&self.steps, event, Surroundings { attempts, id, answer: None })
    }

    /// What its plugins have counted since they were last asked.
    pub fn counted(&self) -> impl Iterator<Item = Counted> {
        self.steps.iter().flat_map(|step| step.transform.counted())
    }

    /// Whether the handler is asked without a record if a held stage may go on.
    pub fn probes_bare(&self) -> bool {
        self.handler.as_ref().is_some_and(|handler| handler.probes_bare())
    }

    /// The longest wait between two attempts.
    pub fn max_wait(&self) -> Duration {
        self.policy.retry.longest_wait()
    }
}
