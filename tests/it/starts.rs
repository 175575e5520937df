//! Where a group begins is settled once, on its first start: whatever is written while nobody runs is delivered (H33, O17,
//! K7).

use std::collections::HashMap;
use std::time::Duration;

use rdkafka::message::OwnedHeaders;

use crate::dead_letters::send;
use crate::delivery::{PARTITIONS, Stage};
use crate::support::receiver::{Reply, status};
use crate::support::run::until;
use crate::support::weir::Watched;

fn write(stage: &Stage, text: &str, partition: i32) {
    let text = format!("{text}-{partition}");
    send(stage, Some(text.as_bytes()), Some(text.as_bytes()), OwnedHeaders::new(), partition);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn latest_is_settled_once_and_a_partition_added_meanwhile_starts_at_its_beginning() {
    let never = |_: crate::support::receiver::Seen<'_>| Reply { hang: true, ..Reply::default() };
    let mut stage = Stage::set("latest", "", never).await;
    let yaml = format!(
        "source: {{ topic: {0}, start: latest }}\nhandler: {1}\ndlq: {0}.dlq\n",
        stage.topic,
        stage.receiver.url()
    );
    stage.site = stage.site.pipeline(&stage.topic, &yaml).session(Duration::from_secs(2));
    for partition in 0..PARTITIONS {
        write(&stage, "before", partition);
    }
    let weir = stage.site.start("one").await;
    let settled = || async { stage.watched().committed(&stage.run).await.len() == PARTITIONS as usize };
    until("an offset for each partition", Duration::from_secs(15), settled).await;
    write(&stage, "hangs", 0);
    stage.receiver.wait_for(1, Duration::from_secs(15)).await;
    let fault = weir.kill(&stage.run, &stage.watched()).await;
    assert!(!fault.evidence.is_empty());
    assert!(fault.committed.values().all(|(offset, _)| *offset == 1), "no record has finished: {fault:?}");

    stage.kafka.grow(&stage.topic, 8).await;
    for partition in 0..8 {
        write(&stage, "meanwhile", partition);
    }
    stage.receiver.script(|_| status(200));
    let weir = stage.site.start("one").await;
    stage.receiver.wait_for(1 + 1 + 8, Duration::from_secs(30)).await;
    let ends: HashMap<i32, i64> = [(0, 3), (1, 2), (2, 2), (3, 2), (4, 2), (5, 2), (6, 1), (7, 1)].into();
    let watched = Watched { partitions: 8, ..stage.watched() };
    watched.all_committed(&stage.run, &ends).await;
    let arrivals = stage.receiver.arrivals();
    let mut bodies: Vec<String> =
        arrivals.iter().map(|arrival| String::from_utf8_lossy(&arrival.body).into_owned()).collect();
    bodies.sort();
    let mut expected = vec!["hangs-0".to_owned(), "hangs-0".to_owned()];
    expected.extend((0..8).map(|partition| format!("meanwhile-{partition}")));
    assert_eq!(bodies, expected);
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_added_under_way_is_read_from_its_beginning() {
    let mut stage = Stage::set("grows", "", |_| status(200)).await;
    let yaml = format!(
        "source: {{ topic: {0}, start: latest }}\nhandler: {1}\ndlq: {0}.dlq\n",
        stage.topic,
        stage.receiver.url()
    );
    // How soon a new partition is noticed: after a minute by default.
    let site =
        stage.site.pipeline(&stage.topic, &yaml).property("topic.metadata.refresh.interval.ms", "3000");
    stage.site = site;
    let weir = stage.site.start("one").await;
    let settled = || async { stage.watched().committed(&stage.run).await.len() == PARTITIONS as usize };
    until("an offset for each partition", Duration::from_secs(15), settled).await;
    // Written at once: before anybody reads there, but for the rare run in which the metadata is fetched just now.
    stage.kafka.grow(&stage.topic, 7).await;
    write(&stage, "early", 6);
    let watched = Watched { partitions: 7, ..stage.watched() };
    stage.receiver.wait_for(1, Duration::from_secs(20)).await;
    watched.all_committed(&stage.run, &[(6, 1)].into()).await;
    assert_eq!(&stage.receiver.arrivals()[0].body[..], b"early-6");
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}
