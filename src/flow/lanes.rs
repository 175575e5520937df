//! Lanes: which record of a key is at work and which wait behind it. Knows slots by number and nothing of records.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Which records keep their order among each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Records of the same key. A null key has a lane of its own for each record; an empty key is a key.
    Key,
    /// All records of the partition.
    Partition,
    /// None.
    None,
}

/// The lanes of one partition. A lane's name is a 64-bit hash of its key: two keys of the same hash share a lane, which
/// costs them their parallelism and nothing else. So the hash needs no secret: who could force a collision may write
/// the key itself.
///
/// A lane is a list in the order of the offsets. Its front can be taken; what was handed over to the producer stays in the
/// list until it has ended, and lets the next one be taken (K12). Where one of those fails the lane stands until all of
/// them have ended, and begins again at its head.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    lanes: HashMap<u64, Lane, BuildHasherDefault<AsIs>>,
    /// By slot: who is before and after it in its lane.
    links: Vec<Link>,
}

#[derive(Debug, Clone, Copy)]
struct Lane {
    head: u32,
    tail: u32,
    /// The first that was not handed over; nobody while the lane stands.
    front: u32,
    /// How many were handed over and have not ended.
    out: u32,
    /// Whether the lane stands, and since the failure of which offset.
    stands: Option<i64>,
}

#[derive(Debug, Clone, Copy)]
struct Link {
    before: u32,
    after: u32,
}

const NOBODY: u32 = u32::MAX;
const UNLINKED: Link = Link { before: NOBODY, after: NOBODY };

impl Lanes {
    /// Puts a slot at the end of a lane; true where it is at the front, that is, may be taken.
    pub(super) fn join(&mut self, lane: u64, slot: u32) -> bool {
        let joined = self.append(lane, slot);
        let is_front = joined.front == NOBODY && joined.stands.is_none();
        if is_front {
            joined.front = slot;
        }
        is_front
    }

    /// The same when the lanes are built anew: whether it was handed over, and how its lane stands.
    pub(super) fn join_again(&mut self, lane: u64, slot: u32, handed_over: bool, stands: Option<i64>) {
        let joined = self.append(lane, slot);
        joined.stands = joined.stands.or(stands);
        if handed_over {
            joined.out += 1;
        } else if joined.front == NOBODY && joined.stands.is_none() {
            joined.front = slot;
        }
    }

    fn append(&mut self, lane: u64, slot: u32) -> &mut Lane {
        if self.links.len() <= slot as usize {
            self.links.resize(slot as usize + 1, UNLINKED);
        }
        let fresh = Lane { head: slot, tail: NOBODY, front: NOBODY, out: 0, stands: None };
        let joined = self.lanes.entry(lane).or_insert(fresh);
        let before = std::mem::replace(&mut joined.tail, slot);
        if let Some(entry) = self.links.get_mut(slot as usize) {
            *entry = Link { before, after: NOBODY };
        }
        if let Some(entry) = self.links.get_mut(before as usize) {
            entry.after = slot;
        }
        joined
    }

    /// The front of a lane that moves is with the producer. The next one, which is the front now.
    pub(super) fn hand_over(&mut self, lane: u64, slot: u32) -> Option<u32> {
        let next = self.link(slot).after;
        let entry = self.lanes.get_mut(&lane)?;
        debug_assert_eq!(entry.front, slot, "only the front of a lane is ever at work");
        entry.out += 1;
        entry.front = next;
        (next != NOBODY).then_some(next)
    }

    /// Takes one that has ended out of its lane; who can be taken now because of it.
    pub(super) fn leave(&mut self, lane: u64, slot: u32, handed_over: bool) -> Option<u32> {
        let Link { before, after } = self.link(slot);
        let entry = self.lanes.get_mut(&lane)?;
        if entry.head == slot && after == NOBODY {
            self.lanes.remove(&lane);
            return None;
        }
        if entry.head == slot {
            entry.head = after;
        }
        if entry.tail == slot {
            entry.tail = before;
        }
        let next = if handed_over {
            entry.ended()
        } else {
            debug_assert_eq!(entry.front, slot, "only the front of a lane is ever at work");
            entry.front = after;
            after
        };
        self.set_after(before, after);
        self.set_before(after, before);
        (next != NOBODY).then_some(next)
    }

    /// One that was handed over has failed: the lane stands. Its front, which is not the front any more.
    pub(super) fn stop(&mut self, lane: u64, failed: i64) -> Option<u32> {
        let entry = self.lanes.get_mut(&lane)?;
        entry.stands = Some(entry.stands.map_or(failed, |before| before.min(failed)));
        let front = std::mem::replace(&mut entry.front, NOBODY);
        (front != NOBODY).then_some(front)
    }

    /// One more is at work in a lane that stands, and is waited for.
    pub(super) fn await_too(&mut self, lane: u64) {
        if let Some(entry) = self.lanes.get_mut(&lane) {
            entry.out += 1;
        }
    }

    /// One that was handed over has ended and stays in its lane. The head, where the lane begins again with it.
    pub(super) fn came_back(&mut self, lane: u64) -> Option<u32> {
        let head = self.lanes.get_mut(&lane)?.ended();
        (head != NOBODY).then_some(head)
    }

    /// The lowest offset that failed, where the lane stands.
    pub(super) fn stands(&self, lane: u64) -> Option<i64> {
        self.lanes.get(&lane)?.stands
    }

    /// Empties all lanes, and says which of them stand. Whoever is still in one joins again.
    pub(super) fn clear(&mut self) -> Vec<(u64, i64)> {
        let standing = self.lanes.iter().filter_map(|(lane, entry)| Some((*lane, entry.stands?))).collect();
        self.lanes.clear();
        standing
    }

    fn link(&self, slot: u32) -> Link {
        self.links.get(slot as usize).copied().unwrap_or(UNLINKED)
    }

    fn set_after(&mut self, slot: u32, after: u32) {
        if let Some(entry) = self.links.get_mut(slot as usize) {
            entry.after = after;
        }
    }

    fn set_before(&mut self, slot: u32, before: u32) {
        if let Some(entry) = self.links.get_mut(slot as usize) {
            entry.before = before;
        }
    }
}

impl Lane {
    /// One that was handed over has ended. Who can be taken now: the head of a lane that stood for it.
    fn ended(&mut self) -> u32 {
        self.out = self.out.saturating_sub(1);
        if self.out > 0 || self.stands.take().is_none() {
            return NOBODY;
        }
        self.front = self.head;
        self.head
    }
}

/// A hash of a key's bytes; the same in every process. Folded multiplication, eight bytes at a time.
pub(super) fn hash_key(key: &[u8]) -> u64 {
    // The length where no byte of a key shorter than eight meets it.
    let mut hash = 0x9E37_79B9_7F4A_7C15 ^ (key.len() as u64).rotate_right(8);
    let (words, rest) = key.as_chunks::<8>();
    for word in words {
        hash = fold(hash ^ u64::from_le_bytes(*word), 0xA076_1D64_78BD_642F);
    }
    let mut last = [0_u8; 8];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    fold(hash ^ u64::from_le_bytes(last), 0xE703_7ED1_A0B4_28DB)
}

/// A hash of a number that stands for a record or a partition.
pub(super) fn hash_number(number: i64) -> u64 {
    fold(number.cast_unsigned() ^ 0x8EBC_6AF0_9C88_C6E3, 0xA076_1D64_78BD_642F)
}

#[expect(clippy::cast_possible_truncation, reason = "both halves of the product are used")]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// The lane's name is a hash already.
#[derive(Debug, Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = hash_key(bytes);
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests;
