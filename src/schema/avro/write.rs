//! Values to bytes. What the schema does not have, or cannot hold exactly, is a fault; nothing is left out in silence.

use std::time::SystemTime;

use bytes::Bytes;
use data_encoding::BASE64;
use vrl::value::{ObjectMap, Value};

use super::MAX_DEPTH;
use super::choose::natural;
use super::parse::Schema;
use super::text;
use super::types::{Fixed, FixedAs, IntAs, LongAs, Record, Type, TypeId, Unit};
use crate::schema::{Fault, number};

/// How many values are written or tried for one datum: unions inside of unions may be tried in many ways.
const MOST_VALUES: usize = 4_000_000;
const TOO_MANY: &str = "it has too many values, or too many ways to be written";

/// Writes a value by a schema, at most `limit` bytes.
///
/// # Errors
/// What does not fit, and where.
pub fn encode(schema: &Schema, value: &Value, limit: usize) -> Result<Bytes, Fault> {
    let mut write = Write { schema, out: Vec::with_capacity(128.min(limit)), limit, left: MOST_VALUES };
    write.value(schema.root, value, 0)?;
    Ok(write.out.into())
}

struct Write<'a> {
    schema: &'a Schema,
    out: Vec<u8>,
    limit: usize,
    /// How many values may still be written or tried.
    left: usize,
}

