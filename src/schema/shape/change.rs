//! What becomes of a shape where a step writes, removes or changes a path.

use vrl::path::OwnedSegment;

use super::{Field, Object, Scalar, Shape};

impl Shape {
    /// The same where a path was written for certain. What stands in its way is replaced by an object, as values are.
    pub fn put(&mut self, path: &[OwnedSegment], new: Shape) {
        let Some((first, rest)) = path.split_first() else {
            *self = new;
            return;
        };
        match (&mut *self, first) {
            (Shape::Anything, _) => {}
            (Shape::Object(object), OwnedSegment::Field(name)) => {
                // Where others may be, what was there before is not known.
                let before = if object.open { Shape::Anything } else { Shape::Null };
                let field = object.fields.entry(name.to_string());
                let field = field.or_insert_with(|| Field::new(before, true));
                if !std::mem::replace(&mut field.always, true) && !rest.is_empty() {
                    let there = std::mem::replace(&mut field.shape, Shape::Null);
                    field.shape = Shape::one_of([there, Shape::Null]);
                }
                field.shape.put(rest, new);
            }
            (Shape::Map(value), OwnedSegment::Field(_)) => **value = Shape::Anything,
            (Shape::List(item), OwnedSegment::Index(_)) => **item = Shape::Anything,
            (Shape::OneOf(several), _) => {
                let several = std::mem::take(several);
                *self = Shape::one_of(several.into_iter().map(|mut one| {
                    one.put(path, new.clone());
                    one
                }));
            }
            (_, OwnedSegment::Field(name)) => {
                let mut below = Shape::Null;
                below.put(rest, new);
                let fields = [(name.to_string(), Field::new(below, true))].into_iter().collect();
                *self = Shape::Object(Object { fields, ..Object::default() });
            }
            (_, OwnedSegment::Index(_)) => *self = Shape::List(Box::new(Shape::Anything)),
        }
    }

    /// The same where a path may have been written.
    pub fn may_put(&mut self, path: &[OwnedSegment], new: Shape) {
        let before = self.clone();
        self.put(path, new);
        let after = std::mem::replace(self, Shape::Null);
        *self = Shape::one_of([before, after]);
    }

    /// The same without a path. What is taken out of a list is another item's place.
    pub fn remove(&mut self, path: &[OwnedSegment]) {
        let Some((first, rest)) = path.split_first() else {
            *self = Shape::Anything;
            return;
        };
        match (&mut *self, first) {
            (Shape::Object(object), OwnedSegment::Field(name)) if rest.is_empty() => {
                object.fields.shift_remove(name.as_str());
            }
            (Shape::Object(object), OwnedSegment::Field(name)) => {
                if let Some(field) = object.fields.get_mut(name.as_str()) {
                    field.shape.remove(rest);
                }
            }
            (Shape::OneOf(several), _) => several.iter_mut().for_each(|one| one.remove(path)),
            // What is taken out of one item, others keep.
            _ => {}
        }
    }

    /// The same where a path may have been taken out.
    pub fn may_remove(&mut self, path: &[OwnedSegment]) {
        let before = self.clone();
        self.remove(path);
        let after = std::mem::replace(self, Shape::Null);
        *self = Shape::one_of([before, after]);
    }

    /// The same where what stands at a path, if anything does, has become something else.
    pub fn change(&mut self, path: &[OwnedSegment], to: &impl Fn(Shape) -> Shape) {
        let Some((first, rest)) = path.split_first() else {
            *self = to(std::mem::replace(self, Shape::Null));
            return;
        };
        match (&mut *self, first) {
            (Shape::Object(object), OwnedSegment::Field(name)) => {
                if let Some(field) = object.fields.get_mut(name.as_str()) {
                    field.shape.change(rest, to);
                }
            }
            (Shape::Map(value), OwnedSegment::Field(_)) => **value = Shape::Anything,
            (Shape::List(item), OwnedSegment::Index(_)) => **item = Shape::Anything,
            (Shape::OneOf(several), _) => {
                let several = std::mem::take(several);
                *self = Shape::one_of(several.into_iter().map(|mut one| {
                    one.change(path, to);
                    one
                }));
            }
            _ => {}
        }
    }

