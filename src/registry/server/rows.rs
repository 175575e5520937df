//! The registry's rows.

use sqlx::{Postgres, Transaction};

use super::{Parsed, Reference, SchemaType, Shown};
use crate::store::{Pool, Store, StoreError, on};

/// Schemas, their versions and settings in the store.
#[derive(Debug)]
pub(super) struct Rows(pub(super) Store);

/// A schema that has an id.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) id: u32,
    pub(super) hash: String,
    pub(super) guid: String,
    pub(super) kind: SchemaType,
    pub(super) text: String,
    pub(super) uses: Vec<Reference>,
}

/// A version of a subject.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) subject: String,
    pub(super) version: u32,
    pub(super) deleted: bool,
    pub(super) schema: Stored,
}

type Columns = (String, i64, i64, i64, String, String, String, String, String);

/// What is read of each version; conditions and the order follow.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT v.subject, v.version, v.deleted, s.id, s.hash, s.guid, s.kind, s.text, s.uses ",
            "FROM registry_versions v JOIN registry_schemas s ON s.id = v.schema_id ",
            $rest
        )
    };
}

/// The lock of all who write the registry of one Postgres: the bytes of `weir-reg`.
const LOCK: i64 = 0x7765_6972_2d72_6567;

impl Rows {
    /// Waits until no other process writes, where several may. Until it is dropped.
    pub(super) async fn alone(&self) -> Result<Option<Transaction<'static, Postgres>>, StoreError> {
        let Pool::Postgres(pool) = self.0.pool() else { return Ok(None) };
        let mut held = pool.begin().await?;
        sqlx::query("SET LOCAL lock_timeout = '10s'").execute(&mut *held).await?;
        sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *held).await?;
        Ok(Some(held))
    }

    /// All versions, by subject and number.
    pub(super) async fn all(&self) -> Result<Vec<Row>, StoreError> {
        let sql = select!("ORDER BY v.subject, v.version");
        let rows = on!(self.0, pool => sqlx::query_as::<_, Columns>(sql).fetch_all(pool).await)?;
        Ok(rows.into_iter().map(Row::from).collect())
    }

    /// The versions of a subject, by number.
    pub(super) async fn subject(&self, subject: &str) -> Result<Vec<Row>, StoreError> {
        let sql = select!("WHERE v.subject = $1 ORDER BY v.version");
        let rows =
            on!(self.0, pool => sqlx::query_as::<_, Columns>(sql).bind(subject).fetch_all(pool).await)?;
        Ok(rows.into_iter().map(Row::from).collect())
    }

    /// Where a schema is registered.
    pub(super) async fn of_schema(&self, id: u32) -> Result<Vec<Row>, StoreError> {
        let sql = select!("WHERE s.id = $1 ORDER BY v.subject, v.version");
        let id = i64::from(id);
        let rows = on!(self.0, pool => sqlx::query_as::<_, Columns>(sql).bind(id).fetch_all(pool).await)?;
        Ok(rows.into_iter().map(Row::from).collect())
    }

    /// The schema of an id, as long as it has a version somewhere.
    pub(super) async fn by_id(&self, id: u32) -> Result<Option<Stored>, StoreError> {
        Ok(self.of_schema(id).await?.into_iter().next().map(|row| row.schema))
    }

    /// The same of a GUID.
    pub(super) async fn by_guid(&self, guid: &str) -> Result<Option<Stored>, StoreError> {
        let sql = select!("WHERE s.guid = $1 ORDER BY v.subject, v.version LIMIT 1");
        let row =
            on!(self.0, pool => sqlx::query_as::<_, Columns>(sql).bind(guid).fetch_optional(pool).await)?;
        Ok(row.map(|columns| Row::from(columns).schema))
    }

    /// Adds a version, and the schema where no other subject has it; forgets a deleted version of the same schema. Gives the id.
    pub(super) async fn insert(
        &self,
        subject: &str,
        version: u32,
        dropped: Option<u32>,
        schema: &Parsed,
        uses: &[Reference],
    ) -> Result<u32, StoreError> {
        let uses = serde_json::to_string(uses).unwrap_or_else(|_| "[]".to_owned());
        let (version, dropped) = (i64::from(version), dropped.map(i64::from));
        let guid = guid(&schema.hash);
        let id = on!(self.0, pool => {
            let mut tx = pool.begin().await?;
            // A write first: SQLite takes its lock here, and no reader has to become a writer.
            sqlx::query("DELETE FROM registry_versions WHERE subject = $1 AND version = $2")
                .bind(subject)
                .bind(dropped.unwrap_or(-1))
                .execute(&mut *tx)
                .await?;
            let known: Option<(i64,)> = sqlx::query_as("SELECT id FROM registry_schemas WHERE hash = $1")
                .bind(&schema.hash)
                .fetch_optional(&mut *tx)
                .await?;
            let id = match known {
                Some((id,)) => id,
                None => {
                    let (last,): (i64,) = sqlx::query_as("SELECT COALESCE(MAX(id), 0) FROM registry_schemas")
                        .fetch_one(&mut *tx)
                        .await?;
                    sqlx::query(
                        "INSERT INTO registry_schemas (id, hash, guid, kind, text, uses) VALUES ($1, $2, $3, $4, $5, $6)",
                    )
                    .bind(last + 1)
                    .bind(&schema.hash)
                    .bind(&guid)
                    .bind(schema.kind.as_str())
                    .bind(&schema.text)
                    .bind(&uses)
                    .execute(&mut *tx)
                    .await?;
                    last + 1
                }
            };
            sqlx::query("INSERT INTO registry_versions (subject, version, schema_id) VALUES ($1, $2, $3)")
                .bind(subject)
                .bind(version)
                .bind(id)
                .execute(&mut *tx)
                .await?;
            tx.commit().await?;
            id
        });
        Ok(number(id))
    }

    /// Marks versions as deleted, or forgets them.
    pub(super) async fn delete(
        &self,
        subject: &str,
        versions: &[u32],
        permanent: bool,
    ) -> Result<(), StoreError> {
        let sql = if permanent {
            "DELETE FROM registry_versions WHERE subject = $1 AND version = $2"
        } else {
            "UPDATE registry_versions SET deleted = 1 WHERE subject = $1 AND version = $2"
        };
        on!(self.0, pool => {
            let mut tx = pool.begin().await?;
            for version in versions {
                sqlx::query(sql).bind(subject).bind(i64::from(*version)).execute(&mut *tx).await?;
            }
            tx.commit().await?;
        });
        Ok(())
    }

    /// The level and the mode that a subject has itself.
    pub(super) async fn settings(
        &self,
        subject: &str,
    ) -> Result<(Option<String>, Option<String>), StoreError> {
        let sql = "SELECT compatibility, mode FROM registry_settings WHERE subject = $1";
        let found: Option<(Option<String>, Option<String>)> =
            on!(self.0, pool => sqlx::query_as(sql).bind(subject).fetch_optional(pool).await)?;
        Ok(found.unwrap_or_default())
    }

    pub(super) async fn set(
        &self,
        subject: &str,
        compatibility: Option<&str>,
        mode: Option<&str>,
    ) -> Result<(), StoreError> {
        let sql = "INSERT INTO registry_settings (subject, compatibility, mode) VALUES ($1, $2, $3) \
                   ON CONFLICT (subject) DO UPDATE SET compatibility = excluded.compatibility, mode = excluded.mode";
        on!(self.0, pool => {
            sqlx::query(sql).bind(subject).bind(compatibility).bind(mode).execute(pool).await.map(drop)
        })?;
        Ok(())
    }

    pub(super) async fn forget_settings(&self, subject: &str) -> Result<(), StoreError> {
        let sql = "DELETE FROM registry_settings WHERE subject = $1";
        on!(self.0, pool => sqlx::query(sql).bind(subject).execute(pool).await.map(drop))?;
        Ok(())
    }
}

