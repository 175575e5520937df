//! Intake: what a polled record is, where the position moves, how bodies are let go and forgotten.

use std::collections::HashMap;

use super::{Admitted, Record, Tracker};
use crate::flow::lanes::{self, Order};
use crate::flow::open::{NONE, Slot, State};
use crate::flow::position::NextOffset;
use crate::flow::queue::Queue;
use crate::flow::room::{self, Load, Room};

impl Tracker {
    /// Takes a polled record in. Always: the room is asked for apart. Records of a partition come in the order of their
    /// offsets and without one left out: a gap means that there is nothing.
    pub fn admit(&mut self, record: Record) -> Admitted {
        let offset = record.event.origin.offset;
        if record.epoch != self.epoch {
            return Admitted::Stale;
        }
        if self.detached.is_some() {
            return Admitted::Detached;
        }
        if offset < self.cursor {
            self.go_back(offset);
        }
        self.pass(offset);
        self.cursor = offset.saturating_add(1);
        if self.open.get(self.awaited).is_some_and(|slot| slot.offset == offset) {
            let id = self.awaited;
            let was_received = self.open.get(id).is_some_and(|slot| slot.received);
            self.receive(offset);
            self.fill(id, record);
            self.await_next(id);
            return if was_received { Admitted::Again } else { Admitted::Taken };
        }
        if offset < self.position {
            return Admitted::Known;
        }
        if self.receive(offset) {
            return Admitted::Known;
        }
        let id = self.open.insert(offset, self.awaited);
        self.fill(id, record);
        Admitted::Taken
    }

    /// Whether to go on polling this partition.
    pub fn room(&mut self) -> Room {
        self.room = self.limits.room(&self.load(), self.room);
        self.room
    }

    pub(in crate::flow) fn load(&self) -> Load {
        let top = self.ahead.back().map_or(self.position, |range| range.end);
        let top = self.open.get(self.open.last_id()).map_or(top, |slot| top.max(slot.offset + 1));
        // Between two ranges of an earlier owner lie records that were not done: two pairs of runs for each at most.
        let incompletes = self.open.len() + 2 * self.ahead.len();
        let range = u64::try_from(top.saturating_sub(self.base())).unwrap_or(0);
        Load {
            open: self.open.len(),
            records: self.bodies,
            bytes: self.bytes,
            written: self.written,
            worst: room::worst_case(incompletes, range, self.tried),
            catching_up: self.detached.is_some() || self.awaited != NONE || self.cursor < top,
        }
    }

    /// M11: drops the bodies that are not at work, but those that `keeps` wants of what could be taken (by offset), and those
    /// of a lane that stands (K12), which soon begins again in its order. `Some`: seek back to there, then call `sought`;
    /// until then polled records are refused, as they will be read again.
    pub fn let_go(&mut self, mut keeps: impl FnMut(i64) -> bool) -> Option<NextOffset> {
        let mut at = self.open.first_id();
        let mut lowest = None;
        while let Some(slot) = self.open.get(at) {
            let next = slot.after();
            let stands = slot.laned && self.lanes.stands(slot.key).is_some();
            // Heads alone: whoever stands behind a body that is dropped may not overtake it.
            if !stands && (!slot.is_head() || !keeps(slot.offset)) {
                self.drop_body(at);
            }
            if lowest.is_none() && self.state(at) == State::Bodiless {
                lowest = Some(at);
            }
            at = next;
        }
        self.rebuild_lanes();
        let open = &self.open;
        self.queue.retain(|id| open.get(id).is_some_and(Slot::is_head));
        let seek = NextOffset(self.open.get(lowest?)?.offset.min(self.cursor));
        self.detached = Some(seek);
        self.awaited = NONE;
        Some(seek)
    }

    /// Where the consumer is to be sought back to, where that has not happened.
    pub fn detached(&self) -> Option<NextOffset> {
        self.detached
    }

