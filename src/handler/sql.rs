//! The `sql` handler as it is written. What runs it comes later; until then `check` says so where it stands.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Runs one statement for each event.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SqlHandler")]
pub struct Spec {
    /// The database: `postgres://..`, `sqlite:..`.
    pub url: String,
    /// The statement, with `:names` where values go in.
    pub statement: String,
    /// A template for each name of the statement.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub params: IndexMap<String, serde_json::Value>,
    /// Several events in one transaction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<super::webhook::Batch>,
}
