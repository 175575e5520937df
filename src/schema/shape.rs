//! What a value of a schema can look like: which fields it can have, and what each can be. A shape says no less than the
//! schema allows, so that what a shape lacks no value has; what is not understood is [`Shape::Anything`].
//!
//! Types that are inside of themselves are followed so deep and no deeper; behind that anything may be.

mod change;
mod fit;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;

use indexmap::{IndexMap, IndexSet};
use vrl::path::OwnedSegment;

pub use fit::{Misfit, Why};

/// What a value can look like.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// Nothing is known of it.
    Anything,
    /// Null.
    Null,
    /// A single value.
    Scalar(Scalar),
    /// A list, and what each item can be.
    List(Box<Shape>),
    /// An object with any keys, and what each value can be.
    Map(Box<Shape>),
    /// An object whose fields are known.
    Object(Object),
    /// One of several: at least two, with at most one list, map and object among them.
    OneOf(Vec<Shape>),
}

/// The kind of a single value.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar {
    /// Text.
    Text,
    /// One of these texts.
    Symbols(Arc<[String]>),
    /// A whole number.
    Integer,
    /// A number that is no integer.
    Number,
    /// True or false.
    Boolean,
    /// A time.
    Timestamp,
    /// Bytes.
    Bytes,
}

/// An object whose fields are known.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Object {
    /// Its fields, in the order of the schema.
    pub fields: IndexMap<String, Field>,
    /// Whether it may have others.
    pub open: bool,
    /// Whether somebody says that it may, and not only nobody that it may not.
    pub told: bool,
}

/// A field of an object.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// What it can be.
    pub shape: Shape,
    /// It is always there; where a value is written, it has to be.
    pub always: bool,
    /// Another name that it may be written by.
    pub also: Option<String>,
}

/// What the shape is for: a value may be written in more ways than it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// What values look like that were read.
    Read,
    /// What may be written.
    Write,
}

/// What a path leads to.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// What stands there.
    pub shape: Shape,
    /// A field that is not declared where others may be, and which of those that are is called almost like it.
    pub near: Option<Near>,
}

/// A name that is almost that of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Near {
    /// Which of the path's segments.
    pub at: usize,
    /// The field's name.
    pub name: String,
}

/// A path that no value has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Absent {
    /// The first of its segments that leads nowhere.
    pub at: usize,
    /// The fields that are there instead; none where there is no object.
    pub names: Vec<String>,
    /// What is there, such as `text` or `a list`.
    pub there: String,
}

impl Scalar {
    fn word(&self) -> &'static str {
        match self {
            Scalar::Text | Scalar::Symbols(_) => "text",
            Scalar::Integer => "an integer",
            Scalar::Number => "a number",
            Scalar::Boolean => "a boolean",
            Scalar::Timestamp => "a timestamp",
            Scalar::Bytes => "bytes",
        }
    }
}

impl Field {
    /// A field that has one name.
    pub fn new(shape: Shape, always: bool) -> Field {
        Field { shape, always, also: None }
    }
}

impl Object {
    /// A field by its name, or by the other one that it may be written by.
    pub(super) fn named(&self, name: &str) -> Option<&Field> {
        let also = |field: &&Field| field.also.as_deref() == Some(name);
        self.fields.get(name).or_else(|| self.fields.values().find(also))
    }

    /// Either of two.
    fn or(self, mut other: Object) -> Object {
        let mut fields = IndexMap::with_capacity(self.fields.len());
        for (name, field) in self.fields {
            let joined = match take(&mut other, &name) {
                Some(theirs) => Field {
                    always: field.always && theirs.always,
                    also: field.also.filter(|also| theirs.also.as_ref() == Some(also)),
                    shape: Shape::one_of([field.shape, theirs.shape]),
                },
                None => field.optional(other.open),
            };
            fields.insert(name, joined);
        }
        let theirs = other.fields.into_iter().filter(|(name, _)| !fields.contains_key(name));
        let theirs: Vec<_> = theirs.map(|(name, field)| (name, field.optional(self.open))).collect();
        fields.extend(theirs);
        Object { fields, open: self.open || other.open, told: self.told || other.told }
    }
}

/// A field of an object that is being taken apart. Its name stays: to close each gap in the order costs too much.
fn take(object: &mut Object, name: &str) -> Option<Field> {
    let field = object.fields.get_mut(name)?;
    Some(std::mem::replace(field, Field::new(Shape::Null, false)))
}

