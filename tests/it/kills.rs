//! Kills of Weir at random moments: no loss, order per key, repeats only of what no accepted commit knew of (F-30).

use std::time::Duration;

use crate::delivery::{Stage, unsteady};
use crate::restarts::pipeline;
use crate::support::check;
use crate::support::ledger::Ledgers;
use crate::support::load::Load;
use crate::support::run::Run;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_kills_lose_nothing() {
    let run = Run::new("kills");
    let stage = Stage::set("kills", &pipeline(), unsteady(run.seed)).await;
    let load = Load { events: 20_000, keys: 500, size: 512, rate: None };
    let produced = load.produce(&stage.run, stage.kafka, &stage.topic).await;
    let commits = stage.commits();
    let mut rng = run.rng(2);
    let mut faults = Vec::new();
    let mut accepted = 0;
    let mut weir = stage.site.start("one").await;
    for _ in 0..5 {
        // A moment of the work, not of the clock: a slow machine kills as well in the middle of it.
        accepted += rng.usize(1_000..3_000);
        stage.receiver.wait_for_accepted(accepted, Duration::from_secs(120)).await;
        faults.push(weir.kill(&stage.run, &stage.watched()).await);
        weir = stage.site.start("one").await;
    }
    stage.receiver.wait_for_accepted(load.events, Duration::from_secs(240)).await;
    let ledgers = Ledgers { faults, ..stage.ledgers(produced, commits).await };
    check::all(&ledgers);
    for fault in &ledgers.faults {
        let late = check::progress(&ledgers, fault.at, Duration::from_secs(6 + 15 + 15));
        assert!(late.is_empty(), "{late:?}");
    }
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}
