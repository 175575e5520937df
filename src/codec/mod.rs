//! Bytes to values and back, by format. A new format is a file, a variant and an arm.

mod avro;
pub mod json;
mod json_schema;
mod protobuf;
pub mod wire;

use std::num::NonZeroU32;

use bytes::Bytes;
use schemars::JsonSchema as Describe;
use serde::{Deserialize, Serialize};
use vrl::value::Value;

use crate::event::Header;
pub use crate::event::json::Wide;
use crate::outcome::{Code, Failure};
pub use crate::schema::json::Document;
pub use crate::schema::shape;
pub use avro::Avro;
pub use json_schema::JsonSchema;
pub use protobuf::Protobuf;
use shape::{Shape, Use};
use wire::{Missing, Wire};

/// How the values of a topic are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize, Serialize, Describe)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// One JSON text.
    #[default]
    Json,
    /// UTF-8 text: `.` is a string.
    Text,
    /// Bytes as they are.
    Bytes,
    /// Binary Avro; needs `schema`.
    Avro,
    /// Protobuf; needs `schema`.
    Protobuf,
}

/// A format with all that it takes to read and write it. Cheap to clone.
#[derive(Debug, Clone, PartialEq)]
pub enum Codec {
    /// One JSON text.
    Json,
    /// UTF-8 text.
    Text,
    /// Bytes as they are.
    Bytes,
    /// One JSON text that is valid by a schema.
    JsonSchema(JsonSchema),
    /// Datums of a schema.
    Avro(Avro),
    /// Messages of a schema.
    Protobuf(Protobuf),
    /// Values that say which schema of a registry they are written with.
    Wire(Wire),
}

/// Why a value is not read or written.
#[derive(Debug)]
pub enum Trouble {
    /// It cannot be.
    Failed(Failure),
    /// It can, once this schema is fetched.
    Missing(Missing),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Trouble {
        Trouble::Failed(failure)
    }
}

/// What did not read as bare bytes, and may be in the wire format of a registry: a zero byte and four of an id.
fn hinted(mut failure: Failure, codec: &Codec, value: &Bytes) -> Failure {
    let framed = matches!(codec, Codec::Avro(_) | Codec::Protobuf(_) | Codec::JsonSchema(_));
    if framed && value.len() > 5 && value.starts_with(&[0, 0]) {
        failure.message.push_str(
            "; the value begins as in the wire format of a registry: if it is, write `framing: confluent` beside the file",
        );
    }
    failure
}

impl Codec {
    /// Which format it is.
    pub fn format(&self) -> Format {
        match self {
            Codec::Json | Codec::JsonSchema(_) => Format::Json,
            Codec::Text => Format::Text,
            Codec::Bytes => Format::Bytes,
            Codec::Avro(_) => Format::Avro,
            Codec::Protobuf(_) => Format::Protobuf,
            Codec::Wire(wire) => wire.format(),
        }
    }

    /// The full name of its schema, where that has one.
    pub fn record_name(&self) -> Option<String> {
        match self {
            Codec::Avro(avro) => avro.name(),
            Codec::JsonSchema(schema) => schema.title(),
            Codec::Protobuf(protobuf) => Some(protobuf.message().name().to_owned()),
            Codec::Json | Codec::Text | Codec::Bytes | Codec::Wire(_) => None,
        }
    }

    /// Whether each value has to be looked at, since not all bytes are values.
    pub fn validates(&self) -> bool {
        matches!(self, Codec::Avro(_) | Codec::JsonSchema(_) | Codec::Protobuf(_) | Codec::Wire(_))
    }

    /// What values look like that are read by it, or may be written: [`Shape::Anything`] where no file says so. A null value is
    /// a tombstone, and may always be written.
    pub fn shape(&self, used: Use) -> Shape {
        let shape = match self {
            Codec::Json => Shape::Anything,
            Codec::Text => Shape::TEXT,
            Codec::Bytes if used == Use::Read => Shape::BYTES,
            Codec::Bytes => Shape::one_of([Shape::TEXT, Shape::BYTES]),
            Codec::JsonSchema(schema) => schema.shape(used),
            Codec::Avro(avro) => avro.shape(used),
            Codec::Protobuf(protobuf) => protobuf.message().shape(used),
            Codec::Wire(wire) => wire.shape(used),
        };
        if used == Use::Write { Shape::one_of([shape, Shape::Null]) } else { shape }
    }

    /// Reads a record's value; null (a tombstone) is null in every format. Fails with code `decode` or `schema`, or where a
    /// schema is not at hand.
    pub fn decode(&self, value: Option<&Bytes>, headers: &[Header], wide: Wide) -> Result<Value, Trouble> {
        match (self, value) {
            (_, None) => Ok(Value::Null),
            (Codec::Wire(wire), Some(value)) => wire.decode(value, headers, wide),
            (plain, Some(value)) => {
                Ok(plain.read(value, wide).map_err(|failure| hinted(failure, plain, value))?)
            }
        }
    }

    /// Reads bytes that are no wire format.
    fn read(&self, bytes: &Bytes, wide: Wide) -> Result<Value, Failure> {
        match self {
            Codec::Json => json::decode(bytes, wide),
            Codec::Text => match Value::from_utf8_or_bytes(bytes.clone()) {
                Value::Bytes(_) => Err(Failure::invalid(Code::Decode, "decoding text: not UTF-8")),
                text => Ok(text),
            },
            Codec::Bytes => Ok(Value::Bytes(bytes.clone())),
            Codec::JsonSchema(schema) => schema.decode(bytes, wide),
            Codec::Avro(avro) => avro.decode(bytes),
            Codec::Protobuf(message) => message.decode(bytes, wide),
            Codec::Wire(_) => Err(Failure::invalid(Code::Decode, "decoding: a wire format in another one")),
        }
    }