impl Field {
    /// The same where another kind of object lacks it, or has it as anything.
    fn optional(self, as_anything: bool) -> Field {
        let shape = if as_anything { Shape::Anything } else { self.shape };
        Field { shape, always: false, ..self }
    }
}

impl Shape {
    /// Text.
    pub const TEXT: Shape = Shape::Scalar(Scalar::Text);
    /// A whole number.
    pub const INTEGER: Shape = Shape::Scalar(Scalar::Integer);
    /// A number that is no integer.
    pub const NUMBER: Shape = Shape::Scalar(Scalar::Number);
    /// True or false.
    pub const BOOLEAN: Shape = Shape::Scalar(Scalar::Boolean);
    /// A time.
    pub const TIMESTAMP: Shape = Shape::Scalar(Scalar::Timestamp);
    /// Bytes.
    pub const BYTES: Shape = Shape::Scalar(Scalar::Bytes);

    /// One of these texts.
    pub fn symbols(names: impl IntoIterator<Item = String>) -> Shape {
        Shape::Scalar(Scalar::Symbols(names.into_iter().collect()))
    }

    /// One of several. Of none it is [`Shape::Anything`]: what is said to be impossible is not understood.
    pub fn one_of(several: impl IntoIterator<Item = Shape>) -> Shape {
        let mut kept: Vec<Shape> = Vec::new();
        let mut symbols: IndexSet<String> = IndexSet::new();
        for shape in several {
            for one in shape.into_alternatives() {
                match one {
                    Shape::Anything => return Shape::Anything,
                    Shape::Scalar(Scalar::Symbols(of)) => symbols.extend(of.iter().cloned()),
                    one => join(&mut kept, one),
                }
            }
        }
        if !symbols.is_empty() {
            kept.push(Shape::symbols(symbols));
        }
        match kept.len() {
            0 => Shape::Anything,
            1 => kept.pop().unwrap_or(Shape::Anything),
            _ => Shape::OneOf(kept),
        }
    }

    fn into_alternatives(self) -> Vec<Shape> {
        match self {
            Shape::OneOf(several) => several,
            one => vec![one],
        }
    }

    /// The kinds that it can be, itself where it is one.
    pub fn alternatives(&self) -> &[Shape] {
        match self {
            Shape::OneOf(several) => several,
            one => std::slice::from_ref(one),
        }
    }

    /// What a path leads to in some value.
    ///
    /// # Errors
    /// It leads nowhere in any.
    pub fn get(&self, path: &[OwnedSegment]) -> Result<Found, Absent> {
        let mut here: Vec<&Shape> = self.alternatives().iter().collect();
        for (at, segment) in path.iter().enumerate() {
            let mut next: Vec<&Shape> = Vec::new();
            for shape in &here {
                match shape.step(segment) {
                    Step::Into(below) => next.extend(below.alternatives()),
                    Step::Open(object) => {
                        let near = near(object, segment).map(|name| Near { at, name });
                        return Ok(Found { shape: Shape::Anything, near });
                    }
                    Step::Nowhere => {}
                }
            }
            if next.is_empty() {
                return Err(Absent { at, names: names(&here), there: words(&here) });
            }
            here = next;
        }
        let shape = match here.as_slice() {
            [one] => (*one).clone(),
            several => Shape::one_of(several.iter().map(|shape| (*shape).clone())),
        };
        Ok(Found { shape, near: None })
    }

    fn step(&self, segment: &OwnedSegment) -> Step<'_> {
        match (self, segment) {
            (Shape::Anything, _) => Step::Into(&Shape::Anything),
            (Shape::Object(object), OwnedSegment::Field(name)) => match object.fields.get(name.as_str()) {
                Some(field) => Step::Into(&field.shape),
                None if object.open => Step::Open(object),
                None => Step::Nowhere,
            },
            (Shape::Map(value), OwnedSegment::Field(_)) => Step::Into(value),
            (Shape::List(item), OwnedSegment::Index(_)) => Step::Into(item),
            _ => Step::Nowhere,
        }
    }

    /// How many shapes it is made of, itself among them: what a copy of it costs.
    pub fn nodes(&self) -> usize {
        let below: usize = match self {
            Shape::Anything | Shape::Null | Shape::Scalar(_) => 0,
            Shape::List(of) | Shape::Map(of) => of.nodes(),
            Shape::Object(object) => object.fields.values().map(|field| field.shape.nodes()).sum(),
            Shape::OneOf(several) => several.iter().map(Shape::nodes).sum(),
        };
        below + 1
    }

    /// How many shapes stand inside of each other.
    pub fn depth(&self) -> usize {
        let below = match self {
            Shape::Anything | Shape::Null | Shape::Scalar(_) => None,
            Shape::List(of) | Shape::Map(of) => Some(of.depth()),
            Shape::Object(object) => object.fields.values().map(|field| field.shape.depth()).max(),
            Shape::OneOf(several) => several.iter().map(Shape::depth).max(),
        };
        below.map_or(1, |below| below + 1)
    }

    /// What it is, as a person would say it: `text`, `a list or null`.
    pub fn word(&self) -> String {
        words(&self.alternatives().iter().collect::<Vec<_>>())
    }
}

