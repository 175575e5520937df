//! One client of a producer, and the thread that serves its delivery reports. Where Kafka keeps it out and its certificate
//! files were renewed, that thread has another client made, gives every record of this one its end, and only then lets the
//! other take its place: no record overtakes one that was handed over before it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use rdkafka::client::ClientContext;
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, Producer as _, ProducerContext, PurgeConfig};
use tokio::sync::Notify;
use tracing::{debug, error, warn};

use super::{Completion, Written};
use crate::event::Outgoing;
use crate::kafka::credentials::Credentials;
use crate::kafka::librdkafka::Lines;
use crate::kafka::options::{self, Cluster};
use crate::kafka::said::Said;
use crate::kafka::{KafkaError, raw};
use crate::telemetry::clock;

/// One poll of the thread that serves a client's delivery reports. rdkafka spins through the last millisecond of each, so
/// it is not short; a client takes as long to end.
pub(super) const POLL_FOR: Duration = Duration::from_millis(250);
/// How often it is looked at why a client is kept out.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// How long the records of a client that is replaced may take to end.
const EMPTIED_WITHIN: Duration = Duration::from_secs(5);

/// A client, and its thread.
pub(super) struct Live {
    pub(super) client: Arc<BaseProducer<Context>>,
    shared: Arc<Common>,
    polling: Option<JoinHandle<()>>,
}

/// What a client, its callbacks and its thread share.
struct Common {
    stop: AtomicBool,
    /// Bytes of the records without a report.
    bytes: AtomicUsize,
    /// Told at each report.
    reported: Arc<Notify>,
    /// Why it was kept out last, until a record is written: librdkafka does not repeat it.
    kept_out: ArcSwapOption<KafkaError>,
    place: RwLock<Place>,
}

/// Whether a client takes records. Read while one is handed over, so that none is when that changes.
enum Place {
    Open,
    /// It is to be replaced: why.
    Closed(KafkaError),
    Replaced(Arc<Live>),
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live").finish_non_exhaustive()
    }
}

impl Live {
    pub(super) fn start(
        cluster: &Cluster,
        client_id: &str,
        reported: &Arc<Notify>,
    ) -> Result<Live, KafkaError> {
        let credentials = Credentials::read(cluster);
        let shared = Arc::new(Common {
            stop: AtomicBool::new(false),
            bytes: AtomicUsize::new(0),
            reported: Arc::clone(reported),
            kept_out: ArcSwapOption::empty(),
            place: RwLock::new(Place::Open),
        });
        let context =
            Context { name: client_id.to_owned(), lines: Lines::new(client_id), shared: Arc::clone(&shared) };
        let client: BaseProducer<Context> =
            options::producer(cluster, client_id).create_with_context(context)?;
        let client = Arc::new(client);
        let thread = Thread {
            client: Arc::clone(&client),
            shared: Arc::clone(&shared),
            cluster: cluster.clone(),
            name: client_id.to_owned(),
            credentials,
            told: 0,
            looked: clock::now(),
            said: Said::default(),
        };
        let polling = std::thread::Builder::new().name("kafka-producer".into()).spawn(move || thread.run());
        let polling = polling.map_err(|_| KafkaError::timed_out("starting the producer's thread"))?;
        Ok(Live { client, shared, polling: Some(polling) })
    }

    /// Hands a record of so many bytes over; the completion comes back where that fails.
    pub(super) fn produce(
        &self,
        record: &Outgoing,
        size: usize,
        completion: Box<Completion>,
    ) -> Result<(), (KafkaError, Box<Completion>)> {
        let place = self.shared.place.read().unwrap_or_else(PoisonError::into_inner);
        match &*place {
            Place::Open => {}
            Place::Closed(why) => return Err((why.clone(), completion)),
            Place::Replaced(_) => return Err((KafkaError::timed_out("handing a record over"), completion)),
        }
        // Before, since the report may come before the call returns.
        self.shared.bytes.fetch_add(size, Ordering::Relaxed);
        let produced = raw::produce(self.client.client(), record, completion);
        if produced.is_err() {
            self.shared.bytes.fetch_sub(size, Ordering::Relaxed);
        }
        produced
    }

