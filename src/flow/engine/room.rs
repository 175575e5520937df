//! What a stage takes in, and what it lets go of: records, bytes, and the few that a shut stage needs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::board::{Board, position};
use super::place::Place;
use crate::event::Topic;
use crate::flow::{Admitted, NextOffset, Record, Room, Tracker};
use crate::kafka::Partition;

/// Keys that are taken in while the stage is shut.
const KEYS_WHILE_SHUT: usize = 3;
/// After so long a stage that is shut lets go of the bodies that it has not started (M11).
const LET_GO_AFTER: Duration = Duration::from_secs(30);

/// What became of the records of one hand-over.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Taken in: how many, and their bytes.
    pub(super) received: u64,
    pub(super) bytes: u64,
    /// Not taken in, in order: their partition is full.
    pub(super) refused: Vec<Record>,
    /// The places that have refused one.
    full: Vec<usize>,
    /// The place of the last record: most that follow have the same.
    last: Option<(Arc<Topic>, i32, usize)>,
}

impl Batch {
    fn slot_of(&mut self, record: &Record, places: &[Place]) -> Option<usize> {
        let origin = &record.event.origin;
        if let Some((topic, partition, slot)) = &self.last
            && *partition == origin.partition
            && Arc::ptr_eq(topic, &origin.topic)
        {
            return Some(*slot);
        }
        let slot = places.iter().position(|place| {
            place.partition.number == origin.partition && *place.partition.topic == *origin.topic.name
        })?;
        self.last = Some((Arc::clone(&origin.topic), origin.partition, slot));
        Some(slot)
    }
}

impl Board {
    /// Takes some records of a batch in.
    pub(super) fn admit_some(&mut self, records: Vec<Record>, batch: &mut Batch) {
        for record in records {
            let Some(slot) = batch.slot_of(&record, &self.places) else { continue };
            // It may have room again between two locks: those that follow wait all the same, else they would overtake.
            if batch.full.contains(&slot) {
                batch.refused.push(record);
                continue;
            }
            let bytes = record.bytes as u64;
            match self.admit(slot, record) {
                Ok(Admitted::Taken) => {
                    batch.received += 1;
                    batch.bytes += bytes;
                }
                Ok(Admitted::Again | Admitted::Known | Admitted::Stale | Admitted::Detached) => {}
                Err(record) => {
                    batch.full.push(slot);
                    batch.refused.push(record);
                }
            }
        }
    }

    /// Takes a record in; `Err` gives it back where its partition is full.
    fn admit(&mut self, slot: usize, record: Record) -> Result<Admitted, Record> {
        let Some(place) = self.places.get_mut(slot) else { return Ok(Admitted::Stale) };
        let Some(tracker) = &mut place.tracker else { return Ok(Admitted::Stale) };
        if tracker.room() != Room::Open {
            place.refused = true;
            return Err(record);
        }
        Ok(tracker.admit(record))
    }

    /// Whether a partition holds its share of what the stage may hold, or more: where there is no room, such wait and the
    /// others go on, so that none starves.
    pub(super) fn crowds(&self, partition: &Partition) -> bool {
        let shut = self.is_shut();
        let place = self.place_of(partition).and_then(|slot| self.places.get(slot));
        let Some(tracker) = place.and_then(|place| place.tracker.as_ref()) else { return true };
        let sharers = self.trackers().count().max(1);
        let counts = tracker.counts();
        shut || self.is_outranked(tracker)
            || counts.open.saturating_sub(counts.bodiless) >= (self.look_ahead / sharers).max(1)
            || counts.bytes >= if self.out_of_bytes { self.kept() } else { self.memory.size() } / sharers
    }

    /// Whether what a partition holds is less urgent than what another one holds: where there is no room, the less urgent wait.
    fn is_outranked(&self, tracker: &Tracker) -> bool {
        if !self.ranked {
            return false;
        }
        let own = tracker.most_urgent();
        self.trackers()
            .filter_map(Tracker::most_urgent)
            .min()
            .is_some_and(|best| own.is_some_and(|own| own > best))
    }

    /// The bytes that are kept for partitions which hold little: where there is no room, these alone go on, one record at a
    /// time, and take no more than was kept for them (M6).
    fn kept(&self) -> usize {
        if self.trackers().nth(1).is_some() { self.memory.size() / 5 } else { 0 }
    }

