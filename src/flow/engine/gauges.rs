//! What a stage shows of itself once a second: its gauges, and the report that they and the status are made of. The poll
//! thread tells what is paused, who asks the cluster tells where logs end; all else is on the board.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant, UNIX_EPOCH};

use super::Engine;
use super::board::Board;
use super::place::Place;
use crate::flow::report::{PartitionReport, StageReport};
use crate::flow::{Now, Tracker};
use crate::kafka::Partition;
use crate::outcome::HoldCause;
use crate::plan::Stage;
use crate::publish::route::Route;
use crate::telemetry::clock::both as now;
use crate::telemetry::metrics::StageMetrics;

/// What others know of a stage's partitions.
#[derive(Debug, Default)]
pub(super) struct Told {
    paused: BTreeSet<Partition>,
    logs: HashMap<Partition, Log>,
    /// What it has read, by name.
    topics: BTreeSet<Arc<str>>,
}

/// A log as it was last looked at.
#[derive(Debug, Clone, Copy)]
struct Log {
    /// One above its last record.
    end: i64,
    /// An end that was seen before the partition was read up to there, and since when.
    unread: Option<(i64, Instant)>,
}

impl Log {
    /// The log has this end now; `before` is what was known of it.
    fn seen(before: Option<Log>, end: i64, position: i64, now: Instant) -> Log {
        let known =
            before.and_then(|log| log.unread).filter(|(known, _)| (position + 1..=end).contains(known));
        Log { end, unread: known.or((position < end).then_some((end, now))) }
    }
}

impl Told {
    /// How many partitions are paused.
    pub(super) fn paused(&self) -> usize {
        self.paused.len()
    }

    fn of(&self, place: &Place, tracker: &Tracker, now: Now) -> PartitionReport {
        let figures = tracker.figures();
        let log = self.logs.get(&place.partition);
        let unread = log.map_or(0, |log| figures.unread(log.end));
        let read_age = figures.oldest_timestamp.and_then(|millis| {
            let since = UNIX_EPOCH + Duration::from_millis(u64::try_from(millis).ok()?);
            now.wall.duration_since(since).ok()
        });
        let unread_age = log.and_then(|log| log.unread).filter(|(end, _)| figures.position < *end);
        let unread_age = unread_age.map(|(_, since)| now.mono.saturating_duration_since(since));
        PartitionReport {
            partition: place.partition.clone(),
            paused: self.paused.contains(&place.partition),
            watermark: figures.watermark,
            lag: unread.saturating_add(u64::try_from(figures.open).unwrap_or(u64::MAX)),
            behind: read_age.max(unread_age).unwrap_or_default(),
            oldest_first_try: figures.oldest_first_try,
            metadata_ratio: ratio(figures.metadata),
        }
    }
}

fn ratio((part, whole): (usize, usize)) -> f64 {
    let count = |characters| f64::from(u32::try_from(characters).unwrap_or(u32::MAX));
    count(part) / count(whole).max(1.0)
}

impl Board {
    /// The assigned partitions.
    pub(super) fn partitions(&self, now: Now, told: &Told) -> Vec<PartitionReport> {
        let assigned = self.places.iter().filter_map(|place| Some((place, place.tracker.as_ref()?)));
        assigned.map(|(place, tracker)| told.of(place, tracker, now)).collect()
    }
}

impl Engine {
    /// How the stage stands.
    pub fn report(&self) -> StageReport {
        let told = self.told();
        self.lock().report(now(), &told)
    }

    /// Bytes of the records that it holds.
    pub fn bytes(&self) -> usize {
        self.lock().counts().bytes
    }

    /// The partitions that are assigned to it.
    pub fn assigned(&self) -> Vec<Partition> {
        let board = self.lock();
        let assigned = board.places.iter().filter(|place| place.tracker.is_some());
        assigned.map(|place| place.partition.clone()).collect()
    }

