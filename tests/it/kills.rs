//! Kills of Weir at random moments: no loss, order per key, repeats only of what no accepted commit knew of (F-30).

use std::ops::Range;
use std::time::Duration;

use crate::delivery::{Stage, unsteady};
use crate::restarts::pipeline;
use crate::support::check;
use crate::support::ledger::Ledgers;
use crate::support::load::Load;
use crate::support::receiver::{Seen, status};
use crate::support::run::Run;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_kills_lose_nothing() {
    let run = Run::new("kills");
    let stage = Stage::set("kills", &pipeline(), unsteady(run.seed)).await;
    let load = Load { events: 20_000, keys: 500, size: 512, rate: None };
    let ledgers = kills(&run, &stage, load, 5, 1_000..3_000).await;
    for fault in &ledgers.faults {
        let late = check::progress(&ledgers, fault.at, Duration::from_secs(6 + 15 + 15));
        assert!(late.is_empty(), "{late:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_kills_take_no_record_for_the_reason() {
    let run = Run::new("kills-20");
    let seed = run.seed;
    let script = move |seen: Seen<'_>| {
        let mut rng = fastrand::Rng::with_seed(seed ^ seen.arrival.uid.unwrap_or_default() as u64);
        status(if seen.before == 0 && rng.u8(..20) == 0 { 503 } else { 200 })
            .after(Duration::from_millis(rng.u64(1..=8)))
    };
    let mut stage = Stage::set("kills-20", &pipeline(), script).await;
    // The group waits for the dead each time.
    stage.site = stage.site.session(Duration::from_secs(2));
    let load = Load { events: 4_000, keys: 500, size: 512, rate: None };
    // From the third kill on the records that were in sight run one at a time, a commit before each. The one that ran alone
    // at a kill is among the first that run after it: it has ended by the next kill, as a record does that kills nothing.
    let ledgers = kills(&run, &stage, load, 20, 12..60).await;
    let codes: Vec<_> = ledgers.dead.iter().map(|dead| (dead.uid, dead.header("weir-code"))).collect();
    assert!(codes.is_empty(), "{codes:?}");
}

/// Kills Weir so many times in the middle of its work, and judges what came of it.
async fn kills(run: &Run, stage: &Stage, load: Load, times: usize, between: Range<usize>) -> Ledgers {
    let produced = load.produce(&stage.run, stage.kafka, &stage.topic).await;
    let commits = stage.commits();
    let mut rng = run.rng(2);
    let mut faults = Vec::new();
    let mut weir = stage.site.start("one").await;
    for _ in 0..times {
        // A moment of the work, not of the clock: a slow machine kills as well in the middle of it.
        let accepted = stage.receiver.accepted() + rng.usize(between.clone());
        stage.receiver.wait_for_accepted(accepted, Duration::from_secs(120)).await;
        faults.push(weir.kill(&stage.run, &stage.watched()).await);
        weir = stage.site.start("one").await;
    }
    stage.receiver.wait_for_accepted(load.events, Duration::from_secs(240)).await;
    let ledgers = Ledgers { faults, ..stage.ledgers(produced, commits).await };
    check::all(&ledgers);
    assert_eq!(ledgers.faults.len(), times);
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
    ledgers
}
