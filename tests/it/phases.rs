//! What was owed when the process was killed is done by the next one, and no more than that (H35, D13).

use std::time::Duration;

use rdkafka::message::OwnedHeaders;

use crate::dead_letters::send;
use crate::delivery::Stage;
use crate::support::metadata;
use crate::support::receiver::{Reply, Seen, status};
use crate::support::run::until;
use crate::support::weir::Weir;

/// The record is the first of partition 0. Waits for the hold, and for a commit that knows of the phase; then the kill.
async fn kill_in_phase(stage: &Stage, weir: Weir, cause: &str, phase: u8) {
    weir.holds(cause).await;
    let known = || async {
        let committed = stage.watched().committed(&stage.run).await;
        let mine = committed.iter().find(|sample| sample.partition == 0);
        let done = mine.and_then(|sample| metadata::read(&sample.metadata, sample.offset));
        done.is_some_and(|done| done.phases.get(&0) == Some(&phase))
    };
    until("a commit that knows of the phase", Duration::from_secs(10), known).await;
    let fault = weir.kill(&stage.run, &stage.watched()).await;
    assert!(!fault.evidence.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_owed_at_a_kill_is_written_without_another_request() {
    let mut stage = Stage::set("owed-dlq", "", |_| status(422)).await;
    stage.site = stage.site.session(Duration::from_secs(2));
    let dlq = format!("{}.dlq", stage.topic);
    // Takes nothing that has a header block of ours.
    stage.kafka.configure(&dlq, &[("max.message.bytes", "100")]).await;
    let weir = stage.site.start("one").await;
    send(&stage, Some(b"a"), Some(b"refused by the receiver"), OwnedHeaders::new(), 0);
    kill_in_phase(&stage, weir, "dlq", 1).await;
    assert!(stage.kafka.read(&stage.run, &dlq).is_empty());

    stage.kafka.configure(&dlq, &[("max.message.bytes", "1000000")]).await;
    let weir = stage.site.start("one").await;
    stage.watched().all_committed(&stage.run, &[(0, 1)].into()).await;
    let dead = stage.kafka.read(&stage.run, &dlq);
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].value.as_deref(), Some(&b"refused by the receiver"[..]));
    let told = ["weir-reason", "weir-code", "weir-attempts"].map(|name| dead[0].header(name));
    assert_eq!(told, [Some("rejected"), Some("status"), Some("1")]);
    let arrivals = stage.receiver.arrivals();
    assert_eq!(arrivals.len(), 1, "no further request for it");
    assert_eq!(dead[0].header("weir-webhook-id"), Some(arrivals[0].webhook_id.as_str()));
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publish_owed_at_a_kill_is_made_after_one_more_request_with_the_same_id() {
    let answer = |seen: Seen<'_>| Reply {
        headers: vec![("content-type", "application/json".to_owned())],
        body: format!(r#"{{"request":{}}}"#, seen.before + 1).into(),
        ..status(200)
    };
    let mut stage = Stage::set("owed-publish", "", answer).await;
    let (topic, output) = (stage.topic.clone(), format!("{}.out", stage.topic));
    let yaml = format!(
        "source: {topic}\nhandler: {}\npublish: {{ topic: {output}, key: \"{{{{ %key }}}}\" }}\ndlq: {topic}.dlq\n",
        stage.receiver.url()
    );
    // How long a client waits for a topic that may have been made a moment ago: 30 s by default.
    let site = stage.site.pipeline(&topic, &yaml).property("topic.metadata.propagation.max.ms", "1000");
    stage.site = site.session(Duration::from_secs(2));
    let weir = stage.site.start("one").await;
    send(&stage, Some(b"k"), Some(b"{}"), OwnedHeaders::new(), 0);
    kill_in_phase(&stage, weir, "topic_missing", 3).await;
    assert_eq!(stage.receiver.arrivals().len(), 1, "Kafka was asked again, the receiver was not");

    stage.kafka.create(&output, 1, &[]).await;
    let weir = stage.site.start("one").await;
    stage.watched().all_committed(&stage.run, &[(0, 1)].into()).await;
    let arrivals = stage.receiver.arrivals();
    assert_eq!(arrivals.len(), 2, "the answer was gone with the process");
    assert_eq!(arrivals[0].webhook_id, arrivals[1].webhook_id);
    assert_eq!(arrivals[1].attempt, 2, "the request is counted");
    let published = stage.kafka.read(&stage.run, &output);
    let values: Vec<Option<&[u8]>> = published.iter().map(|record| record.value.as_deref()).collect();
    assert_eq!(values, [Some(&br#"{"request":2}"#[..])], "once, of the answer that was given last");
    assert!(stage.kafka.read(&stage.run, &format!("{topic}.dlq")).is_empty());
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}
