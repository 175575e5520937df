//! librdkafka's in-process broker, shared between threads.

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

use crate::kafka::KafkaError;

/// librdkafka's in-process broker.
pub(crate) struct Mock(MockCluster<'static, DefaultProducerContext>);

// SAFETY: librdkafka's mock cluster runs on a thread of its own; every call locks it or hands an operation to that thread.
unsafe impl Send for Mock {}
// SAFETY: as above.
unsafe impl Sync for Mock {}

impl std::fmt::Debug for Mock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mock({})", self.0.bootstrap_servers())
    }
}

impl Mock {
    pub(crate) fn start() -> Result<Mock, KafkaError> {
        Ok(Mock(MockCluster::new(1)?))
    }

    pub(crate) fn brokers(&self) -> String {
        self.0.bootstrap_servers()
    }

    pub(crate) fn create_topic(&self, topic: &str, partitions: i32) -> Result<(), KafkaError> {
        Ok(self.0.create_topic(topic, partitions, 1)?)
    }
}
