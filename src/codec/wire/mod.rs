//! The Confluent wire format: each value says the id of the schema that it is written with, and a registry has the schema.
//!
//! Reading and writing do not wait. Where a schema is not at hand they say which one is [`Missing`]; whoever can wait fetches
//! it and asks again.

mod compile;
mod current;
mod frame;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use tokio::sync::Mutex;
use vrl::value::Value;

use super::shape::{Shape, Use};
use super::{Codec, Format, Trouble, Wide};
use crate::event::Header;
use crate::outcome::{Code, Failure};
use crate::registry::{Client, Error, Key, Named, SchemaType, Version};
use compile::Reading;
use current::{Current, Source, Subject};

/// Bytes of writers' schemas that a stage keeps compiled, by their texts.
const KEPT: u64 = 16 << 20;
/// How many subjects a stage writes and keeps at hand.
const SUBJECTS: u64 = 1_000;

/// What values are read by.
#[derive(Debug, Clone, PartialEq)]
pub enum ReadBy {
    /// The schema that each is written with.
    Writer,
    /// A subject's version.
    Subject(String, Picked),
    /// The schema of a file.
    File(Codec),
}

/// What values are written with.
#[derive(Debug, Clone, PartialEq)]
pub enum WriteBy {
    /// The version of a subject.
    Subject(SubjectBy, Picked),
    /// The schema of a file: its text as a registry takes it, and whether it may be registered.
    File {
        /// Under which subject it is registered.
        subject: SubjectBy,
        /// What writes payloads.
        codec: Codec,
        /// The language of the schema.
        kind: SchemaType,
        /// Its text.
        text: String,
        /// What it uses, each one after those that it uses itself; registered under its own name.
        references: Vec<Named>,
        /// Whether it is registered where it is compatible; else it has to be there.
        register: bool,
    },
}

/// Which of a subject's schemas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picked {
    /// The version.
    pub version: Version,
    /// With Protobuf, the message; left out it is the first one.
    pub message: Option<String>,
}

impl Default for Picked {
    fn default() -> Picked {
        Picked { version: Version::Latest, message: None }
    }
}

/// How the subject is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubjectBy {
    /// `TOPIC-value`.
    Topic,
    /// As it is written.
    Name(String),
    /// `TOPIC-RECORD`.
    TopicRecord(String),
}

impl SubjectBy {
    fn of(&self, topic: &str) -> String {
        match self {
            SubjectBy::Topic => format!("{topic}-value"),
            SubjectBy::Name(name) => name.clone(),
            SubjectBy::TopicRecord(record) => format!("{topic}-{record}"),
        }
    }
}

/// A format inside of the wire format. Cheap to clone.
#[derive(Clone)]
pub struct Wire(Arc<Inner>);

struct Inner {
    format: Format,
    registry: Client,
    read: ReadBy,
    write: WriteBy,
    /// What values are read by, where that is a subject's version.
    reader: Option<Arc<Subject>>,
    /// By the writer's schema.
    readings: Cache<Key, Made>,
    /// One writer's schema is compiled at a time, for all records that wait for it.
    compiling: Mutex<()>,
    writers: Cache<String, Arc<Subject>>,
}

/// What reads one writer's values.
#[derive(Clone)]
struct Made {
    /// The id of the reader's schema that it was made for; 0 where that does not change.
    reader: u32,
    reading: Arc<Reading>,
    weight: u32,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { format, read, write, .. } = &*self.0;
        f.debug_struct("Wire").field("format", format).field("read", read).field("write", write).finish()
    }
}

impl PartialEq for Wire {
    fn eq(&self, other: &Wire) -> bool {
        let (a, b) = (&*self.0, &*other.0);
        a.format == b.format && a.registry == b.registry && a.read == b.read && a.write == b.write
    }
}

/// A schema that is not at hand.
#[derive(Debug, Clone)]
pub struct Missing(Wire, What);

