//! Stand-ins for the Specs of components that are still being written.

/// One route of `publish`.
pub(super) type Route = serde_json::Value;
