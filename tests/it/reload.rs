//! Files that change while events flow (F-50 to F-53): what is good is applied without a loss, a repeat or a rebalance, and what
//! is broken harms nobody.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use crate::delivery::{Stage, ends, unsteady};
use crate::support::check;
use crate::support::ledger::Arrival;
use crate::support::load::Load;
use crate::support::receiver::status;
use crate::support::run::{pause, say, until};
use crate::support::weir::Weir;

pub(crate) const BOUND: Duration = Duration::from_secs(30);

impl Stage {
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.site.path().join("pipelines").join(format!("{name}.yaml"))
    }

    /// The text of its pipeline whose requests say `revision` in the path and in a header.
    pub(crate) fn text(&self, revision: usize, more: &str) -> String {
        format!(
            "pipeline: {0}\nsource: {0}\ndlq: {0}.dlq\nhandler:\n  webhook:\n    url: {1}/r{revision}\n    headers: {{ x-revision: \"{revision}\" }}\n{more}",
            self.topic,
            self.receiver.url()
        )
    }

    pub(crate) fn write(&self, revision: usize, more: &str) {
        std::fs::write(self.file(&self.topic), self.text(revision, more)).unwrap();
    }

    /// The revisions that the requests so far were made under; each under one alone.
    pub(crate) fn revisions(&self) -> Vec<usize> {
        self.receiver.arrivals().iter().map(revision).collect()
    }
}

/// The revision of a request, which its path and its header agree on.
fn revision(arrival: &Arrival) -> usize {
    let header =
        arrival.headers.iter().find(|(name, _)| name == "x-revision").map(|(_, value)| value.as_str());
    let path = arrival.target.rsplit("/r").next();
    assert_eq!(path, header, "one request is made under one revision");
    path.and_then(|path| path.parse().ok()).unwrap_or_else(|| panic!("{}", arrival.target))
}

/// So many attempts, so many milliseconds apart, and no breaker.
fn retry(attempts: u32, delay: u32) -> String {
    format!(
        "    breaker: none\nretry: {{ max_attempts: {attempts}, initial_delay: {delay}ms, max_delay: {delay}ms, jitter: false }}\n"
    )
}

/// How the pipeline stands to its file.
async fn sync(weir: &Weir, pipeline: &str) -> String {
    let (_, body) = weir.get(&format!("/api/pipelines/{pipeline}")).await.unwrap_or_default();
    let value: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
    value["sync"].as_str().unwrap_or("not there").to_owned()
}

pub(crate) async fn becomes(weir: &Weir, pipeline: &str, expected: &str) {
    until(&format!("{pipeline} {expected}"), BOUND, || async { sync(weir, pipeline).await == expected })
        .await;
}

/// The longest time between two requests that begin between these moments.
fn longest_gap(arrivals: &[Arrival], from: Duration, to: Duration) -> Duration {
    let mut starts: Vec<Duration> =
        arrivals.iter().map(|one| one.start).filter(|at| (from..=to).contains(at)).collect();
    starts.sort();
    let gaps = starts.iter().zip(starts.iter().skip(1));
    gaps.map(|(before, after)| *after - *before).max().expect("there are requests")
}

