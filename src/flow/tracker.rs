//! One partition in one assignment: which records are open, which may be taken, what may be committed. Orchestrates the
//! open set, the lanes, the queue and the suspect state; the text of a commit is `metadata`'s.
//!
//! "Done" is never stored: everything below the position that is not open is done (offsets that do not exist included).
//! So a commit costs O(incompletes), whatever lies between them. Only ranges that an earlier owner had done above the
//! position are kept, until the position passes them.

mod commit;
mod figures;
mod intake;
mod probe;
mod work;

pub use figures::Figures;
pub use probe::Candidate;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use super::lanes::{Lanes, Order};
use super::metadata::{Phase, Restored};
use super::open::{NONE, Open};
use super::position::{Epoch, NextOffset, Now};
use super::queue::Queue;
use super::room::{Limits, Room};
use super::suspect::Suspect;
use super::tried::Tried;
use crate::event::Event;
use crate::event::Rank;
use crate::outcome::{Outcome, Progress};

/// A record as it was polled.
#[derive(Debug, Clone)]
pub struct Record {
    /// The record. Allocated outside of the tracker's lock.
    pub event: Arc<Event>,
    /// The assignment in which it was polled.
    pub epoch: Epoch,
    /// Its bytes in memory: key, value, headers.
    pub bytes: usize,
    /// How urgent it is.
    pub rank: Rank,
}

/// What became of a polled record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admitted {
    /// It is open now.
    Taken,
    /// It was open, its body had been let go, and it has one again. Count it no more.
    Again,
    /// It is done, or here already. Count and drop it.
    Known,
    /// Of another assignment. Drop it.
    Stale,
    /// Bodies were let go and the seek back has not happened: it will be read again. Drop it.
    Detached,
}

/// The right to complete one taken record, once.
#[derive(Debug)]
pub struct Ticket {
    epoch: Epoch,
    slot: u32,
}

impl Ticket {
    /// The assignment.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }
}

/// A record to work on. Keep `event` until `complete` has returned and the lock is free: dropping it last frees memory.
#[derive(Debug)]
pub struct Work {
    /// The record.
    pub event: Arc<Event>,
    /// What is known of it.
    pub progress: Progress,
    /// A hash of its key (or of the record itself where it has none), for the breaker.
    pub key: u64,
    /// Whether it runs alone in the process, because its partition is suspect.
    pub lone: bool,
    /// To be handed back, also where the task was aborted or has panicked.
    pub ticket: Ticket,
}

/// What a completion changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// The record is finished.
    Terminal(Outcome),
    /// It waits for its retry and holds its lane.
    Waiting,
    /// It is ready again, behind the other keys.
    Held,
    /// It was abandoned: it is ready again, nothing counted.
    Released,
    /// It was written behind one of its lane that was not: it is written again after that one (K12).
    Repeated,
    /// Of another assignment, or forgotten because the log went back: nothing is known of it.
    Stale,
}

/// How a partition stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Records received or restored, and not terminal.
    pub open: usize,
    /// Of these: can be taken.
    pub ready: usize,
    /// Of these: taken.
    pub in_flight: usize,
    /// Of these: wait for their retry, with their body.
    pub waiting: usize,
    /// Of these: without a body, because it was let go or not polled again yet.
    pub bodiless: usize,
    /// Bytes of the bodies.
    pub bytes: usize,
    /// The time of the lowest open record, in milliseconds since 1970.
    pub oldest_timestamp: Option<i64>,
    /// Whether something has changed that no accepted commit covers.
    pub uncommitted: bool,
}

