//! Bytes to values and back, by format. A new format is a file, a variant and an arm.

pub mod json;

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vrl::value::Value;

use crate::outcome::{Code, Failure};

/// How the values of a topic are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// One JSON text.
    #[default]
    Json,
    /// UTF-8 text: `.` is a string.
    Text,
    /// Bytes as they are.
    Bytes,
}

impl Format {
    /// Reads a record's value; null (a tombstone) is null in every format. Fails with code `decode`.
    pub fn decode(self, bytes: Option<&Bytes>) -> Result<Value, Failure> {
        let Some(bytes) = bytes else { return Ok(Value::Null) };
        match self {
            Format::Json => json::decode(bytes),
            Format::Text => match Value::from_utf8_or_bytes(bytes.clone()) {
                Value::Bytes(_) => Err(Failure::invalid(Code::Decode, "decoding text: not UTF-8")),
                text => Ok(text),
            },
            Format::Bytes => Ok(Value::Bytes(bytes.clone())),
        }
    }

    /// Writes a value, at most `limit` bytes. Null becomes a tombstone (`None`). Fails with code `transform`: text and
    /// bytes take a string alone.
    pub fn encode(self, value: &Value, limit: usize) -> Result<Option<Bytes>, Failure> {
        let wrong = |what: String| Failure::invalid(Code::Transform, what);
        let bytes = match (self, value) {
            (_, Value::Null) => return Ok(None),
            (Format::Json, value) => crate::event::json::to_bytes(value, limit)
                .map_err(|e| wrong(format!("encoding JSON: {e}")))?,
            (Format::Text | Format::Bytes, Value::String(text)) => text.as_bytes().clone(),
            (Format::Bytes, Value::Bytes(bytes)) => bytes.clone(),
            (Format::Text | Format::Bytes, other) => {
                return Err(wrong(format!(
                    "encoding {}: {} is not a string",
                    self.as_str(),
                    other.kind_str()
                )));
            }
        };
        if bytes.len() > limit {
            return Err(Failure::invalid(Code::TooLarge, format!("the value is longer than {limit} bytes")));
        }
        Ok(Some(bytes))
    }

    /// The word of the pipeline file.
    pub fn as_str(self) -> &'static str {
        match self {
            Format::Json => "json",
            Format::Text => "text",
            Format::Bytes => "bytes",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_format_reads_what_it_wrote() {
        let bytes = Bytes::from_static(b"\xff");
        assert_eq!(Format::Bytes.decode(Some(&bytes)).unwrap(), Value::Bytes(bytes.clone()));
        assert_eq!(Format::Bytes.encode(&Value::Bytes(bytes.clone()), 10).unwrap(), Some(bytes.clone()));
        for format in [Format::Json, Format::Text] {
            assert_eq!(format.decode(Some(&bytes)).unwrap_err().code, Code::Decode);
        }
        let text = Value::from("é");
        for format in [Format::Json, Format::Text] {
            let written = format.encode(&text, 10).unwrap();
            assert_eq!(format.decode(written.as_ref()).unwrap(), text);
        }
        for format in [Format::Json, Format::Text, Format::Bytes] {
            assert_eq!(format.decode(None).unwrap(), Value::Null);
            assert_eq!(format.encode(&Value::Null, 10).unwrap(), None);
            assert!(format.encode(&Value::from("0123456789x"), 10).is_err());
        }
        assert!(Format::Text.encode(&Value::from(1), 10).is_err());
    }
}
