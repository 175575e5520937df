//! Work: which record is taken next, and what a verdict does to it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Applied, Ticket, Tracker, Work};
use crate::flow::open::State;
use crate::flow::position::Now;
use crate::flow::suspect::Lone;
use crate::flow::tried::Tried;
use crate::outcome::{Owed, Progress, Verdict};

impl Tracker {
    /// The head of a free lane, or a retry that is due. In a suspect partition: one at a time, and only after a commit
    /// that names it was accepted; the call that chooses it returns `None`.
    pub fn take(&mut self, now: Now) -> Option<Work> {
        if !self.gives() {
            return None;
        }
        while let Some(id) = self.queue.next_due(now.mono) {
            self.waiting -= 1;
            if let Some(slot) = self.open.get_mut(id) {
                slot.state = State::Ready;
            }
        }
        if self.is_suspect() {
            return self.pick_lone(now);
        }
        if self.runs_ahead() {
            return None;
        }
        let id = self.queue.take()?;
        self.start(id, false)
    }

    /// When the next retry is due; `None` where none waits or nothing is taken any more.
    pub fn wake_at(&self) -> Option<Instant> {
        if self.closed { None } else { self.queue.wake_at() }
    }

    /// Whether records run one at a time here. The caller then calls `take` only while it holds the process's one lone
    /// permit, and keeps that until `lone` is false.
    pub fn is_suspect(&self) -> bool {
        self.suspect.is_suspect(self.open.first().map(|slot| slot.offset), self.position)
    }

    /// Whether it gives records out: it is open, its first commit was accepted, and no task of an earlier assignment is
    /// still at work.
    pub fn gives(&self) -> bool {
        !self.closed && self.covered > 0 && self.older_tasks == 0
    }

    /// A lone record that is chosen and not at work is not begun after all: what it waits for does not happen for now.
    pub fn give_up_lone(&mut self) {
        if let Lone::Chosen { slot, .. } = self.suspect.lone() {
            self.unchoose(slot);
            self.enqueue(slot);
        }
    }

    /// Whether a lone record is chosen or at work.
    pub fn lone(&self) -> bool {
        self.suspect.lone() != Lone::None
    }

    /// Applies a verdict. Whatever ends a task hands its ticket in: also an abort, a panic, an assignment that is over.
    #[expect(clippy::needless_pass_by_value, reason = "a ticket is spent: nobody can complete twice")]
    pub fn complete(&mut self, ticket: Ticket, verdict: Verdict) -> Applied {
        let Ticket { epoch, slot: id } = ticket;
        if epoch != self.epoch {
            self.older_tasks = self.older_tasks.saturating_sub(usize::from(epoch < self.epoch));
            return Applied::Stale;
        }
        // A slot is not given to another record while its ticket is out.
        match self.state(id) {
            State::InFlight => self.suspect.ended(id),
            State::Orphan => {
                self.suspect.ended(id);
                self.orphans -= 1;
                self.leave_lane(id);
                self.open.free(id);
                return Applied::Stale;
            }
            State::Free | State::Bodiless | State::Queued | State::Ready | State::Waiting => {
                return Applied::Stale;
            }
        }
        match verdict {
            Verdict::Done(outcome) => {
                self.remove(id);
                return Applied::Terminal(outcome);
            }
            Verdict::Again { due, progress } => self.settle(id, progress, Some(due)),
            Verdict::Hold { progress, .. } => self.settle(id, progress, None),
            Verdict::Abandoned => {
                self.release(id);
                return Applied::Released;
            }
        }
        if self.state(id) == State::Waiting { Applied::Waiting } else { Applied::Held }
    }

    fn pick_lone(&mut self, now: Now) -> Option<Work> {
        match self.suspect.lone() {
            Lone::AtWork { .. } => None,
            Lone::Chosen { serial, .. } if self.covered < serial => None,
            Lone::Chosen { slot, .. } => self.start(slot, true),
            Lone::None => {
                let id = self.queue.take()?;
                let slot = self.open.get_mut(id)?;
                let tried = slot.tried.get_or_insert_with(|| Box::new(Tried::fresh()));
                if matches!(tried.progress.owed, Owed::DeadLetter { .. }) {
                    return self.start(id, true);
                }
                tried.lone = (tried.lone + 1).min(2);
                tried.progress.first_try.get_or_insert(now.wall);
                self.tried -= tried.weight;
                tried.weight = tried.weigh(Duration::ZERO);
                self.tried += tried.weight;
                self.changes += 1;
                self.suspect.set_lone(Lone::Chosen { slot: id, serial: self.changes });
                None
            }
        }
    }

    /// A chosen record is not begun after all.
    pub(super) fn unchoose(&mut self, id: u32) {
        if !matches!(self.suspect.lone(), Lone::Chosen { slot, .. } if slot == id) {
            return;
        }
        self.suspect.ended(id);
        self.changes += 1;
        if let Some(tried) = self.open.get_mut(id).and_then(|slot| slot.tried.as_mut()) {
            tried.lone -= 1;
        }
    }

    pub(super) fn start(&mut self, id: u32, lone: bool) -> Option<Work> {
        let slot = self.open.get_mut(id)?;
        let event = Arc::clone(slot.event.as_ref()?);
        let progress = match &mut slot.tried {
            None => Progress::FRESH,
            Some(tried) => {
                tried.due = None;
                tried.progress.clone()
            }
        };
        slot.state = State::InFlight;
        self.in_flight += 1;
        if lone {
            self.suspect.set_lone(Lone::AtWork { slot: id });
        }
        let ticket = Ticket { epoch: self.epoch, slot: id };
        Some(Work { event, progress, key: slot.key, lone, ticket })
    }

    /// A task has ended and its record is not finished.
    fn settle(&mut self, id: u32, progress: Progress, due: Option<Instant>) {
        self.in_flight -= 1;
        self.changes += 1;
        let Some(slot) = self.open.get_mut(id) else { return };
        let tried = slot.tried.get_or_insert_with(|| Box::new(Tried::fresh()));
        self.tried -= tried.weight;
        *tried.as_mut() = Tried { progress, due, lone: 0, weight: 0 };
        tried.weight = tried.weigh(self.limits.max_wait);
        self.tried += tried.weight;
        self.enqueue(id);
    }

    /// A task has ended and nothing may be said about its record.
    fn release(&mut self, id: u32) {
        self.in_flight -= 1;
        if let Some(tried) = self.open.get_mut(id).and_then(|slot| slot.tried.as_mut())
            && tried.lone > 0
        {
            tried.lone = 0;
            self.changes += 1;
        }
        self.enqueue(id);
    }

    /// A record is finished, or does not exist any more.
    pub(super) fn remove(&mut self, id: u32) {
        self.leave_lane(id);
        self.open.unlink(id);
        let Some(slot) = self.open.get_mut(id) else { return };
        if slot.state == State::InFlight {
            self.in_flight -= 1;
            self.bodies -= 1;
            self.bytes -= slot.bytes;
        }
        self.tried -= slot.tried.as_ref().map_or(0, |tried| tried.weight);
        self.open.free(id);
        self.changes += 1;
    }

    fn leave_lane(&mut self, id: u32) {
        let Some(slot) = self.open.get(id) else { return };
        if slot.laned
            && let Some(next) = self.lanes.leave(slot.key, id)
        {
            self.enqueue(next);
        }
    }

    pub(super) fn state(&self, id: u32) -> State {
        self.open.get(id).map_or(State::Free, |slot| slot.state)
    }
}
