//! The stages of a pipeline at work without Kafka: their engines, each with a feeder in place of a poll thread. What they write
//! goes to logs in memory, and from there to the stages that read those topics.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use super::observed::Taken;
use super::script::Script;
use crate::event::{Body, Event, Header, Origin, Outgoing, Topic};
use crate::flow::engine::{Common, Engine, EngineIntake, Lone, Memory, Outputs, Parts};
use crate::flow::report::{Finished, Held, OnFinished};
use crate::kafka::poll::PollHandle;
use crate::kafka::producer::{Appended, MemoryLog, Producer};
use crate::kafka::{Fetched, Found, Intake, Partition};
use crate::plan::{Plan, Stage};
use crate::telemetry::clock;
use crate::telemetry::metrics::Metrics;

/// What the records of a stage may weigh.
const MEMORY: usize = 256 << 20;
/// The first pause after which nothing has happened; each that follows is twice as long.
const QUIET: Duration = Duration::from_millis(1);
/// No test lasts longer, in virtual time.
const AT_MOST: Duration = Duration::from_secs(60 * 24 * 3600);
/// No stage of a test takes more records: a topic that feeds its own stage would never end.
const RECORDS: usize = 10_000;

/// A record to be read.
#[derive(Debug, Clone)]
pub(super) struct ToRead {
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) key: Option<Bytes>,
    pub(super) value: Option<Bytes>,
    pub(super) headers: Vec<Header>,
    pub(super) timestamp: Option<i64>,
    /// Which of the given events it is.
    pub(super) given: Option<usize>,
}

/// What the stages have written and done.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) records: Vec<Taken>,
    pub(super) published: Vec<(Arc<str>, Outgoing)>,
    pub(super) dead_letters: Vec<(Arc<str>, Outgoing)>,
    pub(super) held: Vec<(String, Vec<Held>)>,
    pub(super) faults: Vec<String>,
    /// When something last happened.
    pub(super) last: Option<Instant>,
}

/// The stages.
pub(super) struct Stages {
    feeds: Vec<Feed>,
    tasks: TaskTracker,
    woken: Arc<Notify>,
    script: Arc<Script>,
    published: MemoryLog,
    dead_letters: MemoryLog,
    finished: Arc<Mutex<Vec<Finished>>>,
    done: Done,
}

/// One stage.
struct Feed {
    stage: Arc<Stage>,
    engine: Arc<Engine>,
    intake: EngineIntake,
    topics: HashMap<Arc<str>, Arc<Topic>>,
    assigned: HashSet<Partition>,
    /// The last offset that was committed, by `topic/partition`.
    committed: HashMap<String, i64>,
    epoch: u64,
    /// Taken by the stage, and refused by it for now.
    waiting: Vec<Fetched>,
}

impl Stages {
    /// Starts them. Inside of a runtime of one thread whose clock stands still.
    pub(super) fn start(
        plan: &Plan,
        script: &Arc<Script>,
        woken: &Arc<Notify>,
        metrics: &Arc<Metrics>,
    ) -> Stages {
        let tasks = TaskTracker::new();
        let (published, dead_letters) =
            (MemoryLog::new(Arc::clone(woken)), MemoryLog::new(Arc::clone(woken)));
        let finished: Arc<Mutex<Vec<Finished>>> = Arc::default();
        let on_finished: OnFinished = {
            let (finished, woken) = (Arc::clone(&finished), Arc::clone(woken));
            Arc::new(move |one| {
                finished.lock().unwrap_or_else(PoisonError::into_inner).push(one);
                woken.notify_one();
            })
        };
        let (common, lone) = (Common::new(MEMORY), Lone::default());
        let feed = |stage: &Arc<Stage>| {
            let engine = Engine::start(Parts {
                stage: Arc::clone(stage),
                outputs: Outputs {
                    records: Producer::to_memory(&published, &stage.service),
                    dead_letters: Producer::to_memory(&dead_letters, &stage.service),
                },
                memory: Memory::new(MEMORY, MEMORY, common.clone()),
                uncommitted: AT_MOST,
                metrics: Arc::new(metrics.stage(&stage.pipeline, &stage.service)),
                tasks: tasks.clone(),
                lone: lone.clone(),
                on_finished: Some(Arc::clone(&on_finished)),
            });
            let intake = engine.intake(PollHandle::of_feeder(Arc::clone(woken)));
            Feed {
                stage: Arc::clone(stage),
                engine,
                intake,
                topics: HashMap::new(),
                assigned: HashSet::new(),
                committed: HashMap::new(),
                epoch: 0,
                waiting: Vec::new(),
            }
        };
        let feeds = plan.stages.iter().map(feed).collect();
        let (woken, script) = (Arc::clone(woken), Arc::clone(script));
        Stages { feeds, tasks, woken, script, published, dead_letters, finished, done: Done::default() }
    }

