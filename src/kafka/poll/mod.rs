//! The poll thread: one OS thread per consumer. It polls, hands records over in batches, pauses and resumes, commits, and
//! answers rebalances. It waits for no record, nor for the broker: whatever lasts is a state that the loop looks at.

mod answer;
mod client;
mod commit;
mod pause;
mod punctual;
mod refused;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use rdkafka::consumer::Consumer as _;
use tokio::sync::Notify;
use tracing::{error, warn};

use super::find::Begin;
use super::raw::{self, Message, Names, Polled, Queue};
use super::rebalance::{Ask, Asks, DrainStep, Draining, Rebalance};
use super::said::Said;
use super::{Fetched, Intake, KafkaError, Mark, Partition, Trouble, options};
use crate::event::{Body, Event, Origin, Topic};
use crate::telemetry::clock;
use client::Client;
use punctual::Punctual;
use refused::Refused;

/// How many records one hand-over holds at most.
const BATCH: usize = 512;
/// How many records a hand-over should hold where more are there than fit.
const WORTH_IT: usize = BATCH / 2;
/// How long to wait in `poll` while something is under way, and while nothing is.
const BUSY: Duration = Duration::from_millis(50);
const IDLE: Duration = Duration::from_secs(1);
/// How long a stage or a partition may have no room before partitions are paused: a pause purges what was fetched ahead
/// (M2), so what clears up by itself soon is waited for.
const PATIENCE: Duration = Duration::from_millis(200);
/// How often offsets are committed.
const COMMIT_EVERY: Duration = Duration::from_secs(1);
/// How long closing the consumer may take (P8).
const CLOSE_WITHIN: Duration = Duration::from_secs(10);

/// What a poll thread needs to know.
#[derive(Debug, Clone)]
pub struct PollOptions {
    /// How to reach the cluster.
    pub cluster: options::Cluster,
    /// The consumer's options.
    pub consumer: options::ConsumerOptions,
    /// The topics to subscribe to; none where [`PollHandle::subscribe`] names them later.
    pub topics: Vec<String>,
    /// Where a group begins that never committed.
    pub begin: Begin,
    /// How long a revoke may wait for tasks to end.
    pub drain_deadline: Duration,
    /// Reads the partition count out of the metadata of a commit (K7).
    pub known_count: fn(&[u8]) -> Option<u32>,
}

/// How a poll thread ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Whether everything had ended, was committed and closed in time.
    pub clean: bool,
}

const RUN: u8 = 0;
const DRAIN: u8 = 1;
const NOW: u8 = 2;

/// Wakes and stops a poll thread. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PollHandle {
    thread: Thread,
    stop: Arc<AtomicU8>,
    grace: Arc<Mutex<Duration>>,
    /// Topics whose partitions are to be looked up anew.
    stale: Arc<Mutex<Vec<Stale>>>,
    /// What to subscribe to from now on.
    topics: Arc<Mutex<Option<Vec<String>>>>,
    /// Makes the client fail for good.
    #[cfg(test)]
    fail: Arc<std::sync::atomic::AtomicBool>,
}

/// Who is woken.
#[derive(Debug, Clone)]
enum Thread {
    /// A poll thread, by the queue of its client of today.
    Polls(Arc<ArcSwap<Queue>>),
    /// What feeds an intake in place of a poll thread.
    Feeds(Arc<Notify>),
}

/// A topic of which something is to be looked up anew.
#[derive(Debug, PartialEq, Eq)]
struct Stale {
    topic: String,
    /// Only the partitions that were not there.
    missing_only: bool,
}

impl PollHandle {
    /// Makes the client fail for good, once.
    #[cfg(test)]
    pub(crate) fn fail(&self) {
        self.fail.store(true, Ordering::SeqCst);
        self.wake();
    }

    /// One of no poll thread: whoever feeds an intake without Kafka is told by `woken`.
    pub fn of_feeder(woken: Arc<Notify>) -> PollHandle {
        PollHandle::of(Thread::Feeds(woken), Duration::ZERO)
    }

