//! The text beside a committed offset: which records above it are done, and what is known of those that wait.
//!
//! Source: http-contract, section 13.

mod decode;
mod encode;

use std::ops::Range;

use super::position::NextOffset;
use crate::outcome::{Code, Reason};

pub use decode::{decode, partition_count};
pub(super) use encode::View;

/// The broker's default limit of a commit's metadata, in characters.
pub const DEFAULT_LIMIT: usize = 4096;

/// What the metadata of an earlier commit says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The committed offset.
    pub next: NextOffset,
    /// How many partitions the topic had.
    pub partitions: u32,
    /// How many assignments in a row ended without a clean close, the last one not counted.
    pub crashes: u32,
    /// Whether the last owner never closed.
    pub open: bool,
    /// When it was written, in seconds since 1970.
    pub clock: u64,
    /// What is done above the committed offset: sorted, not empty, apart from each other.
    pub done: Vec<Range<i64>>,
    /// What is known of records that are not done, by offset.
    pub retries: Vec<Retry>,
}

impl Restored {
    /// Of an offset that has no metadata, or none that can be read: nothing above it is done.
    pub fn fresh(next: NextOffset, partitions: u32) -> Restored {
        Restored {
            next,
            partitions,
            crashes: 0,
            open: false,
            clock: 0,
            done: Vec::new(),
            retries: Vec::new(),
        }
    }
}

/// A record with an attempt behind it or an end owed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Its offset.
    pub offset: i64,
    /// Attempts made.
    pub attempts: u32,
    /// Seconds from `clock` until it is due; 0 is now.
    pub due_in: u64,
    /// Seconds from its first try until `clock`.
    pub tried_for: u64,
    /// What comes next.
    pub phase: Phase,
}

/// What a record waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// 0: an attempt.
    Try,
    /// 1: its dead letter, without an attempt.
    DeadLetter(Reason, Code),
    /// 2: its tracking row, without an attempt.
    Row,
    /// 3: its publishes; the answer is gone, so the attempt is repeated.
    Publish,
    /// 4: the first lone attempt of a suspect partition had begun.
    FirstLone,
    /// 5: the second one had begun.
    SecondLone,
}

/// What did not fit into the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cut {
    /// Offsets that are done and not named as done: repeated after a restart.
    pub done: u64,
    /// Records whose attempts are forgotten after a restart.
    pub retries: usize,
}

/// What a metadata text is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded {
    /// Ours, of this topic and this offset.
    Restored(Restored),
    /// Nothing: count the cause and start from the offset alone.
    Empty(Cause),
    /// Ours, of a topic of another id: hold `out_of_range`.
    OtherTopic,
}

/// Why a text counts as empty. The words are those of the counter's label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// There is no text.
    Absent,
    /// It does not begin with `weir1.`: another tool's, or a later version's.
    Prefix,
    /// It is longer than any that is ever written, or its fields end early or late.
    Length,
    /// It is not unpadded base64url.
    Base64,
    /// The checksum is another.
    Checksum,
    /// A reserved flag is set.
    Flags,
    /// A number is too long, too large or not in its shortest form.
    Varint,
    /// The map does not fit the rest.
    Map,
    /// An unknown phase or reason.
    Phase,
    /// It belongs to another offset.
    Base,
}

/// What every text begins with: ours, version 1.
const PREFIX: &str = "weir1.";

/// The bits of the first field.
mod flag {
    pub(super) const BITMAP: u8 = 1;
    pub(super) const RETRIES: u8 = 2;
    pub(super) const OPEN: u8 = 4;
    /// All that this version knows; the blocked keys (8) are reserved.
    pub(super) const KNOWN: u8 = BITMAP | RETRIES | OPEN;
}

/// The length of a number as unsigned LEB128.
pub(super) fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros()).div_ceil(7) as usize
}

/// The length of the text of so many bytes.
pub(super) fn characters(bytes: usize) -> usize {
    PREFIX.len() + bytes.saturating_mul(4).div_ceil(3)
}

/// The most bytes whose text is not longer than that.
pub(super) fn bytes_within(characters: usize) -> usize {
    characters.saturating_sub(PREFIX.len()).saturating_mul(3) / 4
}

#[cfg(test)]
mod tests;
