//! Whether what one JSON Schema takes another one takes as well. Keyword by keyword; what cannot be told that way is reported as
//! not compared, never as fine. `default` says nothing here, since no validator fills a property in.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use serde_json::{Map, Value as Json};

use super::Document;

/// How deep two schemas are followed.
const MAX_DEPTH: usize = 64;
/// How many pairs of their parts are looked at, and how many differences are told.
const MAX_PAIRS: usize = 20_000;
const MAX_TOLD: usize = 100;

/// Keywords whose number may only become larger, or smaller.
const UPPER: &[&str] = &["maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"];
const LOWER: &[&str] = &["minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"];
/// Keywords that have to stay as they are, where they are not taken away.
const SAME: &[&str] = &["pattern", "format", "contentEncoding", "contentMediaType"];
/// Keywords that are only compared for being equal.
const OPAQUE: &[&str] = &[
    "not",
    "if",
    "then",
    "else",
    "contains",
    "minContains",
    "maxContains",
    "propertyNames",
    "patternProperties",
    "prefixItems",
    "additionalItems",
    "dependencies",
    "dependentSchemas",
    "dependentRequired",
    "unevaluatedItems",
    "unevaluatedProperties",
    "$dynamicRef",
    "$recursiveRef",
];
/// Keywords that say nothing of whether a value is taken.
const ANNOTATIONS: &[&str] = &[
    "$schema",
    "$id",
    "$comment",
    "$defs",
    "definitions",
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
];
/// Keywords that depend on others beside them.
const ENTANGLED: &[&str] =
    &["patternProperties", "unevaluatedProperties", "unevaluatedItems", "additionalItems"];
/// Every type; an integer is a number too.
const TYPES: [&str; 7] = ["null", "boolean", "object", "array", "string", "integer", "number"];

/// A schema and what it refers to, to be compared.
#[derive(Debug)]
pub struct Comparable {
    main: Json,
    others: Vec<(String, Json)>,
}

impl Comparable {
    /// Of texts that are schemas. Fails where one is not JSON.
    pub fn new(main: &Document, references: &[Document]) -> Result<Comparable, String> {
        let read = |document: &Document| {
            serde_json::from_str(&document.text)
                .map_err(|error| format!("{} is not JSON: {error}", document.path))
        };
        let others = references.iter().map(|one| Ok((one.path.clone(), read(one)?)));
        Ok(Comparable { main: read(main)?, others: others.collect::<Result<_, String>>()? })
    }

    /// What values of `old` this schema does not take, or what cannot be told: one sentence each, with its place. Empty: it
    /// takes all of them.
    pub fn refuses(&self, old: &Comparable) -> Vec<String> {
        let mut walk = Walk { new: self, old, told: Vec::new(), seen: BTreeSet::new(), pairs: 0 };
        if self.main.get("$schema") != old.main.get("$schema") {
            walk.tell("", "not compared: `$schema` changed, and with it what keywords mean");
        }
        walk.pair(Place { doc: None, node: &self.main }, Place { doc: None, node: &old.main }, "", 0);
        walk.told
    }

    fn document(&self, doc: Option<usize>) -> &Json {
        doc.and_then(|at| self.others.get(at)).map_or(&self.main, |(_, json)| json)
    }

    /// What a `$ref` leads to.
    fn target<'a>(&'a self, from: Place<'a>, reference: &str) -> Option<Place<'a>> {
        let (path, pointer) = reference.split_once('#').unwrap_or((reference, ""));
        let doc = if path.is_empty() {
            from.doc
        } else {
            let path = path.trim_start_matches("./");
            Some(self.others.iter().position(|(name, json)| {
                name == path || json.get("$id").and_then(Json::as_str).is_some_and(|id| id == path)
            })?)
        };
        let node = self.document(doc).pointer(pointer)?;
        Some(Place { doc, node })
    }
}

/// A schema inside of a document.
#[derive(Clone, Copy)]
struct Place<'a> {
    doc: Option<usize>,
    node: &'a Json,
}

impl<'a> Place<'a> {
    fn of(self, node: &'a Json) -> Place<'a> {
        Place { node, ..self }
    }

    fn get(self, key: &str) -> Option<Place<'a>> {
        self.node.get(key).map(|node| self.of(node))
    }
}

static ANYTHING: Json = Json::Bool(true);
static NOTHING: Json = Json::Bool(false);

