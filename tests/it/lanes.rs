//! A stage without a handler: a key's records are handed to the producer back to back, and keep their order where the
//! output does not take them (K12, D11, F-77).

use std::collections::HashMap;
use std::time::Duration;

use crate::delivery::{PARTITIONS, Stage, ends};
use crate::support::ledger::Dead;
use crate::support::load::{Load, read};
use crate::support::receiver::status;
use crate::support::weir::Weir;

/// A source, and an output with these settings; nothing in between.
async fn copying(test: &str, settings: &[(&str, &str)]) -> (Stage, String) {
    let mut stage = Stage::set(test, "", |_| status(500)).await;
    let (topic, out) = (stage.topic.clone(), format!("{}.out", stage.topic));
    stage.kafka.create(&out, PARTITIONS, settings).await;
    let yaml = format!("source: {topic}\ndlq: {topic}.dlq\npublish: {{ topic: {out} }}\n");
    stage.site = stage.site.pipeline(&topic, &yaml);
    (stage, out)
}

/// For each key, which of its records are there, in the order of the topic.
fn by_key(records: &[Dead]) -> HashMap<u32, Vec<u32>> {
    let mut keys: HashMap<u32, Vec<u32>> = HashMap::new();
    for record in records.iter().filter_map(|record| read(record.value.as_deref()?)) {
        keys.entry(record.key).or_default().push(record.seq);
    }
    keys
}

/// The same without repeats: where a record was written last is where it counts.
fn as_written_last(written: &HashMap<u32, Vec<u32>>) -> HashMap<u32, Vec<u32>> {
    let last = |seqs: &Vec<u32>| {
        let is_last = |at: usize, seq: &u32| !seqs[at + 1..].contains(seq);
        let kept = seqs.iter().enumerate().filter(|(at, seq)| is_last(*at, seq));
        kept.map(|(_, seq)| *seq).collect()
    };
    written.iter().map(|(key, seqs)| (*key, last(seqs))).collect()
}

fn count(keys: &HashMap<u32, Vec<u32>>) -> usize {
    keys.values().map(Vec::len).sum()
}

async fn repeated(weir: &Weir) -> f64 {
    weir.metric("weir_anomalies_total", &[("kind", "produce_repeated")]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_is_copied_once_and_in_order() {
    let (stage, out) = copying("copied", &[]).await;
    let load = Load { events: 20_000, keys: 3, size: 200, rate: None };
    let (_, acked) = load.produce(&stage.run, stage.kafka, &stage.topic).await;
    let weir = stage.site.start("one").await;
    stage.watched().all_committed(&stage.run, &ends(&acked)).await;
    let copied = by_key(&stage.kafka.read(&stage.run, &out));
    assert_eq!(count(&copied), load.events);
    for (key, seqs) in copied {
        assert!(seqs.iter().copied().eq(0..seqs.len() as u32), "key {key}: {seqs:?}");
    }
    assert!(repeated(&weir).await == 0.0);
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_output_that_refuses_in_the_middle_of_a_lane_gets_it_again_in_order() {
    let (stage, out) = copying("refused", &[]).await;
    let weir = stage.site.start("one").await;
    let load = Load { events: 3_000, keys: 5, size: 200, rate: Some(500) };
    let (run, kafka) = (&stage.run, stage.kafka);
    let refuse = async {
        crate::support::run::pause(Duration::from_secs(2)).await;
        // A record keeps its time, and is older than a millisecond when it gets there.
        kafka.configure(&out, &[("message.timestamp.before.max.ms", "1")]).await;
        weir.holds("kafka").await;
        kafka.configure(&out, &[("message.timestamp.before.max.ms", "3600000")]).await;
    };
    let ((_, acked), ()) = tokio::join!(load.produce(run, kafka, &stage.topic), refuse);
    stage.watched().all_committed(run, &ends(&acked)).await;
    let written = by_key(&kafka.read(run, &out));
    assert_eq!(as_written_last(&written), by_key(&kafka.read(run, &stage.topic)));
    assert!(repeated(&weir).await > 0.0, "some lane was in the middle");
    assert!(kafka.read(run, &format!("{}.dlq", stage.topic)).is_empty());
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_is_too_large_takes_no_neighbour_with_it() {
    let (mut stage, out) = copying("too-large", &[("max.message.bytes", "1500")]).await;
    stage.site = stage.site.property("compression.type", "none");
    let load = Load { events: 300, keys: 2, size: 300, rate: None };
    let (_, mut acked) = load.produce(&stage.run, stage.kafka, &stage.topic).await;
    let large = Load { events: 1, size: 3_000, ..load };
    acked.extend(large.produce(&stage.run, stage.kafka, &stage.topic).await.1);
    let weir = stage.site.start("one").await;
    let mut ends = HashMap::new();
    for acked in &acked {
        let end: &mut i64 = ends.entry(acked.partition).or_default();
        *end = (*end).max(acked.offset + 1);
    }
    stage.watched().all_committed(&stage.run, &ends).await;
    let written = by_key(&stage.kafka.read(&stage.run, &out));
    let copied = as_written_last(&written);
    assert_eq!(count(&copied), load.events);
    for (key, seqs) in copied {
        assert!(seqs.iter().copied().eq(0..seqs.len() as u32), "key {key}: {seqs:?}");
    }
    let dead = stage.kafka.read(&stage.run, &format!("{}.dlq", stage.topic));
    let codes: Vec<_> = dead.iter().map(|dead| dead.header("weir-code")).collect();
    assert_eq!(codes, [Some("too_large")]);
    let repeated = repeated(&weir).await;
    assert!(repeated > 0.0, "whole batches were refused");
    assert!((count(&written) - load.events) as f64 <= repeated, "what is written twice is counted");
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}
