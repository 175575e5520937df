//! The rows of the history.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Kept, LINES, Line, Pin, TEXTS, Until};
use crate::git::Commit;
use crate::plan::Revision;
use crate::store::{Store, StoreError, on};

/// Revisions, lines and pins in the store.
#[derive(Debug, Clone)]
pub(super) struct Rows(pub(super) Store);

type PinColumns = (String, String, String, String, String, String, i64);
type LineColumns = (i64, String, String, String, String, String, String);
type KeptColumns = (String, String, String, String, String, String, String, i64, i64);

const PIN: &str = "INSERT INTO pipeline_pins (pipeline, revision, rejected, until, actor, reason, at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7) \
     ON CONFLICT (pipeline) DO UPDATE SET revision = excluded.revision, rejected = excluded.rejected, \
     until = excluded.until, actor = excluded.actor, reason = excluded.reason, at = excluded.at";
const KEEP: &str = "INSERT INTO pipeline_revisions (pipeline, revision, file, text, commit_id, author, subject, committed_at, last_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) \
     ON CONFLICT (pipeline, revision) DO UPDATE SET file = excluded.file, commit_id = excluded.commit_id, \
     author = excluded.author, subject = excluded.subject, committed_at = excluded.committed_at, last_at = excluded.last_at";
const LINE: &str = "INSERT INTO pipeline_history (at, instance, pipeline, revision, action, actor, reason) \
     VALUES ($1, $2, $3, $4, $5, $6, $7)";
const FORGET_TEXTS: &str = "DELETE FROM pipeline_revisions WHERE pipeline = $1 AND revision NOT IN \
     (SELECT revision FROM pipeline_revisions WHERE pipeline = $1 ORDER BY last_at DESC LIMIT $2) \
     AND revision NOT IN (SELECT revision FROM pipeline_pins WHERE pipeline = $1)";
const FORGET_LINES: &str = "DELETE FROM pipeline_history WHERE pipeline = $1 AND id NOT IN \
     (SELECT id FROM pipeline_history WHERE pipeline = $1 ORDER BY id DESC LIMIT $2)";

/// Adds a line inside of a transaction, and forgets the oldest.
macro_rules! add_line {
    ($tx:expr, $line:expr) => {{
        let line: &Line = $line;
        sqlx::query(LINE)
            .bind(millis(line.at))
            .bind(&line.instance)
            .bind(&line.pipeline)
            .bind(line.revision.as_deref().unwrap_or_default())
            .bind(&line.action)
            .bind(&line.actor)
            .bind(&line.reason)
            .execute(&mut *$tx)
            .await?;
        sqlx::query(FORGET_LINES).bind(&line.pipeline).bind(LINES).execute(&mut *$tx).await?;
    }};
}

impl Rows {
    pub(super) async fn pins(&self) -> Result<Vec<Pin>, StoreError> {
        let sql = "SELECT pipeline, revision, rejected, until, actor, reason, at FROM pipeline_pins ORDER BY pipeline";
        let rows = on!(self.0, pool => sqlx::query_as::<_, PinColumns>(sql).fetch_all(pool).await)?;
        Ok(rows.into_iter().map(pin).collect())
    }

    pub(super) async fn pin(&self, pin: &Pin, line: &Line) -> Result<(), StoreError> {
        on!(self.0, pool => {
            let mut tx = pool.begin().await?;
            sqlx::query(PIN)
                .bind(&pin.pipeline)
                .bind(&*pin.revision)
                .bind(&*pin.rejected)
                .bind(pin.until.as_str())
                .bind(&pin.actor)
                .bind(&pin.reason)
                .bind(millis(pin.at))
                .execute(&mut *tx)
                .await?;
            add_line!(tx, line);
            tx.commit().await?;
        });
        Ok(())
    }

    pub(super) async fn unpin(&self, line: &Line) -> Result<(), StoreError> {
        on!(self.0, pool => {
            let mut tx = pool.begin().await?;
            sqlx::query("DELETE FROM pipeline_pins WHERE pipeline = $1")
                .bind(&line.pipeline)
                .execute(&mut *tx)
                .await?;
            add_line!(tx, line);
            tx.commit().await?;
        });
        Ok(())
    }