    fn of(thread: Thread, grace: Duration) -> PollHandle {
        PollHandle {
            thread,
            stop: Arc::new(AtomicU8::new(RUN)),
            grace: Arc::new(Mutex::new(grace)),
            stale: Arc::default(),
            topics: Arc::default(),
            #[cfg(test)]
            fail: Arc::default(),
        }
    }

    /// Makes the thread look at its intake now.
    pub fn wake(&self) {
        match &self.thread {
            Thread::Polls(queue) => queue.load().wake(),
            Thread::Feeds(woken) => woken.notify_one(),
        }
    }

    /// The client is another one now.
    fn replaced(&self, new: &Arc<Queue>) {
        if let Thread::Polls(queue) = &self.thread {
            queue.store(Arc::clone(new));
        }
    }

    /// What is known of a topic's partitions is dropped, and they are looked up anew: it has another id now (B3), or its log
    /// does not hold what was to be read (B2).
    pub fn look_up_again(&self, topic: &str) {
        self.look_up(Stale { topic: topic.to_owned(), missing_only: false });
    }

    /// Those partitions of a topic are looked up that were not there when they were; the others go on.
    pub fn look_up_missing(&self, topic: &str) {
        self.look_up(Stale { topic: topic.to_owned(), missing_only: true });
    }

    fn look_up(&self, what: Stale) {
        if let Ok(mut stale) = self.stale.lock()
            && !stale.contains(&what)
        {
            stale.push(what);
        }
        self.wake();
    }

    /// Subscribes to these topics and no others. What comes later than the first of these calls is read from its beginning:
    /// it was not there when the group began.
    pub fn subscribe(&self, topics: Vec<String>) {
        if let Ok(mut wanted) = self.topics.lock() {
            *wanted = Some(topics);
        }
        self.wake();
    }

    /// Asks for a graceful stop: drain for at most `grace`, commit, close.
    pub fn stop(&self, grace: Duration) {
        if let Ok(mut slot) = self.grace.lock() {
            *slot = grace;
        }
        self.stop.fetch_max(DRAIN, Ordering::SeqCst);
        self.wake();
    }

    /// Asks for a stop without a drain and without a commit: only duplicates come of it.
    pub fn stop_now(&self) {
        self.stop.store(NOW, Ordering::SeqCst);
        self.wake();
    }
}

/// A consumer that is subscribed and not yet polled.
pub struct Poller<I> {
    client: Client,
    names: Names,
    intake: I,
    options: PollOptions,
    handle: PollHandle,
    parts: HashMap<Partition, Part>,
    rebalance: Rebalance,
    /// What rebalances ask and is not answered yet.
    asks: Asks,
    /// The topics of the first call of `subscribe`; `None` before it.
    first_topics: Option<Arc<BTreeSet<String>>>,
    /// Look-ups begun, and clients that are closing; joined at the end.
    others: Vec<JoinHandle<()>>,
    /// Why the client cannot go on, where it cannot, and when to make another.
    failed: Option<(KafkaError, Instant)>,
    /// When to subscribe: later than now where a client before has failed a moment ago.
    subscribe_at: Option<Instant>,
    /// Not before: bodies that were let go could not be sought back to.
    seek_again_at: Instant,
    outstanding: Option<Vec<Mark>>,
    /// Partitions to be committed one by one: an answer refused several, and it does not say which was at fault.
    singly: Vec<Partition>,
    committed_at: Instant,
    /// Not before: a commit was refused.
    commit_again_at: Instant,
    epoch: u64,
    punctual: Punctual,
    /// When to look again for partitions that their topic did not have.
    look_again_at: Option<Instant>,
    /// All partitions are paused until nothing is left to poll.
    hushed: bool,
    /// Which token the client was told of last.
    token: u64,
    /// What Kafka refuses, until it is known to be over.
    refused: Option<Refused>,
    /// Of look-ups, of clients that cannot be made, and of commits that fail.
    look_ups_said: Said,
    remakes_said: Said,
    commits_said: Said,
    /// There is no room: partitions that hold their share are paused.
    no_room: bool,
    full_since: Option<Instant>,
    stopping: bool,
    clean: bool,
}

