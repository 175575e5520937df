//! Asks the cluster every 10 s what no consumer is told: whether it answers, whether a source topic exists (B4) and was
//! not deleted and made again (B3), and where the logs end that stages read. Never on the poll threads, and never on the async workers.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::status::KafkaStatus;
use crate::event::TopicId;
use crate::flow::engine::Engine;
use crate::kafka::admin::{Admin, ClusterSeen};
use crate::kafka::poll::PollHandle;
use crate::kafka::{KafkaError, Partition, TopicSeen};
use crate::plan::Pattern;

const EVERY: Duration = Duration::from_secs(10);
const SECOND: Duration = Duration::from_secs(1);
/// How long the first look at a new stage waits for others that come with it.
const TOGETHER: Duration = Duration::from_millis(100);

/// What the last look found. Shared with the reporter.
pub(super) type Seen = Arc<Mutex<KafkaStatus>>;

/// What is watched: topics, and who reads them.
pub(super) struct Watch {
    /// The cluster's name, for the log.
    pub(super) cluster: String,
    pub(super) admin: Admin,
    pub(super) readers: Readers,
    pub(super) seen: Seen,
}

/// The stages whose topics are watched: they come and go. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Readers {
    all: Arc<Mutex<Vec<Reader>>>,
    /// One has come.
    came: Arc<Notify>,
}

impl Readers {
    /// It is looked at soon.
    pub(super) fn add(&self, reader: Reader) {
        self.lock().push(reader);
        self.came.notify_one();
    }

    pub(super) fn remove(&self, service: &str) {
        self.lock().retain(|reader| reader.service != service);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Reader>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stage.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) service: String,
    /// The topics that its file names.
    pub(super) topics: Vec<Arc<str>>,
    /// Which topics it takes, where its file names none.
    pub(super) pattern: Option<Pattern>,
    /// What it takes by its pattern; `None` before the first look.
    pub(super) taken: Option<Vec<Arc<str>>>,
    /// What it takes and the last look did not show: one look may come from a broker that has just started.
    pub(super) missed: Vec<Arc<str>>,
    pub(super) poll: PollHandle,
    pub(super) engine: Arc<Engine>,
}

impl Reader {
    fn reads(&self, topic: &str) -> bool {
        self.topics.iter().chain(self.taken.iter().flatten()).any(|name| **name == *topic)
    }

    /// Subscribes to what the pattern takes of all topics, where that has changed.
    fn take(&mut self, all: &[String]) {
        let Some(pattern) = &self.pattern else { return };
        let mut taken: Vec<Arc<str>> =
            all.iter().filter(|name| pattern.takes(name)).map(|name| Arc::from(name.as_str())).collect();
        let before = self.taken.iter().flatten();
        let missing: Vec<Arc<str>> = before.filter(|name| !taken.contains(name)).cloned().collect();
        taken.extend(missing.iter().filter(|name| !self.missed.contains(name)).cloned());
        self.missed = missing;
        taken.sort_unstable();
        // Of what is gone nobody says that it is missing.
        self.engine.forget_missing_topics(&taken);
        if self.taken.as_ref() == Some(&taken) {
            return;
        }
        if taken.is_empty() {
            warn!(%pattern, "no topic is there that the pattern takes; looking every 10 s");
        }
        self.poll.subscribe(taken.iter().map(ToString::to_string).collect());
        self.taken = Some(taken);
    }
}

struct Look {
    cluster: ClusterSeen,
    topics: Vec<TopicSeen>,
    ends: HashMap<Partition, i64>,
}

/// What to look at.
struct Asked {
    topics: Vec<Arc<str>>,
    assigned: Vec<Partition>,
}

