//! `format: json` with a `schema`: each value is valid by a JSON Schema, in and out.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use vrl::value::Value;

use crate::event::json::Wide;
use crate::outcome::{Code, Failure};
use crate::schema::json::{Document, Schema, shape};
use crate::schema::shape::{Shape, Use};

/// A JSON Schema that is ready to validate. Cheap to clone.
#[derive(Clone)]
pub struct JsonSchema(Arc<Compiled>);

struct Compiled {
    schema: Schema,
    /// What it was made of: equal documents are equal schemas.
    documents: Vec<Document>,
}

impl fmt::Debug for JsonSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("JsonSchema").field(&self.0.documents.last().map(|main| &main.path)).finish()
    }
}

impl PartialEq for JsonSchema {
    fn eq(&self, other: &JsonSchema) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.documents == other.0.documents
    }
}

impl JsonSchema {
    /// Of a schema and those that it may refer to. Fails with what is wrong, in one sentence.
    pub fn new(main: Document, references: Vec<Document>) -> Result<JsonSchema, String> {
        let schema = Schema::parse(&main, &references)?;
        let mut documents = references;
        documents.push(main);
        Ok(JsonSchema(Arc::new(Compiled { schema, documents })))
    }

    /// Its `title`.
    pub(super) fn title(&self) -> Option<String> {
        let json: serde_json::Value = serde_json::from_str(&self.0.documents.last()?.text).ok()?;
        Some(json.get("title")?.as_str()?.to_owned())
    }

    /// What its values look like.
    pub(super) fn shape(&self, used: Use) -> Shape {
        let split = self.0.documents.split_last();
        split.map_or(Shape::Anything, |(main, references)| shape(main, references, used))
    }

    /// Fails with code `decode`: no JSON; with code `schema`: not valid.
    pub(super) fn decode(&self, bytes: &Bytes, wide: Wide) -> Result<Value, Failure> {
        let value = super::json::decode(bytes, wide)?;
        self.check(bytes)?;
        Ok(value)
    }

    /// Whether a JSON text is valid. Fails with code `schema`.
    pub(super) fn check(&self, text: &[u8]) -> Result<(), Failure> {
        let wrong = |what: String| Failure::invalid(Code::Schema, format!("validating JSON: {what}"));
        let value = serde_json::from_slice(text).map_err(|error| wrong(error.to_string()))?;
        self.0.schema.check(&value).map_err(|fault| wrong(fault.to_string()))
    }
}