impl Write<'_> {
    fn value(&mut self, of: TypeId, value: &Value, depth: usize) -> Result<(), Fault> {
        if depth > MAX_DEPTH {
            return Err(Fault::new(format!("the value is deeper than {MAX_DEPTH} levels")));
        }
        self.left = self.left.checked_sub(1).ok_or_else(|| Fault::new(TOO_MANY))?;
        let below = depth + 1;
        let of_type = self.schema.get(of);
        match (of_type, value) {
            (Type::Null, Value::Null) => Ok(()),
            (Type::Boolean, Value::Boolean(value)) => self.put(&[u8::from(*value)]),
            (Type::Int(means), _) => {
                let number = i32::try_from(int(value, *means, of_type)?);
                self.long(number.map_err(|_| Fault::new("it has more than the 32 bits of an int"))?.into())
            }
            (Type::Long(means), _) => self.long(long(value, *means, of_type)?),
            (Type::Float, _) => self.put(&float(value, of_type)?.to_le_bytes()),
            (Type::Double, _) => self.put(&double(value, of_type)?.to_le_bytes()),
            (Type::String(uuid), _) => {
                let text = text_of(value, of_type)?;
                if *uuid && uuid_bytes(&text).is_none() {
                    return Err(Fault::new("expected a uuid such as 6ba7b810-9dad-11d1-80b4-00c04fd430c8"));
                }
                self.block(text.as_bytes())
            }
            (Type::Bytes(None), _) => self.block(&raw(value, of_type)?),
            (Type::Bytes(Some(is)), _) => self.block(&text::decimal(&decimal_of(value, of_type)?, *is)?),
            (Type::Fixed(fixed), _) => self.fixed(fixed, value, of_type),
            (Type::Enum(of), Value::String(symbol)) => {
                let at = of.symbols.iter().position(|known| known.as_bytes() == &symbol.as_bytes()[..]);
                let at =
                    at.ok_or_else(|| Fault::new(format!("enum {} has no such symbol", of.names.full)))?;
                self.long(i64::try_from(at).unwrap_or(i64::MAX))
            }
            (Type::Array(items), Value::Array(list)) => {
                self.count(list.len())?;
                for (at, item) in list.iter().enumerate() {
                    self.value(*items, item, below).map_err(|fault| fault.inside(at.to_string()))?;
                }
                if list.is_empty() { Ok(()) } else { self.long(0) }
            }
            (Type::Map(values), Value::Object(map)) => {
                self.count(map.len())?;
                for (key, value) in map {
                    self.block(key.as_bytes())?;
                    self.value(*values, value, below).map_err(|fault| fault.inside(key.as_str()))?;
                }
                if map.is_empty() { Ok(()) } else { self.long(0) }
            }
            (Type::Union(branches), _) => self.union(branches, value, below),
            (Type::Record(record), Value::Object(map)) => self.record(record, map, below),
            _ => Err(expected(of_type, value)),
        }
    }

    /// Plain JSON does not say which branch is meant: the first that is naturally written so and takes all of the value, else
    /// the first that takes it.
    fn union(&mut self, branches: &[TypeId], value: &Value, depth: usize) -> Result<(), Fault> {
        let is_null = |branch: &TypeId| matches!(self.schema.get(*branch), Type::Null);
        let others = branches.iter().filter(|branch| !is_null(branch)).count();
        let natural =
            |at: &usize| branches.get(*at).is_some_and(|branch| natural(self.schema.get(*branch), value));
        let (first, then): (Vec<usize>, Vec<usize>) = (0..branches.len()).partition(natural);
        let start = self.out.len();
        let mut said = None;
        for at in first.into_iter().chain(then) {
            let Some(branch) = branches.get(at) else { continue };
            self.long(i64::try_from(at).unwrap_or(i64::MAX))?;
            match self.value(*branch, value, depth) {
                Ok(()) => return Ok(()),
                Err(fault) if self.left == 0 => return Err(fault),
                Err(fault) => {
                    // Of `["null", X]` it is X that says what is wrong.
                    if others == 1 && !is_null(branch) && !matches!(value, Value::Null) {
                        said = Some(fault);
                    }
                    self.out.truncate(start);
                }
            }
        }
        Err(said.unwrap_or_else(|| {
            let names: Vec<String> = branches.iter().map(|branch| self.schema.get(*branch).name()).collect();
            Fault::new(format!("expected one of {}; got {}", names.join(", "), value.kind_str()))
        }))
    }

    fn record(&mut self, record: &Record, map: &ObjectMap, depth: usize) -> Result<(), Fault> {
        for field in &record.fields {
            let inside = |fault: Fault| fault.inside(&*field.name);
            match (map.get(field.name.as_str()), &field.default) {
                (Some(value), _) => self.value(field.of, value, depth).map_err(inside)?,
                (None, Some(json)) => {
                    let value = self.schema.default(field.of, json).map_err(inside)?;
                    self.value(field.of, &value, depth).map_err(inside)?;
                }
                (None, None) => {
                    let name = self.schema.get(field.of).name();
                    return Err(inside(Fault::new(format!("expected {name}, it is missing"))));
                }
            }
        }
        let unknown = map.keys().find(|key| !record.fields.iter().any(|field| field.name == key.as_str()));
        match unknown {
            None => Ok(()),
            Some(key) => {
                Err(Fault::new(format!("record {} has no such field", record.names.full))
                    .inside(key.as_str()))
            }
        }
    }

    fn fixed(&mut self, fixed: &Fixed, value: &Value, of_type: &Type) -> Result<(), Fault> {
        let bytes = match fixed.means {
            FixedAs::Bytes => raw(value, of_type)?,
            FixedAs::Uuid => uuid_bytes(&text_of(value, of_type)?)
                .ok_or_else(|| Fault::new("expected a uuid such as 6ba7b810-9dad-11d1-80b4-00c04fd430c8"))?,
            FixedAs::Duration => duration(value, of_type)?,
            FixedAs::Decimal(is) => {
                let shortest = text::decimal(&decimal_of(value, of_type)?, is)?;
                let sign = if shortest.first().is_some_and(|first| first & 0x80 != 0) { 0xff } else { 0 };
                let missing = fixed.size.saturating_sub(shortest.len());
                let mut bytes = vec![sign; missing];
                bytes.extend(shortest);
                bytes
            }
        };
        if bytes.len() != fixed.size {
            return Err(Fault::new(format!("expected {} bytes, got {}", fixed.size, bytes.len())));
        }
        self.put(&bytes)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        if self.out.len().saturating_add(bytes.len()) > self.limit {
            return Err(Fault::new(format!("the datum is longer than {} bytes", self.limit)));
        }
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    fn long(&mut self, number: i64) -> Result<(), Fault> {
        let mut zigzag = ((number << 1) ^ (number >> 63)).cast_unsigned();
        let mut bytes = [0_u8; 10];
        let mut length = 0;
        for byte in &mut bytes {
            *byte = u8::try_from(zigzag & 0x7f).unwrap_or(0);
            zigzag >>= 7;
            length += 1;
            if zigzag == 0 {
                break;
            }
            *byte |= 0x80;
        }
        self.put(bytes.get(..length).unwrap_or_default())
    }

    fn count(&mut self, count: usize) -> Result<(), Fault> {
        self.long(i64::try_from(count).unwrap_or(i64::MAX))
    }

    fn block(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.count(bytes.len())?;
        self.put(bytes)
    }
}

fn expected(of_type: &Type, value: &Value) -> Fault {
    Fault::new(format!("expected {}, got {}", of_type.name(), value.kind_str()))
}

