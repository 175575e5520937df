//! Bytes to values, step by step as resolved. What comes from outside decides no allocation, no recursion and no panic.

use std::time::SystemTime;

use bytes::Bytes;
use data_encoding::BASE64;
use vrl::value::{KeyString, ObjectMap, Value};

use super::MAX_DEPTH;
use super::resolve::{BytesAs, Number, Reader, Step, StepId};
use super::text;
use super::types::{FixedAs, IntAs, LongAs, Unit};
use crate::schema::{Fault, number};

/// How many values a datum may have beyond eight for each of its bytes: items of an array may be no byte long.
const FREE_VALUES: usize = 10_000;

impl Reader {
    /// Reads one datum: all of the bytes.
    ///
    /// # Errors
    /// What is wrong, and where: bytes that end too early or are left over, lengths and places out of range, text that is no
    /// UTF-8, what does not resolve, what has no exact form as a value, what is deeper than 64 levels.
    pub fn read(&self, bytes: &Bytes) -> Result<Value, Fault> {
        let budget = bytes.len().saturating_mul(8).saturating_add(FREE_VALUES);
        let mut input = Input { all: bytes, at: 0, budget };
        let value = self.value(self.root, &mut input, 0)?;
        match bytes.len() - input.at {
            0 => Ok(value),
            left => Err(Fault::new(format!("{left} bytes are left over behind the value"))),
        }
    }

    fn value(&self, step: StepId, input: &mut Input<'_>, depth: usize) -> Result<Value, Fault> {
        input.spend(depth)?;
        let below = depth + 1;
        Ok(match self.get(step) {
            Step::Null => Value::Null,
            Step::Boolean => Value::Boolean(input.boolean()?),
            Step::Int(to) => number(i64::from(input.int()?), *to)?,
            Step::Long(to) => number(input.long()?, *to)?,
            Step::Float => float(f32::from_le_bytes(input.array()?))?,
            Step::Double => double(f64::from_le_bytes(input.array()?))?,
            Step::Bytes(BytesAs::Text) | Step::String(BytesAs::Text) => input.text()?,
            Step::Bytes(to) | Step::String(to) => bytes(input.block()?, *to)?,
            Step::Fixed(size, means) => fixed(input.take(*size)?, *means)?,
            Step::Enum(symbols) => match symbols.get(input.place("symbol of the enum")?) {
                Some(Ok(symbol)) => symbol.clone(),
                Some(Err(why)) => return Err(Fault::unfit(why.clone())),
                None => return Err(Fault::new("there is no such symbol of the enum")),
            },
            Step::Array(of) => {
                let mut list = Vec::new();
                input.blocks(|input| {
                    let item = self.value(*of, input, below);
                    list.push(item.map_err(|fault| fault.inside(list.len().to_string()))?);
                    Ok(())
                })?;
                Value::Array(list)
            }
            Step::Map(of) => {
                let mut map = ObjectMap::new();
                input.blocks(|input| {
                    let key = input.str()?.to_owned();
                    let value = self.value(*of, input, below).map_err(|fault| fault.inside(&*key))?;
                    if map.insert(KeyString::from(key.clone()), value).is_some() {
                        return Err(Fault::new("the map has this key twice").inside(key));
                    }
                    Ok(())
                })?;
                Value::Object(map)
            }
            Step::Union(branches) => match branches.get(input.place("branch of the union")?) {
                Some(branch) => self.value(*branch, input, below)?,
                None => return Err(Fault::new("there is no such branch of the union")),
            },
            Step::Record(fields, defaults) => {
                let mut map = ObjectMap::new();
                for field in fields {
                    let inside = |fault: Fault| fault.inside(&*field.name);
                    match &field.to {
                        Some(to) => {
                            map.insert(to.clone(), self.value(field.step, input, below).map_err(inside)?);
                        }
                        None => self.skip(field.step, input, below).map_err(inside)?,
                    }
                }
                map.extend(defaults.iter().cloned());
                Value::Object(map)
            }
            Step::Mismatch(why) => return Err(Fault::unfit(why.clone())),
        })
    }

