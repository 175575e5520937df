//! Everything of a stage that is behind its lock: partitions with their trackers, slots, the hold and the breaker.
//! Methods take `now` and return what to do; they wait for nothing.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::deliver::gate::{Gate, Pick, Try, Turned};
use crate::deliver::hold::Record as Raiser;
use crate::flow::report::{Held, StageReport};
use crate::flow::{
    Admitted, Applied, Counts, Epoch, Limits, NextOffset, Now, Order, Record, Room, Tracker, Work,
};
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
/// Keys that are taken in while the stage is shut.
const KEYS_WHILE_SHUT: usize = 3;

/// After so long a stage that is shut lets go of the bodies that it has not started (M11).
const LET_GO_AFTER: Duration = Duration::from_secs(30);

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
}

/// One partition, for as long as the process lives: a place is never used for another one, so that a late completion
/// always finds its own.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) partition: Partition,
    /// Stage and partition: who holds the lone right.
    name: Arc<str>,
    pub(super) tracker: Option<Tracker>,
    pub(super) epoch: Epoch,
    /// Tasks of ended assignments that are still at work (G16).
    orphans: usize,
    /// Whether records wait for room in its tracker.
    pub(super) refused: bool,
    cancelled: CancellationToken,
    /// When a commit of it was last accepted, or it had nothing to commit.
    pub(super) accepted_at: Instant,
    /// Since when the assignment goes on; 60 s of it forgive earlier crashes (O18).
    since: Instant,
}

/// The right to work on a suspect record: one in the process (K10). Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Lone(Arc<Mutex<Option<Arc<str>>>>);