/// F-50: a change every 200 ms under load loses nothing, repeats nothing, reorders nothing, moves no partition, and stops nothing
/// for longer than what happens without changes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_50_a_change_every_200_ms_costs_nothing() {
    let (seconds, rate) = (20, 1_000);
    let stage = Stage::set("reload-swaps", "", |_| status(200)).await;
    stage.write(0, "");
    let weir = stage.site.start("one").await;
    let commits = stage.commits();
    let load = Load { events: seconds * 2 * rate, keys: 500, size: 256, rate: Some(rate as u32) };
    let edits = async {
        stage.receiver.wait_for_accepted(rate, BOUND).await;
        let begun = stage.run.now();
        pause(Duration::from_secs(seconds as u64 - 2)).await;
        let rebalances = weir.metric("weir_consumer_rebalances_total", &[]).await;
        let middle = stage.run.now();
        let mut written = 0;
        while stage.run.now() < middle + Duration::from_secs(seconds as u64 - 2) {
            written += 1;
            let limit = if written % 2 == 0 { 64 } else { 1 + written % 7 };
            stage.write(written, &format!("max_in_flight: {limit}\n"));
            pause(Duration::from_millis(200)).await;
        }
        let moved = weir.metric("weir_consumer_rebalances_total", &[]).await - rebalances;
        assert_eq!(moved, 0.0, "no partition moves");
        (begun, middle, stage.run.now(), written)
    };
    let (produced, (begun, middle, end, written)) =
        tokio::join!(load.produce(&stage.run, stage.kafka, &stage.topic), edits);
    stage.receiver.wait_for_accepted(load.events, Duration::from_secs(60)).await;
    check::all(&stage.ledgers(produced, commits).await);
    let arrivals = stage.receiver.arrivals();
    assert_eq!(arrivals.len(), load.events, "nothing twice");
    let seen: HashSet<usize> = stage.revisions().into_iter().collect();
    assert!(seen.len() * 10 >= written * 8, "{} of {written} revisions had requests", seen.len());
    let (before, during) = (longest_gap(&arrivals, begun, middle), longest_gap(&arrivals, middle, end));
    say(&format!("{written} reloads; longest gap {before:?} without, {during:?} with"));
    assert!(during <= before + Duration::from_millis(50), "{during:?} with reloads, {before:?} without");
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

/// A record that waits for its retry goes on under the new plan: its policy, its handler, the attempts counted so far.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_waits_goes_on_under_the_new_plan_with_its_attempts() {
    let stage = Stage::set("reload-waits", "", |seen| {
        status(if seen.arrival.target.contains("/r1") { 503 } else { 200 })
    })
    .await;
    stage.write(1, &retry(20, 300));
    let weir = stage.site.start("one").await;
    let load = Load { events: 20, keys: 20, size: 256, rate: None };
    let commits = stage.commits();
    let produced = load.produce(&stage.run, stage.kafka, &stage.topic).await;
    stage.receiver.wait_for(60, BOUND).await;
    stage.write(2, &retry(20, 300));
    stage.receiver.wait_for_accepted(load.events, BOUND).await;
    check::all(&stage.ledgers(produced, commits).await);
    for event in stage.receiver.arrivals().iter().map(|arrival| arrival.event.clone()).collect::<HashSet<_>>()
    {
        let of_event: Vec<Arrival> =
            stage.receiver.arrivals().into_iter().filter(|one| one.event == event).collect();
        let attempts: Vec<u32> = of_event.iter().map(|one| one.attempt).collect();
        assert_eq!(attempts, (1..=attempts.len() as u32).collect::<Vec<_>>(), "none is forgotten");
        assert!(of_event.iter().map(revision).is_sorted(), "from the old to the new");
        assert_eq!(of_event.last().map(revision), Some(2));
    }
    let often = stage.receiver.arrivals().iter().filter(|one| one.attempt >= 3).count();
    assert!(often > 5, "{often} had failed several times before");
    // With fewer attempts than were made, the next failure is the last.
    stage.receiver.script(|_| status(503));
    stage.write(3, &retry(20, 200));
    becomes(&weir, &stage.topic, "synced").await;
    let produced = Load { events: 1, keys: 1, size: 64, rate: None }
        .produce(&stage.run, stage.kafka, &stage.topic)
        .await;
    let before = stage.receiver.arrivals().len();
    stage.receiver.wait_for(before + 4, BOUND).await;
    stage.write(4, &retry(2, 200));
    let dead =
        || async { weir.metric("weir_events_completed_total", &[("outcome", "dead_lettered")]).await == 1.0 };
    until("a dead letter", BOUND, dead).await;
    assert_eq!(produced.1.len(), 1);
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

