//! What events look like: schemas, parsed and compared, and bytes that are read and written by them. Pure: where schemas
//! come from is another's, and so is what becomes of an event that does not fit.

pub mod avro;
pub mod json;
pub mod protobuf;
pub mod shape;
mod fault;
mod number;

pub use fault::Fault;
