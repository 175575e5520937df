//! Steps that change or drop an event. No I/O, no state, no panic on any value. One file per transform: its `Spec`,
//! `build`, the implementation, an `EXAMPLE` that is run as a test and printed in the docs.

mod spec;
mod paths;
mod step;
pub mod filter;
pub mod remap;
pub mod set;
pub mod remove;
pub mod rename;
pub mod redact;
pub mod encrypt;
pub mod decrypt;
pub mod split;
pub mod flatten;
pub mod cast;
pub mod plugin;

use vrl::value::Value;

use crate::event::{Body, Event};
use crate::outcome::{Code, Failure, Filter};
use crate::plan::expr::Surroundings;
use crate::plugin::Plugins;
use crate::settings::References;
use crate::telemetry::metrics::TransformErrorKind;

pub use spec::{Item, Kind};
pub use step::{Failed, Passage, Step, Watch, run};

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

/// What steps are built with.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// What `${..}` resolves to.
    pub references: &'a References,
    /// Where plugins come from.
    pub plugins: &'a Plugins,
}

/// Most transforms need no more.
impl std::ops::Deref for Context<'_> {
    type Target = References;

    fn deref(&self) -> &References {
        self.references
    }
}

/// What a plugin has counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// The plugin's file.
    pub plugin: String,
    /// The counter's name.
    pub name: String,
    /// What is to be added.
    pub by: u64,
}

/// One step of a stage.
pub trait Transform: Send + Sync + std::fmt::Debug {
    /// Applies the step. The event's body is a decoded `Body::Value` where the step looks into the payload. Fails with
    /// class `Invalid`, code `transform` (or `template`).
    fn apply(&self, event: Event, around: Surroundings<'_>) -> Result<Emit, Failure>;

    /// Whether the step reads or writes the value; where no step of a stage does, the payload is never parsed.
    fn looks_into_payload(&self) -> bool {
        true
    }

    /// Why it fails: because the value is not what it takes, or because a program of the user, or templates, do.
    fn failure_kind(&self) -> TransformErrorKind {
        TransformErrorKind::Type
    }

    /// Whether it reads `%id`.
    fn reads_id(&self) -> bool {
        false
    }

    /// Whether it may keep a thread for longer than a moment.
    fn blocks(&self) -> bool {
        false
    }

    /// What it has counted since it was last asked.
    fn counted(&self) -> Vec<Counted> {
        Vec::new()
    }
}

/// A transform as it stands in a file, run as a test and printed in the docs.
#[derive(Debug, Clone, Copy)]
pub struct Example {
    /// The item of `transforms`.
    pub yaml: &'static str,
    /// The value before, as JSON.
    pub input: &'static str,
    /// The values after, as JSON, one a line; none where the event is filtered.
    pub output: &'static str,
}

/// Every transform's example.
pub const EXAMPLES: [Example; 11] = [
    filter::EXAMPLE,
    remap::EXAMPLE,
    set::EXAMPLE,
    remove::EXAMPLE,
    rename::EXAMPLE,
    redact::EXAMPLE,
    encrypt::EXAMPLE,
    decrypt::EXAMPLE,
    split::EXAMPLE,
    flatten::EXAMPLE,
    cast::EXAMPLE,
];

/// Takes the value out of the event; null where it was never decoded.
fn take_value(event: &mut Event) -> Value {
    match std::mem::replace(&mut event.body, Body::Raw(None)) {
        Body::Value(value) => value,
        Body::Raw(_) => Value::Null,
    }
}

fn failure(message: impl Into<String>) -> Failure {
    Failure::invalid(Code::Transform, message)
}

#[cfg(test)]
mod tests;
