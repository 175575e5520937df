//! The schema that a subject has now: the one that values are read by, or written with. Looked at again from time to time; a
//! registry that is away leaves the last one in use.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::sync::Mutex;

use super::Picked;
use super::compile::{compile, indexes};
use crate::codec::{Codec, Format};
use crate::registry::{Client, Error, Named, Reference, SchemaText, SchemaType, Version, mentions};
use crate::telemetry::clock;

/// How long a subject's latest version is used before it is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// The same after the registry has not answered.
const SOON_AGAIN: Duration = Duration::from_secs(5);
/// Versions that are pinned, and ids, do not change.
const FOR_GOOD: Duration = Duration::from_secs(365 * 24 * 3600);

/// A schema in use.
#[derive(Debug)]
pub(super) struct Current {
    /// Its id.
    pub(super) id: u32,
    /// What reads and writes payloads by it.
    pub(super) codec: Codec,
    /// What stands before a payload of Protobuf: which message it is.
    pub(super) indexes: Vec<u8>,
    until: Instant,
}

impl Current {
    fn new(id: u32, codec: Codec, lasts: Duration) -> Current {
        let indexes = indexes(&codec);
        Current { id, codec, indexes, until: clock::now() + lasts }
    }
}

/// How the schema is found.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Source {
    /// A version of the subject.
    Version(Picked),
    /// The schema of a file; its id is looked up, and it is registered first where that is wanted.
    File { codec: Codec, kind: SchemaType, text: String, references: Vec<Named>, register: bool },
}

/// A subject, and the schema that it has now.
#[derive(Debug)]
pub(super) struct Subject {
    registry: Client,
    format: Format,
    name: String,
    source: Source,
    current: ArcSwapOption<Current>,
    /// Why the last asking gave nothing, and when that was.
    asking: Mutex<Option<(Instant, String)>>,
}

impl Subject {
    pub(super) fn new(registry: Client, format: Format, name: String, source: Source) -> Subject {
        Subject { registry, format, name, source, current: ArcSwapOption::empty(), asking: Mutex::default() }
    }

    /// The schema, where it is known and fresh enough.
    pub(super) fn get(&self) -> Option<Arc<Current>> {
        self.current.load_full().filter(|current| current.until > clock::now())
    }

    /// Asks for the schema, once whoever wants it. Fails with one sentence where there is none to use.
    pub(super) async fn fetch(&self) -> Result<(), String> {
        let began = clock::now();
        let mut asking = self.asking.lock().await;
        if self.get().is_some() {
            return Ok(());
        }
        // Who waited meanwhile hears the same.
        if let Some((_, why)) = asking.as_ref().filter(|(at, _)| *at >= began) {
            return Err(why.clone());
        }
        let found = self.ask().await;
        let next = match (found, self.current.load_full()) {
            (Ok(current), _) => current,
            (Err(why), None) => {
                *asking = Some((clock::now(), why.clone()));
                return Err(why);
            }
            (Err(why), Some(last)) => {
                tracing::warn!(
                    subject = self.name,
                    why,
                    "the schema cannot be looked at again; the last one stays in use"
                );
                Current::new(last.id, last.codec.clone(), SOON_AGAIN)
            }
        };
        self.current.store(Some(Arc::new(next)));
        Ok(())
    }

    async fn ask(&self) -> Result<Current, String> {
        let name = &self.name;
        match &self.source {
            Source::Version(Picked { version, message }) => {
                let found = self.registry.version(name, *version).await.map_err(|error| match error {
                    Error::Unknown { message, .. } => {
                        format!("the registry has no version {version} of subject `{name}`: {message}; register its schema")
                    }
                    other => format!("asking for the schema of subject `{name}`: {other}"),
                })?;
                let id = found.id;
                let codec = compile(self.format, Arc::new(found), message.clone()).await;
                let codec =
                    codec.map_err(|why| format!("the schema of subject `{name}` cannot be used: {why}"))?;
                let lasts = if *version == Version::Latest { LOOK_AGAIN } else { FOR_GOOD };
                Ok(Current::new(id, codec, lasts))
            }
            Source::File { codec, kind, text, references, register } => {
                let mut placed: Vec<Reference> = Vec::new();
                let uses = |text: &str, placed: &[Reference]| {
                    let used = placed.iter().filter(|one| mentions(text, &one.name));
                    let references = used.cloned().collect();
                    SchemaText { schema: text.to_owned(), kind: *kind, references, ..SchemaText::default() }
                };
                for Named { name, text } in references {
                    let schema = uses(text, &placed);
                    let (_, version) = self.place(name, &schema, *register).await?;
                    placed.push(Reference { name: name.clone(), subject: name.clone(), version });
                }
                let schema = uses(text, &placed);
                let (id, _) = self.place(name, &schema, *register).await?;
                Ok(Current::new(id, codec.clone(), FOR_GOOD))
            }
        }
    }

    /// The id and the version of a schema under a subject.
    async fn place(&self, name: &str, schema: &SchemaText, register: bool) -> Result<(u32, i64), String> {
        self.registry.place(name, schema, register).await.map_err(|error| match error {
            Error::Unknown { message, .. } => format!(
                "the schema is not registered under subject `{name}`: {message}; register it with `weir schemas register`, or write \
                 `register: if_compatible`"
            ),
            Error::Refused { message, .. } => {
                format!("the registry refuses the schema under subject `{name}`: {message}")
            }
            other => format!("looking up the schema under subject `{name}`: {other}"),
        })
    }
}
