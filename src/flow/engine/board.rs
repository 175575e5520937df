//! Everything of a stage that is behind its lock: partitions with their trackers, slots, the hold and the breaker.
//! Methods take `now` and return what to do; they wait for nothing.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::gauges::Told;
use super::memory::Memory;
use super::place::{Lone, Place};
use crate::deliver::gate::{Gate, Pick, Try, Turned};
use crate::deliver::hold::Record as Raiser;
use crate::event::Rank;
use crate::flow::report::{Held, StageReport};
use crate::flow::{Applied, Candidate, Counts, Epoch, Limits, Now, Order, Tracker, Work};
use crate::kafka::Partition;
use crate::outcome::{HoldCause, Verdict};
use crate::plan::{self, Stage};
use crate::telemetry::clock;

/// Records that a stage looks ahead at least, so that enough different keys are in sight.
const LOOK_AHEAD: usize = 4_096;

/// Records that a partition looks ahead at least.
const PARTITION_LOOK_AHEAD: usize = 1_024;
/// The same where the last owner did not end cleanly: should this one not either, a crash loop is near, and the next owner
/// tries what may have been at work one record at a time (K10). The fewer, the sooner that is over.
pub(super) const CAUTIOUS_LOOK_AHEAD: usize = 64;

/// After so long an assignment counts as survived.
const PROGRESS: Duration = Duration::from_secs(60);

/// A record handed to a task.
#[derive(Debug)]
pub(in crate::flow) struct Job {
    pub(in crate::flow) work: Work,
    /// The partition's place on the board.
    pub(in crate::flow) slot: usize,
    /// Cancelled when the assignment ends, or the process.
    pub(in crate::flow) cancelled: CancellationToken,
    /// What it tries while the stage is shut.
    pub(in crate::flow) tried: Option<Try>,
    /// When it was taken.
    pub(in crate::flow) begun: Instant,
}
/// The state.
#[derive(Debug)]
pub(super) struct Board {
    pub(super) places: Vec<Place>,
    index: HashMap<Partition, usize>,
    cursor: usize,
    in_flight: usize,
    max_in_flight: usize,
    order: Order,
    /// The order that is asked for; another one than `order` waits for the barrier.
    next_order: Order,
    /// Whether another order has begun.
    reordered: bool,
    pub(super) limits: Limits,
    pub(super) look_ahead: usize,
    pub(super) memory: Memory,
    uncommitted: Duration,
    pub(super) gate: Gate,
    pub(super) rng: fastrand::Rng,
    pub(super) lone: Lone,
    /// Cancelled with the engine, and so every place with it.
    end: CancellationToken,
    service: String,
    paused: bool,
    /// Whether records have ranks.
    pub(super) ranked: bool,
    /// Since when nothing is started as usual.
    pub(super) shut_since: Option<Instant>,
    /// Whether bodies were let go of since.
    pub(super) has_let_go: bool,
    /// Whether somebody waits for room.
    pub(super) room_wanted: bool,
    /// Whether its bytes were used up, and too few are free again to begin anew.
    pub(super) out_of_bytes: bool,
    /// What the poll thread reported and only it or a reload can end.
    outside: BTreeMap<(HoldCause, String), (Instant, String)>,
}

impl Board {
    pub(super) fn new(
        stage: &Stage,
        memory: Memory,
        uncommitted: Duration,
        lone: Lone,
        end: CancellationToken,
        now: Instant,
    ) -> Board {
        let mut board = Board {
            places: Vec::new(),
            index: HashMap::new(),
            cursor: 0,
            in_flight: 0,
            max_in_flight: 1,
            order: order_of(stage),
            next_order: order_of(stage),
            reordered: false,
            limits: Limits {
                records: LOOK_AHEAD,
                bytes: memory.most(),
                metadata: crate::flow::metadata::DEFAULT_LIMIT,
                max_wait: stage.max_wait(),
            },
            look_ahead: LOOK_AHEAD,
            memory,
            uncommitted,
            gate: Gate::new(stage.breaker, stage.max_in_flight, stage.probes_bare()),
            rng: fastrand::Rng::new(),
            lone,
            end,
            service: stage.service.clone(),
            paused: false,
            ranked: false,
            shut_since: None,
            has_let_go: false,
            room_wanted: false,
            out_of_bytes: false,
            outside: BTreeMap::new(),
        };
        board.replan(stage, now);
        board
    }