struct Walk<'a> {
    new: &'a Comparable,
    old: &'a Comparable,
    told: Vec<String>,
    /// Pairs under way or done: a schema may be inside of itself.
    seen: BTreeSet<(usize, usize)>,
    pairs: usize,
}

impl<'a> Walk<'a> {
    fn tell(&mut self, path: &str, what: impl std::fmt::Display) {
        if self.told.len() < MAX_TOLD {
            let path = if path.is_empty() { "/" } else { path };
            self.told.push(format!("{path}: {what}"));
        }
    }

    /// Whether the new one takes what the old one takes.
    fn pair(&mut self, new: Place<'a>, old: Place<'a>, path: &str, depth: usize) {
        self.pairs += 1;
        if depth > MAX_DEPTH || self.pairs > MAX_PAIRS {
            self.tell(path, "not compared: the schemas are too deep or too large");
            return;
        }
        let (Some(new), Some(old)) = (follow(self.new, new), follow(self.old, old)) else {
            self.tell(path, "not compared: a `$ref` leads to nothing that is known, in a circle, or has keywords beside it");
            return;
        };
        let key = (std::ptr::from_ref(new.node) as usize, std::ptr::from_ref(old.node) as usize);
        if !self.seen.insert(key) {
            return;
        }
        let empty = Map::new();
        let (new_map, old_map) = match (new.node, old.node) {
            (Json::Bool(true), _) | (_, Json::Bool(false)) => return,
            (Json::Bool(false), _) => {
                self.tell(path, "no value is taken any more");
                return;
            }
            (Json::Object(new_map), Json::Object(old_map)) => (new_map, old_map),
            (Json::Object(new_map), _) => (new_map, &empty),
            _ => {
                self.tell(path, "not compared: it is no schema");
                return;
            }
        };
        if self.alternatives(new, old, path, depth) {
            return;
        }
        self.keywords(new_map, old_map, path);
        let entangled = ENTANGLED.iter().any(|key| new_map.contains_key(*key));
        if entangled && new_map != old_map {
            self.tell(path, "not compared: it has keywords that depend on others, and differs");
        }
        let old = if old.node.is_object() { old } else { old.of(&ANYTHING) };
        if takes(old_map, "object") {
            self.objects(new, old, path, depth);
        }
        if takes(old_map, "array") {
            self.arrays(new, old, path, depth);
        }
    }

    /// Schemas that are one of several. `true`: all is said.
    fn alternatives(&mut self, new: Place<'a>, old: Place<'a>, path: &str, depth: usize) -> bool {
        for key in ["anyOf", "oneOf"] {
            if let Some(Json::Array(branches)) = old.node.get(key) {
                // Also the other keywords of the old one narrow it; to leave them out is to be strict.
                for (at, branch) in branches.iter().enumerate() {
                    self.pair(new, old.of(branch), &format!("{path}/{key}/{at}"), depth + 1);
                }
                return true;
            }
        }
        if let Some(Json::Array(parts)) = old.node.get("allOf") {
            let same = new.node.get("allOf").is_some_and(|new| *new == Json::Array(parts.clone()));
            if !same || has_reference(old.node) {
                match parts.as_slice() {
                    [only] if old.node.as_object().is_some_and(|map| map.len() == 1) => {
                        self.pair(new, old.of(only), path, depth + 1);
                    }
                    _ => self.tell(path, "not compared: `allOf` differs, or refers to something"),
                }
                return true;
            }
        }
        if let Some(Json::Array(branches)) = new.node.get("anyOf")
            && !branches.iter().any(|branch| self.is_taken(new.of(branch), old, depth))
        {
            self.tell(path, "none of `anyOf` takes what was taken before");
        }
        if let Some(Json::Array(branches)) = new.node.get("oneOf") {
            // Exactly one has to take it: told apart by their types, or not at all.
            let of_types = branches
                .iter()
                .enumerate()
                .all(|(at, branch)| branches.iter().skip(at + 1).all(|other| are_apart(branch, other)));
            if !of_types {
                self.tell(path, "not compared: the branches of `oneOf` may take the same value");
            } else if !branches.iter().any(|branch| self.is_taken(new.of(branch), old, depth)) {
                self.tell(path, "none of `oneOf` takes what was taken before");
            }
        }
        if let (Some(Json::Array(parts)), None) = (new.node.get("allOf"), old.node.get("allOf")) {
            for (at, part) in parts.iter().enumerate() {
                self.pair(new.of(part), old, &format!("{path}/allOf/{at}"), depth + 1);
            }
        }
        false
    }