    /// The client that takes its place, once there is one.
    pub(super) fn next(&self) -> Option<Arc<Live>> {
        match &*self.shared.place.read().unwrap_or_else(PoisonError::into_inner) {
            Place::Open | Place::Closed(_) => None,
            Place::Replaced(next) => Some(Arc::clone(next)),
        }
    }

    /// Bytes of the records without a report.
    pub(super) fn bytes(&self) -> usize {
        self.shared.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(polling) = self.polling.take()
            && polling.join().is_err()
        {
            error!("the thread of a producer panicked");
        }
    }
}

/// Serves the delivery reports of a client.
struct Thread {
    client: Arc<BaseProducer<Context>>,
    shared: Arc<Common>,
    cluster: Cluster,
    name: String,
    /// The files that the client was made with.
    credentials: Credentials,
    /// Which token it was told of last.
    told: u64,
    looked: Instant,
    said: Said,
}

impl Thread {
    fn run(mut self) {
        while !self.shared.stop.load(Ordering::Relaxed) {
            if let Some(tokens) = &self.cluster.tokens {
                tokens.tell(self.client.client(), &mut self.told);
            }
            self.client.poll(POLL_FOR);
            let now = clock::now();
            if now.saturating_duration_since(self.looked) >= LOOK_EVERY {
                self.looked = now;
                self.look(now);
            }
        }
    }

    /// Replaces the client where it is kept out and the files are others now.
    fn look(&mut self, now: Instant) {
        let Some(error) = self.shared.kept_out.load_full() else { return };
        if !matches!(*self.shared.place.read().unwrap_or_else(PoisonError::into_inner), Place::Open) {
            return;
        }
        let Some(why) = self.credentials.worn_out(&self.cluster, &error) else { return };
        match Live::start(&self.cluster, &self.name, &self.shared.reported) {
            Ok(next) => self.replace(next, why),
            Err(error) if self.said.is_new(&error.message, now) => {
                error!(client = self.name, %why, %error, "the producer cannot go on, and no new one can be made; trying again");
            }
            Err(_) => {}
        }
    }

    fn replace(&self, next: Live, why: KafkaError) {
        warn!(client = self.name, %why, "the producer cannot go on: a new one takes its place");
        let set = |place| *self.shared.place.write().unwrap_or_else(PoisonError::into_inner) = place;
        set(Place::Closed(why));
        let until = clock::now() + EMPTIED_WITHIN;
        while self.client.in_flight_count() > 0 && clock::now() < until {
            // Whoever has sent it hears that, and sends it again.
            self.client.purge(PurgeConfig::default().queue().inflight());
            self.client.poll(POLL_FOR);
        }
        set(Place::Replaced(Arc::new(next)));
    }
}

/// The callbacks of a client.
pub(super) struct Context {
    name: String,
    lines: Lines,
    shared: Arc<Common>,
}

impl ClientContext for Context {
    fn error(&self, error: rdkafka::error::KafkaError, reason: &str) {
        let found = KafkaError { message: reason.to_owned(), ..error.clone().into() };
        // That TLS is refused may come as a connection that breaks off.
        if found.means_refused() || found.means_unreachable() {
            self.shared.kept_out.store(Some(Arc::new(found)));
        }
        debug!(client = self.name, %error, reason, "kafka client error");
    }

    fn log(&self, level: rdkafka::config::RDKafkaLogLevel, facility: &str, message: &str) {
        self.lines.write(level as i32, facility, message);
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = Box<Completion>;

    fn delivery(&self, result: &DeliveryResult<'_>, completion: Box<Completion>) {
        let message = match result {
            Ok(message) | Err((_, message)) => message,
        };
        self.shared.bytes.fetch_sub(message.key_len() + message.payload_len(), Ordering::Relaxed);
        if result.is_ok() && self.shared.kept_out.load().is_some() {
            self.shared.kept_out.store(None);
        }
        let written = match result {
            Ok(message) => Ok(Written { partition: message.partition(), offset: message.offset() }),
            Err((error, _)) => Err(KafkaError::from(error.clone())),
        };
        // Who waited may have been cancelled: the record is written all the same.
        completion.send(written).ok();
        self.shared.reported.notify_waiters();
    }
}
