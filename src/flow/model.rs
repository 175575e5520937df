//! A naive model of a partition and its owners: it keeps every record in a list, the truth about each, and what the last
//! accepted commit knew. It plays a random history against real trackers and says what they did wrong.

macro_rules! check {
    ($condition:expr, $($text:tt)+) => { if !$condition { return Err(format!($($text)+)); } };
}

mod history;
mod judge;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

pub(super) use history::{Ending, Mutant, Op, ops};

use super::metadata::{self, Decoded, Phase, Restored};
use super::{Admitted, Applied, Commit, Epoch, Limits, NextOffset, Now, Order, Record, Room, Tracker, Work};
use crate::event::Rank;
use crate::event::{Body, Event, Origin, Topic};
use crate::outcome::{Answer, BodyEnd, Code, HoldCause, Outcome, Owed, Progress, Reason, Verdict};

/// What is known of one record.
#[derive(Debug, Clone, Default, PartialEq)]
struct Known {
    attempts: u32,
    /// The phase of the metadata: 0 to try, 1 a dead letter owed.
    dead_letter: Option<(Reason, Code)>,
}

/// What one view knows.
#[derive(Debug, Clone, Default)]
struct Knowledge {
    done: BTreeSet<i64>,
    tried: BTreeMap<i64, Known>,
}

/// The accepted commit, and what was known when it was built.
#[derive(Debug, Clone)]
struct Stored {
    next: NextOffset,
    text: String,
    knew: Knowledge,
}

pub(super) struct World {
    mutant: Mutant,
    order: Order,
    limits: Limits,
    topic: Arc<Topic>,
    now: Now,
    /// The records that exist, by offset.
    log: BTreeMap<i64, Option<Bytes>>,
    end: i64,
    stored: Stored,
    tracker: Tracker,
    epoch: Epoch,
    /// What this assignment should know.
    knows: Knowledge,
    /// The next offset to poll.
    fetch: i64,
    /// Polled so far in this assignment: one past the highest.
    position: i64,
    /// Polled, and perhaps let go since.
    bodiless: BTreeSet<i64>,
    detached: bool,
    seek: Option<NextOffset>,
    compacted: bool,
    works: Vec<Work>,
    /// With the producer, and not ended (K12).
    handed_over: BTreeSet<i64>,
    /// The lanes that stand until all that is with the producer has ended, and since the failure of which offset.
    standing: BTreeMap<Option<Bytes>, i64>,
    /// Forgotten by a rewind, and of earlier assignments.
    orphans: Vec<Work>,
    old: Vec<Work>,
    late: Option<Record>,
    outstanding: Option<(Commit, Knowledge)>,
    before: Option<Commit>,
    /// The assignment of the last accepted commit.
    accepted: Epoch,
    /// What has happened: a history in which nothing does proves nothing.
    pub(super) seen: BTreeSet<&'static str>,
}

type Checked = Result<(), String>;

const TOPIC: [u8; 4] = [1, 2, 3, 4];