    fn is_taken(&mut self, new: Place<'a>, old: Place<'a>, depth: usize) -> bool {
        let seen = self.seen.clone();
        let told = std::mem::take(&mut self.told);
        self.pair(new, old, "", depth + 1);
        let taken = self.told.is_empty();
        self.told = told;
        self.seen = seen;
        taken
    }

    /// What is not about parts of a value.
    fn keywords(&mut self, new: &Map<String, Json>, old: &Map<String, Json>, path: &str) {
        let refused: Vec<&str> =
            TYPES.into_iter().filter(|kind| takes(old, kind) && !takes(new, kind)).collect();
        if !refused.is_empty() {
            self.tell(path, format!("{} is not taken any more", refused.join(" or ")));
        }
        if let Some(values) = values(new) {
            match self::values(old) {
                Some(before) if before.iter().all(|value| values.contains(value)) => {}
                Some(_) => self.tell(path, "a value of `enum` was taken away"),
                None => self.tell(path, "`enum` or `const` was added"),
            }
        }
        for (keys, grows) in [(UPPER, true), (LOWER, false)] {
            for key in keys {
                let Some(limit) = new.get(*key) else { continue };
                let fine = match old.get(*key).and_then(|before| order(limit, before)) {
                    Some(Ordering::Equal) => true,
                    Some(now) => (now == Ordering::Greater) == grows,
                    None => {
                        limit.as_u64() == Some(0) && !grows && *key != "minimum" && *key != "exclusiveMinimum"
                    }
                };
                if !fine {
                    self.tell(path, format!("`{key}` was added or is narrower"));
                }
            }
        }
        let is_multiple = |of: &Json| {
            let (Some(now), Some(before)) = (of.as_f64(), old.get("multipleOf").and_then(Json::as_f64))
            else {
                return false;
            };
            before % now == 0.0
        };
        if new.get("multipleOf").is_some_and(|of| !is_multiple(of)) {
            self.tell(path, "`multipleOf` was added or is narrower");
        }
        if new.get("uniqueItems") == Some(&Json::Bool(true))
            && old.get("uniqueItems") != Some(&Json::Bool(true))
        {
            self.tell(path, "`uniqueItems` was added");
        }
        for key in SAME {
            if new.get(*key).is_some_and(|now| old.get(*key) != Some(now)) {
                self.tell(path, format!("`{key}` was added or changed"));
            }
        }
        for key in OPAQUE {
            let (now, before) = (new.get(*key), old.get(*key));
            let same = now == before && !now.is_some_and(has_reference);
            if !same && (now.is_some() || before.is_some()) {
                self.tell(path, format!("not compared: `{key}` differs, or refers to something"));
            }
        }
    }

    fn objects(&mut self, new: Place<'a>, old: Place<'a>, path: &str, depth: usize) {
        let names = |place: Place<'a>, key: &str| -> BTreeSet<&'a str> {
            match place.node.get(key) {
                Some(Json::Object(map)) => map.keys().map(String::as_str).collect(),
                Some(Json::Array(list)) => list.iter().filter_map(Json::as_str).collect(),
                _ => BTreeSet::new(),
            }
        };
        let before = names(old, "required");
        for name in names(new, "required").difference(&before) {
            self.tell(&format!("{path}/{name}"), "the property is required now");
        }
        let property =
            |place: Place<'a>, name: &str| match place.get("properties").and_then(|all| all.get(name)) {
                Some(property) => property,
                None => additional(place),
            };
        let properties = names(new, "properties").into_iter().chain(names(old, "properties"));
        for name in properties.collect::<BTreeSet<_>>() {
            self.pair(property(new, name), property(old, name), &format!("{path}/{name}"), depth + 1);
        }
        self.pair(additional(new), additional(old), &format!("{path}/*"), depth + 1);
    }

    fn arrays(&mut self, new: Place<'a>, old: Place<'a>, path: &str, depth: usize) {
        let items = |place: Place<'a>| place.get("items").unwrap_or(place.of(&ANYTHING));
        let (now, before) = (items(new), items(old));
        if now.node.is_array() || before.node.is_array() {
            if now.node != before.node || has_reference(now.node) {
                self.tell(path, "not compared: `items` is a list, and differs or refers to something");
            }
            return;
        }
        self.pair(now, before, &format!("{path}/items"), depth + 1);
    }
}

