//! JSON Schema, drafts 4 to 2020-12 as `$schema` says; without one it is 2020-12. Nothing is fetched: a reference is found
//! among the texts that are given. Patterns are matched in linear time, so look-around and back-references are refused.

use std::collections::HashMap;

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{PatternOptions, Retrieve, Uri, ValidationError, Validator};
use serde_json::Value as Json;

use super::Fault;

mod compare;
mod shape;

pub use compare::Comparable;
pub use shape::shape;

/// Where schemas are said to lie, so that one refers to another by its path.
const BASE: &str = "weir:///";
/// The most memory of a compiled pattern.
const PATTERN: usize = 1 << 20;

/// A schema that is ready to validate.
#[derive(Debug)]
pub struct Schema(Validator);

/// The text of a schema and its path, by which others refer to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Relative to the folder of the schemas, or a URI.
    pub path: String,
    /// The text, in JSON.
    pub text: String,
}

impl Schema {
    /// Reads a schema; `references` are those that it and they may refer to.
    ///
    /// # Errors
    /// What is wrong, in one sentence.
    pub fn parse(main: &Document, references: &[Document]) -> Result<Schema, String> {
        let read = |document: &Document| -> Result<(String, Json), String> {
            let json = serde_json::from_str(&document.text)
                .map_err(|error| format!("{} is not JSON: {error}", document.path))?;
            let base = if document.path.contains("://") { "" } else { BASE };
            Ok((format!("{base}{}", document.path), json))
        };
        let (base, schema) = read(main)?;
        let mut known = HashMap::new();
        for document in references {
            let (uri, json) = read(document)?;
            if let Some(id) = json.get("$id").or_else(|| json.get("id")).and_then(Json::as_str) {
                known.insert(id.trim_end_matches('#').to_owned(), json.clone());
            }
            known.insert(uri, json);
        }
        let limits = PatternOptions::regex().size_limit(PATTERN).dfa_size_limit(PATTERN);
        let built = jsonschema::options()
            .with_base_uri(base)
            .with_pattern_options(limits)
            .with_retriever(Known(known))
            .should_validate_formats(true)
            .build(&schema);
        built.map(Schema).map_err(|error| error.to_string())
    }

    /// Whether a value is valid.
    ///
    /// # Errors
    /// The first thing that is not, and where; without the value itself.
    pub fn check(&self, value: &Json) -> Result<(), Fault> {
        if self.0.is_valid(value) {
            return Ok(());
        }
        self.0.validate(value).map_err(|error| fault(&error))
    }
}

/// What a reference may lead to.
struct Known(HashMap<String, Json>);

impl Retrieve for Known {
    fn retrieve(&self, uri: &Uri<String>) -> Result<Json, Box<dyn std::error::Error + Send + Sync>> {
        let found = self.0.get(uri.as_str()).cloned();
        let shown = uri.as_str().strip_prefix(BASE).unwrap_or(uri.as_str());
        found.ok_or_else(|| format!("it refers to `{shown}`, which is not among its `references`").into())
    }
}

fn fault(error: &ValidationError<'_>) -> Fault {
    let message = match error.kind() {
        ValidationErrorKind::Type { kind } => {
            let expected = match kind {
                TypeKind::Single(one) => one.to_string(),
                TypeKind::Multiple(several) => {
                    let names: Vec<String> = several.iter().map(|one| one.to_string()).collect();
                    names.join(" or ")
                }
            };
            format!("expected {expected}, got {}", kind_of(error.instance()))
        }
        ValidationErrorKind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            format!("the property `{name}` is missing")
        }
        _ => error.masked().to_string(),
    };
    let pointer = error.instance_path().to_string();
    let steps = pointer.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~"));
    steps.collect::<Vec<_>>().into_iter().rev().fold(Fault::new(message), Fault::inside)
}