    /// How many records and bytes may be taken in. While the stage is shut: until three keys are there to be tried.
    pub(super) fn room(&mut self) -> (usize, usize) {
        let counts = self.counts();
        let keys = if self.has_let_go { 1 } else { KEYS_WHILE_SHUT };
        let records = if self.is_shut() && counts.ready + counts.waiting >= keys {
            0
        } else {
            self.look_ahead.saturating_sub(counts.open.saturating_sub(counts.bodiless))
        };
        let bytes = self.room_for_bytes(counts.bytes);
        self.room_wanted = records == 0 || bytes == 0;
        (records, bytes)
    }

    /// The bytes that are free. Once none was, none until an eighth is, or more could be borrowed: a pause is dear, and should
    /// not end with the first record that does (M2).
    fn room_for_bytes(&mut self, used: usize) -> usize {
        let grew = self.memory.fit(used.saturating_add(self.kept()));
        let size = self.memory.size();
        let free = (size - self.kept()).saturating_sub(used);
        // A stage that is shut looks for keys to try, and each may be the one.
        let too_little = self.out_of_bytes && !grew && !self.is_shut() && free < size / 8;
        self.out_of_bytes = free == 0 || too_little;
        if self.out_of_bytes { 0 } else { free }
    }

    /// Whether somebody waits for room who has it now, in the stage or in this place.
    pub(super) fn gives_room(&mut self, slot: usize) -> bool {
        let stage = self.room_wanted && self.room_is_back();
        let place = self.places.get_mut(slot).filter(|place| place.refused);
        let partition = place.is_some_and(|place| {
            let opens = place.tracker.as_mut().is_some_and(|tracker| tracker.room() == Room::Open);
            place.refused = !opens;
            opens
        });
        stage || partition
    }

    /// Whether records wait for room, in the stage or in one of its partitions.
    pub(super) fn lacks_room(&mut self) -> bool {
        !self.room_is_back() || self.places.iter().any(|place| place.refused && place.tracker.is_some())
    }

    /// Whether room that was wanted is there again, and some more, so that one record does not wake anybody.
    fn room_is_back(&mut self) -> bool {
        let (records, bytes) = self.room();
        let back = records >= self.look_ahead / 8 && bytes > 0;
        self.room_wanted = !back;
        back
    }

    pub(super) fn takes(&mut self, partition: &Partition) -> bool {
        let place = self.place_of(partition).and_then(|slot| self.places.get_mut(slot));
        let Some(place) = place else { return false };
        let takes = place.tracker.as_mut().is_some_and(|tracker| tracker.room() == Room::Open);
        place.refused = !takes;
        takes
    }

    /// Once the stage has been shut for long, drops the bodies that are not at work, but a few for the probes (M11). Which
    /// partitions the consumer is to be sought back in, and to where, again and again until it was; and how many bodies were
    /// dropped now.
    pub(super) fn let_go(&mut self, now: Instant) -> (usize, Vec<(Partition, i64)>) {
        let bodies = |board: &Board| board.trackers().map(|t| t.counts().open - t.counts().bodiless).sum();
        let before: usize = bodies(self);
        let mut dropped = 0;
        if !self.is_shut() {
            (self.shut_since, self.has_let_go) = (None, false);
        } else if now.saturating_duration_since(*self.shut_since.get_or_insert(now)) >= LET_GO_AFTER
            && !self.has_let_go
        {
            self.has_let_go = true;
            let (gate, mut kept) = (&self.gate, 0);
            for (slot, place) in self.places.iter_mut().enumerate() {
                let Some(tracker) = &mut place.tracker else { continue };
                tracker.let_go(|offset| {
                    let few = kept < KEYS_WHILE_SHUT;
                    kept += usize::from(few);
                    few || gate.may_want(position(slot, offset))
                });
                place.settle_lone(&self.lone);
            }
            dropped = before - bodies(self);
        }
        let places = self.places.iter();
        let detached = |place: &Place| Some((place.partition.clone(), place.tracker.as_ref()?.detached()?.0));
        (dropped, places.filter_map(detached).collect())
    }

    /// The consumer was sought back.
    pub(super) fn sought(&mut self, partition: &Partition, next: i64) {
        let place = self.place_of(partition).and_then(|slot| self.places.get_mut(slot));
        if let Some(tracker) = place.and_then(|place| place.tracker.as_mut()) {
            tracker.sought(NextOffset(next));
        }
    }
}