/// F-51: what is broken is said, and what ran goes on; what is gone is drained; what comes starts; a volume that is swapped as
/// Kubernetes does it is a change.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_51_a_broken_file_harms_nobody_and_what_comes_and_goes_starts_and_stops() {
    let stage = Stage::set("reload-broken", "", |_| status(200)).await;
    stage.write(1, "");
    let weir = stage.site.start("one").await;
    let commits = stage.commits();
    let load = Load { events: 8_000, keys: 100, size: 256, rate: Some(500) };
    let topic = stage.topic.clone();
    let edits = async {
        stage.receiver.wait_for_accepted(200, BOUND).await;
        let good = stage.text(1, "");
        for broken in [
            good.replace("webhook", "wephook"),
            good[..good.len() / 2].to_owned(),
            "x".repeat(10 << 20),
            String::new(),
            "\u{feff}: [".to_owned(),
        ] {
            std::fs::write(stage.file(&topic), broken).unwrap();
            becomes(&weir, &topic, "broken").await;
            assert_eq!(weir.metric("weir_config_last_reload_successful", &[]).await, 0.0);
            let (_, ready) = weir.get("/readyz").await.unwrap();
            assert!(ready.contains("\"broken_files\":1") && ready.contains("\"ready\":true"), "{ready}");
            let accepted = stage.receiver.accepted();
            stage.receiver.wait_for_accepted(accepted + 50, BOUND).await;
            std::fs::write(stage.file(&topic), &good).unwrap();
            becomes(&weir, &topic, "synced").await;
        }
        assert_eq!(weir.metric("weir_config_last_reload_successful", &[]).await, 1.0);
        // Another pipeline comes, under a name of its own, and goes.
        let other = format!("pipeline: other\nsource: {topic}\nhandler: log\n");
        std::fs::write(stage.file("other"), &other).unwrap();
        becomes(&weir, "other", "synced").await;
        let reads =
            || async { weir.metric("weir_events_received_total", &[("pipeline", "other")]).await > 100.0 };
        until("the other reads", BOUND, reads).await;
        std::fs::remove_file(stage.file("other")).unwrap();
        becomes(&weir, "other", "not there").await;
        // As a mounted ConfigMap is replaced: the file is a link into a folder that is a link.
        let folder = stage.site.path().join("pipelines");
        for (version, revision) in [("..v1", 2), ("..v2", 3)] {
            std::fs::create_dir_all(folder.join(version)).unwrap();
            let name = format!("{topic}.yaml");
            std::fs::write(folder.join(version).join(&name), stage.text(revision, "")).unwrap();
            std::os::unix::fs::symlink(version, folder.join("..data_tmp")).unwrap();
            std::fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
            if !stage.file(&topic).is_symlink() {
                std::os::unix::fs::symlink(format!("..data/{name}"), folder.join("link.tmp")).unwrap();
                std::fs::rename(folder.join("link.tmp"), stage.file(&topic)).unwrap();
            }
            until("the new revision", BOUND, || async { stage.revisions().contains(&revision) }).await;
        }
    };
    let (produced, ()) = tokio::join!(load.produce(&stage.run, stage.kafka, &stage.topic), edits);
    stage.receiver.wait_for_accepted(load.events, Duration::from_secs(60)).await;
    check::all(&stage.ledgers(produced, commits).await);
    assert_eq!(stage.receiver.arrivals().len(), load.events, "nothing twice");
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

