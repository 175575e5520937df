//! One partition in one assignment: which records are open, which may be taken, what may be committed.

use std::sync::Arc;
use std::time::Instant;

use super::lanes::Order;
use super::metadata::Restored;
use super::position::{Commit, Epoch, NextOffset, Now};
use super::room::{Limits, Room};
use crate::event::Event;
use crate::outcome::{Outcome, Progress, Verdict};

/// A record as it was polled.
#[derive(Debug, Clone)]
pub struct Record {
    /// The record. Allocated outside of the tracker's lock.
    pub event: Arc<Event>,
    /// The assignment in which it was polled.
    pub epoch: Epoch,
    /// Its bytes in memory: key, value, headers.
    pub bytes: usize,
}

/// What became of a polled record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admitted {
    /// It is open now.
    Taken,
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
    generation: u32,
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
    /// To be handed back, also where the task was aborted.
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
    /// Of another assignment, or forgotten because the log went back: nothing changed.
    Stale,
}

/// How a partition stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Records received or restored, and not terminal.
    pub open: usize,
    /// Of these: can be taken now.
    pub ready: usize,
    /// Of these: taken.
    pub in_flight: usize,
    /// Of these: wait for their retry.
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
pub struct Tracker {}

impl Tracker {
    /// A new assignment that goes on from what the last commit says. Nothing is taken before its first commit (which
    /// sets `open`) is accepted.
    pub fn assigned(
        _epoch: Epoch,
        _topic: [u8; 4],
        _restored: Restored,
        _order: Order,
        _limits: Limits,
        _now: Now,
    ) -> Tracker {
        unimplemented!()
    }

    /// Takes nothing until so many tasks of earlier assignments have completed (with their old tickets) here.
    pub fn wait_for(&mut self, _tasks: usize) {
        unimplemented!()
    }

    /// Tickets that are out, of this assignment and of earlier ones that it waits for.
    pub fn tasks(&self) -> usize {
        unimplemented!()
    }

    /// Takes a polled record in. Always: the room is asked for apart.
    pub fn admit(&mut self, _record: Record) -> Admitted {
        unimplemented!()
    }

    /// Whether to go on polling this partition.
    pub fn room(&mut self) -> Room {
        unimplemented!()
    }

    /// The head of a free lane, or a retry that is due. In a suspect partition: one at a time, and only after a commit
    /// that names it was accepted.
    pub fn take(&mut self, _now: Now) -> Option<Work> {
        unimplemented!()
    }

    /// As `take`, but where nothing is ready the retry that is due first, before its time: for a probe.
    pub fn take_probe(&mut self, _now: Now) -> Option<Work> {
        unimplemented!()
    }

    /// Applies a verdict.
    pub fn complete(&mut self, _ticket: Ticket, _verdict: Verdict) -> Applied {
        unimplemented!()
    }

    /// When the next retry is due.
    pub fn wake_at(&self) -> Option<Instant> {
        unimplemented!()
    }

    /// What to commit; `None` where nothing has changed since the last accepted one. One at a time is outstanding.
    pub fn commit(&mut self, _now: Now) -> Option<Commit> {
        unimplemented!()
    }

    /// The broker has accepted that commit. One of another assignment changes nothing.
    pub fn accepted(&mut self, _epoch: Epoch, _serial: u64) {
        unimplemented!()
    }

    /// Whether a commit is waited for: the first of an assignment, or one that names a lone attempt. Do not wait for
    /// the tick.
    pub fn commit_is_urgent(&self) -> bool {
        unimplemented!()
    }

    /// M11: drops the bodies that are not at work. `Some`: seek back to there (at resume), then call `sought`; until
    /// then polled records are refused.
    pub fn let_go(&mut self) -> Option<NextOffset> {
        unimplemented!()
    }

    /// The consumer was moved on purpose: the next polled record is at this offset or above. Repeats are not taken twice.
    pub fn sought(&mut self, _next: NextOffset) {
        unimplemented!()
    }

    /// No record below this offset will come any more (end of the partition reached): what waits for its body there was
    /// compacted away.
    pub fn passed(&mut self, _next: NextOffset) {
        unimplemented!()
    }

    /// Revoke or stop: nothing is taken any more, and the next commit clears `open`.
    pub fn close(&mut self) {
        unimplemented!()
    }

    /// The broker takes less text than thought.
    pub fn set_metadata_limit(&mut self, _characters: usize) {
        unimplemented!()
    }

    /// 60 s of progress: crashes count from 0 again, unless suspect records are still open.
    pub fn progressed(&mut self) {
        unimplemented!()
    }

    /// Whether records run one at a time here. The caller then holds the process's one lone permit while `lone` is true
    /// or `take` is called.
    pub fn is_suspect(&self) -> bool {
        unimplemented!()
    }

    /// Whether a lone record is chosen or at work.
    pub fn lone(&self) -> bool {
        unimplemented!()
    }

    /// Figures for metrics and the API.
    pub fn counts(&self) -> Counts {
        unimplemented!()
    }
}
