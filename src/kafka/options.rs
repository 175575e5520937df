//! What librdkafka is told. Its defaults are wrong for Weir on assignment, offset reset, auto commit, idempotence,
//! partitioner and memory (reliability rules 2.4); the user's `kafka.properties` come first, then what Weir needs.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

use super::tokens::Tokens;

/// How to reach one cluster.
#[derive(Clone, PartialEq, Eq)]
pub struct Cluster {
    /// `host:port,host:port`.
    pub brokers: String,
    /// Properties of librdkafka that the user set, and those of security; values may be secret.
    pub properties: BTreeMap<String, String>,
    /// What clients sign on with, where that is a token.
    pub tokens: Option<Tokens>,
}

impl std::fmt::Debug for Cluster {
    /// Names of properties, never their values.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster")
            .field("brokers", &self.brokers)
            .field("properties", &self.properties.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// What differs from consumer to consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerOptions {
    /// The consumer group.
    pub group: String,
    /// A name for logs.
    pub client_id: String,
    /// Bytes that librdkafka may fetch ahead: `queued.max.messages.kbytes` and `fetch.max.bytes` (M9).
    pub prefetch: u64,
    /// Whether little is fetched ahead of each partition: what is fetched is read in its order, so that a long way ahead would
    /// keep an urgent record of another topic waiting.
    pub short_ahead: bool,
    /// After how long without a heartbeat the group takes this member for dead.
    pub session_timeout: Duration,
    /// How soon new topics and partitions are noticed.
    pub metadata_refresh: Duration,
}

impl ConsumerOptions {
    /// The defaults for a group.
    pub fn new(group: &str, client_id: &str) -> ConsumerOptions {
        ConsumerOptions {
            group: group.to_owned(),
            client_id: client_id.to_owned(),
            prefetch: 16 << 20,
            short_ahead: false,
            session_timeout: Duration::from_secs(10),
            metadata_refresh: Duration::from_secs(60),
        }
    }
}

/// Names of librdkafka that Weir sets itself and a user may not.
pub const RESERVED: &[&str] = &[
    "bootstrap.servers",
    "metadata.broker.list",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "partition.assignment.strategy",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "auto.offset.reset",
    "enable.partition.eof",
    "enable.idempotence",
    "acks",
    "request.required.acks",
    "isolation.level",
    "check.crcs",
    "allow.auto.create.topics",
    "transactional.id",
    "statistics.interval.ms",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
];

/// What librdkafka tells of itself: everything, of which the log shows what it is asked for. Debug lines come only where `debug` is
/// among the properties. (rdkafka would ask a logger that is not ours.)
const SAYS: RDKafkaLogLevel = RDKafkaLogLevel::Debug;

fn base(cluster: &Cluster, client_id: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &cluster.brokers);
    config.set("client.id", client_id);
    config.set("socket.keepalive.enable", "true");
    config.set("reconnect.backoff.max.ms", "10000");
    config.set("statistics.interval.ms", "0");
    config
}

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}

/// The configuration of a consumer.
pub fn consumer(cluster: &Cluster, options: &ConsumerOptions) -> ClientConfig {
    let mut config = base(cluster, &options.client_id);
    config.set_log_level(SAYS);
    let kilobytes = (options.prefetch / 1024).max(1024).to_string();
    let (messages, bytes) = if options.short_ahead { ("500", "65536") } else { ("10000", "1048576") };
    config
        .set("fetch.queue.backoff.ms", "50")
        .set("fetch.wait.max.ms", "500")
        .set("max.partition.fetch.bytes", bytes)
        .set("max.poll.interval.ms", "300000")
        .set("session.timeout.ms", millis(options.session_timeout))
        .set("topic.metadata.refresh.interval.ms", millis(options.metadata_refresh))
        .set("queued.min.messages", messages)
        .set("queued.max.messages.kbytes", &kilobytes)
        .set("fetch.max.bytes", (options.prefetch.max(1 << 20)).to_string());
    for (name, value) in &cluster.properties {
        config.set(name, value);
    }
    // A shorter session with the longer heartbeat would leave the group by itself; and so would a member that waits for as long
    // as its session before it connects again.
    let written = cluster.properties.get("session.timeout.ms").and_then(|text| text.parse::<u64>().ok());
    let session =
        written.unwrap_or_else(|| u64::try_from(options.session_timeout.as_millis()).unwrap_or(u64::MAX));
    // librdkafka begins at 100 ms.
    for (name, share, least) in [("heartbeat.interval.ms", 3, 1), ("reconnect.backoff.max.ms", 5, 100)] {
        if !cluster.properties.contains_key(name) {
            config.set(name, (session / share).max(least).to_string());
        }
    }
    config
        .set("group.id", &options.group)
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .set("check.crcs", "true")
        .set("allow.auto.create.topics", "false");
    config
}

/// The configuration of an at-least-once producer.
pub fn producer(cluster: &Cluster, client_id: &str) -> ClientConfig {
    let mut config = base(cluster, client_id);
    config
        .set_log_level(SAYS)
        .set("partitioner", "murmur2_random")
        .set("message.timeout.ms", "120000")
        // Until then a topic that does not exist counts as one that is being made.
        .set("topic.metadata.propagation.max.ms", "10000")
        .set("queue.buffering.max.kbytes", "65536")
        .set("batch.size", "900000")
        .set("linger.ms", "5")
        .set("compression.type", "zstd");
    for (name, value) in &cluster.properties {
        if !is_consumer_only(name) {
            config.set(name, value);
        }
    }
    config.set("enable.idempotence", "true").set("acks", "all").set("allow.auto.create.topics", "false");
    config
}

/// The configuration of an admin client.
pub fn admin(cluster: &Cluster, client_id: &str) -> ClientConfig {
    let mut config = base(cluster, client_id);
    // Nobody polls what it says: it would pile up.
    config.set_log_level(RDKafkaLogLevel::Emerg);
    for (name, value) in &cluster.properties {
        if !is_consumer_only(name) {
            config.set(name, value);
        }
    }
    config
}

fn is_consumer_only(name: &str) -> bool {
    ["fetch.", "session.", "heartbeat.", "max.poll.", "queued.", "max.partition."]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shorter_session_has_a_shorter_heartbeat_and_connects_again_in_time() {
        let properties = [("session.timeout.ms".to_owned(), "1500".to_owned())];
        let cluster =
            Cluster { brokers: "localhost:9092".into(), properties: properties.into(), tokens: None };
        let consumer = consumer(&cluster, &ConsumerOptions::new("g", "c"));
        assert_eq!(consumer.get("heartbeat.interval.ms"), Some("500"));
        assert_eq!(consumer.get("reconnect.backoff.max.ms"), Some("300"));
    }

    #[test]
    fn a_user_cannot_undo_what_correctness_needs() {
        let mut cluster =
            Cluster { brokers: "localhost:9092".into(), properties: BTreeMap::new(), tokens: None };
        for name in RESERVED {
            cluster.properties.insert((*name).to_owned(), "wrong".into());
        }
        let consumer = consumer(&cluster, &ConsumerOptions::new("g", "c"));
        assert_eq!(consumer.get("auto.offset.reset"), Some("error"));
        assert_eq!(consumer.get("enable.auto.commit"), Some("false"));
        assert_eq!(consumer.get("partition.assignment.strategy"), Some("cooperative-sticky"));
        assert_eq!(producer(&cluster, "p").get("enable.idempotence"), Some("true"));
        assert_eq!(producer(&cluster, "p").get("acks"), Some("all"));
    }
}
