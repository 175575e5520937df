//! Dead letters: byte for byte, acknowledged before the offset passes, and never dropped (D1 to D3, F-76).

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::delivery::{PARTITIONS, Stage};
use crate::support::receiver::{Receiver, status};
use crate::support::run::{Run, until};
use crate::support::weir::{Site, Watched};

/// A record that is not the load's.
pub(crate) fn send(
    stage: &Stage,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: OwnedHeaders,
    partition: i32,
) {
    send_to(stage, &stage.topic, key, value, headers, partition);
}

/// The same to another topic.
pub(crate) fn send_to(
    stage: &Stage,
    topic: &str,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: OwnedHeaders,
    partition: i32,
) {
    let producer: BaseProducer = stage.kafka.client().set("message.max.bytes", "8000000").create().unwrap();
    let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic).partition(partition).headers(headers);
    record.key = key;
    record.payload = value;
    assert!(producer.send(record).is_ok());
    producer.flush(Duration::from_secs(20)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn are_byte_exact() {
    let stage = Stage::set("dlq-exact", "", |_| status(422)).await;
    let weir = stage.site.start("one").await;
    let headers = OwnedHeaders::new()
        .insert(Header { key: "trace", value: Some(&[0_u8, 255, 13, 10]) })
        .insert(Header { key: "trace", value: Some(b"again") })
        .insert(Header { key: "", value: Some(b"no name") });
    let (key, value): (&[u8], &[u8]) = (b"k\xff\x00", b" {\"b\" : 1,\"a\":9007199254740993} \n");
    send(&stage, Some(key), Some(value), headers, 2);
    let dlq = format!("{}.dlq", stage.topic);
    let there = || async { !stage.kafka.read(&stage.run, &dlq).is_empty() };
    until("the dead letter", Duration::from_secs(30), there).await;
    let dead = stage.kafka.read(&stage.run, &dlq).remove(0);
    assert_eq!((dead.key.as_deref(), dead.value.as_deref()), (Some(key), Some(value)));
    let first = dead.headers.iter().position(|(name, _)| name == "weir-dlq").unwrap();
    let original: Vec<(&str, &[u8])> =
        dead.headers[..first].iter().map(|(n, v)| (n.as_str(), v.as_slice())).collect();
    assert_eq!(original, [("trace", &[0_u8, 255, 13, 10][..]), ("trace", b"again"), ("", b"no name")]);
    let expected = [
        ("weir-reason", "rejected"),
        ("weir-code", "status"),
        ("weir-status", "422"),
        ("weir-attempts", "1"),
        ("weir-source-topic", stage.topic.as_str()),
        ("weir-source-partition", "2"),
        ("weir-source-offset", "0"),
        ("weir-pipeline", stage.topic.as_str()),
        ("weir-replay-count", "0"),
    ];
    for (name, value) in expected {
        assert_eq!(dead.header(name), Some(value), "{name}");
    }
    let arrivals = stage.receiver.arrivals();
    assert_eq!(dead.header("weir-webhook-id"), Some(arrivals[0].webhook_id.as_str()));
    assert_eq!(
        (arrivals.len(), &arrivals[0].body[..]),
        (1, value),
        "an untouched value arrives byte for byte"
    );
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dlq_that_is_down_makes_its_record_wait_and_no_other() {
    let reject = |seen: crate::support::receiver::Seen<'_>| {
        status(if seen.arrival.event.ends_with("/0/0") { 422 } else { 200 })
    };
    let stage = Stage::set("dlq-down", "", reject).await;
    let dlq = format!("{}.dlq", stage.topic);
    // Takes nothing that has a header block of ours.
    stage.kafka.configure(&dlq, &[("max.message.bytes", "100")]).await;
    let weir = stage.site.start("one").await;
    send(&stage, Some(b"a"), Some(b"refused by the receiver"), OwnedHeaders::new(), 0);
    weir.holds("dlq").await;
    // Good records of its partition and of another one go on.
    send(&stage, Some(b"b"), Some(b"fine"), OwnedHeaders::new(), 0);
    send(&stage, Some(b"c"), Some(b"fine"), OwnedHeaders::new(), 1);
    stage.receiver.wait_for(3, Duration::from_secs(10)).await;
    stage.watched().all_committed(&stage.run, &[(1, 1)].into()).await;
    let committed = stage.watched().committed(&stage.run).await;
    let of = |partition: i32| {
        committed.iter().find(|sample| sample.partition == partition).map_or(0, |s| s.offset)
    };
    assert_eq!(of(0), 0, "not committed past a dead letter that is not there");
    assert!(stage.kafka.read(&stage.run, &dlq).is_empty());
    stage.kafka.configure(&dlq, &[("max.message.bytes", "1000000")]).await;
    let there = || async { stage.kafka.read(&stage.run, &dlq).len() == 1 };
    until("the dead letter, once the DLQ takes it", Duration::from_secs(60), there).await;
    stage.watched().all_committed(&stage.run, &[(0, 2)].into()).await;
    assert_eq!(stage.receiver.arrivals().len(), 3, "no further request for any of them");
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_continue_lets_later_records_of_the_key_go_on_once_the_dead_letter_is_there() {
    later_records_go_on("dlq-continue", |topic| format!("{{ topic: {topic}, after: continue }}")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dlq_that_is_its_topic_alone_means_after_continue() {
    later_records_go_on("dlq-short", str::to_owned).await;
}

/// The first record of a key is dead-lettered, by a DLQ that takes it late; two of its key and one of another wait behind it (K4).
async fn later_records_go_on(test: &str, dlq_key: impl Fn(&str) -> String) {
    let mut stage = Stage::set(test, "", |_| status(200)).await;
    let dlq = format!("{}.dlq", stage.topic);
    let yaml =
        format!("source: {}\ndlq: {}\nhandler: {}\n", stage.topic, dlq_key(&dlq), stage.receiver.url());
    stage.site = stage.site.pipeline(&stage.topic, &yaml);
    let (reader, read) = (stage.kafka.client().create::<BaseProducer>().unwrap(), dlq.clone());
    // How many dead letters there are, in each partition that one may be in.
    let letters = move || -> i64 {
        let bound = Duration::from_secs(5);
        (0..PARTITIONS).map(|number| reader.client().fetch_watermarks(&read, number, bound).unwrap().1).sum()
    };
    let there = Arc::new(Mutex::new(Vec::new()));
    let seen_by = Arc::clone(&there);
    stage.receiver.script(move |seen| {
        let body = String::from_utf8(seen.arrival.body.to_vec()).unwrap();
        let reply = status(if body == "first" { 422 } else { 200 });
        seen_by.lock().unwrap().push((body, letters()));
        reply
    });
    // Takes nothing that has a header block of ours.
    stage.kafka.configure(&dlq, &[("max.message.bytes", "100")]).await;
    for (key, value) in [("a", "first"), ("a", "second"), ("a", "third"), ("b", "another")] {
        send(&stage, Some(key.as_bytes()), Some(value.as_bytes()), OwnedHeaders::new(), 0);
    }
    let weir = stage.site.start("one").await;
    weir.holds("dlq").await;
    stage.receiver.wait_for(2, Duration::from_secs(10)).await;
    stage.kafka.configure(&dlq, &[("max.message.bytes", "1000000")]).await;
    stage.watched().all_committed_within(&stage.run, &[(0, 4)].into(), Duration::from_secs(90)).await;
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);

    // What was sent before the dead letter was there, and what after it, each in the order of its key.
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for (body, letters) in there.lock().unwrap().drain(..) {
        if letters == 0 { before.push(body) } else { after.push(body) }
    }
    before.sort();
    assert_eq!(
        (before, after),
        (vec!["another".into(), "first".into()], vec!["second".into(), "third".into()])
    );
    let dead = stage.kafka.read(&stage.run, &dlq);
    assert_eq!(dead.iter().map(|dead| dead.value.as_deref()).collect::<Vec<_>>(), [Some(&b"first"[..])]);
    assert_eq!(dead[0].header("weir-reason"), Some("rejected"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_dlq_pauses() {
    let run = Run::new("no-dlq");
    let kafka = crate::support::kafka::shared();
    kafka.create(&run.name, PARTITIONS, &[]).await;
    let receiver = Receiver::start(&run, |_| status(422)).await;
    let yaml = format!("source: {}\nhandler: {}\n", run.name, receiver.url());
    let site = Site::new(&run, kafka).pipeline(&run.name, &yaml);
    let weir = site.start("one").await;
    let load = crate::support::load::Load { events: 1, keys: 1, size: 200, rate: None };
    let (_, acked) = load.produce(&run, kafka, &run.name).await;
    weir.holds("no_dlq").await;
    let group = format!("weir.{}", run.name);
    let watched = Watched { kafka, group: &group, topic: &run.name, partitions: PARTITIONS };
    let committed = watched.committed(&run).await;
    let past = committed
        .iter()
        .any(|sample| sample.partition == acked[0].partition && sample.offset > acked[0].offset);
    assert!(!past, "it is not committed past what is held");
    assert_eq!(
        weir.get("/readyz").await.map(|(status, _)| status),
        Some(200),
        "a held stage is no reason to restart"
    );
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}
