//! Asks a registry. Schemas by id never change, so they are kept (bounded by their size); whoever asks for the same one at
//! the same time shares one request.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use moka::future::Cache;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::cache::Unknown;
use super::references::{self, Uncollected};
use super::transport::{MAX_REPLY, Method, Reply, Request, Transport, Unanswered, segment};
use super::words::{Key, Reference, Registered, SchemaText, SchemaType, hyphened};
use crate::telemetry::clock;

/// Bytes of schemas that are kept.
const KEPT: u64 = 32 << 20;
/// How much of a foreign message is shown.
const MAX_MESSAGE: usize = 300;

/// A registry. Cheap to clone; clones share the cache, and are equal.
#[derive(Clone)]
pub struct Client(Arc<Shared>);

struct Shared {
    transport: Arc<dyn Transport>,
    schemas: Cache<Key, Arc<Registered>>,
    unknown: Unknown,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&self.0.transport).finish()
    }
}

impl PartialEq for Client {
    fn eq(&self, other: &Client) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// Which version of a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// The highest that is not deleted.
    Latest,
    /// This one.
    Number(u32),
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Version::Latest => f.write_str("latest"),
            Version::Number(number) => number.fmt(f),
        }
    }
}

/// Why a registry has not given what was asked for. One sentence each, without secrets.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// It gave no answer, or none that says anything of the schema: it is worth asking again.
    #[error("{0}")]
    Unavailable(String),
    /// It does not know this.
    #[error("{message}")]
    Unknown {
        /// Since when it is known not to be there.
        since: Instant,
        /// What the registry says.
        message: String,
    },
    /// It refuses what it was given: not valid, not compatible.
    #[error("{message}")]
    Refused {
        /// The registry's code, such as 409.
        code: u32,
        /// What the registry says.
        message: String,
    },
    /// What it has cannot be used: too large, or with too many references.
    #[error("{0}")]
    Unusable(String),
}

/// A schema in an answer.
#[derive(Debug, Deserialize)]
struct Found {
    schema: String,
    #[serde(rename = "schemaType", default)]
    kind: Option<String>,
    #[serde(default)]
    references: Option<Vec<Reference>>,
    #[serde(default)]
    id: Option<u32>,
    #[serde(default)]
    version: Option<u32>,
}

/// What a registry says where it refuses.
#[derive(Debug, Deserialize)]
struct Problem {
    error_code: u32,
    #[serde(default)]
    message: Option<String>,
}

#[derive(Deserialize)]
struct Identified {
    id: u32,
}

#[derive(Deserialize)]
struct Placed {
    id: u32,
    version: i64,
}

impl Client {
    /// Over a way to ask. Nothing is asked yet.
    pub fn new(transport: Arc<dyn Transport>) -> Client {
        let schemas = Cache::builder()
            .max_capacity(KEPT)
            .weigher(|_, schema: &Arc<Registered>| schema.weight())
            .build();
        Client(Arc::new(Shared { transport, schemas, unknown: Unknown::new() }))
    }

    /// Which registry it is, for people.
    pub fn shown(&self) -> String {
        self.0.transport.shown()
    }

    /// The schema of an id or GUID, with its references.
    pub async fn schema(&self, key: Key) -> Result<Arc<Registered>, Error> {
        if let Some(miss) = self.0.unknown.recent(key, clock::now()) {
            return Err(Error::Unknown { since: miss.since, message: miss.message });
        }
        let schema = self.0.schemas.try_get_with(key, self.fetch(key)).await;
        match schema {
            Ok(schema) => {
                self.0.unknown.forget(key);
                Ok(schema)
            }
            Err(error) => match &*error {
                Error::Unknown { message, .. } => {
                    let miss = self.0.unknown.note(key, message.clone(), clock::now());
                    Err(Error::Unknown { since: miss.since, message: miss.message })
                }
                other => Err(other.clone()),
            },
        }
    }

    /// A version of a subject, with its references. Asks each time.
    pub async fn version(&self, subject: &str, version: Version) -> Result<Registered, Error> {
        let path = format!("/subjects/{}/versions/{version}", segment(subject));
        let found = self.get(path).await?;
        self.complete(found).await
    }

    /// The id and the version of a schema under a subject: registers it there first where `register` says so.
    /// [`Error::Unknown`]: it is not there; [`Error::Refused`]: it is not compatible with those that are.
    pub async fn place(
        &self,
        subject: &str,
        schema: &SchemaText,
        register: bool,
    ) -> Result<(u32, i64), Error> {
        let subject = format!("/subjects/{}", segment(subject));
        let body = serde_json::to_vec(schema)
            .map_err(|error| Error::Unusable(format!("writing the schema: {error}")))?;
        let post = |path: String| Request { method: Method::Post, path, body: Some(body.clone().into()) };
        // Who may only read, finds what is there all the same.
        match self.ask::<Placed>(post(subject.clone())).await {
            Ok(placed) => return Ok((placed.id, placed.version)),
            Err(Error::Unknown { .. }) if register => {}
            Err(error) => return Err(error),
        }
        let Identified { id } = self.ask(post(format!("{subject}/versions"))).await?;
        let placed: Placed = self.ask(post(subject)).await?;
        Ok((id, placed.version))
    }

    /// Any request, and its answer as JSON.
    pub async fn ask<T: DeserializeOwned>(&self, request: Request) -> Result<T, Error> {
        let reply = self.reply(request).await?;
        self.read(&reply)
    }