/// One assigned partition.
struct Part {
    epoch: u64,
    topic: Arc<Topic>,
    paused: bool,
    /// Held, revoked or out of range: paused until it is assigned anew.
    shut: bool,
    /// Holds its share or more: paused where there is no room.
    crowding: bool,
    /// What was polled and has no room in its partition.
    overflow: VecDeque<Fetched>,
    /// Since when something waits there. While that is short, nothing more is polled; then the partition is paused until
    /// all of it is taken.
    overflows_since: Option<Instant>,
    leader_epoch: i32,
}

impl<I> std::fmt::Debug for Poller<I> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Poller").field("options", &self.options).finish_non_exhaustive()
    }
}

impl<I: Intake> Poller<I> {
    /// Makes the client and subscribes. `make` gets the handle, so that what the intake belongs to can wake the thread.
    pub fn build(options: PollOptions, make: impl FnOnce(PollHandle) -> I) -> Result<Poller<I>, KafkaError> {
        let client = Client::open(&options)?;
        if !options.topics.is_empty() {
            client.subscribe(&options)?;
        }
        let queue = Thread::Polls(Arc::new(ArcSwap::from(Arc::clone(&client.queue))));
        let handle = PollHandle::of(queue, options.drain_deadline);
        let punctual = Punctual::of(&options.cluster, &options.consumer, clock::now());
        Ok(Poller {
            client,
            names: Names::default(),
            intake: make(handle.clone()),
            options,
            handle,
            parts: HashMap::new(),
            rebalance: Rebalance::Steady,
            asks: Asks::default(),
            first_topics: None,
            others: Vec::new(),
            failed: None,
            subscribe_at: None,
            seek_again_at: clock::now(),
            outstanding: None,
            singly: Vec::new(),
            committed_at: clock::now(),
            commit_again_at: clock::now(),
            epoch: 0,
            punctual,
            look_again_at: None,
            hushed: false,
            token: 0,
            refused: None,
            look_ups_said: Said::default(),
            remakes_said: Said::default(),
            commits_said: Said::default(),
            no_room: false,
            full_since: None,
            stopping: false,
            clean: true,
        })
    }

    /// The handle that wakes and stops it.
    pub fn handle(&self) -> PollHandle {
        self.handle.clone()
    }

    /// Polls until told to stop, then closes the consumer within a deadline.
    pub fn run(mut self) -> Ended {
        loop {
            let now = clock::now();
            match self.handle.stop.load(Ordering::SeqCst) {
                NOW => {
                    self.clean = false;
                    break;
                }
                DRAIN if !self.stopping => self.begin_stop(now),
                _ => {}
            }
            self.serve_failure(now);
            self.serve_token();
            self.serve_rebalance(now);
            self.serve_refused(now);
            if self.stopping && matches!(self.rebalance, Rebalance::Steady) {
                break;
            }
            self.intake.tick(now);
            self.serve_commits(now);
            self.serve_pauses(now);
            self.serve_let_go(now);
            self.poll_batch();
        }
        let partitions: Vec<Partition> = self.parts.keys().cloned().collect();
        self.intake.lost(&partitions);
        self.answer_all();
        self.close()
    }

    /// Closes the client within a deadline, and waits for what else was begun.
    fn close(self) -> Ended {
        let Poller { client, clean, options, mut others, .. } = self;
        let (done, closed) = mpsc::channel();
        others.extend(client.close());
        let waiting = std::thread::Builder::new().name("kafka-close".into()).spawn(move || {
            for other in others {
                // A look-up that panicked has said so; its answer is not needed any more.
                other.join().ok();
            }
            // The receiver is gone where the deadline has passed: nobody is left to be told.
            done.send(()).ok();
        });
        let in_time = waiting.is_ok() && closed.recv_timeout(CLOSE_WITHIN).is_ok();
        if !in_time {
            warn!(group = options.consumer.group, "the consumer did not close in time and is left behind");
        }
        Ended { clean: clean && in_time }
    }

