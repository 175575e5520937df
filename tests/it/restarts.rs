//! What survives: a broker that is killed and started again, a retry count over a kill of Weir (F-01, F-38).

use std::time::Duration;

use crate::delivery::{PARTITIONS, QUICK_RETRY, Stage, ends, unsteady};
use crate::support::check;
use crate::support::commits::Commits;
use crate::support::kafka::{Kafka, state};
use crate::support::ledger::{Fault, Ledgers};
use crate::support::load::Load;
use crate::support::metadata;
use crate::support::receiver::{Receiver, status};
use crate::support::run::{Run, pause, until};
use crate::support::weir::{Site, Watched};

const IN_FLIGHT: usize = 64;

pub(crate) fn pipeline() -> String {
    format!("max_in_flight: {IN_FLIGHT}\n{QUICK_RETRY}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_broker_loses_nothing() {
    let run = Run::new("broker-kill");
    let kafka = Kafka::own(&run.name, None);
    let (topic, group) = (run.name.clone(), format!("weir.{}", run.name));
    kafka.create(&topic, PARTITIONS, &[]).await;
    kafka.create(&format!("{topic}.dlq"), PARTITIONS, &[]).await;
    let receiver = Receiver::start(&run, unsteady(run.seed)).await;
    let yaml = format!("source: {topic}\nhandler: {}\ndlq: {topic}.dlq\n{}", receiver.url(), pipeline());
    let site = Site::new(&run, &kafka).pipeline(&topic, &yaml).session(Duration::from_secs(30));
    let watched = Watched { kafka: &kafka, group: &group, topic: &topic, partitions: PARTITIONS };
    let commits = Commits::watch(&kafka, &run, &group, &topic, PARTITIONS);
    let weir = site.start("one").await;
    let load = Load { events: 20_000, keys: 500, size: 512, rate: Some(800) };
    let fault = async {
        receiver.wait_for_accepted(5_000, Duration::from_secs(60)).await;
        let committed = state(&watched.committed(&run).await);
        let pid = kafka.kill();
        let evidence = format!("broker {pid} is gone");
        let down = Fault { at: run.now(), what: "broker kill -9", evidence, committed };
        pause(Duration::from_secs(3)).await;
        kafka.start();
        let committed = state(&watched.committed(&run).await);
        let up = Fault { at: run.now(), what: "broker started", evidence: "it answers".into(), committed };
        vec![down, up]
    };
    let ((intents, acked), faults) = tokio::join!(load.produce(&run, &kafka, &topic), fault);
    receiver.wait_for_accepted(acked.len(), Duration::from_secs(120)).await;
    watched.all_committed(&run, &ends(&acked)).await;
    let commits = tokio::task::spawn_blocking(|| commits.stop()).await.unwrap();
    let dead = kafka.read(&run, &format!("{topic}.dlq"));
    let ledgers = Ledgers { intents, acked, arrivals: receiver.arrivals(), dead, commits, faults };
    check::all(&ledgers);
    let late = check::progress(&ledgers, ledgers.faults[1].at, Duration::from_secs(30));
    assert!(late.is_empty(), "{late:?}");
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_count_survives_a_kill() {
    let retry = "retry: { backoff: [0s, 200ms, 200ms, 15s, 1s] }\n";
    let stage = Stage::set("retry-count", retry, |_| status(500)).await;
    let load = Load { events: 1, keys: 1, size: 200, rate: None };
    let (_, acked) = load.produce(&stage.run, stage.kafka, &stage.topic).await;
    let position = acked[0];
    let weir = stage.site.start("one").await;
    stage.receiver.wait_for(3, Duration::from_secs(30)).await;
    let known = || async {
        let committed = stage.watched().committed(&stage.run).await;
        let mine = committed.iter().find(|sample| sample.partition == position.partition);
        let state = mine.and_then(|sample| metadata::read(&sample.metadata, sample.offset));
        state.is_some_and(|state| state.attempts.get(&position.offset) == Some(&3))
    };
    until("a commit that knows of three attempts", Duration::from_secs(10), known).await;
    let fault = weir.kill(&stage.run, &stage.watched()).await;
    assert!(!fault.evidence.is_empty());
    let weir = stage.site.start("one").await;
    stage.receiver.wait_for(4, Duration::from_secs(60)).await;
    let arrivals = stage.receiver.arrivals();
    let attempts: Vec<u32> = arrivals.iter().map(|arrival| arrival.attempt).collect();
    assert_eq!(attempts, [1, 2, 3, 4]);
    assert!(arrivals.iter().all(|arrival| arrival.webhook_id == arrivals[0].webhook_id));
    let waited = arrivals[3].start - arrivals[2].start;
    assert!(waited >= Duration::from_secs(14), "due times are kept to the second: {waited:?}");
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}
