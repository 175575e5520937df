//! The side effect of a stage: one attempt, never a retry. Who waits and tries again is `deliver`.

mod spec;
mod written;
pub mod webhook;
pub mod log;
pub mod sql;
pub mod egress;
mod guard;
mod limit;

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Instant, SystemTime};

use crate::event::Event;
use crate::outcome::{Answer, Failure};
use crate::settings::References;
use crate::telemetry::metrics::Anomaly;

pub(crate) use limit::Limit;
pub use spec::Spec;
pub use written::{OneOrMany, Rate, StatusRange};

/// A boxed future: handlers are unlike things behind one trait.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One event to hand over, and what the receiver may know of its history.
#[derive(Debug)]
pub struct Call<'a> {
    /// The event after the transforms.
    pub event: &'a Event,
    /// The number of this attempt, from 1.
    pub attempt: u32,
    /// The event id as it was before the transforms; `None` lets it be taken from the event as it is.
    pub id: Option<&'a str>,
    /// When `give_up_after` ends, where it is set.
    pub give_up_at: Option<SystemTime>,
    /// Whether it is to share its request with no other: it tries whether the receiver is there, or is under suspicion.
    pub alone: bool,
    /// What the handler notices besides the answer.
    pub notes: Notes,
}

/// What a handler notices in an attempt that changes no answer: for the caller to count.
#[derive(Debug, Default)]
pub struct Notes(AtomicU32);

impl Notes {
    /// It happened.
    pub fn add(&self, kind: Anomaly) {
        self.0.fetch_or(1 << kind as u32, Ordering::Relaxed);
    }

    /// What happened, each kind once.
    pub fn iter(&self) -> impl Iterator<Item = Anomaly> {
        let noted = self.0.load(Ordering::Relaxed);
        Anomaly::ALL.iter().copied().filter(move |kind| noted & (1 << *kind as u32) != 0)
    }
}

/// Makes one attempt.
pub trait Handler: Send + Sync + std::fmt::Debug {
    /// Hands the events over: one, unless the stage batches. One answer for each, in order. An answer with a status that
    /// is not accepted comes back as a `Failure` whose class says what it asks for.
    fn attempt<'a>(&'a self, batch: &'a [Call<'a>]) -> BoxFuture<'a, Vec<Result<Answer, Failure>>>;

    /// Whether it looks into the value, so that the value must be decoded before. False leaves an untouched value as it is.
    fn reads_value(&self) -> bool {
        false
    }

    /// Whether it reads `%id`.
    fn reads_id(&self) -> bool {
        false
    }

    /// Whether [`Handler::probe`] asks.
    fn probes_bare(&self) -> bool {
        false
    }

    /// Asks whether the receiver is there, without a record, within the handler's own limits. `None`: only a record can
    /// tell.
    fn probe(&self) -> Option<BoxFuture<'_, bool>> {
        None
    }

    /// Where an event goes, for dead letters and logs: method and URL without query, userinfo and secrets. `None` where
    /// there is no such place, or this event has none. `id` as in a call.
    fn endpoint(&self, _event: &Event, _id: Option<&str>) -> Option<String> {
        None
    }

    /// Lets go of what has been idle for too long. Called every few seconds; does not wait.
    fn tidy(&self, _now: Instant) {}
}

/// What a handler knows of the stage that it works for.
#[derive(Debug, Clone)]
pub struct Context {
    /// `pipeline.stage`; the pipeline alone where the file has no `stages`. Part of every `webhook-id`.
    pub service: String,
    /// What webhook ids are made of: the service under the name that the pipeline had first.
    pub identity: String,
    /// The plan's revision, for `weir-sender`.
    pub revision: String,
    /// How many records the stage works on at once: the default of `concurrency`.
    pub max_in_flight: usize,
    /// Whether a `publish` entry of the stage takes the answer's body: adds `prefer: reply`.
    pub reads_answer: bool,
    /// The folder of the pipeline's file: what `tls` names lies in it.
    pub folder: Arc<Path>,
    /// Where requests may go, shared by the process.
    pub egress: Arc<egress::Egress>,
    /// What carries requests in place of the network, where something does.
    pub transport: Option<Arc<dyn webhook::Transport>>,
}

/// What is wrong with a handler's block. `plan` knows where the block stands in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key inside of the `handler` block, such as `webhook.headers.x-kind`. Where the short form was written, the
    /// nearest key that stands in the file is meant.
    pub path: String,
    /// What is wrong: lower case, no full stop.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
}

impl Problem {
    /// A problem at a key.
    pub fn at(path: impl Into<String>, message: impl Into<String>) -> Problem {
        Problem { path: path.into(), message: message.into(), help: None }
    }

    /// The same with what to write instead.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Problem {
        self.help = Some(help.into());
        self
    }
}

/// Makes the handler of a stage. No connection, no look-up, no file but the certificates that it names. Every problem of the block in one go.
pub fn build(
    spec: &Spec,
    context: &Context,
    references: &References,
) -> Result<Arc<dyn Handler>, Vec<Problem>> {
    match spec {
        Spec::Webhook(spec) => webhook::build(spec, context, references),
        Spec::Log(spec) => Ok(log::build(*spec, context)),
        Spec::Sql(_) => Err(vec![Problem::at("sql", "the sql handler is not available yet")]),
    }
}
