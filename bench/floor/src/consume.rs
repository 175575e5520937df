//! The consumer, on a thread of its own: copies each payload out and hands it on in batches.

use std::time::Duration;

use bytes::Bytes;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use tokio::sync::mpsc;

/// What is read, and as whom.
pub struct Source {
    brokers: String,
    topic: String,
    group: String,
}

/// One event: its key and its value.
pub type Event = (Bytes, Bytes);

const BATCH: usize = 256;

impl Source {
    /// Connects to nothing yet.
    pub fn new(brokers: &str, topic: &str, group: &str) -> Source {
        Source { brokers: brokers.into(), topic: topic.into(), group: group.into() }
    }

    /// Starts the thread.
    pub fn start(self) -> mpsc::Receiver<Vec<Event>> {
        let (batches, receiver) = mpsc::channel(8);
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.brokers)
            .set("group.id", &self.group)
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .set("queued.max.messages.kbytes", "16384")
            .set("queued.min.messages", "10000")
            .set("fetch.queue.backoff.ms", "50")
            .create()
            .expect("a consumer");
        consumer.subscribe(&[&self.topic]).expect("subscribed");
        let poll = move || {
            let mut batch = Vec::with_capacity(BATCH);
            loop {
                // Waits only where nothing is in hand.
                let wait = if batch.is_empty() { Duration::from_millis(100) } else { Duration::ZERO };
                match consumer.poll(wait) {
                    Some(Ok(message)) => {
                        let copy = |bytes: Option<&[u8]>| Bytes::copy_from_slice(bytes.unwrap_or_default());
                        batch.push((copy(message.key()), copy(message.payload())));
                        if batch.len() < BATCH {
                            continue;
                        }
                    }
                    Some(Err(error)) => eprintln!("{error}"),
                    None => {}
                }
                if !batch.is_empty() && batches.blocking_send(std::mem::take(&mut batch)).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("poll".into()).spawn(poll).expect("a thread");
        receiver
    }
}
