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
#[derive(Debug, Default)]
pub(super) struct Lanes {
    lanes: HashMap<u64, Lane, BuildHasherDefault<AsIs>>,
    /// By slot: who follows it in its lane.
    followers: Vec<u32>,
}

#[derive(Debug, Clone, Copy)]
struct Lane {
    head: u32,
    tail: u32,
}

const NOBODY: u32 = u32::MAX;

impl Lanes {
    /// Puts a slot at the end of a lane; true where it is the head, that is, may be taken.
    pub(super) fn join(&mut self, lane: u64, slot: u32) -> bool {
        let index = slot as usize;
        if self.followers.len() <= index {
            self.followers.resize(index + 1, NOBODY);
        }
        self.set_follower(slot, NOBODY);
        let mut tail = NOBODY;
        self.lanes
            .entry(lane)
            .and_modify(|lane| {
                tail = lane.tail;
                lane.tail = slot;
            })
            .or_insert(Lane { head: slot, tail: slot });
        if tail == NOBODY {
            return true;
        }
        self.set_follower(tail, slot);
        false
    }

    /// Takes the head out of its lane; `Some` is the follower that is the head now.
    pub(super) fn leave(&mut self, lane: u64, slot: u32) -> Option<u32> {
        let next = self.follower(slot);
        let entry = self.lanes.get_mut(&lane)?;
        debug_assert_eq!(entry.head, slot, "only the head of a lane is ever at work");
        if next == NOBODY {
            self.lanes.remove(&lane);
            return None;
        }
        entry.head = next;
        Some(next)
    }

    /// Empties all lanes. Whoever is still at work joins again.
    pub(super) fn clear(&mut self) {
        self.lanes.clear();
    }

    fn follower(&self, slot: u32) -> u32 {
        self.followers.get(slot as usize).copied().unwrap_or(NOBODY)
    }

    fn set_follower(&mut self, slot: u32, next: u32) {
        if let Some(follower) = self.followers.get_mut(slot as usize) {
            *follower = next;
        }
    }
}

/// A hash of a key's bytes; the same in every process. Folded multiplication, eight bytes at a time.
pub(super) fn hash_key(key: &[u8]) -> u64 {
    let mut hash = 0x9E37_79B9_7F4A_7C15 ^ key.len() as u64;
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
