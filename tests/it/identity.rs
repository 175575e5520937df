//! The event id: that of the record as it came, whatever the transforms leave of it.

use std::time::Duration;

use rdkafka::message::OwnedHeaders;

use crate::dead_letters::send;
use crate::delivery::Stage;
use crate::support::receiver::status;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_id_outlives_the_transform_that_removes_it() {
    let more = "    headers: { x-event: \"{{ %id }}\" }\ntransforms:\n  - remove: [.id]\n";
    let script = |seen: crate::support::receiver::Seen<'_>| {
        status(if seen.arrival.body.starts_with(br#"{"bad"#) { 422 } else { 200 })
    };
    let mut stage = Stage::set("event-id", more, script).await;
    let out = format!("{}.out", stage.topic);
    stage.kafka.create(&out, 1, &[]).await;
    let publish = format!("publish: {{ topic: {out}, value: {{ n: \"{{{{ .n }}}}\" }} }}\n");
    let yaml = format!(
        "source: {0}\ndlq: {0}.dlq\nhandler:\n  webhook:\n    url: {1}\n{more}{publish}",
        stage.topic,
        stage.receiver.url()
    );
    stage.site = stage.site.pipeline(&stage.topic, &yaml);
    let weir = stage.site.start("one").await;
    send(&stage, Some(b"a"), Some(br#"{"id":"e-77","n":1}"#), OwnedHeaders::new(), 0);
    send(&stage, Some(b"a"), Some(br#"{"bad":true,"id":"e-78"}"#), OwnedHeaders::new(), 0);
    stage.watched().all_committed(&stage.run, &[(0, 2)].into()).await;

    let arrivals = stage.receiver.arrivals();
    assert_eq!(&arrivals[0].body[..], br#"{"n":1}"#, "it was removed");
    let told: Vec<_> = arrivals.iter().map(|arrival| arrival.header("x-event")).collect();
    assert_eq!(told, [Some("e-77"), Some("e-78")]);
    let published = stage.kafka.read(&stage.run, &out);
    assert_eq!(published[0].header("ce_causationid"), Some("e-77"));
    let dead = stage.kafka.read(&stage.run, &format!("{}.dlq", stage.topic));
    assert_eq!(dead[0].header("weir-event-id"), Some("e-78"));
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_names_its_event_where_nothing_else_looks_into_the_payload() {
    let stage = Stage::set("dead-event-id", "", |_| status(422)).await;
    let weir = stage.site.start("one").await;
    send(&stage, Some(b"a"), Some(br#"{"metadata":{"eventId":"e-9"}}"#), OwnedHeaders::new(), 0);
    send(&stage, Some(b"a"), Some(b"\xff no JSON"), OwnedHeaders::new(), 0);
    stage.watched().all_committed(&stage.run, &[(0, 2)].into()).await;
    let dead = stage.kafka.read(&stage.run, &format!("{}.dlq", stage.topic));
    let ids: Vec<&str> = dead.iter().filter_map(|dead| dead.header("weir-event-id")).collect();
    assert_eq!((ids.len(), ids[0]), (2, "e-9"));
    assert!(ids[1].ends_with("/0/1"), "its position, where it says nothing of itself: {}", ids[1]);
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

/// H04: one stage, two topics, the same partition, offset, key and value.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_payload_in_two_topics_has_two_ids() {
    let mut stage = Stage::set("two-topics", "", |_| status(200)).await;
    let (topic, other) = (stage.topic.clone(), format!("{}-other", stage.topic));
    stage.kafka.create(&other, 1, &[]).await;
    let yaml = format!("source: {{ topics: [{topic}, {other}] }}\nhandler: {}\n", stage.receiver.url());
    stage.site = stage.site.pipeline(&topic, &yaml);
    let weir = stage.site.start("one").await;
    send(&stage, Some(b"a"), Some(b"{}"), OwnedHeaders::new(), 0);
    stage.kafka.write(&other, &[("a", "{}")]);
    stage.receiver.wait_for(2, Duration::from_secs(30)).await;
    let arrivals = stage.receiver.arrivals();
    let mut events: Vec<&str> = arrivals.iter().map(|arrival| arrival.event.as_str()).collect();
    events.sort_unstable();
    let other_event = format!("{other}/0/0");
    assert_eq!((events[0], &arrivals[0].body), (other_event.as_str(), &arrivals[1].body));
    assert_ne!(arrivals[0].webhook_id, arrivals[1].webhook_id);
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}