    async fn reply(&self, request: Request) -> Result<Reply, Error> {
        self.0.transport.ask(request).await.map_err(|unanswered| match unanswered {
            Unanswered::Not(why) => Error::Unavailable(why),
            Unanswered::TooLong => Error::Unusable(format!("the answer is longer than {MAX_REPLY} bytes")),
        })
    }

    fn read<T: DeserializeOwned>(&self, reply: &Reply) -> Result<T, Error> {
        let shown = || self.0.transport.shown();
        if (200..300).contains(&reply.status) {
            let read = serde_json::from_slice(&reply.body);
            return read.map_err(|_| {
                Error::Unavailable(format!("the answer of {} is not that of a schema registry", shown()))
            });
        }
        let problem: Option<Problem> = serde_json::from_slice(&reply.body).ok();
        let said = problem.as_ref().and_then(|problem| problem.message.as_deref()).map(printable);
        let said = said.filter(|said| !said.is_empty());
        match (reply.status, problem.map(|problem| problem.error_code)) {
            (404, Some(code)) if code > 40_400 => {
                let message = said.unwrap_or_else(|| "not found".to_owned());
                Err(Error::Unknown { since: clock::now(), message })
            }
            (409 | 422, code) => {
                let message = said.unwrap_or_else(|| format!("{} refuses the schema", shown()));
                Err(Error::Refused { code: code.unwrap_or(u32::from(reply.status)), message })
            }
            (401 | 403, _) => Err(Error::Unavailable(format!(
                "{} refuses the credentials ({}); look at `registry` of weir.yaml",
                shown(),
                reply.status
            ))),
            (404, _) => Err(Error::Unavailable(format!(
                "{} has no schema registry at this path (404); look at `registry.url` of weir.yaml",
                shown()
            ))),
            (status, _) => {
                let said = said.map_or_else(String::new, |said| format!(": {said}"));
                Err(Error::Unavailable(format!("{} answers {status}{said}", shown())))
            }
        }
    }

    async fn get<T: DeserializeOwned>(&self, path: String) -> Result<T, Error> {
        self.ask(Request { method: Method::Get, path, body: None }).await
    }

    async fn fetch(&self, key: Key) -> Result<Arc<Registered>, Error> {
        let path = match key {
            Key::Id(id) => format!("/schemas/ids/{id}"),
            Key::Guid(guid) => format!("/schemas/guids/{}", hyphened(guid)),
        };
        let unknown = |message: String| Error::Unknown { since: clock::now(), message };
        if matches!(key, Key::Id(id) if i32::try_from(id).is_err()) {
            // Registries count in 32 bits with a sign, and have no path for others.
            return Err(unknown("no schema has an id above 2147483647".to_owned()));
        }
        let reply = self.reply(Request { method: Method::Get, path, body: None }).await?;
        // An old registry has no path for GUIDs; whoever has one for the types of schemas is a registry all the same.
        let bare = reply.status == 404
            && serde_json::from_slice::<Problem>(&reply.body).is_ok_and(|p| p.error_code == 404);
        if bare && self.get::<serde_json::Value>("/schemas/types".to_owned()).await.is_ok() {
            return Err(unknown(format!("this registry has no schema by {key}")));
        }
        let found: Found = match self.read(&reply) {
            // What it says of a schema that is there is about that schema.
            Err(Error::Refused { message, .. }) => return Err(Error::Unusable(message)),
            other => other?,
        };
        let registered = self.complete(found).await?;
        let id = match key {
            Key::Id(id) => id,
            Key::Guid(_) => registered.id,
        };
        Ok(Arc::new(Registered { id, version: None, ..registered }))
    }

    /// A schema that another one uses.
    async fn used(&self, used: Reference) -> Result<(String, Vec<Reference>), Error> {
        let version = if used.version < 0 { "latest".to_owned() } else { used.version.to_string() };
        let path = format!("/subjects/{}/versions/{version}?deleted=true", segment(&used.subject));
        match self.get::<Found>(path).await {
            Ok(found) => Ok((found.schema, found.references.unwrap_or_default())),
            // What is missing is not the schema that was asked for.
            Err(Error::Unknown { message, .. }) => Err(Error::Unusable(format!(
                "the schema uses `{}`, which is not there: {message}",
                printable(&used.name)
            ))),
            Err(error) => Err(error),
        }
    }

    /// A schema with what it uses.
    async fn complete(&self, found: Found) -> Result<Registered, Error> {
        let uses = found.references.unwrap_or_default();
        let collected = references::collect(uses, found.schema.len(), |used| Box::pin(self.used(used)));
        let references = collected.await.map_err(|uncollected| match uncollected {
            Uncollected::TooMuch(why) => Error::Unusable(why),
            Uncollected::Other(error) => error,
        })?;
        let kind = match found.kind.as_deref() {
            None | Some("AVRO") => SchemaType::Avro,
            Some("JSON") => SchemaType::Json,
            Some("PROTOBUF") => SchemaType::Protobuf,
            Some(other) => {
                return Err(Error::Unusable(format!("Weir knows no schemas of type `{}`", printable(other))));
            }
        };
        Ok(Registered {
            id: found.id.unwrap_or_default(),
            version: found.version,
            kind,
            text: found.schema,
            references,
        })
    }
}

/// A foreign text in one line, not too long.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_MESSAGE).collect()
}
