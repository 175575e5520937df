//! The series of one stage, every one resolved when the stage loads: counting a record costs atomic additions, no look-up
//! and no allocation.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prometheus::{Gauge, GaugeVec, Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};

use super::series::Group;
use super::words::{Anomaly, AttemptResult, DEAD_LETTER_PAIRS, TransformErrorKind};
use super::{label, lock};
use crate::outcome::{Code, HoldCause, Outcome, Reason};

/// Bounds of `weir_event_age_seconds`.
const AGE_BOUNDS: &[f64] = &[0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0];
/// Bounds of `weir_handler_duration_seconds` and `weir_producer_duration_seconds`.
const DURATION_BOUNDS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// What a stage counts. Fields are the plain series; where two facts belong together a method counts both.
#[derive(Debug)]
pub struct StageSeries {
    /// Records read, by this assignment or an earlier one.
    pub events_received: IntCounter,
    /// Bytes of their keys and values.
    pub events_received_bytes: IntCounter,
    /// Requests under way.
    pub handler_in_flight: IntGauge,
    /// How many may be under way at present.
    pub handler_in_flight_limit: IntGauge,
    /// 1 while the circuit breaker is open.
    pub breaker_open: IntGauge,
    /// Records that wait for their retry.
    pub retries_waiting: IntGauge,
    /// Seconds since the first try of the oldest of them; 0 where none waits.
    pub retry_oldest_age: Gauge,
    /// Dead letters that the DLQ did not take.
    pub dead_letter_write_failures: IntCounter,
    /// What the consumer does.
    pub consumer: ConsumerSeries,
    completed: [IntCounter; 4],
    event_age: Histogram,
    attempts: Vec<IntCounter>,
    duration_ok: Histogram,
    duration_failed: Histogram,
    held: Vec<IntGauge>,
    anomalies: Vec<IntCounter>,
    dead_letters: IntCounterVec,
    transform_errors: IntCounterVec,
    plugin_counts: IntCounterVec,
    lag_events: IntGaugeVec,
    lag_seconds: GaugeVec,
    /// From handing a published record to its acknowledgement.
    producer_duration: Histogram,
    producer_records: IntCounterVec,
    topics: Mutex<BTreeMap<String, Arc<ProducerSeries>>>,
    group: Group,
}

/// What a stage counts of its consumer.
#[derive(Debug)]
pub struct ConsumerSeries {
    /// Partitions assigned to this instance.
    pub assigned_partitions: IntGauge,
    /// Partitions paused, for whatever reason.
    pub paused_partitions: IntGauge,
    /// When the last commit was accepted, in seconds since 1970; 0 before the first.
    pub last_commit_timestamp: Gauge,
    /// How full the metadata of the fullest partition is: 0 to 1.
    pub commit_metadata_ratio: Gauge,
    /// Assignments and revocations.
    pub rebalances: IntCounter,
    /// Commits that the broker refused or that got no answer.
    pub commit_failures: IntCounter,
}

/// What is counted of one topic that a stage reads.
#[derive(Debug, Clone)]
pub struct SourceSeries {
    /// Records without an outcome, those not yet read included.
    pub lag_events: IntGauge,
    /// Seconds since the time of the oldest of them; 0 where there is none.
    pub lag_seconds: Gauge,
}

/// What is counted of one topic that a stage writes.
#[derive(Debug)]
pub struct ProducerSeries {
    /// Records that Kafka acknowledged.
    pub ok: IntCounter,
    /// Records that it did not.
    pub error: IntCounter,
}

impl ConsumerSeries {
    fn new(g: &Group) -> ConsumerSeries {
        ConsumerSeries {
            assigned_partitions: g
                .gauge("weir_consumer_assigned_partitions", "Partitions assigned to this instance."),
            paused_partitions: g.gauge("weir_consumer_paused_partitions", "Partitions paused."),
            last_commit_timestamp: g.real(
                "weir_consumer_last_commit_timestamp_seconds",
                "When the last commit was accepted, since 1970.",
            ),
            commit_metadata_ratio: g.real(
                "weir_commit_metadata_ratio",
                "Share of the commit metadata in use, fullest partition.",
            ),
            rebalances: g.counter("weir_consumer_rebalances_total", "Assignments and revocations."),
            commit_failures: g
                .counter("weir_consumer_commit_failures_total", "Commits that were not accepted."),
        }
    }
}

