//! The stages of an instance: those that run, those that are being drained, and what each of them is to be. What a reload asks
//! for is applied here; a stage that has to go is waited for on a thread of its own, and holds up no other.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info};

use super::change::{self, Action, Change, Renamed, Settled, Wanted};
use super::cluster::Clients;
use super::load::Broken;
use super::reporter::{Shown, ShownPipeline, ShownStage};
use super::stage::{Leaving, Running, Start};
use super::{Config, MAX_RECORDS, dlq};
use crate::flow::engine::{Common, Lone, Memory};
use crate::flow::report::OnFinished;
use crate::kafka::KafkaError;
use crate::kafka::poll::{Ended, PollHandle};
use crate::plan::Stage;
use crate::publish::route::Route;
use crate::settings::memory as memory_share;
use crate::telemetry::metrics::{Metrics, PipelineFacts, PipelineMetrics, StageMetrics};

/// Partitions of a topic that an embedded broker is given.
pub const EMBEDDED_PARTITIONS: u32 = 3;

/// What an instance runs.
pub(super) struct Stages {
    config: Config,
    clusters: Vec<Arc<Clients>>,
    slots: BTreeMap<String, Slot>,
    /// Those that are being drained.
    leaving: JoinSet<(String, Ended)>,
    wanted: BTreeMap<String, Wanted>,
    broken: Vec<Broken>,
    renamed: Vec<Renamed>,
    pipelines: BTreeMap<String, (PipelineFacts, Arc<PipelineMetrics>)>,
    common: Common,
    lone: Lone,
    metrics: Arc<Metrics>,
    on_finished: Option<OnFinished>,
    tasks: TaskTracker,
    /// Cancelled at a stop: what only looks at the clusters ends.
    ending: CancellationToken,
    shown: Arc<ArcSwap<Shown>>,
}

impl fmt::Debug for Stages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stages")
            .field("slots", &self.slots)
            .field("clusters", &self.clusters)
            .finish_non_exhaustive()
    }
}

/// What is left of an instance that ends.
pub(super) struct Ending {
    pub(super) running: Vec<Running>,
    /// Those that were being drained already.
    pub(super) leaving: JoinSet<(String, Ended)>,
    pub(super) clusters: Vec<Arc<Clients>>,
}

/// A service: what it is, and what it is to be.
#[derive(Debug)]
struct Slot {
    now: Now,
    /// `None`: nothing more.
    wanted: Option<Arc<Stage>>,
    /// Kept over a restart, so that its counts go on.
    metrics: Arc<StageMetrics>,
}

#[derive(Debug)]
enum Now {
    Runs(Running),
    Leaves(Leaving),
    /// It could not be started; what was said of it.
    Failed,
}

/// Gives an embedded broker the topics that a stage reads and writes, as far as their names stand in the file: nobody else could.
fn make_topics(cluster: &Clients, stage: &Stage) {
    let Some(embedded) = &cluster.config.embedded else { return };
    let written = stage.publish.iter().filter_map(Route::literal_topic).map(|topic| &**topic);
    for topic in stage.source.topics.iter().map(String::as_str).chain(written) {
        // It may be there already.
        embedded.create_topic(topic, EMBEDDED_PARTITIONS).ok();
    }
}

impl Stages {
    pub(super) fn new(
        config: Config,
        metrics: &Arc<Metrics>,
        on_finished: Option<&OnFinished>,
        tasks: TaskTracker,
        ending: CancellationToken,
    ) -> Stages {
        let common = Common::new(config.records());
        Stages {
            config,
            clusters: Vec::new(),
            slots: BTreeMap::new(),
            leaving: JoinSet::new(),
            wanted: BTreeMap::new(),
            broken: Vec::new(),
            renamed: Vec::new(),
            pipelines: BTreeMap::new(),
            common,
            lone: Lone::default(),
            metrics: Arc::clone(metrics),
            on_finished: on_finished.cloned(),
            tasks,
            ending,
            shown: Arc::default(),
        }
    }

