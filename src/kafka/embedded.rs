//! librdkafka's in-process broker for `weir dev`: memory only, 5 MiB a partition, no admin API, no real transactions.

use std::sync::Arc;

use super::options::Cluster;
use super::{KafkaError, raw};

/// What a banner must say of it.
pub const LIMITS: &str =
    "memory only, 5 MiB a partition, no admin API, no real transactions, not for measuring";

/// A running broker; it ends with the last clone.
#[derive(Debug, Clone)]
pub struct Embedded {
    mock: Arc<raw::Mock>,
}

impl Embedded {
    /// Starts one on a port of loopback.
    pub fn start() -> Result<Embedded, KafkaError> {
        Ok(Embedded { mock: Arc::new(raw::Mock::start()?) })
    }

    /// How to reach it.
    pub fn cluster(&self) -> Cluster {
        Cluster { brokers: self.mock.brokers(), properties: std::collections::BTreeMap::new(), tokens: None }
    }

    /// Creates a topic.
    pub fn create_topic(&self, topic: &str, partitions: u32) -> Result<(), KafkaError> {
        self.mock.create_topic(topic, i32::try_from(partitions).unwrap_or(i32::MAX))
    }
}