    /// Reads over a value that nobody wants: its form has to be right, what it stands for does not matter.
    fn skip(&self, step: StepId, input: &mut Input<'_>, depth: usize) -> Result<(), Fault> {
        input.spend(depth)?;
        let below = depth + 1;
        match self.get(step) {
            Step::Null => {}
            Step::Boolean => drop(input.boolean()?),
            Step::Int(_) | Step::Long(_) | Step::Enum(_) => drop(input.long()?),
            Step::Float => drop(input.take(4)?),
            Step::Double => drop(input.take(8)?),
            Step::Bytes(_) | Step::String(_) => drop(input.block()?),
            Step::Fixed(size, _) => drop(input.take(*size)?),
            Step::Array(of) => input.blocks(|input| self.skip(*of, input, below))?,
            Step::Map(of) => input.blocks(|input| {
                input.block()?;
                self.skip(*of, input, below)
            })?,
            Step::Union(branches) => match branches.get(input.place("branch of the union")?) {
                Some(branch) => self.skip(*branch, input, below)?,
                None => return Err(Fault::new("there is no such branch of the union")),
            },
            Step::Record(fields, _) => {
                for field in fields {
                    self.skip(field.step, input, below).map_err(|fault| fault.inside(&*field.name))?;
                }
            }
            Step::Mismatch(why) => return Err(Fault::unfit(why.clone())),
        }
        Ok(())
    }

    fn get(&self, step: StepId) -> &Step {
        // Made by the plan that is asked.
        self.steps.get(step.0).unwrap_or(&Step::Null)
    }
}

struct Input<'a> {
    all: &'a Bytes,
    at: usize,
    /// How many values may still come.
    budget: usize,
}

impl<'a> Input<'a> {
    fn spend(&mut self, depth: usize) -> Result<(), Fault> {
        if depth > MAX_DEPTH {
            return Err(Fault::new(format!("the value is deeper than {MAX_DEPTH} levels")));
        }
        self.budget = self
            .budget
            .checked_sub(1)
            .ok_or_else(|| Fault::new("it has more values than its bytes can mean"))?;
        Ok(())
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        let end = self.at.checked_add(count);
        let taken = end.and_then(|end| self.all.get(self.at..end));
        let taken = taken.ok_or_else(|| Fault::new("the bytes end too early"))?;
        self.at += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let taken = self.take(N)?;
        taken.try_into().map_err(|_| Fault::new("the bytes end too early"))
    }

    fn boolean(&mut self) -> Result<bool, Fault> {
        match self.take(1)? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(Fault::new("a boolean is 0 or 1")),
        }
    }

    fn long(&mut self) -> Result<i64, Fault> {
        let rest = self.all.get(self.at..).unwrap_or_default();
        let mut zigzag = 0_u64;
        for (count, byte) in rest.iter().take(10).enumerate() {
            let part = u64::from(byte & 0x7f);
            if count == 9 && part > 1 {
                break;
            }
            zigzag |= part << (7 * count);
            if byte & 0x80 == 0 {
                self.at += count + 1;
                return Ok((zigzag >> 1).cast_signed() ^ -((zigzag & 1).cast_signed()));
            }
        }
        Err(Fault::new(if rest.len() < 10 {
            "the bytes end too early"
        } else {
            "a number has more than 64 bits"
        }))
    }

    fn int(&mut self) -> Result<i32, Fault> {
        let number = self.long()?;
        i32::try_from(number).map_err(|_| Fault::new("an int has more than 32 bits"))
    }

    fn place(&mut self, what: &str) -> Result<usize, Fault> {
        let number = self.long()?;
        usize::try_from(number).map_err(|_| Fault::new(format!("there is no such {what}")))
    }

    fn block(&mut self) -> Result<&'a [u8], Fault> {
        let length = self.long()?;
        let length = usize::try_from(length).map_err(|_| Fault::new("a length is negative"))?;
        self.take(length)
    }

    fn str(&mut self) -> Result<&'a str, Fault> {
        std::str::from_utf8(self.block()?).map_err(|_| Fault::new("the text is not UTF-8"))
    }

    /// Text, as a part of the datum's own memory.
    fn text(&mut self) -> Result<Value, Fault> {
        match Value::from_utf8_or_bytes(self.all.slice_ref(self.block()?)) {
            Value::Bytes(_) => Err(Fault::new("the text is not UTF-8")),
            text => Ok(text),
        }
    }

    /// The items of an array or map, in blocks.
    fn blocks(&mut self, mut item: impl FnMut(&mut Self) -> Result<(), Fault>) -> Result<(), Fault> {
        loop {
            let mut count = self.long()?;
            if count == 0 {
                return Ok(());
            }
            if count < 0 {
                count = count.checked_neg().ok_or_else(|| Fault::new("a count is out of range"))?;
                // How long the block is matters to who skips it alone.
                self.long()?;
            }
            for _ in 0..count {
                item(self)?;
            }
        }
    }
}