fn kind_of(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "boolean",
        Json::Number(number) if number.is_f64() => "number",
        Json::Number(_) => "integer",
        Json::String(_) => "string",
        Json::Array(_) => "array",
        Json::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(path: &str, text: &str) -> Document {
        Document { path: path.to_owned(), text: text.to_owned() }
    }

    fn said(schema: &str, value: &str) -> String {
        let schema = Schema::parse(&document("a.json", schema), &[]).unwrap();
        let value: Json = serde_json::from_str(value).unwrap();
        schema.check(&value).map_or_else(|fault| fault.to_string(), |()| String::new())
    }

    #[test]
    fn what_is_not_valid_is_said_with_its_place_and_without_the_value() {
        let order = r#"{"type":"object","required":["id"],"additionalProperties":false,"properties":{
            "id":{"type":"string","pattern":"^o-"},"total":{"type":"object","properties":{"cents":{"type":"integer","minimum":0}}},
            "tags":{"type":"array","items":{"type":["string","null"]}},"when":{"type":"string","format":"date-time"}}}"#;
        for (value, expected) in [
            (r#"{"id":"o-1","total":{"cents":9007199254740993}}"#, ""),
            (r#"{"total":{}}"#, "the property `id` is missing"),
            (r#"{"id":"o-1","total":{"cents":"c4nary"}}"#, "/total/cents: expected integer, got string"),
            (r#"{"id":"o-1","total":{"cents":1.5}}"#, "/total/cents: expected integer, got number"),
            (r#"{"id":"o-1","tags":["a",7]}"#, "/tags/1: expected null or string, got integer"),
            (r#"{"id":"c4nary"}"#, r#"/id: value does not match "^o-""#),
            (r#"{"id":"o-1","when":"c4nary"}"#, r#"/when: value is not a "date-time""#),
            (r#"{"id":"o-1","total":{"cents":-7}}"#, "/total/cents: value is less than the minimum of 0"),
        ] {
            assert_eq!(said(order, value), expected, "{value}");
        }
        let other = said(order, r#"{"id":"o-1","other":"c4nary"}"#);
        assert!(other.contains("other") && !other.contains("c4nary"), "{other}");
    }

    /// B-06
    #[test]
    fn b_06_hostile_schemas_are_refused_or_take_no_time() {
        for (schema, why) in [
            (r#"{"pattern":"^(?=a)b"}"#, "regex"),
            (r#"{"pattern":"(a{1000}){1000}"}"#, "regex"),
            (
                r#"{"$ref":"https://evil.example/a.json"}"#,
                "`https://evil.example/a.json`, which is not among its",
            ),
            (r#"{"$ref":"file:///etc/passwd"}"#, "file:///etc/passwd"),
            (r#"{"$ref":"b.json"}"#, "refers to `b.json`"),
            (r#"{"type":"strng"}"#, "strng"),
            ("{", "a.json is not JSON"),
        ] {
            let error = Schema::parse(&document("a.json", schema), &[]).unwrap_err();
            assert!(error.contains(why), "{schema}: {error}");
        }
        assert_eq!(said(r##"{"$ref":"#"}"##, "1"), "", "a schema that is itself ends");
        let text = format!("\"{}\"", "a".repeat(50_000));
        let begun = crate::telemetry::clock::now();
        assert!(!said(r#"{"pattern":"^(a+)+$"}"#, &text.replace("a\"", "b\"")).is_empty());
        let many: Vec<u32> = (0..100_000).collect();
        assert_eq!(said(r#"{"uniqueItems":true}"#, &serde_json::to_string(&many).unwrap()), "");
        assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
    }

    #[test]
    fn a_schema_refers_to_others_by_path_or_id() {
        let money = document("shop/money.json", r#"{"type":"integer"}"#);
        let named = document("shop/id.json", r#"{"$id":"https://shop.example/id","type":"string"}"#);
        let main =
            r#"{"properties":{"total":{"$ref":"money.json"},"id":{"$ref":"https://shop.example/id"}}}"#;
        let schema = Schema::parse(&document("shop/order.json", main), &[money, named]).unwrap();
        let check =
            |text: &str| schema.check(&serde_json::from_str(text).unwrap()).map_err(|f| f.to_string());
        assert_eq!(check(r#"{"total":1,"id":"a"}"#), Ok(()));
        assert_eq!(check(r#"{"total":"1"}"#), Err("/total: expected integer, got string".to_owned()));
        assert_eq!(check(r#"{"id":1}"#), Err("/id: expected string, got integer".to_owned()));
    }

    #[test]
    fn each_draft_has_its_own_words() {
        for (schema, value, valid) in [
            (
                r#"{"$schema":"http://json-schema.org/draft-04/schema#","minimum":1,"exclusiveMinimum":true}"#,
                "1",
                false,
            ),
            (
                r#"{"$schema":"http://json-schema.org/draft-07/schema#","items":[{"type":"string"}]}"#,
                "[1]",
                false,
            ),
            (
                r#"{"$schema":"http://json-schema.org/draft-07/schema#","prefixItems":[{"type":"string"}]}"#,
                "[1]",
                true,
            ),
            (
                r#"{"$schema":"https://json-schema.org/draft/2019-09/schema","dependentRequired":{"a":["b"]}}"#,
                r#"{"a":1}"#,
                false,
            ),
            (r#"{"prefixItems":[{"type":"string"}]}"#, "[1]", false),
        ] {
            assert_eq!(said(schema, value).is_empty(), valid, "{schema}");
        }
    }
}
