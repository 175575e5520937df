//! A serde deserializer over the tree. An error knows the node at which it arose: the innermost one.

use std::collections::HashSet;
use std::fmt;

use serde::de::{self, DeserializeSeed, Unexpected, Visitor};
use serde::forward_to_deserialize_any;

use super::path::{Path, Segment};
use super::scalar::Word;
use super::{Entry, Kind, Node};
use crate::spec::span::Span;

/// Why a typed value could not be read, and at which node.
#[derive(Debug)]
pub(super) struct Fault {
    pub what: What,
    pub place: Option<Place>,
}

/// The node of a fault.
#[derive(Debug)]
pub(super) struct Place {
    /// The node to leave out.
    pub id: u32,
    /// What to point at.
    pub span: Span,
    pub path: Path,
    /// The key is at fault, not its value.
    pub key: bool,
}

/// What a fault is.
#[derive(Debug)]
pub(super) enum What {
    UnknownField {
        name: String,
        known: &'static [&'static str],
    },
    UnknownWord {
        word: String,
        known: &'static [&'static str],
    },
    Missing(&'static str),
    Null,
    Type {
        expected: String,
        found: String,
        /// The fields of the mapping that is expected; none where they are free, or where no mapping is.
        fields: &'static [&'static str],
    },
    /// A mapping with one key of these.
    OneKey(&'static [&'static str]),
    Custom(String),
    /// It follows from a finding that was made already.
    Follows,
}

impl Fault {
    fn new(what: What) -> Fault {
        Fault { what, place: None }
    }

    fn of_type(expected: &dyn de::Expected, found: String) -> Fault {
        Fault::new(What::Type { expected: plain(&expected.to_string()), found, fields: &[] })
    }

    /// The same, where a mapping with these fields is expected.
    fn with_fields(mut self, known: &'static [&'static str]) -> Fault {
        if let What::Type { expected, fields, .. } = &mut self.what
            && expected == "a mapping"
            && fields.is_empty()
        {
            *fields = known;
        }
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.what)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Fault {
        Fault::new(What::Custom(message.to_string()))
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn de::Expected) -> Fault {
        Fault::of_type(expected, shown(&found))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn de::Expected) -> Fault {
        Fault::of_type(expected, shown(&found))
    }

    fn invalid_length(length: usize, expected: &dyn de::Expected) -> Fault {
        Fault::of_type(expected, format!("{length} of them"))
    }

    fn unknown_variant(word: &str, known: &'static [&'static str]) -> Fault {
        Fault::new(What::UnknownWord { word: word.to_owned(), known })
    }

    fn unknown_field(name: &str, known: &'static [&'static str]) -> Fault {
        Fault::new(What::UnknownField { name: name.to_owned(), known })
    }

    fn missing_field(name: &'static str) -> Fault {
        Fault::new(What::Missing(name))
    }

    fn duplicate_field(name: &'static str) -> Fault {
        Fault::new(What::Custom(format!("the key `{name}` is there twice")))
    }
}

/// serde's words in ours: its structs are mappings.
fn plain(expected: &str) -> String {
    match expected {
        "a string" | "a borrowed string" | "a character" => "a text".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "a mapping".to_owned(),
        other if other.starts_with("struct ") => "a mapping".to_owned(),
        other if other.starts_with("enum ") || other.starts_with("variant of enum ") => {
            "a word or a mapping".to_owned()
        }
        "u8" | "u16" | "u32" | "u64" | "usize" | "i8" | "i16" | "i32" | "i64" => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        other if other.starts_with("a nonzero") => "a whole number above 0".to_owned(),
        other => other.to_owned(),
    }
}

fn shown(found: &Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(value) => format!("`{value}`"),
        Unexpected::Unsigned(value) => format!("the number {value}"),
        Unexpected::Signed(value) => format!("the number {value}"),
        Unexpected::Float(value) => format!("the number {value}"),
        Unexpected::Str(text) if text.chars().count() <= 40 => format!("the text `{text}`"),
        Unexpected::Str(_) => "a text".to_owned(),
        Unexpected::Unit | Unexpected::Option => "nothing".to_owned(),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a mapping".to_owned(),
        other => other.to_string(),
    }
}

/// The way up, for the path of a fault.
#[derive(Clone, Copy)]
enum Way<'a> {
    Root,
    Key(&'a Way<'a>, &'a Entry),
    Index(&'a Way<'a>, usize),
}

impl Way<'_> {
    fn path(&self) -> Path {
        fn collect(way: &Way<'_>, out: &mut Vec<Segment>) {
            match way {
                Way::Root => {}
                Way::Key(up, entry) => {
                    collect(up, out);
                    out.push(Segment::Key(entry.key.clone()));
                }
                Way::Index(up, at) => {
                    collect(up, out);
                    out.push(Segment::Index(*at));
                }
            }
        }
        let mut out = Vec::new();
        collect(self, &mut out);
        out.into_iter().collect()
    }
}

