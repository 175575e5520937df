//! The records that can be taken: fresh ones first come first served, retries that are due, and those not yet due.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Instant;

/// Slots that can be taken, now or at their time.
#[derive(Debug, Default)]
pub(super) struct Queue {
    ready: VecDeque<u32>,
    due: VecDeque<u32>,
    waiting: BinaryHeap<Reverse<(Instant, u32)>>,
    retry_next: bool,
}

impl Queue {
    /// Can be taken now, behind the others.
    pub(super) fn ready(&mut self, slot: u32) {
        self.ready.push_back(slot);
    }

    /// Can be taken at its time.
    pub(super) fn wait(&mut self, due: Instant, slot: u32) {
        self.waiting.push(Reverse((due, slot)));
    }

    /// When the next one is due; a past moment where one is due already.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        self.waiting.peek().map(|Reverse((due, _))| *due)
    }

    /// How many can be taken now, as far as `refresh` has been told the time.
    pub(super) fn ready_len(&self) -> usize {
        self.ready.len() + self.due.len()
    }

    /// The waiting ones whose time has come, each once.
    pub(super) fn next_due(&mut self, now: Instant) -> Option<u32> {
        let Reverse((due, slot)) = self.waiting.peek()?;
        if *due > now {
            return None;
        }
        let slot = *slot;
        self.waiting.pop();
        self.due.push_back(slot);
        Some(slot)
    }

    /// One that can be taken. Fresh records and due retries take turns where there are both, so that neither keeps the
    /// other from the slots of a slow receiver.
    pub(super) fn take(&mut self) -> Option<u32> {
        let retry = self.retry_next || self.ready.is_empty();
        let slot = if retry { self.due.pop_front() } else { None };
        let slot = slot.or_else(|| self.ready.pop_front()).or_else(|| self.due.pop_front());
        self.retry_next = !retry;
        slot
    }

    /// The first slot, of all that could be taken, that is wanted.
    pub(super) fn find(&self, wanted: impl Fn(u32) -> bool) -> Option<u32> {
        let waiting = self.waiting.iter().map(|Reverse((_, slot))| slot);
        self.ready.iter().chain(&self.due).chain(waiting).copied().find(|slot| wanted(*slot))
    }

    /// Forgets the slots that `keep` does not want.
    pub(super) fn retain(&mut self, keep: impl Fn(u32) -> bool) {
        self.ready.retain(|slot| keep(*slot));
        self.due.retain(|slot| keep(*slot));
        self.waiting.retain(|Reverse((_, slot))| keep(*slot));
    }
}
