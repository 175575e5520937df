//! The at-least-once producer: idempotent, `acks=all`, one per cluster and process (and one more for DLQ topics, D12). A
//! record is written when its delivery report says so, never before.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{Producer as _, ProducerContext, ThreadedProducer};
use tokio::sync::{Notify, oneshot};
use tracing::{debug, warn};

use super::options::{self, Cluster};
use super::{KafkaError, raw};
use crate::event::Outgoing;

/// How long a record may wait for room in the producer's queue.
const ROOM_WITHIN: Duration = Duration::from_secs(120);
/// How long a delivery report may take beyond `message.timeout.ms` (120 s), which bounds it (D8).
const REPORT_WITHIN: Duration = Duration::from_secs(150);

/// Where a record was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

/// Writes records. Cheap to clone.
#[derive(Clone)]
pub struct Producer {
    client: Arc<ThreadedProducer<Context>>,
    reported: Arc<Notify>,
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Producer")
    }
}

type Completion = oneshot::Sender<Result<Written, KafkaError>>;

struct Context {
    name: String,
    reported: Arc<Notify>,
}

impl ClientContext for Context {
    fn error(&self, error: rdkafka::error::KafkaError, reason: &str) {
        debug!(client = self.name, %error, reason, "kafka client error");
    }

    fn log(&self, level: rdkafka::config::RDKafkaLogLevel, facility: &str, message: &str) {
        if (level as i32) <= (rdkafka::config::RDKafkaLogLevel::Warning as i32) {
            warn!(client = self.name, facility, "kafka client: {message}");
        } else {
            debug!(client = self.name, facility, "kafka client: {message}");
        }
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = Box<Completion>;

    fn delivery(&self, result: &DeliveryResult<'_>, completion: Box<Completion>) {
        let written = match result {
            Ok(message) => Ok(Written { partition: message.partition(), offset: message.offset() }),
            Err((error, _)) => Err(KafkaError::from(error.clone())),
        };
        // Who waited may have been cancelled: the record is written all the same.
        completion.send(written).ok();
        self.reported.notify_waiters();
    }
}

impl Producer {
    /// Makes the client; it connects by itself.
    pub fn build(cluster: &Cluster, client_id: &str) -> Result<Producer, KafkaError> {
        let reported = Arc::new(Notify::new());
        let context = Context { name: client_id.to_owned(), reported: Arc::clone(&reported) };
        let client = options::producer(cluster, client_id).create_with_context(context)?;
        Ok(Producer { client: Arc::new(client), reported })
    }

    /// Writes a record and waits for its delivery report. An error may mean that it was written all the same (D7).
    ///
    /// A full queue is waited out (M7), at most 120 s.
    pub async fn send(&self, record: &Outgoing) -> Result<Written, KafkaError> {
        let (sender, report) = oneshot::channel();
        let mut completion = Box::new(sender);
        let room = tokio::time::Instant::now() + ROOM_WITHIN;
        loop {
            let reported = self.reported.notified();
            match raw::produce(self.client.client(), record, completion) {
                Ok(()) => break,
                Err((error, back)) if error.code == RDKafkaErrorCode::QueueFull => {
                    completion = back;
                    if tokio::time::timeout_at(room, reported).await.is_err() {
                        return Err(error);
                    }
                }
                Err((error, _)) => return Err(error),
            }
        }
        match tokio::time::timeout(REPORT_WITHIN, report).await {
            Ok(Ok(written)) => written,
            Ok(Err(_)) | Err(_) => Err(KafkaError::timed_out("waiting for the delivery report")),
        }
    }

    /// Waits until every record has its report. Blocks (P10); whatever is left after `timeout` is an error (D9).
    pub fn flush(&self, timeout: Duration) -> Result<(), KafkaError> {
        Ok(self.client.flush(timeout)?)
    }

    /// How many records have no report yet.
    pub fn in_flight(&self) -> usize {
        usize::try_from(self.client.in_flight_count()).unwrap_or(0)
    }
}
