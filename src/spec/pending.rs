//! Stand-ins for the Specs of components that are still being written.

/// One item of `transforms`.
pub type Item = crate::transform::Item;
/// One route of `publish`.
pub type Route = serde_json::Value;