    pub(super) fn shown(&self) -> Arc<ArcSwap<Shown>> {
        Arc::clone(&self.shown)
    }

    /// Makes what runs what is wanted. Stages that go are drained behind it; those of the same name start when they are gone.
    ///
    /// # Errors
    /// The first client that could not be made. Everything else is applied all the same.
    pub(super) fn apply(&mut self, settled: Settled) -> Result<Vec<Change>, KafkaError> {
        let Settled { wanted, broken, renamed, .. } = settled;
        let mut changes = change::changes(&change::stages(&self.wanted), &change::stages(&wanted));
        let stages = change::stages(&wanted).into_iter();
        let stages: BTreeMap<String, Arc<Stage>> =
            stages.map(|(service, stage)| (service.to_owned(), Arc::clone(stage))).collect();
        let mut failed = None;
        // Those that go first: they make room.
        let gone: Vec<String> =
            self.slots.keys().filter(|name| !stages.contains_key(*name)).cloned().collect();
        for service in gone {
            self.want(&service, None).unwrap_or_else(|error| failed = failed.take().or(Some(error)));
        }
        for (service, stage) in stages {
            if let Err(error) = self.want(&service, Some(stage)) {
                error!(stage = service, %error, "not started: its Kafka client cannot be made; change what is named, and it is tried again");
                failed = failed.or(Some(error));
            }
        }
        changes.extend(change::not_run(&wanted, &broken, &renamed));
        self.count_pipelines(&wanted);
        (self.wanted, self.broken, self.renamed) = (wanted, broken, renamed);
        self.share();
        self.show();
        failed.map_or(Ok(changes), Err)
    }

    /// A stage that was being drained is gone: one that is wanted in its place starts.
    pub(super) async fn left(&mut self) {
        let Some(joined) = self.leaving.join_next().await else { return };
        let Ok((service, ended)) = joined else { return };
        info!(stage = service, clean = ended.clean, "drained");
        let Some(slot) = self.slots.remove(&service) else { return };
        if let Some(stage) = slot.wanted
            && let Err(error) = self.start(&service, stage, Some(slot.metrics))
        {
            error!(stage = service, %error, "not started again: its Kafka client cannot be made");
        }
        self.share();
        self.show();
    }

    /// Whether something is being drained.
    pub(super) fn is_leaving(&self) -> bool {
        !self.leaving.is_empty()
    }

    fn want(&mut self, service: &str, wanted: Option<Arc<Stage>>) -> Result<(), KafkaError> {
        let Some(slot) = self.slots.get_mut(service) else {
            return wanted.map_or(Ok(()), |stage| self.start(service, stage, None));
        };
        slot.wanted.clone_from(&wanted);
        match (&mut slot.now, wanted) {
            (Now::Leaves(_), _) => Ok(()),
            (Now::Failed, wanted) => {
                let slot = self.slots.remove(service);
                let metrics = slot.map(|slot| slot.metrics);
                wanted.map_or(Ok(()), |stage| self.start(service, stage, metrics))
            }
            (Now::Runs(running), Some(stage)) => {
                match change::action(&running.plan, &stage).0 {
                    Action::Restart => self.drain(service),
                    Action::Swap => {
                        let new_dlq = stage.dlq.as_ref().map(|dlq| &dlq.topic)
                            != running.plan.dlq.as_ref().map(|dlq| &dlq.topic);
                        running.swap(Arc::clone(&stage));
                        if let Some(cluster) = self.opened(&stage.source.cluster) {
                            make_topics(cluster, &stage);
                        }
                        if new_dlq {
                            self.ensure_dlq(stage);
                        }
                    }
                    Action::Keep | Action::Start | Action::Stop | Action::Broken | Action::Renamed => {}
                }
                Ok(())
            }
            (Now::Runs(_), None) => {
                self.drain(service);
                Ok(())
            }
        }
    }