    fn begin_stop(&mut self, now: Instant) {
        self.stopping = true;
        let grace = self.handle.grace.lock().map_or(self.options.drain_deadline, |grace| *grace);
        let partitions: Vec<Partition> = self.parts.keys().cloned().collect();
        self.intake.revoke(&partitions);
        self.shut(&partitions);
        self.rebalance = Rebalance::Draining(Draining {
            partitions,
            deadline: now + grace,
            step: DrainStep::Working,
            stopping: true,
        });
    }

    pub(super) fn shut(&mut self, partitions: &[Partition]) {
        for partition in partitions {
            if let Some(part) = self.parts.get_mut(partition) {
                part.shut = true;
                part.overflow.clear();
                part.overflows_since = None;
            }
        }
        self.apply_pauses();
    }

    fn poll_batch(&mut self) {
        let (room, bytes) = self.wait_for_room();
        let under_way = !matches!(self.rebalance, Rebalance::Steady) || self.outstanding.is_some();
        let mut timeout = if under_way || self.intake.busy() { BUSY } else { IDLE };
        let mut batch = Vec::new();
        let (mut count, mut size) = (0, 0);
        let now = clock::now();
        if let Some(took) = self.punctual.late(now) {
            self.intake.trouble(Trouble::PollSlow { took, limit: self.punctual.limit }, now);
        }
        // Also what waits in its partition counts: one is polled in any case, as it may be a rebalance.
        while count < room.clamp(1, BATCH) && size <= bytes {
            let client = self.client.consumer.client();
            let lost = || raw::assignment_lost(client);
            let Some(polled) = self.client.queue.poll(timeout, &mut self.names, lost) else {
                self.asks.polled_nothing();
                break;
            };
            timeout = Duration::ZERO;
            match polled {
                Polled::Message(message) => {
                    count += 1;
                    size += message.bytes;
                    batch.extend(self.stamp(message));
                }
                other => {
                    // What was polled before a rebalance belongs to the assignment before it.
                    self.hand_over(&mut batch);
                    self.serve(other, clock::now());
                    break;
                }
            }
        }
        self.hand_over(&mut batch);
    }

    /// The room for records and bytes, beside what waits here already.
    fn room(&mut self) -> (usize, usize) {
        let (records, bytes) = self.intake.room();
        let waiting = self.parts.values().flat_map(|part| &part.overflow);
        let (count, size) = waiting.fold((0, 0), |(count, size), one| (count + 1, size + one.bytes));
        (records.saturating_sub(count), bytes.saturating_sub(size))
    }

    fn has_room(&mut self, least: usize) -> bool {
        let (records, bytes) = self.room();
        records >= least && bytes > 0
    }

    /// Whether nothing should be polled, since a partition has been full for a moment only.
    fn is_blocked(&self) -> bool {
        let waits = |part: &Part| !part.overflow.is_empty() && !part.paused && !part.shut;
        !self.patience().is_zero() && self.parts.values().any(waits)
    }

    /// How long what is full is waited for. Not at all where an urgent record may be behind it.
    fn patience(&self) -> Duration {
        if self.options.consumer.short_ahead { Duration::ZERO } else { PATIENCE }
    }

    /// The room for records and bytes, once there is enough for a hand-over that is worth it; where there is none for
    /// long, everything is paused.
    fn wait_for_room(&mut self) -> (usize, usize) {
        // What is fetched is read in its order: while there is little room, none of it stands before an urgent record.
        if self.options.consumer.short_ahead && !self.no_room && !self.has_room(WORTH_IT / 2) {
            self.pause_crowding();
        }
        let mut blocked = self.is_blocked();
        if self.parts.is_empty() || (self.no_room && !blocked) {
            return self.room();
        }
        if blocked || !self.has_room(WORTH_IT) {
            self.intake.wait_for_room(BUSY);
            self.take_overflow();
            blocked = self.is_blocked();
        }
        if self.no_room {
            return (0, 0);
        }
        if self.has_room(1) {
            self.full_since = None;
            return if blocked { (0, 0) } else { self.room() };
        }
        let now = clock::now();
        let since = *self.full_since.get_or_insert(now);
        if now.duration_since(since) >= PATIENCE {
            self.pause_crowding();
        }
        (0, 0)
    }

