//! Bytes to values, straight from the wire. A field may come in pieces, and twice: of a number the last one counts, and the
//! pieces of a message are one message, whose bytes are those of all.

use std::borrow::Cow;

use data_encoding::BASE64;
use vrl::value::{KeyString, ObjectMap, Value};

use super::MAX_DEPTH;
use super::known;
use super::types::{Field, Kind, Known, Label, Message, MessageId, Type, Types};
use super::wire::{Input, Tag, Wire, of_zigzag};
use crate::event::json::Wide;
use crate::schema::{Fault, number};

/// How many values a message may stand for, where eight for each of its bytes are fewer or more: fields that are not there
/// have defaults. Two for each of its bytes it may stand for however long it is.
const VALUES: std::ops::RangeInclusive<usize> = 20_000..=1_000_000;

impl Message {
    /// Reads one message: all of the bytes.
    ///
    /// # Errors
    /// What is wrong, and where: bytes that end too early, lengths, numbers and types that are out of range or none, text
    /// that is no UTF-8, what has no exact form as a value, what is deeper than 100 levels, a required field that is missing.
    pub fn read(&self, bytes: &[u8]) -> Result<Value, Fault> {
        self.read_with(bytes, Wide::Error)
    }

    /// The same; `wide` says what becomes of an unsigned integer that no `i64` holds.
    ///
    /// # Errors
    /// As above.
    pub fn read_with(&self, bytes: &[u8], wide: Wide) -> Result<Value, Fault> {
        let left = bytes.len().saturating_mul(8).clamp(*VALUES.start(), *VALUES.end());
        let left = left.max(bytes.len().saturating_mul(2));
        Read { types: self.schema.types(), left, wide }.message(self.id, bytes, 0)
    }
}

pub(super) struct Read<'t> {
    pub(super) types: &'t Types,
    /// How many values may still come.
    left: usize,
    wide: Wide,
}

/// What has been found of a field.
enum Found<'b> {
    Nothing,
    One(Value),
    List(Vec<Value>),
    Map(ObjectMap),
    /// The bytes of a message, of all its pieces.
    Pieces(Cow<'b, [u8]>),
}

impl<'t> Read<'t> {
    pub(super) fn message(&mut self, id: MessageId, bytes: &[u8], depth: usize) -> Result<Value, Fault> {
        if depth > MAX_DEPTH {
            return Err(Fault::new(format!("the value is deeper than {MAX_DEPTH} levels")));
        }
        let of = self.types.message(id);
        self.spend(1 + of.fields.len() / 8)?;
        let found = self.fields(of, bytes, depth)?;
        let mut map = ObjectMap::new();
        for (field, found) in of.fields.iter().zip(found) {
            let value = self.finish(field, found, depth + 1);
            if let Some(value) = value.map_err(|fault| of.inside(field, fault))? {
                map.insert(field.name.clone(), value);
            }
        }
        match of.known {
            Known::No => Ok(Value::Object(map)),
            known => known::read(self, known, map, depth),
        }
    }