    /// Lets a stage end what it has in flight, and waits for it elsewhere.
    fn drain(&mut self, service: &str) {
        let Some(slot) = self.slots.get_mut(service) else { return };
        let Now::Runs(running) = std::mem::replace(&mut slot.now, Now::Failed) else { return };
        running.stop(self.config.shutdown_grace);
        slot.now = Now::Leaves(running.leaving());
        let name = service.to_owned();
        if let Some(cluster) = self.opened(&running.plan.source.cluster) {
            cluster.forget(service);
        }
        self.leaving.spawn_blocking(move || (name, running.join()));
    }

    fn start(
        &mut self,
        service: &str,
        stage: Arc<Stage>,
        metrics: Option<Arc<StageMetrics>>,
    ) -> Result<(), KafkaError> {
        let metrics = metrics.unwrap_or_else(|| Arc::new(self.metrics.stage(&stage.pipeline, service)));
        let slot = Slot { now: Now::Failed, wanted: Some(Arc::clone(&stage)), metrics: Arc::clone(&metrics) };
        self.slots.insert(service.to_owned(), slot);
        let consumers = self.slots.len();
        if consumers > self.config.most_consumers() {
            error!(
                stage = service,
                memory = self.config.memory,
                needed = memory_share::needed(consumers),
                "not started: limits.memory has no room for another consumer; it needs so many bytes"
            );
            return Ok(());
        }
        let Some(cluster) = self.cluster(&stage.source.cluster)? else {
            error!(
                stage = service,
                cluster = stage.source.cluster,
                "not started: no such cluster; a cluster that is new in weir.yaml needs a restart of Weir"
            );
            return Ok(());
        };
        make_topics(&cluster, &stage);
        let running = Running::start(Start {
            config: &self.config,
            cluster: &cluster.config.cluster,
            stage: Arc::clone(&stage),
            outputs: cluster.outputs.for_stage(),
            metrics,
            tasks: self.tasks.clone(),
            lone: self.lone.clone(),
            on_finished: self.on_finished.clone(),
            prefetch: self.config.prefetch(consumers),
            memory: Memory::new(self.config.reserve(consumers), MAX_RECORDS, self.common.clone()),
        })?;
        cluster.watch(&running);
        let source = &stage.source;
        let commit = stage.in_git.get().map(|standing| standing.to_string());
        info!(
            stage = service,
            revision = %stage.revision,
            commit,
            cluster = source.cluster,
            group = source.group,
            topics = ?source.topics,
            "started"
        );
        if let Some(slot) = self.slots.get_mut(service) {
            slot.now = Now::Runs(running);
        }
        self.ensure_dlq(stage);
        Ok(())
    }

    /// The clients of a cluster that are made already.
    fn opened(&self, name: &str) -> Option<&Arc<Clients>> {
        self.clusters.iter().find(|one| one.name == name)
    }

    /// The clients of a cluster, made when it is first needed.
    fn cluster(&mut self, name: &str) -> Result<Option<Arc<Clients>>, KafkaError> {
        if self.opened(name).is_none() {
            let Some(config) = self.config.clusters.get(name) else { return Ok(None) };
            let queue = self.config.producer_queue();
            let clients = Clients::build(name.to_owned(), config.clone(), queue)?;
            clients.keep_token(&self.tasks, &self.ending);
            self.tasks.spawn(clients.look(self.ending.clone()));
            self.clusters.push(Arc::new(clients));
        }
        Ok(self.opened(name).cloned())
    }

    /// Makes the clients of a cluster although no stage uses it, so that its state shows.
    pub(super) fn open(&mut self, name: &str) -> Result<(), KafkaError> {
        self.cluster(name)?;
        self.show();
        Ok(())
    }

    fn ensure_dlq(&self, stage: Arc<Stage>) {
        let Some(cluster) = self.opened(&stage.source.cluster) else { return };
        let (admin, embedded) = (cluster.admin.clone(), cluster.config.embedded.clone());
        self.tasks.spawn(dlq::ensure(admin, embedded, stage, self.ending.clone()));
    }

