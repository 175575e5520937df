//! One admin client per cluster and process: what exists, creating DLQ topics, lag.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;

use super::options::{self, Cluster};
use super::{KafkaError, Partition, raw};
use crate::event::TopicId;

const TIMEOUT: Duration = Duration::from_secs(10);

/// Asks about topics and makes them. Cheap to clone. The methods that are not async block (P10).
#[derive(Clone)]
pub struct Admin {
    client: Arc<AdminClient<DefaultClientContext>>,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Admin")
    }
}

impl Admin {
    /// Makes the client; it connects by itself.
    pub fn build(cluster: &Cluster, client_id: &str) -> Result<Admin, KafkaError> {
        let client = options::admin(cluster, client_id).create::<AdminClient<_>>()?;
        Ok(Admin { client: Arc::new(client) })
    }

    /// How many partitions a topic has; `None` where it does not exist. Blocks.
    pub fn partitions(&self, topic: &str) -> Result<Option<u32>, KafkaError> {
        let metadata = self.client.inner().fetch_metadata(Some(topic), TIMEOUT)?;
        let Some(found) = metadata.topics().iter().find(|t| t.name() == topic) else { return Ok(None) };
        match found.error() {
            None => {
                Ok(Some(u32::try_from(found.partitions().len()).unwrap_or(u32::MAX))
                    .filter(|count| *count > 0))
            }
            Some(errno) => {
                let error = KafkaError::from_errno(errno, None);
                if error.means_missing_topic() { Ok(None) } else { Err(error) }
            }
        }
    }

    /// The cluster's id and how many brokers it has. Blocks.
    pub fn cluster(&self) -> Result<(String, usize), KafkaError> {
        let client = self.client.inner();
        let nodes = client.fetch_metadata(None, TIMEOUT)?.brokers().len();
        Ok((client.fetch_cluster_id(TIMEOUT).unwrap_or_default(), nodes))
    }

    /// The id of each topic; `None` where it does not exist or the broker gives none. Blocks.
    pub fn topic_ids(&self, topics: &[Arc<str>]) -> Result<Vec<Option<TopicId>>, KafkaError> {
        let Some(first) = topics.first() else { return Ok(Vec::new()) };
        let broker = self.client.inner().fetch_metadata(Some(first), TIMEOUT)?.orig_broker_id();
        raw::topic_ids(self.client.inner(), broker, topics, TIMEOUT)
    }

    /// The lowest offset that a partition's log holds and one above its highest. Blocks.
    pub fn log(&self, partition: &Partition) -> Result<(i64, i64), KafkaError> {
        Ok(self.client.inner().fetch_watermarks(&partition.topic, partition.number, TIMEOUT)?)
    }

    /// Creates a topic with a retention time; fine where it exists already. The broker's default replication.
    pub async fn create_topic(
        &self,
        topic: &str,
        partitions: u32,
        retention: Duration,
    ) -> Result<(), KafkaError> {
        let retention = retention.as_millis().to_string();
        let count = i32::try_from(partitions).unwrap_or(i32::MAX);
        let new = NewTopic::new(topic, count, TopicReplication::Fixed(-1)).set("retention.ms", &retention);
        let options = AdminOptions::new().request_timeout(Some(TIMEOUT)).operation_timeout(Some(TIMEOUT));
        let results = self.client.create_topics([&new], &options).await?;
        for result in results {
            if let Err((_, code)) = result
                && code != rdkafka::error::RDKafkaErrorCode::TopicAlreadyExists
            {
                return Err(KafkaError { code, message: code.to_string(), fatal: false });
            }
        }
        Ok(())
    }
}
