//! The embedded registry: what Confluent's Schema Registry does, over Weir's store. Here is what it decides; how requests come to
//! it is the matter of `api`.
//!
//! Source: docs/notes/schemas-and-plugins.md, "Ids, equality, versions".

mod delete;
mod rows;
mod folder;
mod seed;
mod settings;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use moka::sync::Cache;
use serde::Serialize;
use sqlx::{Postgres, Transaction};
use tokio::sync::{Mutex, MutexGuard};

use super::compat::{self, Level};
use super::parsed::Parsed;
use super::references::{self, Uncollected};
use super::words::{Named, Reference, SchemaText, SchemaType};
use crate::store::{Store, StoreError};
use rows::{Row, Rows, Stored};

pub use folder::seed_files;
pub use seed::{Ordered, SeedFile, ordered};
pub use settings::Mode;

/// How often a write is tried again that met another one.
const TRIES: usize = 5;
/// Bytes of compiled schemas that are kept, by their texts.
const KEPT: u64 = 16 << 20;
/// The longest name of a subject.
const MAX_SUBJECT: usize = 1_000;
/// Whoever says nothing of itself follows this one.
const GLOBAL: &str = "";

/// A registry over a store.
#[derive(Debug)]
pub struct Server {
    rows: Rows,
    /// One write at a time in this process; the store tells those of others.
    writing: Mutex<()>,
    parsed: Cache<u32, Arc<Parsed>>,
}

/// Nobody else writes while this is held.
struct Alone<'a> {
    _here: MutexGuard<'a, ()>,
    _everywhere: Option<Transaction<'static, Postgres>>,
}

/// Why something is not done: the registry's code, whose first three digits are the HTTP status, and one sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The code.
    pub code: u32,
    /// Why.
    pub message: String,
}

impl Refusal {
    /// The HTTP status.
    pub fn status(&self) -> u16 {
        let status = if self.code >= 1_000 { self.code / 100 } else { self.code };
        u16::try_from(status).unwrap_or(500)
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Refusal {
        refuse(50_001, format!("Error in the backend data store: {error}"))
    }
}

fn refuse(code: u32, message: impl Into<String>) -> Refusal {
    Refusal { code, message: message.into() }
}

/// Whether deleted versions count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Deleted {
    /// They do not.
    #[default]
    No,
    /// As the others.
    Also,
    /// They alone.
    Only,
}

impl Deleted {
    fn takes(self, deleted: bool) -> bool {
        match self {
            Deleted::No => !deleted,
            Deleted::Also => true,
            Deleted::Only => deleted,
        }
    }
}

/// A schema as an answer has it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shown {
    /// Where it was asked for by subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Its version there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// Its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<u32>,
    /// Its GUID.
    pub guid: String,
    /// Its language.
    #[serde(rename = "schemaType", skip_serializing_if = "SchemaType::is_default")]
    pub kind: SchemaType,
    /// What it uses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<Reference>,
    /// Its text.
    pub schema: String,
}

/// A version as a path names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// The highest.
    Latest,
    /// This one.
    Number(u32),
}

impl Asked {
    /// Of `latest`, `-1` or a number from 1.
    pub fn read(text: &str) -> Result<Asked, Refusal> {
        match text {
            "latest" | "-1" => Ok(Asked::Latest),
            number => match number.parse::<u32>() {
                Ok(number) if number > 0 && i32::try_from(number).is_ok() => Ok(Asked::Number(number)),
                _ => Err(refuse(
                    42_202,
                    format!("The specified version '{}' is not a valid version id.", cut(text)),
                )),
            },
        }
    }
}

impl Server {
    /// Over a store.
    pub fn new(store: Store) -> Server {
        Server {
            rows: Rows(store),
            writing: Mutex::default(),
            parsed: Cache::builder().max_capacity(KEPT).weigher(weight).build(),
        }
    }