impl StageSeries {
    pub(super) fn new(registry: &Registry, pipeline: &str, stage: &str) -> StageSeries {
        let g = Group::new(registry, &[("pipeline", pipeline), ("stage", stage)]);
        let completed =
            g.counters("weir_events_completed_total", "Records with their final outcome.", &["outcome"]);
        let attempts = g.counters("weir_handler_attempts_total", "Attempts of the handler.", &["result"]);
        let duration =
            g.histograms("weir_handler_duration_seconds", "Time of one attempt.", "ok", DURATION_BOUNDS);
        let held =
            g.gauges("weir_stage_held", "1 while the stage holds its records for this cause.", "cause");
        let anomalies =
            g.counters("weir_anomalies_total", "What should not happen and was survived.", &["kind"]);
        let dead_letters = g.counters(
            "weir_dead_letters_total",
            "Dead letters that the DLQ acknowledged.",
            &["reason", "code"],
        );
        for (reason, code) in DEAD_LETTER_PAIRS {
            dead_letters.with_label_values(&[reason.as_str(), code.as_str()]);
        }
        StageSeries {
            events_received: g.counter("weir_events_received_total", "Records read."),
            events_received_bytes: g
                .counter("weir_events_received_bytes_total", "Bytes of keys and values of the records read."),
            handler_in_flight: g.gauge("weir_handler_in_flight", "Requests under way."),
            handler_in_flight_limit: g
                .gauge("weir_handler_in_flight_limit", "Requests that may be under way."),
            breaker_open: g.gauge("weir_breaker_open", "1 while the circuit breaker of the handler is open."),
            retries_waiting: g.gauge("weir_retries_waiting", "Records that wait for their retry."),
            retry_oldest_age: g.real(
                "weir_retry_oldest_age_seconds",
                "Time since the first try of the oldest waiting retry.",
            ),
            dead_letter_write_failures: g
                .counter("weir_dead_letter_write_failures_total", "Dead letters that the DLQ did not take."),
            consumer: ConsumerSeries::new(&g),
            completed: COMPLETED.map(|outcome| completed.with_label_values(&[outcome])),
            event_age: g.histogram(
                "weir_event_age_seconds",
                "From a record's own time to its outcome.",
                AGE_BOUNDS,
            ),
            attempts: AttemptResult::ALL.iter().map(|r| attempts.with_label_values(&[r.as_str()])).collect(),
            duration_ok: duration.with_label_values(&["true"]),
            duration_failed: duration.with_label_values(&["false"]),
            held: HoldCause::ALL.iter().map(|cause| held.with_label_values(&[cause.as_str()])).collect(),
            anomalies: Anomaly::ALL
                .iter()
                .map(|kind| anomalies.with_label_values(&[kind.as_str()]))
                .collect(),
            dead_letters,
            transform_errors: g.counters(
                "weir_transform_errors_total",
                "Records on which a transform failed.",
                &["transform", "kind"],
            ),
            plugin_counts: plugin_counts(&g),
            lag_events: g.gauges("weir_consumer_lag_events", "Records without an outcome.", "topic"),
            lag_seconds: g.reals("weir_consumer_lag_seconds", "Age of the oldest open record.", "topic"),
            producer_duration: g.histogram(
                "weir_producer_duration_seconds",
                "Time of a publish, from producing to its acknowledgement.",
                DURATION_BOUNDS,
            ),
            producer_records: g.counters(
                "weir_producer_records_total",
                "Records produced by a publish.",
                &["topic", "result"],
            ),
            topics: Mutex::default(),
            group: g,
        }
    }

    /// Takes the stage's series out.
    pub(super) fn unregister(&self) {
        self.group.unregister();
    }

    /// A record is finished. `age` is the time since the record's own time stamp, where it has a sane one.
    pub fn finished(&self, outcome: Outcome, age: Option<Duration>) {
        let [delivered, filtered, dead_lettered, discarded] = &self.completed;
        match outcome {
            Outcome::Delivered => delivered.inc(),
            Outcome::Filtered(_) => filtered.inc(),
            Outcome::Discarded(_) => discarded.inc(),
            Outcome::DeadLettered(reason, code) => {
                dead_lettered.inc();
                self.dead_letters(reason, code).inc();
            }
        }
        if let Some(age) = age {
            self.event_age.observe(age.as_secs_f64());
        }
    }