#[derive(Debug, Clone)]
enum What {
    /// That of a writer.
    Writer(Key),
    /// The one of a subject that values are read by, or written with.
    Subject(Arc<Subject>),
}

/// Why a schema could not be fetched. One sentence each.
#[derive(Debug, Clone, PartialEq)]
pub enum Unfetched {
    /// The registry does not know it, since when.
    Unknown(Instant, String),
    /// Not now: the registry is away, or does not have what the pipeline file asks for.
    NotNow(String),
}

impl Wire {
    /// Of `avro`, `json` or `protobuf`.
    pub fn new(format: Format, registry: Client, read: ReadBy, write: WriteBy) -> Wire {
        let reader = match &read {
            ReadBy::Subject(name, picked) => {
                let source = Source::Version(picked.clone());
                Some(Arc::new(Subject::new(registry.clone(), format, name.clone(), source)))
            }
            ReadBy::Writer | ReadBy::File(_) => None,
        };
        let readings = Cache::builder().max_capacity(KEPT).weigher(|_, made: &Made| made.weight);
        let readings = readings.eviction_policy(EvictionPolicy::lru()).build();
        // Whoever comes last stays: it is about to be used.
        let writers = Cache::builder().max_capacity(SUBJECTS).eviction_policy(EvictionPolicy::lru()).build();
        Wire(Arc::new(Inner {
            format,
            registry,
            read,
            write,
            reader,
            readings,
            compiling: Mutex::default(),
            writers,
        }))
    }

    /// The format inside.
    pub(super) fn format(&self) -> Format {
        self.0.format
    }

    /// What the schema of a file says; what a registry has is not known before it is asked.
    pub(super) fn shape(&self, used: Use) -> Shape {
        match (used, &self.0.read, &self.0.write) {
            // Each value says which of the messages it is.
            (Use::Read, ReadBy::File(Codec::Protobuf(protobuf)), _) => protobuf.any_shape(used),
            (Use::Read, ReadBy::File(codec), _) | (Use::Write, _, WriteBy::File { codec, .. }) => {
                codec.shape(used)
            }
            (Use::Read, ReadBy::Writer | ReadBy::Subject(..), _) | (Use::Write, _, WriteBy::Subject(..)) => {
                Shape::Anything
            }
        }
    }

    /// Fails with code `decode` or `schema`, or where a schema is not at hand.
    pub(super) fn decode(&self, value: &Bytes, headers: &[Header], wide: Wide) -> Result<Value, Trouble> {
        let framed = frame::read(value, headers)?;
        let reader = match &self.0.reader {
            Some(subject) => match subject.get() {
                Some(current) => Some(current),
                None => return Err(self.missing(What::Subject(Arc::clone(subject)))),
            },
            None => None,
        };
        let made_for = reader.map_or(0, |reader| reader.id);
        match self.0.readings.get(&framed.key) {
            Some(made) if made.reader == made_for => Ok(made.reading.read(&framed, wide)?),
            _ => Err(self.missing(What::Writer(framed.key))),
        }
    }

    /// Fails with code `schema` or `too_large`, or where a schema is not at hand.
    pub(super) fn encode(&self, value: &Value, topic: &str, limit: usize) -> Result<Bytes, Trouble> {
        let current = self.writer(topic)?;
        let payload = current.codec.write(value, limit)?;
        Ok(frame::write(current.id, &current.indexes, &payload))
    }

    /// The frame of the topic's schema around a payload that is written already, where its schema takes it.
    pub fn frame(&self, payload: &Bytes, topic: &str) -> Result<Bytes, Trouble> {
        let current = self.writer(topic)?;
        current.codec.read(payload, Wide::Text)?;
        Ok(frame::write(current.id, &[], payload))
    }

    /// The subject under which the schema of a file is found for a topic, and its text.
    pub fn registers(&self, topic: &str) -> Option<(String, String)> {
        match &self.0.write {
            WriteBy::File { subject, text, .. } => Some((subject.of(topic), text.clone())),
            WriteBy::Subject(..) => None,
        }
    }

