//! The client of a poll thread, and a new one in its place where it has failed for good (G14) or its credentials are worn out.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use tracing::{debug, error, info, warn};

use super::{IDLE, PollOptions, Poller};
use crate::kafka::credentials::Credentials;
use crate::kafka::librdkafka::{Line, Lines};
use crate::kafka::raw::{self, Queue};
use crate::kafka::rebalance::{Asks, Rebalance};
use crate::kafka::{Intake, KafkaError, Partition, options};

/// How long a new client waits before it subscribes: what killed the one before, as another process with its instance id,
/// may be there still.
const SUBSCRIBE_AFTER: Duration = Duration::from_secs(5);

/// The librdkafka side of a consumer: its log while rdkafka polls, which it does as the consumer closes. Rebalances are answered
/// by the loop; only then does rdkafka's own answer (at once) apply, which is what closing needs.
pub(in crate::kafka) struct Context {
    name: String,
    lines: Lines,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.lines.write(level as i32, facility, message);
    }

    fn error(&self, error: rdkafka::error::KafkaError, reason: &str) {
        debug!(client = self.name, %error, reason, "kafka client error");
    }
}

impl ConsumerContext for Context {}

/// A consumer and its queue.
pub(super) struct Client {
    pub(super) consumer: Arc<BaseConsumer<Context>>,
    pub(super) queue: Arc<Queue>,
    /// The files that it was made with.
    pub(super) credentials: Credentials,
}

impl Client {
    /// Makes one that is not subscribed.
    pub(super) fn open(options: &PollOptions) -> Result<Client, KafkaError> {
        let credentials = Credentials::read(&options.cluster);
        let name = options.consumer.client_id.clone();
        let context = Context { lines: Lines::new(&name), name };
        let consumer: BaseConsumer<Context> =
            options::consumer(&options.cluster, &options.consumer).create_with_context(context)?;
        let queue = Queue::of_consumer(consumer.client())
            .ok_or_else(|| KafkaError::timed_out("getting the consumer's queue"))?;
        Ok(Client { consumer: Arc::new(consumer), queue: Arc::new(queue), credentials })
    }

    /// Writes what it says of itself to the log.
    pub(super) fn write(&self, line: &Line) {
        self.consumer.context().lines.write(line.level, &line.facility, &line.message);
    }

    pub(super) fn subscribe(&self, options: &PollOptions) -> Result<(), KafkaError> {
        let topics: Vec<&str> = options.topics.iter().map(String::as_str).collect();
        if topics.is_empty() {
            self.consumer.unsubscribe();
            return Ok(());
        }
        Ok(self.consumer.subscribe(&topics)?)
    }

    /// Drops it on a thread of its own, since its close has no deadline (P8).
    pub(super) fn close(self) -> Option<JoinHandle<()>> {
        on_thread(move || drop(self))
    }

    /// The same for one that has failed for good, once nobody of `users` looks anything up with it any more.
    fn destroy(self, users: Vec<JoinHandle<()>>) -> Option<JoinHandle<()>> {
        on_thread(move || {
            for user in users {
                // One that panicked has said so.
                user.join().ok();
            }
            drop(self.queue);
            if let Some(consumer) = Arc::into_inner(self.consumer) {
                raw::destroy_failed(consumer);
            }
        })
    }
}

fn on_thread(end: impl FnOnce() + Send + 'static) -> Option<JoinHandle<()>> {
    let closing = std::thread::Builder::new().name("kafka-close".into()).spawn(end);
    closing.inspect_err(|error| warn!(%error, "no thread to close a consumer on")).ok()
}

impl<I: Intake> Poller<I> {
    /// Puts a new client in the place of one that cannot go on: all partitions are lost, and what follows is a
    /// start from what was committed.
    pub(super) fn serve_failure(&mut self, now: Instant) {
        #[cfg(test)]
        if self.handle.fail.swap(false, std::sync::atomic::Ordering::SeqCst) {
            raw::make_fatal(self.client.consumer.client());
        }
        if let Some((why, _)) = self.failed.take_if(|(_, not_before)| now >= *not_before) {
            self.remake(&why, now);
        }
        self.serve_topics(now);
        if self.subscribe_at.is_some_and(|at| now >= at) {
            self.subscribe_at = match self.client.subscribe(&self.options) {
                Ok(()) => None,
                Err(error) => {
                    warn!(group = self.options.consumer.group, %error, "subscribing; trying again");
                    Some(now + IDLE)
                }
            };
        }
    }

    /// Takes up other topics to subscribe to.
    fn serve_topics(&mut self, now: Instant) {
        let wanted = self.handle.topics.lock().ok().and_then(|mut topics| topics.take());
        let Some(topics) = wanted.filter(|_| !self.stopping) else { return };
        info!(group = self.options.consumer.group, ?topics, "subscribing");
        self.first_topics.get_or_insert_with(|| Arc::new(topics.iter().cloned().collect()));
        self.options.topics = topics;
        self.subscribe_at.get_or_insert(now);
    }

    /// Tells the client of the token of the moment, where it signs on with one.
    pub(super) fn serve_token(&mut self) {
        if let Some(tokens) = &self.options.cluster.tokens {
            tokens.tell(self.client.consumer.client(), &mut self.token);
        }
    }

    fn remake(&mut self, why: &KafkaError, now: Instant) {
        let group = &self.options.consumer.group;
        let new = match Client::open(&self.options) {
            Ok(new) => new,
            Err(error) => {
                if self.remakes_said.is_new(&error.message, now) {
                    error!(group, %why, %error, "the consumer cannot go on, and no new one can be made; trying again");
                }
                self.failed = Some((why.clone(), now + IDLE));
                return;
            }
        };
        error!(group, %why, "the consumer cannot go on: a new one takes its place");
        let partitions: Vec<Partition> = self.parts.keys().cloned().collect();
        self.intake.lost(&partitions);
        self.parts.clear();
        self.tell_paused();
        self.rebalance = Rebalance::Steady;
        (self.asks, self.outstanding, self.hushed) = (Asks::default(), None, false);
        self.singly.clear();
        self.clean &= !self.stopping;
        self.handle.replaced(&new.queue);
        self.token = 0;
        let old = std::mem::replace(&mut self.client, new);
        let users = std::mem::take(&mut self.others);
        self.others.extend(old.destroy(users));
        self.subscribe_at = (!self.stopping).then_some(now + SUBSCRIBE_AFTER);
    }
}
