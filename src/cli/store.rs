//! The store of an instance: opened once, and what is said where that does not work.

use tracing::warn;

use super::exit::{CliError, Exit};
use crate::runtime::history::History;
use crate::settings::{DEFAULT_STORE, Settings};
use crate::store::{Store, StoreError};

/// What has run and what is pinned. Where nobody has named a store and the default one cannot be opened, it is known for as long
/// as the process runs.
pub(super) async fn history(settings: &Settings) -> Result<History, CliError> {
    match Store::open(settings.store.expose()).await {
        Ok(store) => Ok(History::new(store)),
        Err(error @ StoreError::Unreachable(_)) if settings.store.expose() == DEFAULT_STORE => {
            warn!(%error, "history and pins are forgotten when this process ends: set `store` in weir.yaml");
            passing().await
        }
        Err(error) => Err(failed(&error)),
    }
}

/// One that ends with the process.
pub(super) async fn passing() -> Result<History, CliError> {
    Store::in_memory().await.map(History::new).map_err(|error| failed(&error))
}

/// How the program ends where its store cannot be used.
pub(super) fn failed(error: &StoreError) -> CliError {
    let exit = match error {
        StoreError::Unreachable(_) | StoreError::Sql(_) => Exit::Unreachable,
        StoreError::Url(_) | StoreError::Newer(_) | StoreError::Foreign(_) | StoreError::Damaged(_) => {
            Exit::BadConfig
        }
    };
    CliError::new(exit, error.to_string())
}