fn int(value: &Value, means: IntAs, of_type: &Type) -> Result<i64, Fault> {
    match (means, value) {
        (_, Value::Integer(number)) => Ok(*number),
        (IntAs::Number, Value::Float(float)) => whole(float.into_inner(), of_type),
        (IntAs::Date, Value::String(text)) => {
            text::date(&String::from_utf8_lossy(text.as_bytes())).map(i64::from)
        }
        (IntAs::TimeMillis, Value::String(text)) => {
            text::time(&String::from_utf8_lossy(text.as_bytes()), Unit::Millis)
        }
        _ => Err(expected(of_type, value)),
    }
}

fn long(value: &Value, means: LongAs, of_type: &Type) -> Result<i64, Fault> {
    match (means, value) {
        (_, Value::Integer(number)) => Ok(*number),
        (LongAs::Number, Value::Float(float)) => whole(float.into_inner(), of_type),
        (LongAs::TimeMicros, Value::String(text)) => {
            text::time(&String::from_utf8_lossy(text.as_bytes()), Unit::Micros)
        }
        (LongAs::LocalTimestamp(unit), Value::String(text)) => {
            text::local(&String::from_utf8_lossy(text.as_bytes()), unit)
        }
        (LongAs::Timestamp(unit), Value::Timestamp(time)) => {
            let time =
                jiff::Timestamp::try_from(SystemTime::from(*time)).map_err(|_| expected(of_type, value))?;
            text::timestamp(time, unit)
        }
        (LongAs::Timestamp(unit), Value::String(text)) => {
            let time: jiff::Timestamp = String::from_utf8_lossy(text.as_bytes())
                .parse()
                .map_err(|_| Fault::new("expected a time such as 2026-11-21T09:41:02.118Z"))?;
            text::timestamp(time, unit)
        }
        _ => Err(expected(of_type, value)),
    }
}

/// A float that is a whole number, as JSON may write an integer.
fn whole(float: f64, of_type: &Type) -> Result<i64, Fault> {
    number::whole(float).ok_or_else(|| Fault::new(format!("expected {}, got a fraction", of_type.name())))
}

fn float(value: &Value, of_type: &Type) -> Result<f32, Fault> {
    number::float(double(value, of_type)?)
}

fn double(value: &Value, of_type: &Type) -> Result<f64, Fault> {
    number::double(value).ok_or_else(|| expected(of_type, value))?
}

fn text_of(value: &Value, of_type: &Type) -> Result<String, Fault> {
    match value {
        Value::String(text) => Ok(std::str::from_utf8(text.as_bytes())
            .map_err(|_| Fault::new("the text is not UTF-8"))?
            .to_owned()),
        Value::Timestamp(_) => Ok(String::from_utf8_lossy(&value.coerce_to_bytes()).into_owned()),
        _ => Err(expected(of_type, value)),
    }
}

/// Bytes: as they are, or as text in base64.
fn raw(value: &Value, of_type: &Type) -> Result<Vec<u8>, Fault> {
    match value {
        Value::Bytes(bytes) => Ok(bytes.to_vec()),
        Value::String(text) => BASE64
            .decode(text.as_bytes())
            .map_err(|_| Fault::new(format!("expected {} as text in base64", of_type.name()))),
        _ => Err(expected(of_type, value)),
    }
}

/// The text of a decimal: as it is, or that of a number.
fn decimal_of(value: &Value, of_type: &Type) -> Result<String, Fault> {
    match value {
        Value::String(text) => Ok(String::from_utf8_lossy(text.as_bytes()).into_owned()),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Float(float) => Ok(float.to_string()),
        _ => Err(expected(of_type, value)),
    }
}

fn duration(value: &Value, of_type: &Type) -> Result<Vec<u8>, Fault> {
    let Value::Object(map) = value else { return Err(expected(of_type, value)) };
    let mut bytes = Vec::with_capacity(12);
    for name in ["months", "days", "millis"] {
        let part = map.get(name).and_then(Value::as_integer).and_then(|number| u32::try_from(number).ok());
        let part = part.ok_or_else(|| Fault::new("expected a number from 0 to 4294967295").inside(name))?;
        bytes.extend(part.to_le_bytes());
    }
    match map.len() {
        3 => Ok(bytes),
        _ => Err(Fault::new("a duration has months, days and millis alone")),
    }
}

/// The bytes of a UUID in its text of five parts.
fn uuid_bytes(text: &str) -> Option<Vec<u8>> {
    let parts: Vec<&str> = text.split('-').collect();
    if parts.iter().map(|part| part.len()).ne([8, 4, 4, 4, 12]) {
        return None;
    }
    data_encoding::HEXLOWER_PERMISSIVE.decode(parts.concat().as_bytes()).ok()
}
