//! The DLQ topic itself: made at start where it is missing, left alone where it is there, and no reason to stop where the
//! cluster does not let it be made.

use std::collections::HashMap;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::OwnedHeaders;

use crate::dead_letters::send;
use crate::delivery::{PARTITIONS, Stage};
use crate::outputs::HOPE;
use crate::support::kafka::{Kafka, shared};
use crate::support::receiver::{Receiver, Reply, Seen, status};
use crate::support::run::{Run, until};
use crate::support::weir::Site;

const SOON: Duration = Duration::from_secs(30);
pub(crate) const WEEK: &str = "604800000";

/// As `Stage::set`, with no DLQ topic, and with these source topics besides.
async fn without_dlq(
    test: &str,
    sources: &[(&str, i32)],
    script: impl Fn(Seen<'_>) -> Reply + Send + Sync + 'static,
) -> Stage {
    let run = Run::new(test);
    let kafka = shared();
    let topic = run.name.clone();
    kafka.create(&topic, PARTITIONS, &[]).await;
    let mut topics = vec![topic.clone()];
    for (name, partitions) in sources {
        topics.push(format!("{topic}.{name}"));
        kafka.create(&format!("{topic}.{name}"), *partitions, &[]).await;
    }
    let receiver = Receiver::start(&run, script).await;
    let yaml = format!(
        "source: {{ topics: [{}] }}\ndlq: {topic}.dlq\nhandler: {}\n",
        topics.join(", "),
        receiver.url()
    );
    let site = Site::new(&run, kafka).pipeline(&topic, &yaml).property(HOPE.0, HOPE.1);
    Stage { group: format!("weir.{topic}"), run, kafka, topic, receiver, site }
}

/// The partitions of a topic; 0 where there is none.
fn partitions(admin: &AdminClient<DefaultClientContext>, topic: &str) -> usize {
    let all = admin.inner().fetch_metadata(None, Duration::from_secs(10)).unwrap();
    all.topics().iter().find(|found| found.name() == topic).map_or(0, |found| found.partitions().len())
}

/// A topic's settings, as the broker tells them.
pub(crate) async fn settings(
    admin: &AdminClient<DefaultClientContext>,
    topic: &str,
) -> HashMap<String, String> {
    let asked = [ResourceSpecifier::Topic(topic)];
    let told = admin.describe_configs(&asked, &AdminOptions::new()).await.unwrap();
    let entries = told.into_iter().next().unwrap().unwrap().entries;
    entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?))).collect()
}

pub(crate) fn admin(kafka: &Kafka) -> AdminClient<DefaultClientContext> {
    kafka.client().create().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_one_is_made_at_start_with_the_sources_partitions_and_seven_days() {
    let stage = without_dlq("dlq-made", &[("more", 9), ("fewer", 2)], |_| status(422)).await;
    let (admin, dlq) = (admin(stage.kafka), format!("{}.dlq", stage.topic));
    assert_eq!(partitions(&admin, &dlq), 0);
    let weir = stage.site.start("one").await;
    until("the DLQ topic", SOON, || async { partitions(&admin, &dlq) > 0 }).await;
    assert_eq!(partitions(&admin, &dlq), 9, "as many as the largest source has");
    assert_eq!(settings(&admin, &dlq).await["retention.ms"], WEEK);
    send(&stage, Some(b"k"), Some(b"{}"), OwnedHeaders::new(), 0);
    stage.watched().all_committed(&stage.run, &[(0, 1)].into()).await;
    assert_eq!(stage.kafka.read(&stage.run, &dlq).len(), 1, "and it is used");
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_there_is_left_as_it_is() {
    let stage = without_dlq("dlq-there", &[], |_| status(422)).await;
    let (admin, dlq) = (admin(stage.kafka), format!("{}.dlq", stage.topic));
    stage.kafka.create(&dlq, 2, &[("retention.ms", "3600000")]).await;
    let weir = stage.site.start("one").await;
    send(&stage, Some(b"k"), Some(b"{}"), OwnedHeaders::new(), 0);
    stage.watched().all_committed(&stage.run, &[(0, 1)].into()).await;
    assert_eq!(stage.kafka.read(&stage.run, &dlq).len(), 1);
    assert_eq!(partitions(&admin, &dlq), 2);
    assert_eq!(settings(&admin, &dlq).await["retention.ms"], "3600000");
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_may_not_be_made_is_warned_of_and_only_a_record_that_needs_it_waits() {
    let bad = |seen: Seen<'_>| status(if seen.arrival.body.starts_with(b"bad") { 422 } else { 200 });
    let stage = without_dlq("dlq-refused", &[], bad).await;
    let (admin, dlq) = (admin(stage.kafka), format!("{}.dlq", stage.topic));
    // Kafka refuses a name that differs from another one only in `.` and `_`.
    let in_the_way = format!("{}_dlq", stage.topic);
    stage.kafka.create(&in_the_way, 1, &[]).await;
    let weir = stage.site.start("one").await;
    let warned = || async { weir.log().contains("could not be created") };
    until("the warning", SOON, warned).await;
    assert_eq!(weir.get("/readyz").await.map(|(status, _)| status), Some(200));
    send(&stage, Some(b"k"), Some(b"good"), OwnedHeaders::new(), 0);
    stage.watched().all_committed(&stage.run, &[(0, 1)].into()).await;
    send(&stage, Some(b"k"), Some(b"bad"), OwnedHeaders::new(), 0);
    let held = || async { weir.metric("weir_stage_held", &[("cause", "dlq")]).await > 0.0 };
    until("held by the DLQ", 2 * SOON, held).await;
    let committed = stage.watched().committed(&stage.run).await;
    let past = committed.iter().any(|sample| sample.partition == 0 && sample.offset > 1);
    assert!(!past, "not past what is owed");
    send(&stage, Some(b"other"), Some(b"good"), OwnedHeaders::new(), 1);
    stage.watched().all_committed(&stage.run, &[(1, 1)].into()).await;

    let deleted = admin.delete_topics(&[&in_the_way], &AdminOptions::new()).await.unwrap();
    assert!(deleted.iter().all(Result::is_ok), "{deleted:?}");
    // It is tried again each 30 s, and the record that waits for it soon after.
    stage.watched().all_committed_within(&stage.run, &[(0, 2)].into(), Duration::from_secs(90)).await;
    assert_eq!(stage.kafka.read(&stage.run, &dlq).len(), 1);
    assert_eq!(stage.receiver.arrivals().len(), 3, "no further request for it");
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}
