//! What the poll thread feeds: assignments, records, revokes, commits. Runs on the poll thread; waits for no record.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::Engine;
use super::board::CAUTIOUS_LOOK_AHEAD;
use super::room::Batch;
use crate::event::Rank;
use crate::flow::metadata::{self, Cut, Decoded, Restored};
use crate::flow::{Epoch, NextOffset, Record, Tracker};
use crate::kafka::{Fetched, Found, Intake, KafkaError, Mark, Partition, Trouble};
use crate::outcome::HoldCause;
use crate::plan::OnOutOfRange;
use crate::telemetry::clock::{self, both as now};
use crate::telemetry::metrics::Anomaly;

/// The engine as its poll thread sees it.
#[derive(Debug)]
pub struct EngineIntake {
    engine: Arc<Engine>,
    /// The most characters of metadata that the cluster takes.
    metadata_limit: usize,
    tidied_at: Instant,
    gauged_at: Instant,
}

/// How often the gauges are set: a report clones what it names, which the poll loop should not pay on each pass.
const GAUGE_EVERY: Duration = Duration::from_secs(1);

/// How long the ranks of one hand-over may take to be told; those of the rest count as normal.
const RANKING: Duration = Duration::from_millis(250);

/// How many records are taken in while the lock is held once.
const AT_ONCE: usize = 64;

/// How often it is said at most that a partition's metadata is cut; it is counted each time.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// How often a handler lets go of idle connections.
const TIDY_EVERY: Duration = Duration::from_secs(5);

/// Where a partition begins, or why it may not.
enum Beginning {
    At(Restored),
    Gone { from: i64, to: i64 },
}

impl EngineIntake {
    pub(super) fn new(engine: Arc<Engine>) -> EngineIntake {
        EngineIntake {
            engine,
            metadata_limit: metadata::DEFAULT_LIMIT,
            tidied_at: clock::now(),
            gauged_at: clock::now(),
        }
    }

    /// Reads what the group committed. Metadata of another life of the topic is not empty: its offset belongs to a topic
    /// that is gone (B3), as does an offset outside of the log (B2).
    fn beginning(&self, found: &Found) -> Beginning {
        let fresh = |next| Restored::fresh(NextOffset(next), found.partitions);
        let gone = Beginning::Gone { from: found.log_start, to: found.log_end };
        let policy = self.engine.plan.load().source.on_out_of_range;
        let instead = || match policy {
            OnOutOfRange::Pause => None,
            OnOutOfRange::Earliest => Some(fresh(found.log_start)),
            OnOutOfRange::Latest => Some(fresh(found.log_end)),
        };
        let committed = match &found.committed {
            Some(committed) => committed,
            None if found.again => return instead().map_or(gone, Beginning::At),
            None => return Beginning::At(fresh(found.start)),
        };
        let next = NextOffset(committed.next);
        match metadata::decode(&committed.metadata, next, prefix(found)) {
            Decoded::OtherTopic => instead().map_or(gone, Beginning::At),
            _ if committed.next < found.log_start || committed.next > found.log_end => {
                self.engine.metrics.anomaly(Anomaly::OffsetsLost);
                instead().map_or(gone, Beginning::At)
            }
            Decoded::Restored(restored) => Beginning::At(restored),
            Decoded::Empty(cause) => {
                if !committed.metadata.is_empty() {
                    warn!(partition = %found.partition, ?cause, "commit metadata is not readable: what is done above the offset is repeated");
                    self.engine.metrics.anomaly(Anomaly::MetadataUnreadable);
                }
                Beginning::At(fresh(committed.next))
            }
        }
    }
}

impl Engine {
    /// Whether a source topic exists, as the cluster says. One that does not holds up no other; the stage says so. Gives `true`
    /// where it was missing and is there now.
    pub fn saw_topic(&self, topic: &str, is_there: bool) -> bool {
        if !is_there {
            let message = format!("the topic {topic} does not exist; it is read as soon as it does");
            self.hold_from_outside(HoldCause::TopicMissing, topic, &message, clock::now());
            return false;
        }
        let returned = self.lock().topic_is_there(topic);
        if returned {
            info!(stage = self.plan.load().service, topic, "the topic is there now");
        }
        returned
    }