impl Watch {
    /// Looks until told to stop.
    pub(super) async fn run(self, stop: CancellationToken) {
        let mut known: BTreeMap<Arc<str>, TopicId> = BTreeMap::new();
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
                // Those that come together are looked at together.
                () = self.readers.came.notified() => {
                    ticks.reset_after(TOGETHER);
                    continue;
                }
            }
            let (admin, asked) = (self.admin.clone(), self.ask());
            let topics = asked.topics.clone();
            let looking = tokio::task::spawn_blocking(move || look(&admin, &asked));
            let look = tokio::select! {
                biased;
                // The look-up ends by itself; nobody needs its answer.
                () = stop.cancelled() => return,
                look = looking => look,
            };
            match look {
                Ok(Ok(look)) => self.compare(&topics, look, &mut known),
                Ok(Err(error)) => {
                    debug!(cluster = self.cluster, %error, "asking the cluster");
                    self.seen.lock().unwrap_or_else(PoisonError::into_inner).up = Some(false);
                    if self
                        .readers
                        .lock()
                        .iter()
                        .any(|reader| reader.pattern.is_some() && reader.taken.is_none())
                    {
                        // It reads nothing until its topics are known.
                        ticks.reset_after(SECOND);
                    }
                }
                Err(_) => return,
            }
        }
    }

    fn ask(&self) -> Asked {
        let of_reader = |reader: &Reader| -> Vec<Arc<str>> {
            reader.topics.iter().chain(reader.taken.iter().flatten()).cloned().collect()
        };
        let readers = self.readers.lock();
        let mut topics: Vec<Arc<str>> = readers.iter().flat_map(of_reader).collect();
        let mut assigned: Vec<Partition> =
            readers.iter().flat_map(|reader| reader.engine.assigned()).collect();
        topics.sort_unstable();
        topics.dedup();
        assigned.sort_unstable();
        assigned.dedup();
        Asked { topics, assigned }
    }

    fn compare(&self, topics: &[Arc<str>], look: Look, known: &mut BTreeMap<Arc<str>, TopicId>) {
        let ClusterSeen { id: cluster_id, nodes, topics: all } = look.cluster;
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) =
            KafkaStatus { up: Some(true), cluster_id, nodes };
        let mut readers = self.readers.lock();
        readers.iter_mut().for_each(|reader| reader.take(&all));
        readers.iter().for_each(|reader| reader.engine.saw_log_ends(&look.ends));
        for (topic, seen) in topics.iter().zip(look.topics) {
            match seen {
                // What a pattern takes and is gone is no more taken.
                TopicSeen::Missing => {
                    for reader in readers.iter().filter(|reader| reader.topics.contains(topic)) {
                        reader.engine.saw_topic(topic, false);
                    }
                }
                // Whether it exists is not told; its consumer says what it is refused.
                TopicSeen::Refused => {}
                TopicSeen::There(id) => {
                    let before = id.and_then(|id| known.insert(Arc::clone(topic), id));
                    let made_again = before.is_some() && before != id;
                    if made_again {
                        warn!(cluster = self.cluster, %topic, "the topic was deleted and made again");
                    }
                    for reader in readers.iter().filter(|reader| reader.reads(topic)) {
                        let was_missing = reader.engine.saw_topic(topic, true);
                        if made_again {
                            reader.poll.look_up_again(topic);
                        } else if was_missing {
                            // Partitions that were assigned while it was missing wait for this.
                            reader.poll.look_up_missing(topic);
                        }
                    }
                }
            }
        }
    }
}

fn look(admin: &Admin, asked: &Asked) -> Result<Look, KafkaError> {
    let (cluster, topics) = (admin.cluster()?, admin.topic_ids(&asked.topics)?);
    // A cluster that answers and does not say this is up all the same.
    let ends = admin.log_ends(&asked.assigned).unwrap_or_else(|error| {
        debug!(%error, "asking where logs end");
        Vec::new()
    });
    Ok(Look { cluster, topics, ends: ends.into_iter().collect() })
}

/// Does something once a second until told to stop.
pub(super) async fn each_second(stop: &CancellationToken, mut act: impl FnMut()) {
    let mut ticks = tokio::time::interval(SECOND);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = ticks.tick() => act(),
        }
    }
}
