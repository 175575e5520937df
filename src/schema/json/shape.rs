//! What values of a JSON Schema look like. What only narrows further (`not`, `if`, patterns, bounds) is left out, and what a
//! reference leads to is followed where that is plain to see.

use serde_json::{Map, Value as Json};

use super::Document;
use crate::schema::shape::{Budget, Field, Object, Shape, Use};

/// What values look like that are valid by a schema, or may be written where they have to be; `references` are the documents
/// that it refers to.
pub fn shape(main: &Document, references: &[Document], used: Use) -> Shape {
    let texts = references.iter().chain([main]);
    let read =
        |document: &Document| Some((document.path.clone(), serde_json::from_str(&document.text).ok()?));
    let documents: Vec<(String, Json)> = texts.filter_map(read).collect();
    let Some(at) = documents.iter().position(|(path, _)| *path == main.path) else { return Shape::Anything };
    let shaping = Shaping { documents: &documents, used };
    shaping.root(at, &mut Budget::new())
}

struct Shaping<'d> {
    documents: &'d [(String, Json)],
    used: Use,
}

/// Which document a schema is part of; `None` below an `$id` of its own, where references mean something else.
type Home = Option<usize>;

/// More schemas that a value has to be valid by at once are not followed: each costs as much as all before it.
const MAX_ALL_OF: usize = 64;

const KINDS: [&str; 7] = ["object", "array", "string", "integer", "number", "boolean", "null"];