    fn pause_crowding(&mut self) {
        self.no_room = true;
        self.see_crowding();
        self.apply_pauses();
    }

    /// Makes an event of a message; `None` where its partition is not ours any more, or where it has to wait behind
    /// others of its partition.
    fn stamp(&mut self, message: Message) -> Option<Fetched> {
        let partition = Partition { topic: message.topic, number: message.partition };
        let part = self.parts.get_mut(&partition).filter(|part| !part.shut)?;
        part.leader_epoch = message.leader_epoch;
        let origin = Origin {
            topic: Arc::clone(&part.topic),
            partition: message.partition,
            offset: message.offset,
            timestamp: message.timestamp,
        };
        let body = Body::Raw(message.value);
        let event = Event { origin, key: message.key, headers: message.headers, body, part: 0 };
        let fetched = Fetched { event, epoch: part.epoch, bytes: message.bytes, rank: None };
        if part.overflow.is_empty() {
            return Some(fetched);
        }
        part.overflow.push_back(fetched);
        None
    }

    /// Hands a batch over; what its partition cannot take waits here.
    pub(super) fn hand_over(&mut self, batch: &mut Vec<Fetched>) {
        if batch.is_empty() {
            return;
        }
        self.intake.records(batch);
        if batch.is_empty() {
            return;
        }
        let now = clock::now();
        for fetched in batch.drain(..) {
            let origin = &fetched.event.origin;
            let partition =
                Partition { topic: Arc::from(origin.topic.name.as_str()), number: origin.partition };
            if let Some(part) = self.parts.get_mut(&partition) {
                part.overflow.push_back(fetched);
                part.overflows_since.get_or_insert(now);
            }
        }
    }

    fn serve(&mut self, polled: Polled, now: Instant) {
        match polled {
            Polled::Message(_) | Polled::Other => {}
            Polled::Log(line) => self.client.write(&line),
            Polled::Assign(partitions) => self.asked(Ask::Assign(partitions)),
            Polled::Revoke { partitions, lost } => self.asked(Ask::Revoke { partitions, lost }),
            Polled::Committed { error, partitions } => self.commit_answered(error.as_ref(), &partitions, now),
            Polled::EndOfPartition { partition, offset } => {
                // Records that wait here, or were dropped, have not been admitted: the end does not pass them.
                let all_admitted =
                    self.parts.get(&partition).is_some_and(|part| !part.shut && part.overflow.is_empty());
                if all_admitted {
                    self.intake.end_of_partition(&partition, offset);
                }
            }
            Polled::Error { error, partition } => self.error(error, partition, now),
        }
    }

    fn error(&mut self, error: KafkaError, partition: Option<Partition>, now: Instant) {
        if self.refuse(&error, partition.as_ref(), now) {
            return;
        }
        match partition {
            Some(partition) if error.means_out_of_range() => {
                self.shut(std::slice::from_ref(&partition));
                self.intake.trouble(Trouble::OutOfRange(partition), now);
            }
            Some(partition) if error.means_missing_topic() => {
                self.intake.trouble(Trouble::TopicMissing(partition.topic), now);
            }
            _ => {
                if error.fatal {
                    self.failed = Some((error.clone(), now));
                }
                self.intake.trouble(Trouble::Other(error), now);
            }
        }
    }

    pub(super) fn report(&self, what: &str, result: Result<(), KafkaError>) {
        if let Err(error) = result {
            error!(group = self.options.consumer.group, %error, "{what}");
        }
    }
}

fn join(partitions: &[Partition]) -> String {
    partitions.iter().map(Partition::to_string).collect::<Vec<_>>().join(" ")
}
