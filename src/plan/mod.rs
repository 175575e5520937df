//! What will run: compiled and checked, immutable. Pure, no client, no network.

pub mod expr;
pub mod check;
mod stage;

pub use crate::transform::Step;
pub use stage::{DeadLetters, OnOutOfRange, OnTombstone, Order, Plan, Revision, Source, Stage, Start};