    /// Divides the memory of records among those that run.
    fn share(&self) {
        let reserve = self.config.reserve(self.slots.len());
        for slot in self.slots.values() {
            if let Now::Runs(running) = &slot.now {
                running.engine.reshare(reserve);
            }
        }
    }

    fn count_pipelines(&mut self, wanted: &BTreeMap<String, Wanted>) {
        self.pipelines.retain(|name, _| wanted.contains_key(name));
        for (name, one) in wanted {
            let facts = &one.pipeline.facts;
            if self.pipelines.get(name).is_none_or(|(known, _)| known != facts) {
                let series = Arc::new(self.metrics.pipeline(name, facts));
                self.pipelines.insert(name.clone(), (facts.clone(), series));
            }
        }
    }

    /// Shows what there is now.
    fn show(&self) {
        let stages = self.slots.values().map(|slot| match &slot.now {
            Now::Runs(running) => Some(ShownStage {
                plan: Arc::clone(&running.plan),
                engine: Arc::clone(&running.engine),
                metrics: Arc::clone(&slot.metrics),
            }),
            Now::Leaves(leaving) => Some(ShownStage {
                plan: Arc::clone(&leaving.plan),
                engine: Arc::clone(&leaving.engine),
                metrics: Arc::clone(&slot.metrics),
            }),
            Now::Failed => None,
        });
        let stages = stages.flatten().collect();
        let pipelines = self.wanted.iter().map(|(name, one)| {
            let lacks = |stage: &Arc<Stage>| {
                self.slots.get(&stage.service).is_none_or(|slot| !matches!(slot.now, Now::Runs(_)))
            };
            let shown = ShownPipeline {
                revision: one.pipeline.plan.revision.clone(),
                standing: one.pipeline.standing.clone(),
                broken: one.broken.clone(),
                pin: one.pin.clone(),
                waits: one.pipeline.plan.stages.iter().any(lacks),
                metrics: self.pipelines.get(name).map(|(_, series)| Arc::clone(series)),
            };
            (name.clone(), shown)
        });
        let broken = self.wanted.values().filter_map(|one| one.broken.clone());
        let shown = Shown {
            files_read: true,
            stages,
            pipelines: pipelines.collect(),
            broken: broken.chain(self.broken.iter().map(|one| one.why.clone())).collect(),
            renamed: self.renamed.clone(),
            clusters: self.clusters.iter().map(|one| (one.name.clone(), Arc::clone(&one.seen))).collect(),
            outputs: self.clusters.iter().map(|one| one.outputs.clone()).collect(),
        };
        self.shown.store(Arc::new(shown));
    }

    /// Tells all of them to stop, within the grace; what stops them at once, whoever waits for them.
    pub(super) fn stop(&self) -> Vec<PollHandle> {
        let handle = |slot: &Slot| match &slot.now {
            Now::Runs(running) => {
                running.stop(self.config.shutdown_grace);
                Some(running.stopper())
            }
            Now::Leaves(leaving) => Some(leaving.poll.clone()),
            Now::Failed => None,
        };
        self.slots.values().filter_map(handle).collect()
    }

    /// What stops one of them.
    #[cfg(test)]
    pub(super) fn stop_handle(&self, service: &str) -> Option<PollHandle> {
        match &self.slots.get(service)?.now {
            Now::Runs(running) => Some(running.stopper()),
            Now::Leaves(_) | Now::Failed => None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// What is left once all were told to stop.
    pub(super) fn into_ending(self) -> Ending {
        let running = self.slots.into_values().filter_map(|slot| match slot.now {
            Now::Runs(running) => Some(running),
            Now::Leaves(_) | Now::Failed => None,
        });
        Ending { running: running.collect(), leaving: self.leaving, clusters: self.clusters }
    }
}
