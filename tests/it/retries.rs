//! Waiting for a receiver: one key's trouble is its own.

use std::time::Duration;

use rdkafka::message::OwnedHeaders;

use crate::dead_letters::send;
use crate::delivery::Stage;
use crate::support::check;
use crate::support::ledger::Arrival;
use crate::support::load::Load;
use crate::support::receiver::{Seen, status};

const SICK: u32 = 0;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sick_key_holds_up_no_other() {
    let retry = "retry: { max_attempts: 200, initial_delay: 100ms, max_delay: 1s }\n";
    let sick = |key: u32| status(if key == SICK { 503 } else { 200 }).after(Duration::from_millis(5));
    let stage = Stage::set("sick-key", retry, move |seen| sick(seen.arrival.key)).await;
    let weir = stage.site.start("one").await;
    let commits = stage.commits();
    // A minute of it.
    let load = Load { events: 12_000, keys: 100, size: 300, rate: Some(200) };
    let produced = load.produce(&stage.run, stage.kafka, &stage.topic).await;
    let others = produced.0.iter().filter(|intent| intent.key != SICK).count();
    stage.receiver.wait_for_accepted(others, Duration::from_secs(5)).await;
    let healed = stage.run.now();
    stage.receiver.script(|_| status(200));
    stage.receiver.wait_for_accepted(load.events, Duration::from_secs(60)).await;
    let ledgers = stage.ledgers(produced, commits).await;
    check::all(&ledgers);
    let refused = ledgers.arrivals.iter().filter(|arrival| arrival.status == Some(503)).count();
    assert!(refused > 20, "the key was tried {refused} times");
    let mut well: Vec<Duration> = ledgers
        .arrivals
        .iter()
        .filter(|arrival| arrival.key != SICK && arrival.start < healed)
        .map(|a| a.start)
        .collect();
    well.sort();
    assert!(healed - well[0] > Duration::from_secs(55), "it lasted {:?}", healed - well[0]);
    let gap = well.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    assert!(gap < Duration::from_secs(2), "the others waited for {gap:?}");
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_request_per_attempt() {
    let retry = "retry: { max_attempts: 3, backoff: fixed, initial_delay: 100ms }\n";
    // One alone, others accepted meanwhile: two that end in a row would look like a sick receiver, and open the breaker.
    let sick = |arrival: &Arrival| arrival.seq == 0 && arrival.key == 0;
    let script = move |seen: Seen<'_>| status(if sick(seen.arrival) { 500 } else { 200 });
    let stage = Stage::set("attempts", retry, script).await;
    let weir = stage.site.start("one").await;
    let commits = stage.commits();
    let load = Load { events: 400, keys: 10, size: 200, rate: Some(200) };
    let produced = load.produce(&stage.run, stage.kafka, &stage.topic).await;
    let ledgers = stage.ledgers(produced, commits).await;
    check::all(&ledgers);
    for dead in &ledgers.dead {
        let uid = dead.uid.unwrap();
        let mut attempts: Vec<u32> = ledgers
            .arrivals
            .iter()
            .filter(|arrival| arrival.uid == Some(uid))
            .map(|arrival| arrival.attempt)
            .collect();
        attempts.sort_unstable();
        assert_eq!(attempts, [1, 2, 3]);
        assert_eq!(dead.header("weir-reason"), Some("exhausted"));
        assert_eq!(dead.header("weir-attempts"), Some("3"));
    }
    assert_eq!(ledgers.dead.len(), 1);
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_begins_with_a_wait_delays_the_first_attempt() {
    let more = "retry: { backoff: [2s, 100ms], jitter: false }\ntransforms:\n  - filter: .n != 0\n";
    let fails_once = |seen: Seen<'_>| status(if seen.before == 0 { 500 } else { 200 });
    let stage = Stage::set("first-wait", more, fails_once).await;
    let weir = stage.site.start("one").await;
    let sent = stage.run.now();
    for value in [&br#"{"n":0}"#[..], br#"{"n":1}"#] {
        send(&stage, Some(b"k"), Some(value), OwnedHeaders::new(), 0);
    }
    stage.receiver.wait_for(2, Duration::from_secs(30)).await;
    stage.watched().all_committed(&stage.run, &[(0, 2)].into()).await;
    let arrivals = stage.receiver.arrivals();
    let attempts: Vec<u32> = arrivals.iter().map(|arrival| arrival.attempt).collect();
    assert_eq!(attempts, [1, 2], "a wait is no attempt, and what is filtered makes none");
    let waited = arrivals[0].start - sent;
    assert!(waited >= Duration::from_secs(2), "{waited:?}");
    let between = arrivals[1].start - arrivals[0].start;
    assert!(between < Duration::from_secs(2), "only the first is waited for: {between:?}");
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}
