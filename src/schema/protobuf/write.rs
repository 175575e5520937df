//! Values to bytes, fields in the order of their numbers. What the schema does not have, or cannot hold exactly, is a fault;
//! nothing is left out in silence.

use std::borrow::Cow;

use bytes::Bytes;
use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD};
use vrl::value::{KeyString, ObjectMap, Value};

use super::MAX_DEPTH;
use super::known::{self, TYPE, no_type, type_name};
use super::read::wire_of;
use super::types::{Field, Kind, Known, Label, Message, MessageId, Type, Types};
use super::wire::{Wire, put_varint, zigzag};
use crate::schema::{Fault, number};

impl Message {
    /// Writes a value, at most `limit` bytes.
    ///
    /// # Errors
    /// What does not fit, and where.
    pub fn write(&self, value: &Value, limit: usize) -> Result<Bytes, Fault> {
        let mut write = Write { types: self.schema.types(), out: Vec::with_capacity(128.min(limit)), limit };
        write.message(self.id, value, 0)?;
        Ok(write.out.into())
    }
}

struct Write<'t> {
    types: &'t Types,
    out: Vec<u8>,
    limit: usize,
}

/// A number or text as its bytes.
enum Scalar<'v> {
    Varint(u64),
    Four([u8; 4]),
    Eight([u8; 8]),
    Block(Cow<'v, [u8]>),
}

impl<'t> Write<'t> {
    fn message(&mut self, id: MessageId, value: &Value, depth: usize) -> Result<(), Fault> {
        if depth > MAX_DEPTH {
            return Err(Fault::new(format!("the value is deeper than {MAX_DEPTH} levels")));
        }
        let of = self.types.message(id);
        match (of.known, value) {
            (Known::No, Value::Object(map)) => self.fields(of, map, depth),
            (Known::No, _) => {
                Err(Fault::new(format!("expected message {}, got {}", of.full, value.kind_str())))
            }
            (Known::Any, Value::Object(map)) => {
                let fields = self.any(map, depth)?;
                self.fields(of, &fields, depth)
            }
            (Known::Any, _) => {
                Err(Fault::new(format!("expected an object with {TYPE}, got {}", value.kind_str())))
            }
            (known, _) => self.fields(of, &known::fields(known, value)?, depth),
        }
    }

    fn fields(&mut self, of: &'t Type, map: &ObjectMap, depth: usize) -> Result<(), Fault> {
        let mut count = 0;
        let mut members: Vec<Option<&KeyString>> = vec![None; of.oneofs.len()];
        for field in &of.fields {
            let by_name = map.get(field.name.as_str());
            let by_json = Some(field.json.as_str()).filter(|json| *json != field.name.as_str());
            let by_json = by_json.and_then(|json| map.get(json));
            count += usize::from(by_name.is_some()) + usize::from(by_json.is_some());
            let inside = |fault: Fault| of.inside(field, fault);
            if by_name.is_some() && by_json.is_some() {
                return Err(inside(Fault::new("it is there by both of its names")));
            }
            let value = by_name.or(by_json).filter(|value| self.is_there(field, value));
            let Some(value) = value else {
                if field.label == Label::Required {
                    let word = self.types.word(field.kind);
                    return Err(inside(Fault::new(format!("expected {word}, it is missing"))));
                }
                continue;
            };
            if let Some(member) = field.oneof.and_then(|oneof| members.get_mut(oneof))
                && let Some(other) = member.replace(&field.name)
            {
                return Err(inside(Fault::new(format!("of its oneof `{other}` is there too"))));
            }
            self.field(field, value, depth + 1).map_err(inside)?;
        }
        if count == map.len() {
            return Ok(());
        }
        let has = |key: &str| of.fields.iter().any(|field| &*field.name == key || &*field.json == key);
        let unknown = map.keys().find(|key| !has(key)).map_or("", KeyString::as_str);
        Err(Fault::new(format!("message {} has no such field", of.full)).inside(unknown))
    }

