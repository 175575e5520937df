//! Older revisions that are held against the files: pinning, releasing.

use tracing::error;

use super::{Refused, Release, Reload, Repinned, Rollback};
use crate::runtime::change::{self, Pinned, Wanted};
use crate::runtime::history::{Kept, Line, Pin, Until, named};
use crate::store::StoreError;
use crate::telemetry::clock;

/// Who puts revisions back that fail more.
const ROLLOUT: &str = "rollout";

fn store(error: &StoreError) -> Refused {
    Refused::Store(error.to_string())
}

impl Reload {
    /// What is pinned, as it can run now.
    pub(super) async fn look_up_pins(&mut self) {
        let pins = self.past.pins().await;
        self.pinned = self.with_loader(move |loader| loader.pin(&pins)).await;
    }

    /// Runs an older revision, and holds it.
    pub(super) async fn roll_back(&mut self, order: Rollback) -> Result<Repinned, Refused> {
        let name = &order.pipeline;
        let now = self.wanted.get(name).ok_or_else(|| Refused::NoPipeline(name.clone()))?.clone();
        let kept = self.past.history().revisions(name).await.map_err(|error| store(&error))?;
        let kept = named(name, &kept, &order.to)?.clone();
        let from = now.pipeline.plan.revision.clone();
        if now.pin.is_none() && kept.revision == from && now.broken.is_none() {
            return Err(Refused::Conflict(format!("`{name}` runs {from} already, as its file says")));
        }
        let pin = Pin {
            pipeline: name.clone(),
            revision: kept.revision.clone(),
            rejected: self.files.get(name).unwrap_or(&from).clone(),
            until: order.until,
            actor: order.actor,
            reason: order.reason,
            at: clock::wall(),
        };
        let held = self.can_run(&pin, kept).await?;
        let to = pin.revision.clone();
        if order.dry_run {
            return Ok(Repinned { from, to, changes: self.would_change(name, held) });
        }
        let line = Line {
            actor: pin.actor.clone(),
            reason: pin.reason.clone(),
            ..self.past.line(name, Some(&pin.revision), "rollback")
        };
        self.past.history().pin(&pin, &line).await.map_err(|error| store(&error))?;
        self.past.noted(&line);
        let reloaded = self.read().await.ok_or(Refused::Busy)?;
        Ok(Repinned { from, to, changes: reloaded.changes })
    }

    /// Takes a pin back.
    pub(super) async fn release(&mut self, order: Release) -> Result<Repinned, Refused> {
        let name = &order.pipeline;
        let Some(Pinned { pin, .. }) = self.pinned.get(name).cloned() else {
            return Err(Refused::Conflict(format!("`{name}` is not pinned")));
        };
        let to = self.files.get(name).unwrap_or(&pin.rejected).clone();
        if order.dry_run {
            return Ok(Repinned { from: pin.revision, to, changes: Vec::new() });
        }
        let line =
            Line { actor: order.actor, reason: order.reason, ..self.past.line(name, Some(&to), "release") };
        self.past.history().unpin(&line).await.map_err(|error| store(&error))?;
        self.past.noted(&line);
        let reloaded = self.read().await.ok_or(Refused::Busy)?;
        Ok(Repinned { from: pin.revision, to, changes: reloaded.changes })
    }

    /// Puts back what a revision that fails more has replaced.
    pub(super) async fn put_back(&mut self) {
        for back in self.guard.look(&self.wanted, &self.tallies(), clock::now()) {
            let (pipeline, why) = (back.pipeline, back.why);
            error!(pipeline, former = %back.former, "the new revision fails more than it may, the former is put back: {why}");
            let order = Rollback {
                pipeline: pipeline.clone(),
                to: (*back.former).to_owned(),
                reason: why,
                actor: ROLLOUT.to_owned(),
                until: Until::Change,
                dry_run: false,
            };
            if let Err(refused) = self.roll_back(order).await {
                error!(pipeline, "the former revision cannot be put back: {refused}");
            }
        }
    }

    /// A revision as it would run if it were pinned.
    async fn can_run(&mut self, pin: &Pin, kept: Kept) -> Result<Wanted, Refused> {
        let mut pins: Vec<(Pin, Kept)> = self.past.pins().await;
        pins.retain(|(other, _)| other.pipeline != pin.pipeline);
        pins.push((pin.clone(), kept));
        let mut all = self.with_loader(move |loader| loader.pin(&pins)).await;
        match all.remove(&pin.pipeline) {
            Some(Pinned { pin, pipeline: Ok(pipeline) }) => {
                Ok(Wanted { pipeline, broken: None, pin: Some(pin) })
            }
            Some(Pinned { pipeline: Err(why), .. }) => Err(Refused::Broken(why)),
            None => Err(Refused::Busy),
        }
    }

    /// What would become of the stages of a pipeline.
    fn would_change(&self, name: &str, held: Wanted) -> Vec<change::Change> {
        let mut after = self.wanted.clone();
        after.insert(name.to_owned(), held);
        change::changes(&change::stages(&self.wanted), &change::stages(&after))
    }
}
