//! Steps that change or drop an event. No I/O, no state, no panic on any value. One file per transform: its `Spec`,
//! `build`, the implementation, an `EXAMPLE` that is run as a test and printed in the docs.

use crate::event::Event;
use crate::outcome::{Failure, Filter};

/// What a transform makes of an event.
#[derive(Debug, Clone, PartialEq)]
pub enum Emit {
    /// One event goes on.
    One(Event),
    /// Several go on, each delivered apart, in order.
    Many(Vec<Event>),
    /// It ends here, as the file says.
    Filtered(Filter),
}

/// One step of a stage.
pub trait Transform: Send + Sync + std::fmt::Debug {
    /// Applies the step. The event's body is a decoded `Body::Value`. Fails with class `Invalid`, code `transform`.
    fn apply(&self, event: Event) -> Result<Emit, Failure>;
}
