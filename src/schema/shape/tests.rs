//! Shapes by hand, and whether a value has one.

use serde_json::json;
use vrl::path::{OwnedSegment, parse_value_path};
use vrl::value::Value;

use super::*;
use crate::schema::json::{Document, shape as of_json};

/// Why a value does not have a shape; every path of one that has is there.
pub(crate) fn holds(shape: &Shape, value: &Value) -> Result<(), String> {
    let said: Vec<String> = shape.alternatives().iter().map_while(|one| is(one, value).err()).collect();
    if said.len() < shape.alternatives().len() { Ok(()) } else { Err(said.join("; ")) }
}

fn is(shape: &Shape, value: &Value) -> Result<(), String> {
    let inside = |name: &str, said: Result<(), String>| said.map_err(|why| format!("{name}: {why}"));
    match (shape, value) {
        (Shape::Anything, _)
        | (Shape::Null, Value::Null)
        | (Shape::Scalar(Scalar::Text), Value::String(_))
        | (Shape::Scalar(Scalar::Integer), Value::Integer(_))
        | (Shape::Scalar(Scalar::Number), Value::Float(_))
        | (Shape::Scalar(Scalar::Boolean), Value::Boolean(_))
        | (Shape::Scalar(Scalar::Timestamp), Value::Timestamp(_))
        | (Shape::Scalar(Scalar::Bytes), Value::Bytes(_)) => Ok(()),
        (Shape::Scalar(Scalar::Symbols(known)), Value::String(text)) => {
            let found = known.iter().any(|one| one.as_bytes() == &text.as_bytes()[..]);
            if found { Ok(()) } else { Err(format!("{text:?} is not in {known:?}")) }
        }
        (Shape::List(item), Value::Array(list)) => {
            list.iter().try_for_each(|one| inside("[]", holds(item, one)))
        }
        (Shape::Map(of), Value::Object(map)) => {
            map.iter().try_for_each(|(key, one)| inside(key, holds(of, one)))
        }
        (Shape::Object(object), Value::Object(map)) => {
            for (key, one) in map {
                match object.fields.get(key.as_str()) {
                    Some(field) => inside(key, holds(&field.shape, one))?,
                    None if object.open => {}
                    None => return Err(format!("there is no {key}")),
                }
            }
            let lost =
                object.fields.iter().find(|(name, field)| field.always && !map.contains_key(name.as_str()));
            lost.map_or(Ok(()), |(name, _)| Err(format!("{name} is not always there")))
        }
        _ => Err(format!("{} is not {}", value.kind_str(), shape.word())),
    }
}

fn path(text: &str) -> Vec<OwnedSegment> {
    parse_value_path(text).unwrap().segments
}

fn json(schema: &serde_json::Value, used: Use) -> Shape {
    of_json(&Document { path: "a.json".to_owned(), text: schema.to_string() }, &[], used)
}

fn closed(properties: &serde_json::Value) -> serde_json::Value {
    json!({"type": "object", "additionalProperties": false, "properties": properties})
}

/// What stands at a path: a word, or what is there in place of it.
fn at(shape: &Shape, text: &str) -> String {
    match shape.get(&path(text)) {
        Ok(Found { shape, near: None }) => shape.word(),
        Ok(Found { near: Some(near), .. }) => format!("near {}", near.name),
        Err(Absent { at, names, there }) => format!("none at {at} of {there} [{}]", names.join(" ")),
    }
}

#[test]
fn a_path_is_there_where_some_value_has_it() {
    let order = closed(&json!({
        "id": {"type": "string"},
        "total": closed(&json!({"cents": {"type": "integer"}})),
        "lines": {"type": "array", "items": closed(&json!({"sku": {"type": "string"}}))},
        "by": {"type": ["object", "null"], "properties": {"customer": {"type": "string"}}},
        "both": {"anyOf": [closed(&json!({"a": {"type": "null"}})), closed(&json!({"b": {"type": "boolean"}}))]},
        "free": {},
    }));
    let shape = json(&order, Use::Read);
    for (text, expected) in [
        (".", "an object"),
        ("id", "text"),
        ("total.cents", "a number"),
        ("total.cent", "none at 1 of an object [cents]"),
        ("totl.cents", "none at 0 of an object [id total lines by both free]"),
        ("id.x", "none at 1 of text []"),
        ("id[0]", "none at 1 of text []"),
        ("lines", "a list"),
        ("lines[3].sku", "text"),
        ("lines[-1].sku", "text"),
        ("lines.sku", "none at 1 of a list []"),
        ("lines[0].x", "none at 2 of an object [sku]"),
        ("by.customer", "text"),
        ("by.custmer", "near customer"),
        ("by.other", "anything"),
        ("both.a", "null"),
        ("both.b", "a boolean"),
        ("both.c", "none at 1 of an object [a b]"),
        ("free.whatever[1]", "anything"),
    ] {
        assert_eq!(at(&shape, text), expected, "{text}");
    }
}

