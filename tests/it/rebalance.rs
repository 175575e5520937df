//! Instances that join and leave: each record once, in order (F-40, the gentle half).

use std::time::Duration;

use crate::delivery::{Stage, unsteady};
use crate::restarts::pipeline;
use crate::support::check;
use crate::support::load::Load;
use crate::support::run::{Run, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_join_and_leave_without_a_repeat() {
    let run = Run::new("join-leave");
    let stage = Stage::set("join-leave", &pipeline(), unsteady(run.seed)).await;
    let load = Load { events: 20_000, keys: 500, size: 512, rate: Some(1_000) };
    let commits = stage.commits();
    let moves = async {
        let bound = Duration::from_secs(120);
        let one = stage.site.start("one").await;
        stage.receiver.wait_for_accepted(2_000, bound).await;
        let two = stage.site.start("two").await;
        let works = || async { two.metric("weir_events_received_total", &[]).await > 100.0 };
        until("the second instance takes its share", Duration::from_secs(30), works).await;
        stage.receiver.wait_for_accepted(8_000, bound).await;
        assert_eq!(one.stop(Duration::from_secs(15)).await, 0);
        stage.receiver.wait_for_accepted(11_000, bound).await;
        let one = stage.site.start("one").await;
        let works = || async { one.metric("weir_events_received_total", &[]).await > 100.0 };
        until("the first instance takes its share again", Duration::from_secs(30), works).await;
        stage.receiver.wait_for_accepted(16_000, bound).await;
        assert_eq!(two.stop(Duration::from_secs(15)).await, 0);
        one
    };
    let (produced, one) = tokio::join!(load.produce(&stage.run, stage.kafka, &stage.topic), moves);
    stage.receiver.wait_for_accepted(load.events, Duration::from_secs(180)).await;
    check::all(&stage.ledgers(produced, commits).await);
    assert_eq!(one.stop(Duration::from_secs(15)).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_comes_back_is_read_again() {
    let run = Run::new("comes-back");
    let stage = Stage::set("comes-back", &pipeline(), unsteady(run.seed)).await;
    let load = Load { events: 8_000, keys: 200, size: 256, rate: Some(500) };
    let commits = stage.commits();
    let moves = async {
        let one = stage.site.start("one").await;
        stage.receiver.wait_for_accepted(500, Duration::from_secs(60)).await;
        let two = stage.site.start("two").await;
        let works = || async { two.metric("weir_events_received_total", &[]).await > 50.0 };
        until("the second instance takes its share", Duration::from_secs(30), works).await;
        assert_eq!(two.stop(Duration::from_secs(15)).await, 0);
        one
    };
    let (produced, one) = tokio::join!(load.produce(&stage.run, stage.kafka, &stage.topic), moves);
    // What the second had belongs to the first again, in the same process: librdkafka remembers a pause over that.
    stage.receiver.wait_for_accepted(load.events, Duration::from_secs(60)).await;
    check::all(&stage.ledgers(produced, commits).await);
    assert_eq!(one.stop(Duration::from_secs(15)).await, 0);
}
