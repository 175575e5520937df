//! A broker that keeps little commit metadata: `offset.metadata.max.bytes` of 1,024 (H31, O9).
//!
//! librdkafka copies the error of one partition onto all that were committed with it, so these are committed one by one then.

use std::collections::HashMap;
use std::time::Duration;

use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::support::kafka::Kafka;
use crate::support::ledger::Sample;
use crate::support::load::Load;
use crate::support::receiver::{Receiver, status};
use crate::support::run::{Run, until};
use crate::support::weir::{Site, Watched};

const LIMIT: usize = 1_024;

/// Three hundred records of one partition wait for their retry: more than the broker takes the metadata of. The limit is
/// halved, the commit made again, and what does not fit is cut; so nothing stands still and nothing is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_is_too_long_is_made_again_shorter() {
    let run = Run::new("narrow");
    let kafka = Kafka::with(&run.name, &format!("offset.metadata.max.bytes={LIMIT}"));
    kafka.create(&run.name, 1, &[]).await;
    let receiver = Receiver::start(&run, |_| status(500)).await;
    let yaml = format!(
        "source: {0}\ndlq: {0}.dlq\nhandler: {{ webhook: {{ url: {1}, breaker: none }} }}\n\
         retry: {{ max_attempts: 1000, backoff: fixed, initial_delay: 2s }}\n",
        run.name,
        receiver.url()
    );
    let site = Site::new(&run, &kafka).pipeline(&run.name, &yaml);
    let weir = site.start("one").await;
    let load = Load { events: 300, keys: 300, size: 200, rate: None };
    let (_, acked) = load.produce(&run, &kafka, &run.name).await;
    let refused = || async { weir.metric("weir_consumer_commit_failures_total", &[]).await >= 1.0 };
    until("a commit to be refused", Duration::from_secs(60), refused).await;
    let group = format!("weir.{}", run.name);
    let watched = Watched { kafka: &kafka, group: &group, topic: &run.name, partitions: 1 };
    // Accepted with attempts in it, and shorter than the broker's limit.
    let latest = async || -> Sample { watched.committed(&run).await.pop().unwrap_or_default() };
    let accepted = async || latest().await.metadata.len() > 256;
    until("a commit with the attempts of many", Duration::from_secs(60), accepted).await;
    assert!(latest().await.metadata.len() <= LIMIT);
    let cut = weir.metric("weir_anomalies_total", &[("kind", "metadata_cut")]).await;
    receiver.script(|_| status(200));
    receiver.wait_for_accepted(load.events, Duration::from_secs(60)).await;
    let ends: HashMap<i32, i64> = [(0, acked.len() as i64)].into();
    watched.all_committed(&run, &ends).await;
    let mut accepted: HashMap<usize, usize> = HashMap::new();
    for arrival in receiver.arrivals().iter().filter(|arrival| arrival.accepted()) {
        *accepted.entry(arrival.uid.unwrap()).or_default() += 1;
    }
    assert_eq!((accepted.len(), accepted.values().sum::<usize>()), (load.events, load.events), "each once");
    let failed = weir.metric("weir_consumer_commit_failures_total", &[]).await;
    assert!(failed < 20.0, "the limit is learnt, not met again and again: {failed} refusals, {cut} cuts");
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

/// The partition whose metadata is too long is at fault, and no other: those go on, with the metadata they had.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_partition_whose_commit_is_refused_holds_up_no_other() {
    let run = Run::new("narrow-one");
    let kafka = Kafka::with(&run.name, &format!("offset.metadata.max.bytes={LIMIT}"));
    kafka.create(&run.name, 3, &[]).await;
    let receiver =
        Receiver::start(&run, |seen| status(if seen.arrival.event.contains("/0/") { 500 } else { 200 }))
            .await;
    let yaml = format!(
        "source: {0}\ndlq: {0}.dlq\nhandler: {{ webhook: {{ url: {1}, breaker: none }} }}\n\
         retry: {{ max_attempts: 1000, backoff: fixed, initial_delay: 2s }}\n",
        run.name,
        receiver.url()
    );
    let weir = Site::new(&run, &kafka).pipeline(&run.name, &yaml).start("one").await;
    let producer: BaseProducer = kafka.client().set("linger.ms", "5").create().unwrap();
    let write = |partition: i32, count: usize| {
        for number in 0..count {
            let key = format!("{partition}-{number}");
            let record = BaseRecord::to(&run.name).partition(partition).key(&key).payload("{}");
            assert!(producer.send(record).is_ok());
        }
        producer.flush(Duration::from_secs(20)).unwrap();
    };
    let group = format!("weir.{}", run.name);
    let watched = Watched { kafka: &kafka, group: &group, topic: &run.name, partitions: 3 };
    write(0, 300);
    // The others have something to commit at each moment in which the first one is refused.
    let mut written = 0;
    let refused = async || weir.metric("weir_consumer_commit_failures_total", &[]).await;
    while refused().await < 2.0 {
        write(1, 5);
        write(2, 5);
        written += 5;
        crate::support::run::pause(Duration::from_millis(100)).await;
        assert!(written < 5_000, "no commit was refused");
    }
    watched.all_committed(&run, &[(1, written), (2, written)].into()).await;
    let of_first = async || {
        let first = watched.committed(&run).await.into_iter().find(|sample| sample.partition == 0);
        first.unwrap_or_default().metadata.len()
    };
    let accepted = async || of_first().await > 256;
    until("a commit of the first with the attempts of many", Duration::from_secs(60), accepted).await;
    receiver.script(|_| status(200));
    watched.all_committed(&run, &[(0, 300), (1, written), (2, written)].into()).await;
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}
