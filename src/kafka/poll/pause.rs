//! Back-pressure of a poll thread: partitions are paused and polling goes on (M1). What is paused is known here, and
//! nothing is resumed that was not paused here (M3).

use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use tracing::debug;

use super::{Part, Poller, WORTH_IT, join};
use crate::kafka::{Fetched, Intake, Partition, raw};
use crate::telemetry::clock;

/// How long a seek may take, and when one that failed is made again.
const SEEK_WITHIN: Duration = Duration::from_secs(1);
const SEEK_AGAIN: Duration = Duration::from_secs(1);

impl<I: Intake> Poller<I> {
    pub(super) fn serve_pauses(&mut self, now: Instant) {
        if self.no_room && self.has_room(WORTH_IT) {
            self.no_room = false;
            self.full_since = None;
        }
        if self.no_room {
            self.see_crowding();
        }
        self.take_overflow();
        if self.parts.values().any(|p| p.paused != self.wants_pause(p, now)) {
            self.apply_pauses();
        }
        if self.no_room {
            self.full_since = Some(now);
        }
    }

    /// Hands over what waits here, as far as its partitions take it now.
    pub(super) fn take_overflow(&mut self) {
        for (partition, part) in &mut self.parts {
            let waits = part.shut || part.overflow.is_empty() || (self.no_room && part.crowding);
            if waits || !self.intake.takes(partition) {
                continue;
            }
            // It is in memory already: the stage's room is not asked for.
            let mut batch: Vec<Fetched> = part.overflow.drain(..).collect();
            self.intake.records(&mut batch);
            for refused in batch.into_iter().rev() {
                part.overflow.push_front(refused);
            }
            if part.overflow.is_empty() {
                part.overflows_since = None;
            }
        }
    }

    /// Bodies that were let go of are read again: the consumer goes back to them (M11). Nothing is polled in between, and
    /// what was fetched before is dropped, so that no record is taken for one that follows them.
    pub(super) fn serve_let_go(&mut self, now: Instant) {
        let mut back = self.intake.let_go(now);
        back.retain(|(partition, _)| self.parts.get(partition).is_some_and(|part| !part.shut));
        if back.is_empty() || now < self.seek_again_at {
            return;
        }
        for (partition, _) in &back {
            if let Some(part) = self.parts.get_mut(partition) {
                part.overflow.clear();
                part.overflows_since = None;
            }
        }
        match raw::seek(self.client.consumer.client(), &back, SEEK_WITHIN) {
            Ok(()) => back.iter().for_each(|(partition, next)| self.intake.sought(partition, *next)),
            Err(error) => {
                debug!(%error, "seeking back; trying again");
                self.seek_again_at = now + SEEK_AGAIN;
            }
        }
    }

    /// Looks at which partitions hold their share.
    pub(super) fn see_crowding(&mut self) {
        for (partition, part) in &mut self.parts {
            part.crowding = self.intake.crowds(partition);
        }
    }

    /// Brings what librdkafka pauses to what is wanted; never resumes what was not paused here (M3).
    pub(super) fn apply_pauses(&mut self) {
        let now = clock::now();
        let mut changed = false;
        for pause in [true, false] {
            let change: Vec<Partition> = self
                .parts
                .iter()
                .filter(|(_, p)| self.wants_pause(p, now) == pause && p.paused != pause)
                .map(|(k, _)| k.clone())
                .collect();
            if change.is_empty() {
                continue;
            }
            match raw::set_paused(self.client.consumer.client(), &change, pause) {
                Ok(()) => {
                    changed = true;
                    for partition in &change {
                        if let Some(part) = self.parts.get_mut(partition) {
                            part.paused = pause;
                        }
                    }
                    debug!(partitions = %join(&change), pause, "paused or resumed");
                }
                Err(error) => debug!(%error, pause, "pausing or resuming; trying again"),
            }
        }
        if changed {
            self.tell_paused();
        }
    }

    pub(super) fn tell_paused(&mut self) {
        let paused = self.parts.iter().filter(|(_, part)| part.paused);
        self.intake.paused(paused.map(|(partition, _)| partition.clone()).collect());
    }

    fn wants_pause(&self, part: &Part, now: Instant) -> bool {
        let is_long = |since: Instant| now.saturating_duration_since(since) >= self.patience();
        let crowds = self.no_room && part.crowding;
        crowds || self.hushed || part.shut || part.overflows_since.is_some_and(is_long)
    }
}
