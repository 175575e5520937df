//! `format: avro`: each value is one datum of the schema, without a header.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use vrl::value::Value;

use crate::outcome::{Code, Failure};
use crate::schema::avro::{Reader, Schema, encode};
use crate::schema::shape::{Shape, Use};

/// Fails with code `decode`: bytes that are no datum of the writer's schema; with code `schema`: one for which the reader's
/// has no place.
pub(super) fn read(reader: &Reader, bytes: &Bytes) -> Result<Value, Failure> {
    reader.read(bytes).map_err(|fault| {
        let code = if fault.is_unfit() { Code::Schema } else { Code::Decode };
        Failure::invalid(code, format!("decoding Avro: {fault}"))
    })
}

/// A schema that is ready to read and write. Cheap to clone.
#[derive(Clone)]
pub struct Avro(Arc<Compiled>);

struct Compiled {
    schema: Schema,
    reader: Reader,
    /// What it was made of: equal texts are equal schemas.
    texts: Vec<String>,
}

impl fmt::Debug for Avro {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Avro").field(&self.0.texts.last()).finish()
    }
}

impl PartialEq for Avro {
    fn eq(&self, other: &Avro) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.texts == other.0.texts
    }
}

impl Avro {
    /// Of the text of a schema; `references` are texts whose types it uses, each one after those that it uses itself. Fails
    /// with what is wrong, in one sentence.
    pub fn new(text: String, references: Vec<String>) -> Result<Avro, String> {
        let others: Vec<&str> = references.iter().map(String::as_str).collect();
        let schema = Schema::parse(&text, &others)?;
        let reader = Reader::of(&schema);
        let mut texts = references;
        texts.push(text);
        Ok(Avro(Arc::new(Compiled { schema, reader, texts })))
    }

    /// Fails with code `decode`: bytes that are no datum of the schema.
    pub(super) fn decode(&self, bytes: &Bytes) -> Result<Value, Failure> {
        read(&self.0.reader, bytes)
    }

    /// What reads datums of another schema by this one.
    pub(super) fn reader_of(&self, writer: &Avro) -> Reader {
        Reader::new(&writer.0.schema, &self.0.schema)
    }

    /// The full name that the text of a record, enum or fixed gives it.
    pub fn name_of(text: &str) -> Option<String> {
        let json: serde_json::Value = serde_json::from_str(text).ok()?;
        let name = json.get("name")?.as_str()?;
        match json.get("namespace").and_then(serde_json::Value::as_str) {
            Some(space) if !name.contains('.') && !space.is_empty() => Some(format!("{space}.{name}")),
            _ => Some(name.to_owned()),
        }
    }

    /// The full name of the record, enum or fixed that it is; `None` for other types.
    pub(super) fn name(&self) -> Option<String> {
        self.0.schema.name()
    }

    /// What its values look like.
    pub(super) fn shape(&self, used: Use) -> Shape {
        self.0.schema.shape(used)
    }

    /// Fails with code `schema`: a value that the schema does not take.
    pub(super) fn encode(&self, value: &Value, limit: usize) -> Result<Bytes, Failure> {
        let written = encode(&self.0.schema, value, limit);
        written.map_err(|fault| Failure::invalid(Code::Schema, format!("encoding Avro: {fault}")))
    }
}