impl Shaping<'_> {
    fn root(&self, at: usize, budget: &mut Budget) -> Shape {
        let schema = self.documents.get(at).map(|(_, schema)| schema);
        schema.map_or(Shape::Anything, |schema| self.of(schema, Some(at), true, budget))
    }

    fn of(&self, schema: &Json, home: Home, is_root: bool, budget: &mut Budget) -> Shape {
        let Json::Object(map) = schema else { return Shape::Anything };
        let named = |key: &str| map.get(key).is_some_and(Json::is_string);
        let home = home.filter(|_| is_root || !(named("$id") || named("id")));
        budget.enter(|budget| match map.get("$ref") {
            // What stands beside it does not count in older drafts.
            Some(reference) => self.referred(reference, home, budget),
            None => self.own(map, home, budget),
        })
    }

    fn referred(&self, reference: &Json, home: Home, budget: &mut Budget) -> Shape {
        let (Some(reference), Some(at)) = (reference.as_str(), home) else { return Shape::Anything };
        let Some((path, root)) = self.documents.get(at) else { return Shape::Anything };
        match reference.strip_prefix('#') {
            Some("") => self.root(at, budget),
            Some(pointer) if pointer.starts_with('/') && !pointer.contains('%') => {
                match root.pointer(pointer) {
                    Some(schema) => self.of(schema, home, false, budget),
                    None => Shape::Anything,
                }
            }
            Some(_) => Shape::Anything,
            None => {
                let has_id = root.get("$id").or_else(|| root.get("id")).is_some_and(Json::is_string);
                let folder = path.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
                let other = format!("{folder}{}", reference.trim_end_matches('#'));
                let other = self.documents.iter().position(|(path, _)| *path == other);
                match other.filter(|_| !has_id) {
                    Some(other) => self.root(other, budget),
                    None => Shape::Anything,
                }
            }
        }
    }

    fn own(&self, map: &Map<String, Json>, home: Home, budget: &mut Budget) -> Shape {
        let mut shape = self.kinds(map, home, budget);
        let mut narrow = |other: Shape| {
            let before = std::mem::replace(&mut shape, Shape::Anything);
            shape = before.and(other).unwrap_or(Shape::Anything);
        };
        if let Some(values) = map.get("enum").and_then(Json::as_array) {
            narrow(self.values(values));
        }
        if let Some(value) = map.get("const").filter(|_| !self.is_draft_4()) {
            narrow(self.values(std::slice::from_ref(value)));
        }
        let all = map.get("allOf").and_then(Json::as_array);
        if all.is_some_and(|all| all.len() > MAX_ALL_OF) {
            return Shape::Anything;
        }
        for one in all.into_iter().flatten() {
            narrow(self.of(one, home, false, budget));
        }
        for key in ["anyOf", "oneOf"] {
            if let Some(several) = map.get(key).and_then(Json::as_array) {
                let several = several.iter().map(|one| self.of(one, home, false, budget));
                narrow(Shape::one_of(several));
            }
        }
        shape
    }

    fn kinds(&self, map: &Map<String, Json>, home: Home, budget: &mut Budget) -> Shape {
        let kinds: Vec<&str> = match map.get("type") {
            Some(Json::String(kind)) => vec![kind],
            Some(Json::Array(kinds)) => kinds.iter().filter_map(Json::as_str).collect(),
            _ => {
                let says = ["properties", "additionalProperties", "required", "items"];
                if !says.iter().any(|key| map.contains_key(*key)) {
                    return Shape::Anything;
                }
                KINDS.to_vec()
            }
        };
        Shape::one_of(kinds.into_iter().map(|kind| match kind {
            "object" => self.object(map, home, budget),
            "array" => {
                let one =
                    map.get("items").filter(|items| items.is_object() && !map.contains_key("prefixItems"));
                let item = one.map_or(Shape::Anything, |items| self.of(items, home, false, budget));
                Shape::List(Box::new(item))
            }
            "string" => self.text(),
            "integer" | "number" => Shape::one_of([Shape::NUMBER, Shape::INTEGER]),
            "boolean" => Shape::BOOLEAN,
            "null" => Shape::Null,
            _ => Shape::Anything,
        }))
    }

    /// Whether it is of the draft that knows no `const`.
    fn is_draft_4(&self) -> bool {
        let said = self.documents.iter().filter_map(|(_, document)| document.get("$schema")?.as_str());
        said.into_iter().any(|draft| draft.contains("draft-04"))
    }

    fn text(&self) -> Shape {
        match self.used {
            Use::Read => Shape::TEXT,
            Use::Write => Shape::one_of([Shape::TEXT, Shape::TIMESTAMP, Shape::BYTES]),
        }
    }

    fn object(&self, map: &Map<String, Json>, home: Home, budget: &mut Budget) -> Shape {
        let no_others = map.get("additionalProperties") == Some(&Json::Bool(false));
        let patterns = map.get("patternProperties").and_then(Json::as_object);
        let open = !no_others || patterns.is_some_and(|patterns| !patterns.is_empty());
        let required = map.get("required").and_then(Json::as_array);
        let required: Vec<&str> = required.into_iter().flatten().filter_map(Json::as_str).collect();
        let told = open && (map.contains_key("additionalProperties") || patterns.is_some());
        let mut object = Object { open, told, ..Object::default() };
        for (name, property) in map.get("properties").and_then(Json::as_object).into_iter().flatten() {
            let always = required.contains(&name.as_str());
            budget.field(&mut object, name, |budget| {
                Field::new(self.of(property, home, false, budget), always)
            });
        }
        if open {
            for name in required {
                if !object.fields.contains_key(name) {
                    budget.field(&mut object, name, |_| Field::new(Shape::Anything, true));
                }
            }
        }
        Shape::Object(object)
    }

    /// What is one of some values.
    fn values(&self, values: &[Json]) -> Shape {
        if !values.is_empty() && values.iter().all(Json::is_string) {
            return Shape::symbols(values.iter().filter_map(Json::as_str).map(str::to_owned));
        }
        Shape::one_of(values.iter().map(|value| match value {
            Json::Null => Shape::Null,
            Json::Bool(_) => Shape::BOOLEAN,
            Json::Number(_) => Shape::one_of([Shape::NUMBER, Shape::INTEGER]),
            Json::String(_) => self.text(),
            Json::Array(_) => Shape::List(Box::new(Shape::Anything)),
            Json::Object(_) => Shape::Object(Object { open: true, ..Object::default() }),
        }))
    }
}
