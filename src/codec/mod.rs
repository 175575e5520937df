//! Bytes to values and back, by format. A new format is a file, a variant and an arm.

mod avro;
pub mod json;
mod json_schema;
mod protobuf;

use bytes::Bytes;
use schemars::JsonSchema as Describe;
use serde::{Deserialize, Serialize};
use vrl::value::Value;

use crate::outcome::{Code, Failure};
pub use crate::schema::json::Document;
pub use avro::Avro;
pub use json_schema::JsonSchema;
pub use protobuf::Protobuf;

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
        }
    }

    /// Whether each value has to be looked at, since not all bytes are values.
    pub fn validates(&self) -> bool {
        matches!(self, Codec::Avro(_) | Codec::JsonSchema(_) | Codec::Protobuf(_))
    }

    /// Reads a record's value; null (a tombstone) is null in every format. Fails with code `decode`.
    pub fn decode(&self, bytes: Option<&Bytes>) -> Result<Value, Failure> {
        let Some(bytes) = bytes else { return Ok(Value::Null) };
        match self {
            Codec::Json => json::decode(bytes),
            Codec::Text => match Value::from_utf8_or_bytes(bytes.clone()) {
                Value::Bytes(_) => Err(Failure::invalid(Code::Decode, "decoding text: not UTF-8")),
                text => Ok(text),
            },
            Codec::Bytes => Ok(Value::Bytes(bytes.clone())),
            Codec::JsonSchema(schema) => schema.decode(bytes),
            Codec::Avro(avro) => avro.decode(bytes),
            Codec::Protobuf(message) => message.decode(bytes),
        }
    }

    /// Writes a value, at most `limit` bytes. Null becomes a tombstone (`None`). Fails with code `transform`: text and
    /// bytes take a string alone; with code `schema`: the schema does not take it.
    pub fn encode(&self, value: &Value, limit: usize) -> Result<Option<Bytes>, Failure> {
        let wrong = |what: String| Failure::invalid(Code::Transform, what);
        let bytes = match (self, value) {
            (_, Value::Null) => return Ok(None),
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
            (Codec::Text | Codec::Bytes, Value::String(text)) => text.as_bytes().clone(),
            (Codec::Bytes, Value::Bytes(bytes)) => bytes.clone(),
            (Codec::Text | Codec::Bytes, other) => {
                return Err(wrong(format!(
                    "encoding {}: {} is not a string",
                    self.format().as_str(),
                    other.kind_str()
                )));
            }
        };
        if bytes.len() > limit {
            return Err(Failure::invalid(Code::TooLarge, format!("the value is longer than {limit} bytes")));
        }
        Ok(Some(bytes))
    }
}

/// Where a schema comes from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, Describe)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Schema")]
pub struct SchemaSpec {
    /// A file of the folder `schemas`: `schemas/order.avsc`, `schemas/order.json`, `schemas/order.proto`.
    pub file: String,
    /// Files whose types it uses by name, each one after those that it uses itself. Those that a .proto file imports are found
    /// below the folder of the schemas.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<String>,
    /// With `format: protobuf`: the message that each value is, such as `shop.Order`; without it the first one of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
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
        assert_eq!(Codec::Bytes.decode(Some(&bytes)).unwrap(), Value::Bytes(bytes.clone()));
        assert_eq!(Codec::Bytes.encode(&Value::Bytes(bytes.clone()), 10).unwrap(), Some(bytes.clone()));
        for format in [Codec::Json, Codec::Text] {
            assert_eq!(format.decode(Some(&bytes)).unwrap_err().code, Code::Decode);
        }
        let text = Value::from("é");
        for format in [Codec::Json, Codec::Text] {
            let written = format.encode(&text, 10).unwrap();
            assert_eq!(format.decode(written.as_ref()).unwrap(), text);
        }
        for format in [Codec::Json, Codec::Text, Codec::Bytes] {
            assert_eq!(format.decode(None).unwrap(), Value::Null);
            assert_eq!(format.encode(&Value::Null, 10).unwrap(), None);
            assert!(format.encode(&Value::from("0123456789x"), 10).is_err());
        }
        assert!(Codec::Text.encode(&Value::from(1), 10).is_err());
    }
}