    /// What changes with a swap of the plan.
    pub(super) fn replan(&mut self, stage: &Stage, now: Instant) {
        self.gate.reload(stage.breaker, stage.max_in_flight, stage.probes_bare(), now);
        self.max_in_flight = stage.max_in_flight.max(1);
        self.look_ahead = LOOK_AHEAD.max(stage.max_in_flight.saturating_mul(8));
        self.paused = stage.paused;
        self.ranked = stage.priority.is_some();
        self.next_order = order_of(stage);
        self.limits.records = PARTITION_LOOK_AHEAD.max(stage.max_in_flight.saturating_mul(2));
        self.limits.bytes = self.memory.most();
    }

    /// Another share of the memory of records.
    pub(super) fn reshare(&mut self, reserve: usize) {
        self.memory.reshare(reserve);
        self.limits.bytes = self.memory.most();
    }

    // ---- assignment

    pub(super) fn place_of(&self, partition: &Partition) -> Option<usize> {
        self.index.get(partition).copied()
    }

    pub(super) fn assign(
        &mut self,
        partition: &Partition,
        epoch: Epoch,
        make: impl FnOnce(Order, Limits) -> Tracker,
    ) {
        // One that waits for the barrier gives nothing out before it.
        let mut tracker = make(self.next_order, self.limits);
        self.outside.remove(&(HoldCause::OutOfRange, partition.to_string()));
        let slot = match self.index.get(partition) {
            Some(slot) => *slot,
            None => {
                self.index.insert(partition.clone(), self.places.len());
                self.places.push(Place {
                    partition: partition.clone(),
                    name: Arc::from(format!("{} {partition}", self.service)),
                    since: clock::now(),
                    accepted_at: clock::now(),
                    tracker: None,
                    epoch,
                    orphans: 0,
                    refused: false,
                    cut_said: None,
                    cancelled: self.end.child_token(),
                });
                self.places.len() - 1
            }
        };
        if let Some(place) = self.places.get_mut(slot) {
            let replaced = place.tracker.as_ref().map_or(0, Tracker::tasks);
            tracker.wait_for(std::mem::take(&mut place.orphans) + replaced);
            place.tracker = Some(tracker);
            place.epoch = epoch;
            place.refused = false;
            (place.since, place.accepted_at) = (clock::now(), clock::now());
            place.cancelled = self.end.child_token();
        }
    }

    /// Starts nothing more of these.
    pub(super) fn close(&mut self, partitions: &[Partition]) {
        self.each(partitions, |place| {
            if let Some(tracker) = &mut place.tracker {
                tracker.close();
            }
        });
    }

    /// Cuts off what is at work in these.
    pub(super) fn cancel(&mut self, partitions: &[Partition]) {
        self.each(partitions, |place| place.cancelled.cancel());
    }

    /// Forgets the assignment of these; tasks that are still at work are remembered.
    pub(super) fn end(&mut self, partitions: &[Partition]) {
        self.each(partitions, |place| {
            place.cancelled.cancel();
            if let Some(tracker) = place.tracker.take() {
                place.orphans = tracker.tasks();
            }
        });
        let lone = self.lone.clone();
        self.each(partitions, |place| lone.release(&place.name));
        for partition in partitions {
            self.outside.remove(&(HoldCause::OutOfRange, partition.to_string()));
        }
    }

    pub(super) fn drained(&self, partitions: &[Partition]) -> bool {
        let tasks = |p: &Partition| {
            let place = self.place_of(p).and_then(|slot| self.places.get(slot));
            place.and_then(|place| place.tracker.as_ref()).map_or(0, Tracker::tasks)
        };
        partitions.iter().all(|partition| tasks(partition) == 0)
    }

    fn each(&mut self, partitions: &[Partition], mut act: impl FnMut(&mut Place)) {
        for partition in partitions {
            if let Some(place) = self.place_of(partition).and_then(|slot| self.places.get_mut(slot)) {
                act(place);
            }
        }
    }

    // ---- records