    /// Writes a value for a topic, at most `limit` bytes. Null becomes a tombstone (`None`). Fails with code `transform`:
    /// text and bytes take a string alone; with code `schema`: the schema does not take it; or where a schema is not at hand.
    pub fn encode(&self, value: &Value, topic: &str, limit: usize) -> Result<Option<Bytes>, Trouble> {
        let bytes = match (self, value) {
            (_, Value::Null) => return Ok(None),
            (Codec::Wire(wire), value) => wire.encode(value, topic, limit)?,
            (plain, value) => plain.write(value, limit)?,
        };
        if bytes.len() > limit {
            return Err(
                Failure::invalid(Code::TooLarge, format!("the value is longer than {limit} bytes")).into()
            );
        }
        Ok(Some(bytes))
    }

    /// Writes bytes that are no wire format.
    fn write(&self, value: &Value, limit: usize) -> Result<Bytes, Failure> {
        let wrong = |what: String| Failure::invalid(Code::Transform, what);
        Ok(match (self, value) {
            (Codec::Json | Codec::JsonSchema(_), value) => {
                let text = crate::event::json::to_bytes(value, limit)
                    .map_err(|e| wrong(format!("encoding JSON: {e}")))?;
                if let Codec::JsonSchema(schema) = self {
                    schema.check(&text)?;
                }
                text
            }
            (Codec::Avro(avro), value) => avro.encode(value, limit)?,
            (Codec::Protobuf(message), value) => message.encode(value, limit)?,
            (Codec::Wire(_), _) => return Err(wrong("encoding: a wire format in another one".to_owned())),
            (Codec::Text | Codec::Bytes, Value::String(text)) => text.as_bytes().clone(),
            (Codec::Bytes, Value::Bytes(bytes)) => bytes.clone(),
            (Codec::Text | Codec::Bytes, other) => {
                return Err(wrong(format!(
                    "encoding {}: {} is not a string",
                    self.format().as_str(),
                    other.kind_str()
                )));
            }
        })
    }
}

/// Where a schema comes from: a file, or a subject of the registry.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize, Describe)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Schema")]
pub struct SchemaSpec {
    /// A file of the folder `schemas`: `schemas/order.avsc`, `schemas/order.json`, `schemas/order.proto`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// A subject of the registry: values are in the Confluent wire format. Beside `file` of a `publish`: where the file's schema
    /// is registered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Which version of the subject. Left out: the latest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<NonZeroU32>,
    /// What is around values that are read by a `file`: nothing (`none`, the default), or the id of the schema that each is
    /// written with (`confluent`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub framing: Option<Framing>,
    /// Files whose types it uses by name, each one after those that it uses itself. Those that a .proto file imports are found
    /// below the folder of the schemas.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<String>,
    /// With `format: protobuf`: the message that each value is, such as `shop.Order`; without it the first one of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What is around values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, Describe)]
#[serde(rename_all = "snake_case")]
pub enum Framing {
    /// Nothing.
    None,
    /// The Confluent wire format: the id of the schema that each is written with.
    Confluent,
}

/// Whether the schema of a file may be registered where values are published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, Describe)]
#[serde(rename_all = "snake_case")]
pub enum Register {
    /// It has to be registered already.
    Never,
    /// It is, where it is compatible with the versions that are there.
    IfCompatible,
}

/// How the subject of a topic's values is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, Describe)]
#[serde(rename_all = "snake_case")]
pub enum SubjectName {
    /// `TOPIC-value`.
    #[default]
    Topic,
    /// The schema's full name.
    Record,
    /// `TOPIC-` and the schema's full name.
    TopicRecord,
}

impl Format {
    /// The word of the pipeline file.
    pub fn as_str(self) -> &'static str {
        match self {
            Format::Json => "json",
            Format::Text => "text",
            Format::Bytes => "bytes",
            Format::Avro => "avro",
            Format::Protobuf => "protobuf",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_format_reads_what_it_wrote() {
        let bytes = Bytes::from_static(b"\xff");
        assert_eq!(Codec::Bytes.read(&bytes, Wide::Error).unwrap(), Value::Bytes(bytes.clone()));
        assert_eq!(Codec::Bytes.write(&Value::Bytes(bytes.clone()), 10).unwrap(), bytes);
        for format in [Codec::Json, Codec::Text] {
            assert_eq!(format.read(&bytes, Wide::Error).unwrap_err().code, Code::Decode);
        }
        let text = Value::from("é");
        for format in [Codec::Json, Codec::Text] {
            let written = format.encode(&text, "t", 10).unwrap();
            assert_eq!(format.decode(written.as_ref(), &[], Wide::Error).unwrap(), text);
        }
        for format in [Codec::Json, Codec::Text, Codec::Bytes] {
            assert_eq!(format.decode(None, &[], Wide::Error).unwrap(), Value::Null);
            assert_eq!(format.encode(&Value::Null, "t", 10).unwrap(), None);
            assert!(format.encode(&Value::from("0123456789x"), "t", 10).is_err());
        }
        assert!(Codec::Text.write(&Value::from(1), 10).is_err());
    }
}
