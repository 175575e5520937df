//! An outage raises the lag, not the DLQ, also where a single key is all there is and the process restarts (H36).

use std::time::Duration;

use crate::delivery::Stage;
use crate::support::check;
use crate::support::ledger::{Arrival, Ledgers};
use crate::support::load::Load;
use crate::support::receiver::status;
use crate::support::run::until;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_key_of_failures_costs_one_dead_letter_over_ten_restarts_and_rebalances() {
    let retry = "retry: { max_attempts: 2, backoff: fixed, initial_delay: 100ms }\n";
    let mut stage = Stage::set("breaker", retry, |_| status(500)).await;
    stage.site = stage.site.session(Duration::from_secs(2));
    let dlq = format!("{}.dlq", stage.topic);
    let load = Load { events: 12, keys: 1, size: 200, rate: None };
    let produced = load.produce(&stage.run, stage.kafka, &stage.topic).await;
    let commits = stage.commits();
    let mut faults = Vec::new();
    let mut weir = stage.site.start("one").await;
    let mut requests = 0;
    for restart in 0..=10 {
        weir.holds("breaker").await;
        // A probe more than what opened it, so that failed probes are judged too.
        stage.receiver.wait_for(requests + 2, Duration::from_secs(30)).await;
        let dead = stage.kafka.read(&stage.run, &dlq);
        assert!(dead.len() <= 1, "{} dead letters after {restart} restarts", dead.len());
        if restart == 10 {
            break;
        }
        if restart % 3 == 1 {
            // Another takes its share, is held as well, and leaves.
            let two = stage.site.start("two").await;
            let shares = || async { two.metric("weir_consumer_assigned_partitions", &[]).await > 0.0 };
            until("the other has its share", Duration::from_secs(30), shares).await;
            assert_eq!(two.stop(Duration::from_secs(15)).await, 0);
        }
        if restart % 2 == 0 {
            faults.push(weir.kill(&stage.run, &stage.watched()).await);
        } else {
            assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
        }
        requests = stage.receiver.arrivals().len();
        weir = stage.site.start("one").await;
    }
    stage.receiver.script(|_| status(200));
    let ledgers = Ledgers { faults, ..stage.ledgers(produced, commits).await };
    check::all(&ledgers);
    assert!(ledgers.dead.len() <= 1, "{} dead letters", ledgers.dead.len());
    assert!(ledgers.dead.iter().all(|dead| dead.header("weir-reason") == Some("exhausted")));
    assert_eq!(stage.receiver.accepted() + ledgers.dead.len(), load.events);
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

/// While the breaker is open nothing is sent but requests without a record, and one that passes lets everything through.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_handler_is_asked_without_a_record_where_the_file_says_so() {
    let more = "    probe: head\n    headers: { x-tenant: shop }\nretry: { max_attempts: 20, initial_delay: 100ms, max_delay: 1s }\n";
    let stage = Stage::set("bare", more, |_| status(503)).await;
    let load = Load { events: 300, keys: 30, size: 200, rate: None };
    let produced = load.produce(&stage.run, stage.kafka, &stage.topic).await;
    let commits = stage.commits();
    let weir = stage.site.start("one").await;
    weir.holds("breaker").await;
    let before = stage.receiver.arrivals().len() + stage.receiver.bare().len();
    stage.receiver.wait_for(before + 3, Duration::from_secs(60)).await;
    stage.receiver.script(|_| status(200));
    stage.receiver.wait_for_accepted(load.events, Duration::from_secs(90)).await;

    let (asked, ledgers) = (stage.receiver.bare(), stage.ledgers(produced, commits).await);
    let (first, last) = (asked.first().unwrap(), asked.last().unwrap());
    assert!(asked.len() >= 2, "{} requests without a record", asked.len());
    let between = |arrival: &&Arrival| arrival.start > first.start && arrival.start < last.start;
    assert_eq!(ledgers.arrivals.iter().filter(between).count(), 0, "no record is a probe");
    assert!(asked.iter().all(|asked| asked.body.is_empty() && asked.webhook_id.is_empty()));
    let tenant = ("x-tenant".to_owned(), "shop".to_owned());
    assert!(asked.iter().all(|asked| asked.target == "/hook" && asked.headers.contains(&tenant)));
    assert_eq!((last.status, ledgers.dead.len()), (Some(200), 0));
    check::all(&ledgers);
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}