    /// The next record to work on; while the stage is shut, what may be tried.
    pub(super) fn take(&mut self, now: Now, turned: &mut Vec<Turned>) -> Option<Job> {
        if self.stands_still() || !self.passes_barrier() {
            return None;
        }
        if self.gate.is_shut() {
            return self.take_try(now, turned);
        }
        if self.in_flight >= self.max_in_flight.min(self.gate.limit(now.mono)) {
            return None;
        }
        if !self.ranked {
            return self.take_any(None, now);
        }
        // The next rank where nothing of a more urgent one can be given now, as in a partition that is suspect.
        Rank::ALL.into_iter().find_map(|rank| self.take_any(Some(rank), now))
    }

    /// Another order begins when nothing is at work (R8): until then nothing is started, so that no two lanes hold one key. What
    /// a held stage has let go of comes back in the order that it had.
    fn passes_barrier(&mut self) -> bool {
        if self.order == self.next_order || self.trackers().any(Tracker::lacks_bodies) {
            return true;
        }
        let order = self.next_order;
        let idle = self.in_flight == 0
            && self.places.iter_mut().all(|place| {
                place.orphans == 0 && place.tracker.as_mut().is_none_or(|tracker| tracker.reorder(order))
            });
        if idle {
            self.order = order;
            self.reordered = true;
        }
        idle
    }

    /// Whether another order has begun since this was asked: more than one can be taken now.
    pub(super) fn take_reordered(&mut self) -> bool {
        std::mem::take(&mut self.reordered)
    }

    /// The next record of any partition in turn: of this rank, where one is asked for.
    fn take_any(&mut self, rank: Option<Rank>, now: Now) -> Option<Job> {
        let count = self.places.len();
        for step in 0..count {
            let slot = (self.cursor + step) % count;
            let uncommitted = self.uncommitted;
            let place = self.places.get_mut(slot).filter(|place| !place.is_stalled(now.mono, uncommitted));
            let Some(place) = place else { continue };
            if rank.is_some() && place.next_rank(now.mono) != rank {
                continue;
            }
            let Some(work) = place.take(now, &self.lone) else { continue };
            self.cursor = (slot + 1) % count;
            self.in_flight += 1;
            let cancelled = place.cancelled.clone();
            return Some(Job { work, slot, cancelled, tried: None, begun: now.mono });
        }
        None
    }

    /// What a request without a record is to ask for now.
    pub(super) fn take_bare(&mut self, now: Instant) -> Option<Try> {
        if self.stands_still() || !self.gate.is_shut() {
            return None;
        }
        let tried = self.gate.bare_due(now)?;
        self.gate.started(tried, now);
        Some(tried)
    }

    fn take_try(&mut self, now: Now, turned: &mut Vec<Turned>) -> Option<Job> {
        if self.in_flight >= self.max_in_flight {
            return None;
        }
        let keys = self.giving(now.mono).map(|(_, candidate)| candidate.key);
        let (tried, pick) = self.gate.try_now(keys, now.mono)?;
        let Some((slot, offset)) = self.find(pick, now.mono) else {
            if matches!(pick, Pick::Record(raiser) if !self.is_open(raiser)) {
                turned.extend(self.gate.vanished(tried));
            }
            return None;
        };
        let place = self.places.get_mut(slot)?;
        let work = place.take_at(offset, now, &self.lone)?;
        self.gate.started(tried, now.mono);
        self.in_flight += 1;
        let cancelled = place.cancelled.clone();
        Some(Job { work, slot, cancelled, tried: Some(tried), begun: now.mono })
    }

    /// Where the picked record is: place and offset.
    fn find(&self, pick: Pick, now: Instant) -> Option<(usize, i64)> {
        let all = || self.giving(now);
        let found = match pick {
            Pick::Key(key) => all().find(|(_, c)| c.key == key),
            Pick::OtherKey(key) => all().find(|(_, c)| c.key != key).or_else(|| all().next()),
            // The raiser itself, or what now stands before it in its lane (K12).
            Pick::Record(raiser) => all()
                .find(|(slot, c)| position(*slot, c.offset) == raiser.position)
                .or_else(|| all().find(|(_, c)| c.key == raiser.key && self.is_open(raiser))),
        };
        found.map(|(slot, candidate)| (slot, candidate.offset))
    }