    /// The handler has answered, or has not.
    pub fn attempted(&self, result: AttemptResult, took: Duration) {
        if let Some(counter) = self.attempts.get(result as usize) {
            counter.inc();
        }
        let ok = result == AttemptResult::Ok;
        let duration = if ok { &self.duration_ok } else { &self.duration_failed };
        duration.observe(took.as_secs_f64());
    }

    /// A record of a publish was acknowledged.
    pub fn produced(&self, took: Duration) {
        self.producer_duration.observe(took.as_secs_f64());
    }

    /// The stage begins to hold for this cause, or ends it.
    pub fn set_held(&self, cause: HoldCause, holds: bool) {
        let place = HoldCause::ALL.iter().position(|known| *known == cause);
        if let Some(gauge) = place.and_then(|place| self.held.get(place)) {
            gauge.set(i64::from(holds));
        }
    }

    /// Something that should not happen was survived.
    pub fn anomaly(&self, kind: Anomaly) {
        if let Some(counter) = self.anomalies.get(kind as usize) {
            counter.inc();
        }
    }

    /// The counter of failures of one transform, by its name in the file (`name:`, else kind and index: `remap-1`).
    /// Look it up when the stage loads.
    pub fn transform_errors(&self, transform: &str, kind: TransformErrorKind) -> IntCounter {
        self.transform_errors.with_label_values(&[label(transform), kind.as_str()])
    }

    /// A plugin has counted so many under a name of its own, of which it has few.
    pub fn plugin_counted(&self, plugin: &str, name: &str, by: u64) {
        self.plugin_counts.with_label_values(&[label(plugin), label(name)]).inc_by(by);
    }

    /// The counter of dead letters of one reason and code.
    pub fn dead_letters(&self, reason: Reason, code: Code) -> IntCounter {
        self.dead_letters.with_label_values(&[reason.as_str(), code.as_str()])
    }

    /// The series of a topic that the stage reads. Look it up when the topic becomes known.
    pub fn source(&self, topic: &str) -> SourceSeries {
        let topic = label(topic);
        SourceSeries {
            lag_events: self.lag_events.with_label_values(&[topic]),
            lag_seconds: self.lag_seconds.with_label_values(&[topic]),
        }
    }

    /// The series of a topic that the stage writes. Look it up when the stage loads.
    pub fn producer(&self, topic: &str) -> Arc<ProducerSeries> {
        let topic = label(topic);
        let mut topics = lock(&self.topics);
        let series = topics.entry(topic.to_owned()).or_insert_with(|| {
            let of = |result| self.producer_records.with_label_values(&[topic, result]);
            Arc::new(ProducerSeries { ok: of("ok"), error: of("error") })
        });
        Arc::clone(series)
    }

    /// How many records ended so; the order is delivered, filtered, dead-lettered, discarded.
    pub fn completed(&self) -> [u64; 4] {
        self.completed.each_ref().map(IntCounter::get)
    }

    /// How many attempts were made.
    pub fn attempts(&self) -> u64 {
        self.attempts.iter().map(IntCounter::get).sum()
    }

    /// How many of them were not accepted.
    pub fn failed_attempts(&self) -> u64 {
        let accepted = self.attempts.get(AttemptResult::Ok as usize).map_or(0, IntCounter::get);
        self.attempts().saturating_sub(accepted)
    }

    /// How many records were dead-lettered because they could not be read, or no step could take them.
    pub fn invalid(&self) -> u64 {
        let pairs = DEAD_LETTER_PAIRS.iter().filter(|(reason, _)| *reason == Reason::Invalid);
        pairs.map(|(reason, code)| self.dead_letters(*reason, *code).get()).sum()
    }

    /// How many records were published to any topic.
    pub fn published(&self) -> u64 {
        let topics = lock(&self.topics);
        topics.values().map(|topic| topic.ok.get()).sum()
    }
}

fn plugin_counts(g: &Group) -> IntCounterVec {
    g.counters("weir_plugin_counter_total", "What plugins count of their own.", &["plugin", "name"])
}

/// The words of `outcome`, in the order of `StageSeries::completed`.
const COMPLETED: [&str; 4] = ["delivered", "filtered", "dead_lettered", "discarded"];
