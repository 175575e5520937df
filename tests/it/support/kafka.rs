//! A broker under the test's control: the shared one (named in `KAFKA_BROKERS`, else started once for this process), or
//! one of a test's own that can be killed and started again on the same log. Topics and groups are new for each test.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

use crate::support::ledger::{Dead, Sample};
use crate::support::load;
use crate::support::run::{Run, env, root, say, until};

/// A broker. An own one goes, with its log, when this is dropped.
#[derive(Debug)]
pub(crate) struct Kafka {
    brokers: String,
    own: Option<Own>,
}

#[derive(Debug)]
struct Own {
    serve: Child,
    dir: PathBuf,
    ports: [u16; 3],
    via: u16,
    /// Its further listeners.
    more: HashMap<&'static str, u16>,
}

/// The broker that the tests share.
pub(crate) fn shared() -> &'static Kafka {
    static SHARED: OnceLock<Kafka> = OnceLock::new();
    SHARED.get_or_init(|| match env("KAFKA_BROKERS") {
        Some(brokers) => Kafka { brokers, own: None },
        None => {
            say("KAFKA_BROKERS is not set: starting a Kafka for this run");
            Kafka::own("shared", None)
        }
    })
}

impl Kafka {
    /// A broker of the test's own. `via` is the port under which its second listener is advertised: a proxy's.
    ///
    /// # Panics
    /// Where no Kafka can be started: a missing service is a failure, never a skipped test.
    pub(crate) fn own(name: &str, via: Option<u16>) -> Kafka {
        Kafka::serve(name, via, "", &[])
    }

    /// The same with lines of `server.properties`.
    pub(crate) fn with(name: &str, settings: &str) -> Kafka {
        Kafka::serve(name, None, settings, &[])
    }

