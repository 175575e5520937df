//! The load: an idempotent producer with acks=all that writes L1 before it sends and L2 when Kafka has acknowledged.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};

use crate::support::kafka::Kafka;
use crate::support::ledger::{Acked, Intent, hash};
use crate::support::run::{Run, pause};

/// What is to be sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) events: usize,
    pub(crate) keys: u32,
    /// Size of a value in bytes, about.
    pub(crate) size: usize,
    /// Events a second; none = as fast as Kafka takes them.
    pub(crate) rate: Option<u32>,
}

/// What a value of the load says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Read {
    pub(crate) uid: usize,
    pub(crate) key: u32,
    pub(crate) seq: u32,
}

/// Reads a value of the load; `None` for any other bytes.
pub(crate) fn read(value: &[u8]) -> Option<Read> {
    let value: serde_json::Value = serde_json::from_slice(value).ok()?;
    let number = |name: &str| value.get(name)?.as_u64();
    Some(Read { uid: number("uid")? as usize, key: number("key")? as u32, seq: number("seq")? as u32 })
}

/// The Kafka key of a key's number.
pub(crate) fn key(number: u32) -> String {
    format!("key-{number}")
}

impl Load {
    /// Sends it all and returns L1 and L2 when Kafka has answered for each.
    ///
    /// # Panics
    /// Where Kafka does not take it within two minutes.
    pub(crate) async fn produce(self, run: &Run, kafka: &Kafka, topic: &str) -> (Vec<Intent>, Vec<Acked>) {
        let acks = Acks(Arc::default());
        let mut config = kafka.client();
        config.set("enable.idempotence", "true").set("acks", "all").set("linger.ms", "5");
        config.set("partitioner", "murmur2_random").set("message.timeout.ms", "120000");
        let producer = ThreadedProducer::from_config_and_context(&config, acks.clone()).unwrap();
        let mut rng = run.rng(1);
        let mut seqs: HashMap<u32, u32> = HashMap::new();
        let begun = run.now();
        let mut intents = Vec::with_capacity(self.events);
        let pad = "x".repeat(self.size.saturating_sub(70));
        for uid in 0..self.events {
            let number = rng.u32(..self.keys);
            let next = seqs.entry(number).or_default();
            let seq = std::mem::replace(next, *next + 1);
            let value =
                format!(r#"{{"uid":{uid},"key":{number},"seq":{seq},"run":"{}","pad":"{pad}"}}"#, run.name);
            intents.push(Intent { key: number, seq, hash: hash(value.as_bytes()) });
            let key = key(number);
            let mut record = BaseRecord::with_opaque_to(topic, Box::new(uid)).key(&key).payload(&value);
            while let Err((error, back)) = producer.send(record) {
                assert!(
                    matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)),
                    "{error}"
                );
                record = back;
                pause(Duration::from_millis(10)).await;
            }
            if let Some(rate) = self.rate
                && uid % 20 == 19
            {
                // By the clock, so that what sending takes is part of it.
                let due = Duration::from_secs_f64((uid + 1) as f64 / f64::from(rate));
                pause(due.saturating_sub(run.now() - begun)).await;
            }
        }
        tokio::task::spawn_blocking(move || producer.flush(Duration::from_secs(120))).await.unwrap().unwrap();
        let acked = std::mem::take(&mut *acks.0.lock().unwrap());
        assert!(acked.len() <= intents.len());
        (intents, acked)
    }
}

/// L2, filled by the delivery callback. A failed record is *maybe*: not in it.
#[derive(Debug, Clone)]
struct Acks(Arc<Mutex<Vec<Acked>>>);

impl ClientContext for Acks {}

impl ProducerContext for Acks {
    type DeliveryOpaque = Box<usize>;

    fn delivery(&self, result: &DeliveryResult<'_>, uid: Box<usize>) {
        if let Ok(message) = result {
            let acked = Acked { uid: *uid, partition: message.partition(), offset: message.offset() };
            self.0.lock().unwrap().push(acked);
        }
    }
}
