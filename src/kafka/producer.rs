//! The at-least-once producer: idempotent, `acks=all`, one per cluster and process (and one more for DLQ topics, D12). A
//! record is written when its delivery report says so, never before. A client that has failed for good, or whose credentials
//! are worn out, is made anew (D6, G14).

mod live;
mod memory;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::Producer as _;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tracing::{error, warn};

use super::options::{self, Cluster};
use super::{KafkaError, raw};
use crate::event::Outgoing;
use live::{Live, POLL_FOR};
pub use memory::{Appended, MemoryLog};

/// How long a record may wait for room in the producer's queue.
const ROOM_WITHIN: Duration = Duration::from_secs(120);
/// How long a delivery report may take where `message.timeout.ms` is not known, and how much longer than that one it may.
const REPORT_WITHIN: Duration = Duration::from_secs(150);
const REPORT_MARGIN: Duration = Duration::from_secs(30);

/// Where a record was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

/// How long a client that has failed for good may take to give its last delivery reports.
const LAST_REPORTS: Duration = Duration::from_secs(5);

/// Writes records. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Producer(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Kafka(Kafka),
    /// Whoever writes, and the log.
    Memory(Arc<str>, MemoryLog),
}

/// One that writes to Kafka.
#[derive(Debug, Clone)]
struct Kafka {
    shared: Arc<Shared>,
    /// Bytes of the queue that its user may still fill, and of how many; `None`: all of it.
    share: Option<(Arc<Semaphore>, usize)>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Shared").field(&self.client_id).finish()
    }
}

struct Shared {
    cluster: Cluster,
    client_id: String,
    reported: Arc<Notify>,
    live: ArcSwap<Live>,
    /// Bytes that the client's queue takes.
    queue: usize,
    /// How long a delivery report may take: longer than `message.timeout.ms`, which bounds it (D8).
    report_within: Duration,
    /// Sends each record in a batch of its own; made when it is first needed. `None` in that one itself.
    alone: Option<Mutex<Option<Kafka>>>,
    /// Held by who makes a client anew.
    remaking: Mutex<()>,
}

type Completion = oneshot::Sender<Result<Written, KafkaError>>;
type Report = oneshot::Receiver<Result<Written, KafkaError>>;

impl Producer {
    /// Makes the client; it connects by itself.
    pub fn build(cluster: &Cluster, client_id: &str) -> Result<Producer, KafkaError> {
        let kafka = Kafka::build_as(cluster.clone(), client_id.to_owned(), Some(Mutex::default()))?;
        Ok(Producer(Kind::Kafka(kafka)))
    }

    /// One that writes to a log in memory, as `by`.
    pub fn to_memory(log: &MemoryLog, by: &str) -> Producer {
        Producer(Kind::Memory(by.into(), log.clone()))
    }

    /// The same client for one stage, which fills at most a quarter of its queue: one that publishes much holds up no other
    /// (D12).
    pub fn for_stage(&self) -> Producer {
        match &self.0 {
            Kind::Kafka(kafka) => Producer(Kind::Kafka(kafka.for_stage())),
            Kind::Memory(..) => self.clone(),
        }
    }

    /// Writes a record and waits for its delivery report, as `begin` and `written` do. The broker judges a whole batch by its
    /// size: one that is too large is sent again alone, so that the answer is about this record (D11).
    pub async fn send(&self, record: &Outgoing) -> Result<Written, KafkaError> {
        match &self.0 {
            Kind::Kafka(kafka) => kafka.send(record).await,
            Kind::Memory(by, log) => Ok(log.append(by, record)),
        }
    }

    /// Puts a record behind all that were begun before it; records of one partition are written in this order. A full queue
    /// is waited out (M7), at most 120 s. An error that is `fatal` means that the client is another one now: send again.
    pub async fn begin(&self, record: &Outgoing) -> Result<Sending, KafkaError> {
        match &self.0 {
            Kind::Kafka(kafka) => Ok(Sending(State::Queued(Box::new(kafka.begin(record).await?)))),
            Kind::Memory(by, log) => Ok(Sending(State::Written(log.append(by, record)))),
        }
    }

    /// Waits until every record has its report. Blocks (P10); whatever is left after `timeout` is an error (D9).
    pub fn flush(&self, timeout: Duration) -> Result<(), KafkaError> {
        match &self.0 {
            Kind::Kafka(kafka) => kafka.flush(timeout),
            Kind::Memory(..) => Ok(()),
        }
    }

