//! The wire format: numbers, tags, lengths. What comes from outside decides no allocation, no recursion and no panic.

use super::MAX_DEPTH;
use crate::schema::Fault;

/// How a field's bytes are delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    Varint,
    Eight,
    Block,
    Begin,
    End,
    Four,
}

/// The number of a field and how its bytes are delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tag {
    pub(super) number: u32,
    pub(super) wire: Wire,
}

/// The largest number of a field.
const MAX_NUMBER: u32 = (1 << 29) - 1;

/// Bytes that are still to be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn varint(&mut self) -> Result<u64, Fault> {
        let mut number = 0_u64;
        for (count, byte) in self.0.iter().take(10).enumerate() {
            let part = u64::from(byte & 0x7f);
            if count == 9 && part > 1 {
                break;
            }
            number |= part << (7 * count);
            if byte & 0x80 == 0 {
                self.0 = self.0.get(count + 1..).unwrap_or_default();
                return Ok(number);
            }
        }
        let cut = self.0.len() < 10;
        Err(Fault::new(if cut { "the bytes end too early" } else { "a number has more than 64 bits" }))
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        let (taken, rest) =
            self.0.split_at_checked(count).ok_or_else(|| Fault::new("the bytes end too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let (taken, rest) =
            self.0.split_first_chunk::<N>().ok_or_else(|| Fault::new("the bytes end too early"))?;
        self.0 = rest;
        Ok(*taken)
    }

    /// A length, and as many bytes.
    pub(super) fn block(&mut self) -> Result<&'a [u8], Fault> {
        let length = self.varint()?;
        self.take(usize::try_from(length).unwrap_or(usize::MAX))
    }

    /// The next tag; `None` at the end.
    pub(super) fn tag(&mut self) -> Result<Option<Tag>, Fault> {
        if self.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).ok().filter(|number| (1..=MAX_NUMBER).contains(number));
        let number = number.ok_or_else(|| Fault::new("the number of a field is out of range"))?;
        let wire = match key & 7 {
            0 => Wire::Varint,
            1 => Wire::Eight,
            2 => Wire::Block,
            3 => Wire::Begin,
            4 => Wire::End,
            5 => Wire::Four,
            _ => return Err(Fault::new("there is no such type of bytes")),
        };
        Ok(Some(Tag { number, wire }))
    }

    /// Reads over what stands behind a tag.
    pub(super) fn skip(&mut self, tag: Tag) -> Result<(), Fault> {
        match tag.wire {
            Wire::Varint => drop(self.varint()?),
            Wire::Eight => drop(self.take(8)?),
            Wire::Four => drop(self.take(4)?),
            Wire::Block => drop(self.block()?),
            Wire::Begin => drop(self.group(tag.number)?),
            Wire::End => return Err(Fault::new("a group ends that has not begun")),
        }
        Ok(())
    }

    /// The bytes of a group that has begun, to its end.
    pub(super) fn group(&mut self, number: u32) -> Result<&'a [u8], Fault> {
        let all = self.0;
        let mut open = vec![number];
        loop {
            let inside = all.len() - self.0.len();
            let tag = self.tag()?.ok_or_else(|| Fault::new("a group does not end"))?;
            match tag.wire {
                Wire::Begin if open.len() >= MAX_DEPTH => {
                    return Err(Fault::new(format!("the value is deeper than {MAX_DEPTH} levels")));
                }
                Wire::Begin => open.push(tag.number),
                Wire::End if open.pop() != Some(tag.number) => {
                    return Err(Fault::new("a group ends that has not begun"));
                }
                Wire::End if open.is_empty() => return Ok(all.get(..inside).unwrap_or_default()),
                Wire::End => {}
                Wire::Varint | Wire::Eight | Wire::Block | Wire::Four => self.skip(tag)?,
            }
        }
    }
}

/// A number's varint, behind what is there.
pub(super) fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    loop {
        let part = u8::try_from(number & 0x7f).unwrap_or_default();
        number >>= 7;
        if number == 0 {
            out.push(part);
            return;
        }
        out.push(part | 0x80);
    }
}

/// Small negative numbers as small ones.
pub(super) fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

pub(super) fn of_zigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -((number & 1).cast_signed())
}
