//! Judges attempts until there is an outcome: retry, breaker, holds, the dead letter. All of it is pure: time and
//! randomness are arguments, and what is to be done comes back as a value.

use std::time::{Instant, SystemTime};

pub mod judge;
pub mod retry;
pub mod breaker;
pub mod hold;
pub mod dead_letter;

/// The same moment on both clocks: waits are measured on the monotonic one, what is written down on the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Monotonic time.
    pub mono: Instant,
    /// Wall time.
    pub wall: SystemTime,
}