    /// The consumer was moved back on purpose, to what `let_go` said or below: the next polled record is at this offset
    /// or above. Repeats are not taken twice.
    pub fn sought(&mut self, next: NextOffset) {
        self.detached = None;
        self.cursor = next.0;
        self.awaited = self.open.first_id();
        while self.open.get(self.awaited).is_some_and(|s| s.state != State::Bodiless || s.offset < next.0) {
            self.awaited = self.open.after(self.awaited);
        }
    }

    /// No record below this offset will come any more, as the end of the partition was reached: what waits for its body
    /// there was compacted away. Only to be said when every record polled before was admitted: one that is kept back
    /// would be lost. After `close`, when polled records are dropped, it changes nothing.
    pub fn passed(&mut self, next: NextOffset) {
        if self.closed || self.detached.is_some() || next.0 < self.cursor {
            return;
        }
        self.pass(next.0);
        self.cursor = next.0;
        if next.0 > self.position {
            self.changes += 1;
            self.move_position(next.0);
        }
    }

    /// The broker takes less text than thought (`OFFSET_METADATA_TOO_LARGE`).
    pub fn set_metadata_limit(&mut self, characters: usize) {
        self.limits.metadata = characters;
    }

    /// Prunes the bodiless records below `offset`: the log has passed them, so they do not exist any more.
    fn pass(&mut self, offset: i64) {
        while let Some(slot) = self.open.get(self.awaited) {
            if slot.offset >= offset {
                return;
            }
            let id = self.awaited;
            self.await_next(id);
            self.remove(id);
        }
    }

    fn await_next(&mut self, id: u32) {
        self.awaited = self.open.after(id);
        while self.open.get(self.awaited).is_some_and(|slot| slot.state != State::Bodiless) {
            self.awaited = self.open.after(self.awaited);
        }
    }

    /// Moves the position over an offset that was polled; true where an earlier owner had it done.
    fn receive(&mut self, offset: i64) -> bool {
        if offset < self.position {
            return false;
        }
        // A gap moves the watermark without a completion.
        if offset > self.position && self.base() == self.position {
            self.changes += 1;
        }
        self.move_position(offset);
        if self.position > offset {
            return true;
        }
        self.move_position(offset.saturating_add(1));
        false
    }

    fn move_position(&mut self, to: i64) {
        self.position = self.position.max(to);
        self.absorb();
    }

    /// Ranges that the position has reached are part of what is below it.
    pub(super) fn absorb(&mut self) {
        while let Some(range) = self.ahead.front() {
            if range.start > self.position {
                return;
            }
            self.position = self.position.max(range.end);
            self.ahead.pop_front();
        }
    }

    /// Gives a slot its body and its place in its lane.
    fn fill(&mut self, id: u32, record: Record) {
        self.bodies += 1;
        self.bytes += record.bytes;
        if let Some(slot) = self.open.get_mut(id) {
            slot.timestamp = record.event.origin.timestamp.unwrap_or(i64::MIN);
            slot.event = Some(record.event);
            slot.bytes = record.bytes;
            slot.rank = record.rank;
            slot.received = true;
        }
        self.line_up(id);
    }

    /// Puts a record that has a body at the end of its lane.
    fn line_up(&mut self, id: u32) {
        let order = self.order;
        let Some(slot) = self.open.get_mut(id) else { return };
        let Some(event) = &slot.event else { return };
        slot.key = match (&event.key, order) {
            (_, Order::Partition) => lanes::hash_number(-1 - i64::from(event.origin.partition)),
            (Some(key), _) => lanes::hash_key(key),
            (None, _) => lanes::hash_number(slot.offset),
        };
        slot.laned = match order {
            Order::Key => event.key.is_some(),
            Order::Partition => true,
            Order::None => false,
        };
        slot.state = State::Queued;
        let (laned, key) = (slot.laned, slot.key);
        if !laned || self.lanes.join(key, id) {
            self.enqueue(id);
        }
    }

    /// Another order from here on (R8): the lanes are built anew of what is open, in the order of the offsets. Only while no
    /// task is out, else two lanes could hold one key, and while each record has its body: nobody knows the key of one that
    /// has none, so who stands behind it. Whether it is so now.
    pub fn reorder(&mut self, order: Order) -> bool {
        if self.order == order {
            return true;
        }
        if self.tasks() > 0 || self.lacks_bodies() {
            return false;
        }
        self.line_all_up(order);
        true
    }

