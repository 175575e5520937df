//! How recent records would have fared under other files: read from Kafka without touching a group, and tried under both plans
//! without calling anything.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::answers::{FaresAnswer, LookedAnswer};
use crate::kafka::one;
use crate::kafka::options::Cluster;
use crate::rehearsal::{self, Bench};
use crate::runtime::load::Loadable;
use crate::spec::runtime;
use tokio::sync::Semaphore;

/// The most records that are looked at.
pub(super) const MOST: u32 = 10_000;
/// How long reading, and then trying, may take for one pipeline.
const WITHIN: Duration = Duration::from_secs(10);

/// What looking back needs of an instance.
pub struct Past {
    settings: Arc<runtime::Loaded>,
    clusters: BTreeMap<String, Cluster>,
    /// One at a time: it may take a core.
    alone: Semaphore,
}

impl fmt::Debug for Past {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Past").field("clusters", &self.clusters.keys()).finish_non_exhaustive()
    }
}

impl Past {
    /// Over the clusters of an instance, with what its pipelines are compiled with.
    pub fn new(settings: Arc<runtime::Loaded>, clusters: BTreeMap<String, Cluster>) -> Past {
        Past { settings, clusters, alone: Semaphore::new(1) }
    }

    /// How the newest records of a pipeline would fare; why that cannot be told, in its place.
    pub(super) async fn look(self: &Arc<Self>, (old, new): (Loadable, Loadable), count: u32) -> LookedAnswer {
        let said = |why: String| LookedAnswer { problem: Some(why), ..LookedAnswer::default() };
        let Ok(_alone) = self.alone.acquire().await else { return said("the instance stops".to_owned()) };
        let past = Arc::clone(self);
        let looked = tokio::task::spawn_blocking(move || past.look_at(&old, &new, count)).await;
        match looked {
            Ok(Ok(looked)) => looked,
            Ok(Err(why)) => said(why),
            Err(_) => said("looking back has failed".to_owned()),
        }
    }

    fn look_at(&self, old: &Loadable, new: &Loadable, count: u32) -> Result<LookedAnswer, String> {
        let own = |loadable: &Loadable| {
            // What another stage of the file writes is made of what is read first.
            let written = |topic: &String| {
                let routes = loadable.plan.stages.iter().flat_map(|stage| &stage.publish);
                routes.filter_map(crate::publish::route::Route::literal_topic).any(|route| **route == **topic)
            };
            let stages = loadable.plan.stages.iter();
            let topics = stages.flat_map(|stage| stage.source.topics.iter().map(move |topic| (stage, topic)));
            topics
                .filter(|(_, topic)| !written(topic))
                .map(|(stage, topic)| (stage.source.cluster.clone(), topic.clone()))
                .collect::<std::collections::BTreeSet<_>>()
        };
        let before = own(old);
        let mut topics: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (cluster, topic) in own(new).into_iter().filter(|both| before.contains(both)) {
            topics.entry(cluster).or_default().push(topic);
        }
        if topics.is_empty() {
            return Err("both revisions read no topic that has a name in common".to_owned());
        }
        let mut events = Vec::new();
        for (name, topics) in &topics {
            let cluster =
                self.clusters.get(name).ok_or_else(|| format!("the cluster `{name}` is not configured"))?;
            let each = usize::try_from(count).unwrap_or(usize::MAX).div_ceil(topics.len());
            let read = one::newest(cluster, topics, each, WITHIN);
            events.extend(read.map_err(|error| format!("reading {}: {error}", topics.join(", ")))?);
        }
        let bench = Bench::new(&self.settings);
        let both = (&*old.read, &*new.read);
        let looked = rehearsal::look_back(both, &self.settings.settings.references, &events, &bench, WITHIN)?;
        let fares = looked.different.into_iter().map(|one| FaresAnswer {
            position: one.position,
            was: one.was,
            now: one.now,
            places: one.places,
        });
        Ok(LookedAnswer {
            looked_at: looked.looked_at,
            found: looked.found,
            differ: looked.differ,
            different: fares.collect(),
            problem: None,
        })
    }
}
