//! Whether what is published can fit the schema that it is written with.

use serde_json::Value as Json;

use super::report::{self, Subject};
use super::{At, Walk, of_part, text_of};
use crate::codec::Codec;
use crate::codec::shape::{Shape, Use};
use crate::plan::expr::{Part, Template};
use crate::publish::route;
use crate::spec::diagnostic::{Severity, did_you_mean};
use crate::spec::tree::Path;
use vrl::path::PathPrefix;

impl Walk<'_> {
    /// An entry of `publish` that is compiled; `own`: what its own `format` comes to.
    pub(super) fn published(
        &mut self,
        route: &route::Spec,
        own: Option<&Codec>,
        answered: bool,
        base: &Path,
    ) {
        match (&route.value, own) {
            (Some(value), Some(own)) => {
                let taken = own.shape(Use::Write);
                self.value(&At::new(base, &["value"]), value, &taken, &mut Vec::new());
            }
            // The value of an answer is not known, and plain JSON takes whatever a tree makes.
            (Some(_), None) | (None, _) if route.value.is_some() || answered => {}
            (_, Some(own)) if own != self.source => {
                let key = if route.schema.is_some() { "schema" } else { "format" };
                self.passed_on(&At::new(base, &[key]).key(), own);
            }
            // Untouched it goes on as it came.
            _ if self.changed => self.passed_on(&At::new(base, &["topic"]), self.source),
            _ => {}
        }
    }

    /// The event itself, in a format that is perhaps another.
    fn passed_on(&mut self, at: &At, codec: &Codec) {
        if let Some(misfit) = self.shape.misfit(&codec.shape(Use::Write)) {
            let finding = report::misfit(&misfit, &[], Subject::Event);
            self.say(at, finding, Severity::Error);
        }
    }

    /// A part of `value`; `names` are the fields that lead there.
    fn value(&mut self, at: &At, tree: &Json, taken: &Shape, names: &mut Vec<String>) {
        match tree {
            Json::Object(map) => self.map(at, map, taken, names),
            Json::Array(list) => {
                let Some(item) = taken.items() else {
                    let empty = Shape::List(Box::new(Shape::Anything));
                    return self.judge(at, &empty, taken, names, None);
                };
                for (index, one) in list.iter().enumerate() {
                    names.push(index.to_string());
                    self.value(&at.then(index), one, &item, names);
                    names.pop();
                }
            }
            Json::String(text) => {
                let Ok(template) = Template::parse(text) else { return };
                let (shape, from) = match template.parts() {
                    [Part::Insert(insert)] if insert.path().prefix == PathPrefix::Event => {
                        // One that is not there was said where it is read.
                        let found = self.shape.get(&insert.path().path.segments);
                        let shape = found.map_or(Shape::Anything, |found| found.shape);
                        (shape, Some(insert.path().to_string()))
                    }
                    [part] if of_part(part).is_some() => (Shape::Anything, None),
                    _ => (text_of(&template), None),
                };
                self.judge(at, &shape, taken, names, from.as_deref());
            }
            Json::Null => self.judge(at, &Shape::Null, taken, names, None),
            Json::Bool(_) => self.judge(at, &Shape::BOOLEAN, taken, names, None),
            Json::Number(number) if number.is_f64() => self.judge(at, &Shape::NUMBER, taken, names, None),
            Json::Number(_) => self.judge(at, &Shape::INTEGER, taken, names, None),
        }
    }

    fn map(&mut self, at: &At, map: &serde_json::Map<String, Json>, taken: &Shape, names: &mut Vec<String>) {
        if !taken.may_be_object() {
            return self.judge(at, &Shape::Map(Box::new(Shape::Anything)), taken, names, None);
        }
        let object = taken.as_object();
        let mut meant = Vec::new();
        for (key, one) in map {
            let below = match (object, taken.value_of(key)) {
                (_, Some(shape)) => shape,
                (Some(object), None) if !object.open => {
                    let known =
                        object.fields.keys().map(String::as_str).filter(|name| !map.contains_key(*name));
                    let near = did_you_mean(key, known);
                    meant.extend(near);
                    let finding = report::unknown(key, near, object.fields.keys().map(String::as_str));
                    self.say(&at.then(key).key(), finding, Severity::Error);
                    continue;
                }
                _ => continue,
            };
            names.push(key.clone());
            self.value(&at.then(key), one, &below, names);
            names.pop();
        }
        for (name, field) in object.into_iter().flat_map(|object| &object.fields) {
            let also = field.also.as_deref().is_some_and(|also| map.contains_key(also));
            let is_missing = field.always && !map.contains_key(name) && !also;
            if is_missing && !meant.contains(&name.as_str()) {
                names.push(name.clone());
                self.say(
                    at,
                    report::missing(names, &field.shape.word(), Subject::Value(None)),
                    Severity::Error,
                );
                names.pop();
            }
        }
    }

    fn judge(&mut self, at: &At, shape: &Shape, taken: &Shape, names: &[String], from: Option<&str>) {
        if let Some(misfit) = shape.misfit(taken) {
            self.say(at, report::misfit(&misfit, names, Subject::Value(from)), Severity::Error);
        }
    }
}
