//! Commits: offset and metadata of one view, and the figures.

use std::ops::Range;

use super::{Counts, Tracker};
use crate::flow::metadata::{self, Cut, Retry};
use crate::flow::position::{Commit, Epoch, NextOffset, Now};
use crate::flow::suspect::{self, Lone};

impl Tracker {
    /// What to commit; `None` where nothing has changed since the last accepted one. One at a time is outstanding.
    pub fn commit(&mut self, now: Now) -> Option<Commit> {
        if self.covered == self.changes {
            return None;
        }
        let done = self.done();
        let retries: Vec<Retry> =
            self.open.iter().filter_map(|slot| slot.tried.as_ref()?.entry(slot.offset, now)).collect();
        let base = self.base();
        let view = metadata::View {
            topic: self.topic,
            base,
            partitions: self.partitions,
            crashes: self.crashes,
            open: !self.closed,
            clock: now.unix_seconds(),
            done: &done,
            retries: &retries,
        };
        let (metadata, cut) = view.encode(self.limits.metadata);
        self.written = metadata.len();
        let named = if cut == Cut::default() { suspect::named(base, &done, &retries) } else { base };
        self.suspect.made(self.changes, named);
        Some(Commit { epoch: self.epoch, next: NextOffset(base), metadata, serial: self.changes, cut })
    }

    /// The broker has accepted that commit. One of another assignment changes nothing.
    pub fn accepted(&mut self, epoch: Epoch, serial: u64) {
        if epoch == self.epoch {
            self.covered = self.covered.max(serial.min(self.changes));
            self.suspect.accepted(serial);
        }
    }

    /// Whether work waits for a commit: the first of an assignment, or one that names a lone attempt. Not to be put off
    /// until the tick.
    pub fn commit_is_urgent(&self) -> bool {
        let chosen = matches!(self.suspect.lone(), Lone::Chosen { serial, .. } if serial > self.covered);
        !self.closed && (self.covered == 0 || chosen || self.runs_ahead())
    }

    /// Whether nothing more is started before a commit is accepted: after a crash no record runs further above what the
    /// last one names than a partition may hold. Else the next owner could not tell where to look for the reason (K10).
    pub(super) fn runs_ahead(&self) -> bool {
        let ahead = self.position.saturating_sub(self.suspect.reach());
        let holds = i64::try_from(self.limits.records).unwrap_or(i64::MAX);
        self.crashes > 0 && self.covered < self.changes && ahead > holds
    }

    /// Figures for metrics and the API.
    pub fn counts(&self) -> Counts {
        let oldest = self.open.first().map(|slot| slot.timestamp);
        Counts {
            open: self.open.len(),
            ready: self.queue.ready_len(),
            in_flight: self.in_flight,
            waiting: self.waiting,
            bodiless: self.open.len() - self.bodies,
            bytes: self.bytes,
            oldest_timestamp: oldest.filter(|timestamp| *timestamp != i64::MIN),
            uncommitted: self.covered != self.changes,
        }
    }

    /// The lowest offset that is not known to be done.
    pub(super) fn base(&self) -> i64 {
        self.open.first().map_or(self.position, |slot| slot.offset.min(self.position))
    }

    /// What is done above the base: the gaps between the open records below the position, and what is known ahead.
    fn done(&self) -> Vec<Range<i64>> {
        let mut done = Vec::new();
        let mut at = self.base();
        for slot in self.open.iter().take_while(|slot| slot.offset < self.position) {
            if slot.offset > at {
                done.push(at..slot.offset);
            }
            at = slot.offset + 1;
        }
        if self.position > at {
            done.push(at..self.position);
        }
        done.extend(self.ahead.iter().cloned());
        done
    }
}
