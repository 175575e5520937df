//! A record that kills the process at each attempt: found after at most five crashes, and nobody else pays for it (H34, K10,
//! O18).

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::delivery::Stage;
use crate::support::check;
use crate::support::ledger::{Fault, Ledgers};
use crate::support::load::Load;
use crate::support::receiver::{Receiver, Reply, Seen, status};
use crate::support::run::Run;
use crate::support::weir::{Site, Watched, Weir};

const LOAD: Load = Load { events: 240, keys: 24, size: 200, rate: None };
/// The uid of the record that kills: in the middle of its key, and of its partition.
const POISON: usize = 120;
/// A group that waits for its dead member no longer than this.
const SESSION: Duration = Duration::from_secs(2);

/// Kills the process at which it aims, once.
#[derive(Debug, Clone, Default)]
struct Killer(Arc<AtomicU32>);

impl Killer {
    fn aim(&self, weir: &Weir) {
        self.0.store(weir.pid(), Ordering::SeqCst);
    }

    fn fire(&self) {
        let pid = self.0.swap(0, Ordering::SeqCst);
        if pid != 0 {
            let sent = std::process::Command::new("kill").arg("-KILL").arg(pid.to_string()).status().unwrap();
            assert!(sent.success());
        }
    }

    /// Answers everything but the poison, which it answers with a kill.
    fn script(&self) -> impl Fn(Seen<'_>) -> Reply + Send + Sync + 'static {
        let killer = self.clone();
        move |seen| {
            if seen.arrival.uid != Some(POISON) {
                return status(200).after(Duration::from_millis(5));
            }
            killer.fire();
            status(0)
        }
    }

    /// Starts Weir again and again, until it lives to see the condition.
    async fn survive(
        &self,
        run: &Run,
        site: &Site,
        of: &Watched<'_>,
        what: &str,
        condition: impl AsyncFn(&Weir) -> bool,
    ) -> (Weir, Vec<Fault>) {
        let mut crashes = Vec::new();
        loop {
            let mut weir = site.launch("one");
            self.aim(&weir);
            if !weir.ends_before(what, Duration::from_secs(45), &condition).await {
                return (weir, crashes);
            }
            crashes.push(weir.killed(run, of).await);
            assert!(crashes.len() <= 5, "{what}: not after five crashes");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_kills_the_process_is_dead_lettered_after_five_crashes_at_most() {
    let killer = Killer::default();
    let mut stage = Stage::set("crashed", "", killer.script()).await;
    stage.site = stage.site.session(SESSION);
    let produced = LOAD.produce(&stage.run, stage.kafka, &stage.topic).await;
    let commits = stage.commits();
    let all_ended = async |weir: &Weir| {
        let dead = weir.metric("weir_events_completed_total", &[("outcome", "dead_lettered")]).await;
        stage.receiver.accepted() == LOAD.events - 1 && dead == 1.0
    };
    let (weir, faults) =
        killer.survive(&stage.run, &stage.site, &stage.watched(), "all ended", all_ended).await;

    let kills = faults.len();
    let ledgers = Ledgers { faults, ..stage.ledgers(produced, commits).await };
    check::all(&ledgers);
    let requests = ledgers.arrivals.iter().filter(|arrival| arrival.uid == Some(POISON)).count();
    assert!(
        (3..=5).contains(&kills) && requests == kills,
        "{kills} kills, {requests} requests for the poison"
    );
    assert_eq!(ledgers.dead.len(), 1, "no neighbour was taken for it");
    let dead = &ledgers.dead[0];
    assert_eq!((dead.uid, dead.header("weir-code")), (Some(POISON), Some("crashed")));
    assert_eq!(dead.header("weir-reason"), Some("invalid"));
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_dlq_a_record_that_kills_the_process_holds_the_stage() {
    let killer = Killer::default();
    let run = Run::new("crashed-held");
    let (kafka, topic) = (crate::support::kafka::shared(), run.name.clone());
    kafka.create(&topic, 1, &[]).await;
    let receiver = Receiver::start(&run, killer.script()).await;
    let yaml = format!("source: {topic}\nhandler: {}\n", receiver.url());
    let site = Site::new(&run, kafka).pipeline(&topic, &yaml).session(SESSION);
    let (intents, acked) = LOAD.produce(&run, kafka, &topic).await;
    let group = format!("weir.{topic}");
    let watched = Watched { kafka, group: &group, topic: &topic, partitions: 1 };
    let held = async |weir: &Weir| weir.metric("weir_stage_held", &[("cause", "no_dlq")]).await > 0.0;
    let (weir, crashes) = killer.survive(&run, &site, &watched, "held", held).await;

    let requests = receiver.arrivals().iter().filter(|arrival| arrival.uid == Some(POISON)).count();
    assert!((3..=5).contains(&crashes.len()) && requests == crashes.len(), "{} kills", crashes.len());
    let poison = acked.iter().find(|acked| acked.uid == POISON).unwrap().offset;
    let committed = watched.committed(&run).await;
    assert!(committed[0].offset <= poison, "{committed:?} is past the poison at {poison}");
    assert_eq!(weir.get("/readyz").await.map(|(status, _)| status), Some(200), "a restart would not help");
    assert!(weir.log().contains("no `dlq` to take a record"), "it says why:\n{}", weir.log());
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);

    // With a DLQ the record goes there without another attempt, and its neighbours arrive.
    let dlq = format!("{topic}.dlq");
    kafka.create(&dlq, 1, &[]).await;
    let site = site.pipeline(&topic, &format!("{yaml}dlq: {dlq}\n"));
    let weir = site.start("one").await;
    receiver.wait_for_accepted(intents.len() - 1, Duration::from_secs(45)).await;
    watched.all_committed(&run, &crate::delivery::ends(&acked)).await;
    let dead = kafka.read(&run, &dlq);
    assert_eq!(dead.len(), 1);
    assert_eq!((dead[0].uid, dead[0].header("weir-code")), (Some(POISON), Some("crashed")));
    let now = receiver.arrivals().iter().filter(|arrival| arrival.uid == Some(POISON)).count();
    assert_eq!(now, requests, "no further request for it");
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}