impl From<Columns> for Row {
    fn from(columns: Columns) -> Row {
        let (subject, version, deleted, id, hash, guid, kind, text, uses) = columns;
        let kind = match kind.as_str() {
            "JSON" => SchemaType::Json,
            "PROTOBUF" => SchemaType::Protobuf,
            _ => SchemaType::Avro,
        };
        // Only this module writes the column.
        let uses = serde_json::from_str(&uses).unwrap_or_default();
        let schema = Stored { id: number(id), hash, guid, kind, text, uses };
        Row { subject, version: number(version), deleted: deleted != 0, schema }
    }
}

impl Row {
    pub(super) fn shown(&self) -> Shown {
        Shown {
            subject: Some(self.subject.clone()),
            version: Some(self.version),
            id: Some(self.schema.id),
            ..self.schema.shown()
        }
    }
}

impl Stored {
    /// The schema alone: whoever asks by id knows it.
    pub(super) fn shown(&self) -> Shown {
        Shown {
            subject: None,
            version: None,
            id: None,
            guid: self.guid.clone(),
            kind: self.kind,
            references: self.uses.clone(),
            schema: self.text.clone(),
        }
    }

    pub(super) fn uses_version(&self, subject: &str, version: u32) -> bool {
        self.uses.iter().any(|used| used.subject == subject && used.version == i64::from(version))
    }
}

/// Ids and versions are counted from 1.
fn number(value: i64) -> u32 {
    u32::try_from(value).unwrap_or(0)
}

/// A GUID of the first half of a hash.
fn guid(hash: &str) -> String {
    let half = hash.get(..32).and_then(|half| u128::from_str_radix(half, 16).ok());
    super::super::words::hyphened(half.unwrap_or_default())
}