/// F-53: what needs another consumer is drained and started again; the other pipeline is not touched.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_53_another_topic_drains_and_starts_and_touches_no_other() {
    let mut stage = Stage::set("reload-restart", "", |_| status(200)).await;
    stage.write(1, "");
    let more = format!("{}.more", stage.topic);
    stage.kafka.create(&more, 2, &[]).await;
    let other = format!("source: {more}\nhandler: log\n");
    stage.site = stage.site.pipeline("other", &other);
    let weir = stage.site.start("one").await;
    let commits = stage.commits();
    let load = Load { events: 6_000, keys: 100, size: 256, rate: Some(500) };
    let topic = stage.topic.clone();
    let edits = async {
        stage.receiver.wait_for_accepted(500, BOUND).await;
        let assigned = || async {
            weir.metric("weir_consumer_assigned_partitions", &[("pipeline", "other")]).await == 2.0
        };
        until("the other has its partitions", BOUND, assigned).await;
        let rebalances = weir.metric("weir_consumer_rebalances_total", &[("pipeline", "other")]).await;
        let received = weir.metric("weir_events_received_total", &[("pipeline", &topic)]).await;
        let text = stage
            .text(2, "")
            .replace(&format!("source: {topic}"), &format!("source: {{ topics: [{topic}, {more}] }}"));
        std::fs::write(stage.file(&topic), text).unwrap();
        until("the new revision", BOUND, || async { stage.revisions().contains(&2) }).await;
        becomes(&weir, &topic, "synced").await;
        stage.kafka.write(&more, &[("a", "{}")]);
        let both =
            || async { weir.metric("weir_events_received_total", &[("pipeline", "other")]).await == 1.0 };
        until("the other has it", BOUND, both).await;
        assert_eq!(weir.metric("weir_consumer_rebalances_total", &[("pipeline", "other")]).await, rebalances);
        assert!(
            weir.metric("weir_events_received_total", &[("pipeline", &topic)]).await > received,
            "counts go on"
        );
    };
    let (produced, ()) = tokio::join!(load.produce(&stage.run, stage.kafka, &stage.topic), edits);
    stage.watched().all_committed(&stage.run, &ends(&produced.1)).await;
    let of_load =
        || async { stage.receiver.arrivals().iter().filter(|one| one.uid.is_some()).count() == load.events };
    until("each of them once", BOUND, of_load).await;
    let mut ledgers = stage.ledgers(produced, commits).await;
    ledgers.arrivals.retain(|arrival| arrival.uid.is_some());
    check::all(&ledgers);
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

/// F-55 in part: another `order` begins when nothing is at work, keeps the attempts of what waits, and moves no partition.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_55_another_order_begins_behind_a_barrier() {
    let run = crate::support::run::Run::new("reload-order");
    let stage = Stage::set("reload-order", "", unsteady(run.seed)).await;
    let more = |order: &str| {
        format!("retry: {{ max_attempts: 10, initial_delay: 50ms, max_delay: 500ms }}\norder: {order}\n")
    };
    stage.write(0, &more("key"));
    let weir = stage.site.start("one").await;
    let commits = stage.commits();
    let load = Load { events: 8_000, keys: 50, size: 256, rate: Some(400) };
    let edits = async {
        stage.receiver.wait_for_accepted(200, BOUND).await;
        let rebalances = weir.metric("weir_consumer_rebalances_total", &[]).await;
        // `order: none` would let a key overtake itself, which the ledgers would not forgive.
        for (revision, order) in ["partition", "key", "partition", "key"].into_iter().enumerate() {
            let accepted = stage.receiver.accepted();
            stage.write(revision + 1, &more(order));
            stage.receiver.wait_for_accepted(accepted + 300, BOUND).await;
        }
        assert_eq!(
            weir.metric("weir_consumer_rebalances_total", &[]).await,
            rebalances,
            "no partition moves"
        );
    };
    let (produced, ()) = tokio::join!(load.produce(&stage.run, stage.kafka, &stage.topic), edits);
    stage.receiver.wait_for_accepted(load.events, Duration::from_secs(120)).await;
    check::all(&stage.ledgers(produced, commits).await);
    let seen: HashSet<usize> = stage.revisions().into_iter().collect();
    assert_eq!(seen.len(), 5, "each order was worked in: {seen:?}");
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

/// A signal and a request reload as well, and the answer says what was done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sighup_and_the_api_read_the_files() {
    let stage = Stage::set("reload-asked", "", |_| status(200)).await;
    stage.write(1, "");
    let weir = stage.site.start("one").await;
    let reloads = || weir.metric("weir_config_reloads_total", &[]);
    let before = reloads().await;
    weir.signal("HUP");
    until("read again", BOUND, || async { reloads().await > before }).await;
    let (status, body) = weir.post("/api/reload").await.unwrap();
    assert_eq!((status, body.contains("\"action\":\"keep\"")), (200, true), "{body}");
    std::fs::write(stage.file(&stage.topic), "pipeline: [").unwrap();
    let (status, body) = weir.post("/api/reload").await.unwrap();
    assert_eq!((status, body.contains("\"action\":\"broken\"")), (422, true), "{body}");
    assert_eq!(sync(&weir, &stage.topic).await, "broken");
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}
