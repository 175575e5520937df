//! What the user wrote: typed, with no behaviour. Spans are kept beside it, by path. `plan` makes of it what runs.

pub mod span;
pub mod diagnostic;
pub mod units;
pub mod tree;