    /// Bytes of keys and values of the records that have no report yet, and how many there may be.
    pub fn memory(&self) -> (usize, usize) {
        match &self.0 {
            Kind::Kafka(kafka) => (kafka.both().map(|live| live.bytes()).sum(), kafka.shared.queue),
            Kind::Memory(..) => (0, 0),
        }
    }

    /// How many records have no report yet.
    pub fn in_flight(&self) -> usize {
        let Kind::Kafka(kafka) = &self.0 else { return 0 };
        kafka.both().map(|live| usize::try_from(live.client.in_flight_count()).unwrap_or(0)).sum()
    }
}

impl Kafka {
    fn build_as(
        cluster: Cluster,
        client_id: String,
        alone: Option<Mutex<Option<Kafka>>>,
    ) -> Result<Kafka, KafkaError> {
        let reported = Arc::new(Notify::new());
        let live = ArcSwap::from_pointee(Live::start(&cluster, &client_id, &reported)?);
        let options = options::producer(&cluster, &client_id);
        let timeout = options.get("message.timeout.ms").and_then(|millis| millis.parse().ok());
        let report_within =
            timeout.map_or(REPORT_WITHIN, |millis| Duration::from_millis(millis) + REPORT_MARGIN);
        let kilobytes = options.get("queue.buffering.max.kbytes").and_then(|text| text.parse::<usize>().ok());
        let queue = kilobytes.unwrap_or_default().saturating_mul(1024);
        let remaking = Mutex::default();
        let shared = Shared { cluster, client_id, reported, live, queue, report_within, alone, remaking };
        Ok(Kafka { shared: Arc::new(shared), share: None })
    }

    fn for_stage(&self) -> Kafka {
        let quarter = self.shared.queue / 4;
        Kafka { shared: Arc::clone(&self.shared), share: Some((Arc::new(Semaphore::new(quarter)), quarter)) }
    }

    /// Room in the share of the queue, until it is dropped. Waits as for the queue itself.
    async fn room_for(&self, record: &Outgoing) -> Result<Option<OwnedSemaphorePermit>, KafkaError> {
        let Some((share, whole)) = &self.share else { return Ok(None) };
        let bytes = u32::try_from(size(record).min(*whole)).unwrap_or(u32::MAX);
        let acquired = tokio::time::timeout(ROOM_WITHIN, Arc::clone(share).acquire_many_owned(bytes)).await;
        match acquired {
            Ok(Ok(permit)) => Ok(Some(permit)),
            // The semaphore is never closed.
            Ok(Err(_)) | Err(_) => Err(KafkaError::timed_out("waiting for room in the producer's queue")),
        }
    }

    /// The producer that sends each record in a batch of its own; `None` where this is it.
    fn alone(&self) -> Option<Result<Kafka, KafkaError>> {
        let mut made = self.shared.alone.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = &*made {
            return Some(Ok(made.clone()));
        }
        let mut cluster = self.shared.cluster.clone();
        cluster.properties.insert("batch.num.messages".to_owned(), "1".to_owned());
        cluster.properties.insert("linger.ms".to_owned(), "0".to_owned());
        let new = Kafka::build_as(cluster, format!("{}-alone", self.shared.client_id), None);
        *made = new.as_ref().ok().cloned();
        Some(new)
    }

    /// This one, and the one that sends alone where there is one.
    fn both(&self) -> impl Iterator<Item = Arc<Live>> {
        let alone = self.shared.alone.as_ref();
        let made = alone.and_then(|alone| alone.lock().unwrap_or_else(PoisonError::into_inner).clone());
        [Some(self.clone()), made].into_iter().flatten().map(|producer| producer.shared.live.load_full())
    }

    async fn send(&self, record: &Outgoing) -> Result<Written, KafkaError> {
        let sent = match self.begin(record).await {
            Ok(sending) => sending.written().await,
            Err(error) => Err(error),
        };
        match sent {
            Err(error) if error.means_too_large() => match self.alone() {
                Some(Ok(alone)) => alone.begin(record).await?.written().await,
                Some(Err(error)) => Err(error),
                None => Err(error),
            },
            sent => sent,
        }
    }

    async fn begin(&self, record: &Outgoing) -> Result<Queued, KafkaError> {
        let room = self.room_for(record).await?;
        let live = self.shared.live();
        match self.enqueue(&live, record).await {
            Ok(report) => Ok(Queued { shared: Arc::clone(&self.shared), live, report, room }),
            Err(error) => Err(self.shared.or_fatal(live, error)),
        }
    }