/// One partition in one assignment. No clock, no channel, no async: the caller holds the lock and passes the time.
#[derive(Debug)]
pub struct Tracker {
    epoch: Epoch,
    topic: [u8; 4],
    order: Order,
    limits: Limits,
    open: Open,
    lanes: Lanes,
    queue: Queue,
    suspect: Suspect,
    /// What an earlier owner had done at or above the position: sorted, apart from each other and from the position.
    ahead: VecDeque<Range<i64>>,
    /// Everything below is received or known to be done.
    position: i64,
    /// The next polled record is at this offset or above. Below the position after a seek back.
    cursor: i64,
    /// The lowest bodiless slot at or above the cursor.
    awaited: u32,
    /// Where `let_go` wants to be sought back to. Until then polled records are refused.
    detached: Option<NextOffset>,
    closed: bool,
    /// Tasks of earlier assignments that have not ended.
    older_tasks: usize,
    crashes: u32,
    partitions: u32,
    /// Counts what a commit would say differently, from 1.
    changes: u64,
    /// The value of `changes` that the last accepted commit covers.
    covered: u64,
    in_flight: usize,
    orphans: usize,
    waiting: usize,
    bodies: usize,
    bytes: usize,
    /// The sum of the weights of all `tried`.
    tried: usize,
    /// Characters of the last metadata.
    written: usize,
    room: Room,
}

/// Start and end of an assignment.
impl Tracker {
    /// A new assignment that goes on from what the last commit says. Nothing is taken before its first commit (which
    /// sets `open`) is accepted. `topic` is the beginning of the topic's id, zeros where the broker gives none.
    pub fn assigned(
        epoch: Epoch,
        topic: [u8; 4],
        restored: Restored,
        order: Order,
        limits: Limits,
        now: Now,
    ) -> Tracker {
        let crashes = restored.crashes.saturating_add(u32::from(restored.open));
        let mut tracker = Tracker {
            epoch,
            topic,
            order,
            limits,
            open: Open::new(),
            lanes: Lanes::default(),
            queue: Queue::default(),
            suspect: Suspect::new(&restored, crashes, limits.records),
            ahead: VecDeque::new(),
            position: restored.next.0,
            cursor: restored.next.0,
            awaited: NONE,
            detached: None,
            closed: false,
            older_tasks: 0,
            crashes,
            partitions: restored.partitions,
            changes: 1,
            covered: 0,
            in_flight: 0,
            orphans: 0,
            waiting: 0,
            bodies: 0,
            bytes: 0,
            tried: 0,
            written: 0,
            room: Room::Open,
        };
        tracker.restore(restored, now);
        tracker
    }

    /// Takes nothing until so many tasks of earlier assignments have completed here, with their old tickets.
    pub fn wait_for(&mut self, tasks: usize) {
        self.older_tasks += tasks;
    }

    /// Tickets that are out: of this assignment, and of the earlier ones that it waits for.
    pub fn tasks(&self) -> usize {
        self.in_flight + self.orphans + self.older_tasks
    }

    /// Revoke or stop: nothing is taken any more, and the next commit clears `open`.
    pub fn close(&mut self) {
        if self.closed {
            return;
        }
        self.closed = true;
        self.changes += 1;
        self.give_up_lone();
    }

    /// Another number of records with a body.
    pub fn set_record_limit(&mut self, records: usize) {
        self.limits.records = records;
    }

    /// 60 s of progress: crashes count from 0 again, unless suspect records are still open.
    pub fn progressed(&mut self) {
        if self.crashes == 0 || (self.is_suspect() && self.open.len() > 0) {
            return;
        }
        self.crashes = 0;
        self.suspect.clear();
        self.changes += 1;
    }

    fn restore(&mut self, restored: Restored, now: Now) {
        // Nobody writes rows yet: when tracking does, a row that is owed becomes an `Owed` of its own. Until then the
        // record was accepted, and that is all there is to know.
        let rows =
            restored.retries.iter().filter(|retry| retry.phase == Phase::Row).map(|retry| retry.offset);
        let mut done = restored.done;
        done.extend(rows.map(|offset| offset..offset.saturating_add(1)));
        done.sort_unstable_by_key(|range| range.start);
        for range in done {
            match self.ahead.back_mut() {
                Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
                _ => self.ahead.push_back(range),
            }
        }
        for retry in restored.retries {
            if retry.phase == Phase::Row {
                continue;
            }
            let id = self.open.insert(retry.offset, NONE);
            let tried = Tried::restored(&retry, restored.clock, self.limits.max_wait, now);
            self.tried += tried.weight;
            if let Some(slot) = self.open.get_mut(id) {
                slot.tried = Some(Box::new(tried));
            }
        }
        self.awaited = self.open.first_id();
        self.absorb();
    }
}

#[cfg(test)]
mod cases;
#[cfg(test)]
mod tests;
