//! `format: avro`: each value is one datum of the schema, without a header.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use vrl::value::Value;

use crate::outcome::{Code, Failure};
use crate::schema::avro::{Reader, Schema, encode};

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
        let read = self.0.reader.read(bytes);
        read.map_err(|fault| Failure::invalid(Code::Decode, format!("decoding Avro: {fault}")))
    }

    /// Fails with code `schema`: a value that the schema does not take.
    pub(super) fn encode(&self, value: &Value, limit: usize) -> Result<Bytes, Failure> {
        let written = encode(&self.0.schema, value, limit);
        written.map_err(|fault| Failure::invalid(Code::Schema, format!("encoding Avro: {fault}")))
    }
}