    /// Null is what is not there, but for what is null itself.
    fn is_there(&self, field: &Field, value: &Value) -> bool {
        if !matches!(value, Value::Null) {
            return true;
        }
        let can_be_null = match field.kind {
            Kind::Enum(id) => self.types.enumeration(id).is_some_and(|of| of.is_null),
            Kind::Message(id) => self.types.message(id).known == Known::Value,
            _ => false,
        };
        can_be_null && !matches!(field.label, Label::List | Label::Map)
    }

    fn field(&mut self, field: &Field, value: &Value, depth: usize) -> Result<(), Fault> {
        let kind = field.kind;
        match (field.label, value) {
            (Label::Map, Value::Object(map)) => {
                for (key, value) in map {
                    self.entry(field, key, value, depth).map_err(|fault| fault.inside(key.as_str()))?;
                }
                Ok(())
            }
            (Label::Map, _) => Err(Fault::new(format!("expected a map, got {}", value.kind_str()))),
            (Label::List, Value::Array(list)) if field.packed && wire_of(kind) != Wire::Block => {
                if list.is_empty() {
                    return Ok(());
                }
                self.block(field.number, |write| {
                    for (at, item) in list.iter().enumerate() {
                        let scalar =
                            write.scalar(kind, item).map_err(|fault| fault.inside(at.to_string()))?;
                        write.bare(&scalar)?;
                    }
                    Ok(())
                })
            }
            (Label::List, Value::Array(list)) => {
                for (at, item) in list.iter().enumerate() {
                    let put = self.single(field.number, kind, item, depth + 1, true);
                    put.map_err(|fault| fault.inside(at.to_string()))?;
                }
                Ok(())
            }
            (Label::List, _) => Err(Fault::new(format!(
                "expected a list of {}, got {}",
                self.types.word(kind),
                value.kind_str()
            ))),
            (label, _) => self.single(field.number, kind, value, depth, label != Label::Implicit),
        }
    }

    fn entry(&mut self, field: &Field, key: &str, value: &Value, depth: usize) -> Result<(), Fault> {
        let (Kind::Message(id) | Kind::Group(id)) = field.kind else { return Ok(()) };
        let Some((key_field, value_field)) = self.types.message(id).entry() else { return Ok(()) };
        let key = match key_field.kind {
            Kind::Bool => Value::Boolean(match key {
                "true" => true,
                "false" => false,
                _ => return Err(Fault::new("expected a key that is true or false")),
            }),
            Kind::String => Value::from(key),
            // In JSON a key is text, of a number too.
            kind => match key.parse::<i64>() {
                Ok(number) => Value::Integer(number),
                Err(_) if matches!(kind, Kind::Uint64 | Kind::Fixed64) => Value::from(key),
                Err(_) => {
                    return Err(Fault::new(format!("expected a key that is {}", self.types.word(kind))));
                }
            },
        };
        self.block(field.number, |write| {
            write.single(key_field.number, key_field.kind, &key, depth, true)?;
            write.single(value_field.number, value_field.kind, value, depth + 1, true)
        })
    }

    /// A number, text or message, with its tag; `always`: if it is the default too.
    fn single(
        &mut self,
        number: u32,
        kind: Kind,
        value: &Value,
        depth: usize,
        always: bool,
    ) -> Result<(), Fault> {
        match kind {
            Kind::Message(id) => self.block(number, |write| write.message(id, value, depth)),
            Kind::Group(id) => {
                self.tag(number, Wire::Begin)?;
                self.message(id, value, depth)?;
                self.tag(number, Wire::End)
            }
            _ => {
                let scalar = self.scalar(kind, value)?;
                if !always && scalar.is_default() {
                    return Ok(());
                }
                self.tag(number, wire_of(kind))?;
                self.bare(&scalar)
            }
        }
    }

