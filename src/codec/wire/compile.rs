//! From what a registry has to what reads and writes: off the threads that work on records, since a foreign schema may take
//! its time.

use std::sync::Arc;

use bytes::Bytes;
use vrl::value::Value;

use crate::codec::avro::{self, Avro};
use crate::codec::{Codec, Document, Format, JsonSchema};
use crate::outcome::{Code, Failure};
use crate::registry::{Registered, SchemaType};
use crate::schema::avro::Reader;

/// The path of a schema that has none.
const UNNAMED: &str = "schema";

/// What reads the payloads of one writer's schema.
#[derive(Debug)]
pub(super) enum Reading {
    /// Datums of the writer's schema, by the reader's.
    Avro(Reader),
    /// By the one schema that there is, or, in JSON, by the reader's.
    Plain(Codec),
    /// Nothing can: why.
    Broken(String),
}

impl Reading {
    /// Reads a payload.
    pub(super) fn read(&self, payload: &Bytes) -> Result<Value, Failure> {
        match self {
            Reading::Avro(reader) => avro::read(reader, payload),
            Reading::Plain(codec) => codec.read(payload),
            Reading::Broken(why) => Err(Failure::invalid(Code::Decode, format!("decoding: {why}"))),
        }
    }
}

/// What reads and writes by a schema of a registry. Fails with one sentence.
pub(super) async fn compile(format: Format, found: Arc<Registered>) -> Result<Codec, String> {
    let compiled = tokio::task::spawn_blocking(move || of(format, &found)).await;
    compiled.unwrap_or_else(|_| Err("its parser has panicked".to_owned()))
}

/// What reads the payloads of a writer by the reader's schema, where there is one.
pub(super) async fn reading(format: Format, writer: Arc<Registered>, reader: Option<Codec>) -> Reading {
    let id = writer.id;
    let made = tokio::task::spawn_blocking(move || {
        let own = of(format, &writer)?;
        Ok(match (own, reader) {
            (Codec::Avro(own), Some(Codec::Avro(reader))) => Reading::Avro(reader.reader_of(&own)),
            (_, Some(reader)) => Reading::Plain(reader),
            (own, None) => Reading::Plain(own),
        })
    });
    let made = made.await.unwrap_or_else(|_| Err("its parser has panicked".to_owned()));
    made.unwrap_or_else(|why: String| {
        Reading::Broken(format!("the schema with id {id} cannot be used: {why}"))
    })
}

fn of(format: Format, found: &Registered) -> Result<Codec, String> {
    let named = |name: &str, text: &str| Document { path: name.to_owned(), text: text.to_owned() };
    match (format, found.kind) {
        (Format::Avro, SchemaType::Avro) => {
            let references = found.references.iter().map(|named| named.text.clone()).collect();
            Avro::new(found.text.clone(), references).map(Codec::Avro)
        }
        (Format::Json, SchemaType::Json) => {
            let references = found.references.iter().map(|one| named(&one.name, &one.text)).collect();
            JsonSchema::new(named(UNNAMED, &found.text), references).map(Codec::JsonSchema)
        }
        (format, kind) => Err(format!("it is {kind}, and `format` is {}", format.as_str())),
    }
}