    /// What values of a topic are written with, where it is not at hand.
    pub fn missing_for(&self, topic: &str) -> Option<Missing> {
        match self.writer(topic) {
            Err(Trouble::Missing(missing)) => Some(missing),
            Ok(_) | Err(Trouble::Failed(_)) => None,
        }
    }

    /// What values of a topic are written with.
    fn writer(&self, topic: &str) -> Result<Arc<Current>, Trouble> {
        let subject = match &self.0.write {
            WriteBy::Subject(subject, _) | WriteBy::File { subject, .. } => subject.of(topic),
        };
        let subject = self.0.writers.get(&subject).unwrap_or_else(|| self.new_writer(&subject));
        subject.get().ok_or_else(|| self.missing(What::Subject(subject)))
    }

    fn new_writer(&self, name: &str) -> Arc<Subject> {
        let source = match &self.0.write {
            WriteBy::Subject(_, picked) => Source::Version(picked.clone()),
            WriteBy::File { codec, kind, text, references, register, .. } => {
                let (codec, text) = (codec.clone(), text.clone());
                let (kind, references, register) = (*kind, references.clone(), *register);
                Source::File { codec, kind, text, references, register }
            }
        };
        let (registry, format) = (self.0.registry.clone(), self.0.format);
        let new = || Arc::new(Subject::new(registry, format, name.to_owned(), source));
        self.0.writers.get_with(name.to_owned(), new)
    }

    fn missing(&self, what: What) -> Trouble {
        Trouble::Missing(Missing(self.clone(), what))
    }

    /// What values are read by now, and its id; `None` where that is what each is written with.
    fn reads_by(&self) -> Option<(u32, Codec)> {
        match (&self.0.read, &self.0.reader) {
            (ReadBy::File(codec), _) => Some((0, codec.clone())),
            (_, Some(subject)) => {
                subject.get().map(|current: Arc<Current>| (current.id, current.codec.clone()))
            }
            (ReadBy::Writer | ReadBy::Subject(..), None) => None,
        }
    }
}

impl Missing {
    /// Fetches it, once whoever asks for the same one. Then reading or writing finds it at hand.
    pub async fn fetch(&self) -> Result<(), Unfetched> {
        let Missing(wire, what) = self;
        let key = match what {
            What::Subject(subject) => return subject.fetch().await.map_err(Unfetched::NotNow),
            What::Writer(key) => *key,
        };
        let (made_for, reader) = match wire.reads_by() {
            Some((id, codec)) => (id, Some(codec)),
            None => (0, None),
        };
        let found = wire.0.registry.schema(key).await;
        // Whoever else waits for this one finds it made.
        let _compiling = wire.0.compiling.lock().await;
        if wire.0.readings.get(&key).is_some_and(|made| made.reader == made_for) {
            return Ok(());
        }
        let mut weight = 1;
        let reading = match found {
            Ok(writer) => {
                weight = writer.weight();
                compile::reading(wire.0.format, writer, reader).await
            }
            Err(Error::Unknown { since, message }) => {
                let why = format!("the registry knows no schema with {key}: {message}");
                return Err(Unfetched::Unknown(since, why));
            }
            Err(Error::Unusable(why)) => {
                Reading::Broken(format!("the schema with {key} cannot be used: {why}"))
            }
            Err(error @ (Error::Unavailable(_) | Error::Refused { .. })) => {
                return Err(Unfetched::NotNow(format!("asking for the schema with {key}: {error}")));
            }
        };
        wire.0.readings.insert(key, Made { reader: made_for, reading: Arc::new(reading), weight });
        Ok(())
    }
}

impl Unfetched {
    /// What a record comes to whose schema nobody knows.
    pub fn into_failure(self) -> Failure {
        let (Unfetched::Unknown(_, message) | Unfetched::NotNow(message)) = self;
        Failure::invalid(Code::UnknownSchema, message)
    }
}