    /// The same with further listeners, each by its name and protocol.
    pub(crate) fn listening(name: &str, listeners: &[(&'static str, &str)], settings: &str) -> Kafka {
        Kafka::serve(name, None, settings, listeners)
    }

    fn serve(name: &str, via: Option<u16>, settings: &str, listeners: &[(&'static str, &str)]) -> Kafka {
        let ports = free_ports();
        let more: HashMap<&'static str, u16> =
            listeners.iter().map(|(listener, _)| *listener).zip(more_ports(listeners.len())).collect();
        let written: Vec<String> = listeners
            .iter()
            .map(|(listener, protocol)| format!("{listener}={protocol}@{}", more[listener]))
            .collect();
        let dir = std::env::temp_dir().join(format!("weir-kafka-{name}-{}", ports[0]));
        let mut command = script("serve", &dir, ports, via.unwrap_or(ports[2]));
        command.env("KAFKA_SETTINGS", settings).env("KAFKA_LISTENERS", written.join(" "));
        let mut serve = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("bash runs");
        let mut line = String::new();
        BufReader::new(serve.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("ready"), "scripts/kafka serve did not come up; its words are above");
        let brokers = format!("127.0.0.1:{}", ports[0]);
        Kafka { brokers, own: Some(Own { serve, dir, ports, via: via.unwrap_or(ports[2]), more }) }
    }

    /// `host:port`, for `bootstrap.servers`.
    pub(crate) fn brokers(&self) -> &str {
        &self.brokers
    }

    /// The port of an own broker's second listener: what a proxy stands in front of.
    pub(crate) fn faulty_port(&self) -> u16 {
        self.own.as_ref().expect("only an own broker has one that is known").ports[2]
    }

    /// The same broker as it is seen at one of its further listeners.
    pub(crate) fn at(&self, listener: &str) -> Kafka {
        Kafka::behind(self.own.as_ref().expect("only an own broker has further listeners").more[listener])
    }

    /// Runs one of Kafka's own tools on an own broker.
    ///
    /// # Panics
    /// Where the tool fails.
    pub(crate) fn tool(&self, class: &str, arguments: &[&str]) {
        let own = self.own.as_ref().expect("only an own broker is changed by a tool");
        let mut tool = script("tool", &own.dir, own.ports, own.via);
        let output = tool.arg(class).args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{class} {arguments:?}: {said}");
    }

    /// The same broker as it is seen through a proxy on this port.
    pub(crate) fn behind(port: u16) -> Kafka {
        Kafka { brokers: format!("127.0.0.1:{port}"), own: None }
    }

    /// SIGKILL to an own broker. Returns its process id.
    pub(crate) fn kill(&self) -> u32 {
        let own = self.own.as_ref().expect("only an own broker is killed");
        let pid = std::fs::read_to_string(own.dir.join("pid")).unwrap().trim().parse().unwrap();
        assert!(script("kill", &own.dir, own.ports, own.via).status().unwrap().success());
        pid
    }

    /// Starts an own broker again, on the same log directory and ports.
    pub(crate) fn start(&self) {
        let own = self.own.as_ref().expect("only an own broker is started");
        assert!(
            script("start", &own.dir, own.ports, own.via).stdout(Stdio::null()).status().unwrap().success()
        );
    }

    /// Options that every client here has.
    pub(crate) fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers);
        config.set("reconnect.backoff.max.ms", "500");
        config.set("topic.metadata.propagation.max.ms", "10000");
        config
    }

    /// Makes a topic, with the topic settings given.
    pub(crate) async fn create(&self, topic: &str, partitions: i32, settings: &[(&str, &str)]) {
        let admin: AdminClient<DefaultClientContext> = self.client().create().unwrap();
        let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        for (name, value) in settings {
            new = new.set(name, value);
        }
        let made = admin.create_topics([&new], &AdminOptions::new()).await.unwrap();
        made.into_iter().next().unwrap().unwrap();
    }

    /// Gives a topic more partitions, and waits until it shows them.
    pub(crate) async fn grow(&self, topic: &str, partitions: usize) {
        let admin: AdminClient<DefaultClientContext> = self.client().create().unwrap();
        let new = [NewPartitions::new(topic, partitions)];
        let made = admin.create_partitions(&new, &AdminOptions::new()).await.unwrap();
        made.into_iter().next().unwrap().unwrap();
        let shows = || async {
            let found = admin.inner().fetch_metadata(Some(topic), Duration::from_secs(10));
            found.is_ok_and(|metadata| metadata.topics()[0].partitions().len() == partitions)
        };
        until("the new partitions", Duration::from_secs(15), shows).await;
    }

    /// Writes records to partition 0, and waits for every acknowledgement.
    pub(crate) fn write(&self, topic: &str, records: &[(&str, &str)]) {
        let producer: BaseProducer = self.client().set("linger.ms", "5").create().unwrap();
        for (key, value) in records {
            assert!(producer.send(BaseRecord::to(topic).partition(0).key(*key).payload(*value)).is_ok());
        }
        producer.flush(Duration::from_secs(20)).unwrap();
        let (_, end) = producer.client().fetch_watermarks(topic, 0, Duration::from_secs(10)).unwrap();
        assert!(end >= records.len() as i64, "{topic} ends at {end}");
    }

    /// Changes settings of a topic.
    pub(crate) async fn configure(&self, topic: &str, settings: &[(&str, &str)]) {
        let admin: AdminClient<DefaultClientContext> = self.client().create().unwrap();
        let entries = settings.iter().copied().collect();
        let change = AlterConfig { specifier: ResourceSpecifier::Topic(topic), entries };
        let made = admin.alter_configs([&change], &AdminOptions::new()).await.unwrap();
        made.into_iter().next().unwrap().unwrap();
    }

    /// What a group has committed for the partitions of a topic, offset and metadata; without an entry where it has
    /// nothing. An error is the broker's, and worth another try.
    pub(crate) fn committed(
        &self,
        run: &Run,
        group: &str,
        topic: &str,
        partitions: i32,
    ) -> Result<Vec<Sample>, String> {
        let reader: BaseConsumer = self.client().set("group.id", group).create().unwrap();
        committed(&reader, run, topic, partitions)
    }

    /// Reads a topic from its beginning to its present end.
    pub(crate) fn read(&self, run: &Run, topic: &str) -> Vec<Dead> {
        let consumer: BaseConsumer = self.client().set("group.id", "reader").create().unwrap();
        let bound = Duration::from_secs(20);
        let metadata = consumer.fetch_metadata(Some(topic), bound).unwrap();
        let mut all = TopicPartitionList::new();
        let mut left = 0;
        for partition in metadata.topics()[0].partitions() {
            let (low, high) = consumer.fetch_watermarks(topic, partition.id(), bound).unwrap();
            left += high - low;
            all.add_partition_offset(topic, partition.id(), Offset::Beginning).unwrap();
        }
        consumer.assign(&all).unwrap();
        let mut records = Vec::new();
        while left > 0 {
            let message = next_record(&consumer);
            left -= 1;
            let headers = message.headers().into_iter().flat_map(|headers| {
                headers
                    .iter()
                    .map(|header| (header.key.to_owned(), header.value.unwrap_or_default().to_vec()))
            });
            records.push(Dead {
                at: run.at_wall(message.timestamp().to_millis().unwrap_or_default()),
                uid: message.payload().and_then(load::read).map(|read| read.uid),
                key: message.key().map(<[u8]>::to_vec),
                value: message.payload().map(<[u8]>::to_vec),
                headers: headers.collect(),
            });
        }
        records
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        drop(self.serve.stdin.take());
        drop(self.serve.wait());
        drop(std::fs::remove_dir_all(&self.dir));
    }
}

/// The next record; `poll` itself may return before its time is over.
pub(crate) fn next_record(consumer: &BaseConsumer) -> BorrowedMessage<'_> {
    for _ in 0..300 {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => return message,
            Some(Err(error)) => say(&format!("reading: {error}")),
            None => {}
        }
    }
    panic!("no record within 30 s");
}

