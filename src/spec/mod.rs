//! What the user wrote: typed, with no behaviour. Spans are kept beside it, by path. `plan` makes of it what runs.

pub mod span;
pub mod diagnostic;
pub mod units;
pub(crate) mod form;
pub mod tree;
pub mod source;
pub mod pipeline;
pub mod markdown;
pub mod runtime;
mod later;
mod misplaced;
mod file;
pub mod testfile;
pub mod files;
pub mod layout;

pub use file::PipelineFile;
#[cfg(test)]
pub(crate) use file::from_yaml;