enum Step<'s> {
    Into(&'s Shape),
    /// Into what nobody has declared.
    Open(&'s Object),
    Nowhere,
}

/// Adds one to several, of which no two are of a kind.
fn join(kept: &mut Vec<Shape>, one: Shape) {
    for there in kept.iter_mut() {
        match (&mut *there, &one) {
            (Shape::Object(mine), Shape::Object(theirs)) => {
                *mine = std::mem::take(mine).or(theirs.clone());
                return;
            }
            (Shape::List(mine), Shape::List(theirs)) | (Shape::Map(mine), Shape::Map(theirs)) => {
                let both = [(**mine).clone(), (**theirs).clone()];
                **mine = Shape::one_of(both);
                return;
            }
            (mine, theirs) if mine == theirs => return,
            _ => {}
        }
    }
    kept.push(one);
}

fn names(here: &[&Shape]) -> Vec<String> {
    let objects = here.iter().filter_map(|shape| match shape {
        Shape::Object(object) => Some(object.fields.keys().cloned()),
        _ => None,
    });
    objects.flatten().collect()
}

fn words(here: &[&Shape]) -> String {
    let mut words: Vec<&str> = Vec::new();
    for shape in here {
        let word = match shape {
            Shape::Anything | Shape::OneOf(_) => "anything",
            Shape::Null => "null",
            Shape::Scalar(scalar) => scalar.word(),
            Shape::List(_) => "a list",
            Shape::Map(_) | Shape::Object(_) => "an object",
        };
        // What may be written too goes without saying.
        let alike = [["text", "a timestamp", "bytes"], ["an integer", "a number", ""]];
        let told =
            alike.iter().any(|like| like.contains(&word) && words.iter().any(|said| like.contains(said)));
        if !told && !words.contains(&word) {
            words.push(word);
        }
    }
    words.join(" or ")
}

/// A longer name is compared with no other.
const MAX_NAME: usize = 64;

/// The declared field whose name is a slip of the pen away.
fn near(object: &Object, segment: &OwnedSegment) -> Option<String> {
    let OwnedSegment::Field(written) = segment else { return None };
    if object.told || written.len() > MAX_NAME {
        return None;
    }
    let plain = |name: &str| name.replace(['_', '-'], "").to_lowercase();
    let is_near = |name: &&String| {
        if name.len().abs_diff(written.len()) > 3 {
            return false;
        }
        let longest = name.chars().count().max(written.chars().count());
        let distance = strsim::damerau_levenshtein(name, written);
        plain(name) == plain(written) || (longest >= 4 && distance == 1) || (longest >= 8 && distance == 2)
    };
    object.fields.keys().find(is_near).cloned()
}

/// How many more types are followed, and how deep.
#[derive(Debug)]
pub(super) struct Budget {
    left: usize,
    depth: usize,
}

/// The most types and fields that one shape has, and how deep they stand inside of each other.
const MAX_TYPES: usize = 20_000;
const MAX_DEPTH: usize = 24;

impl Budget {
    pub(super) fn new() -> Budget {
        Budget { left: MAX_TYPES, depth: 0 }
    }

    /// One field more, whatever its type costs. Without room for it the object may have it as anything.
    pub(super) fn field(&mut self, object: &mut Object, name: &str, make: impl FnOnce(&mut Budget) -> Field) {
        if self.left == 0 {
            (object.open, object.told) = (true, true);
            return;
        }
        self.left -= 1;
        let field = make(self);
        object.fields.insert(name.to_owned(), field);
    }

    /// One type more, inside of the one that is being made; anything where there is no room.
    pub(super) fn enter(&mut self, make: impl FnOnce(&mut Budget) -> Shape) -> Shape {
        if self.left == 0 || self.depth >= MAX_DEPTH {
            return Shape::Anything;
        }
        self.left -= 1;
        self.depth += 1;
        let shape = make(self);
        self.depth -= 1;
        shape
    }
}