    /// What could be tried now, with its place.
    fn giving(&self, now: Instant) -> impl Iterator<Item = (usize, Candidate<'_>)> {
        let gives = move |place: &&Place| place.gives(now, self.uncommitted, &self.lone);
        self.places.iter().enumerate().filter(move |(_, place)| gives(place)).flat_map(|(slot, place)| {
            place.tracker.iter().flat_map(Tracker::candidates).map(move |candidate| (slot, candidate))
        })
    }

    /// Whether the record that raised a hold is still to be finished here.
    fn is_open(&self, raiser: Raiser) -> bool {
        let places = self.places.iter().enumerate();
        let mut open = places.flat_map(|(slot, place)| {
            place.tracker.iter().flat_map(Tracker::open_offsets).map(move |offset| position(slot, offset))
        });
        open.any(|position| position == raiser.position)
    }

    /// The record as breaker and holds know it.
    pub(super) fn raiser(slot: usize, work: &Work) -> Raiser {
        Raiser { key: work.key, position: position(slot, work.event.origin.offset) }
    }

    /// Whether a record of another key could be tried.
    pub(super) fn others_wait(&self, key: u64) -> bool {
        self.trackers().flat_map(Tracker::candidates).any(|candidate| candidate.key != key)
    }

    /// A record is with the producer; true where the next one of its lane can be taken because of it (K12). A suspect record
    /// stays alone.
    pub(super) fn hand_over(&mut self, job: &Job) -> bool {
        let place = self.places.get_mut(job.slot).filter(|_| !job.work.lone);
        let tracker = place.and_then(|place| place.tracker.as_mut());
        tracker.is_some_and(|tracker| tracker.hand_over(&job.work.ticket))
    }

    /// Applies a task's verdict. `None` where nobody waits for it any more.
    pub(super) fn complete(&mut self, slot: usize, work: Work, verdict: Verdict) -> Applied {
        self.in_flight = self.in_flight.saturating_sub(1);
        let Some(place) = self.places.get_mut(slot) else { return Applied::Stale };
        let applied = match &mut place.tracker {
            Some(tracker) => tracker.complete(work.ticket, verdict),
            None => {
                place.orphans = place.orphans.saturating_sub(1);
                Applied::Stale
            }
        };
        if work.lone {
            place.settle_lone(&self.lone);
        }
        applied
    }

    pub(super) fn counts(&self) -> Counts {
        let mut sum = Counts::default();
        for counts in self.trackers().map(Tracker::counts) {
            sum.open += counts.open;
            sum.ready += counts.ready;
            sum.in_flight += counts.in_flight;
            sum.waiting += counts.waiting;
            sum.bodiless += counts.bodiless;
            sum.bytes += counts.bytes;
            sum.uncommitted |= counts.uncommitted;
            sum.oldest_timestamp = match (sum.oldest_timestamp, counts.oldest_timestamp) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
        }
        sum
    }

    pub(super) fn trackers(&self) -> impl Iterator<Item = &Tracker> {
        self.places.iter().filter_map(|place| place.tracker.as_ref())
    }

    // ---- time, holds

    /// When to look again, later than now: the next retry, or the next probe. What is due already and was not taken waits
    /// for something that calls `take` when it happens: a free slot, a record, an accepted commit.
    pub(super) fn wake_at(&self, now: Instant) -> Option<Instant> {
        let at = if self.gate.is_shut() {
            self.gate.wake_at()
        } else {
            self.trackers().filter_map(Tracker::wake_at).filter(|at| *at > now).min()
        };
        at.filter(|at| *at > now)
    }

    /// What time alone changes. An assignment that has gone on for a minute forgives earlier crashes (O18); the right to
    /// work alone goes back where it cannot be used.
    pub(super) fn note_time(&mut self, now: Instant) {
        self.gate.forget_healed(now);
        let stands_still = self.stands_still();
        for place in &mut self.places {
            let idle = stands_still || place.is_stalled(now, self.uncommitted);
            if let Some(tracker) = place.tracker.as_mut().filter(|_| idle) {
                tracker.give_up_lone();
                place.settle_lone(&self.lone);
            }
        }
        for place in &mut self.places {
            if let Some(tracker) = &mut place.tracker
                && now.saturating_duration_since(place.since) >= PROGRESS
            {
                tracker.progressed();
                tracker.set_record_limit(self.limits.records);
                place.since = now;
            }
        }
    }