    /// What there is of each field.
    fn fields<'b>(&mut self, of: &Type, bytes: &'b [u8], depth: usize) -> Result<Vec<Found<'b>>, Fault> {
        let mut found: Vec<Found<'b>> = of.fields.iter().map(|_| Found::Nothing).collect();
        let mut members: Vec<Option<usize>> = vec![None; of.oneofs.len()];
        let mut input = Input(bytes);
        while let Some(tag) = input.tag()? {
            let place = of.place(tag.number).and_then(|at| Some((at, of.fields.get(at)?)));
            let Some((at, field)) = place else {
                input.skip(tag)?;
                continue;
            };
            if let Some(member) = field.oneof.and_then(|oneof| members.get_mut(oneof)) {
                let before = member.replace(at).filter(|before| *before != at);
                if let Some(other) = before.and_then(|before| found.get_mut(before)) {
                    *other = Found::Nothing;
                }
            }
            if let Some(found) = found.get_mut(at) {
                self.field(field, found, tag, &mut input, depth + 1)
                    .map_err(|fault| of.inside(field, fault))?;
            }
        }
        Ok(found)
    }

    fn field<'b>(
        &mut self,
        field: &Field,
        found: &mut Found<'b>,
        tag: Tag,
        input: &mut Input<'b>,
        depth: usize,
    ) -> Result<(), Fault> {
        match (field.label, field.kind) {
            (Label::Map, kind) => {
                let bytes = self.embedded(kind, tag, input)?;
                let (key, value) = self.entry(kind, bytes, depth)?;
                if !matches!(found, Found::Map(_)) {
                    *found = Found::Map(ObjectMap::new());
                }
                if let Found::Map(map) = found {
                    map.insert(key, value);
                }
            }
            (Label::List, kind) => {
                if !matches!(found, Found::List(_)) {
                    *found = Found::List(Vec::new());
                }
                if let Found::List(list) = found {
                    self.items(kind, list, tag, input, depth)
                        .map_err(|fault| fault.inside(list.len().to_string()))?;
                }
            }
            (_, kind @ (Kind::Message(_) | Kind::Group(_))) => {
                let bytes = self.embedded(kind, tag, input)?;
                match found {
                    Found::Pieces(pieces) => pieces.to_mut().extend_from_slice(bytes),
                    _ => *found = Found::Pieces(Cow::Borrowed(bytes)),
                }
            }
            (_, kind) => {
                self.fits(kind, tag.wire)?;
                *found = Found::One(self.scalar(kind, input)?);
            }
        }
        Ok(())
    }

    /// The next item of a list, or several of them in one.
    fn items(
        &mut self,
        kind: Kind,
        list: &mut Vec<Value>,
        tag: Tag,
        input: &mut Input<'_>,
        depth: usize,
    ) -> Result<(), Fault> {
        match kind {
            Kind::Message(id) | Kind::Group(id) => {
                let bytes = self.embedded(kind, tag, input)?;
                list.push(self.message(id, bytes, depth + 1)?);
            }
            _ if tag.wire == Wire::Block && wire_of(kind) != Wire::Block => {
                let mut packed = Input(input.block()?);
                while !packed.is_empty() {
                    list.push(self.scalar(kind, &mut packed)?);
                }
            }
            _ => {
                self.fits(kind, tag.wire)?;
                list.push(self.scalar(kind, input)?);
            }
        }
        Ok(())
    }

    fn entry(&mut self, kind: Kind, bytes: &[u8], depth: usize) -> Result<(KeyString, Value), Fault> {
        let none = || Fault::new("it is no entry of a map");
        let (Kind::Message(id) | Kind::Group(id)) = kind else { return Err(none()) };
        self.spend(1)?;
        let of = self.types.message(id);
        let (key_field, value_field) = of.entry().ok_or_else(none)?;
        let mut found = self.fields(of, bytes, depth)?.into_iter();
        let (Some(key), Some(value)) = (found.next(), found.next()) else { return Err(none()) };
        let key =
            match self.finish(key_field, key, depth)?.map_or_else(|| self.default(key_field.kind), Ok)? {
                Value::String(text) => KeyString::from(String::from_utf8_lossy(text.as_bytes())),
                other => KeyString::from(other.to_string()),
            };
        let value = match self.finish(value_field, value, depth + 1) {
            Ok(Some(value)) => Ok(value),
            Ok(None) => match value_field.kind {
                Kind::Message(id) | Kind::Group(id) => self.message(id, &[], depth + 1),
                kind => self.default(kind),
            },
            Err(fault) => Err(fault),
        };
        let value = value.map_err(|fault| fault.inside(key.as_str()))?;
        Ok((key, value))
    }

    /// The value of what has been found; `None` where the field is left out.
    fn finish(&mut self, field: &Field, found: Found<'_>, depth: usize) -> Result<Option<Value>, Fault> {
        Ok(Some(match (found, field.kind) {
            (Found::One(value), _) => value,
            (Found::List(list), _) => Value::Array(list),
            (Found::Map(map), _) => Value::Object(map),
            (Found::Pieces(bytes), Kind::Message(id) | Kind::Group(id)) => self.message(id, &bytes, depth)?,
            (Found::Pieces(_) | Found::Nothing, kind) => {
                self.spend(1)?;
                match field.label {
                    Label::Optional => return Ok(None),
                    Label::Required => {
                        return Err(Fault::new(format!("expected {}, it is missing", self.types.word(kind))));
                    }
                    Label::Implicit => self.default(kind)?,
                    Label::List => Value::Array(Vec::new()),
                    Label::Map => Value::Object(ObjectMap::new()),
                }
            }
        }))
    }

    fn default(&self, kind: Kind) -> Result<Value, Fault> {
        Ok(match kind {
            Kind::Double | Kind::Float => Value::from_f64_or_zero(0.0),
            Kind::Bool => Value::Boolean(false),
            Kind::String | Kind::Bytes => Value::from(""),
            Kind::Enum(_) => self.scalar_of(kind, 0)?,
            _ => Value::Integer(0),
        })
    }

    /// The bytes of a message or group.
    fn embedded<'b>(&self, kind: Kind, tag: Tag, input: &mut Input<'b>) -> Result<&'b [u8], Fault> {
        self.fits(kind, tag.wire)?;
        if tag.wire == Wire::Begin { input.group(tag.number) } else { input.block() }
    }

    fn fits(&self, kind: Kind, wire: Wire) -> Result<(), Fault> {
        if wire_of(kind) == wire {
            return Ok(());
        }
        Err(Fault::new(format!("expected {}, its bytes are of another type", self.types.word(kind))))
    }

    fn scalar(&mut self, kind: Kind, input: &mut Input<'_>) -> Result<Value, Fault> {
        self.spend(1)?;
        match kind {
            Kind::Double => number::of_double(f64::from_le_bytes(input.array()?)),
            Kind::Float => number::of_float(f32::from_le_bytes(input.array()?)),
            Kind::Fixed32 => Ok(Value::Integer(u32::from_le_bytes(input.array()?).into())),
            Kind::Sfixed32 => Ok(Value::Integer(i32::from_le_bytes(input.array()?).into())),
            Kind::Fixed64 => self.scalar_of(kind, u64::from_le_bytes(input.array()?)),
            Kind::Sfixed64 => Ok(Value::Integer(i64::from_le_bytes(input.array()?))),
            Kind::String => match std::str::from_utf8(input.block()?) {
                Ok(text) => Ok(Value::from(text)),
                Err(_) => Err(Fault::new("the text is not UTF-8")),
            },
            Kind::Bytes => Ok(Value::from(BASE64.encode(input.block()?))),
            _ => self.scalar_of(kind, input.varint()?),
        }
    }

    /// What a number of 64 bits stands for.
    fn scalar_of(&self, kind: Kind, bits: u64) -> Result<Value, Fault> {
        let narrow = |fits: bool| match fits {
            true => Ok(()),
            false => Err(Fault::new(format!("it has more than the 32 bits of {}", self.types.word(kind)))),
        };
        Ok(match kind {
            Kind::Bool => Value::Boolean(bits != 0),
            Kind::Enum(id) => {
                let number = i32::try_from(bits.cast_signed());
                narrow(number.is_ok())?;
                let (number, of) = (number.unwrap_or_default(), self.types.enumeration(id));
                match of.and_then(|of| of.name(number)) {
                    _ if of.is_some_and(|of| of.is_null) => Value::Null,
                    Some(name) => Value::from(name),
                    None => Value::Integer(number.into()),
                }
            }
            Kind::Int32 => {
                narrow(i32::try_from(bits.cast_signed()).is_ok())?;
                Value::Integer(bits.cast_signed())
            }
            Kind::Sint32 => {
                narrow(u32::try_from(bits).is_ok())?;
                Value::Integer(of_zigzag(bits))
            }
            Kind::Sint64 => Value::Integer(of_zigzag(bits)),
            Kind::Uint32 => {
                narrow(u32::try_from(bits).is_ok())?;
                Value::Integer(bits.cast_signed())
            }
            Kind::Uint64 | Kind::Fixed64 => match i64::try_from(bits) {
                Ok(number) => Value::Integer(number),
                Err(_) if self.wide == Wide::Text => Value::from(bits.to_string()),
                Err(_) => {
                    return Err(Fault::new(format!("it is above {}, and would be another number", i64::MAX)));
                }
            },
            _ => Value::Integer(bits.cast_signed()),
        })
    }

    fn spend(&mut self, count: usize) -> Result<(), Fault> {
        let left = self.left.checked_sub(count);
        self.left = left.ok_or_else(|| Fault::new("it has more values than its bytes can mean"))?;
        Ok(())
    }
}

impl Type {
    /// A fault in a field, with its name; what has a form of its own shows none of its fields.
    pub(super) fn inside(&self, field: &Field, fault: Fault) -> Fault {
        if self.known == Known::No { fault.inside(field.name.as_str()) } else { fault }
    }
}

/// How a kind's bytes are delimited.
pub(super) fn wire_of(kind: Kind) -> Wire {
    match kind {
        Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => Wire::Eight,
        Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => Wire::Four,
        Kind::String | Kind::Bytes | Kind::Message(_) => Wire::Block,
        Kind::Group(_) => Wire::Begin,
        _ => Wire::Varint,
    }
}
