//! A reader of the commit metadata (http-contract section 13), written apart from the one in `flow`, so that the two
//! check each other.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// What a commit's metadata says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Done {
    /// Ranges of finished offsets above the committed one, ends excluded.
    pub(crate) ranges: Vec<(i64, i64)>,
    /// Attempts of the records that wait, by offset.
    pub(crate) attempts: HashMap<i64, u64>,
    /// Their phases.
    pub(crate) phases: HashMap<i64, u8>,
    /// The assignment was not closed.
    pub(crate) open: bool,
}

impl Done {
    /// Whether the offset is marked as finished.
    pub(crate) fn has(&self, offset: i64) -> bool {
        self.ranges.iter().any(|(from, to)| (*from..*to).contains(&offset))
    }
}

/// Reads one; `None` where it is foreign, broken or not for this committed offset.
pub(crate) fn read(text: &str, committed: i64) -> Option<Done> {
    let raw = URL_SAFE_NO_PAD.decode(text.strip_prefix("weir1.")?).ok()?;
    let (fields, crc) = raw.split_at_checked(raw.len().checked_sub(4)?)?;
    if crc32c::crc32c(fields).to_le_bytes() != *crc {
        return None;
    }
    let mut at = Reader(fields);
    let flags = at.byte()?;
    at.take(4)?;
    let base = i64::try_from(at.varint()?).ok()?;
    if base != committed || flags & 0xf8 != 0 {
        return None;
    }
    let (_partitions, _crashes, _clock) = (at.varint()?, at.varint()?, at.varint()?);
    let length = usize::try_from(at.varint()?).ok()?;
    let map = at.take(length)?;
    let mut done = Done { open: flags & 4 != 0, ..Done::default() };
    if flags & 1 != 0 {
        let bits = (0_i64..).zip(map.iter().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 == 1)));
        done.ranges = bits.filter(|(_, set)| *set).map(|(at, _)| (base + at, base + at + 1)).collect();
    } else {
        let (mut runs, mut offset) = (Reader(map), base);
        while !runs.0.is_empty() {
            let from = offset + i64::try_from(runs.varint()?).ok()?;
            offset = from + i64::try_from(runs.varint()?).ok()?;
            done.ranges.push((from, offset));
        }
    }
    if flags & 2 != 0 {
        let mut offset = base;
        for _ in 0..at.varint()? {
            offset += i64::try_from(at.varint()?).ok()?;
            let attempts = at.varint()?;
            let (_due, _first) = (at.varint()?, at.varint()?);
            let phase = at.byte()?;
            if phase == 1 {
                at.take(2)?;
            }
            done.attempts.insert(offset, attempts);
            done.phases.insert(offset, phase);
        }
    }
    at.0.is_empty().then_some(done)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

#[test]
fn reads_the_vectors_of_the_contract() {
    let one = read("weir1.BwobLD3oBwwBgPLWygYC5gcCAwMeLQABCADYBAECCxi_FU0", 1000).unwrap();
    assert!(one.open);
    let found: Vec<i64> = (1000..1012).filter(|offset| one.has(*offset)).collect();
    assert_eq!(found, [1001, 1002, 1005, 1006, 1007, 1008, 1009, 1010]);
    assert_eq!(one.attempts, HashMap::from([(1003, 3), (1004, 8)]));
    assert_eq!(one.phases, HashMap::from([(1003, 0), (1004, 1)]));
    let two = read("weir1.BAobLD3oBwwAgPLWygYAmlDydA", 1000).unwrap();
    assert_eq!(two, Done { open: true, ..Done::default() });
    assert_eq!(read("weir1.BAobLD3oBwwAgPLWygYAmlDydA", 1001), None);
    assert_eq!(read("another tool's", 1000), None);
}