/// Where a chain of `$ref` ends; `None` where it leads nowhere, or other keywords stand beside it.
fn follow<'a>(schema: &'a Comparable, mut place: Place<'a>) -> Option<Place<'a>> {
    for _ in 0..MAX_DEPTH {
        let Some(reference) = place.node.get("$ref").and_then(Json::as_str) else { return Some(place) };
        let means = |key: &String| key != "$ref" && !ANNOTATIONS.contains(&key.as_str());
        if place.node.as_object().is_some_and(|map| map.keys().any(means)) {
            return None;
        }
        place = schema.target(place, reference)?;
    }
    None
}

/// Whether no value is of both, by their types.
fn are_apart(one: &Json, other: &Json) -> bool {
    let (Json::Object(one), Json::Object(other)) = (one, other) else { return false };
    let typed = |map: &Map<String, Json>| map.contains_key("type") || values(map).is_some();
    typed(one) && typed(other) && !TYPES.iter().any(|kind| takes(one, kind) && takes(other, kind))
}

/// How two numbers stand to each other; integers exactly. `None` where one is no number.
fn order(now: &Json, before: &Json) -> Option<Ordering> {
    match (now.as_i64(), before.as_i64()) {
        (Some(now), Some(before)) => Some(now.cmp(&before)),
        _ => now.as_f64()?.partial_cmp(&before.as_f64()?),
    }
}

/// What properties are that nobody names.
fn additional(place: Place<'_>) -> Place<'_> {
    match place.node.get("additionalProperties") {
        Some(node) => place.of(node),
        None if place.node == &NOTHING => place.of(&NOTHING),
        None => place.of(&ANYTHING),
    }
}

fn takes(schema: &Map<String, Json>, kind: &str) -> bool {
    let is = |named: &str| named == kind || (named == "number" && kind == "integer");
    match schema.get("type") {
        Some(Json::String(named)) => is(named),
        Some(Json::Array(list)) => list.iter().filter_map(Json::as_str).any(is),
        _ => match values(schema) {
            Some(values) => values.iter().any(|value| kind_of(value) == kind),
            None => true,
        },
    }
}

fn kind_of(value: &Json) -> &'static str {
    super::kind_of(value)
}

/// The values that are taken, where they are told one by one.
fn values(schema: &Map<String, Json>) -> Option<Vec<&Json>> {
    match (schema.get("const"), schema.get("enum")) {
        (Some(only), _) => Some(vec![only]),
        (None, Some(Json::Array(list))) => Some(list.iter().collect()),
        _ => None,
    }
}

