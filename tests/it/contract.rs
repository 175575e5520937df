//! What the contract asks for by name and no other file shows: one key's throttling, one record's refusal, tombstones,
//! transactions, and holds and retries over rebalances (H11, H17, H25, H37, L04, L12, L17).

use std::collections::HashMap;
use std::time::Duration;

use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::dead_letters::send;
use crate::delivery::{PARTITIONS, Stage};
use crate::support::check;
use crate::support::ledger::Ledgers;
use crate::support::load::Load;
use crate::support::receiver::{Reply, Seen, status};
use crate::support::run::{pause, until};

/// H17.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_throttled_key_delays_no_other() {
    let throttled = |seen: Seen<'_>| match seen.arrival.key {
        0 => Reply { headers: vec![("retry-after", "60".to_owned())], ..status(429) },
        _ => status(200),
    };
    let stage = Stage::set("throttled", "", throttled).await;
    let weir = stage.site.start("one").await;
    let load = Load { events: 2_000, keys: 50, size: 200, rate: Some(400) };
    let produced = load.produce(&stage.run, stage.kafka, &stage.topic).await;
    let others = produced.0.iter().filter(|intent| intent.key != 0).count();
    stage.receiver.wait_for_accepted(others, Duration::from_secs(20)).await;
    let arrivals = stage.receiver.arrivals();
    let of_it = arrivals.iter().filter(|arrival| arrival.key == 0).count();
    assert_eq!(of_it, 1, "it is asked for once a minute");
    assert_eq!(weir.metric("weir_stage_held", &[]).await, 0.0);
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

/// H11: a record that is refused while others are accepted is at fault itself; the hold that it raises ends by a probe.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_records_403_among_accepted_ones_is_rejected() {
    let refused = |seen: Seen<'_>| status(if seen.arrival.uid == Some(0) { 403 } else { 200 });
    let stage = Stage::set("refused", "", refused).await;
    let weir = stage.site.start("one").await;
    let commits = stage.commits();
    let load = Load { events: 200, keys: 20, size: 200, rate: None };
    let produced = load.produce(&stage.run, stage.kafka, &stage.topic).await;
    weir.holds("auth").await;
    // The first probe comes after 30 s, and what raises the hold again is judged then.
    stage.receiver.wait_for_accepted(load.events - 1, Duration::from_secs(90)).await;
    let ledgers = stage.ledgers(produced, commits).await;
    check::all(&ledgers);
    let [dead] = ledgers.dead.as_slice() else { panic!("{} dead letters", ledgers.dead.len()) };
    assert_eq!((dead.uid, dead.header("weir-reason")), (Some(0), Some("rejected")));
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

/// H25: an empty value, and null under each policy; their neighbours arrive.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_null_value_ends_as_its_policy_says() {
    for (policy, delivered, dead) in [("skip", 3, 0), ("deliver", 4, 0), ("dlq", 3, 1)] {
        let test = format!("tombstone-{policy}");
        let mut stage = Stage::set(&test, "", |_| status(200)).await;
        let yaml = format!(
            "source: {{ topic: {0}, on_tombstone: {policy} }}\ndlq: {0}.dlq\nhandler:\n  webhook:\n    \
             url: \"{1}/{{{{ %key }}}}\"\n    method: DELETE\n",
            stage.topic,
            stage.receiver.url()
        );
        stage.site = stage.site.pipeline(&stage.topic, &yaml);
        let weir = stage.site.start("one").await;
        for (key, value) in [("a", Some(&b"1"[..])), ("gone", None), ("empty", Some(b"")), ("b", Some(b"2"))]
        {
            send(&stage, Some(key.as_bytes()), value, OwnedHeaders::new(), 0);
        }
        stage.watched().all_committed(&stage.run, &[(0, 4)].into()).await;
        let arrivals = stage.receiver.arrivals();
        assert_eq!(arrivals.len(), delivered, "{policy}");
        let gone = arrivals.iter().find(|arrival| arrival.target == "/hook/gone");
        assert_eq!(gone.is_some(), policy == "deliver");
        if let Some(gone) = gone {
            assert_eq!((gone.method.as_str(), gone.header("weir-tombstone")), ("DELETE", Some("true")));
            assert!(gone.body.is_empty());
        }
        let empty = arrivals.iter().find(|arrival| arrival.target == "/hook/empty").unwrap();
        assert_eq!(empty.header("weir-tombstone"), None, "an empty value is none");
        let letters = stage.kafka.read(&stage.run, &format!("{}.dlq", stage.topic));
        assert_eq!(letters.len(), dead, "{policy}");
        assert!(
            letters.iter().all(|letter| letter.value.is_none() && letter.key.as_deref() == Some(b"gone"))
        );
        assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
    }
}

/// L17: what is committed reaches the end of the log, over the markers and what was aborted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transactional_topic_is_committed_to_its_end() {
    let stage = Stage::set("transactions", "", |_| status(200)).await;
    let weir = stage.site.start("one").await;
    let id = format!("tx-{}", stage.topic);
    let producer: BaseProducer = stage.kafka.client().set("transactional.id", &id).create().unwrap();
    let bound = Duration::from_secs(20);
    producer.init_transactions(bound).unwrap();
    for number in 0..4 {
        producer.begin_transaction().unwrap();
        let value = format!("{number}");
        let record = BaseRecord::to(&stage.topic).partition(0).key("k").payload(&value);
        assert!(producer.send(record).is_ok());
        producer.flush(bound).unwrap();
        if number == 2 {
            producer.abort_transaction(bound).unwrap()
        } else {
            producer.commit_transaction(bound).unwrap()
        }
    }
    // Four records, each with its marker behind it.
    stage.watched().all_committed(&stage.run, &[(0, 8)].into()).await;
    let arrivals = stage.receiver.arrivals();
    let bodies: Vec<&[u8]> = arrivals.iter().map(|arrival| &arrival.body[..]).collect();
    assert_eq!(bodies, [b"0", b"1", b"3"], "what was aborted is not read");
    let no_lag = || async { weir.metric("weir_consumer_lag_events", &[]).await == 0.0 };
    until("no lag is shown", Duration::from_secs(30), no_lag).await;
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