    /// Hands a record to every stage that reads its topic; whether there is one.
    pub(super) fn read(&mut self, record: &ToRead) -> bool {
        let mut is_read = false;
        for feed in &mut self.feeds {
            if !reads(&feed.stage, &record.topic) {
                continue;
            }
            is_read = true;
            self.done.records.push(Taken {
                service: feed.stage.service.clone(),
                position: format!("{}/{}/{}", record.topic, record.partition, record.offset),
                given: record.given,
                key: record.key.clone(),
                value: record.value.clone(),
                outcome: None,
                attempts: 0,
            });
            feed.read(record, &mut self.done.faults);
        }
        is_read
    }

    /// Lets them work until every record has its outcome, a stage holds, or nothing more can happen.
    pub(super) async fn work(mut self) -> Done {
        let begun = clock::now();
        let mut quiet = QUIET;
        loop {
            self.note();
            for feed in &mut self.feeds {
                feed.tend(&self.done.records, &mut self.done.faults);
            }
            let is_done = self.done.records.iter().all(|taken| taken.outcome.is_some());
            if is_done || self.done.records.len() > RECORDS || clock::now() - begun > AT_MOST {
                break;
            }
            if tokio::time::timeout(quiet, self.woken.notified()).await.is_ok() {
                (quiet, self.done.last) = (QUIET, Some(clock::now()));
                continue;
            }
            // Everything else waits for time to pass.
            if self.script.lacks_reply() || self.holds() {
                break;
            }
            quiet *= 2;
        }
        if self.done.records.len() > RECORDS {
            self.done
                .faults
                .push(format!("more than {RECORDS} records: the stages feed each other without end"));
        }
        self.end().await
    }

    /// Takes note of what has ended and of what was written, and hands that on.
    fn note(&mut self) {
        let finished = std::mem::take(&mut *self.finished.lock().unwrap_or_else(PoisonError::into_inner));
        for one in finished {
            let taken = self.done.records.iter_mut().find(|taken| {
                taken.service == one.service && taken.position == one.position && taken.outcome.is_none()
            });
            match taken {
                Some(taken) => (taken.outcome, taken.attempts) = (Some(one.outcome), one.attempts),
                None => self.done.faults.push(format!("{} has ended twice in {}", one.position, one.service)),
            }
        }
        let dead_letters = self.dead_letters.take();
        let published = self.published.take();
        for written in dead_letters.iter().chain(&published) {
            let Appended { record, written, .. } = written;
            self.read(&ToRead {
                topic: Arc::clone(&record.topic),
                partition: written.partition,
                offset: written.offset,
                key: record.key.clone(),
                value: record.value.clone(),
                headers: record.headers.clone(),
                timestamp: record.timestamp,
                given: None,
            });
        }
        let plain = |one: Appended| (one.by, one.record);
        self.done.dead_letters.extend(dead_letters.into_iter().map(plain));
        self.done.published.extend(published.into_iter().map(plain));
    }

    /// Whether nothing more happens because stages hold: each with an open record does, and has no answer left to ask for.
    fn holds(&self) -> bool {
        let mut any = false;
        for feed in &self.feeds {
            let report = feed.engine.report();
            if report.open == 0 {
                continue;
            }
            let is_held = !report.held.is_empty() && report.in_flight == 0;
            if !is_held || self.script.has_replies(&feed.stage.service) {
                return false;
            }
            any = true;
        }
        any
    }

    async fn end(mut self) -> Done {
        for feed in &mut self.feeds {
            feed.behind(&self.done.records, &mut self.done.faults);
            let held = feed.engine.report().held;
            if !held.is_empty() {
                self.done.held.push((feed.stage.service.clone(), held));
            }
            // First the partitions: what is cut off is not to be taken again.
            let assigned: Vec<Partition> = feed.assigned.iter().cloned().collect();
            feed.intake.lost(&assigned);
            feed.engine.end();
        }
        self.tasks.close();
        self.tasks.wait().await;
        self.done
    }
}

