//! `format: json`. Numbers and limits: see [`crate::event::json`].

use vrl::value::Value;

use crate::event::json;
use crate::outcome::{Code, Failure};

/// The value of a JSON text. Fails with code `decode`: not JSON, not UTF-8, deeper than 127 levels, an integer beyond
/// `i64`. Of a repeated key the last value counts.
pub fn decode(bytes: &[u8]) -> Result<Value, Failure> {
    json::parse(bytes).map_err(|e| Failure::invalid(Code::Decode, format!("decoding JSON: {e}")))
}