/// Reads one node.
pub(super) struct NodeReader<'a, 'w> {
    node: &'a Node,
    skip: &'w HashSet<u32>,
    way: Way<'w>,
}

impl<'a, 'w> NodeReader<'a, 'w> {
    pub(super) fn root(node: &'a Node, skip: &'w HashSet<u32>) -> NodeReader<'a, 'w> {
        NodeReader { node, skip, way: Way::Root }
    }

    /// Reads the node; an error of the type itself, made outside of this file, has its place here.
    fn read<S: DeserializeSeed<'a>>(self, seed: S) -> Result<S::Value, Fault> {
        let again = NodeReader { node: self.node, skip: self.skip, way: self.way };
        seed.deserialize(self).map_err(|fault| again.at(fault))
    }

    fn at(&self, fault: Fault) -> Fault {
        let place = Place { id: self.node.id, span: self.node.span, path: self.way.path(), key: false };
        Fault { place: fault.place.or(Some(place)), ..fault }
    }

    fn wrong<T>(&self, expected: &dyn de::Expected) -> Result<T, Fault> {
        if matches!(self.node.kind, Kind::Null) {
            return Err(self.at(Fault::new(What::Null)));
        }
        let found = match &self.node.kind {
            Kind::Null => Unexpected::Unit,
            Kind::List(_) => Unexpected::Seq,
            Kind::Map(_) => Unexpected::Map,
            Kind::Scalar(text, style) => match Word::of(text, *style) {
                Word::Bool(value) => Unexpected::Bool(value),
                Word::Unsigned(value) => Unexpected::Unsigned(value),
                Word::Signed(value) => Unexpected::Signed(value),
                Word::Float(value) => Unexpected::Float(value),
                Word::Unclear(why) => {
                    return Err(self.at(de::Error::custom(why)));
                }
                Word::Text => Unexpected::Str(text),
            },
        };
        Err(self.at(de::Error::invalid_type(found, expected)))
    }

    fn visit_map<V: Visitor<'a>>(&self, entries: &'a [Entry], visitor: V) -> Result<V::Value, Fault> {
        let map = Map { reader: self, entries: entries.iter(), current: None };
        visitor.visit_map(map).map_err(|fault| match &fault.what {
            // A visitor that compares keys itself: the place is that of the key all the same.
            What::UnknownField { name, .. } if fault.place.is_none() => {
                match entries.iter().find(|entry| entry.key == *name) {
                    Some(entry) => Fault { place: Some(self.key_place(entry)), ..fault },
                    None => self.at(fault),
                }
            }
            _ => self.at(fault),
        })
    }

    fn key_place(&self, entry: &Entry) -> Place {
        let path = Way::Key(&self.way, entry).path();
        Place { id: entry.value.id, span: entry.key_span, path, key: true }
    }

    fn visit_list<V: Visitor<'a>>(&self, items: &'a [Node], visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_seq(List { reader: self, items: items.iter().enumerate() }).map_err(|f| self.at(f))
    }

    fn visit_word<V: Visitor<'a>>(&self, visitor: V) -> Result<V::Value, Fault> {
        let Kind::Scalar(text, style) = &self.node.kind else { return self.wrong(&visitor) };
        match Word::of(text, *style) {
            Word::Bool(value) => visitor.visit_bool(value),
            Word::Unsigned(value) => visitor.visit_u64(value),
            Word::Signed(value) => visitor.visit_i64(value),
            Word::Float(value) => visitor.visit_f64(value),
            Word::Text => visitor.visit_borrowed_str(text),
            Word::Unclear(why) => Err(de::Error::custom(why)),
        }
        .map_err(|f| self.at(f))
    }
}