/// Whether a stage reads a topic.
pub(super) fn reads(stage: &Stage, topic: &str) -> bool {
    let named = stage.source.topics.iter().any(|name| name == topic);
    named || stage.source.pattern.as_ref().is_some_and(|pattern| pattern.takes(topic))
}

impl Feed {
    fn read(&mut self, record: &ToRead, faults: &mut Vec<String>) {
        let topic = self.topics.entry(Arc::clone(&record.topic)).or_insert_with(|| {
            Arc::new(Topic { cluster: "test".to_owned(), name: record.topic.to_string(), id: None })
        });
        let topic = Arc::clone(topic);
        let partition = Partition { topic: Arc::clone(&record.topic), number: record.partition };
        if !self.assigned.contains(&partition) {
            self.assign(&partition, &topic, record.offset, faults);
        }
        let lengths = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        let headers =
            record.headers.iter().map(|header| header.name.len() + lengths(&header.value)).sum::<usize>();
        let bytes = lengths(&record.key) + lengths(&record.value) + headers;
        let origin =
            Origin { topic, partition: record.partition, offset: record.offset, timestamp: record.timestamp };
        let event = Event {
            origin,
            key: record.key.clone(),
            headers: record.headers.clone(),
            body: Body::Raw(record.value.clone()),
            part: 0,
        };
        self.waiting.push(Fetched { event, epoch: self.epoch, bytes, rank: None });
    }

    /// All partitions of a test belong to one assignment.
    fn assign(&mut self, partition: &Partition, topic: &Arc<Topic>, offset: i64, faults: &mut Vec<String>) {
        self.epoch = 1;
        let found = Found {
            partition: partition.clone(),
            topic: Arc::clone(topic),
            epoch: self.epoch,
            partitions: 1,
            again: false,
            committed: None,
            start: offset,
            log_start: 0,
            log_end: offset,
        };
        if self.intake.assigned(vec![found], clock::now()).is_empty() {
            faults.push(format!("{partition} was not begun"));
        }
        self.assigned.insert(partition.clone());
        self.commit(&[], faults);
    }

    /// What a poll thread does on each pass.
    fn tend(&mut self, records: &[Taken], faults: &mut Vec<String>) {
        self.commit(records, faults);
        if !self.waiting.is_empty() {
            self.intake.records(&mut self.waiting);
        }
        self.intake.tick(clock::now());
        self.commit(records, faults);
    }

    /// Where every record of a partition has its outcome, all of them are committed at the end.
    fn behind(&self, records: &[Taken], faults: &mut Vec<String>) {
        for partition in &self.assigned {
            let place = partition.to_string();
            let own = records.iter().filter(|taken| taken.service == self.stage.service);
            let own = own.filter(|taken| taken.position.rsplit_once('/').is_some_and(|(of, _)| of == place));
            let ends = own.map(|taken| {
                taken.outcome.and_then(|_| taken.position.rsplit('/').next()?.parse::<i64>().ok())
            });
            let Some(ends) = ends.collect::<Option<Vec<i64>>>() else { continue };
            let wanted = ends.into_iter().max().map(|last| last + 1);
            if self.committed.get(&place).copied() != wanted {
                faults.push(format!(
                    "{place} ends at {wanted:?}, and what is committed is {:?}",
                    self.committed.get(&place)
                ));
            }
        }
    }

    /// Takes every commit at once, and looks whether it passes a record without an outcome.
    fn commit(&mut self, records: &[Taken], faults: &mut Vec<String>) {
        loop {
            let marks = self.intake.commits(clock::now(), None);
            if marks.is_empty() {
                return;
            }
            for mark in &marks {
                self.committed.insert(mark.partition.to_string(), mark.next);
                let passed = |taken: &&Taken| {
                    let (place, offset) = taken.position.rsplit_once('/').unwrap_or_default();
                    taken.service == self.stage.service
                        && taken.outcome.is_none()
                        && place == mark.partition.to_string()
                        && offset.parse::<i64>().is_ok_and(|offset| offset < mark.next)
                };
                if let Some(taken) = records.iter().find(passed) {
                    faults.push(format!("a commit passes {}, which has no outcome", taken.position));
                }
            }
            let answers: Vec<_> = marks.into_iter().map(|mark| (mark, None)).collect();
            self.intake.committed(&answers, clock::now());
        }
    }
}
