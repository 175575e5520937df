//! Stopping: clean stops repeat nothing, and a stop returns within its grace (F-33, F-34).

use std::time::Duration;

use crate::delivery::{QUICK_RETRY, Stage, unsteady};
use crate::support::check;
use crate::support::load::Load;
use crate::support::receiver::{Reply, status};
use crate::support::run::{Run, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_duplicates() {
    let run = Run::new("clean-stops");
    let stage = Stage::set("clean-stops", QUICK_RETRY, unsteady(run.seed)).await;
    let load = Load { events: 15_000, keys: 500, size: 300, rate: None };
    let produced = load.produce(&stage.run, stage.kafka, &stage.topic).await;
    let commits = stage.commits();
    let mut rng = run.rng(2);
    let mut accepted = 0;
    for _ in 0..10 {
        let weir = stage.site.start("one").await;
        accepted += rng.usize(500..1_300);
        stage.receiver.wait_for_accepted(accepted, Duration::from_secs(60)).await;
        assert_eq!(weir.stop(Duration::from_secs(12)).await, 0);
    }
    assert!(stage.receiver.arrivals().len() < load.events, "all stops came in the middle");
    let weir = stage.site.start("one").await;
    stage.receiver.wait_for_accepted(load.events, Duration::from_secs(120)).await;
    check::all(&stage.ledgers(produced, commits).await);
    assert_eq!(weir.stop(Duration::from_secs(12)).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn meets_deadline() {
    let hang = |_: crate::support::receiver::Seen<'_>| Reply { hang: true, ..Reply::default() };
    let stage = Stage::set("hung-stop", "", hang).await;
    let weir = stage.site.start("one").await;
    let load = Load { events: 50, keys: 50, size: 200, rate: None };
    let (intents, acked) = load.produce(&stage.run, stage.kafka, &stage.topic).await;
    stage.receiver.wait_for(20, Duration::from_secs(30)).await;
    let before = stage.run.now();
    // 75: the grace (10 s) ran out.
    assert_eq!(weir.stop(Duration::from_secs(14)).await, 75);
    assert!(stage.run.now() - before >= Duration::from_secs(5), "it gave the requests a chance");
    stage.receiver.script(|_| status(200));
    let weir = stage.site.start("one").await;
    stage.receiver.wait_for_accepted(acked.len(), Duration::from_secs(60)).await;
    assert_eq!(intents.len(), acked.len());
    assert_eq!(weir.stop(Duration::from_secs(12)).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_stops_now() {
    let hang = |_: crate::support::receiver::Seen<'_>| Reply { hang: true, ..Reply::default() };
    let stage = Stage::set("second-signal", "", hang).await;
    let mut weir = stage.site.start("one").await;
    let load = Load { events: 10, keys: 10, size: 200, rate: None };
    load.produce(&stage.run, stage.kafka, &stage.topic).await;
    stage.receiver.wait_for(5, Duration::from_secs(30)).await;
    weir.terminate();
    let draining = || async { weir.get("/readyz").await.is_none_or(|(status, _)| status != 200) };
    until("it says that it is stopping", Duration::from_secs(3), draining).await;
    weir.terminate();
    let ended = weir.end(Duration::from_secs(3)).await;
    assert!(!ended.success(), "a stop that cut work off is not a clean one: {ended:?}");
}