    /// Whether a commit should not wait for its time.
    pub(super) fn commit_is_urgent(&self) -> bool {
        self.trackers().any(Tracker::commit_is_urgent)
    }

    /// A partition that stands still because no commit of it was accepted for too long (O11).
    fn stalled(&self, now: Instant) -> Option<&Place> {
        self.places.iter().find(|place| place.is_stalled(now, self.uncommitted))
    }

    /// Whether nothing is started as usual.
    pub(super) fn is_shut(&self) -> bool {
        self.gate.is_shut() || self.stands_still()
    }

    /// Whether nothing is started, not even a probe. A source topic that is missing, or may not be read, holds up no other.
    fn stands_still(&self) -> bool {
        self.paused
            || self
                .outside
                .keys()
                .any(|(cause, _)| !matches!(cause, HoldCause::TopicMissing | HoldCause::Kafka))
    }

    /// Holds the stage for what only the poll thread knows, of a partition or a topic; `true` where it is new.
    pub(super) fn hold_from_outside(
        &mut self,
        cause: HoldCause,
        of: String,
        message: String,
        now: Instant,
    ) -> bool {
        self.outside.insert((cause, of), (now, message)).is_none()
    }

    /// Of the topics that are missing only those that are read stay so.
    pub(super) fn forget_missing_topics(&mut self, read: &[Arc<str>]) {
        self.outside.retain(|(cause, of), _| {
            *cause != HoldCause::TopicMissing || read.iter().any(|topic| **topic == *of.as_str())
        });
    }

    /// The topic is there after all; `true` where it was missing.
    pub(super) fn topic_is_there(&mut self, topic: &str) -> bool {
        self.outside.remove(&(HoldCause::TopicMissing, topic.to_owned())).is_some()
    }

    /// Kafka refuses what the consumer needs: said, while all that was read goes on. `true` where it was not said before.
    pub(super) fn refused(&mut self, why: &str, now: Instant) -> bool {
        let refusal = self.outside.entry((HoldCause::Kafka, String::new())).or_insert((now, String::new()));
        let is_new = refusal.1 != why;
        why.clone_into(&mut refusal.1);
        is_new
    }

    /// It refuses nothing any more; `true` where it did.
    pub(super) fn allowed(&mut self) -> bool {
        self.outside.remove(&(HoldCause::Kafka, String::new())).is_some()
    }

    pub(super) fn report(&self, now: Now, told: &Told) -> StageReport {
        let counts = self.counts();
        let mut held: Vec<Held> = Vec::new();
        for ((cause, _), (since, message)) in &self.outside {
            let since = now.wall - now.mono.saturating_duration_since(*since);
            held.push(Held { cause: *cause, since, message: message.clone() });
        }
        let gate = self.gate.held().into_iter();
        held.extend(gate.map(|(cause, since, message)| Held { cause, since, message }));
        if let Some(place) = self.stalled(now.mono) {
            held.push(Held {
                cause: HoldCause::Kafka,
                since: now.wall - now.mono.saturating_duration_since(place.accepted_at),
                message: format!(
                    "{}: Kafka has accepted no commit for too long: nothing of it is started until it does",
                    place.partition
                ),
            });
        }
        StageReport {
            held,
            paused: self.paused,
            partitions: self.partitions(now, told),
            paused_partitions: told.paused(),
            open: counts.open,
            in_flight: self.in_flight,
            limit: self.max_in_flight,
            waiting: counts.waiting,
            bytes: counts.bytes,
            oldest_timestamp: counts.oldest_timestamp,
        }
    }
}

fn order_of(stage: &Stage) -> Order {
    match stage.order {
        plan::Order::Key => Order::Key,
        plan::Order::Partition => Order::Partition,
        plan::Order::None => Order::None,
    }
}

/// The hash by which holds know a record; collisions would only try another record first.
pub(super) fn position(slot: usize, offset: i64) -> u64 {
    offset.unsigned_abs().wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (slot as u64)
}