/// L04, L08: a record's attempts are counted over rebalances that come faster than its retries.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rebalances_between_attempts_forget_none() {
    let retry = "retry: { max_attempts: 3, backoff: fixed, initial_delay: 4s }\n";
    // One of many: the others are accepted, so that it is at fault and no receiver.
    let sick = |seen: Seen<'_>| status(if seen.arrival.uid == Some(7) { 500 } else { 200 });
    let stage = Stage::set("moving", retry, sick).await;
    let commits = stage.commits();
    let load = Load { events: 3_000, keys: 30, size: 200, rate: Some(150) };
    let moves = async {
        let one = stage.site.start("one").await;
        stage.receiver.wait_for(50, Duration::from_secs(30)).await;
        for _ in 0..3 {
            let two = stage.site.start("two").await;
            let works = || async { two.metric("weir_events_received_total", &[]).await > 0.0 };
            until("the second instance takes its share", Duration::from_secs(30), works).await;
            assert_eq!(two.stop(Duration::from_secs(15)).await, 0);
        }
        one
    };
    let (produced, one) = tokio::join!(load.produce(&stage.run, stage.kafka, &stage.topic), moves);
    stage.receiver.wait_for_accepted(load.events - 1, Duration::from_secs(60)).await;
    let ledgers = stage.ledgers(produced, commits).await;
    check::all(&ledgers);
    let tried: Vec<u32> = ledgers
        .arrivals
        .iter()
        .filter(|arrival| arrival.uid == Some(7))
        .map(|arrival| arrival.attempt)
        .collect();
    assert_eq!(tried, [1, 2, 3]);
    let [dead] = ledgers.dead.as_slice() else { panic!("{} dead letters", ledgers.dead.len()) };
    assert_eq!((dead.uid, dead.header("weir-reason")), (Some(7), Some("exhausted")));
    assert_eq!(one.stop(Duration::from_secs(15)).await, 0);
}

/// H37: partitions that come to a held stage are paused at once; nothing goes out but probes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stage_that_is_held_while_partitions_come_sends_nothing_but_probes() {
    let mut stage = Stage::set("held-moves", "", |_| status(503)).await;
    stage.site = stage.site.session(Duration::from_secs(2));
    let commits = stage.commits();
    let (one, two) = (stage.site.start("one").await, stage.site.start("two").await);
    let shared = || async {
        let of = async |weir: &crate::support::weir::Weir| {
            weir.metric("weir_consumer_assigned_partitions", &[]).await
        };
        of(&one).await == 3.0 && of(&two).await == 3.0
    };
    until("each has its half", Duration::from_secs(30), shared).await;
    let load = Load { events: 2_000, keys: 100, size: 500, rate: None };
    let produced = load.produce(&stage.run, stage.kafka, &stage.topic).await;
    one.holds("breaker").await;
    two.holds("breaker").await;
    let fault = one.kill(&stage.run, &stage.watched()).await;
    let all =
        || async { two.metric("weir_consumer_assigned_partitions", &[]).await == f64::from(PARTITIONS) };
    until("the other has all", Duration::from_secs(30), all).await;
    let before = stage.receiver.arrivals().len();
    pause(Duration::from_secs(12)).await;
    let probes = stage.receiver.arrivals().len() - before;
    // After 1, 2, 4, 8 .. s, and at most 64 at once to keys that have not failed yet.
    assert!(probes <= 64 + 5, "{probes} requests in 12 s");
    stage.receiver.script(|_| status(200));
    stage.receiver.wait_for_accepted(load.events, Duration::from_secs(90)).await;
    let ledgers = Ledgers { faults: vec![fault], ..stage.ledgers(produced, commits).await };
    check::all(&ledgers);
    assert_eq!(ledgers.dead.len(), 0);
    assert_eq!(two.stop(Duration::from_secs(15)).await, 0);
}

/// L12: a receiver that answers 429 for a minute costs no memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minute_of_429_costs_no_memory() {
    let stage = Stage::set("throttles", "", |_| status(429)).await;
    let weir = stage.site.start("one").await;
    let load = Load { events: 60_000, keys: 500, size: 1_000, rate: Some(1_000) };
    let watch = async {
        let mut memory = Vec::new();
        for _ in 0..12 {
            pause(Duration::from_secs(5)).await;
            memory.push(crate::outage::resident(&weir));
        }
        memory
    };
    let ((_, _), memory) = tokio::join!(load.produce(&stage.run, stage.kafka, &stage.topic), watch);
    let late = &memory[6..];
    let grown = late.iter().max().unwrap() - late.iter().min().unwrap();
    assert!(grown < 24 << 20, "{memory:?}");
    let committed: HashMap<i32, i64> = stage
        .watched()
        .committed(&stage.run)
        .await
        .into_iter()
        .map(|sample| (sample.partition, sample.offset))
        .collect();
    assert!(committed.values().all(|offset| *offset == 0), "nothing is done: {committed:?}");
    assert_eq!(stage.kafka.read(&stage.run, &format!("{}.dlq", stage.topic)).len(), 0);
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}