    /// Topics that are not read any more, where they come and go, are not missing.
    pub fn forget_missing_topics(&self, read: &[Arc<str>]) {
        self.lock().forget_missing_topics(read);
    }

    fn hold_from_outside(&self, cause: HoldCause, of: &str, message: &str, now: Instant) {
        let new = self.lock().hold_from_outside(cause, of.to_owned(), message.to_owned(), now);
        if new {
            warn!(stage = self.plan.load().service, cause = cause.as_str(), "the stage holds: {message}");
        }
    }
}

fn prefix(found: &Found) -> [u8; 4] {
    found.topic.id.map_or([0; 4], crate::event::TopicId::prefix)
}

impl Intake for EngineIntake {
    fn assigned(&mut self, found: Vec<Found>, _now: Instant) -> Vec<(Partition, i64)> {
        let now = now();
        let mut starts = Vec::with_capacity(found.len());
        for one in &found {
            match self.beginning(one) {
                Beginning::At(restored) => {
                    let next = restored.next;
                    info!(partition = %one.partition, next = next.0, epoch = one.epoch, retries = restored.retries.len(), "starting");
                    let epoch = Epoch(one.epoch);
                    let limit = self.metadata_limit;
                    let cautious = restored.open || restored.crashes > 0;
                    self.engine.lock().assign(&one.partition, epoch, |order, mut limits| {
                        limits.metadata = limit;
                        if cautious {
                            limits.records = CAUTIOUS_LOOK_AHEAD;
                        }
                        Tracker::assigned(epoch, prefix(one), restored, order, limits, now)
                    });
                    starts.push((one.partition.clone(), next.0));
                }
                Beginning::Gone { from, to } => self.engine.hold_from_outside(
                    HoldCause::OutOfRange,
                    &one.partition.to_string(),
                    &format!(
                        "{}: what was to be read next is not in the log, which holds {from} to {to}; set \
                         source.on_out_of_range to earliest or latest, or reset the offset",
                        one.partition
                    ),
                    now.mono,
                ),
            }
        }
        {
            let mut board = self.engine.lock();
            for one in &found {
                board.topic_is_there(&one.partition.topic);
            }
        }
        self.engine.metrics.consumer.rebalances.inc();
        starts
    }

    fn room(&mut self) -> (usize, usize) {
        self.engine.lock().room()
    }

    fn wait_for_room(&mut self, at_most: Duration) {
        let mut board = self.engine.lock();
        if board.lacks_room() {
            // Who is woken too early looks again; who is not is back after `at_most`.
            drop(self.engine.room.wait_timeout(board, at_most));
        }
    }

    fn records(&mut self, batch: &mut Vec<Fetched>) {
        let mut taken = Batch::default();
        let plan = self.engine.plan.load();
        let metrics = &self.engine.metrics;
        // Whatever the expression costs: the thread comes round to poll (G8).
        let until = clock::now() + RANKING;
        let rank = |fetched: &Fetched| match (&plan.priority, fetched.rank) {
            (None, _) => Rank::default(),
            (Some(_), Some(rank)) => rank,
            (Some(priority), None) => {
                // Nothing looks into what nobody has signed; it fails where it is worked on.
                if plan.source.verify.as_ref().is_some_and(|verify| verify.verify(&fetched.event).is_err()) {
                    return Rank::default();
                }
                let told = if clock::now() < until { priority.of(&fetched.event) } else { None };
                told.unwrap_or_else(|| {
                    metrics.anomaly(Anomaly::RuleFailed);
                    Rank::default()
                })
            }
        };
        let mut records = batch.drain(..).map(|fetched| Record {
            rank: rank(&fetched),
            event: Arc::new(fetched.event),
            epoch: Epoch(fetched.epoch),
            bytes: fetched.bytes,
        });
        loop {
            // Allocated outside of the lock, and few at a time, so that no task waits for long.
            let some: Vec<Record> = records.by_ref().take(AT_ONCE).collect();
            if some.is_empty() {
                break;
            }
            self.engine.lock().admit_some(some, &mut taken);
        }
        drop(records);
        self.engine.metrics.events_received.inc_by(taken.received);
        self.engine.metrics.events_received_bytes.inc_by(taken.bytes);
        batch.extend(taken.refused.into_iter().map(|record| Fetched {
            epoch: record.epoch.0,
            bytes: record.bytes,
            rank: Some(record.rank),
            event: Arc::unwrap_or_clone(record.event),
        }));
        self.engine.dispatch();
    }

