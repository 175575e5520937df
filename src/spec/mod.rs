//! What the user wrote: typed, with no behaviour. Spans are kept beside it, by path. `plan` makes of it what runs.

pub mod span;
pub mod diagnostic;
pub mod units;
pub mod tree;
mod pending;
pub mod source;
pub mod pipeline;
mod later;
mod file;

#[cfg(test)]
pub(crate) use file::from_yaml;
pub use file::{PipelineFile, SettingsFile};