fn number(number: i64, to: Number) -> Result<Value, Fault> {
    match to {
        Number::Int(means) => {
            let number = i32::try_from(number).map_err(|_| Fault::new("an int has more than 32 bits"))?;
            int(number, means)
        }
        Number::Long(means) => long(number, means),
        Number::Float => exact(number, 24),
        Number::Double => exact(number, 53),
    }
}

/// An integer as a number of so many significant bits.
fn exact(number: i64, bits: u32) -> Result<Value, Fault> {
    let magnitude = number.unsigned_abs();
    let significant =
        64 - magnitude.leading_zeros() - if magnitude == 0 { 0 } else { magnitude.trailing_zeros() };
    if magnitude != 0 && significant > bits {
        return Err(Fault::unfit("the reader's type would round the number"));
    }
    #[expect(clippy::cast_precision_loss, reason = "the number has no more bits than the type")]
    let float = number as f64;
    double(float)
}

pub(super) fn int(number: i32, means: IntAs) -> Result<Value, Fault> {
    match means {
        IntAs::Number => Ok(Value::Integer(number.into())),
        IntAs::Date => text::of_date(number).map(Value::from),
        IntAs::TimeMillis => text::of_time(number.into(), Unit::Millis).map(Value::from),
    }
}

pub(super) fn long(number: i64, means: LongAs) -> Result<Value, Fault> {
    match means {
        LongAs::Number => Ok(Value::Integer(number)),
        LongAs::TimeMicros => text::of_time(number, Unit::Micros).map(Value::from),
        LongAs::Timestamp(unit) => {
            let time = text::of_timestamp(number, unit)?;
            Ok(Value::Timestamp(SystemTime::from(time).into()))
        }
        LongAs::LocalTimestamp(unit) => text::of_local(number, unit).map(Value::from),
    }
}

pub(super) fn float(float: f32) -> Result<Value, Fault> {
    number::of_float(float)
}

pub(super) fn double(double: f64) -> Result<Value, Fault> {
    number::of_double(double)
}

pub(super) fn bytes(bytes: &[u8], to: BytesAs) -> Result<Value, Fault> {
    match to {
        BytesAs::Bytes => Ok(Value::from(BASE64.encode(bytes))),
        BytesAs::Decimal(is) => text::of_decimal(bytes, is.scale).map(Value::from),
        BytesAs::Text => match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Value::from(text)),
            Err(_) => Err(Fault::new("the text is not UTF-8")),
        },
    }
}

pub(super) fn fixed(bytes: &[u8], means: FixedAs) -> Result<Value, Fault> {
    match means {
        FixedAs::Bytes => self::bytes(bytes, BytesAs::Bytes),
        FixedAs::Decimal(is) => self::bytes(bytes, BytesAs::Decimal(is)),
        FixedAs::Uuid => {
            let hex = data_encoding::HEXLOWER.encode(bytes);
            let part = |range| hex.get(range).unwrap_or_default();
            let parts = [part(0..8), part(8..12), part(12..16), part(16..20), part(20..32)];
            Ok(Value::from(parts.join("-")))
        }
        FixedAs::Duration => {
            let mut map = ObjectMap::new();
            for (name, part) in ["months", "days", "millis"].iter().zip(bytes.chunks_exact(4)) {
                let number = part.try_into().map(u32::from_le_bytes).unwrap_or_default();
                map.insert(KeyString::from(*name), Value::Integer(number.into()));
            }
            Ok(Value::Object(map))
        }
    }
}
