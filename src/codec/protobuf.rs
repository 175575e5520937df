//! `format: protobuf`: each value is one message of a schema, without a header.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use vrl::value::Value;

use super::Document;
use crate::event::json::Wide;
use crate::outcome::{Code, Failure};
use crate::schema::protobuf::{Message, Schema, imports};
use crate::schema::shape::{Shape, Use};

/// A message of a schema, ready to read and write. Cheap to clone.
#[derive(Clone)]
pub struct Protobuf {
    message: Message,
    /// What its schema was made of: equal documents are equal schemas.
    documents: Arc<[Document]>,
}

impl fmt::Debug for Protobuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Protobuf").field(&self.message.name()).finish()
    }
}

impl PartialEq for Protobuf {
    fn eq(&self, other: &Protobuf) -> bool {
        let same = Arc::ptr_eq(&self.documents, &other.documents) || self.documents == other.documents;
        same && self.message.name() == other.message.name()
    }
}

impl Protobuf {
    /// The first message of a schema; `imports` are the files that it and they import. Fails with what is wrong, in one
    /// sentence.
    pub fn new(main: Document, imports: Vec<Document>) -> Result<Protobuf, String> {
        let message = Schema::parse(&main, &imports)?.message(None)?;
        Ok(Protobuf { message, documents: imports.into_iter().chain([main]).collect() })
    }

    /// Another message of its schema, by name. Fails where there is none, with those that there are.
    pub fn of(&self, message: &str) -> Result<Protobuf, String> {
        let message = self.message.schema().message(Some(message))?;
        Ok(Protobuf { message, documents: Arc::clone(&self.documents) })
    }

    /// Another message, perhaps of another schema that stands for the same documents.
    pub(super) fn with(&self, message: Message) -> Protobuf {
        Protobuf { message, documents: Arc::clone(&self.documents) }
    }

    /// The files that one imports, without those that everybody has at hand. Fails with what is wrong with it.
    pub fn imports(document: &Document) -> Result<Vec<String>, String> {
        imports(document)
    }

    /// The message that each value is.
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// What any message of its schema looks like.
    pub(super) fn any_shape(&self, used: Use) -> Shape {
        self.message.schema().any_shape(used)
    }

    /// Fails with code `decode`: bytes that are no such message.
    pub(super) fn decode(&self, bytes: &[u8], wide: Wide) -> Result<Value, Failure> {
        let read = self.message.read_with(bytes, wide);
        read.map_err(|fault| Failure::invalid(Code::Decode, format!("decoding Protobuf: {fault}")))
    }

    /// Fails with code `schema`: a value that the message does not take.
    pub(super) fn encode(&self, value: &Value, limit: usize) -> Result<Bytes, Failure> {
        let written = self.message.write(value, limit);
        written.map_err(|fault| Failure::invalid(Code::Schema, format!("encoding Protobuf: {fault}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_and_messages_are_equal_schemas() {
        let document = |text: &str| Document { path: "a.proto".to_owned(), text: text.to_owned() };
        let made = |text: &str| Protobuf::new(document(text), Vec::new()).unwrap();
        let text = "syntax = \"proto3\"; message A { int64 n = 1; } message B {}";
        let (a, same) = (made(text), made(text));
        assert_eq!(a, same);
        assert_ne!(a, a.of("B").unwrap());
        assert_eq!(a.of("B").unwrap(), same.of("B").unwrap());
        assert_ne!(a, made(&format!("{text} ")));
        assert!(a.of("C").is_err());
        let failed =
            (a.decode(b"\x08", Wide::Error).unwrap_err(), a.encode(&Value::from("x"), 9).unwrap_err());
        assert_eq!((failed.0.code, failed.1.code), (Code::Decode, Code::Schema));
        assert_eq!(failed.0.message, "decoding Protobuf: /n: the bytes end too early");
    }
}
