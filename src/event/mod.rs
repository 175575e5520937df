//! One record on its way through a stage. Decides nothing: decoding, transforms and delivery live elsewhere.

mod envelope;
mod identity;
pub mod json;
mod rank;
mod time;
mod trace;

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use vrl::value::Value;

pub use envelope::{correlation_id, event_type};
pub use identity::{batch_id, event_id, header_event_id, own_event_id, webhook_id};
pub use rank::Rank;
pub use time::rfc3339;
pub use trace::Trace;

/// The 16 bytes with which a broker (2.8 and newer) names one life of a topic. A topic deleted and made again has
/// another id, although its name and offsets are the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicId(pub [u8; 16]);

impl TopicId {
    /// The first four bytes: what the commit metadata keeps.
    pub fn prefix(self) -> [u8; 4] {
        let [a, b, c, d, ..] = self.0;
        [a, b, c, d]
    }
}

impl std::fmt::Display for TopicId {
    /// Kafka's own text form: unpadded base64url, 22 characters.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&BASE64URL_NOPAD.encode(&self.0))
    }
}

impl std::fmt::Debug for TopicId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TopicId({self})")
    }
}

/// A topic as the cluster knows it, shared by all of its records.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Topic {
    /// The cluster's id; empty where unknown.
    pub cluster: String,
    /// The topic's name.
    pub name: String,
    /// The topic's id; `None` with brokers older than 2.8.
    pub id: Option<TopicId>,
}

impl Topic {
    /// What stands for the topic in identities: its id, or its name where the broker gives no id.
    pub fn identity(&self) -> Cow<'_, str> {
        match self.id {
            Some(id) => Cow::Owned(id.to_string()),
            None => Cow::Borrowed(&self.name),
        }
    }

    /// The same, at the end of `out`.
    pub fn write_identity(&self, out: &mut String) {
        match self.id {
            Some(id) => BASE64URL_NOPAD.encode_append(&id.0, out),
            None => out.push_str(&self.name),
        }
    }
}

/// Where a record was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The topic, shared.
    pub topic: Arc<Topic>,
    /// The partition's number.
    pub partition: i32,
    /// The record's offset.
    pub offset: i64,
    /// The record's own time in milliseconds since 1970, as the producer or the broker wrote it; may be negative or
    /// absurd; `None` where the record has none (-1 on the wire).
    pub timestamp: Option<i64>,
}

impl std::fmt::Display for Origin {
    /// The position: `topic/partition/offset`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.topic.name, self.partition, self.offset)
    }
}

/// One header of a record: order, repetition, and null against empty are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The name's bytes; not necessarily UTF-8, never with a NUL.
    pub name: Bytes,
    /// The value's bytes; `None` is null.
    pub value: Option<Bytes>,
}

impl Header {
    /// The name as text, bytes that are not UTF-8 replaced.
    pub fn name_text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.name)
    }
}

/// A record's value: bytes until somebody looks into it.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// As it came; `None` is a tombstone (null), which is not the same as empty.
    Raw(Option<Bytes>),
    /// Decoded, and perhaps changed. A decoded tombstone is `Value::Null`.
    Value(Value),
}

/// One record on its way, or one part of a record that `split` or a plugin cut.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Where it was read.
    pub origin: Origin,
    /// The record's key; `None` is null, which is not the same as empty.
    pub key: Option<Bytes>,
    /// The record's headers, in order.
    pub headers: Vec<Header>,
    /// The record's value.
    pub body: Body,
    /// Which part of its record this is; 0 where the record was not cut.
    pub part: u32,
}

impl Event {
    /// The last value of a header by its exact name; `None` where there is none or it is null.
    pub fn header(&self, name: &str) -> Option<&Bytes> {
        self.headers.iter().rev().find(|h| h.name == name.as_bytes()).and_then(|h| h.value.as_ref())
    }

    /// Whether the record's value is null.
    pub fn is_tombstone(&self) -> bool {
        matches!(self.body, Body::Raw(None))
    }
}

/// A record to produce.
#[derive(Debug, Clone, PartialEq)]
pub struct Outgoing {
    /// The topic's name.
    pub topic: Arc<str>,
    /// An explicit partition; `None` leaves it to the partitioner (murmur2 of the key, random without a key).
    pub partition: Option<i32>,
    /// The key; `None` is null.
    pub key: Option<Bytes>,
    /// The value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// The headers, in order.
    pub headers: Vec<Header>,
    /// The record's time in milliseconds since 1970; `None` is the time of producing.
    pub timestamp: Option<i64>,
}