impl Lone {
    fn with<T>(&self, act: impl FnOnce(&mut Option<Arc<str>>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether `who` holds it, or gets it now.
    fn try_hold(&self, who: &Arc<str>) -> bool {
        self.with(|holder| holder.get_or_insert_with(|| Arc::clone(who)) == who)
    }

    fn release(&self, who: &Arc<str>) {
        self.with(|holder| {
            if holder.as_ref() == Some(who) {
                *holder = None;
            }
        });
    }
}

impl Place {
    /// Takes a record. In a suspect partition only with the process's one right to do so.
    fn take(&mut self, now: Now, lone: &Lone) -> Option<Work> {
        let tracker = self.tracker.as_mut()?;
        if !tracker.is_suspect() {
            return tracker.take(now);
        }
        if !lone.try_hold(&self.name) {
            return None;
        }
        let work = tracker.take(now);
        self.settle_lone(lone);
        work
    }

    /// As `take`, for the record at this offset.
    fn take_at(&mut self, offset: i64, now: Now, lone: &Lone) -> Option<Work> {
        if self.tracker.as_ref().is_some_and(Tracker::is_suspect) {
            return self.take(now, lone);
        }
        self.tracker.as_mut()?.take_at(offset, now)
    }

    /// Whether it stands still because no commit of it was accepted for too long (O11).
    fn is_stalled(&self, now: Instant, uncommitted: Duration) -> bool {
        self.tracker.is_some() && now.saturating_duration_since(self.accepted_at) > uncommitted
    }

    /// Gives the right back where no lone record is chosen or at work.
    fn settle_lone(&self, lone: &Lone) {
        if !self.tracker.as_ref().is_some_and(Tracker::lone) {
            lone.release(&self.name);
        }
    }
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
    pub(super) limits: Limits,
    look_ahead: usize,
    memory: usize,
    uncommitted: Duration,
    pub(super) gate: Gate,
    pub(super) rng: fastrand::Rng,
    lone: Lone,
    /// Cancelled with the engine, and so every place with it.
    end: CancellationToken,
    service: String,
    paused: bool,
    /// Since when nothing is started as usual.
    shut_since: Option<Instant>,
    /// Whether bodies were let go of since.
    has_let_go: bool,
    /// Whether somebody waits for room.
    room_wanted: bool,
    /// What the poll thread reported and only it or a reload can end.
    outside: BTreeMap<(HoldCause, String), (Instant, String)>,
}

impl Board {
    pub(super) fn new(
        stage: &Stage,
        memory: usize,
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
            order: match stage.order {
                plan::Order::Key => Order::Key,
                plan::Order::Partition => Order::Partition,
                plan::Order::None => Order::None,
            },
            limits: Limits {
                records: LOOK_AHEAD,
                bytes: memory,
                metadata: crate::flow::metadata::DEFAULT_LIMIT,
                max_wait: stage.max_wait(),
            },
            look_ahead: LOOK_AHEAD,
            memory,
            uncommitted,
            gate: Gate::new(stage.breaker, stage.max_in_flight),
            rng: fastrand::Rng::new(),
            lone,
            end,
            service: stage.service.clone(),
            paused: false,
            shut_since: None,
            has_let_go: false,
            room_wanted: false,
            outside: BTreeMap::new(),
        };
        board.replan(stage, now);
        board
    }

    /// What changes with a swap of the plan.
    pub(super) fn replan(&mut self, stage: &Stage, now: Instant) {
        self.gate.reload(stage.breaker, stage.max_in_flight, now);
        self.max_in_flight = stage.max_in_flight.max(1);
        self.look_ahead = LOOK_AHEAD.max(stage.max_in_flight.saturating_mul(8));
        self.paused = stage.paused;
        self.limits.records = PARTITION_LOOK_AHEAD.max(stage.max_in_flight.saturating_mul(2));
        self.limits.bytes = self.memory;
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
        let mut tracker = make(self.order, self.limits);
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
        if self.paused || !self.outside.is_empty() {
            return None;
        }
        if self.gate.is_shut() {
            return self.take_try(now, turned);
        }
        if self.in_flight >= self.max_in_flight.min(self.gate.limit(now.mono)) {
            return None;
        }
        let count = self.places.len();
        for step in 0..count {
            let slot = (self.cursor + step) % count;
            let uncommitted = self.uncommitted;
            let place = self.places.get_mut(slot).filter(|place| !place.is_stalled(now.mono, uncommitted));
            let Some(place) = place else { continue };
            let Some(work) = place.take(now, &self.lone) else { continue };
            self.cursor = (slot + 1) % count;
            self.in_flight += 1;
            return Some(Job { work, slot, cancelled: place.cancelled.clone(), tried: None });
        }
        None
    }

    fn take_try(&mut self, now: Now, turned: &mut Vec<Turned>) -> Option<Job> {
        if self.in_flight >= self.max_in_flight {
            return None;
        }
        let keys = self.trackers().flat_map(Tracker::candidates).map(|candidate| candidate.key);
        let (tried, pick) = self.gate.try_now(keys, now.mono)?;
        let Some((slot, offset)) = self.find(pick) else {
            if matches!(pick, Pick::Record(_)) {
                turned.extend(self.gate.vanished(tried));
            }
            return None;
        };
        let uncommitted = self.uncommitted;
        let place = self.places.get_mut(slot).filter(|place| !place.is_stalled(now.mono, uncommitted))?;
        let work = place.take_at(offset, now, &self.lone)?;
        self.gate.started(tried, now.mono);
        self.in_flight += 1;
        Some(Job { work, slot, cancelled: place.cancelled.clone(), tried: Some(tried) })
    }

    /// Where the picked record is: place and offset.
    fn find(&self, pick: Pick) -> Option<(usize, i64)> {
        let all = || {
            let trackers = self.places.iter().enumerate();
            trackers.flat_map(|(slot, place)| {
                place.tracker.iter().flat_map(Tracker::candidates).map(move |candidate| (slot, candidate))
            })
        };
        let found = match pick {
            Pick::Key(key) => all().find(|(_, c)| c.key == key),
            Pick::OtherKey(key) => all().find(|(_, c)| c.key != key).or_else(|| all().next()),
            Pick::Record(raiser) => all().find(|(slot, c)| position(*slot, c.offset) == raiser.position),
        };
        found.map(|(slot, candidate)| (slot, candidate.offset))
    }

    /// The record as breaker and holds know it.
    pub(super) fn raiser(slot: usize, work: &Work) -> Raiser {
        Raiser { key: work.key, position: position(slot, work.event.origin.offset) }
    }

    /// Whether a record of another key could be tried.
    pub(super) fn others_wait(&self, key: u64) -> bool {
        self.trackers().flat_map(Tracker::candidates).any(|candidate| candidate.key != key)
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

    /// The place of a record; of the records of a batch most are of the same place as the one before.
    pub(super) fn slot_of(&self, record: &Record) -> Option<usize> {
        let origin = &record.event.origin;
        self.places.iter().position(|place| {
            place.partition.number == origin.partition && *place.partition.topic == *origin.topic.name
        })
    }

    /// Takes a record in; `Err` gives it back where its partition is full.
    pub(super) fn admit(&mut self, slot: usize, record: Record) -> Result<Admitted, Record> {
        let Some(place) = self.places.get_mut(slot) else { return Ok(Admitted::Stale) };
        let Some(tracker) = &mut place.tracker else { return Ok(Admitted::Stale) };
        if tracker.room() != Room::Open {
            place.refused = true;
            return Err(record);
        }
        Ok(tracker.admit(record))
    }

    /// Whether a partition holds its share of what the stage may hold, or more: where there is no room, such wait and the
    /// others go on, so that none starves.
    pub(super) fn crowds(&self, partition: &Partition) -> bool {
        let shut = self.is_shut();
        let place = self.place_of(partition).and_then(|slot| self.places.get(slot));
        let Some(tracker) = place.and_then(|place| place.tracker.as_ref()) else { return true };
        let sharers = self.trackers().count().max(1);
        let counts = tracker.counts();
        shut || counts.open.saturating_sub(counts.bodiless) >= (self.look_ahead / sharers).max(1)
            || counts.bytes >= self.memory / sharers
    }

    /// How many records and bytes may be taken in. While the stage is shut: until three keys are there to be tried.
    pub(super) fn room(&mut self) -> (usize, usize) {
        let counts = self.counts();
        let keys = if self.has_let_go { 1 } else { KEYS_WHILE_SHUT };
        let records = if self.is_shut() && counts.ready + counts.waiting >= keys {
            0
        } else {
            self.look_ahead.saturating_sub(counts.open.saturating_sub(counts.bodiless))
        };
        let bytes = self.memory.saturating_sub(counts.bytes);
        self.room_wanted = records == 0 || bytes == 0;
        (records, bytes)
    }

    /// Whether somebody waits for room who has it now, in the stage or in this place.
    pub(super) fn gives_room(&mut self, slot: usize) -> bool {
        let stage = self.room_wanted && self.room_is_back();
        let place = self.places.get_mut(slot).filter(|place| place.refused);
        let partition = place.is_some_and(|place| {
            let opens = place.tracker.as_mut().is_some_and(|tracker| tracker.room() == Room::Open);
            place.refused = !opens;
            opens
        });
        stage || partition
    }

    /// Whether records wait for room, in the stage or in one of its partitions.
    pub(super) fn lacks_room(&mut self) -> bool {
        !self.room_is_back() || self.places.iter().any(|place| place.refused && place.tracker.is_some())
    }

    /// Whether room that was wanted is there again, and some more, so that one record does not wake anybody.
    fn room_is_back(&mut self) -> bool {
        let (records, bytes) = self.room();
        let back = records >= self.look_ahead / 8 && bytes >= self.memory / 8;
        self.room_wanted = !back;
        back
    }

    pub(super) fn takes(&mut self, partition: &Partition) -> bool {
        let place = self.place_of(partition).and_then(|slot| self.places.get_mut(slot));
        let Some(place) = place else { return false };
        let takes = place.tracker.as_mut().is_some_and(|tracker| tracker.room() == Room::Open);
        place.refused = !takes;
        takes
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

    /// An assignment that has gone on for a minute forgives earlier crashes (O18).
    pub(super) fn note_progress(&mut self, now: Instant) {
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
    fn is_shut(&self) -> bool {
        self.gate.is_shut() || !self.outside.is_empty() || self.paused
    }

    /// Once the stage has been shut for long, drops the bodies that are not at work, but a few for the probes (M11). Which
    /// partitions the consumer is to be sought back in, and to where, again and again until it was; and how many bodies were
    /// dropped now.
    pub(super) fn let_go(&mut self, now: Instant) -> (usize, Vec<(Partition, i64)>) {
        let bodies = |board: &Board| board.trackers().map(|t| t.counts().open - t.counts().bodiless).sum();
        let before: usize = bodies(self);
        let mut dropped = 0;
        if !self.is_shut() {
            (self.shut_since, self.has_let_go) = (None, false);
        } else if now.saturating_duration_since(*self.shut_since.get_or_insert(now)) >= LET_GO_AFTER
            && !self.has_let_go
        {
            self.has_let_go = true;
            let (gate, mut kept) = (&self.gate, 0);
            for (slot, place) in self.places.iter_mut().enumerate() {
                let Some(tracker) = &mut place.tracker else { continue };
                tracker.let_go(|offset| {
                    let few = kept < KEYS_WHILE_SHUT;
                    kept += usize::from(few);
                    few || gate.may_want(position(slot, offset))
                });
            }
            dropped = before - bodies(self);
        }
        let places = self.places.iter();
        let detached = |place: &Place| Some((place.partition.clone(), place.tracker.as_ref()?.detached()?.0));
        (dropped, places.filter_map(detached).collect())
    }

    /// The consumer was sought back.
    pub(super) fn sought(&mut self, partition: &Partition, next: i64) {
        let place = self.place_of(partition).and_then(|slot| self.places.get_mut(slot));
        if let Some(tracker) = place.and_then(|place| place.tracker.as_mut()) {
            tracker.sought(NextOffset(next));
        }
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

    /// The topic is there after all.
    pub(super) fn topic_is_there(&mut self, topic: &str) {
        self.outside.remove(&(HoldCause::TopicMissing, topic.to_owned()));
    }

    pub(super) fn report(&self, now: Now) -> StageReport {
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
            partitions: self
                .places
                .iter()
                .filter(|place| place.tracker.is_some())
                .map(|place| place.partition.clone())
                .collect(),
            open: counts.open,
            in_flight: self.in_flight,
            limit: self.max_in_flight,
            waiting: counts.waiting,
            bytes: counts.bytes,
            oldest_timestamp: counts.oldest_timestamp,
        }
    }
}

/// The hash by which holds know a record; collisions would only try another record first.
fn position(slot: usize, offset: i64) -> u64 {
    offset.unsigned_abs().wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (slot as u64)
}
