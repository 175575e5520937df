//! Work: which record is taken next, and what a verdict does to it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Applied, Ticket, Tracker, Work};
use crate::event::Rank;
use crate::flow::open::State;
use crate::flow::position::Now;
use crate::flow::suspect::Lone;
use crate::flow::tried::Tried;
use crate::outcome::{Outcome, Owed, Progress, Verdict};

impl Tracker {
    /// The head of a free lane, or a retry that is due. In a suspect partition: one at a time, and only after a commit
    /// that names it was accepted; the call that chooses it returns `None`.
    pub fn take(&mut self, now: Now) -> Option<Work> {
        if !self.gives() {
            return None;
        }
        self.see_due(now.mono);
        if self.is_suspect() {
            return self.pick_lone(now);
        }
        if self.runs_ahead() {
            return None;
        }
        let id = self.queue.take()?;
        self.start(id, false)
    }

    fn see_due(&mut self, now: Instant) {
        while let Some(id) = self.queue.next_due(now) {
            self.waiting -= 1;
            if let Some(slot) = self.open.get_mut(id) {
                slot.state = State::Ready;
            }
        }
    }

    /// How urgent the record is that `take` would give; `None` where it would give none.
    pub fn next_rank(&mut self, now: Instant) -> Option<Rank> {
        if !self.gives() {
            return None;
        }
        self.see_due(now);
        self.queue.rank()
    }

    /// How urgent the most urgent record is that could be taken.
    pub fn most_urgent(&self) -> Option<Rank> {
        self.queue.rank()
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
            Verdict::Done(Outcome::Delivered) if self.overtook(id) => {
                self.repeat(id);
                Applied::Repeated
            }
            Verdict::Done(outcome) => {
                self.remove(id);
                Applied::Terminal(outcome)
            }
            Verdict::Again { due, progress } => {
                self.settle(id, progress, Some(due));
                Applied::Waiting
            }
            Verdict::Hold { progress, .. } => {
                self.settle(id, progress, None);
                Applied::Held
            }
            Verdict::Abandoned => {
                self.release(id);
                Applied::Released
            }
        }
    }

    /// The record of this ticket is with the producer, which keeps the order of what it is given: the next one of its lane
    /// may be taken before this one has ended (K12). True where there is one.
    pub fn hand_over(&mut self, ticket: &Ticket) -> bool {
        let Some(slot) = self.open.get_mut(ticket.slot).filter(|_| ticket.epoch == self.epoch) else {
            return false;
        };
        if slot.state != State::InFlight || !slot.laned || slot.handed_over {
            return false;
        }
        slot.handed_over = true;
        let next = self.lanes.hand_over(slot.key, ticket.slot);
        next.inspect(|next| self.enqueue(*next)).is_some()
    }

    /// Whether a record before it in its lane has failed while both were handed over: then it is to be produced again.
    fn overtook(&self, id: u32) -> bool {
        let Some(slot) = self.open.get(id).filter(|slot| slot.handed_over) else { return false };
        self.lanes.stands(slot.key).is_some_and(|failed| failed < slot.offset)
    }

    /// It was written, and is written again behind the one that failed: all of what it publishes.
    fn repeat(&mut self, id: u32) {
        self.in_flight -= 1;
        if let Some(tried) = self.open.get_mut(id).and_then(|slot| slot.tried.as_mut()) {
            (tried.progress.acked, tried.progress.parts) = (0, None);
        }
        self.back_in_lane(id);
    }

    /// A task has ended and its record goes on: at the front of its lane it can be taken again. One that was handed over
    /// stops its lane; all of that lane then waits for what is still out, and begins again at its head.
    fn back_in_lane(&mut self, id: u32) {
        let Some(slot) = self.open.get_mut(id) else { return };
        if !slot.handed_over {
            return self.enqueue(id);
        }
        slot.handed_over = false;
        slot.state = State::Queued;
        let (key, offset) = (slot.key, slot.offset);
        if let Some(front) = self.lanes.stop(key, offset) {
            self.wait_in_lane(front, key);
        }
        if let Some(head) = self.lanes.came_back(key) {
            self.enqueue(head);
        }
    }

    /// The lane of this front stands: it is not taken, or waited for where it is at work.
    fn wait_in_lane(&mut self, id: u32, key: u64) {
        let Some(slot) = self.open.get_mut(id) else { return };
        match slot.state {
            State::InFlight => {
                slot.handed_over = true;
                self.lanes.await_too(key);
                return;
            }
            State::Waiting => self.waiting -= 1,
            State::Free | State::Bodiless | State::Queued | State::Ready | State::Orphan => {}
        }
        self.unchoose(id);
        if let Some(slot) = self.open.get_mut(id) {
            slot.state = State::Queued;
        }
        self.queue.retain(|other| other != id);
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
        self.back_in_lane(id);
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
        self.back_in_lane(id);
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
            && let Some(next) = self.lanes.leave(slot.key, id, slot.handed_over)
        {
            self.enqueue(next);
        }
    }

    pub(super) fn state(&self, id: u32) -> State {
        self.open.get(id).map_or(State::Free, |slot| slot.state)
    }
}
