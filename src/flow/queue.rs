//! The records that can be taken: fresh ones first come first served, retries that are due, and those not yet due.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Instant;

use crate::event::Rank;

/// Slots that can be taken, now or at their time; the more urgent first.
#[derive(Debug, Default)]
pub(super) struct Queue {
    now: [Turns; Rank::ALL.len()],
    waiting: BinaryHeap<Reverse<(Instant, u32, Rank)>>,
}

/// Slots of one rank.
#[derive(Debug, Default)]
struct Turns {
    ready: VecDeque<u32>,
    due: VecDeque<u32>,
    retry_next: bool,
}

impl Turns {
    fn len(&self) -> usize {
        self.ready.len() + self.due.len()
    }

    /// Fresh records and due retries take turns where there are both, so that neither keeps the other from the slots of a
    /// slow receiver.
    fn take(&mut self) -> Option<u32> {
        let retry = self.retry_next || self.ready.is_empty();
        let slot = if retry { self.due.pop_front() } else { None };
        let slot = slot.or_else(|| self.ready.pop_front()).or_else(|| self.due.pop_front());
        self.retry_next = !retry;
        slot
    }
}

impl Queue {
    /// Can be taken now, behind the others of its rank.
    pub(super) fn ready(&mut self, slot: u32, rank: Rank) {
        self.turns(rank).ready.push_back(slot);
    }

    /// Can be taken at its time.
    pub(super) fn wait(&mut self, due: Instant, slot: u32, rank: Rank) {
        self.waiting.push(Reverse((due, slot, rank)));
    }

    fn turns(&mut self, rank: Rank) -> &mut Turns {
        let [critical, high, normal, low] = &mut self.now;
        match rank {
            Rank::Critical => critical,
            Rank::High => high,
            Rank::Normal => normal,
            Rank::Low => low,
        }
    }

    /// When the next one is due; a past moment where one is due already.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        self.waiting.peek().map(|Reverse((due, ..))| *due)
    }

    /// How many can be taken now, as far as `next_due` has been told the time.
    pub(super) fn ready_len(&self) -> usize {
        self.now.iter().map(Turns::len).sum()
    }

    /// The rank of the one that is taken next, as far as `next_due` has been told the time.
    pub(super) fn rank(&self) -> Option<Rank> {
        Rank::ALL.into_iter().zip(&self.now).find(|(_, turns)| turns.len() > 0).map(|(rank, _)| rank)
    }

    /// The waiting ones whose time has come, each once.
    pub(super) fn next_due(&mut self, now: Instant) -> Option<u32> {
        let Reverse((due, slot, rank)) = *self.waiting.peek()?;
        if due > now {
            return None;
        }
        self.waiting.pop();
        self.turns(rank).due.push_back(slot);
        Some(slot)
    }

    /// One that can be taken: of the most urgent rank that there is.
    pub(super) fn take(&mut self) -> Option<u32> {
        self.now.iter_mut().find_map(Turns::take)
    }

    /// The first slot, of all that could be taken, that is wanted.
    pub(super) fn find(&self, wanted: impl Fn(u32) -> bool) -> Option<u32> {
        let now = self.now.iter().flat_map(|turns| turns.ready.iter().chain(&turns.due));
        let waiting = self.waiting.iter().map(|Reverse((_, slot, _))| slot);
        now.chain(waiting).copied().find(|slot| wanted(*slot))
    }

    /// Forgets the slots that `keep` does not want.
    pub(super) fn retain(&mut self, keep: impl Fn(u32) -> bool) {
        for turns in &mut self.now {
            turns.ready.retain(|slot| keep(*slot));
            turns.due.retain(|slot| keep(*slot));
        }
        self.waiting.retain(|Reverse((_, slot, _))| keep(*slot));
    }
}
