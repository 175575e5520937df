//! Writing: the shortest text that fits. What does not fit is left out in an order that costs the least, never the commit.

use std::cmp::Reverse;
use std::ops::Range;

use data_encoding::BASE64URL_NOPAD;

use super::{Cut, PREFIX, Phase, Retry, bytes_within, flag, varint_len};

/// What a commit says, of one moment.
#[derive(Debug, Clone, Copy)]
pub(in crate::flow) struct View<'a> {
    /// The beginning of the topic's id.
    pub(in crate::flow) topic: [u8; 4],
    /// The offset to commit; not done.
    pub(in crate::flow) base: i64,
    pub(in crate::flow) partitions: u32,
    pub(in crate::flow) crashes: u32,
    pub(in crate::flow) open: bool,
    /// Seconds since 1970.
    pub(in crate::flow) clock: u64,
    /// What is done above the base: sorted, not empty, apart from each other and from the base.
    pub(in crate::flow) done: &'a [Range<i64>],
    /// By offset, at or above the base.
    pub(in crate::flow) retries: &'a [Retry],
}

/// Flags, topic id, checksum.
const FIXED: usize = 1 + 4 + 4;

impl View<'_> {
    /// The text, at most `limit` characters long, and what it leaves out.
    pub(in crate::flow) fn encode(&self, limit: usize) -> (String, Cut) {
        let numbers = [unsigned(self.base), self.partitions.into(), self.crashes.into(), self.clock];
        let head: usize = FIXED + numbers.into_iter().map(varint_len).sum::<usize>();
        // One byte is the length of an empty map.
        let Some(room) = bytes_within(limit).checked_sub(head + 1) else {
            let cut = Cut { done: self.done.iter().map(length).sum(), retries: self.retries.len() };
            return (String::new(), cut);
        };
        let kept = fit_retries(self.retries, self.base, room);
        let map_room = room + 1 - retries_len(&kept, self.base);
        let (done, cut_done) = fit_map(self.done, self.base, map_room);
        let (runs, bitmap) = map_len(&done, self.base);

        let mut bytes = Vec::with_capacity(bytes_within(limit).min(head + room + 1));
        bytes.push(
            if bitmap < runs { flag::BITMAP } else { 0 }
                | if kept.is_empty() { 0 } else { flag::RETRIES }
                | if self.open { flag::OPEN } else { 0 },
        );
        bytes.extend_from_slice(&self.topic);
        numbers.into_iter().for_each(|number| put(&mut bytes, number));
        put(&mut bytes, runs.min(bitmap) as u64);
        if bitmap < runs {
            put_bitmap(&mut bytes, &done, self.base, bitmap);
        } else {
            put_runs(&mut bytes, &done, self.base);
        }
        put_retries(&mut bytes, &kept, self.base);
        let checksum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());

        let mut text = String::with_capacity(super::characters(bytes.len()));
        text.push_str(PREFIX);
        BASE64URL_NOPAD.encode_append(&bytes, &mut text);
        (text, Cut { done: cut_done, retries: self.retries.len() - kept.len() })
    }
}

/// The lengths of the map as runs and as a bitmap, in one pass.
fn map_len(done: &[Range<i64>], base: i64) -> (usize, usize) {
    let mut at = base;
    let mut runs = 0;
    for range in done {
        runs += varint_len(unsigned(range.start - at)) + varint_len(length(range));
        at = range.end;
    }
    let bitmap = if done.is_empty() { 0 } else { unsigned(at - base).div_ceil(8) };
    (runs, usize::try_from(bitmap).unwrap_or(usize::MAX))
}

