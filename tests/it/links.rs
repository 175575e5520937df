//! Weir behind a proxy that cuts and stalls its connections to Kafka in the middle of the load: no loss, order kept, repeats
//! only where the group has given up on it (F-21, F-22, F-23, O11, B5).

use std::time::Duration;

use crate::delivery::{PARTITIONS, ends, unsteady};
use crate::restarts::pipeline;
use crate::support::check;
use crate::support::commits::Commits;
use crate::support::kafka::{Kafka, state};
use crate::support::ledger::{Fault, Ledgers};
use crate::support::load::Load;
use crate::support::proxy::{Mode, Proxy};
use crate::support::receiver::{Receiver, status};
use crate::support::run::{Run, pause, until};
use crate::support::weir::{Site, Watched};

const SESSION: Duration = Duration::from_secs(12);
/// The longest that work goes on without an accepted commit (`limits.uncommitted`).
const UNCOMMITTED: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_and_stalled_links_to_kafka_lose_nothing() {
    let run = Run::new("links");
    let (port, target) = tokio::sync::watch::channel(0);
    let proxy = Proxy::start(target).await;
    let kafka = Kafka::own(&run.name, Some(proxy.port()));
    port.send_replace(kafka.faulty_port());
    let (topic, group) = (run.name.clone(), format!("weir.{}", run.name));
    kafka.create(&topic, PARTITIONS, &[]).await;
    kafka.create(&format!("{topic}.dlq"), PARTITIONS, &[]).await;
    let receiver = Receiver::start(&run, unsteady(run.seed)).await;
    let yaml = format!("source: {topic}\nhandler: {}\ndlq: {topic}.dlq\n{}", receiver.url(), pipeline());
    let behind = Kafka::behind(proxy.port());
    let site = Site::new(&run, &behind).pipeline(&topic, &yaml).session(SESSION);
    // Load and judges use the other listener: no fault touches them.
    let watched = Watched { kafka: &kafka, group: &group, topic: &topic, partitions: PARTITIONS };
    let commits = Commits::watch(&kafka, &run, &group, &topic, PARTITIONS);
    let weir = site.start("one").await;
    let load = Load { events: 12_000, keys: 500, size: 512, rate: Some(600) };
    let faults = async {
        receiver.wait_for_accepted(500, Duration::from_secs(60)).await;
        for mode in [Mode::Down, Mode::CutAfter(20_000), Mode::Reset, Mode::CutAfter(2_000)] {
            let before = proxy.cut();
            proxy.set(mode);
            until(&format!("{mode:?} bites"), Duration::from_secs(10), || async { proxy.cut() > before })
                .await;
            pause(Duration::from_millis(300)).await;
            proxy.set(Mode::Up);
            receiver.wait_for_accepted(receiver.accepted() + 300, Duration::from_secs(30)).await;
        }
        // Shorter than the session: the group does not notice.
        stall(&run, &proxy, &watched, Duration::from_secs(3)).await;
        receiver.wait_for_accepted(receiver.accepted() + 300, Duration::from_secs(30)).await;
        // Longer: the group gives up on it, and what no commit knew of is repeated. Weir has work for all of that time.
        receiver.script(|_| status(200).after(Duration::from_millis(300)));
        receiver.wait_for_accepted(receiver.accepted() + 1_000, Duration::from_secs(30)).await;
        let faults = stall(&run, &proxy, &watched, SESSION + Duration::from_secs(4)).await;
        receiver.script(unsteady(run.seed));
        faults
    };
    let ((intents, acked), faults) = tokio::join!(load.produce(&run, &kafka, &topic), faults);
    let (stalled, faults) = faults;
    receiver.wait_for_accepted(acked.len(), Duration::from_secs(60)).await;
    watched.all_committed(&run, &ends(&acked)).await;
    let commits = tokio::task::spawn_blocking(|| commits.stop()).await.unwrap();
    let dead = kafka.read(&run, &format!("{topic}.dlq"));
    // Only the long stall is a fault here: cuts and the short one excuse nothing.
    let ledgers = Ledgers { intents, acked, arrivals: receiver.arrivals(), dead, commits, faults };
    check::all(&ledgers);
    let (still, to) = (stalled + UNCOMMITTED + Duration::from_millis(500), ledgers.faults.last().unwrap().at);
    let within = |from, to| ledgers.arrivals.iter().filter(|a| (from..to).contains(&a.start)).count();
    assert!(within(stalled + Duration::from_secs(2), still) > 100, "there was work to go on with");
    assert_eq!(within(still, to), 0, "requests while no commit was accepted for so long");
    let healed = check::progress(&ledgers, to, Duration::from_secs(15));
    assert!(healed.is_empty(), "{healed:?}");
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

/// Nothing passes for a time. Since when, and a fault for each second of it, as work goes on meanwhile.
async fn stall(run: &Run, proxy: &Proxy, watched: &Watched<'_>, time: Duration) -> (Duration, Vec<Fault>) {
    let (start, held) = (run.now(), proxy.held());
    proxy.set(Mode::BlackHole);
    let mut faults = Vec::new();
    while run.now() < start + time {
        let committed = state(&watched.committed(run).await);
        pause(Duration::from_secs(1)).await;
        let held = proxy.held() - held;
        let evidence = if held > 0 { format!("{held} pieces held back") } else { String::new() };
        faults.push(Fault { at: run.now(), what: "stalled link", evidence, committed });
    }
    proxy.set(Mode::Up);
    (start, faults)
}

/// What librdkafka says of a consumer's connections is in the log, as a warning, once, with the consumer's name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_not_there_is_named_by_the_consumer_that_looks_for_it() {
    let run = Run::new("nobody");
    let nobody =
        Kafka::behind(std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port());
    let site = Site::new(&run, &nobody).pipeline(&run.name, &format!("source: {}\nhandler: log\n", run.name));
    let weir = site.start("one").await;
    let consumer = format!("weir-{}", run.name);
    let lines = || -> Vec<serde_json::Value> {
        let log = weir.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        lines
            .filter(|line| line["target"] == "weir::kafka::librdkafka" && line["client"] == consumer.as_str())
            .collect()
    };
    until("the consumer's line", Duration::from_secs(30), || async { !lines().is_empty() }).await;
    let refused = |line: &&serde_json::Value| {
        let said = line["message"].as_str().unwrap();
        said.contains(nobody.brokers()) && said.contains("Connection refused")
    };
    let weir_says = lines();
    assert_eq!(weir_says.iter().filter(refused).count(), 1, "{weir_says:?}");
    assert!(
        weir_says.iter().all(|line| line["level"] == "WARN" && line["facility"] == "FAIL"),
        "{weir_says:?}"
    );
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}
