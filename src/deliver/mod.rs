//! Judges attempts until there is an outcome: retry, breaker, holds, the dead letter. All of it is pure: time and
//! randomness are arguments, and what is to be done comes back as a value.

pub mod judge;
pub mod retry;
pub mod breaker;
pub mod hold;
pub mod gate;
pub mod dead_letter;

pub use crate::telemetry::clock::Now;