    /// Logs end there now. What is known of a log that is not among them stays, as long as its partition does.
    pub fn saw_log_ends(&self, ends: &HashMap<Partition, i64>) {
        let mut told = self.told();
        let board = self.lock();
        let mut logs = HashMap::new();
        for place in &board.places {
            let Some(tracker) = &place.tracker else { continue };
            let before = told.logs.get(&place.partition).copied();
            let log = match ends.get(&place.partition) {
                Some(end) => Some(Log::seen(before, *end, tracker.figures().position, now().mono)),
                None => before,
            };
            logs.extend(log.map(|log| (place.partition.clone(), log)));
        }
        told.logs = logs;
    }

    /// The topics that it reads or has read, since a series that was shown goes on.
    fn topics_read(&self, report: &StageReport) -> BTreeSet<Arc<str>> {
        let mut told = self.told();
        if told.topics.is_empty() {
            let named = &self.plan.load().source.topics;
            told.topics.extend(named.iter().map(|name| Arc::from(name.as_str())));
        }
        told.topics.extend(report.partitions.iter().map(|one| Arc::clone(&one.partition.topic)));
        told.topics.clone()
    }

    pub(super) fn set_paused(&self, partitions: Vec<Partition>) {
        self.told().paused = partitions.into_iter().collect();
    }

    /// Taken before the board, where both are.
    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows how the stage stands.
    pub(super) fn set_gauges(&self) {
        let report = self.report();
        let metrics = &self.metrics;
        let gauge = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        metrics.handler_in_flight.set(gauge(report.in_flight));
        metrics.handler_in_flight_limit.set(gauge(report.limit));
        metrics.retries_waiting.set(gauge(report.waiting));
        let first_try = report.partitions.iter().filter_map(|one| one.oldest_first_try).min();
        let age = first_try.and_then(|first| now().wall.duration_since(first).ok());
        metrics.retry_oldest_age.set(age.unwrap_or_default().as_secs_f64());
        metrics.consumer.assigned_partitions.set(gauge(report.partitions.len()));
        metrics.consumer.paused_partitions.set(gauge(report.paused_partitions));
        let fullest = report.partitions.iter().map(|one| one.metadata_ratio).fold(0.0, f64::max);
        metrics.consumer.commit_metadata_ratio.set(fullest);
        for topic in self.topics_read(&report) {
            let of_it = || report.partitions.iter().filter(|one| one.partition.topic == topic);
            let series = metrics.source(&topic);
            let lag: u64 = of_it().map(|one| one.lag).sum();
            series.lag_events.set(i64::try_from(lag).unwrap_or(i64::MAX));
            series.lag_seconds.set(of_it().map(|one| one.behind).max().unwrap_or_default().as_secs_f64());
        }
        for cause in HoldCause::ALL {
            metrics.set_held(*cause, report.held.iter().any(|held| held.cause == *cause));
        }
        metrics.breaker_open.set(i64::from(report.held.iter().any(|held| held.cause == HoldCause::Breaker)));
    }
}

/// Sets to 0 what a plan names and is counted apart, so that a rate sees its first one.
pub(super) fn begin(metrics: &StageMetrics, stage: &Stage) {
    for topic in &stage.source.topics {
        metrics.source(topic);
    }
    for topic in stage.publish.iter().filter_map(Route::literal_topic) {
        metrics.producer(topic);
    }
    for step in &stage.steps {
        for kind in step.fails_by() {
            metrics.transform_errors(&step.name, kind);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_read_is_as_old_as_it_is_known_and_not_a_moment_longer() {
        let start = now().mono;
        let at = |seconds| start + Duration::from_secs(seconds);
        let none = Log::seen(None, 5, 5, at(0));
        assert_eq!(none.unread, None, "all is read");
        let some = Log::seen(Some(none), 8, 5, at(10));
        assert_eq!(some.unread, Some((8, at(10))));
        let more = Log::seen(Some(some), 9, 7, at(20));
        assert_eq!(more.unread, Some((8, at(10))), "8 is not reached yet");
        let newer = Log::seen(Some(more), 9, 8, at(30));
        assert_eq!(newer.unread, Some((9, at(30))), "what was there at first is read");
        assert_eq!(Log::seen(Some(newer), 3, 8, at(40)).unread, None, "the log went back");
    }
}