    fn takes(&mut self, partition: &Partition) -> bool {
        self.engine.lock().takes(partition)
    }

    fn crowds(&mut self, partition: &Partition) -> bool {
        self.engine.lock().crowds(partition)
    }

    fn busy(&mut self) -> bool {
        let counts = self.engine.lock().counts();
        counts.open > 0 || counts.uncommitted
    }

    fn revoke(&mut self, partitions: &[Partition]) {
        self.engine.lock().close(partitions);
    }

    fn drained(&mut self, partitions: &[Partition]) -> bool {
        self.engine.lock().drained(partitions)
    }

    fn close(&mut self, partitions: &[Partition]) {
        self.engine.lock().cancel(partitions);
    }

    fn ended(&mut self, partitions: &[Partition]) {
        self.engine.lock().end(partitions);
    }

    fn lost(&mut self, partitions: &[Partition]) {
        if !partitions.is_empty() {
            self.engine.lock().end(partitions);
        }
    }

    fn commits(&mut self, at: Instant, only: Option<&[Partition]>) -> Vec<Mark> {
        let now = now();
        let mut cut = Vec::new();
        let mut board = self.engine.lock();
        let mut marks = Vec::new();
        for place in &mut board.places {
            let Some(tracker) = &mut place.tracker else { continue };
            if only.is_some_and(|only| !only.contains(&place.partition)) {
                continue;
            }
            let commit = tracker.commit(now);
            if commit.is_none() {
                place.accepted_at = at;
            }
            if let Some(commit) = commit {
                if commit.cut != Cut::default() {
                    let said = place.cut_said.replace(at).filter(|said| at.duration_since(*said) < SAY_AGAIN);
                    place.cut_said = said.or(place.cut_said);
                    cut.push((place.partition.clone(), commit.cut, said.is_some()));
                }
                marks.push(Mark {
                    partition: place.partition.clone(),
                    next: commit.next.0,
                    metadata: commit.metadata,
                    epoch: commit.epoch.0,
                    serial: commit.serial,
                });
            }
        }
        drop(board);
        for (partition, cut, said) in cut {
            self.engine.metrics.anomaly(Anomaly::MetadataCut);
            if said {
                continue;
            }
            warn!(%partition, done = cut.done, retries = cut.retries, "the commit metadata is full: a restart would repeat records or forget attempts");
        }
        marks
    }

    fn commit_at_once(&mut self) -> bool {
        self.engine.lock().commit_is_urgent()
    }

    fn committed(&mut self, answers: &[(Mark, Option<KafkaError>)], now: Instant) {
        {
            let mut board = self.engine.lock();
            for (mark, refused) in answers {
                let Some(slot) = board.place_of(&mark.partition) else { continue };
                match refused {
                    None => {
                        let Some(place) = board.places.get_mut(slot) else { continue };
                        place.accepted_at = now;
                        if let Some(tracker) = &mut place.tracker {
                            tracker.accepted(Epoch(mark.epoch), mark.serial);
                        }
                    }
                    // Of several the answer does not say whose text was too long: each is sent again alone.
                    Some(error) if error.means_metadata_too_large() && answers.len() == 1 => {
                        self.metadata_limit = (self.metadata_limit.min(mark.metadata.len()) / 2).max(64);
                        let limit = self.metadata_limit;
                        board
                            .places
                            .iter_mut()
                            .filter_map(|p| p.tracker.as_mut())
                            .for_each(|t| t.set_metadata_limit(limit));
                    }
                    // Also where the generation has moved on: in a cooperative rebalance the partition is ours all the
                    // same, and the commit is made again. Whether it is lost says the rebalance, never a commit (G2);
                    // meanwhile nothing is accepted, so work stands still after `limits.uncommitted` (O11).
                    Some(_) => {}
                }
            }
        }
        for (_, refused) in answers {
            if let Some(error) = refused {
                self.engine.metrics.consumer.commit_failures.inc();
                tracing::debug!(%error, "Kafka refused a commit");
            } else {
                let at = clock::wall().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
                self.engine.metrics.consumer.last_commit_timestamp.set(at.as_secs_f64());
            }
        }
        self.engine.dispatch();
    }

