//! What a process has of each Kafka cluster that its stages use: one admin client and two producers (D12), whoever asks it
//! how it is, and what keeps its token fresh.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::stage::Running;
use super::{tokens, watch};
use crate::flow::engine::Outputs;
use crate::handler::webhook::TokenSource;
use crate::kafka::KafkaError;
use crate::kafka::admin::Admin;
use crate::kafka::embedded::Embedded;
use crate::kafka::options::Cluster;
use crate::kafka::producer::Producer;

/// How a cluster is reached.
#[derive(Debug, Clone)]
pub struct ClusterConfig {
    /// Its brokers, and what librdkafka is told.
    pub cluster: Cluster,
    /// Where its tokens come from, where clients sign on with one.
    pub token_source: Option<Arc<TokenSource>>,
    /// The in-process broker, where it is one.
    pub embedded: Option<Embedded>,
}

impl ClusterConfig {
    /// An in-process broker.
    pub fn embedded(embedded: &Embedded) -> ClusterConfig {
        ClusterConfig { cluster: embedded.cluster(), token_source: None, embedded: Some(embedded.clone()) }
    }
}

/// The clients of one cluster.
#[derive(Debug)]
pub(super) struct Clients {
    pub(super) name: String,
    pub(super) config: ClusterConfig,
    pub(super) admin: Admin,
    pub(super) outputs: Outputs,
    pub(super) seen: watch::Seen,
    readers: watch::Readers,
}

impl Clients {
    /// Makes them; the queue of each producer takes so many bytes. An unreachable broker is no error.
    pub(super) fn build(name: String, config: ClusterConfig, queue: u64) -> Result<Clients, KafkaError> {
        let mut cluster = config.cluster.clone();
        let kilobytes = (queue / 1024).to_string();
        cluster.properties.entry("queue.buffering.max.kbytes".to_owned()).or_insert(kilobytes);
        let outputs = Outputs {
            records: Producer::build(&cluster, "weir-producer")?,
            dead_letters: Producer::build(&cluster, "weir-dlq-producer")?,
        };
        let admin = Admin::build(&config.cluster, "weir-admin")?;
        let readers = watch::Readers::default();
        Ok(Clients { name, config, admin, outputs, seen: watch::Seen::default(), readers })
    }

    /// Keeps its token fresh, where it has one.
    pub(super) fn keep_token(&self, tasks: &TaskTracker, stop: &CancellationToken) {
        if let (Some(source), Some(tokens)) = (&self.config.token_source, &self.config.cluster.tokens) {
            tasks.spawn(tokens::keep(self.name.clone(), Arc::clone(source), tokens.clone(), stop.clone()));
        }
    }

    /// Asks it how it and the topics of its stages are, until told to stop.
    pub(super) fn look(&self, stop: CancellationToken) -> impl Future<Output = ()> + Send + use<> {
        let watch = watch::Watch {
            cluster: self.name.clone(),
            admin: self.admin.clone(),
            readers: self.readers.clone(),
            seen: Arc::clone(&self.seen),
        };
        watch.run(stop)
    }

    /// Looks at the topics of a stage as well.
    pub(super) fn watch(&self, running: &Running) {
        let source = &running.plan.source;
        self.readers.add(watch::Reader {
            service: running.plan.service.clone(),
            topics: source.topics.iter().map(|name| Arc::from(name.as_str())).collect(),
            pattern: source.pattern.clone(),
            taken: None,
            missed: Vec::new(),
            poll: running.stopper(),
            engine: Arc::clone(&running.engine),
        });
    }

    /// Looks at the topics of a stage no more.
    pub(super) fn forget(&self, service: &str) {
        self.readers.remove(service);
    }

    /// Waits until what was handed to its producers is acknowledged. Blocks; whether all of it was.
    pub(super) fn flush(&self, within: Duration) -> bool {
        self.outputs.records.flush(within).and(self.outputs.dead_letters.flush(within)).is_ok()
    }
}
