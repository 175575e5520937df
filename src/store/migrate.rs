//! The tables: changes in order, each once. Postgres locks while it migrates; for SQLite there is a lock file beside the
//! database.

use std::borrow::Cow;
use std::fs::File;
use std::path::Path;
use std::time::Duration;

use sqlx::SqlStr;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};

use super::StoreError;

/// How long another process may take to migrate.
const LOCKED: Duration = Duration::from_secs(30);

/// Every change: its number, its name, its SQL for SQLite and for Postgres.
const ALL: &[(i64, &str, &str, &str)] = &[
    (
        1,
        "registry",
        include_str!("migrations/sqlite/0001_registry.sql"),
        include_str!("migrations/postgres/0001_registry.sql"),
    ),
    (
        2,
        "history",
        include_str!("migrations/sqlite/0002_history.sql"),
        include_str!("migrations/postgres/0002_history.sql"),
    ),
];

pub(super) fn sqlite() -> Migrator {
    migrator(|(_, _, sqlite, _)| sqlite)
}

pub(super) fn postgres() -> Migrator {
    migrator(|(_, _, _, postgres)| postgres)
}

fn migrator(sql: impl Fn(&(i64, &'static str, &'static str, &'static str)) -> &'static str) -> Migrator {
    let migrations = ALL.iter().map(|change| {
        let (number, name, ..) = *change;
        let sql = SqlStr::from_static(sql(change));
        Migration::new(number, Cow::Borrowed(name), MigrationType::Simple, sql, false)
    });
    Migrator::with_migrations(migrations.collect())
}

/// The lock of a SQLite database, held until it is dropped.
pub(super) async fn lock(path: &Path) -> Result<File, String> {
    let path = path.with_added_extension("lock");
    let shown = path.display().to_string();
    let locked = tokio::task::spawn_blocking(move || {
        let file = File::options().create(true).truncate(false).write(true).open(&path)?;
        file.lock()?;
        Ok::<_, std::io::Error>(file)
    });
    match tokio::time::timeout(LOCKED, locked).await {
        Ok(Ok(Ok(file))) => Ok(file),
        Ok(Ok(Err(error))) => Err(format!("locking {shown}: {error}")),
        Ok(Err(_)) => Err(format!("locking {shown} failed")),
        Err(_) => Err(format!("another process has held {shown} for 30s")),
    }
}

/// Why migrating failed.
pub(super) fn failed(
    error: MigrateError,
    damaged: &dyn Fn(&sqlx::Error) -> Option<StoreError>,
) -> StoreError {
    match error {
        MigrateError::VersionMissing(version) => StoreError::Newer(version),
        MigrateError::VersionMismatch(version) => {
            StoreError::Foreign(format!("migration {version} is another one"))
        }
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
            damaged(&error).unwrap_or(StoreError::Sql(error))
        }
        other => StoreError::Unreachable(other.to_string()),
    }
}
