//! From what a registry has to what reads and writes: off the threads that work on records, since a foreign schema may take
//! its time.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use vrl::value::Value;

use super::frame::Framed;
use crate::codec::avro::{self, Avro};
use crate::codec::{Codec, Document, Format, JsonSchema, Protobuf, Wide};
use crate::outcome::{Code, Failure};
use crate::registry::{Registered, SchemaType};
use crate::schema::avro::Reader;
use crate::schema::protobuf::{read_indexes, write_indexes};

/// How long a schema may take to compile.
const WITHIN: Duration = Duration::from_secs(20);
/// The path of a schema that has none.
const UNNAMED: &str = "schema";

/// What reads the payloads of one writer's schema.
#[derive(Debug)]
pub(super) enum Reading {
    /// Datums of the writer's schema, by the reader's.
    Avro(Reader),
    /// By the one schema that there is, or, in JSON, by the reader's.
    Plain(Codec),
    /// Messages of the writer's schema, each by the reader's message of the same name, where there is a reader and it has one.
    Protobuf { writer: Protobuf, reader: Option<Protobuf> },
    /// Nothing can: why.
    Broken(String),
}

impl Reading {
    /// Reads a payload.
    pub(super) fn read(&self, framed: &Framed, wide: Wide) -> Result<Value, Failure> {
        match self {
            Reading::Avro(reader) => avro::read(reader, &framed.payload),
            Reading::Plain(codec) => codec.read(&framed.payload, wide),
            Reading::Protobuf { writer, reader } => message(writer, reader.as_ref(), framed, wide),
            Reading::Broken(why) => Err(Failure::invalid(Code::Decode, format!("decoding: {why}"))),
        }
    }
}

/// Reads a message: which one is said before it, or beside the GUID.
fn message(
    writer: &Protobuf,
    reader: Option<&Protobuf>,
    framed: &Framed,
    wide: Wide,
) -> Result<Value, Failure> {
    let wrong = |why: String| Failure::invalid(Code::Decode, format!("reading the wire format: {why}"));
    let said = framed.beside.as_ref().unwrap_or(&framed.payload);
    let (places, rest) = read_indexes(said).map_err(|fault| wrong(fault.to_string()))?;
    let payload = if framed.beside.is_some() { &framed.payload } else { rest };
    let own = writer
        .message()
        .schema()
        .at(&places)
        .map_err(|why| wrong(format!("the schema is another one: {why}")))?;
    let Some(reader) = reader else { return writer.with(own).decode(payload, wide) };
    let same = reader.message().schema().message(Some(own.name()));
    let same = same.map_err(|why| {
        let what =
            format!("decoding Protobuf: the value is a {}, and the reader's schema: {why}", own.name());
        Failure::invalid(Code::Schema, what)
    });
    reader.with(same?).decode(payload, wide)
}

/// What stands before payloads of a codec.
pub(super) fn indexes(codec: &Codec) -> Vec<u8> {
    match codec {
        Codec::Protobuf(protobuf) => write_indexes(&protobuf.message().indexes().unwrap_or_else(|| vec![0])),
        _ => Vec::new(),
    }
}

/// What reads and writes by a schema of a registry. Fails with one sentence.
pub(super) async fn compile(
    format: Format,
    found: Arc<Registered>,
    message: Option<String>,
) -> Result<Codec, String> {
    let compiled = tokio::task::spawn_blocking(move || match (of(format, &found)?, message) {
        (Codec::Protobuf(first), Some(name)) => first.of(&name).map(Codec::Protobuf),
        (codec, _) => Ok(codec),
    });
    within(compiled).await
}

/// Waits for a compilation; it is left alone where it takes too long.
async fn within<T>(compiling: JoinHandle<Result<T, String>>) -> Result<T, String> {
    match tokio::time::timeout(WITHIN, compiling).await {
        Ok(Ok(made)) => made,
        Ok(Err(_)) => Err("its parser has panicked".to_owned()),
        Err(_) => Err(format!("to compile it takes longer than {} s", WITHIN.as_secs())),
    }
}

/// What reads the payloads of a writer by the reader's schema, where there is one.
pub(super) async fn reading(format: Format, writer: Arc<Registered>, reader: Option<Codec>) -> Reading {
    let id = writer.id;
    let made = tokio::task::spawn_blocking(move || {
        let own = of(format, &writer)?;
        Ok(match (own, reader) {
            (Codec::Avro(own), Some(Codec::Avro(reader))) => Reading::Avro(reader.reader_of(&own)),
            (Codec::Protobuf(writer), Some(Codec::Protobuf(reader))) => {
                Reading::Protobuf { writer, reader: Some(reader) }
            }
            (Codec::Protobuf(writer), _) => Reading::Protobuf { writer, reader: None },
            (_, Some(reader)) => Reading::Plain(reader),
            (own, None) => Reading::Plain(own),
        })
    });
    let made = within(made).await;
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
        (Format::Protobuf, SchemaType::Protobuf) => {
            let imports = found.references.iter().map(|one| named(&one.name, &one.text)).collect();
            Protobuf::new(named(UNNAMED, &found.text), imports).map(Codec::Protobuf)
        }
        (format, kind) => Err(format!("it is {kind}, and `format` is {}", format.as_str())),
    }
}