/// The map without its far end, as far as it fits with its length into `room`, and how many offsets are left out.
fn fit_map(done: &[Range<i64>], base: i64, room: usize) -> (Vec<Range<i64>>, u64) {
    let (runs, bitmap) = map_len(done, base);
    let smaller = runs.min(bitmap);
    if smaller + varint_len(smaller as u64) <= room {
        return (done.to_vec(), 0);
    }
    let room = room - varint_len(room as u64).min(room);
    let as_runs = done.iter().scan((base, 0), |(at, used), range| {
        *used += varint_len(unsigned(range.start - *at)) + varint_len(length(range));
        *at = range.end;
        (*used <= room).then(|| range.clone())
    });
    let end = base.saturating_add(i64::try_from(room).unwrap_or(i64::MAX).saturating_mul(8));
    let as_bits = done.iter().map_while(|range| {
        let clipped = range.start..range.end.min(end);
        (!clipped.is_empty()).then_some(clipped)
    });
    let (as_runs, as_bits): (Vec<_>, Vec<_>) = (as_runs.collect(), as_bits.collect());
    let count = |ranges: &[Range<i64>]| ranges.iter().map(length).sum::<u64>();
    let kept = if count(&as_bits) > count(&as_runs) { as_bits } else { as_runs };
    let cut = count(done) - count(&kept);
    (kept, cut)
}

/// The entries that fit into `room`, by offset: ends owed and lone attempts first, then those with the most attempts.
fn fit_retries(retries: &[Retry], base: i64, room: usize) -> Vec<Retry> {
    if retries_len(retries, base) <= room {
        return retries.to_vec();
    }
    let mut ranked = retries.to_vec();
    ranked.sort_by_key(|retry| (retry.phase == Phase::Try, Reverse(retry.attempts), retry.offset));
    let best = |count: usize| {
        let mut best: Vec<Retry> = ranked.iter().take(count).copied().collect();
        best.sort_unstable_by_key(|retry| retry.offset);
        best
    };
    // An entry more is a longer text: bisect.
    let (mut fits, mut too_many) = (0, ranked.len());
    while fits + 1 < too_many {
        let middle = fits.midpoint(too_many);
        if retries_len(&best(middle), base) <= room { fits = middle } else { too_many = middle }
    }
    best(fits)
}

fn retries_len(retries: &[Retry], base: i64) -> usize {
    if retries.is_empty() {
        return 0;
    }
    let mut at = base;
    let mut bytes = varint_len(retries.len() as u64);
    for retry in retries {
        let numbers = [unsigned(retry.offset - at), retry.attempts.into(), retry.due_in, retry.tried_for];
        bytes += numbers.into_iter().map(varint_len).sum::<usize>() + 1;
        bytes += 2 * usize::from(matches!(retry.phase, Phase::DeadLetter(..)));
        at = retry.offset;
    }
    bytes
}

fn put_runs(bytes: &mut Vec<u8>, done: &[Range<i64>], base: i64) {
    let mut at = base;
    for range in done {
        put(bytes, unsigned(range.start - at));
        put(bytes, length(range));
        at = range.end;
    }
}

fn put_bitmap(bytes: &mut Vec<u8>, done: &[Range<i64>], base: i64, length: usize) {
    let start = bytes.len();
    bytes.resize(start + length, 0);
    for offset in done.iter().cloned().flatten() {
        let bit = unsigned(offset - base);
        let byte = usize::try_from(bit / 8).ok().and_then(|index| bytes.get_mut(start + index));
        if let Some(byte) = byte {
            *byte |= 1 << (bit % 8);
        }
    }
}

fn put_retries(bytes: &mut Vec<u8>, retries: &[Retry], base: i64) {
    if retries.is_empty() {
        return;
    }
    put(bytes, retries.len() as u64);
    let mut at = base;
    for retry in retries {
        put(bytes, unsigned(retry.offset - at));
        put(bytes, retry.attempts.into());
        put(bytes, retry.due_in);
        put(bytes, retry.tried_for);
        match retry.phase {
            Phase::Try => bytes.push(0),
            Phase::DeadLetter(reason, code) => bytes.extend_from_slice(&[1, reason as u8, code as u8]),
            Phase::Row => bytes.push(2),
            Phase::Publish => bytes.push(3),
            Phase::FirstLone => bytes.push(4),
            Phase::SecondLone => bytes.push(5),
        }
        at = retry.offset;
    }
}

#[expect(clippy::cast_possible_truncation, reason = "seven bits at a time")]
fn put(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// Distances are never negative: everything is sorted and starts at the base.
fn unsigned(distance: i64) -> u64 {
    u64::try_from(distance).unwrap_or(0)
}

fn length(range: &Range<i64>) -> u64 {
    unsigned(range.end - range.start)
}
