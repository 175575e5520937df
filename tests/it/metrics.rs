//! What a stage shows of itself: how far behind it is, what waits, what is paused, what failed, what it holds.

use std::time::Duration;

use rdkafka::message::OwnedHeaders;

use crate::dead_letters::send;
use crate::delivery::Stage;
use crate::support::load::Load;
use crate::support::receiver::status;
use crate::support::run::until;
use crate::support::weir::Weir;

const SOON: Duration = Duration::from_secs(60);

/// Waits until a metric of the stage is what is wanted.
async fn shows(weir: &Weir, name: &str, labels: &[(&str, &str)], wanted: impl Fn(f64) -> bool) {
    let there = || async { wanted(weir.metric(name, labels).await) };
    until(&format!("{name} {labels:?}"), SOON, there).await;
}

/// One partition whose first record fails for as long as the receiver is sick: all others wait behind it, most of them in
/// the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_stands_still_shows_how_far_behind_it_is() {
    let more = "order: partition\nretry: { max_attempts: 1000, backoff: fixed, initial_delay: 2s }\n";
    let stage = Stage::set("behind", more, |_| status(500)).await;
    let weir = stage.site.start("one").await;
    let load = Load { events: 3_000, keys: 1, size: 200, rate: None };
    load.produce(&stage.run, stage.kafka, &stage.topic).await;
    let topic = [("topic", stage.topic.as_str())];

    shows(&weir, "weir_consumer_lag_events", &topic, |lag| lag == 3_000.0).await;
    shows(&weir, "weir_consumer_lag_seconds", &topic, |age| age > 3.0).await;
    shows(&weir, "weir_consumer_paused_partitions", &[], |paused| paused == 1.0).await;
    shows(&weir, "weir_retries_waiting", &[], |waiting| waiting == 1.0).await;
    shows(&weir, "weir_retry_oldest_age_seconds", &[], |age| age > 2.0).await;
    shows(&weir, "weir_commit_metadata_ratio", &[], |ratio| ratio > 0.0 && ratio < 0.1).await;
    let held = weir.metric("weir_memory_bytes", &[("pool", "records")]).await;
    assert!((100_000.0..2_000_000.0).contains(&held), "{held} bytes of the 3,000 records are in memory");
    for pool in ["records", "producer", "fetch"] {
        let limit = weir.metric("weir_memory_limit_bytes", &[("pool", pool)]).await;
        assert!(limit > 1_000_000.0, "{pool}: {limit}");
    }
    let (_, text) = weir.get("/metrics").await.unwrap();
    assert!(text.contains(r#"weir_memory_bytes{pool="producer"} 0"#), "{text}");
    assert!(!text.contains(r#"weir_memory_bytes{pool="fetch"}"#), "nobody knows, so nothing is said");

    stage.receiver.script(|_| status(200));
    stage.receiver.wait_for_accepted(load.events, Duration::from_secs(60)).await;
    shows(&weir, "weir_consumer_lag_events", &topic, |lag| lag == 0.0).await;
    for name in ["weir_consumer_lag_seconds", "weir_retry_oldest_age_seconds", "weir_memory_bytes"] {
        shows(&weir, name, &[], |value| value == 0.0).await;
    }
    shows(&weir, "weir_consumer_paused_partitions", &[], |paused| paused == 0.0).await;
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transform_that_fails_is_counted_by_its_name() {
    let more = "transforms:\n  - remap: .a = int!(.a)\n  - { name: to-time, cast: { .t: timestamp } }\n";
    let stage = Stage::set("transform-errors", more, |_| status(200)).await;
    let weir = stage.site.start("one").await;
    let (_, text) = weir.get("/metrics").await.unwrap();
    let series = text.lines().filter(|line| line.starts_with("weir_transform_errors_total{"));
    let series: Vec<&str> = series.map(|line| line.rsplit_once(' ').unwrap().1).collect();
    assert_eq!(series, ["0", "0"], "there before the first failure: {text}");

    for value in
        [&br#"{"a":"x","t":"2026-01-01T00:00:00Z"}"#[..], br#"{"a":1,"t":"no"}"#, br#"{"a":2,"t":"no"}"#]
    {
        send(&stage, Some(b"k"), Some(value), OwnedHeaders::new(), 0);
    }
    stage.watched().all_committed(&stage.run, &[(0, 3)].into()).await;
    for (transform, kind, wanted) in [("remap-0", "eval", 1.0), ("to-time", "type", 2.0)] {
        let labels = [("transform", transform), ("kind", kind)];
        assert_eq!(weir.metric("weir_transform_errors_total", &labels).await, wanted, "{transform}");
    }
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

/// G8: half of `max.poll.interval.ms` without a poll is said, once, and goes by.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_stood_still_says_so() {
    let mut stage = Stage::set("stood-still", "", |_| status(200)).await;
    stage.site = stage.site.session(Duration::from_secs(6)).property("max.poll.interval.ms", "8000");
    let weir = stage.site.start("one").await;
    let load = Load { events: 100, keys: 10, size: 200, rate: None };
    load.produce(&stage.run, stage.kafka, &stage.topic).await;
    stage.receiver.wait_for_accepted(load.events, Duration::from_secs(30)).await;
    let slow = || async { weir.metric("weir_anomalies_total", &[("kind", "poll_slow")]).await };
    assert!(slow().await == 0.0);
    weir.signal("STOP");
    crate::support::run::pause(Duration::from_secs(5)).await;
    weir.signal("CONT");
    let said = || async { slow().await >= 1.0 };
    until("the alarm", Duration::from_secs(10), said).await;
    assert!(weir.log().contains("Kafka was not polled for"), "and the log says how long");
    let (_, acked) = load.produce(&stage.run, stage.kafka, &stage.topic).await;
    stage.watched().all_committed(&stage.run, &crate::delivery::ends(&acked)).await;
    assert!(slow().await < 3.0, "not again and again");
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}
