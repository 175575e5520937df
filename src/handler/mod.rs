//! The side effect of a stage: one attempt, never a retry. Who waits and tries again is `deliver`.

use std::future::Future;
use std::pin::Pin;
use std::time::SystemTime;

use crate::event::Event;
use crate::outcome::{Answer, Failure};

/// A boxed future: handlers are unlike things behind one trait.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One event to hand over, and what the receiver may know of its history.
#[derive(Debug)]
pub struct Call<'a> {
    /// The event after the transforms.
    pub event: &'a Event,
    /// The number of this attempt, from 1.
    pub attempt: u32,
    /// When `give_up_after` ends, where it is set.
    pub give_up_at: Option<SystemTime>,
}

/// Makes one attempt.
pub trait Handler: Send + Sync + std::fmt::Debug {
    /// Hands the events over: one, unless the stage batches. One answer for each, in order. An answer with a status that
    /// is not accepted comes back as a `Failure` whose class says what it asks for.
    fn attempt<'a>(&'a self, batch: &'a [Call<'a>]) -> BoxFuture<'a, Vec<Result<Answer, Failure>>>;
}
