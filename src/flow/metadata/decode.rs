//! Reading: every byte is checked, and what is wrong in any way is empty with a cause.

use std::ops::Range;

use data_encoding::BASE64URL_NOPAD;

use super::{Cause, DEFAULT_LIMIT, Decoded, PREFIX, Phase, Restored, Retry, flag};
use crate::flow::position::NextOffset;
use crate::outcome::{Code, Reason};

/// Reads the text of a committed offset. Never panics; no length in it is believed before the bytes are there. `topic` is the
/// beginning of the topic's id; zeros, here or in the text, stand for a broker without topic ids and match all.
pub fn decode(text: &[u8], committed: NextOffset, topic: [u8; 4]) -> Decoded {
    match read(text) {
        Err(cause) => Decoded::Empty(cause),
        Ok((_, restored)) if restored.next != committed => Decoded::Empty(Cause::Base),
        Ok((id, _)) if id != topic && id != [0; 4] && topic != [0; 4] => Decoded::OtherTopic,
        Ok((_, restored)) => Decoded::Restored(restored),
    }
}

/// The partition count that a commit's metadata names (K7); `None` where it cannot be read.
pub fn partition_count(text: &[u8]) -> Option<u32> {
    read(text).ok().map(|(_, restored)| restored.partitions)
}

fn read(text: &[u8]) -> Result<([u8; 4], Restored), Cause> {
    if text.is_empty() {
        return Err(Cause::Absent);
    }
    let text = text.strip_prefix(PREFIX.as_bytes()).ok_or(Cause::Prefix)?;
    if text.len() > DEFAULT_LIMIT - PREFIX.len() {
        return Err(Cause::Length);
    }
    let bytes = BASE64URL_NOPAD.decode(text).map_err(|_| Cause::Base64)?;
    let (fields, checksum) = bytes.split_last_chunk::<4>().ok_or(Cause::Length)?;
    if crc32c::crc32c(fields) != u32::from_le_bytes(*checksum) {
        return Err(Cause::Checksum);
    }
    let mut reader = Reader { rest: fields };
    let [flags] = reader.array()?;
    if flags & !flag::KNOWN != 0 {
        return Err(Cause::Flags);
    }
    let topic = reader.array()?;
    let base = reader.offset()?;
    let partitions = reader.number()?;
    let crashes = reader.number()?;
    let clock = reader.varint()?;
    let length = reader.length()?;
    let map = reader.slice(length)?;
    let done = if flags & flag::BITMAP != 0 { bitmap(map, base)? } else { runs(map, base)? };
    let retries = if flags & flag::RETRIES != 0 { retries(&mut reader, base)? } else { Vec::new() };
    if !reader.rest.is_empty() {
        return Err(Cause::Length);
    }
    if contradict(&done, &retries) {
        return Err(Cause::Map);
    }
    let open = flags & flag::OPEN != 0;
    Ok((topic, Restored { next: NextOffset(base), partitions, crashes, open, clock, done, retries }))
}

fn runs(map: &[u8], base: i64) -> Result<Vec<Range<i64>>, Cause> {
    let mut reader = Reader { rest: map };
    let mut done = Vec::new();
    let mut at = base;
    while !reader.rest.is_empty() {
        let start = add(at, reader.varint()?)?;
        let end = add(start, reader.varint()?)?;
        if start == at || end == start {
            return Err(Cause::Map);
        }
        done.push(start..end);
        at = end;
    }
    Ok(done)
}

fn bitmap(map: &[u8], base: i64) -> Result<Vec<Range<i64>>, Cause> {
    // The base is not done, and the map ends with the highest done offset.
    if map.first().is_some_and(|byte| byte & 1 != 0) || map.last() == Some(&0) {
        return Err(Cause::Map);
    }
    add(base, map.len() as u64 * 8)?;
    let mut done: Vec<Range<i64>> = Vec::new();
    let bits = map.iter().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 == 1));
    for (offset, _) in (base..).zip(bits).filter(|(_, set)| *set) {
        match done.last_mut() {
            Some(range) if range.end == offset => range.end += 1,
            _ => done.push(offset..offset + 1),
        }
    }
    Ok(done)
}

fn retries(reader: &mut Reader<'_>, base: i64) -> Result<Vec<Retry>, Cause> {
    /// Delta, attempts, due, first try, phase.
    const SHORTEST: usize = 5;
    let count = reader.length()?;
    if count == 0 || count > reader.rest.len() / SHORTEST {
        return Err(Cause::Length);
    }
    let mut retries: Vec<Retry> = Vec::with_capacity(count);
    let mut at = base;
    for index in 0..count {
        let delta = reader.varint()?;
        if delta == 0 && index > 0 {
            return Err(Cause::Varint);
        }
        at = add(at, delta)?;
        let attempts = reader.number()?;
        let due_in = reader.varint()?;
        let tried_for = reader.varint()?;
        retries.push(Retry { offset: at, attempts, due_in, tried_for, phase: phase(reader)? });
    }
    Ok(retries)
}

fn phase(reader: &mut Reader<'_>) -> Result<Phase, Cause> {
    let [phase] = reader.array()?;
    match phase {
        0 => Ok(Phase::Try),
        1 => {
            let [reason, code] = reader.array()?;
            let reason = Reason::from_number(reason).ok_or(Cause::Phase)?;
            Ok(Phase::DeadLetter(reason, Code::from_number(code)))
        }
        2 => Ok(Phase::Row),
        3 => Ok(Phase::Publish),
        4 => Ok(Phase::FirstLone),
        5 => Ok(Phase::SecondLone),
        _ => Err(Cause::Phase),
    }
}

/// Whether a record is said to be done and to wait.
fn contradict(done: &[Range<i64>], retries: &[Retry]) -> bool {
    let mut done = done.iter().peekable();
    retries.iter().any(|retry| {
        while done.next_if(|range| range.end <= retry.offset).is_some() {}
        done.peek().is_some_and(|range| range.contains(&retry.offset))
    })
}

/// Offsets stay below the greatest number, so that one more is a number, too.
fn add(offset: i64, distance: u64) -> Result<i64, Cause> {
    offset.checked_add_unsigned(distance).filter(|sum| *sum < i64::MAX).ok_or(Cause::Varint)
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn slice(&mut self, length: usize) -> Result<&'a [u8], Cause> {
        let (slice, rest) = self.rest.split_at_checked(length).ok_or(Cause::Length)?;
        self.rest = rest;
        Ok(slice)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Cause> {
        let (array, rest) = self.rest.split_first_chunk::<N>().ok_or(Cause::Length)?;
        self.rest = rest;
        Ok(*array)
    }

    /// Only the shortest form is taken: there is one text for one meaning.
    fn varint(&mut self) -> Result<u64, Cause> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            let bits = u64::from(byte & 0x7F);
            if bits << shift >> shift != bits || (byte == 0 && shift > 0) {
                return Err(Cause::Varint);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Cause::Varint)
    }

    fn number(&mut self) -> Result<u32, Cause> {
        u32::try_from(self.varint()?).map_err(|_| Cause::Varint)
    }

    fn length(&mut self) -> Result<usize, Cause> {
        usize::try_from(self.varint()?).map_err(|_| Cause::Length)
    }

    fn offset(&mut self) -> Result<i64, Cause> {
        add(0, self.varint()?)
    }
}