    /// Whether bodies of open records are to be read again.
    pub fn lacks_bodies(&self) -> bool {
        self.bodies < self.open.len()
    }

    /// Builds the lanes anew, whatever is at work: with tasks out that would be wrong.
    pub(in crate::flow) fn line_all_up(&mut self, order: Order) {
        self.order = order;
        self.give_up_lone();
        self.lanes.clear();
        self.queue = Queue::default();
        self.waiting = 0;
        let mut at = self.open.first_id();
        while let Some(slot) = self.open.get(at) {
            let next = slot.after();
            let at_work = slot.state == State::InFlight;
            if !at_work {
                self.line_up(at);
            }
            at = next;
        }
    }

    /// The head of a lane can be taken, now or when it is due.
    pub(super) fn enqueue(&mut self, id: u32) {
        let Some(slot) = self.open.get_mut(id) else { return };
        match slot.tried.as_ref().and_then(|tried| tried.due) {
            Some(due) => {
                slot.state = State::Waiting;
                self.waiting += 1;
                self.queue.wait(due, id, slot.rank);
            }
            None => {
                slot.state = State::Ready;
                self.queue.ready(id, slot.rank);
            }
        }
    }

    fn drop_body(&mut self, id: u32) {
        self.unchoose(id);
        let Some(slot) = self.open.get_mut(id) else { return };
        match slot.state {
            State::Queued | State::Ready => {}
            State::Waiting => self.waiting -= 1,
            State::Free | State::Bodiless | State::InFlight | State::Orphan => return,
        }
        slot.state = State::Bodiless;
        slot.event = None;
        slot.laned = false;
        self.bodies -= 1;
        self.bytes -= std::mem::take(&mut slot.bytes);
    }

    /// The log went back: it was truncated, or somebody moved the consumer. What is at or above the offset is another
    /// record now, or will be read again. Tasks that run keep their lanes until they end; their verdicts count no more.
    fn go_back(&mut self, offset: i64) {
        let mut at = self.open.last_id();
        while self.open.get(at).is_some_and(|slot| slot.offset >= offset) {
            let before = self.open.before(at);
            self.forget(at);
            at = before;
        }
        let open = &self.open;
        self.queue.retain(|id| open.get(id).is_some_and(Slot::is_head));
        self.rebuild_lanes();
        self.ahead.retain_mut(|range| {
            range.end = range.end.min(offset);
            range.start < range.end
        });
        self.position = self.position.min(offset);
        self.awaited = NONE;
        self.changes += 1;
    }

    fn forget(&mut self, id: u32) {
        self.drop_body(id);
        self.open.unlink(id);
        let Some(slot) = self.open.get_mut(id) else { return };
        self.tried -= slot.tried.as_ref().map_or(0, |tried| tried.weight);
        slot.tried = None;
        if slot.state == State::InFlight {
            slot.state = State::Orphan;
            slot.handed_over = slot.laned;
            self.bodies -= 1;
            self.bytes -= std::mem::take(&mut slot.bytes);
            self.in_flight -= 1;
            self.orphans += 1;
        } else {
            self.open.free(id);
        }
    }

    /// Lanes of those that have a body. Where tasks of forgotten records are in one, it stands until they have ended.
    fn rebuild_lanes(&mut self) {
        let standing: HashMap<u64, i64> = self.lanes.clear().into_iter().collect();
        for (id, key) in self.open.orphans() {
            let failed = standing.get(&key).copied().unwrap_or(i64::MAX);
            self.lanes.join_again(key, id, true, Some(failed));
        }
        let mut at = self.open.first_id();
        while let Some(slot) = self.open.get_mut(at) {
            if slot.laned {
                let stands = self.lanes.stands(slot.key).or_else(|| standing.get(&slot.key).copied());
                slot.handed_over |= stands.is_some() && slot.state == State::InFlight;
                self.lanes.join_again(slot.key, at, slot.handed_over, stands);
            }
            at = self.open.after(at);
        }
    }
}