#[test]
fn json_schema_closes_only_what_it_says_is_closed() {
    let open = json!({"type": "object", "properties": {"id": {"type": "string"}}});
    let patterns = json!({"type": "object", "additionalProperties": false, "patternProperties": {"^x-": {}}});
    let untyped = json!({"properties": {"id": {"type": "string"}}, "additionalProperties": false});
    let all = json!({"allOf": [open, closed(&json!({"id": {}, "n": {"type": "integer"}}))]});
    let required = json!({"anyOf": [{"required": ["a"]}, {"required": ["b"]}]});
    let itself = json!({"$defs": {"node": closed(&json!({"next": {"$ref": "#/$defs/node"}, "id": {"type": "string"}}))},
        "$ref": "#/$defs/node"});
    let away = json!({"$ref": "other.json#/definitions/x"});
    let own_id = closed(&json!({"a": {"$id": "b.json", "allOf": [{"$ref": "#/properties/a"}]}}));
    let not = json!({"not": closed(&json!({"id": {}}))});
    let never = json!({"allOf": [{"type": "string"}, {"type": "integer"}]});
    for (schema, text, expected) in [
        (&open, "identity", "anything"),
        (&open, "ID", "near id"),
        (&patterns, "x-a", "anything"),
        (&untyped, "id", "text"),
        (&untyped, "idx", "none at 0 of an object or a list or text or a number or a boolean or null [id]"),
        (&all, "id", "text"),
        (&all, "n", "a number"),
        (&all, "other", "none at 0 of an object [id n]"),
        (&required, "c", "anything"),
        (&itself, "next.next.next.id", "text"),
        (&itself, "next.next.idd", "none at 2 of an object [next id]"),
        (&away, "id", "anything"),
        (&own_id, "a.b", "anything"),
        (&not, "x", "anything"),
        (&never, "x", "anything"),
    ] {
        assert_eq!(at(&json(schema, Use::Read), text), expected, "{text} of {schema}");
    }
}

#[test]
fn a_reference_is_followed_into_a_document_beside_it() {
    let money =
        Document { path: "shop/money.json".to_owned(), text: closed(&json!({"cents": {}})).to_string() };
    let main = closed(&json!({"total": {"$ref": "money.json"}, "other": {"$ref": "away.json"}})).to_string();
    let main = Document { path: "shop/order.json".to_owned(), text: main };
    let shape = of_json(&main, &[money], Use::Read);
    assert_eq!(at(&shape, "total.cent"), "none at 1 of an object [cents]");
    assert_eq!(at(&shape, "other.cent"), "anything");
}

#[test]
fn what_is_written_and_taken_out_changes_the_shape() {
    let order = closed(&json!({
        "id": {"type": "string"},
        "by": {"type": ["object", "null"], "additionalProperties": false, "properties": {"name": {"type": "string"}}},
    }));
    let mut shape = json(&order, Use::Read);
    shape.put(&path("by.email"), Shape::TEXT);
    shape.put(&path("total.cents"), Shape::INTEGER);
    shape.may_put(&path("id.x"), Shape::BOOLEAN);
    shape.remove(&path("by.name"));
    shape.change(&path("total.cents"), &|before| before.cast(Scalar::Text));
    for (text, expected) in [
        ("by.email", "text"),
        ("by.name", "none at 1 of an object [email]"),
        ("total.cents", "text"),
        ("id", "text or an object"),
        ("id.x", "a boolean"),
        ("id.y", "none at 1 of text or an object [x]"),
    ] {
        assert_eq!(at(&shape, text), expected, "{text}");
    }
}

#[test]
fn what_can_never_fit_is_told_and_nothing_else() {
    let required = |names: &[&str], properties: serde_json::Value| {
        let mut schema = closed(&properties);
        schema["required"] = json!(names);
        schema
    };
    let taken = required(
        &["id", "n"],
        json!({"id": {"type": "string"}, "n": {"type": ["integer", "null"]},
        "kind": {"enum": ["a", "b"]}}),
    );
    for (schema, expected) in [
        (required(&["id", "n"], json!({"id": {"type": "string"}, "n": {"type": "null"}})), ""),
        (closed(&json!({"id": {}, "n": {}, "kind": {}, "more": {}})), ""),
        (json!({"type": "object"}), ""),
        (json!({"type": ["object", "string"]}), ""),
        (json!({"type": "string"}), ": Kind"),
        (closed(&json!({"id": {"type": "string"}})), "n: Missing"),
        (closed(&json!({"id": {"type": "integer"}, "n": {}})), "id: Kind"),
        (required(&["more"], json!({"id": {}, "n": {}, "more": {}})), "more: Unknown"),
        (required(&["kind"], json!({"id": {}, "n": {}, "kind": {"const": "c"}})), "kind: NoSymbol"),
        (closed(&json!({"id": {}, "n": {}, "kind": {"const": "c"}})), ""),
    ] {
        let said = json(&schema, Use::Read).misfit(&json(&taken, Use::Write));
        let said = said.map_or(String::new(), |misfit| {
            let why = format!("{:?}", misfit.why);
            format!("{}: {}", misfit.path.join("."), why.split(['(', ' ']).next().unwrap_or_default())
        });
        assert_eq!(said, expected, "{schema}");
    }
}
