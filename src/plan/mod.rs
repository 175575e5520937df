//! What will run: compiled and checked, immutable. Pure, no client, no network.

pub mod expr;
pub mod check;
mod compile;
#[cfg(test)]
pub(crate) mod fixture;
mod pattern;
mod place;
mod priority;
mod schema;
mod shapes;
mod stage;

pub use crate::git::{Commit, Standing};
pub use crate::spec::pipeline::Order;
pub use crate::spec::source::{OnOutOfRange, OnTombstone};
pub use crate::transform::Step;
pub use compile::{Environment, compile};
pub use pattern::Pattern;
pub use priority::Priority;
pub use stage::{DeadLetters, InGit, Plan, Revision, Source, Stage, Start};
