//! A partition whose owners keep dying: the records that may be the reason run one at a time, and only after a commit
//! says so. A record that does not survive two such attempts is dead-lettered by the next owner.
//!
//! Source: reliability K10, O18; http-contract section 13, "Open and crashes".

use std::ops::Range;

use super::metadata::{Restored, Retry};

/// From this number of crashes on a partition is suspect.
const CRASHES: u32 = 3;

/// What is suspect in one assignment, and the lone record.
#[derive(Debug)]
pub(super) struct Suspect {
    /// Records below this offset run alone; 0 where the partition is not suspect.
    until: i64,
    lone: Lone,
    /// One past the highest offset that the last accepted commit names.
    reach: i64,
    /// The same of the last commit that was made, and its serial.
    made: (u64, i64),
}

/// The lone record's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lone {
    /// There is none.
    None,
    /// Chosen: a commit of this serial or a later one has to be accepted first.
    Chosen { slot: u32, serial: u64 },
    /// Taken.
    AtWork { slot: u32 },
}

/// One past the highest offset that a commit names.
pub(super) fn named(next: i64, done: &[Range<i64>], retries: &[Retry]) -> i64 {
    let done = done.last().map_or(next, |range| range.end);
    retries.last().map_or(done, |retry| done.max(retry.offset.saturating_add(1)))
}

impl Suspect {
    /// `crashes` counts the last assignment; `capacity` is how many records a partition may hold.
    pub(super) fn new(restored: &Restored, crashes: u32, capacity: usize) -> Suspect {
        let named = named(restored.next.0, &restored.done, &restored.retries);
        let capacity = i64::try_from(capacity).unwrap_or(i64::MAX);
        let until = if crashes >= CRASHES { named.saturating_add(capacity) } else { 0 };
        Suspect { until, lone: Lone::None, reach: named, made: (0, named) }
    }

    /// A commit of this serial was made, and names no offset at or above this one.
    pub(super) fn made(&mut self, serial: u64, named: i64) {
        self.made = (serial, named);
    }

    /// The commit of this serial was accepted.
    pub(super) fn accepted(&mut self, serial: u64) {
        if self.made.0 == serial {
            self.reach = self.made.1;
        }
    }

    /// One past the highest offset that the last accepted commit names.
    pub(super) fn reach(&self) -> i64 {
        self.reach
    }

    /// Whether records run one at a time: while one below the limit is open, or may still come.
    pub(super) fn is_suspect(&self, lowest_open: Option<i64>, position: i64) -> bool {
        self.lone != Lone::None || lowest_open.unwrap_or(position).min(position) < self.until
    }

    pub(super) fn lone(&self) -> Lone {
        self.lone
    }

    pub(super) fn set_lone(&mut self, lone: Lone) {
        self.lone = lone;
    }

    /// The slot's record is not at work or is gone.
    pub(super) fn ended(&mut self, slot: u32) {
        if matches!(self.lone, Lone::Chosen { slot: lone, .. } | Lone::AtWork { slot: lone } if lone == slot)
        {
            self.lone = Lone::None;
        }
    }

    /// Nothing is suspect any more.
    pub(super) fn clear(&mut self) {
        self.until = 0;
    }
}
