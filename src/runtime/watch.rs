//! Asks the cluster every 10 s what no consumer is told: whether it answers, whether a source topic exists (B4) and was
//! not deleted and made again (B3), and where the logs end that stages read. Never on the poll threads, and never on the async workers.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::status::KafkaStatus;
use crate::event::TopicId;
use crate::flow::engine::Engine;
use crate::kafka::admin::Admin;
use crate::kafka::poll::PollHandle;
use crate::kafka::{KafkaError, Partition, TopicSeen};

const EVERY: Duration = Duration::from_secs(10);
const SECOND: Duration = Duration::from_secs(1);

/// What the last look found. Shared with the reporter.
pub(super) type Seen = Arc<Mutex<KafkaStatus>>;

/// What is watched: topics, and who reads them.
pub(super) struct Watch {
    pub(super) admin: Admin,
    pub(super) readers: Vec<Reader>,
    pub(super) seen: Seen,
}

/// A stage.
pub(super) struct Reader {
    pub(super) topics: Vec<String>,
    pub(super) poll: PollHandle,
    pub(super) engine: Arc<Engine>,
}

struct Look {
    cluster: (String, usize),
    topics: Vec<TopicSeen>,
    ends: HashMap<Partition, i64>,
}

impl Watch {
    /// Looks until told to stop.
    pub(super) async fn run(self, stop: CancellationToken) {
        let topics: Vec<Arc<str>> = {
            let mut names: Vec<&String> = self.readers.iter().flat_map(|reader| &reader.topics).collect();
            names.sort_unstable();
            names.dedup();
            names.into_iter().map(|name| Arc::from(name.as_str())).collect()
        };
        let mut known: BTreeMap<Arc<str>, TopicId> = BTreeMap::new();
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let (admin, asked) = (self.admin.clone(), topics.clone());
            let mut assigned: Vec<Partition> =
                self.readers.iter().flat_map(|reader| reader.engine.assigned()).collect();
            assigned.sort_unstable();
            assigned.dedup();
            let looking = tokio::task::spawn_blocking(move || look(&admin, &asked, &assigned));
            let look = tokio::select! {
                biased;
                // The look-up ends by itself; nobody needs its answer.
                () = stop.cancelled() => return,
                look = looking => look,
            };
            match look {
                Ok(Ok(look)) => self.compare(&topics, look, &mut known),
                Ok(Err(error)) => {
                    debug!(%error, "asking the cluster");
                    self.seen.lock().unwrap_or_else(PoisonError::into_inner).up = Some(false);
                }
                Err(_) => return,
            }
        }
    }

    fn compare(&self, topics: &[Arc<str>], look: Look, known: &mut BTreeMap<Arc<str>, TopicId>) {
        let (cluster_id, nodes) = look.cluster;
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) =
            KafkaStatus { up: Some(true), cluster_id, nodes };
        self.readers.iter().for_each(|reader| reader.engine.saw_log_ends(&look.ends));
        for (topic, seen) in topics.iter().zip(look.topics) {
            let reads = |reader: &&Reader| reader.topics.iter().any(|name| **name == **topic);
            let is_there = seen != TopicSeen::Missing;
            self.readers.iter().filter(reads).for_each(|reader| reader.engine.saw_topic(topic, is_there));
            let Some(id) = seen.id() else { continue };
            let before = known.insert(Arc::clone(topic), id);
            if before.is_some_and(|before| before != id) {
                warn!(%topic, "the topic was deleted and made again");
                self.readers.iter().filter(reads).for_each(|reader| reader.poll.look_up_again(topic));
            }
        }
    }
}

fn look(admin: &Admin, topics: &[Arc<str>], assigned: &[Partition]) -> Result<Look, KafkaError> {
    let (cluster, topics) = (admin.cluster()?, admin.topic_ids(topics)?);
    // A cluster that answers and does not say this is up all the same.
    let ends = admin.log_ends(assigned).unwrap_or_else(|error| {
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
