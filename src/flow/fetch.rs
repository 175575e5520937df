//! What a record needs of the schema registry: fetched, waited for, or given up.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::record::{Pass, Turn};
use crate::codec::wire::{Missing, Unfetched};
use crate::deliver::judge::Failed;
use crate::outcome::{HoldCause, Progress, Verdict};
use crate::telemetry::clock::both as now;

/// How long the schema of a record may come after the record: what is registered at one node of a registry is known to the
/// others a little later.
const GRACE: Duration = Duration::from_secs(10);
/// When an unknown schema is asked for again.
const AGAIN: Duration = Duration::from_secs(2);
/// How many schemas one pass fetches: the reader's and the writer's, one for each entry of `publish`.
pub(super) const FETCHES: usize = 64;

/// Why a pass ends without the schema.
pub(super) enum Without {
    /// The stage holds, or the record waits.
    Verdict(Verdict),
    /// Nobody knows it: the record is at fault.
    Failed(Box<Failed>),
}

impl Turn<'_> {
    /// Fetches a schema. An outage of the registry holds the stage (S9); an id that it does not know is the record's fault once
    /// the record is older than what it takes registries to agree.
    pub(super) async fn fetch(&self, missing: &Missing, progress: &Progress) -> Result<(), Without> {
        match missing.fetch().await {
            Ok(()) => {
                self.engine.registry_answered();
                Ok(())
            }
            Err(Unfetched::NotNow(message)) => {
                let progress = progress.clone();
                Err(Without::Verdict(Verdict::Hold { cause: HoldCause::Registry, message, progress }))
            }
            Err(unknown @ Unfetched::Unknown(since, _)) => {
                self.engine.registry_answered();
                let now = now();
                let waited = now.mono.saturating_duration_since(since);
                let progress = progress.clone();
                if waited < GRACE && self.is_recent(now.wall) {
                    let due = now.mono + AGAIN;
                    return Err(Without::Verdict(Verdict::Again { due, progress }));
                }
                let failure = unknown.into_failure();
                Err(Without::Failed(Box::new(Failed { progress, called: false, failure })))
            }
        }
    }

    /// Whether the record was written just now, as far as it says when.
    fn is_recent(&self, now: SystemTime) -> bool {
        let written = self.job.work.event.origin.timestamp.and_then(|millis| u64::try_from(millis).ok());
        written.is_none_or(|millis| {
            let written = UNIX_EPOCH + Duration::from_millis(millis);
            // A clock that is a little ahead; what lies in the future says nothing.
            now.duration_since(written).map_or_else(|ahead| ahead.duration() < GRACE, |age| age < GRACE)
        })
    }
}

impl Without {
    /// Schemas are fetched and gone again at once: too many for what is kept. The record comes again.
    pub(super) fn later(progress: &Progress) -> Without {
        Without::Verdict(Verdict::Again { due: now().mono + AGAIN, progress: progress.clone() })
    }

    /// The pass that ends with it, before anything was delivered.
    pub(super) async fn into_pass(self, turn: &Turn<'_>, attempts: u32) -> Pass {
        match self {
            Without::Verdict(verdict) => Pass { verdict, accepted: false, attempts, published: 0 },
            Without::Failed(failed) => turn.fail(*failed).await,
        }
    }
}
