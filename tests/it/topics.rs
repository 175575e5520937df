//! Topics that go and come back, and offsets that are not in the log (F-10, F-09, B2 to B4).

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{BaseProducer, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::dead_letters::send;
use crate::delivery::{PARTITIONS, Stage};
use crate::support::kafka::Kafka;
use crate::support::receiver::status;
use crate::support::run::until;

/// A stage whose file says more about its source.
async fn stage_with(test: &str, source: &str) -> Stage {
    let mut stage = Stage::set(test, "", |_| status(200)).await;
    let (topic, url) = (stage.topic.clone(), stage.receiver.url());
    let yaml = format!("source: {{ topic: {topic}, {source} }}\nhandler: {url}\ndlq: {topic}.dlq\n");
    stage.site = stage.site.pipeline(&topic, &yaml);
    stage
}

async fn delete(kafka: &Kafka, topic: &str) {
    let admin: AdminClient<DefaultClientContext> = kafka.client().create().unwrap();
    let deleted = admin.delete_topics(&[topic], &AdminOptions::new()).await.unwrap();
    assert!(deleted.iter().all(Result::is_ok), "{deleted:?}");
}

/// Three records are delivered; then the topic is deleted, made again, and has two others.
async fn recreate(stage: &Stage) {
    for number in 0..3_u8 {
        send(stage, Some(b"k"), Some(&[b'a' + number]), OwnedHeaders::new(), 0);
    }
    stage.receiver.wait_for(3, Duration::from_secs(30)).await;
    stage.watched().all_committed(&stage.run, &[(0, 3)].into()).await;
    delete(stage.kafka, &stage.topic).await;
    stage.kafka.create(&stage.topic, PARTITIONS, &[]).await;
    for number in 0..2_u8 {
        send(stage, Some(b"k"), Some(&[b'x' + number]), OwnedHeaders::new(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recreated_topic_holds_the_stage() {
    let stage = Stage::set("recreated-held", "", |_| status(200)).await;
    let weir = stage.site.start("one").await;
    recreate(&stage).await;
    weir.holds("out_of_range").await;
    assert_eq!(stage.receiver.arrivals().len(), 3, "nothing of the new topic before somebody decides");
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recreated_topic_is_read_from_its_beginning_where_the_file_says_so() {
    let stage = stage_with("recreated", "on_out_of_range: earliest").await;
    let weir = stage.site.start("one").await;
    recreate(&stage).await;
    stage.receiver.wait_for(5, Duration::from_secs(60)).await;

    let arrivals = stage.receiver.arrivals();
    let bodies: Vec<&[u8]> = arrivals.iter().map(|arrival| &arrival.body[..]).collect();
    assert_eq!(bodies, [&b"a"[..], b"b", b"c", b"x", b"y"], "each once, the new topic from its beginning");
    assert_ne!(arrivals[0].webhook_id, arrivals[3].webhook_id, "the same offset, another topic");
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

/// Commits an offset for a group that has no member.
fn commit_by_hand(stage: &Stage, partition: i32, offset: i64) {
    let consumer: BaseConsumer = stage.kafka.client().set("group.id", &stage.group).create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&stage.topic, partition, Offset::Offset(offset)).unwrap();
    consumer.commit(&list, CommitMode::Sync).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offset_outside_of_the_log_holds_the_stage_and_says_what_is_there() {
    let stage = Stage::set("out-of-range", "", |_| status(200)).await;
    for number in 0..3_u8 {
        send(&stage, Some(b"k"), Some(&[b'a' + number]), OwnedHeaders::new(), 0);
    }
    commit_by_hand(&stage, 0, 1_000);
    let weir = stage.site.start("one").await;
    weir.holds("out_of_range").await;
    let ready = weir.get("/readyz").await.map(|(status, _)| status);
    assert_eq!(ready, Some(200), "a held stage is no reason to restart");
    assert!(weir.log().contains("which holds 0 to 3"), "the range is named");
    assert_eq!(stage.receiver.arrivals().len(), 0, "nothing is guessed");
    let committed = stage.watched().committed(&stage.run).await;
    let of_it = committed.iter().find(|sample| sample.partition == 0).map(|sample| sample.offset);
    assert_eq!(of_it, Some(1_000), "and nothing is committed over it");
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offset_outside_of_the_log_is_set_back_where_the_file_says_so() {
    let stage = stage_with("set-back", "on_out_of_range: earliest").await;
    for number in 0..3_u8 {
        send(&stage, Some(b"k"), Some(&[b'a' + number]), OwnedHeaders::new(), 0);
    }
    commit_by_hand(&stage, 0, 1_000);
    let weir = stage.site.start("one").await;
    stage.receiver.wait_for(3, Duration::from_secs(30)).await;
    stage.watched().all_committed(&stage.run, &[(0, 3)].into()).await;
    assert_eq!(stage.receiver.arrivals().len(), 3, "each once");
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offset_outside_of_the_log_is_set_to_its_end_where_the_file_says_so() {
    let stage = stage_with("set-forward", "on_out_of_range: latest").await;
    for number in 0..3_u8 {
        send(&stage, Some(b"k"), Some(&[b'a' + number]), OwnedHeaders::new(), 0);
    }
    commit_by_hand(&stage, 0, 1_000);
    let weir = stage.site.start("one").await;
    let committed = || async {
        let samples = stage.watched().committed(&stage.run).await;
        samples.iter().find(|sample| sample.partition == 0).map(|sample| sample.offset)
    };
    // The offset by hand is above all of them: it has to go down.
    until("the end of the log is committed", Duration::from_secs(30), || async {
        committed().await == Some(3)
    })
    .await;
    send(&stage, Some(b"k"), Some(b"d"), OwnedHeaders::new(), 0);
    until("what came later", Duration::from_secs(30), || async { committed().await == Some(4) }).await;
    let bodies: Vec<bytes::Bytes> =
        stage.receiver.arrivals().into_iter().map(|arrival| arrival.body).collect();
    assert_eq!(bodies, [&b"d"[..]], "nothing of what was there before, and no hold");
    assert_eq!(weir.metric("weir_stage_held", &[]).await, 0.0);
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

/// A transaction that is about to commit an offset of the stage's group: until it ends nobody is told what is committed, so no
/// look-up of the partition comes to its end.
fn pending_offset(stage: &Stage) -> BaseProducer {
    let bound = Duration::from_secs(20);
    let producer: BaseProducer = stage.kafka.client().set("transactional.id", &stage.group).create().unwrap();
    producer.init_transactions(bound).unwrap();
    producer.begin_transaction().unwrap();
    let consumer: BaseConsumer = stage.kafka.client().set("group.id", &stage.group).create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&stage.topic, 0, Offset::Offset(0)).unwrap();
    producer.send_offsets_to_transaction(&list, &consumer.group_metadata().unwrap(), bound).unwrap();
    producer
}

/// One of a stage's two topics is deleted after its partitions were assigned and before they are looked up. `noticed`: whether the
/// group takes them back before it is made again, or never notices.
async fn goes_before_it_is_looked_up(test: &str, noticed: bool) {
    let refresh = if noticed { "1000" } else { "3600000" };
    let mut stage = Stage::set(test, "", |_| status(200)).await;
    let (topic, goes) = (stage.topic.clone(), format!("{}.goes", stage.topic));
    stage.kafka.create(&goes, 2, &[]).await;
    let yaml = format!(
        "source: {{ topics: [{topic}, {goes}] }}\nhandler: {}\ndlq: {topic}.dlq\n",
        stage.receiver.url()
    );
    stage.site = stage.site.pipeline(&topic, &yaml).property("topic.metadata.refresh.interval.ms", refresh);
    let pending = pending_offset(&stage);
    let weir = stage.site.start("one").await;
    let assigned = format!("{goes}/1");
    let is_assigned = || async { weir.log().contains(&assigned) };
    until("the partitions are assigned", Duration::from_secs(30), is_assigned).await;
    delete(stage.kafka, &goes).await;
    let starts = || weir.log().matches(r#""message":"starting""#).count();
    assert_eq!(starts(), 0, "it has not been looked up yet");
    pending.abort_transaction(Duration::from_secs(20)).unwrap();

    send(&stage, Some(b"k"), Some(b"kept"), OwnedHeaders::new(), 0);
    stage.receiver.wait_for(1, Duration::from_secs(60)).await;
    weir.holds("topic_missing").await;
    let ready = weir.get("/readyz").await.map(|(status, _)| status);
    assert_eq!(ready, Some(200), "a held stage is no reason to restart");
    let revoked = || async { !noticed || weir.log().contains(r#""message":"revoked""#) };
    until("the group takes them back", Duration::from_secs(30), revoked).await;
    stage.kafka.create(&goes, 2, &[]).await;
    stage.kafka.write(&goes, &[("k", "back")]);
    stage.receiver.wait_for(2, Duration::from_secs(90)).await;
    let bodies: Vec<bytes::Bytes> =
        stage.receiver.arrivals().into_iter().map(|arrival| arrival.body).collect();
    assert_eq!(bodies, [&b"kept"[..], b"back"]);
    let healed = || async { weir.metric("weir_stage_held", &[]).await == 0.0 };
    until("nothing holds the stage", Duration::from_secs(30), healed).await;
    let log = weir.log();
    assert!(
        !log.contains(r#""level":"ERROR""#) && log.contains(r#""message":"revoked""#) == noticed,
        "{log}"
    );
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_goes_before_it_is_looked_up_is_missing_and_the_others_go_on() {
    goes_before_it_is_looked_up("goes", false).await;
}

/// As above, where the group takes the partitions back meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_goes_before_it_is_looked_up_may_be_taken_back() {
    goes_before_it_is_looked_up("goes-back", true).await;
}
