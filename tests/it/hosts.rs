//! Two stages that go to one host share what it takes at once, and the slow one does not keep the quick one out.

use std::time::Duration;

use crate::delivery::Stage;
use crate::support::ledger::Arrival;
use crate::support::load::Load;
use crate::support::receiver::status;

const AT_ONCE: usize = 4;

/// The most requests that were under way at one time.
fn overlap(arrivals: &[&Arrival]) -> usize {
    let under_way = |at: Duration| {
        arrivals.iter().filter(|one| one.start <= at && one.end.is_none_or(|end| at < end)).count()
    };
    arrivals.iter().map(|one| under_way(one.start)).max().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_stages_of_one_host_share_its_places_and_each_gets_its_turn() {
    let mut stage = Stage::set("hosts", "", |seen| {
        let slow = seen.arrival.target == "/hook/slow";
        status(200).after(Duration::from_millis(if slow { 300 } else { 5 }))
    })
    .await;
    let (topic, url) = (stage.topic.clone(), stage.receiver.url());
    let yaml = |path: &str, more: &str| {
        format!("source: {topic}\nhandler: {{ webhook: {{ url: {url}/{path}{more} }} }}\ndlq: {topic}.dlq\n")
    };
    let quick = format!("{topic}-quick");
    stage.site = stage
        .site
        .pipeline(&topic, &yaml("slow", &format!(", concurrency: {AT_ONCE}")))
        .pipeline(&quick, &yaml("quick", ""));
    let load = Load { events: 60, keys: 60, size: 200, rate: None };
    load.produce(&stage.run, stage.kafka, &topic).await;
    let weir = stage.site.start("one").await;
    stage.receiver.wait_for(2 * load.events, Duration::from_secs(60)).await;
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);

    let arrivals = stage.receiver.arrivals();
    let all: Vec<&Arrival> = arrivals.iter().collect();
    let of = |path: &str| -> Vec<&Arrival> { all.iter().filter(|one| one.target == path).copied().collect() };
    let (slow, quick) = (of("/hook/slow"), of("/hook/quick"));
    assert_eq!((slow.len(), quick.len()), (load.events, load.events), "each has its own");
    // H04: the same record of two stages.
    let ids: std::collections::HashSet<&str> = all.iter().map(|one| one.webhook_id.as_str()).collect();
    assert_eq!(ids.len(), 2 * load.events);
    // The stage that says nothing comes first or second; it may have begun before the other has a say.
    let both: Vec<&Arrival> = all.iter().filter(|one| one.start >= slow[0].start).copied().collect();
    assert_eq!(overlap(&both), AT_ONCE, "shared by both");
    let last = |of: &[&Arrival]| of.iter().filter_map(|one| one.end).max().unwrap();
    let behind = slow.iter().filter(|one| one.start > last(&quick)).count();
    assert!(behind > load.events / 4, "{behind} of the slow ones came behind the quick ones");
}
