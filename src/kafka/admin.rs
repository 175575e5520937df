//! One admin client per cluster and process: what exists, creating DLQ topics, lag.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;

use super::credentials::Credentials;
use super::options::{self, Cluster};
use super::raw::TopicSeen;
use super::{KafkaError, Partition, raw};

const TIMEOUT: Duration = Duration::from_secs(10);

/// Asks about topics and makes them. Cheap to clone. The methods that are not async block (P10).
#[derive(Clone)]
pub struct Admin(Arc<Shared>);

struct Shared {
    cluster: Cluster,
    client_id: String,
    made: Mutex<Made>,
}

/// The client of the moment.
struct Made {
    client: Arc<AdminClient<DefaultClientContext>>,
    /// The files that it was made with.
    credentials: Credentials,
    /// Which token it was told of last.
    told: u64,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Admin")
    }
}

/// What a client sees of its cluster.
#[derive(Debug, Clone)]
pub struct ClusterSeen {
    /// Its id; empty where it does not say.
    pub id: String,
    /// How many brokers it has.
    pub nodes: usize,
    /// The names of all topics.
    pub topics: Vec<String>,
}

impl Made {
    fn new(cluster: &Cluster, client_id: &str) -> Result<Made, KafkaError> {
        let credentials = Credentials::read(cluster);
        let client = Arc::new(options::admin(cluster, client_id).create::<AdminClient<_>>()?);
        Ok(Made { client, credentials, told: 0 })
    }
}

impl Admin {
    /// Makes the client; it connects by itself.
    pub fn build(cluster: &Cluster, client_id: &str) -> Result<Admin, KafkaError> {
        let made = Mutex::new(Made::new(cluster, client_id)?);
        Ok(Admin(Arc::new(Shared { cluster: cluster.clone(), client_id: client_id.to_owned(), made })))
    }

    /// The client, told of the token of the moment; the first one is waited for. A new one where the files have changed that
    /// it signs on with. Blocks.
    fn client(&self) -> Arc<AdminClient<DefaultClientContext>> {
        let Shared { cluster, client_id, made } = &*self.0;
        if let Some(tokens) = &cluster.tokens {
            tokens.wait(TIMEOUT);
        }
        let mut made = made.lock().unwrap_or_else(PoisonError::into_inner);
        if made.credentials != Credentials::read(cluster)
            && let Ok(new) = Made::new(cluster, client_id)
        {
            *made = new;
        }
        let Made { client, told, .. } = &mut *made;
        if let Some(tokens) = &cluster.tokens {
            tokens.tell(client.inner(), told);
        }
        Arc::clone(client)
    }

    /// How many partitions a topic has; `None` where it does not exist. Blocks.
    pub fn partitions(&self, topic: &str) -> Result<Option<u32>, KafkaError> {
        let metadata = self.client().inner().fetch_metadata(Some(topic), TIMEOUT)?;
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

    /// The cluster as this client may see it. Blocks.
    pub fn cluster(&self) -> Result<ClusterSeen, KafkaError> {
        let client = self.client();
        let client = client.inner();
        let metadata = client.fetch_metadata(None, TIMEOUT)?;
        let there = metadata.topics().iter().filter(|topic| topic.error().is_none());
        Ok(ClusterSeen {
            id: client.fetch_cluster_id(TIMEOUT).unwrap_or_default(),
            nodes: metadata.brokers().len(),
            topics: there.map(|topic| topic.name().to_owned()).collect(),
        })
    }

    /// Whether each topic exists, and its id. Blocks.
    pub fn topic_ids(&self, topics: &[Arc<str>]) -> Result<Vec<TopicSeen>, KafkaError> {
        let Some(first) = topics.first() else { return Ok(Vec::new()) };
        let broker = self.client().inner().fetch_metadata(Some(first), TIMEOUT)?.orig_broker_id();
        raw::topic_ids(self.client().inner(), broker, topics, false, TIMEOUT)
    }

    /// The lowest offset that a partition's log holds and one above its highest. Blocks.
    pub fn log(&self, partition: &Partition) -> Result<(i64, i64), KafkaError> {
        Ok(self.client().inner().fetch_watermarks(&partition.topic, partition.number, TIMEOUT)?)
    }

    /// Of each partition one above the last record that may be read now, in one request; one that is not known is left out.
    /// Blocks.
    pub fn log_ends(&self, partitions: &[Partition]) -> Result<Vec<(Partition, i64)>, KafkaError> {
        raw::log_ends(self.client().inner(), partitions, TIMEOUT)
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
        let client = Arc::clone(&self.0.made.lock().unwrap_or_else(PoisonError::into_inner).client);
        let results = client.create_topics([&new], &options).await?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Outgoing;
    use crate::kafka::embedded::Embedded;
    use crate::kafka::producer::Producer;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_ends_of_many_logs_come_in_one_answer() {
        let broker = Embedded::start().unwrap();
        broker.create_topic("one", 2).unwrap();
        broker.create_topic("two", 1).unwrap();
        let producer = Producer::build(&broker.cluster(), "test").unwrap();
        let record = |topic: &str, partition| Outgoing {
            topic: topic.into(),
            partition: Some(partition),
            key: None,
            value: Some("v".into()),
            headers: Vec::new(),
            timestamp: None,
        };
        for (topic, partition) in [("one", 1), ("one", 1), ("two", 0)] {
            producer.send(&record(topic, partition)).await.unwrap();
        }
        let asked: Vec<Partition> = [("one", 0), ("one", 1), ("two", 0)]
            .map(|(topic, number)| Partition { topic: topic.into(), number })
            .into();
        let admin = Admin::build(&broker.cluster(), "test").unwrap();
        let answer = |asked: Vec<Partition>| {
            let admin = admin.clone();
            tokio::task::spawn_blocking(move || admin.log_ends(&asked))
        };
        let mut ends = answer(asked.clone()).await.unwrap().unwrap();
        ends.sort();
        assert_eq!(ends, asked.into_iter().zip([0, 2, 1]).collect::<Vec<_>>());
        assert_eq!(answer(Vec::new()).await.unwrap().unwrap(), []);
    }
}
