//! The rig against itself, on a real Kafka and without Weir: a small consumer that does its work passes, and one that
//! commits the highest offset it has seen is caught.

use std::collections::HashMap;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::check;
use crate::support::commits::Commits;
use crate::support::kafka::{Kafka, next_record, shared};
use crate::support::ledger::Ledgers;
use crate::support::load::Load;
use crate::support::proxy::{Mode, Proxy};
use crate::support::receiver::{Receiver, status};
use crate::support::run::Run;

const PARTITIONS: i32 = 3;
const LOAD: Load = Load { events: 600, keys: 20, size: 200, rate: None };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_honest_consumer_passes() {
    let ledgers = run(false).await;
    check::all(&ledgers);
    assert!(!ledgers.commits.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_commits_the_highest_seen_is_caught() {
    let ledgers = run(true).await;
    assert!(
        check::no_loss(&ledgers, &std::collections::HashSet::new()).is_empty(),
        "this one loses nothing, yet"
    );
    assert!(!check::committed_too_far(&ledgers).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_broker_comes_back_with_its_log() {
    let run = Run::new("rig-broker");
    let kafka = Kafka::own(&run.name, None);
    kafka.create(&run.name, PARTITIONS, &[]).await;
    let (_, acked) = LOAD.produce(&run, &kafka, &run.name).await;
    let pid = kafka.kill();
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    kafka.start();
    let records = kafka.read(&run, &run.name);
    assert_eq!((records.len(), acked.len()), (LOAD.events, LOAD.events));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_link_to_a_broker_bites_and_heals() {
    let run = Run::new("rig-link");
    let (port, target) = tokio::sync::watch::channel(0);
    let proxy = Proxy::start(target).await;
    let kafka = Kafka::own(&run.name, Some(proxy.port()));
    port.send_replace(kafka.faulty_port());
    kafka.create(&run.name, PARTITIONS, &[]).await;
    LOAD.produce(&run, &kafka, &run.name).await;
    let behind = Kafka::behind(proxy.port());
    assert_eq!(behind.read(&run, &run.name).len(), LOAD.events);
    let before = proxy.cut();
    proxy.set(Mode::Down);
    assert!(behind.committed(&run, "nobody", &run.name, PARTITIONS).is_err(), "nothing passes");
    assert!(proxy.cut() > before);
    assert!(
        kafka.committed(&run, "nobody", &run.name, PARTITIONS).is_ok(),
        "the other listener does not care"
    );
    proxy.set(Mode::Up);
    assert_eq!(behind.read(&run, &run.name).len(), LOAD.events);
}

async fn run(broken: bool) -> Ledgers {
    let run = Run::new(if broken { "rig-broken" } else { "rig-honest" });
    let kafka = shared();
    let topic = run.name.clone();
    kafka.create(&topic, PARTITIONS, &[]).await;
    let script = |seen: crate::support::receiver::Seen<'_>| {
        let reply = status(if seen.before == 0 && seen.arrival.seq % 10 == 3 { 503 } else { 200 });
        reply.after(Duration::from_millis(2))
    };
    let receiver = Receiver::start(&run, script).await;
    let commits = Commits::watch(kafka, &run, &topic, &topic, PARTITIONS);
    let (intents, acked) = LOAD.produce(&run, kafka, &topic).await;
    let consumer: BaseConsumer = kafka
        .client()
        .set("group.id", &topic)
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("session.timeout.ms", "6000")
        .create()
        .unwrap();
    consumer.subscribe(&[&topic]).unwrap();
    let mut next: HashMap<i32, i64> = HashMap::new();
    for n in 0..LOAD.events {
        let message = next_record(&consumer);
        let (partition, offset) = (message.partition(), message.offset() + 1);
        // The broken one commits what it has seen, before its work is done.
        if broken && n % 20 == 0 {
            commit(&consumer, &topic, &HashMap::from([(partition, offset)]));
            crate::support::run::pause(Duration::from_millis(120)).await;
        }
        let body = message.payload().unwrap().to_vec();
        let id = format!("{partition}/{offset}");
        while post(&receiver, &id, &body).await != 200 {}
        next.insert(partition, offset);
        if !broken && n % 50 == 0 {
            commit(&consumer, &topic, &next);
        }
    }
    commit(&consumer, &topic, &next);
    let commits = tokio::task::spawn_blocking(|| commits.stop()).await.unwrap();
    Ledgers { intents, acked, arrivals: receiver.arrivals(), commits, ..Ledgers::default() }
}

fn commit(consumer: &BaseConsumer, topic: &str, next: &HashMap<i32, i64>) {
    let mut offsets = TopicPartitionList::new();
    for (partition, offset) in next {
        offsets.add_partition_offset(topic, *partition, Offset::Offset(*offset)).unwrap();
    }
    consumer.commit(&offsets, CommitMode::Sync).unwrap();
}

/// A POST on a connection of its own; the status.
async fn post(receiver: &Receiver, id: &str, body: &[u8]) -> u16 {
    let url = receiver.url();
    let address = url.trim_start_matches("http://").trim_end_matches("/hook");
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /hook HTTP/1.1\r\nhost: x\r\nconnection: close\r\nwebhook-id: {id}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer[9..12].parse().unwrap()
}