    pub(super) async fn keep(&self, kept: &[Kept], lines: &[Line]) -> Result<(), StoreError> {
        on!(self.0, pool => {
            let mut tx = pool.begin().await?;
            for one in kept {
                sqlx::query(KEEP)
                    .bind(&one.pipeline)
                    .bind(&*one.revision)
                    .bind(&one.file)
                    .bind(&one.text)
                    .bind(one.commit.as_ref().map_or("", |commit| &commit.id))
                    .bind(one.commit.as_ref().map_or("", |commit| &commit.author))
                    .bind(one.commit.as_ref().map_or("", |commit| &commit.subject))
                    .bind(one.commit.as_ref().map_or(0, |commit| commit.time))
                    .bind(millis(one.at))
                    .execute(&mut *tx)
                    .await?;
                sqlx::query(FORGET_TEXTS).bind(&one.pipeline).bind(TEXTS).execute(&mut *tx).await?;
            }
            for line in lines {
                add_line!(tx, line);
            }
            tx.commit().await?;
        });
        Ok(())
    }

    pub(super) async fn last(&self) -> Result<Vec<Line>, StoreError> {
        let sql = "SELECT at, instance, pipeline, revision, action, actor, reason FROM pipeline_history \
                   WHERE id IN (SELECT MAX(id) FROM pipeline_history GROUP BY pipeline) ORDER BY pipeline";
        let rows = on!(self.0, pool => sqlx::query_as::<_, LineColumns>(sql).fetch_all(pool).await)?;
        Ok(rows.into_iter().map(line).collect())
    }

    pub(super) async fn lines(&self, pipeline: Option<&str>, limit: u32) -> Result<Vec<Line>, StoreError> {
        let sql = "SELECT at, instance, pipeline, revision, action, actor, reason FROM pipeline_history \
                   WHERE $1 = '' OR pipeline = $1 ORDER BY id DESC LIMIT $2";
        let pipeline = pipeline.unwrap_or_default();
        let rows = on!(self.0, pool => {
            sqlx::query_as::<_, LineColumns>(sql).bind(pipeline).bind(i64::from(limit)).fetch_all(pool).await
        })?;
        Ok(rows.into_iter().map(line).collect())
    }

    pub(super) async fn revisions(&self, pipeline: &str) -> Result<Vec<Kept>, StoreError> {
        let sql = "SELECT pipeline, revision, file, text, commit_id, author, subject, committed_at, last_at FROM pipeline_revisions \
                   WHERE pipeline = $1 ORDER BY last_at DESC, revision";
        let rows =
            on!(self.0, pool => sqlx::query_as::<_, KeptColumns>(sql).bind(pipeline).fetch_all(pool).await)?;
        Ok(rows.into_iter().map(kept).collect())
    }
}

fn pin((pipeline, revision, rejected, until, actor, reason, at): PinColumns) -> Pin {
    Pin {
        pipeline,
        revision: Revision::known(revision),
        rejected: Revision::known(rejected),
        until: if until == Until::Release.as_str() { Until::Release } else { Until::Change },
        actor,
        reason,
        at: time(at),
    }
}

fn line((at, instance, pipeline, revision, action, actor, reason): LineColumns) -> Line {
    let revision = Some(revision).filter(|revision| !revision.is_empty()).map(Revision::known);
    Line { at: time(at), instance, pipeline, revision, action, actor, reason }
}

fn kept((pipeline, revision, file, text, id, author, subject, committed, at): KeptColumns) -> Kept {
    let commit = (!id.is_empty()).then_some(Commit { id, author, subject, time: committed });
    Kept { pipeline, revision: Revision::known(revision), file, text, commit, at: time(at) }
}

fn millis(at: SystemTime) -> i64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn time(millis: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(millis).unwrap_or_default())
}
