//! Back-pressure of a poll thread: partitions are paused and polling goes on (M1). What is paused is known here, and
//! nothing is resumed that was not paused here (M3).

use std::time::Instant;

use rdkafka::consumer::Consumer;
use tracing::debug;

use super::{BATCH, Part, Poller, join};
use crate::kafka::{Fetched, Intake, Partition, raw};

impl<I: Intake> Poller<I> {
    pub(super) fn serve_pauses(&mut self, now: Instant) {
        if self.no_room && self.has_room(BATCH / 2) {
            self.no_room = false;
            self.full_since = None;
        }
        if self.no_room {
            self.see_crowding();
        }
        let mut changed = false;
        let waiting: Vec<Partition> = self
            .parts
            .iter()
            .filter(|(_, p)| !p.overflow.is_empty() && !p.shut)
            .map(|(k, _)| k.clone())
            .collect();
        for partition in waiting {
            let crowding = self.no_room && self.parts.get(&partition).is_some_and(|part| part.crowding);
            if crowding || !self.intake.takes(&partition) {
                continue;
            }
            let room = if self.no_room { 1 } else { self.intake.room().0 };
            let Some(part) = self.parts.get_mut(&partition) else { continue };
            let count = part.overflow.len().min(room);
            let mut batch: Vec<Fetched> = part.overflow.drain(..count).collect();
            self.intake.records(&mut batch);
            for refused in batch.into_iter().rev() {
                part.overflow.push_front(refused);
            }
            changed = true;
        }
        if changed || self.parts.values().any(|p| p.paused != p.wants_pause(self.no_room)) {
            self.apply_pauses();
        }
        if self.no_room {
            self.full_since = Some(now);
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
        for pause in [true, false] {
            let all = self.no_room;
            let change: Vec<Partition> = self
                .parts
                .iter()
                .filter(|(_, p)| p.wants_pause(all) == pause && p.paused != pause)
                .map(|(k, _)| k.clone())
                .collect();
            if change.is_empty() {
                continue;
            }
            match raw::set_paused(self.consumer.client(), &change, pause) {
                Ok(()) => {
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
    }
}

impl Part {
    fn wants_pause(&self, all: bool) -> bool {
        (all && self.crowding) || self.shut || !self.overflow.is_empty()
    }
}
