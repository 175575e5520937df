//! The life of a record: tracker, lanes, commit metadata (without I/O, tested against a model) and the engine around them.

#[cfg(test)]
mod fixture;
mod lanes;
pub mod metadata;
#[cfg(test)]
mod model;
mod open;
mod position;
mod queue;
mod room;
mod suspect;
mod tracker;
pub mod report;
pub mod engine;
mod fetch;
mod record;
mod tried;

pub use lanes::Order;
pub use position::{Commit, Epoch, NextOffset, Now};
pub use room::{Limits, Room, Why};
pub use tracker::{Admitted, Applied, Candidate, Counts, Figures, Record, Ticket, Tracker, Work};
