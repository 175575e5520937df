//! Asks the cluster every 10 s what no consumer is told: whether it answers, and whether a source topic was deleted and
//! made again (B3).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::status::KafkaStatus;
use crate::event::TopicId;
use crate::kafka::KafkaError;
use crate::kafka::admin::Admin;
use crate::kafka::poll::PollHandle;

const EVERY: Duration = Duration::from_secs(10);

/// What the last look found. Shared with the reporter.
pub(super) type Seen = Arc<Mutex<KafkaStatus>>;

/// What is watched: topics, and who reads them.
pub(super) struct Watch {
    pub(super) admin: Admin,
    pub(super) readers: Vec<(Vec<String>, PollHandle)>,
    pub(super) seen: Seen,
}

struct Look {
    cluster: (String, usize),
    ids: Vec<Option<TopicId>>,
}

impl Watch {
    /// Looks until told to stop.
    pub(super) async fn run(self, stop: CancellationToken) {
        let topics: Vec<Arc<str>> = {
            let mut names: Vec<&String> = self.readers.iter().flat_map(|(topics, _)| topics).collect();
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
        for (topic, id) in topics.iter().zip(look.ids) {
            let Some(id) = id else { continue };
            let before = known.insert(Arc::clone(topic), id);
            if before.is_some_and(|before| before != id) {
                warn!(%topic, "the topic was deleted and made again");
                let readers =
                    self.readers.iter().filter(|(names, _)| names.iter().any(|name| **name == **topic));
                readers.for_each(|(_, poll)| poll.look_up_again(topic));
            }
        }
    }
}

fn look(admin: &Admin, topics: &[Arc<str>]) -> Result<Look, KafkaError> {
    Ok(Look { cluster: admin.cluster()?, ids: admin.topic_ids(topics)? })
}