    fn let_go(&mut self, now: Instant) -> Vec<(Partition, i64)> {
        let (dropped, back) = self.engine.lock().let_go(now);
        if dropped > 0 {
            let stage = self.engine.plan.load();
            info!(
                stage = stage.service,
                records = dropped,
                "held for long: what is not at work is let go of, and read again when the hold ends"
            );
        }
        back
    }

    fn sought(&mut self, partition: &Partition, next: i64) {
        self.engine.lock().sought(partition, next);
    }

    fn end_of_partition(&mut self, partition: &Partition, offset: i64) {
        let mut board = self.engine.lock();
        let slot = board.place_of(partition);
        if let Some(tracker) = slot.and_then(|s| board.places.get_mut(s)).and_then(|p| p.tracker.as_mut()) {
            tracker.passed(NextOffset(offset));
        }
    }

    fn trouble(&mut self, trouble: Trouble, now: Instant) {
        match trouble {
            Trouble::OutOfRange(partition) => match self.engine.plan.load().source.on_out_of_range {
                OnOutOfRange::Pause => self.engine.hold_from_outside(
                    HoldCause::OutOfRange,
                    &partition.to_string(),
                    &format!(
                        "{partition}: the offset to read is not in the log any more; set source.on_out_of_range to \
                         earliest or latest, or reset the offset"
                    ),
                    now,
                ),
                OnOutOfRange::Earliest | OnOutOfRange::Latest => {
                    warn!(%partition, "the offset to read is not in the log any more: going on as the file says");
                    self.engine.metrics.anomaly(Anomaly::OffsetsLost);
                    if let Some(poll) = self.engine.poll.get() {
                        poll.look_up_again(&partition.topic);
                    }
                }
            },
            Trouble::TopicMissing(topic) => {
                self.engine.saw_topic(&topic, false);
            }
            Trouble::PollSlow { took, limit } => {
                let stage = self.engine.plan.load();
                warn!(
                    stage = stage.service,
                    "Kafka was not polled for {}s; at {}s it gives the partitions to others. Is the process stopped now and \
                     then, or out of CPU or memory?",
                    took.as_secs(),
                    limit.as_secs()
                );
                self.engine.metrics.anomaly(Anomaly::PollSlow);
            }
            Trouble::Refused(why) => {
                if self.engine.lock().refused(&why, now) {
                    let stage = self.engine.plan.load();
                    warn!(stage = stage.service, "Kafka refuses what the stage needs: {why}; it goes on by itself when that is mended");
                }
            }
            Trouble::Allowed => {
                if self.engine.lock().allowed() {
                    info!(stage = self.engine.plan.load().service, "Kafka allows what the stage needs");
                }
            }
            Trouble::Other(error) => tracing::debug!(%error, "kafka"),
        }
    }

    fn paused(&mut self, partitions: Vec<Partition>) {
        self.engine.set_paused(partitions);
    }

    fn tick(&mut self, now: Instant) {
        self.engine.lock().note_time(now);
        // What waits for another stage's lone record, or for a stalled commit, is looked at again here.
        self.engine.dispatch();
        if now.saturating_duration_since(self.tidied_at) >= TIDY_EVERY {
            self.tidied_at = now;
            if let Some(handler) = &self.engine.plan.load().handler {
                handler.tidy(now);
            }
        }
        if now.saturating_duration_since(self.gauged_at) >= GAUGE_EVERY {
            self.gauged_at = now;
            self.engine.set_gauges();
        }
    }
}
