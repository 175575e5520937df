//! The load: 512-byte JSON events, keys in turn, spread over the partitions by key as in the Java world.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};

/// Makes the topic and fills it.
pub async fn run(brokers: &str, topic: &str, events: usize, keys: usize, partitions: i32) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    let admin: AdminClient<DefaultClientContext> = config.create().expect("an admin client");
    let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    let made = admin.create_topics([&new], &AdminOptions::new()).await.expect("an answer");
    made.into_iter().next().expect("one answer").expect("the topic is new");
    let producer: ThreadedProducer<DefaultProducerContext> = config
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("partitioner", "murmur2_random")
        .set("linger.ms", "20")
        .set("compression.type", "none")
        .create()
        .expect("a producer");
    let pad = "x".repeat(512);
    for uid in 0..events {
        let key = format!("key-{}", uid % keys);
        let mut value = format!(
            r#"{{"uid":{uid},"key":"{key}","status":"PAID","total":{{"cents":{}}},"customer":{{"email":"a@example.com"}},"pad":""#,
            uid % 10_000
        );
        value.push_str(&pad[..512 - 2 - value.len()]);
        value.push_str("\"}");
        while let Err((error, _)) = producer.send(BaseRecord::to(topic).key(&key).payload(&value)) {
            assert!(matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)), "{error}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    producer.flush(Duration::from_secs(300)).expect("everything acknowledged");
}