    /// What is left of it where each single value has become a text.
    pub fn masked(self) -> Shape {
        match self {
            Shape::Anything => Shape::Anything,
            Shape::Null => Shape::Null,
            Shape::Scalar(_) => Shape::TEXT,
            Shape::List(item) => Shape::List(Box::new(item.masked())),
            Shape::Map(value) => Shape::Map(Box::new(value.masked())),
            Shape::Object(mut object) => {
                for field in object.fields.values_mut() {
                    field.shape = std::mem::replace(&mut field.shape, Shape::Null).masked();
                }
                Shape::Object(object)
            }
            Shape::OneOf(several) => Shape::one_of(several.into_iter().map(Shape::masked)),
        }
    }

    /// What it is once it was cast, where null stays null.
    pub fn cast(self, to: Scalar) -> Shape {
        let may_be_null = self.alternatives().iter().any(|one| matches!(one, Shape::Null | Shape::Anything));
        let to = Shape::Scalar(to);
        if may_be_null { Shape::one_of([to, Shape::Null]) } else { to }
    }

    /// What its items can be, where it can be a list at all.
    pub fn items(&self) -> Option<Shape> {
        let items = self.alternatives().iter().filter_map(|one| match one {
            Shape::Anything => Some(Shape::Anything),
            Shape::List(item) => Some((**item).clone()),
            _ => None,
        });
        let items: Vec<Shape> = items.collect();
        if items.is_empty() { None } else { Some(Shape::one_of(items)) }
    }

    /// Whether it can be an object.
    pub fn may_be_object(&self) -> bool {
        let is = |one: &Shape| matches!(one, Shape::Anything | Shape::Map(_) | Shape::Object(_));
        self.alternatives().iter().any(is)
    }

    /// The values that have both shapes; `None` where none has.
    pub(in crate::schema) fn and(self, other: Shape) -> Option<Shape> {
        Some(match (self, other) {
            (Shape::Anything, one) | (one, Shape::Anything) => one,
            (Shape::OneOf(several), one) | (one, Shape::OneOf(several)) => {
                let both = several.into_iter().filter_map(|each| each.and(one.clone()));
                let both: Vec<Shape> = both.collect();
                if both.is_empty() {
                    return None;
                }
                Shape::one_of(both)
            }
            (Shape::Object(one), Shape::Object(other)) => Shape::Object(one.and(other)),
            (Shape::List(one), Shape::List(other)) => {
                Shape::List(Box::new(one.and(*other).unwrap_or(Shape::Anything)))
            }
            (Shape::Scalar(Scalar::Text), Shape::Scalar(symbols @ Scalar::Symbols(_)))
            | (
                Shape::Scalar(symbols @ Scalar::Symbols(_)),
                Shape::Scalar(Scalar::Text | Scalar::Symbols(_)),
            ) => Shape::Scalar(symbols),
            (one, other) if one == other => one,
            // One of the two says less than it could.
            (one @ (Shape::Map(_) | Shape::Object(_)), Shape::Map(_) | Shape::Object(_)) => one,
            _ => return None,
        })
    }
}

impl Object {
    fn and(self, mut other: Object) -> Object {
        let (open, others_open) = (self.open, other.open);
        let mut out = Object {
            fields: indexmap::IndexMap::new(),
            open: open && others_open,
            told: self.told && other.told,
        };
        for (name, field) in self.fields {
            match super::take(&mut other, &name) {
                Some(theirs) => {
                    let always = field.always || theirs.always;
                    let shape = field.shape.and(theirs.shape).unwrap_or(Shape::Anything);
                    out.fields.insert(name, Field::new(shape, always));
                }
                None if others_open => drop(out.fields.insert(name, field)),
                None => {}
            }
        }
        if open {
            let theirs = other.fields.into_iter().filter(|(name, _)| !out.fields.contains_key(name));
            let theirs: Vec<_> = theirs.collect();
            out.fields.extend(theirs);
        }
        out
    }
}