impl World {
    pub(super) fn new(order: Order, limits: Limits, mutant: Mutant) -> World {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600);
        let now = Now { mono: crate::telemetry::clock::now(), wall };
        let topic = Topic { cluster: "c".into(), name: "t".into(), id: None };
        let stored = Stored { next: NextOffset(0), text: String::new(), knew: Knowledge::default() };
        let restored = Restored::fresh(NextOffset(0), 3);
        World {
            mutant,
            order,
            limits,
            topic: Arc::new(topic),
            now,
            log: BTreeMap::new(),
            end: 0,
            stored,
            tracker: Tracker::assigned(Epoch(1), TOPIC, restored, order, limits, now),
            epoch: Epoch(1),
            knows: Knowledge::default(),
            fetch: 0,
            position: 0,
            bodiless: BTreeSet::new(),
            detached: false,
            seek: None,
            compacted: false,
            works: Vec::new(),
            handed_over: BTreeSet::new(),
            standing: BTreeMap::new(),
            orphans: Vec::new(),
            old: Vec::new(),
            late: None,
            outstanding: None,
            before: None,
            accepted: Epoch(0),
            seen: BTreeSet::new(),
        }
    }

    pub(super) fn step(&mut self, op: &Op) -> Checked {
        match op {
            Op::Produce(records) => self.produce(records),
            Op::Compact(which) => {
                let unread = self.log.range(self.fetch..).map(|(offset, _)| *offset);
                let unread =
                    unread.filter(|offset| *offset >= self.position || self.bodiless.contains(offset));
                let unread: Vec<i64> = unread.collect();
                if let Some(offset) = unread.get(which % unread.len().max(1)) {
                    self.log.remove(offset);
                    self.compacted = true;
                }
            }
            Op::Poll(count) => self.poll((*count).into())?,
            Op::Late => self.admit_late()?,
            Op::Take(count) => {
                for _ in 0..*count {
                    self.take()?;
                }
            }
            Op::HandOver(which) if !self.works.is_empty() => self.hand_over(which % self.works.len())?,
            Op::HandOver(_) => {}
            Op::Finish(which, ending) if !self.works.is_empty() => {
                let work = self.works.swap_remove(which % self.works.len());
                self.finish(work, *ending)?;
            }
            Op::Finish(..) => {}
            Op::FinishOld(ending) => {
                if let Some(work) = self.old.pop().or_else(|| self.orphans.pop()) {
                    self.finish_stale(work, *ending)?;
                }
            }
            Op::Advance(seconds) => self.advance((*seconds).into()),
            Op::Commit => self.commit()?,
            Op::Answer(accepted) => self.answer(*accepted),
            Op::LetGo => {
                let keeps = |offset: i64| offset % 3 == 0;
                let heads = self.tracker.candidates().map(|head| head.offset);
                let mut kept: BTreeSet<i64> = heads.filter(|offset| keeps(*offset)).collect();
                let standing = self
                    .log
                    .iter()
                    .filter(|(_, key)| self.lane(key).is_some_and(|lane| self.standing.contains_key(&lane)));
                kept.extend(standing.map(|(offset, _)| *offset));
                self.seek = self.tracker.let_go(keeps).or(self.seek);
                self.detached |= self.seek.is_some();
                let open = self.log.range(..self.position).map(|(offset, _)| *offset);
                let works = &self.works;
                let at_work = |offset: i64| works.iter().any(|work| work.event.origin.offset == offset);
                self.bodiless = open.filter(|offset| !at_work(*offset) && !kept.contains(offset)).collect();
            }
            Op::Resume => self.resume(),
            Op::Rewind(by) => self.rewind((*by).into()),
            Op::Revoke { drained, accepted } => self.revoke(*drained, *accepted)?,
            Op::Lost => {
                self.outstanding = None;
                self.assign(false)?;
            }
            Op::Crash { accepted } => {
                self.answer(*accepted);
                (self.works, self.orphans, self.old, self.late) = (vec![], vec![], vec![], None);
                self.assign(true)?;
            }
            Op::Progress => self.tracker.progressed(),
            Op::Reorder(order) => self.reorder(*order)?,
        }
        self.invariants()
    }

    /// Everything ends well: after any history all records are finished, and the commit is the end of the log.
    pub(super) fn drain(&mut self) -> Checked {
        while let Some(work) = self.old.pop().or_else(|| self.orphans.pop()) {
            self.finish_stale(work, Ending::Abandoned)?;
        }
        for _ in 0..4 * self.log.len() + 40 {
            self.answer(true);
            self.resume();
            self.poll(50)?;
            if self.log.range(self.fetch..).next().is_none() && !self.detached {
                self.tracker.passed(NextOffset(self.end));
                self.position = self.end;
            }
            self.advance(90);
            for _ in 0..20 {
                self.take()?;
            }
            while let Some(work) = self.works.pop() {
                self.finish(work, Ending::Done)?;
            }
            self.commit()?;
            self.invariants()?;
            if self.stored.next.0 == self.end {
                return Ok(());
            }
        }
        let (counts, room) = (self.tracker.counts(), self.tracker.room());
        Err(format!("stuck at {:?} of {}: {counts:?}, {room:?}", self.stored.next, self.end))
    }

    fn produce(&mut self, records: &[(u8, u8)]) {
        for (key, gap) in records {
            self.end += i64::from(*gap);
            let key = if *key < 6 { Some(Bytes::from(vec![*key; usize::from(*key)])) } else { None };
            self.log.insert(self.end, key);
            self.end += 1;
        }
    }

    fn record(&self, offset: i64, key: Option<Bytes>) -> Record {
        let origin = Origin { topic: Arc::clone(&self.topic), partition: 7, offset, timestamp: Some(offset) };
        let event = Event { origin, key, headers: vec![], body: Body::Raw(None), part: 0 };
        // Whatever its rank: what is promised does not depend on it.
        let rank = Rank::ALL[(offset.unsigned_abs() % 4) as usize];
        Record { event: Arc::new(event), epoch: self.epoch, bytes: 100, rank }
    }

    fn poll(&mut self, count: usize) -> Checked {
        for _ in 0..count {
            if let Room::Full(why) = self.tracker.room() {
                self.seen.insert(match why {
                    super::Why::Metadata => "full of metadata",
                    super::Why::Records => "full of records",
                    super::Why::Bytes => "full of bytes",
                });
                return Ok(());
            }
            let Some((offset, key)) = self.log.range(self.fetch..).next().map(|(o, k)| (*o, k.clone()))
            else {
                return Ok(());
            };
            let record = self.record(offset, key);
            self.late = Some(record.clone());
            let admitted = self.tracker.admit(record);
            if self.detached {
                check!(admitted == Admitted::Detached, "{offset} was {admitted:?} while detached");
                continue;
            }
            let done = self.knows.done.contains(&offset);
            check!(!done || admitted == Admitted::Known, "{offset} is done and was {admitted:?}");
            self.bodiless.remove(&offset);
            let seen = offset < self.position;
            self.seen.insert(match (done, admitted, seen) {
                (true, ..) => "done was polled",
                (false, Admitted::Again, true) => "body came back",
                _ => "polled",
            });
            check!(done || seen || admitted == Admitted::Taken, "{offset} is new and was {admitted:?}");
            self.fetch = offset + 1;
            self.position = self.position.max(self.fetch);
        }
        Ok(())
    }

    fn admit_late(&mut self) -> Checked {
        let Some(mut record) = self.late.take().filter(|record| record.epoch != self.epoch) else {
            return Ok(());
        };
        if self.mutant == Mutant::AdmitsOldEpoch {
            record.epoch = self.epoch;
            self.tracker.admit(record);
            return Ok(());
        }
        let before = format!("{:?}", self.tracker);
        check!(self.tracker.admit(record) == Admitted::Stale, "an old record was admitted");
        check!(before == format!("{:?}", self.tracker), "an old record changed something");
        Ok(())
    }

    fn take(&mut self) -> Checked {
        let suspect = self.tracker.is_suspect();
        let Some(work) = self.tracker.take(self.now) else { return Ok(()) };
        let origin = &work.event.origin;
        let offset = origin.offset;
        check!(self.old.is_empty(), "{offset} was taken while a task of an old assignment runs");
        check!(self.log.contains_key(&offset), "{offset} was taken and does not exist");
        check!(!self.knows.done.contains(&offset), "{offset} is done and was taken");
        let known = self.knows.tried.get(&offset).cloned().unwrap_or_default();
        let dead_letter = match &work.progress.owed {
            Owed::DeadLetter { reason, code, .. } => Some((*reason, *code)),
            Owed::Attempt | Owed::Publish(_) => None,
        };
        let has = Known { attempts: work.progress.attempts, dead_letter };
        check!(has == known, "{offset} has {has:?}, expected {known:?}");
        check!(work.lone == suspect, "{offset} lone: {}", work.lone);
        check!(!suspect || self.works.is_empty(), "{offset} is not alone");
        check!(self.accepted == self.epoch, "{offset} was taken before the first commit");
        if work.lone && dead_letter.is_none() {
            let next = self.stored.next;
            let begun = match metadata::decode(self.stored.text.as_bytes(), next, TOPIC) {
                Decoded::Restored(read) => read.retries.iter().any(|entry| {
                    entry.offset == offset && matches!(entry.phase, Phase::FirstLone | Phase::SecondLone)
                }),
                Decoded::Empty(_) | Decoded::OtherTopic => false,
            };
            self.seen.insert("lone");
            check!(begun || self.limits.metadata < 200, "{offset} is not committed as begun");
        }
        if work.progress.restored {
            self.seen.insert("restored");
        }
        let lane = self.lane(&work.event.key);
        let same_lane = |key: &Option<Bytes>| lane.is_some() && self.lane(key) == lane;
        let is_out = |offset: &i64| self.handed_over.contains(offset);
        let stands = lane.as_ref().and_then(|lane| self.standing.get(lane));
        check!(stands.is_none(), "{offset} is taken out of a lane that stands since {stands:?}");
        let mut running = self.works.iter().filter(|other| !is_out(&other.event.origin.offset));
        let running = running.find(|other| same_lane(&other.event.key));
        let running = running.or_else(|| self.orphans.iter().find(|other| same_lane(&other.event.key)));
        check!(running.is_none(), "{offset} shares its key with {running:?}");
        let mut lower = self.log.range(self.stored.next.0..offset);
        let lower =
            lower.find(|(lower, key)| same_lane(key) && !is_out(lower) && !self.knows.done.contains(lower));
        check!(lower.is_none(), "{offset} overtakes {lower:?}");
        self.works.push(work);
        Ok(())
    }

    /// Which records keep their order: those of one lane. `None`: it has none to keep.
    fn lane(&self, key: &Option<Bytes>) -> Option<Option<Bytes>> {
        match self.order {
            Order::Key => key.is_some().then(|| key.clone()),
            Order::Partition => Some(None),
            Order::None => None,
        }
    }

    fn hand_over(&mut self, which: usize) -> Checked {
        let event = Arc::clone(&self.works[which].event);
        let next = self.tracker.hand_over(&self.works[which].ticket);
        let (offset, lane) = (event.origin.offset, self.lane(&event.key));
        let stands = lane.as_ref().is_some_and(|lane| self.standing.contains_key(lane));
        check!(!next || (lane.is_some() && !stands), "{offset} frees one behind it");
        if next {
            self.seen.insert("handed over");
        }
        if lane.is_some() {
            self.handed_over.insert(offset);
        }
        Ok(())
    }

    /// What is out of a lane that stands is waited for, all of it.
    fn stop(&mut self, lane: &Option<Bytes>, failed: i64) {
        let since = self.standing.entry(lane.clone()).or_insert(i64::MAX);
        *since = failed.min(*since);
        let at_work = self.works.iter().filter(|work| self.lane(&work.event.key).as_ref() == Some(lane));
        let at_work: Vec<i64> = at_work.map(|work| work.event.origin.offset).collect();
        self.handed_over.extend(at_work);
    }

    /// One has ended: a lane stands only for what is out.
    fn ended(&mut self, key: &Option<Bytes>) {
        let Some(lane) = self.lane(key) else { return };
        let mut out = self.works.iter().chain(&self.orphans);
        if !out.any(|work| self.lane(&work.event.key).as_ref() == Some(&lane)) {
            self.standing.remove(&lane);
        }
    }

    fn verdict(&self, work: &Work, ending: Ending) -> Verdict {
        let mut progress = work.progress.clone();
        progress.first_try.get_or_insert(self.now.wall);
        let again = |wait: u16, progress: Progress| Verdict::Again {
            due: self.now.mono + Duration::from_secs(wait.into()),
            progress,
        };
        match ending {
            Ending::Done => Verdict::Done(Outcome::Delivered),
            Ending::Again(wait) => {
                progress.attempts += 1;
                again(wait, progress)
            }
            Ending::DeadLetterOwed => {
                let (reason, code) = (Reason::Exhausted, Code::Timeout);
                progress.owed = Owed::DeadLetter { reason, code, failure: None };
                again(5, progress)
            }
            Ending::PublishOwed => {
                progress.attempts += 1;
                let body_end = BodyEnd::Complete;
                let answer = Answer { status: 200, headers: vec![], body: Bytes::new(), body_end };
                progress.owed = Owed::Publish(Box::new(answer));
                again(5, progress)
            }
            Ending::Hold => Verdict::Hold {
                cause: HoldCause::Auth,
                message: String::new(),
                progress: work.progress.clone(),
            },
            Ending::Abandoned => Verdict::Abandoned,
        }
    }

    fn finish(&mut self, work: Work, ending: Ending) -> Checked {
        let verdict = self.verdict(&work, ending);
        let (offset, key) = (work.event.origin.offset, work.event.key.clone());
        let lane = self.lane(&key).filter(|_| self.handed_over.remove(&offset));
        let stands = lane.as_ref().and_then(|lane| self.standing.get(lane));
        let repeats = ending == Ending::Done && stands.is_some_and(|failed| *failed < offset);
        if let Some(lane) = lane.filter(|_| ending != Ending::Done) {
            self.stop(&lane, offset);
        }
        match &verdict {
            Verdict::Done(_) if repeats => {
                self.seen.insert("repeated");
            }
            Verdict::Done(_) => {
                self.knows.done.insert(offset);
                self.knows.tried.remove(&offset);
            }
            Verdict::Again { progress, .. } => {
                let dead_letter = match &progress.owed {
                    Owed::DeadLetter { reason, code, .. } => Some((*reason, *code)),
                    Owed::Attempt | Owed::Publish(_) => None,
                };
                self.knows.tried.insert(offset, Known { attempts: progress.attempts, dead_letter });
            }
            Verdict::Hold { .. } | Verdict::Abandoned => {}
        }
        let applied = self.tracker.complete(work.ticket, verdict);
        self.ended(&key);
        let expected = match ending {
            Ending::Done if repeats => Applied::Repeated,
            Ending::Done => Applied::Terminal(Outcome::Delivered),
            Ending::Again(_) | Ending::DeadLetterOwed | Ending::PublishOwed => Applied::Waiting,
            Ending::Hold => Applied::Held,
            Ending::Abandoned => Applied::Released,
        };
        check!(applied == expected, "{offset} {ending:?}: {applied:?}");
        Ok(())
    }

    fn finish_stale(&mut self, work: Work, ending: Ending) -> Checked {
        let verdict = self.verdict(&work, ending);
        // A lane that stood for it begins again: its head can be taken, now or at its time.
        let counts = |tracker: &Tracker| super::Counts { ready: 0, waiting: 0, ..tracker.counts() };
        let before = counts(&self.tracker);
        let applied = self.tracker.complete(work.ticket, verdict);
        self.ended(&work.event.key);
        self.seen.insert("stale completion");
        check!(applied == Applied::Stale, "a stale completion was {applied:?}");
        check!(before == counts(&self.tracker), "a stale completion changed {before:?}");
        Ok(())
    }

    fn commit(&mut self) -> Checked {
        if self.outstanding.is_some() {
            return Ok(());
        }
        let Some(commit) = self.tracker.commit(self.now) else {
            return Ok(());
        };
        let (commit, knew) = self.judge(commit, true)?;
        self.outstanding = Some((commit, knew));
        Ok(())
    }

    fn answer(&mut self, accepted: bool) {
        if let Some((commit, knew)) = self.outstanding.take().filter(|_| accepted) {
            self.tracker.accepted(commit.epoch, commit.serial);
            self.accepted = commit.epoch;
            if commit.cut != metadata::Cut::default() {
                self.seen.insert("cut");
            }
            self.stored = Stored { next: commit.next, text: commit.metadata, knew };
        }
    }

    fn resume(&mut self) {
        if let Some(seek) = self.seek.take() {
            self.tracker.sought(seek);
            self.fetch = seek.0;
            self.detached = false;
        }
    }

    fn rewind(&mut self, by: usize) {
        let Some(offset) = self.log.range(..self.fetch).rev().map(|(offset, _)| *offset).nth(by) else {
            return;
        };
        // An honest consumer is not moved below what was committed.
        if self.detached
            || offset < self.stored.next.0
            || self.outstanding.is_some()
            || self.tracker.room() != Room::Open
        {
            return;
        }
        let record = self.record(offset, self.log[&offset].clone());
        self.tracker.admit(record);
        (self.fetch, self.position) = (offset + 1, offset + 1);
        self.knows.done.retain(|done| *done < offset);
        self.knows.tried.retain(|tried, _| *tried < offset);
        let (orphans, works) = self.works.drain(..).partition(|work| work.event.origin.offset >= offset);
        self.works = works;
        self.orphans.extend::<Vec<_>>(orphans);
        self.handed_over.retain(|handed| *handed < offset);
        let lanes: Vec<_> = self.orphans.iter().filter_map(|work| self.lane(&work.event.key)).collect();
        for lane in lanes {
            self.stop(&lane, i64::MAX);
        }
    }

    fn revoke(&mut self, drained: bool, accepted: bool) -> Checked {
        self.answer(true);
        self.tracker.close();
        check!(self.tracker.take(self.now).is_none(), "taken after close");
        while let Some(work) = self.works.pop_if(|_| drained) {
            self.finish(work, Ending::Done)?;
        }
        if let Some(commit) = self.tracker.commit(self.now) {
            self.outstanding = Some(self.judge(commit, false)?);
        }
        self.answer(accepted);
        self.outstanding = None;
        self.assign(false)
    }

    /// A new assignment; in the same process the tasks of the old one go on for a while.
    fn assign(&mut self, other_process: bool) -> Checked {
        let tasks = self.tracker.tasks();
        self.old.append(&mut self.works);
        self.old.append(&mut self.orphans);
        (self.handed_over, self.standing) = (BTreeSet::new(), BTreeMap::new());
        self.epoch = Epoch(self.epoch.0 + 1);
        self.knows = self.stored.knew.clone();
        let next = self.stored.next;
        let restored = match metadata::decode(self.stored.text.as_bytes(), next, TOPIC) {
            Decoded::Restored(restored) => restored,
            other => {
                check!(self.stored.text.is_empty(), "{other:?}: {}", self.stored.text);
                Restored::fresh(next, 3)
            }
        };
        self.tracker = Tracker::assigned(self.epoch, TOPIC, restored, self.order, self.limits, self.now);
        if !other_process && self.mutant != Mutant::WaitsForNoTask {
            self.tracker.wait_for(tasks);
            check!(self.tracker.tasks() == self.old.len(), "{tasks} tasks, {} out", self.old.len());
        }
        (self.fetch, self.position) = (next.0, next.0);
        self.bodiless.clear();
        (self.detached, self.seek, self.before) = (false, None, None);
        Ok(())
    }

    fn advance(&mut self, seconds: u64) {
        self.now.mono += Duration::from_secs(seconds);
        self.now.wall += Duration::from_secs(seconds);
    }

    /// The figures add up.
    fn invariants(&mut self) -> Checked {
        let counts = self.tracker.counts();
        check!(counts.in_flight == self.works.len(), "{counts:?}, {} at work", self.works.len());
        check!(counts.bytes == 100 * (counts.open - counts.bodiless), "{counts:?}");
        check!(counts.open >= counts.in_flight + counts.waiting + counts.bodiless, "{counts:?}");
        Ok(())
    }
}
