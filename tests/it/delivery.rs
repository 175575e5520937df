//! A pipeline from end to end: four lines, and the load of the first promise.

use std::collections::HashMap;
use std::time::Duration;

use crate::support::check;
use crate::support::commits::Commits;
use crate::support::kafka::{Kafka, shared};
use crate::support::ledger::{Acked, Ledgers};
use crate::support::load::Load;
use crate::support::receiver::{Receiver, Reply, Seen, status};
use crate::support::run::Run;
use crate::support::weir::{Site, Watched};

pub(crate) const PARTITIONS: i32 = 6;

/// The scenery of most tests: topic, DLQ topic, receiver, one pipeline, the sampler of its commits.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) run: Run,
    pub(crate) kafka: &'static Kafka,
    pub(crate) topic: String,
    pub(crate) group: String,
    pub(crate) receiver: Receiver,
    pub(crate) site: Site,
}

impl Stage {
    /// `more` is what the pipeline says beyond its four lines; where it is indented it goes on with the webhook.
    pub(crate) async fn set(
        test: &str,
        more: &str,
        script: impl Fn(Seen<'_>) -> Reply + Send + Sync + 'static,
    ) -> Stage {
        let run = Run::new(test);
        let kafka = shared();
        let topic = run.name.clone();
        kafka.create(&topic, PARTITIONS, &[]).await;
        kafka.create(&format!("{topic}.dlq"), PARTITIONS, &[]).await;
        let receiver = Receiver::start(&run, script).await;
        let yaml = format!(
            "source: {topic}\ndlq: {topic}.dlq\nhandler:\n  webhook:\n    url: {}\n{more}",
            receiver.url()
        );
        let site = Site::new(&run, kafka).pipeline(&topic, &yaml);
        Stage { group: format!("weir.{topic}"), run, kafka, topic, receiver, site }
    }

    pub(crate) fn watched(&self) -> Watched<'_> {
        Watched { kafka: self.kafka, group: &self.group, topic: &self.topic, partitions: PARTITIONS }
    }

    pub(crate) fn commits(&self) -> Commits {
        Commits::watch(self.kafka, &self.run, &self.group, &self.topic, PARTITIONS)
    }

    /// The ledgers when all is over; the DLQ is read here.
    pub(crate) async fn ledgers(
        &self,
        produced: (Vec<crate::support::ledger::Intent>, Vec<Acked>),
        commits: Commits,
    ) -> Ledgers {
        let (intents, acked) = produced;
        self.watched().all_committed(&self.run, &ends(&acked)).await;
        let commits = tokio::task::spawn_blocking(|| commits.stop()).await.unwrap();
        let dead = self.kafka.read(&self.run, &format!("{}.dlq", self.topic));
        Ledgers { intents, acked, arrivals: self.receiver.arrivals(), dead, commits, faults: Vec::new() }
    }
}

/// The next offset of each partition, from L2.
pub(crate) fn ends(acked: &[Acked]) -> HashMap<i32, i64> {
    let mut ends = HashMap::new();
    for acked in acked {
        let end = ends.entry(acked.partition).or_default();
        *end = acked.offset.max(*end - 1) + 1;
    }
    ends
}

/// 1 to 50 ms, and a failure in one of twenty requests, all from the seed.
pub(crate) fn unsteady(seed: u64) -> impl Fn(Seen<'_>) -> Reply + Send + Sync + 'static {
    move |seen| {
        let uid = seen.arrival.uid.unwrap_or_default() as u64;
        let mut rng = fastrand::Rng::with_seed(seed ^ (uid << 8 | seen.before as u64));
        let reply = status(if rng.u8(..20) == 0 { 503 } else { 200 });
        reply.after(Duration::from_millis(rng.u64(1..=50)))
    }
}

pub(crate) const QUICK_RETRY: &str = "retry: { max_attempts: 10, initial_delay: 50ms, max_delay: 500ms }\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_lines_are_enough() {
    let mut stage = Stage::set("four-lines", "", |_| status(200)).await;
    let yaml = format!("source: {0}\nhandler: {1}\ndlq: {0}.dlq\n", stage.topic, stage.receiver.url());
    stage.site = stage.site.pipeline(&stage.topic, &yaml);
    let weir = stage.site.start("one").await;
    let commits = stage.commits();
    let load = Load { events: 500, keys: 20, size: 512, rate: None };
    let produced = load.produce(&stage.run, stage.kafka, &stage.topic).await;
    stage.receiver.wait_for_accepted(load.events, Duration::from_secs(60)).await;
    let ledgers = stage.ledgers(produced, commits).await;
    check::all(&ledgers);
    assert_eq!(weir.metric("weir_events_completed_total", &[("outcome", "delivered")]).await, 500.0);
    assert!(ledgers.arrivals.iter().all(|arrival| arrival.attempt == 1));
    let mut ids: Vec<&str> = ledgers.arrivals.iter().map(|arrival| arrival.webhook_id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), load.events, "each record has an id of its own");
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unsteady_receiver_gets_everything_once_and_in_order() {
    let seed = Run::new("unsteady").seed;
    let stage = Stage::set("unsteady", QUICK_RETRY, unsteady(seed)).await;
    let load = Load { events: 20_000, keys: 1_000, size: 512, rate: None };
    let produced = load.produce(&stage.run, stage.kafka, &stage.topic).await;
    let weir = stage.site.start("one").await;
    let commits = stage.commits();
    stage.receiver.wait_for_accepted(7_000, Duration::from_secs(120)).await;
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
    let before = stage.receiver.arrivals().len();
    let weir = stage.site.start("one").await;
    stage.receiver.wait_for_accepted(load.events, Duration::from_secs(180)).await;
    let ledgers = stage.ledgers(produced, commits).await;
    check::all(&ledgers);
    assert!(before < load.events, "the stop came in the middle");
    let failed = ledgers.arrivals.iter().filter(|arrival| arrival.status == Some(503)).count();
    assert!(failed > 500, "the receiver failed {failed} times");
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}
