//! Logs, metrics and the clock. Every metric's name exists once, here.

pub mod clock;