/// As `Kafka::committed`, with a reader that is kept.
pub(crate) fn committed(
    reader: &BaseConsumer,
    run: &Run,
    topic: &str,
    partitions: i32,
) -> Result<Vec<Sample>, String> {
    let mut wanted = TopicPartitionList::new();
    for partition in 0..partitions {
        wanted.add_partition(topic, partition);
    }
    let found = reader
        .committed_offsets(wanted, Duration::from_secs(5))
        .map_err(|error| format!("reading the committed offsets: {error}"))?;
    let at = run.now();
    let mut samples = Vec::new();
    for element in found.elements() {
        element.error().map_err(|error| format!("reading a committed offset: {error}"))?;
        let Offset::Offset(offset) = element.offset() else { continue };
        samples.push(Sample {
            at,
            partition: element.partition(),
            offset,
            metadata: element.metadata().to_owned(),
        });
    }
    Ok(samples)
}

/// The committed state as a fault keeps it.
pub(crate) fn state(samples: &[Sample]) -> HashMap<i32, (i64, crate::support::metadata::Done)> {
    let read =
        |sample: &Sample| crate::support::metadata::read(&sample.metadata, sample.offset).unwrap_or_default();
    samples.iter().map(|sample| (sample.partition, (sample.offset, read(sample)))).collect()
}

fn script(verb: &str, dir: &std::path::Path, ports: [u16; 3], via: u16) -> Command {
    let mut command = Command::new(root().join("scripts/kafka"));
    let [direct, controller, faulty] = ports;
    command
        .arg(verb)
        .stdin(Stdio::null())
        .env("KAFKA_DIR", dir)
        .env("KAFKA_HEAP", "512m")
        .env("KAFKA_PORT", direct.to_string())
        .env("KAFKA_CONTROLLER_PORT", controller.to_string())
        .env("KAFKA_FAULTY_PORT", faulty.to_string())
        .env("KAFKA_FAULTY_VIA", via.to_string());
    command
}

/// Ports that were free a moment ago.
fn free_ports() -> [u16; 3] {
    let bound = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    bound.map(|listener| listener.local_addr().unwrap().port())
}

fn more_ports(count: usize) -> Vec<u16> {
    let bound: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    bound.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}
