//! What will run: compiled and checked, immutable. Pure, no client, no network.

pub mod expr;
mod stage;

pub use stage::{OnOutOfRange, OnTombstone, Order, Plan, Revision, Source, Stage, Start, Step};
