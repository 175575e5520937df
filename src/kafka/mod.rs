//! The Kafka clients: options, the poll thread, rebalances, producer, admin, the embedded broker. Knows nothing of
//! `flow`: a poll thread feeds whatever implements [`Intake`].

mod raw;
pub mod error;
pub mod options;
mod said;
mod librdkafka;
pub mod tokens;
mod certificate;
mod credentials;
pub mod poll;
mod rebalance;
mod find;
pub mod producer;
pub mod admin;
pub mod one;
pub mod embedded;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use error::KafkaError;
pub use find::Begin;
pub use raw::{Committed, TopicSeen};

use crate::event::{Event, Rank, Topic};

/// A partition of a topic, by name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Partition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's number.
    pub number: i32,
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.number)
    }
}

/// A record as polled, stamped with the assignment that it was polled in (O10).
#[derive(Debug)]
pub struct Fetched {
    /// The record.
    pub event: Event,
    /// The assignment's number; rises with every assignment of this consumer.
    pub epoch: u64,
    /// Bytes of key, value and headers.
    pub bytes: usize,
    /// How urgent it is, once that was looked at.
    pub rank: Option<Rank>,
}

/// What is known of a partition that was assigned.
#[derive(Debug, Clone)]
pub struct Found {
    /// Which.
    pub partition: Partition,
    /// Its topic, with the id that the broker gives today.
    pub topic: Arc<Topic>,
    /// The number of this assignment.
    pub epoch: u64,
    /// How many partitions the topic has.
    pub partitions: u32,
    /// Whether it was ours already: its topic was made again (the broker has dropped the group's offsets with the old one),
    /// or its log did not hold what was to be read.
    pub again: bool,
    /// What the group committed; `None` where it never did.
    pub committed: Option<Committed>,
    /// Where to begin where nothing is committed: `start` resolved, or the partition's beginning where it is new.
    pub start: i64,
    /// The lowest offset that the log still holds.
    pub log_start: i64,
    /// One above the highest offset of the log.
    pub log_end: i64,
}

/// One partition's commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Which.
    pub partition: Partition,
    /// The next offset to read.
    pub next: i64,
    /// At most as many characters as the broker takes.
    pub metadata: String,
    /// The assignment that it belongs to.
    pub epoch: u64,
    /// The number that the tracker gave it.
    pub serial: u64,
}

/// What the poll thread has to report besides records.
#[derive(Debug, Clone)]
pub enum Trouble {
    /// The fetch position is outside of the log; the partition is stopped until something is decided.
    OutOfRange(Partition),
    /// The topic does not exist.
    TopicMissing(Arc<str>),
    /// The consumer was not polled for half of `max.poll.interval.ms`, or longer.
    PollSlow {
        /// For how long.
        took: std::time::Duration,
        /// After how long the broker takes its partitions away.
        limit: std::time::Duration,
    },
    /// Kafka does not let this consumer in, or not at something; why. What can be read is read all the same.
    Refused(String),
    /// What was refused is allowed again.
    Allowed,
    /// Anything else that Kafka said; `partition` where it named one.
    Other(KafkaError),
}

/// What a poll thread feeds. All methods are called on the poll thread only, and none may wait for a record.
pub trait Intake: Send {
    /// Partitions were assigned and looked up. Returns where each one begins; a partition that is left out is held: it is
    /// assigned, but paused.
    fn assigned(&mut self, found: Vec<Found>, now: Instant) -> Vec<(Partition, i64)>;
    /// How many records, and how many bytes of them, may be handed over now.
    fn room(&mut self) -> (usize, usize);
    /// Waits until there is room, at most so long.
    fn wait_for_room(&mut self, at_most: Duration);
    /// Takes records; leaves those in the batch whose partition is full.
    fn records(&mut self, batch: &mut Vec<Fetched>);
    /// Whether a partition that was full takes records again.
    fn takes(&mut self, partition: &Partition) -> bool;
    /// Whether a partition holds its share or more: where there is no room, such are paused and the others go on.
    fn crowds(&mut self, partition: &Partition) -> bool;
    /// Whether something is in flight, waiting or to be committed: then the thread polls every 50 ms, else every second.
    fn busy(&mut self) -> bool;
    /// The partitions go away: start nothing more of them.
    fn revoke(&mut self, partitions: &[Partition]);
    /// Whether the last task of all of them has ended.
    fn drained(&mut self, partitions: &[Partition]) -> bool;
    /// Cancels what is still at work in them; the next commit of each is its last and closes the assignment.
    fn close(&mut self, partitions: &[Partition]);
    /// The assignment of these is over: forget it.
    fn ended(&mut self, partitions: &[Partition]);
    /// The assignment of these was lost: cancel, commit nothing, forget.
    fn lost(&mut self, partitions: &[Partition]);
    /// What to commit now; with `only`, of those partitions and whatever has changed.
    fn commits(&mut self, now: Instant, only: Option<&[Partition]>) -> Vec<Mark>;
    /// Whether a commit should not wait for the timer (an assignment's first, an attempt to be noted before it is made).
    fn commit_at_once(&mut self) -> bool;
    /// The answer to a commit, mark by mark.
    fn committed(&mut self, answers: &[(Mark, Option<KafkaError>)], now: Instant);
    /// Partitions whose bodies were let go of (M11), and where they are to be read again from. Asked for on each pass, and
    /// said again until `sought`; meanwhile their records are refused.
    fn let_go(&mut self, now: Instant) -> Vec<(Partition, i64)>;
    /// The consumer was moved back to there: what comes next of the partition is at this offset or above.
    fn sought(&mut self, partition: &Partition, next: i64);
    /// Everything up to here was read (`offset` is the next one): transaction markers may be passed when idle (S5).
    fn end_of_partition(&mut self, partition: &Partition, offset: i64);
    /// Something went wrong.
    fn trouble(&mut self, trouble: Trouble, now: Instant);
    /// These partitions are paused now, and no others; told whenever that changes.
    fn paused(&mut self, partitions: Vec<Partition>);
    /// Once in a while, at least each second.
    fn tick(&mut self, now: Instant);
}