    /// The fields of an `Any`.
    fn any(&mut self, map: &ObjectMap, depth: usize) -> Result<ObjectMap, Fault> {
        let Some(Value::String(url)) = map.get(TYPE) else {
            let none = || Fault::new(format!("expected {TYPE}, which says the type of an Any"));
            return if map.is_empty() { Ok(ObjectMap::new()) } else { Err(none()) };
        };
        let url = String::from_utf8_lossy(url.as_bytes()).into_owned();
        let id = self.types.id(type_name(&url)).ok_or_else(|| no_type(&url))?;
        let mut rest = map.clone();
        rest.remove(TYPE);
        let outer = std::mem::take(&mut self.out);
        if self.types.message(id).known == Known::No {
            self.message(id, &Value::Object(rest), depth + 1)?;
        } else {
            let value = rest.remove("value").unwrap_or(Value::Null);
            if let Some(key) = rest.keys().next() {
                return Err(Fault::new("an Any of this type has a value alone").inside(key.as_str()));
            }
            self.message(id, &value, depth + 1)?;
        }
        let inner = std::mem::replace(&mut self.out, outer);
        Ok(ObjectMap::from([
            (KeyString::from("type_url"), Value::from(url)),
            (KeyString::from("value"), Value::Bytes(inner.into())),
        ]))
    }

    /// A tag, and bytes behind their length.
    fn block(&mut self, number: u32, put: impl FnOnce(&mut Self) -> Result<(), Fault>) -> Result<(), Fault> {
        self.tag(number, Wire::Block)?;
        let start = self.out.len();
        put(self)?;
        let mut length = Vec::with_capacity(5);
        put_varint(&mut length, u64::try_from(self.out.len() - start).unwrap_or(u64::MAX));
        self.has_room(length.len())?;
        self.out.splice(start..start, length);
        Ok(())
    }

    fn tag(&mut self, number: u32, wire: Wire) -> Result<(), Fault> {
        let wire = match wire {
            Wire::Varint => 0,
            Wire::Eight => 1,
            Wire::Block => 2,
            Wire::Begin => 3,
            Wire::End => 4,
            Wire::Four => 5,
        };
        self.bare(&Scalar::Varint(u64::from(number) << 3 | wire))
    }

    fn bare(&mut self, scalar: &Scalar<'_>) -> Result<(), Fault> {
        match scalar {
            Scalar::Varint(number) => put_varint(&mut self.out, *number),
            Scalar::Four(bytes) => self.out.extend_from_slice(bytes),
            Scalar::Eight(bytes) => self.out.extend_from_slice(bytes),
            Scalar::Block(bytes) => {
                self.has_room(bytes.len())?;
                put_varint(&mut self.out, u64::try_from(bytes.len()).unwrap_or(u64::MAX));
                self.out.extend_from_slice(bytes);
            }
        }
        self.has_room(0)
    }

    fn has_room(&self, count: usize) -> Result<(), Fault> {
        if self.out.len().saturating_add(count) > self.limit {
            return Err(Fault::new(format!("the message is longer than {} bytes", self.limit)));
        }
        Ok(())
    }

