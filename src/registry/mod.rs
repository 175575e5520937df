//! Schemas by subject and id, as the Confluent Schema Registry keeps them: its words, and a client with a cache, and a server.

mod cache;
mod client;
pub mod compat;
pub mod parsed;
mod references;
pub mod server;
mod transport;
mod words;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use client::{Client, Error, Version};
pub use references::mentions;
pub use transport::{MAX_REPLY, Method, Reply, Request, Transport, Unanswered, segment};
pub use words::{Key, Named, Reference, Registered, SchemaText, SchemaType};
