//! `format: json`. Numbers and limits: see [`crate::event::json`].

use vrl::value::Value;

use crate::event::json::{self, Wide};
use crate::outcome::{Code, Failure};

/// The value of a JSON text. Fails with code `decode`: not JSON, not UTF-8, deeper than 127 levels, an integer beyond
/// `i64` that `wide` does not take. Of a repeated key the last value counts.
pub fn decode(bytes: &[u8], wide: Wide) -> Result<Value, Failure> {
    json::parse_with(bytes, wide).map_err(|e| Failure::invalid(Code::Decode, format!("decoding JSON: {e}")))
}
