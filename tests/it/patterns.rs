//! A source that takes topics by a pattern: those that are there, and those that come and go while it runs (K7, B4).

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::OwnedHeaders;

use crate::dead_letters::send;
use crate::delivery::Stage;
use crate::support::receiver::status;
use crate::support::run::until;
use crate::support::weir::Watched;

/// One record for a topic of the run.
fn write(stage: &mut Stage, end: &str, text: &str) {
    let topic = format!("{}.{end}", stage.run.name);
    let named = std::mem::replace(&mut stage.topic, topic);
    send(stage, Some(b"k"), Some(text.as_bytes()), OwnedHeaders::new(), 0);
    stage.topic = named;
}

fn heard(stage: &Stage) -> Vec<String> {
    let arrivals = stage.receiver.arrivals();
    let mut bodies: Vec<String> =
        arrivals.iter().map(|arrival| String::from_utf8_lossy(&arrival.body).into_owned()).collect();
    bodies.sort();
    bodies
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_that_come_are_read_from_their_beginning_and_those_that_go_stop_no_other() {
    let mut stage = Stage::set("pattern", "", |_| status(200)).await;
    let yaml = format!(
        "source: {{ pattern: '{0}\\.[a-z]', start: latest }}\nhandler: {1}\ndlq: {0}.dlq\n",
        stage.topic,
        stage.receiver.url()
    );
    stage.site = stage.site.pipeline(&stage.topic, &yaml);
    let name = |end: &str| format!("{}.{end}", stage.topic);
    let (a, b, c, other) = (name("a"), name("b"), name("c"), name("other"));
    for topic in [&a, &b, &other] {
        stage.kafka.create(topic, 1, &[]).await;
    }
    for end in ["a", "b", "other"] {
        write(&mut stage, end, &format!("before-{end}"));
    }
    let weir = stage.site.start("one").await;
    let settled = || async {
        let of = |topic| Watched { topic, partitions: 1, ..stage.watched() };
        of(&a).committed(&stage.run).await.len() + of(&b).committed(&stage.run).await.len() == 2
    };
    until("an offset for both", Duration::from_secs(30), settled).await;
    for end in ["a", "b", "other"] {
        write(&mut stage, end, &format!("after-{end}"));
    }
    stage.receiver.wait_for(2, Duration::from_secs(30)).await;

    stage.kafka.create(&c, 1, &[]).await;
    write(&mut stage, "c", "first-of-c");
    stage.receiver.wait_for(3, Duration::from_secs(30)).await;

    let admin: AdminClient<DefaultClientContext> = stage.kafka.client().create().unwrap();
    let deleted = admin.delete_topics(&[&a], &AdminOptions::new()).await.unwrap();
    assert!(deleted.iter().all(Result::is_ok), "{deleted:?}");
    let gone = || async { weir.log().matches("subscribing").count() >= 3 };
    until("it is not subscribed to any more", Duration::from_secs(30), gone).await;
    write(&mut stage, "b", "later-b");
    write(&mut stage, "c", "later-c");
    stage.receiver.wait_for(5, Duration::from_secs(30)).await;
    assert_eq!(heard(&stage), ["after-a", "after-b", "first-of-c", "later-b", "later-c"]);
    let (_, metrics) = weir.get("/metrics").await.unwrap();
    let of_c = |line: &str| {
        line.starts_with("weir_consumer_lag_events{") && line.contains(&format!("topic=\"{c}\""))
    };
    assert!(metrics.lines().any(of_c), "what it reads has a series");
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}
