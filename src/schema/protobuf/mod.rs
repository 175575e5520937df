//! Protobuf: schemas of .proto texts and of descriptors, bytes to values and back, what a reader makes of a writer's data.
//!
//! `protox` compiles texts, and `prost-reflect` holds what they come to. Bytes are read and written here: a dynamic message
//! between them and the value would cost twice, know no place of what is wrong, and has no bound on what a few bytes may
//! stand for (a message of two bytes may have a thousand fields with defaults).
//!
//! Values are plain JSON ones, and fields have the names of the .proto text, as it writes them (its JSON names are taken too
//! where a value is written):
//!
//! | Protobuf | value |
//! |---|---|
//! | int32, int64, sint32, .. uint32, fixed32 | integer |
//! | uint64, fixed64 | integer; above 9223372036854775807 there is none, and it is an error |
//! | float, double | number; NaN and infinity have none, and are an error |
//! | bool, string | boolean, text |
//! | bytes | text in base64 |
//! | enum | its name; a number that has none stays an integer |
//! | message, group | object |
//! | repeated | list |
//! | map | object; its keys are texts |
//! | oneof | the member that is set |
//! | `google.protobuf.Timestamp` | timestamp; in JSON `"2026-11-21T09:41:02.118Z"` |
//! | `google.protobuf.Duration` | text: `"1.500s"` |
//! | `google.protobuf.Int64Value` and its like | what they hold |
//! | `google.protobuf.Struct`, `Value`, `ListValue`, `NullValue` | plain JSON; a whole number is an integer |
//! | `google.protobuf.Any` | object with `@type`; a type that the schema does not have is an error |
//!
//! A field without presence that is absent has its default, a list or map is empty; a field with presence (a message, an
//! `optional` one, a member of a oneof) is left out, and `null` stands for that where a value is written. What the schema
//! does not have is read over, extensions among it, and so is gone where the value is written again; where a value has it,
//! it is an error. A 64-bit integer may be written as text too, since JSON of other hands has them so.

mod stack;
mod parse;
mod types;
mod wire;
mod read;
mod write;
mod known;
mod index;
mod compare;
mod shape;
mod text;
#[cfg(test)]
mod tests;

pub use compare::{Mismatch, mismatches};
pub use index::{read_indexes, write_indexes};
pub use parse::{Schema, imports};
pub use types::Message;

/// How deep a value may be: messages, lists and maps inside of each other.
const MAX_DEPTH: usize = 100;
