//! The records that are open: a slab of slots, linked in the order of their offsets. Everything here is O(1) but the walk.

use std::sync::Arc;

use super::tried::Tried;
use crate::event::{Event, Rank};

/// No slot.
pub(super) const NONE: u32 = u32::MAX;

/// Where an open record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// The slot is not in use.
    Free,
    /// Without a body: restored, or let go. Polled again some time, or pruned.
    Bodiless,
    /// Behind the head of its lane.
    Queued,
    /// Can be taken.
    Ready,
    /// Waits for its due time and holds its lane.
    Waiting,
    /// Taken.
    InFlight,
    /// Taken, and forgotten since: the log went back below it. Holds its lane until its task ends; not open.
    Orphan,
}

/// One record.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) event: Option<Arc<Event>>,
    pub(super) offset: i64,
    /// The record's own time; `i64::MIN` where it has none. Outlives the body.
    pub(super) timestamp: i64,
    /// The hash of its key, or of the record itself.
    pub(super) key: u64,
    /// How urgent it is.
    pub(super) rank: Rank,
    /// `None`: nobody has touched it. Boxed, because that is nearly every record.
    pub(super) tried: Option<Box<Tried>>,
    pub(super) bytes: usize,
    before: u32,
    after: u32,
    pub(super) state: State,
    /// Whether it is in a lane.
    pub(super) laned: bool,
    /// Whether it is at work and lets the next one of its lane be taken, or is waited for because its lane stands (K12).
    pub(super) handed_over: bool,
    /// Whether it had a body once, in this assignment.
    pub(super) received: bool,
}

impl Slot {
    /// The next higher one.
    pub(super) fn after(&self) -> u32 {
        self.after
    }

    /// Whether it could be taken, now or at its time.
    pub(super) fn is_head(&self) -> bool {
        matches!(self.state, State::Ready | State::Waiting)
    }
}

/// The open records, in order.
#[derive(Debug)]
pub(super) struct Open {
    slots: Vec<Slot>,
    free: Vec<u32>,
    first: u32,
    last: u32,
    len: usize,
}

impl Open {
    pub(super) fn new() -> Open {
        Open { slots: Vec::new(), free: Vec::new(), first: NONE, last: NONE, len: 0 }
    }

    /// How many records are open.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The lowest.
    pub(super) fn first(&self) -> Option<&Slot> {
        self.get(self.first)
    }

    pub(super) fn first_id(&self) -> u32 {
        self.first
    }

    pub(super) fn last_id(&self) -> u32 {
        self.last
    }

    pub(super) fn get(&self, id: u32) -> Option<&Slot> {
        self.slots.get(id as usize)
    }

    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut Slot> {
        self.slots.get_mut(id as usize)
    }

    /// The next higher one.
    pub(super) fn after(&self, id: u32) -> u32 {
        self.get(id).map_or(NONE, |slot| slot.after)
    }

    /// The next lower one.
    pub(super) fn before(&self, id: u32) -> u32 {
        self.get(id).map_or(NONE, |slot| slot.before)
    }

    /// The open records by offset.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Slot> {
        let mut at = self.first;
        std::iter::from_fn(move || {
            let slot = self.get(at)?;
            at = slot.after;
            Some(slot)
        })
    }

    /// The slots of forgotten tasks that are in a lane, and its name.
    pub(super) fn orphans(&self) -> impl Iterator<Item = (u32, u64)> {
        let slots = (0_u32..).zip(&self.slots);
        slots.filter(|(_, slot)| slot.state == State::Orphan && slot.laned).map(|(id, slot)| (id, slot.key))
    }

    /// A new slot for an offset that lies directly below `behind`, or above all others where that is `NONE`.
    pub(super) fn insert(&mut self, offset: i64, behind: u32) -> u32 {
        let before = if behind == NONE { self.last } else { self.before(behind) };
        let id = self.allocate(offset);
        if let Some(slot) = self.get_mut(id) {
            (slot.before, slot.after) = (before, behind);
        }
        match self.get_mut(before) {
            Some(lower) => lower.after = id,
            None => self.first = id,
        }
        match self.get_mut(behind) {
            Some(higher) => higher.before = id,
            None => self.last = id,
        }
        self.len += 1;
        id
    }

    /// Takes a record out of the order; its slot stays until it is freed.
    pub(super) fn unlink(&mut self, id: u32) {
        let Some(slot) = self.get_mut(id) else { return };
        let (before, after) = (slot.before, slot.after);
        (slot.before, slot.after) = (NONE, NONE);
        match self.get_mut(before) {
            Some(lower) => lower.after = after,
            None => self.first = after,
        }
        match self.get_mut(after) {
            Some(higher) => higher.before = before,
            None => self.last = before,
        }
        self.len -= 1;
    }

    /// Gives an unlinked slot back.
    pub(super) fn free(&mut self, id: u32) {
        let Some(slot) = self.get_mut(id) else { return };
        slot.state = State::Free;
        slot.event = None;
        slot.tried = None;
        slot.laned = false;
        slot.handed_over = false;
        slot.bytes = 0;
        self.free.push(id);
    }

    fn allocate(&mut self, offset: i64) -> u32 {
        if let Some(id) = self.free.pop() {
            if let Some(slot) = self.get_mut(id) {
                slot.offset = offset;
                slot.timestamp = i64::MIN;
                slot.state = State::Bodiless;
                slot.received = false;
            }
            return id;
        }
        #[expect(clippy::expect_used, reason = "2^32 open records of one partition do not fit into memory")]
        let id = u32::try_from(self.slots.len()).expect("fewer slots than 2^32");
        self.slots.push(Slot {
            event: None,
            offset,
            timestamp: i64::MIN,
            rank: Rank::Normal,
            key: 0,
            tried: None,
            bytes: 0,
            before: NONE,
            after: NONE,
            state: State::Bodiless,
            laned: false,
            handed_over: false,
            received: false,
        });
        id
    }
}