fn has_reference(node: &Json) -> bool {
    let mut open = vec![node];
    while let Some(node) = open.pop() {
        match node {
            Json::Object(map) => {
                if ["$ref", "$dynamicRef", "$recursiveRef"].iter().any(|key| map.contains_key(*key)) {
                    return true;
                }
                open.extend(map.values());
            }
            Json::Array(list) => open.extend(list),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refuses(new: &str, old: &str) -> Vec<String> {
        let of = |text: &str| Document { path: "a.json".to_owned(), text: text.to_owned() };
        let new = Comparable::new(&of(new), &[]).unwrap();
        new.refuses(&Comparable::new(&of(old), &[]).unwrap())
    }

    /// The new schema, the old one, what is told.
    const PLAIN: &[(&str, &str, &str)] = &[
        (
            r#"{"properties":{"n":{"type":"integer"}}}"#,
            "{}",
            "/n: null or boolean or object or array or string or number is not taken any more",
        ),
        (r#"{"type":"number"}"#, r#"{"type":"integer"}"#, ""),
        (r#"{"type":"integer"}"#, r#"{"type":"number"}"#, "/: number is not taken any more"),
        (r#"{"type":["string","null"]}"#, r#"{"type":"string"}"#, ""),
        (r#"{"enum":["a","b"]}"#, r#"{"enum":["a"]}"#, ""),
        (r#"{"enum":["a"]}"#, r#"{"enum":["a","b"]}"#, "/: a value of `enum` was taken away"),
        (r#"{"maxLength":5}"#, r#"{"maxLength":9}"#, "/: `maxLength` was added or is narrower"),
        (r#"{"maxLength":9}"#, r#"{"maxLength":5}"#, ""),
        (r#"{"minimum":1}"#, r#"{"minimum":2}"#, ""),
        (r#"{"minimum":1}"#, "{}", "/: `minimum` was added or is narrower"),
        (r#"{"pattern":"a"}"#, r#"{"pattern":"b"}"#, "/: `pattern` was added or changed"),
        (
            r#"{"items":{"type":"string"}}"#,
            r#"{"type":"array","items":{"type":"null"}}"#,
            "/items: null is not taken any more",
        ),
        (r#"{"anyOf":[{"type":"string"},{"type":"null"}]}"#, r#"{"type":"null"}"#, ""),
        (
            r#"{"type":"null"}"#,
            r#"{"anyOf":[{"type":"string"},{"type":"null"}]}"#,
            "/anyOf/0: string is not taken any more",
        ),
        (r#"{"not":{"type":"null"}}"#, "{}", "/: not compared: `not` differs, or refers to something"),
        (
            r#"{"oneOf":[{"type":"number"},{"type":"integer"}]}"#,
            r#"{"type":"integer"}"#,
            "/: not compared: the branches of `oneOf` may take the same value",
        ),
        (r#"{"oneOf":[{"type":"string"},{"type":"integer"}]}"#, r#"{"type":"integer"}"#, ""),
        (
            r##"{"$defs":{"s":{"type":"string"}},"$ref":"#/$defs/s","pattern":"^a"}"##,
            r##"{"$defs":{"s":{"type":"string"}},"$ref":"#/$defs/s"}"##,
            "/: not compared: a `$ref` leads to nothing that is known, in a circle, or has keywords beside it",
        ),
        (
            r#"{"patternProperties":{"^x":{"type":"string"}},"properties":{"x1":{"type":"integer"}},"additionalProperties":false}"#,
            r#"{"patternProperties":{"^x":{"type":"string"}},"additionalProperties":false}"#,
            "/: not compared: it has keywords that depend on others, and differs",
        ),
        (
            r#"{"maximum":9007199254740992}"#,
            r#"{"maximum":9007199254740993}"#,
            "/: `maximum` was added or is narrower",
        ),
        ("false", "{}", "/: no value is taken any more"),
        ("true", r#"{"type":"null"}"#, ""),
    ];

    #[test]
    fn what_is_wider_is_fine_and_what_is_narrower_is_told() {
        for (new, old, told) in PLAIN {
            assert_eq!(refuses(new, old).join("\n"), *told, "{new} after {old}");
        }
    }

    #[test]
    fn properties_come_and_go_by_whether_others_may_be_there() {
        let closed = |properties: &str, required: &str| {
            format!(
                r#"{{"type":"object","additionalProperties":false,"properties":{{{properties}}},"required":[{required}]}}"#
            )
        };
        let id = r#""id":{"type":"string"}"#;
        let both = r#""id":{"type":"string"},"n":{"type":"integer"}"#;
        for (new, old, told) in [
            (closed(both, ""), closed(id, ""), ""),
            (closed(id, ""), closed(both, ""), "/n: no value is taken any more"),
            (closed(both, r#""n""#), closed(id, ""), "/n: the property is required now"),
            (closed(id, ""), closed(id, r#""id""#), ""),
        ] {
            assert_eq!(refuses(&new, &old).join("\n"), told, "{new} after {old}");
        }
    }

    #[test]
    fn references_are_followed_and_circles_end() {
        let tree = |value: &str| {
            format!(
                r##"{{"$defs":{{"node":{{"type":"object","properties":{{"value":{{"type":{value}}},"next":{{"$ref":"#/$defs/node"}}}}}}}},"$ref":"#/$defs/node"}}"##
            )
        };
        assert_eq!(refuses(&tree("[\"string\",\"null\"]"), &tree("\"string\"")), Vec::<String>::new());
        assert_eq!(refuses(&tree("\"null\""), &tree("\"string\"")), ["/value: string is not taken any more"]);
        let nowhere = r##"{"$ref":"#/none"}"##;
        assert!(refuses(nowhere, nowhere)[0].contains("not compared"), "nobody knows");
    }
}
