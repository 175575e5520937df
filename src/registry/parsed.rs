//! A schema that a registry understands: its language, what makes it equal to another one, and what it is compared by.

use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use super::words::{Named, Reference, SchemaType};
use crate::schema::avro;
use crate::schema::json::{Comparable, Document, Schema as JsonSchema};
use crate::schema::protobuf;

/// The largest text of a schema.
pub const MAX_TEXT: usize = 1 << 20;

/// A schema that is one.
#[derive(Debug)]
pub struct Parsed {
    /// Its language.
    pub kind: SchemaType,
    /// The text as it is kept: without white space that means nothing.
    pub text: String,
    /// SHA-256 of what makes it equal to others, in hexadecimal digits.
    pub hash: String,
    pub(super) shape: Shape,
}

/// What schemas are compared by.
#[derive(Debug)]
pub(super) enum Shape {
    Avro(avro::Schema),
    Json(Comparable),
    Protobuf(protobuf::Schema),
}

impl Parsed {
    /// Reads a text; `references` are the texts that it uses, each one after those that it uses itself; `uses` is how they are
    /// referred to. May take its time. Fails with one sentence.
    pub fn new(
        kind: SchemaType,
        text: &str,
        references: &[Named],
        uses: &[Reference],
    ) -> Result<Parsed, String> {
        if text.len() > MAX_TEXT {
            return Err(format!("a schema has at most {MAX_TEXT} bytes"));
        }
        match kind {
            SchemaType::Avro => {
                let texts: Vec<&str> = references.iter().map(|named| named.text.as_str()).collect();
                let text = text.trim();
                // A name of a primitive type may come without the quotes of JSON.
                let quoted =
                    if text.starts_with(['{', '[', '"']) { None } else { Some(Json::from(text).to_string()) };
                let text = quoted.as_deref().unwrap_or(text);
                let schema = avro::Schema::parse(text, &texts)?;
                let json = read(text)?;
                Ok(Parsed::of(kind, json.to_string(), &sorted(&json), uses, Shape::Avro(schema)))
            }
            SchemaType::Json => {
                let named = |named: &Named| Document { path: named.name.clone(), text: named.text.clone() };
                let main = Document { path: "schema".to_owned(), text: text.to_owned() };
                let references: Vec<Document> = references.iter().map(named).collect();
                JsonSchema::parse(&main, &references)?;
                let json = read(text)?;
                let shape = Shape::Json(Comparable::new(&main, &references)?);
                Ok(Parsed::of(kind, json.to_string(), &sorted(&json), uses, shape))
            }
            SchemaType::Protobuf => {
                let named = |named: &Named| Document { path: named.name.clone(), text: named.text.clone() };
                let imports: Vec<Document> = references.iter().map(named).collect();
                let main = Document { path: "schema.proto".to_owned(), text: text.to_owned() };
                let schema = protobuf::Schema::parse(&main, &imports)?;
                let text = schema.text();
                Ok(Parsed::of(kind, text.clone(), &text, uses, Shape::Protobuf(schema)))
            }
        }
    }

    /// With Protobuf: the compiled file in base64, without what it imports.
    pub fn descriptor(&self) -> Option<String> {
        match &self.shape {
            Shape::Protobuf(schema) => Some(schema.descriptor()),
            Shape::Avro(_) | Shape::Json(_) => None,
        }
    }

    fn of(kind: SchemaType, text: String, canonical: &str, uses: &[Reference], shape: Shape) -> Parsed {
        let mut digest = Sha256::new();
        digest.update(kind.as_str());
        digest.update([0]);
        digest.update(canonical);
        for Reference { name, subject, version } in uses {
            digest.update([0]);
            digest.update(name);
            digest.update([0]);
            digest.update(subject);
            digest.update(version.to_be_bytes());
        }
        Parsed { kind, text, hash: data_encoding::HEXLOWER.encode(&digest.finalize()), shape }
    }
}

fn read(text: &str) -> Result<Json, String> {
    serde_json::from_str(text).map_err(|error| format!("the schema is not JSON: {error}"))
}

/// The same with keys in order: what was written in another order means the same.
fn sorted(json: &Json) -> String {
    let mut json = json.clone();
    json.sort_all_objects();
    json.to_string()
}
