//! What is urgent goes first: among the records that a stage holds, and over several topics (seed: orders and analytics).

use std::time::Duration;

use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::delivery::Stage;
use crate::support::receiver::status;

/// Records of their own keys, which say how urgent they are.
fn write(stage: &Stage, topic: &str, priority: &str, count: usize) {
    let producer: BaseProducer = stage.kafka.client().create().unwrap();
    for number in 0..count {
        let (key, value) = (format!("{priority}-{number}"), format!("{{\"priority\":\"{priority}\"}}"));
        assert!(producer.send(BaseRecord::to(topic).key(&key).payload(&value)).is_ok());
        producer.poll(Duration::ZERO);
    }
    producer.flush(Duration::from_secs(30)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_urgent_topic_is_not_behind_a_backlog_of_another() {
    let slow = |_: crate::support::receiver::Seen<'_>| status(200).after(Duration::from_millis(20));
    let mut stage = Stage::set("priority", "", slow).await;
    let urgent = format!("{}.urgent", stage.topic);
    stage.kafka.create(&urgent, 1, &[]).await;
    let yaml = format!(
        "source: {{ topics: [{0}, {urgent}] }}\nhandler: {1}\ndlq: {0}.dlq\nmax_in_flight: 8\npriority: .priority\n",
        stage.topic,
        stage.receiver.url()
    );
    stage.site = stage.site.pipeline(&stage.topic, &yaml);
    // More than the stage holds at once, so that there is no room when the urgent ones come.
    write(&stage, &stage.topic, "low", 12_000);
    let weir = stage.site.start("one").await;
    stage.receiver.wait_for(300, Duration::from_secs(60)).await;
    let before = stage.receiver.arrivals().len();
    write(&stage, &urgent, "critical", 40);
    let urgent_ones = || {
        let arrivals = stage.receiver.arrivals();
        arrivals.iter().filter(|arrival| arrival.body[..] == *br#"{"priority":"critical"}"#).count()
    };
    crate::support::run::until("all urgent ones", Duration::from_secs(60), || async { urgent_ones() == 40 })
        .await;
    let after = stage.receiver.arrivals().len();
    // 8 slots of 20 ms are 400 a second, and the backlog would take half a minute.
    assert!(after - before < 1_500, "{} others went before the urgent ones", after - before - 40);
    assert!(stage.receiver.arrivals().len() < 11_000, "the backlog was there all the time");
    assert_eq!(weir.metric("weir_anomalies_total", &[("kind", "rule_failed")]).await, 0.0);
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

/// What is urgent overtakes other keys, never an older record of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_of_one_key_keep_their_order_whatever_their_priority() {
    const KEYS: usize = 20;
    const OF_EACH: usize = 40;
    let slow = |_: crate::support::receiver::Seen<'_>| status(200).after(Duration::from_millis(10));
    let mut stage = Stage::set("priority-key", "", slow).await;
    let yaml = format!(
        "source: {0}\nhandler: {1}\ndlq: {0}.dlq\nmax_in_flight: 4\npriority: .priority\n",
        stage.topic,
        stage.receiver.url()
    );
    stage.site = stage.site.pipeline(&stage.topic, &yaml);
    let mut rng = stage.run.rng(7);
    let records: Vec<(String, String)> = (0..KEYS * OF_EACH)
        .map(|number| {
            let (key, seq) = (number % KEYS, number / KEYS);
            let priority = ["critical", "high", "normal", "low"][rng.usize(..4)];
            (format!("k{key}"), format!(r#"{{"priority":"{priority}","key":{key},"seq":{seq}}}"#))
        })
        .collect();
    let borrowed: Vec<(&str, &str)> =
        records.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    stage.kafka.write(&stage.topic, &borrowed);
    let weir = stage.site.start("one").await;
    stage.receiver.wait_for(records.len(), Duration::from_secs(60)).await;
    let arrivals = stage.receiver.arrivals();
    assert_eq!(arrivals.len(), records.len(), "each once");
    let mut seqs = vec![Vec::new(); KEYS];
    let mut places = Vec::new();
    for arrival in &arrivals {
        let value: serde_json::Value = serde_json::from_slice(&arrival.body).unwrap();
        let (key, seq) = (value["key"].as_u64().unwrap() as usize, value["seq"].as_u64().unwrap() as usize);
        seqs[key].push(seq);
        places.push(seq * KEYS + key);
    }
    for (key, seqs) in seqs.iter().enumerate() {
        assert!(seqs.iter().copied().eq(0..OF_EACH), "key {key}: {seqs:?}");
    }
    // Four at once put none further away than a few; only a priority does.
    let overtaken = places.windows(2).filter(|pair| pair[1] + 2 * KEYS < pair[0]).count();
    assert!(overtaken > 10, "the priority did bite: {overtaken} of {}", records.len());
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}
