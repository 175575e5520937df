//! Avro 1.12: schemas as a graph, what a reader makes of a writer's bytes, values to bytes.
//!
//! `apache-avro` parses the text of a schema. Reading, resolving, writing and comparing are done here: that crate's reader
//! takes a cut datum for nulls and allocates and recurses without bound on hostile bytes, its resolution knows no aliases of
//! fields and loses union branches, and its comparison follows neither (see `tests`).
//!
//! Values are plain JSON ones, without the wrappers that Avro's own JSON has around what a union holds. What has no exact
//! form in JSON and in the expression language has a text:
//!
//! | Avro | value |
//! |---|---|
//! | int, long | integer |
//! | float, double | number; NaN and infinity have none, and are an error |
//! | bytes, fixed | text in base64 |
//! | decimal | text with all decimals of its scale: `"12.30"` |
//! | date, time-*, local-timestamp-* | text: `"2026-11-21"`, `"09:41:02.118"`, `"2026-11-21T09:41:02.118"` |
//! | timestamp-* | timestamp; in JSON `"2026-11-21T09:41:02.118Z"` |
//! | uuid | text |
//! | duration | `{"months": 1, "days": 2, "millis": 3}` |
//! | enum | its symbol |
//! | union | what it holds |

mod parse;
mod types;
mod resolve;
mod default;
mod read;
mod write;
mod choose;
mod shape;
mod text;
#[cfg(test)]
mod tests;

pub use parse::{Reference, Schema};
pub use resolve::{Mismatch, Reader};
pub use write::encode;

/// How deep a value may be: records, arrays, maps, unions inside of each other.
const MAX_DEPTH: usize = 64;
