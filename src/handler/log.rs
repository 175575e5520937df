//! The `log` handler: one line in Weir's own log for each event, always accepted.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Writes one line to Weir's log for each event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "LogHandler")]
pub struct Spec {
    /// The line's level.
    pub level: Level,
    /// Adds the value, at most its first 4 KiB.
    pub payload: bool,
}

/// A line's level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "LogLevel")]
pub enum Level {
    /// For a person who looks for it.
    Debug,
    /// The default.
    #[default]
    Info,
}
