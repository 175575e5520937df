//! Where rows are kept: SQLite or Postgres, through `sqlx`. Connection and migrations; what is kept is the matter of those who
//! keep it. SQL has `$1` for its arguments, which both databases take.

mod migrate;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection};

/// How long a connection may take.
const WITHIN: Duration = Duration::from_secs(5);
/// How long SQLite waits for another writer.
const BUSY: Duration = Duration::from_secs(5);
/// Connections at once.
const CONNECTIONS: u32 = 4;

/// Rows, and where they are. Cheap to clone; clones share their connections.
#[derive(Debug, Clone)]
pub struct Store(Pool);

/// The connections of one database.
#[derive(Debug, Clone)]
pub enum Pool {
    /// A file.
    Sqlite(SqlitePool),
    /// A server.
    Postgres(PgPool),
}

/// Runs the same SQL on either database.
macro_rules! on {
    ($store:expr, $pool:ident => $body:expr) => {
        match $store.pool() {
            $crate::store::Pool::Sqlite($pool) => $body,
            $crate::store::Pool::Postgres($pool) => $body,
        }
    };
}
pub(crate) use on;

/// Why a store cannot be used. One sentence each, without secrets.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// What is written is no store.
    #[error("`store` is neither sqlite:PATH nor postgres://USER@HOST/DATABASE: {0}")]
    Url(String),
    /// It cannot be reached, or not now.
    #[error("opening the store: {0}")]
    Unreachable(String),
    /// It was written by a newer Weir.
    #[error(
        "the store has changes of a newer Weir (migration {0}): run that version, or give this one a store of its own"
    )]
    Newer(i64),
    /// Its migrations are not those of this program.
    #[error(
        "the store was migrated by another Weir than this one: {0}; restore a copy of before, or use another store"
    )]
    Foreign(String),
    /// The file is damaged.
    #[error(
        "the store {0} is damaged: move it away to begin anew, or restore a copy; `sqlite3 FILE .recover` saves what it can"
    )]
    Damaged(PathBuf),
    /// A statement failed.
    #[error("using the store: {0}")]
    Sql(#[from] sqlx::Error),
}

impl StoreError {
    /// Whether two wrote the same at once: worth trying again.
    pub fn is_conflict(&self) -> bool {
        let StoreError::Sql(error) = self else { return false };
        error.as_database_error().is_some_and(|error| error.is_unique_violation())
    }
}

impl Store {
    /// Opens `sqlite:PATH` (the file and its folder are made where they are not there) or `postgres://..`, and brings its
    /// tables up to date: one process at a time.
    pub async fn open(url: &str) -> Result<Store, StoreError> {
        if let Some(path) = url.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() || path.contains(['?', ':']) {
                return Err(StoreError::Url("write sqlite:PATH, such as sqlite:.weir/weir.db".to_owned()));
            }
            return Store::sqlite(Path::new(path)).await;
        }
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Store::postgres(url).await;
        }
        Err(StoreError::Url("it has another scheme".to_owned()))
    }

    /// One that is gone when it is dropped.
    pub async fn in_memory() -> Result<Store, StoreError> {
        // Each connection would have a database of its own.
        let pool = SqlitePoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None);
        let pool = pool.connect_with(SqliteConnectOptions::new().in_memory(true)).await?;
        migrate::sqlite().run(&pool).await.map_err(|error| migrate::failed(error, &|_| None))?;
        Ok(Store(Pool::Sqlite(pool)))
    }

    async fn sqlite(path: &Path) -> Result<Store, StoreError> {
        let unreachable = |why: &dyn std::fmt::Display| {
            StoreError::Unreachable(format!("{}: {why}; look at its folder and its rights", path.display()))
        };
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(|error| unreachable(&error))?;
        }
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY)
            .foreign_keys(true);
        let lock = migrate::lock(path).await.map_err(|why| unreachable(&why))?;
        let pool = SqlitePoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(WITHIN);
        let damaged = |error: &sqlx::Error| is_damaged(error).then(|| StoreError::Damaged(path.to_owned()));
        let pool = pool
            .connect_with(options)
            .await
            .map_err(|error| damaged(&error).unwrap_or_else(|| unreachable(&error)))?;
        migrate::sqlite().run(&pool).await.map_err(|error| migrate::failed(error, &damaged))?;
        drop(lock);
        Ok(Store(Pool::Sqlite(pool)))
    }

    async fn postgres(url: &str) -> Result<Store, StoreError> {
        let options = PgConnectOptions::from_str(url)
            .map_err(|_| StoreError::Url("write postgres://USER:${secret:NAME}@HOST/DATABASE".to_owned()))?;
        let shown = format!("Postgres at {}:{}", options.get_host(), options.get_port());
        let unreachable = |why: &dyn std::fmt::Display| StoreError::Unreachable(format!("{shown}: {why}"));
        // A pool says only that its time is over; one connection says why.
        match tokio::time::timeout(WITHIN, options.connect()).await {
            Ok(Ok(connection)) => drop(connection.close().await),
            Ok(Err(error)) => return Err(unreachable(&error)),
            Err(_) => return Err(unreachable(&"no answer within 5s")),
        }
        let pool = PgPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(WITHIN);
        let pool = pool.connect_with(options).await.map_err(|error| unreachable(&error))?;
        migrate::postgres().run(&pool).await.map_err(|error| migrate::failed(error, &|_| None))?;
        Ok(Store(Pool::Postgres(pool)))
    }

    /// Its connections.
    pub fn pool(&self) -> &Pool {
        &self.0
    }

    /// Closes its connections.
    pub async fn close(&self) {
        on!(self, pool => pool.close().await);
    }
}

fn is_damaged(error: &sqlx::Error) -> bool {
    // SQLITE_CORRUPT, SQLITE_NOTADB.
    let code = error.as_database_error().and_then(|error| error.code().map(|code| code.into_owned()));
    matches!(code.as_deref(), Some("11" | "26"))
}