    /// Keeps other writers out, those of other processes on Postgres too: what was read stays so until what follows is written.
    async fn alone(&self) -> Result<Alone<'_>, Refusal> {
        let here = self.writing.lock().await;
        Ok(Alone { _here: here, _everywhere: self.rows.alone().await? })
    }

    /// The subjects, in order.
    pub async fn subjects(&self, deleted: Deleted) -> Result<Vec<String>, Refusal> {
        let rows = self.rows.all().await?;
        let alive: BTreeSet<&str> =
            rows.iter().filter(|row| !row.deleted).map(|row| row.subject.as_str()).collect();
        let subjects: BTreeSet<&str> = rows.iter().map(|row| row.subject.as_str()).collect();
        let takes = |subject: &&str| deleted.takes(!alive.contains(subject));
        Ok(subjects.into_iter().filter(takes).map(str::to_owned).collect())
    }

    /// Every version of every subject.
    pub async fn schemas(&self, deleted: Deleted, latest_only: bool) -> Result<Vec<Shown>, Refusal> {
        let mut rows = self.rows.all().await?;
        rows.retain(|row| deleted.takes(row.deleted));
        if latest_only {
            let last: Vec<bool> = (0..rows.len())
                .map(|at| rows.get(at + 1).map(|row| &row.subject) != rows.get(at).map(|row| &row.subject))
                .collect();
            let mut last = last.into_iter();
            rows.retain(|_| last.next().unwrap_or(true));
        }
        Ok(rows.iter().map(Row::shown).collect())
    }

    /// The versions of a subject.
    pub async fn versions(&self, subject: &str, deleted: Deleted) -> Result<Vec<u32>, Refusal> {
        let rows = self.rows.subject(subject).await?;
        let versions: Vec<u32> =
            rows.iter().filter(|row| deleted.takes(row.deleted)).map(|row| row.version).collect();
        if versions.is_empty() { Err(no_subject(subject)) } else { Ok(versions) }
    }

    /// A version of a subject.
    pub async fn version(&self, subject: &str, asked: Asked, deleted: Deleted) -> Result<Shown, Refusal> {
        Ok(self.row(subject, asked, deleted).await?.shown())
    }

    async fn row(&self, subject: &str, asked: Asked, deleted: Deleted) -> Result<Row, Refusal> {
        let rows = self.rows.subject(subject).await?;
        let mut rows: Vec<Row> = rows.into_iter().filter(|row| deleted.takes(row.deleted)).collect();
        if rows.is_empty() {
            return Err(no_subject(subject));
        }
        match asked {
            Asked::Latest => rows.pop().ok_or_else(|| no_subject(subject)),
            Asked::Number(number) => {
                let found = rows.into_iter().find(|row| row.version == number);
                found.ok_or_else(|| refuse(40_402, format!("Version {number} not found.")))
            }
        }
    }

    /// The schema of an id.
    pub async fn by_id(&self, id: u32) -> Result<Shown, Refusal> {
        let stored = self.rows.by_id(id).await?;
        stored.map(|stored| stored.shown()).ok_or_else(|| refuse(40_403, format!("Schema {id} not found")))
    }

    /// The same with its text in another form: `serialized` is the compiled file of a Protobuf schema, in base64.
    pub async fn in_form(&self, shown: Shown, form: Option<&str>) -> Result<Shown, Refusal> {
        if shown.kind != SchemaType::Protobuf || form != Some("serialized") {
            return Ok(shown);
        }
        let references = self.collect(shown.references.clone(), shown.schema.len()).await?;
        let (kind, text, uses) = (shown.kind, shown.schema.clone(), shown.references.clone());
        let made = tokio::task::spawn_blocking(move || {
            Parsed::new(kind, &text, &references, &uses).map(|parsed| parsed.descriptor())
        });
        let made = made.await.map_err(|_| refuse(50_001, "its parser failed"))?;
        let descriptor = made.map_err(|why| refuse(50_001, format!("the schema cannot be read: {why}")))?;
        Ok(Shown { schema: descriptor.unwrap_or_default(), ..shown })
    }

    /// The schema of a GUID.
    pub async fn by_guid(&self, guid: &str) -> Result<Shown, Refusal> {
        let stored = self.rows.by_guid(guid).await?;
        let shown = stored.map(|stored| Shown { id: Some(stored.id), ..stored.shown() });
        shown.ok_or_else(|| refuse(40_403, format!("Schema {} not found", cut(guid))))
    }

    /// Under which subjects and versions a schema is registered.
    pub async fn places(&self, id: u32, deleted: Deleted) -> Result<Vec<(String, u32)>, Refusal> {
        let rows = self.rows.of_schema(id).await?;
        if rows.is_empty() {
            return Err(refuse(40_403, format!("Schema {id} not found")));
        }
        let rows = rows.into_iter().filter(|row| deleted.takes(row.deleted));
        Ok(rows.map(|row| (row.subject, row.version)).collect())
    }

    /// The ids of the schemas that use a version.
    pub async fn used_by(&self, subject: &str, asked: Asked) -> Result<Vec<u32>, Refusal> {
        let row = self.row(subject, asked, Deleted::Also).await?;
        let users = self.rows.all().await?;
        let uses = |user: &&Row| user.schema.uses_version(subject, row.version);
        let ids: BTreeSet<u32> = users.iter().filter(uses).map(|user| user.schema.id).collect();
        Ok(ids.into_iter().collect())
    }

    /// Registers a schema, or finds it registered: the same one has the same id everywhere.
    pub async fn register(&self, subject: &str, body: &SchemaText) -> Result<u32, Refusal> {
        named(subject)?;
        let _alone = self.alone().await?;
        for _ in 0..TRIES {
            let (parsed, uses) = self.parse(body).await?;
            let rows = self.rows.subject(subject).await?;
            let known = rows.iter().rev().find(|row| !row.deleted && row.schema.hash == parsed.hash);
            if let Some(row) = known {
                return Ok(row.schema.id);
            }
            self.may_write(subject).await?;
            let level = self.level(subject).await?;
            let before: Vec<&Row> = rows.iter().filter(|row| !row.deleted).collect();
            let (parsed, obstacles) = self.compare(level, parsed, &before).await?;
            if !obstacles.is_empty() {
                let details = obstacles.join("; ");
                return Err(refuse(
                    409,
                    format!(
                        "Schema being registered is incompatible with an earlier schema for subject \"{}\", details: [{details}]; \
                         compatibility: {level}",
                        cut(subject)
                    ),
                ));
            }
            let version = rows.iter().map(|row| row.version).max().unwrap_or(0) + 1;
            let dropped = rows.iter().find(|row| row.deleted && row.schema.hash == parsed.hash);
            let dropped = dropped.map(|row| row.version);
            match self.rows.insert(subject, version, dropped, &parsed, &uses).await {
                Ok(id) => return Ok(id),
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(refuse(50_002, "others register at the same time; try again"))
    }

    /// Where a schema is registered under a subject.
    pub async fn look_up(
        &self,
        subject: &str,
        body: &SchemaText,
        deleted: Deleted,
    ) -> Result<Shown, Refusal> {
        let rows = self.rows.subject(subject).await?;
        if !rows.iter().any(|row| deleted.takes(row.deleted)) {
            return Err(no_subject(subject));
        }
        let (parsed, _) = self.parse(body).await?;
        let found =
            rows.iter().rev().find(|row| deleted.takes(row.deleted) && row.schema.hash == parsed.hash);
        found.map(Row::shown).ok_or_else(|| refuse(40_403, "Schema not found"))
    }

    /// What is in the way of a schema as the next version: with a version, of that one alone. Empty: nothing.
    pub async fn obstacles(
        &self,
        subject: &str,
        against: Option<Asked>,
        body: &SchemaText,
    ) -> Result<Vec<String>, Refusal> {
        let (parsed, _) = self.parse(body).await?;
        let level = self.level(subject).await?;
        let rows = self.rows.subject(subject).await?;
        let alive: Vec<&Row> = rows.iter().filter(|row| !row.deleted).collect();
        let before = match against {
            None => alive,
            Some(Asked::Latest) => alive.last().copied().into_iter().collect(),
            Some(Asked::Number(number)) => {
                let one = alive.iter().copied().find(|row| row.version == number);
                vec![one.ok_or_else(|| refuse(40_402, format!("Version {number} not found.")))?]
            }
        };
        Ok(self.compare(level, parsed, &before).await?.1)
    }

    async fn compare(
        &self,
        level: Level,
        new: Parsed,
        before: &[&Row],
    ) -> Result<(Parsed, Vec<String>), Refusal> {
        if level == Level::None {
            return Ok((new, Vec::new()));
        }
        let mut old = Vec::new();
        for row in before {
            old.push((row.version, self.parsed(&row.schema).await?));
        }
        let compared = tokio::task::spawn_blocking(move || {
            let old: Vec<_> = old.iter().map(|(version, parsed)| (*version, &**parsed)).collect();
            let obstacles = compat::obstacles(level, &new, &old);
            (new, obstacles)
        });
        compared.await.map_err(|_| refuse(50_001, "comparing the schemas failed"))
    }

    /// A stored schema, compiled.
    async fn parsed(&self, stored: &Stored) -> Result<Arc<Parsed>, Refusal> {
        if let Some(parsed) = self.parsed.get(&stored.id) {
            return Ok(parsed);
        }
        let references = self.collect(stored.uses.clone(), stored.text.len()).await?;
        let (kind, text, uses) = (stored.kind, stored.text.clone(), stored.uses.clone());
        let parsed = tokio::task::spawn_blocking(move || Parsed::new(kind, &text, &references, &uses));
        let parsed = parsed.await.map_err(|_| refuse(50_001, "its parser failed"))?;
        let parsed =
            parsed.map_err(|why| refuse(50_001, format!("schema {} cannot be read: {why}", stored.id)))?;
        let parsed = Arc::new(parsed);
        self.parsed.insert(stored.id, Arc::clone(&parsed));
        Ok(parsed)
    }

    /// A schema that was sent, and what it uses with the versions that are meant.
    async fn parse(&self, body: &SchemaText) -> Result<(Parsed, Vec<Reference>), Refusal> {
        let invalid = |why: String| refuse(42_201, format!("Invalid schema: {why}"));
        let ruled = body.rules.as_ref().is_some_and(|rules| !rules.is_null());
        if ruled {
            return Err(refuse(42_210, "Invalid rule set: this registry runs no rules"));
        }
        let mut uses = Vec::new();
        for used in &body.references {
            let asked = match u32::try_from(used.version) {
                Ok(number) => Asked::Number(number),
                Err(_) => Asked::Latest,
            };
            let row =
                self.row(&used.subject, asked, Deleted::No).await.map_err(|refusal| match refusal.code {
                    50_001 => refusal,
                    _ => invalid(format!(
                        "it uses `{}`, which is not there: {}",
                        cut(&used.name),
                        refusal.message
                    )),
                })?;
            uses.push(Reference { version: i64::from(row.version), ..used.clone() });
        }
        let references = self.collect(uses.clone(), body.schema.len()).await?;
        let (kind, text, used) = (body.kind, body.schema.clone(), uses.clone());
        let parsed = tokio::task::spawn_blocking(move || Parsed::new(kind, &text, &references, &used));
        let parsed = parsed.await.map_err(|_| invalid("its parser failed".to_owned()))?;
        Ok((parsed.map_err(invalid)?, uses))
    }

    async fn collect(&self, uses: Vec<Reference>, length: usize) -> Result<Vec<Named>, Refusal> {
        let collected = references::collect(uses, length, |used: Reference| {
            Box::pin(async move {
                let number = u32::try_from(used.version).unwrap_or(0);
                let row = self.row(&used.subject, Asked::Number(number), Deleted::Also).await?;
                Ok((row.schema.text, row.schema.uses))
            })
        });
        collected.await.map_err(|uncollected| match uncollected {
            Uncollected::Other(refusal) => refusal,
            Uncollected::TooMuch(why) => refuse(42_201, format!("Invalid schema: {why}")),
        })
    }
}

/// What a schema counts where schemas are kept.
fn weight(_: &u32, parsed: &Arc<Parsed>) -> u32 {
    u32::try_from(parsed.text.len() + 1_024).unwrap_or(u32::MAX)
}

fn no_subject(subject: &str) -> Refusal {
    refuse(40_401, format!("Subject '{}' not found.", cut(subject)))
}

/// Whether a subject may be called so.
fn named(subject: &str) -> Result<(), Refusal> {
    let control = subject.chars().any(char::is_control);
    if subject.is_empty() || subject.len() > MAX_SUBJECT || control || subject.starts_with("__") {
        return Err(refuse(
            42_208,
            format!("The specified subject '{}' is not a valid subject.", cut(subject)),
        ));
    }
    Ok(())
}

/// A foreign text in a message.
fn cut(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect()
}