    async fn enqueue(&self, live: &Live, record: &Outgoing) -> Result<Report, KafkaError> {
        let (sender, report) = oneshot::channel();
        let mut completion = Box::new(sender);
        let room = tokio::time::Instant::now() + ROOM_WITHIN;
        let size = size(record);
        loop {
            let reported = self.shared.reported.notified();
            match live.produce(record, size, completion) {
                Ok(()) => return Ok(report),
                Err((error, back)) if error.code == RDKafkaErrorCode::QueueFull => {
                    completion = back;
                    if tokio::time::timeout_at(room, reported).await.is_err() {
                        return Err(error);
                    }
                }
                Err((error, _)) => return Err(error),
            }
        }
    }

    fn flush(&self, timeout: Duration) -> Result<(), KafkaError> {
        for live in self.both() {
            live.client.flush(timeout)?;
        }
        Ok(())
    }
}

/// A record that is in the producer's queue. Dropped, it is written all the same.
#[derive(Debug)]
pub struct Sending(State);

#[derive(Debug)]
enum State {
    Queued(Box<Queued>),
    Written(Written),
}

impl Sending {
    /// Waits for the delivery report. An error may mean that it was written all the same (D7); one that is `fatal` means
    /// that the client is another one now.
    pub async fn written(self) -> Result<Written, KafkaError> {
        match self.0 {
            State::Queued(queued) => queued.written().await,
            State::Written(written) => Ok(written),
        }
    }
}

/// One that waits for its delivery report.
#[derive(Debug)]
struct Queued {
    shared: Arc<Shared>,
    live: Arc<Live>,
    report: Report,
    /// Its room in the stage's share.
    room: Option<OwnedSemaphorePermit>,
}

impl Queued {
    async fn written(self) -> Result<Written, KafkaError> {
        let Queued { shared, live, report, room } = self;
        let reported = tokio::time::timeout(shared.report_within, report).await;
        drop(room);
        match reported {
            Ok(Ok(Ok(written))) => Ok(written),
            Ok(Ok(Err(error))) => Err(shared.or_fatal(live, error)),
            Ok(Err(_)) | Err(_) => {
                Err(shared.or_fatal(live, KafkaError::timed_out("waiting for the delivery report")))
            }
        }
    }
}

/// Bytes of key and value.
fn size(record: &Outgoing) -> usize {
    record.key.as_ref().map_or(0, Bytes::len) + record.value.as_ref().map_or(0, Bytes::len)
}

impl Shared {
    /// What went wrong; where the client has failed for good that, and another one is made.
    fn or_fatal(&self, live: Arc<Live>, error: KafkaError) -> KafkaError {
        match raw::fatal_error(live.client.client()) {
            Some(fatal) => {
                self.remake(live, &fatal);
                fatal
            }
            None => error,
        }
    }

    /// The client of the moment: the one that took the place of another, where one did.
    fn live(&self) -> Arc<Live> {
        let live = self.live.load_full();
        let Some(next) = live.next() else { return live };
        let before = self.live.compare_and_swap(&live, next);
        // Who was first ends the one before.
        if Arc::ptr_eq(&before, &live) {
            drop(before);
            self.end(live);
        }
        self.live.load_full()
    }

