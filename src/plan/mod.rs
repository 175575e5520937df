//! What will run: compiled and checked, immutable. Pure, no client, no network.

pub mod expr;
