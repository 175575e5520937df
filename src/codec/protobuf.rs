//! `format: protobuf`: each value is one message of a schema, without a header.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use vrl::value::Value;

use super::Document;
use crate::outcome::{Code, Failure};
use crate::schema::protobuf::{Message, Schema, imports};

/// A message of a schema, ready to read and write. Cheap to clone.
#[derive(Clone)]
pub struct Protobuf(Arc<Compiled>);

struct Compiled {
    message: Message,
    /// What its schema was made of: equal documents are equal schemas.
    documents: Vec<Document>,
}

impl fmt::Debug for Protobuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Protobuf").field(&self.0.message.name()).finish()
    }
}

impl PartialEq for Protobuf {
    fn eq(&self, other: &Protobuf) -> bool {
        let same =
            || self.0.documents == other.0.documents && self.0.message.name() == other.0.message.name();
        Arc::ptr_eq(&self.0, &other.0) || same()
    }
}

impl Protobuf {
    /// The first message of a schema; `imports` are the files that it and they import. Fails with what is wrong, in one
    /// sentence.
    pub fn new(main: Document, imports: Vec<Document>) -> Result<Protobuf, String> {
        let message = Schema::parse(&main, &imports)?.message(None)?;
        let mut documents = imports;
        documents.push(main);
        Ok(Protobuf(Arc::new(Compiled { message, documents })))
    }

    /// Another message of its schema, by name. Fails where there is none, with those that there are.
    pub fn of(&self, message: &str) -> Result<Protobuf, String> {
        let message = self.0.message.schema().message(Some(message))?;
        Ok(Protobuf(Arc::new(Compiled { message, documents: self.0.documents.clone() })))
    }

    /// The files that one imports, without those that everybody has at hand. Fails with what is wrong with it.
    pub fn imports(document: &Document) -> Result<Vec<String>, String> {
        imports(document)
    }

    /// The message that each value is.
    pub fn message(&self) -> &Message {
        &self.0.message
    }

    /// Fails with code `decode`: bytes that are no such message.
    pub(super) fn decode(&self, bytes: &[u8]) -> Result<Value, Failure> {
        let read = self.0.message.read(bytes);
        read.map_err(|fault| Failure::invalid(Code::Decode, format!("decoding Protobuf: {fault}")))
    }

    /// Fails with code `schema`: a value that the message does not take.
    pub(super) fn encode(&self, value: &Value, limit: usize) -> Result<Bytes, Failure> {
        let written = self.0.message.write(value, limit);
        written.map_err(|fault| Failure::invalid(Code::Schema, format!("encoding Protobuf: {fault}")))
    }
}