impl<'de> de::Deserializer<'de> for NodeReader<'de, '_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.kind {
            Kind::Null => match visitor.visit_unit() {
                Ok(value) => Ok(value),
                // A text or a mapping was asked for, and there is neither.
                Err(Fault { what: What::Type { .. }, .. }) => Err(self.at(Fault::new(What::Null))),
                Err(fault) => Err(self.at(fault)),
            },
            Kind::Scalar(..) => self.visit_word(visitor),
            Kind::List(items) => self.visit_list(items, visitor),
            Kind::Map(entries) => self.visit_map(entries, visitor),
        }
    }

    /// A text takes any scalar as it is written: `x-version: 1` is the text `1`.
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.kind {
            Kind::Scalar(text, _) => visitor.visit_borrowed_str(text).map_err(|f| self.at(f)),
            Kind::Null | Kind::List(_) | Kind::Map(_) => self.wrong(&visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    /// An absent key never comes here; a null that is there is not the same as an absent key.
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.node.kind {
            Kind::Null => Err(self.at(Fault::new(What::Null))),
            Kind::Scalar(..) | Kind::List(_) | Kind::Map(_) => visitor.visit_some(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.kind {
            Kind::List(items) => self.visit_list(items, visitor),
            Kind::Null | Kind::Scalar(..) | Kind::Map(_) => self.wrong(&visitor),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        v: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_seq(v)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.kind {
            Kind::Map(entries) => self.visit_map(entries, visitor),
            Kind::Null | Kind::Scalar(..) | Kind::List(_) => self.wrong(&visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match &self.node.kind {
            Kind::Map(entries) => self.visit_map(entries, visitor),
            Kind::Null | Kind::Scalar(..) | Kind::List(_) => {
                self.wrong(&visitor).map_err(|fault| fault.with_fields(fields))
            }
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let variant = match &self.node.kind {
            Kind::Scalar(..) => Variant { reader: &self, entry: None },
            Kind::Map(entries) => {
                let mut left = entries.iter().filter(|entry| !self.skip.contains(&entry.value.id));
                match (left.next(), left.next()) {
                    (Some(entry), None) => Variant { reader: &self, entry: Some(entry) },
                    (None, _) if !entries.is_empty() => return Err(self.at(Fault::new(What::Follows))),
                    _ => return Err(self.at(Fault::new(What::OneKey(variants)))),
                }
            }
            Kind::Null | Kind::List(_) => return self.wrong(&visitor),
        };
        visitor.visit_enum(variant).map_err(|f| self.at(f))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct
    }
}

struct Map<'r, 'a> {
    reader: &'r NodeReader<'a, 'r>,
    entries: std::slice::Iter<'a, Entry>,
    current: Option<&'a Entry>,
}

impl<'a> de::MapAccess<'a> for Map<'_, 'a> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'a>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        let skip = self.reader.skip;
        self.current = self.entries.find(|entry| !skip.contains(&entry.value.id));
        let Some(entry) = self.current else { return Ok(None) };
        let key = de::value::BorrowedStrDeserializer::<Fault>::new(&entry.key);
        seed.deserialize(key).map(Some).map_err(|fault| Fault {
            place: fault.place.or_else(|| Some(self.reader.key_place(entry))),
            ..fault
        })
    }

    fn next_value_seed<S: DeserializeSeed<'a>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        let Some(entry) = self.current else { return Err(de::Error::custom("a value without a key")) };
        let way = Way::Key(&self.reader.way, entry);
        NodeReader { node: &entry.value, skip: self.reader.skip, way }.read(seed)
    }
}

struct List<'r, 'a> {
    reader: &'r NodeReader<'a, 'r>,
    items: std::iter::Enumerate<std::slice::Iter<'a, Node>>,
}

impl<'a> de::SeqAccess<'a> for List<'_, 'a> {
    type Error = Fault;

    fn next_element_seed<S: DeserializeSeed<'a>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        let skip = self.reader.skip;
        let Some((at, item)) = self.items.find(|(_, item)| !skip.contains(&item.id)) else { return Ok(None) };
        let way = Way::Index(&self.reader.way, at);
        NodeReader { node: item, skip, way }.read(seed).map(Some)
    }
}

struct Variant<'r, 'a> {
    reader: &'r NodeReader<'a, 'r>,
    entry: Option<&'a Entry>,
}

impl<'r, 'a> de::EnumAccess<'a> for Variant<'r, 'a> {
    type Error = Fault;
    type Variant = Variant<'r, 'a>;

    fn variant_seed<S: DeserializeSeed<'a>>(self, seed: S) -> Result<(S::Value, Self::Variant), Fault> {
        let word = match (self.entry, &self.reader.node.kind) {
            (Some(entry), _) => entry.key.as_str(),
            (None, Kind::Scalar(text, _)) => text,
            (None, _) => "",
        };
        let value = seed.deserialize(de::value::BorrowedStrDeserializer::<Fault>::new(word));
        let value = value.map_err(|fault| match self.entry {
            None => self.reader.at(fault),
            Some(entry) => {
                Fault { place: fault.place.or_else(|| Some(self.reader.key_place(entry))), ..fault }
            }
        })?;
        Ok((value, self))
    }
}

impl<'a> de::VariantAccess<'a> for Variant<'_, 'a> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        match self.entry {
            None => Ok(()),
            Some(_) => Err(de::Error::custom("this word takes no value; write it alone")),
        }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'a>>(self, seed: S) -> Result<S::Value, Fault> {
        let Some(entry) = self.entry else {
            return Err(de::Error::custom(
                "this word needs a value of its own; write it as a key with a value",
            ));
        };
        let way = Way::Key(&self.reader.way, entry);
        NodeReader { node: &entry.value, skip: self.reader.skip, way }.read(seed)
    }

    fn tuple_variant<V: Visitor<'a>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        self.newtype_variant_seed(Visit(visitor))
    }

    fn struct_variant<V: Visitor<'a>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.newtype_variant_seed(Visit(visitor)).map_err(|fault| fault.with_fields(fields))
    }
}

/// A visitor as a seed: for variants that hold fields.
struct Visit<V>(V);

impl<'a, V: Visitor<'a>> DeserializeSeed<'a> for Visit<V> {
    type Value = V::Value;

    fn deserialize<D: de::Deserializer<'a>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        deserializer.deserialize_any(self.0)
    }
}