    /// Puts a new client in the place of one that has failed for good, unless somebody has.
    fn remake(&self, dead: Arc<Live>, why: &KafkaError) {
        let _one = self.remaking.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&self.live.load(), &dead) {
            return;
        }
        let client = &self.client_id;
        match Live::start(&self.cluster, client, &self.reported) {
            Ok(new) => {
                error!(client, %why, "the producer has failed for good: a new one takes its place");
                self.live.store(Arc::new(new));
            }
            Err(error) => {
                error!(client, %why, %error, "the producer has failed for good, and no new one can be made; trying again");
                return;
            }
        }
        self.end(dead);
    }

    /// Ends a client that nobody sends with any more, on a thread of its own: ending blocks.
    fn end(&self, dead: Arc<Live>) {
        let client = &self.client_id;
        let end = move || {
            // What is left has failed with it, and whoever sent it hears that.
            dead.client.flush(LAST_REPORTS).ok();
            // Ended here, not by the last task that still waits for a report of it.
            let mut dead = dead;
            while let Err(shared) = Arc::try_unwrap(dead) {
                dead = shared;
                std::thread::park_timeout(POLL_FOR);
            }
        };
        if let Err(error) = std::thread::Builder::new().name("kafka-producer-end".into()).spawn(end) {
            warn!(client, %error, "no thread to end a producer on");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::embedded::Embedded;

    impl Producer {
        fn kafka(&self) -> &Kafka {
            match &self.0 {
                Kind::Kafka(kafka) => kafka,
                Kind::Memory(..) => panic!("a log in memory"),
            }
        }
    }

    /// For the topic `out`.
    fn record(key: Option<&'static str>, value: impl Into<Bytes>) -> Outgoing {
        Outgoing {
            topic: "out".into(),
            partition: None,
            key: key.map(Bytes::from),
            value: Some(value.into()),
            headers: Vec::new(),
            timestamp: None,
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_client_that_has_failed_for_good_is_made_anew() {
        let broker = Embedded::start().unwrap();
        broker.create_topic("out", 1).unwrap();
        let producer = Producer::build(&broker.cluster(), "test").unwrap();
        let record = record(None, "v");
        let first = producer.send(&record).await.unwrap().offset;

        raw::make_fatal(producer.kafka().shared.live.load().client.client());
        let error = producer.send(&record).await.unwrap_err();
        assert!(error.fatal, "{error:?}");
        assert!(error.message.contains("made by a test"), "{error}");

        // The in-process broker writes a record again whose answer was late, so the offset is not just the next one.
        assert!(producer.send(&record).await.unwrap().offset > first, "written by the new client");
        tokio::task::spawn_blocking(move || producer.flush(Duration::from_secs(10))).await.unwrap().unwrap();
    }

    /// What was handed over before has its end first, so that nothing overtakes it.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_client_whose_files_were_renewed_ends_its_records_before_another_takes_its_place() {
        let folder = std::env::temp_dir().join(format!("weir-renewed-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("ca.pem");
        std::fs::write(&file, "one").unwrap();
        let mut cluster = Embedded::start().unwrap().cluster();
        cluster.brokers = "127.0.0.1:1".to_owned();
        cluster.properties.insert("ssl.ca.location".to_owned(), file.display().to_string());
        let producer = Producer::build(&cluster, "test").unwrap();
        let record = record(None, "v");
        let before = producer.kafka().shared.live();
        let queued = producer.begin(&record).await.unwrap();
        std::fs::write(&file, "two").unwrap();
        let error =
            tokio::time::timeout(Duration::from_secs(30), queued.written()).await.unwrap().unwrap_err();
        assert_eq!(error.code, RDKafkaErrorCode::PurgeQueue, "{error}");
        let replaced = async {
            while Arc::ptr_eq(&producer.kafka().shared.live(), &before) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), replaced).await.unwrap();
        assert_eq!(before.client.in_flight_count(), 0);
        assert!(producer.begin(&record).await.is_ok(), "the new one takes records");
        assert_eq!(producer.in_flight(), 1);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_waits_for_its_report_is_weighed() {
        let mut cluster = Embedded::start().unwrap().cluster();
        // Nobody answers: it waits for as long as it is asked to.
        cluster.brokers = "127.0.0.1:1".into();
        cluster.properties.insert("message.timeout.ms".into(), "2000".into());
        cluster.properties.insert("queue.buffering.max.kbytes".into(), "1024".into());
        let producer = Producer::build(&cluster, "test").unwrap();
        assert_eq!(producer.memory(), (0, 1 << 20));
        let record = record(Some("key"), "value");
        let mut sent = std::pin::pin!(producer.send(&record));
        assert!(futures_util::poll!(&mut sent).is_pending());
        assert_eq!(producer.memory().0, 8);
        assert!(sent.await.is_err());
        assert_eq!(producer.memory().0, 0, "a failed one is gone too");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_stage_fills_a_quarter_of_the_queue_and_no_more() {
        let broker = Embedded::start().unwrap();
        let mut cluster = broker.cluster();
        // 4 KiB: a share of 1 KiB. Nobody listens there, so nothing is ever reported.
        cluster.brokers = "127.0.0.1:1".to_owned();
        cluster.properties.insert("queue.buffering.max.kbytes".to_owned(), "4".to_owned());
        let whole = Producer::build(&cluster, "test").unwrap();
        let (one, other) = (whole.for_stage(), whole.for_stage());
        let record = record(None, vec![b'v'; 400]);
        let is_sent = async |producer: &Producer| {
            let sent = Box::pin(producer.send(&record));
            // What waits for its report, and what waits for room, both wait: the queue tells them apart.
            let before = whole.in_flight();
            tokio::time::timeout(Duration::from_millis(200), sent).await.ok();
            whole.in_flight() > before
        };
        let (first, second) =
            (one.kafka().room_for(&record).await.unwrap(), one.kafka().room_for(&record).await.unwrap());
        assert!(first.is_some() && second.is_some(), "800 of 1,024 bytes");
        assert!(!is_sent(&one).await, "a third does not fit into the share");
        assert!(is_sent(&other).await, "another stage has its own");
        drop(first);
        assert!(is_sent(&one).await, "and room comes back");
    }
}
