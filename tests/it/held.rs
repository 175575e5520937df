//! A stage that is held for long lets go of what it has read ahead, and loses nothing of it (M11); one that was full goes on
//! at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::delivery::Stage;
use crate::support::check;
use crate::support::kafka::shared;
use crate::support::load::Load;
use crate::support::receiver::{Receiver, status};
use crate::support::run::{Run, pause, until};
use crate::support::weir::Site;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stage_that_is_held_for_long_lets_go_of_its_bodies_and_loses_none() {
    let retry = "retry: { max_attempts: 200, initial_delay: 100ms, max_delay: 1s }\n";
    let stage = Stage::set("lets-go", retry, |_| status(503)).await;
    let weir = stage.site.start("one").await;
    let commits = stage.commits();
    let load = Load { events: 10_000, keys: 50, size: 2_000, rate: None };
    let produced = load.produce(&stage.run, stage.kafka, &stage.topic).await;
    weir.holds("breaker").await;
    let let_go = async || weir.log().contains("read again when the hold ends");
    until("the bodies to be let go", Duration::from_secs(60), let_go).await;

    // H37: ten times as much waits in the topic as may be gained.
    let mut memory = Vec::new();
    for _ in 0..6 {
        memory.push(crate::outage::resident(&weir));
        pause(Duration::from_secs(1)).await;
    }
    let grown = memory.iter().max().unwrap() - memory.iter().min().unwrap();
    assert!(grown < 2 << 20, "{memory:?}");
    let bodies = weir.metric("weir_memory_bytes", &[("pool", "records")]).await;
    assert!(bodies < f64::from(2 << 20), "{bodies} bytes of records");

    let refused = stage.receiver.arrivals().len();
    stage.receiver.script(|_| status(200));
    stage.receiver.wait_for_accepted(load.events, Duration::from_secs(60)).await;
    let received = weir.metric("weir_events_received_total", &[]).await;
    let ledgers = stage.ledgers(produced, commits).await;
    check::all(&ledgers);
    let accepted = ledgers.arrivals.iter().filter(|arrival| arrival.accepted()).count();
    assert_eq!(accepted, load.events, "each accepted once, after {refused} refusals");
    assert_eq!(received as usize, load.events, "what is read again counts once");
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

/// Three partitions hold less than their share of what the stage may hold, so none is paused for it: what is polled beyond
/// must neither pile up nor be taken in one by one afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stage_that_was_full_is_quick_again_when_its_receiver_is() {
    const STALLED: usize = 256;
    let (run, kafka) = (Run::new("quick-again"), shared());
    kafka.create(&run.name, 3, &[]).await;
    let load = Load { events: 30_000, keys: 500, size: 100, rate: None };
    load.produce(&run, kafka, &run.name).await;
    let seen = AtomicUsize::new(0);
    let receiver = Receiver::start(&run, move |_| {
        let is_stalled = seen.fetch_add(1, Ordering::Relaxed) < STALLED;
        status(200).after(Duration::from_secs(if is_stalled { 4 } else { 0 }))
    })
    .await;
    let yaml = format!("source: {0}\nhandler: {1}\ndlq: {0}.dlq\n", run.name, receiver.url());
    let weir = Site::new(&run, kafka).pipeline(&run.name, &yaml).start("one").await;
    receiver.wait_for(STALLED, Duration::from_secs(30)).await;
    receiver.wait_for_accepted(load.events, Duration::from_secs(60)).await;
    assert_eq!(receiver.arrivals().len(), load.events, "each once");
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

/// Of 16 MiB for records each of two stages has 4 that the other cannot take; the rest is shared (M10, F-78).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stage_whose_receiver_hangs_starves_no_other() {
    const MIB: f64 = 1_048_576.0;
    let (run, kafka) = (Run::new("starves"), shared());
    let hangs = |_: crate::support::receiver::Seen<'_>| status(200).after(Duration::from_secs(3_600));
    let (dead, alive) = (Receiver::start(&run, hangs).await, Receiver::start(&run, |_| status(200)).await);
    let mut site = Site::new(&run, kafka).runtime("limits: { memory: 32MiB }\n");
    let load = Load { events: 2_000, keys: 2_000, size: 20_000, rate: None };
    for (name, receiver) in [("dead", &dead), ("alive", &alive)] {
        let topic = format!("{}-{name}", run.name);
        kafka.create(&topic, 3, &[]).await;
        load.produce(&run, kafka, &topic).await;
        let url = receiver.url();
        let yaml = format!(
            "source: {topic}\nhandler: {{ webhook: {{ url: {url}, timeout: 10m, timeouts: {{ first_byte: 10m }} }} }}\ndlq: {topic}.dlq\n"
        );
        site = site.pipeline(&topic, &yaml);
    }
    let weir = site.start("one").await;
    let held = || async { weir.metric("weir_memory_bytes", &[("pool", "records")]).await / MIB };
    let full = || async { held().await > 4.5 };
    until("the dead one to borrow", Duration::from_secs(30), full).await;
    alive.wait_for_accepted(load.events, Duration::from_secs(60)).await;
    let limit = weir.metric("weir_memory_limit_bytes", &[("pool", "records")]).await / MIB;
    assert!((limit - 16.0).abs() < 0.01, "{limit}");
    let most = held().await;
    assert!(most < limit, "{most} of {limit}");
    // The gauge is a second old.
    let borrowed = || async { held().await > 8.0 };
    until("the dead one to hold what it has borrowed", Duration::from_secs(10), borrowed).await;
    let before = alive.arrivals().len();
    let more = Load { events: 1_000, ..load };
    more.produce(&run, kafka, &format!("{}-alive", run.name)).await;
    alive.wait_for(before + more.events, Duration::from_secs(30)).await;
    assert_eq!(dead.accepted(), 0);
    weir.terminate();
}