    fn scalar<'v>(&self, kind: Kind, value: &'v Value) -> Result<Scalar<'v>, Fault> {
        let expected = || Fault::new(format!("expected {}, got {}", self.types.word(kind), value.kind_str()));
        Ok(match kind {
            Kind::Double => Scalar::Eight(number::double(value).ok_or_else(expected)??.to_le_bytes()),
            Kind::Float => {
                Scalar::Four(number::float(number::double(value).ok_or_else(expected)??)?.to_le_bytes())
            }
            Kind::Bool => Scalar::Varint(value.as_boolean().ok_or_else(expected)?.into()),
            Kind::String => match value {
                Value::String(text) if std::str::from_utf8(text.as_bytes()).is_ok() => {
                    Scalar::Block(Cow::Borrowed(text.as_bytes()))
                }
                Value::String(_) => return Err(Fault::new("the text is not UTF-8")),
                Value::Timestamp(_) => Scalar::Block(Cow::Owned(value.coerce_to_bytes().to_vec())),
                _ => return Err(expected()),
            },
            Kind::Bytes => match value {
                Value::Bytes(bytes) => Scalar::Block(Cow::Borrowed(bytes)),
                Value::String(text) => {
                    let forms = [BASE64, BASE64URL, BASE64_NOPAD, BASE64URL_NOPAD];
                    let decoded = forms.iter().find_map(|form| form.decode(text.as_bytes()).ok());
                    Scalar::Block(Cow::Owned(
                        decoded.ok_or_else(|| Fault::new("expected bytes as text in base64"))?,
                    ))
                }
                _ => return Err(expected()),
            },
            Kind::Enum(id) => {
                let of = self.types.enumeration(id);
                match value {
                    Value::String(name) => {
                        let name = String::from_utf8_lossy(name.as_bytes());
                        let number = of.and_then(|of| of.number(&name));
                        let number = number.ok_or_else(|| {
                            Fault::new(format!("{} has no such name", self.types.word(kind)))
                        })?;
                        Scalar::Varint(i64::from(number).cast_unsigned())
                    }
                    Value::Null if of.is_some_and(|of| of.is_null) => Scalar::Varint(0),
                    _ => {
                        let number = integer(value, kind, expected)?;
                        let number = i32::try_from(number).map_err(|_| self.wide(kind))?;
                        Scalar::Varint(i64::from(number).cast_unsigned())
                    }
                }
            }
            _ => self.whole(kind, integer(value, kind, expected)?)?,
        })
    }

    /// An integer as the bytes of its kind.
    fn whole(&self, kind: Kind, number: i128) -> Result<Scalar<'static>, Fault> {
        let wide = || self.wide(kind);
        let int32 = || i32::try_from(number).map_err(|_| wide());
        let uint32 = || u32::try_from(number).map_err(|_| wide());
        let int64 = || i64::try_from(number).map_err(|_| wide());
        let uint64 = || u64::try_from(number).map_err(|_| wide());
        Ok(match kind {
            Kind::Int32 => Scalar::Varint(i64::from(int32()?).cast_unsigned()),
            Kind::Sint32 => Scalar::Varint(zigzag(int32()?.into())),
            Kind::Sfixed32 => Scalar::Four(int32()?.to_le_bytes()),
            Kind::Uint32 => Scalar::Varint(uint32()?.into()),
            Kind::Fixed32 => Scalar::Four(uint32()?.to_le_bytes()),
            Kind::Sint64 => Scalar::Varint(zigzag(int64()?)),
            Kind::Sfixed64 => Scalar::Eight(int64()?.to_le_bytes()),
            Kind::Uint64 => Scalar::Varint(uint64()?),
            Kind::Fixed64 => Scalar::Eight(uint64()?.to_le_bytes()),
            _ => Scalar::Varint(int64()?.cast_unsigned()),
        })
    }

    fn wide(&self, kind: Kind) -> Fault {
        Fault::new(format!("the number is out of the range of {}", self.types.word(kind)))
    }
}

impl Scalar<'_> {
    fn is_default(&self) -> bool {
        match self {
            Scalar::Varint(number) => *number == 0,
            Scalar::Four(bytes) => *bytes == [0; 4],
            Scalar::Eight(bytes) => *bytes == [0; 8],
            Scalar::Block(bytes) => bytes.is_empty(),
        }
    }
}

/// A whole number; one of 64 bits may be text too.
fn integer(value: &Value, kind: Kind, expected: impl Fn() -> Fault) -> Result<i128, Fault> {
    let wide = matches!(kind, Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 | Kind::Uint64 | Kind::Fixed64);
    match value {
        Value::Integer(number) => Ok((*number).into()),
        Value::Float(float) => match number::whole(float.into_inner()) {
            Some(number) => Ok(number.into()),
            None => Err(Fault::new(format!("{}, a fraction or too large", expected().message()))),
        },
        Value::String(text) if wide => {
            let text = String::from_utf8_lossy(text.as_bytes());
            let digits = text.strip_prefix('-').unwrap_or(&text);
            let is_number = (1..=20).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
            is_number.then(|| text.parse().ok()).flatten().ok_or_else(expected)
        }
        _ => Err(expected()),
    }
}
