//! What each transform reads, and what it makes of the value.

use super::{At, Walk, report, trimmed, value_path};
use crate::codec::shape::{Field, Object, Scalar, Shape};
use crate::plan::expr::{Made, Touch, touches};
use crate::spec::diagnostic::Severity;
use crate::spec::tree::Path;
use crate::transform::{Item, Kind, cast, decrypt, encrypt, filter, rename, set};

impl Walk<'_> {
    pub(super) fn step(&mut self, item: &Item, base: &Path) {
        if let Some(when) = &item.when {
            self.expression(&At::new(base, &["when"]), when);
        }
        if item.when.is_some() {
            self.spend(self.shape.nodes());
        }
        let before = item.when.as_ref().map(|_| self.shape.clone());
        self.apply(&item.kind, &At::new(base, &[item.kind.as_str()]));
        if let Some(before) = before {
            let after = std::mem::replace(&mut self.shape, Shape::Null);
            self.shape = Shape::one_of([before, after]);
        }
        self.changed |= !matches!(item.kind, Kind::Filter(_));
    }

    fn apply(&mut self, kind: &Kind, at: &At) {
        match kind {
            Kind::Filter(filter::Spec::Condition(text)) => self.expression(at, text),
            // What a plugin reads it does not say.
            Kind::Filter(filter::Spec::Plugin(_)) => {}
            Kind::Plugin(_) => self.shape = Shape::Anything,
            Kind::Encrypt(encrypt::Spec { fields, .. }) => {
                self.change_fields(at, fields, &|before| before.cast(Scalar::Text));
            }
            Kind::Decrypt(decrypt::Spec { fields, .. }) => {
                self.change_fields(at, fields, &|_| Shape::Anything);
            }
            Kind::Remap(spec) => self.remap(at, &spec.0),
            Kind::Set(spec) => self.set(at, spec),
            Kind::Remove(spec) => {
                for (index, text) in spec.0.iter().enumerate() {
                    let Some(path) = value_path(text) else { continue };
                    // What is not there needs not be taken out.
                    let read =
                        self.read_as(&at.then(index), &path.segments, 0..text.len(), Severity::Warning);
                    if read.is_some() {
                        self.shape.remove(&path.segments);
                    }
                }
            }
            Kind::Rename(spec) => self.rename(at, spec),
            Kind::Redact(spec) => {
                self.change_fields(at, &spec.fields, &Shape::masked);
            }
            Kind::Split(spec) => {
                let at = at.then("path");
                let Some((path, shape)) = self.path(&at, &spec.path) else { return };
                if shape.items().is_none() {
                    let finding = report::not_a(&spec.path, &shape, "a list");
                    self.say(&at, finding, Severity::Error);
                }
                self.shape.change(&path.segments, &|list| list.items().unwrap_or(Shape::Anything));
            }
            Kind::Flatten(spec) => {
                let at = at.then("path");
                let Some((path, shape)) = self.path(&at, &spec.path) else { return };
                if !shape.may_be_object() {
                    let finding = report::not_a(&spec.path, &shape, "an object");
                    self.say(&at, finding, Severity::Error);
                }
                self.shape.change(&path.segments, &|_| Shape::Anything);
            }
            Kind::Cast(spec) => {
                for (text, to) in &spec.0 {
                    if let Some((path, _)) = self.path(&at.then(text).key(), text) {
                        self.shape.change(&path.segments, &|before| before.cast(scalar(*to)));
                    }
                }
            }
        }
    }

    fn change_fields(&mut self, at: &At, fields: &[String], change: &impl Fn(Shape) -> Shape) {
        for (index, text) in fields.iter().enumerate() {
            if let Some((path, _)) = self.path(&at.then("fields").then(index), text) {
                self.shape.change(&path.segments, change);
            }
        }
    }

    fn remap(&mut self, at: &At, source: &str) {
        let Some(touches) = touches(source) else {
            self.shape = Shape::Anything;
            return;
        };
        for touch in touches {
            match touch {
                Touch::Read(path, span) => drop(self.read(at, &path.segments, trimmed(source, span))),
                Touch::Write { path, made, certain } => {
                    let new = bounded(self.made(made));
                    if certain {
                        self.shape.put(&path.segments, new);
                    } else {
                        self.spend(self.shape.nodes());
                        self.shape.may_put(&path.segments, new);
                    }
                }
                Touch::Delete { path, certain, compact } => {
                    // What is empty then goes too, as far as it is.
                    let parents = 1..if compact { path.segments.len() } else { 1 };
                    for length in parents {
                        self.spend(self.shape.nodes());
                        self.shape.may_remove(path.segments.get(..length).unwrap_or_default());
                    }
                    if certain {
                        self.shape.remove(&path.segments);
                    } else {
                        self.spend(self.shape.nodes());
                        self.shape.may_remove(&path.segments);
                    }
                }
            }
        }
    }

    fn made(&self, made: Made) -> Shape {
        match made {
            Made::Path(path) => match self.shape.get(&path.segments) {
                Ok(found) => Shape::one_of([found.shape, Shape::Null]),
                Err(_) => Shape::Null,
            },
            Made::Text => Shape::TEXT,
            Made::Integer => Shape::INTEGER,
            Made::Number => Shape::NUMBER,
            Made::Boolean | Made::False => Shape::BOOLEAN,
            Made::Timestamp => Shape::TIMESTAMP,
            Made::Null => Shape::Null,
            Made::List(items) => {
                Shape::List(Box::new(Shape::one_of(items.into_iter().map(|one| self.made(one)))))
            }
            Made::Object(fields) => {
                object(fields.into_iter().map(|(name, one)| (name, self.made(one))).collect())
            }
            Made::Unknown => Shape::Anything,
        }
    }

    /// Templates see the value as it was before.
    fn set(&mut self, at: &At, spec: &set::Spec) {
        let made =
            spec.0.iter().map(|(text, tree)| (value_path(text), bounded(self.tree(&at.then(text), tree))));
        for (path, new) in made.collect::<Vec<_>>() {
            match path {
                Some(path) => self.shape.put(&path.segments, new),
                None => self.shape = Shape::Anything,
            }
        }
    }

    /// All are taken first and written then.
    fn rename(&mut self, at: &At, spec: &rename::Spec) {
        let mut moved = Vec::new();
        for (old, new) in &spec.0 {
            if let Some((from, shape)) = self.path(&at.then(old).key(), old) {
                moved.push((from, new, bounded(shape)));
            }
        }
        for (from, ..) in &moved {
            self.shape.remove(&from.segments);
        }
        for (_, new, shape) in moved {
            match value_path(new) {
                Some(to) => {
                    self.spend(self.shape.nodes());
                    self.shape.may_put(&to.segments, shape);
                }
                None => self.shape = Shape::Anything,
            }
        }
    }
}

/// How deep what is written somewhere may be. A path has at most 64 parts, so that no shape is much deeper.
const MAX_DEPTH: usize = 64;

/// A shape that is written; anything where steps have put shapes into each other without end.
fn bounded(shape: Shape) -> Shape {
    if shape.depth() > MAX_DEPTH { Shape::Anything } else { shape }
}

/// An object that always has these fields and no others.
pub(super) fn object(fields: Vec<(String, Shape)>) -> Shape {
    let fields = fields.into_iter().map(|(name, shape)| (name, Field::new(shape, true)));
    Shape::Object(Object { fields: fields.collect(), ..Object::default() })
}

fn scalar(to: cast::To) -> Scalar {
    match to {
        cast::To::Int => Scalar::Integer,
        cast::To::Float => Scalar::Number,
        cast::To::Bool => Scalar::Boolean,
        cast::To::String => Scalar::Text,
        cast::To::Timestamp => Scalar::Timestamp,
    }
}
