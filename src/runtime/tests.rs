//! The whole engine on the in-process broker, with a handler that is a script.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::change::{Settled, Wanted};
use super::load::Loadable;
use super::{ClusterConfig, Config, Runtime};
use crate::event::Outgoing;
use crate::handler::{BoxFuture, Call, Handler};
use crate::kafka::embedded::Embedded;
use crate::kafka::producer::Producer;
use crate::outcome::{Answer, BodyEnd, Code, Failure};
use crate::plan::fixture::stage;
use crate::plan::{Plan, Revision};
use crate::settings::DEFAULT_CLUSTER;
use crate::spec::PipelineFile;
use crate::spec::span::Source;
use crate::telemetry::metrics::{Metrics, PipelineFacts};

/// What arrived: key and value, in order of acceptance.
type Arrived = Arc<Mutex<Vec<(String, String)>>>;

/// Accepts everything; of each record whose value ends in 7, the first attempt fails.
#[derive(Debug)]
struct Script {
    arrived: Arrived,
    attempts: Mutex<HashMap<String, u32>>,
    changed: Arc<tokio::sync::Notify>,
    /// Whether no record is repeated.
    strict: bool,
}

fn text(bytes: Option<&Bytes>) -> String {
    bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default()
}

impl Handler for Script {
    fn attempt<'a>(&'a self, batch: &'a [Call<'a>]) -> BoxFuture<'a, Vec<Result<Answer, Failure>>> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            let mut results = Vec::new();
            for call in batch {
                let crate::event::Body::Raw(value) = &call.event.body else {
                    panic!("nothing looks into it")
                };
                let (key, value) = (text(call.event.key.as_ref()), text(value.as_ref()));
                let number = {
                    let mut attempts = self.attempts.lock().unwrap();
                    let number = attempts.entry(format!("{key}/{value}")).or_default();
                    *number += 1;
                    *number
                };
                assert!(
                    number == call.attempt || !self.strict,
                    "the handler is told the attempt's number: {} is {number}",
                    call.attempt
                );
                if value.ends_with('7') && number == 1 {
                    results.push(Err(Failure::retry(Code::Connect, "first attempts at sevens fail")));
                    continue;
                }
                self.arrived.lock().unwrap().push((key, value));
                self.changed.notify_one();
                results.push(Ok(Answer {
                    status: 200,
                    headers: Vec::new(),
                    body: Bytes::new(),
                    body_end: BodyEnd::Complete,
                }));
            }
            results
        })
    }
}

fn plan(handler: Arc<dyn Handler>) -> Arc<Plan> {
    let stages = vec![Arc::new(stage(Some(handler)))];
    Arc::new(Plan { pipeline: "orders".into(), revision: Revision::of(""), stages })
}

fn config(embedded: &Embedded) -> Config {
    Config {
        clusters: BTreeMap::from([(DEFAULT_CLUSTER.to_owned(), ClusterConfig::embedded(embedded))]),
        memory: 64 << 20,
        uncommitted: Duration::from_secs(5),
        drain_deadline: Duration::from_secs(5),
        shutdown_grace: Duration::from_secs(5),
    }
}

async fn produce(embedded: &Embedded, from: usize, to: usize) {
    let producer = Producer::build(&embedded.cluster(), "test").unwrap();
    let topic: Arc<str> = Arc::from("in");
    let sends = (from..to).map(|number| {
        let (topic, producer) = (Arc::clone(&topic), producer.clone());
        async move {
            let record = Outgoing {
                topic,
                partition: None,
                key: Some(Bytes::from(format!("k{}", number % 10))),
                value: Some(Bytes::from(number.to_string())),
                headers: Vec::new(),
                timestamp: None,
            };
            producer.send(&record).await.unwrap();
        }
    });
    futures_util::future::join_all(sends).await;
}

fn wanted(plans: impl IntoIterator<Item = Arc<Plan>>) -> Settled {
    let one = |plan: Arc<Plan>| {
        let read = Arc::new(PipelineFile::parse(&Source::new("a.yaml", ""), &mut Vec::new()));
        let (facts, file) = (PipelineFacts::default(), "a.yaml".into());
        let pipeline = Loadable { plan: Arc::clone(&plan), facts, file, standing: None, read };
        (plan.pipeline.clone(), Wanted { pipeline, broken: None, pin: None })
    };
    Settled { wanted: plans.into_iter().map(one).collect(), ..Settled::default() }
}

/// A runtime whose handler keeps what arrives, and what tells of each arrival.
fn start(embedded: &Embedded, arrived: &Arrived, strict: bool) -> (Runtime, Arc<tokio::sync::Notify>) {
    let changed = Arc::new(tokio::sync::Notify::new());
    let attempts = Mutex::default();
    let script = Script { arrived: Arc::clone(arrived), attempts, changed: Arc::clone(&changed), strict };
    let plans = [plan(Arc::new(script))];
    let mut runtime = Runtime::new(config(embedded), &Metrics::new(), None);
    runtime.apply(wanted(plans)).unwrap();
    (runtime, changed)
}

/// Runs until so many have arrived in all, and stops gracefully; whether that was clean.
async fn run_until(embedded: &Embedded, arrived: &Arrived, wanted: usize) -> bool {
    let (runtime, changed) = start(embedded, arrived, true);
    let reporter = runtime.reporter();
    let (stop, force) = (CancellationToken::new(), CancellationToken::new());
    let tasks = TaskTracker::new();
    let running = tasks.spawn(runtime.run(mpsc::channel(1).1, stop.clone(), force));
    let all = async {
        while arrived.lock().unwrap().len() < wanted {
            changed.notified().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), all).await.expect("everything arrives");
    let committed = async {
        let how_far = || {
            let report = reporter.report();
            let stages = report.pipelines.iter().flat_map(|pipeline| &pipeline.stages);
            let partitions: Vec<_> = stages.flat_map(|stage| stage.partitions.clone()).collect();
            assert!(partitions.iter().all(|one| !one.paused && one.lag <= 800), "{partitions:?}");
            partitions.iter().map(|one| usize::try_from(one.watermark).unwrap()).sum::<usize>()
        };
        while how_far() < wanted {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), committed).await.expect("the watermarks pass all of them");
    stop.cancel();
    running.await.unwrap().clean
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delivers_each_record_once_in_order_of_its_key_over_a_restart() {
    let embedded = Embedded::start().unwrap();
    embedded.create_topic("in", 4).unwrap();
    let arrived = Arrived::default();
    produce(&embedded, 0, 500).await;
    assert!(run_until(&embedded, &arrived, 500).await, "a clean stop");
    produce(&embedded, 500, 800).await;
    assert!(run_until(&embedded, &arrived, 800).await, "a clean stop");

    let arrived = arrived.lock().unwrap().clone();
    assert_eq!(arrived.len(), 800, "nothing twice");
    let mut by_key: HashMap<String, Vec<usize>> = HashMap::new();
    for (key, value) in arrived {
        by_key.entry(key).or_default().push(value.parse().unwrap());
    }
    for (key, numbers) in by_key {
        assert!(numbers.is_sorted(), "{key} in order: {numbers:?}");
        assert_eq!(numbers.len(), 80);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_has_failed_for_good_is_made_anew_and_goes_on_from_what_was_committed() {
    let embedded = Embedded::start().unwrap();
    embedded.create_topic("in", 4).unwrap();
    let arrived = Arrived::default();
    let (runtime, changed) = start(&embedded, &arrived, false);
    let handle = runtime.stages.stop_handle("orders").unwrap();
    let (stop, force) = (CancellationToken::new(), CancellationToken::new());
    let tasks = TaskTracker::new();
    let running = tasks.spawn(runtime.run(mpsc::channel(1).1, stop.clone(), force));
    let all_of = async |wanted: usize| {
        let all = async {
            let different = || arrived.lock().unwrap().iter().collect::<std::collections::HashSet<_>>().len();
            while different() < wanted {
                changed.notified().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), all).await.expect("everything arrives");
    };
    produce(&embedded, 0, 200).await;
    all_of(200).await;
    handle.fail();
    produce(&embedded, 200, 400).await;
    all_of(400).await;
    stop.cancel();
    assert!(running.await.unwrap().clean);
    // What was in flight or not committed yet may have come twice; in order of its key all the same.
    assert!(arrived.lock().unwrap().len() <= 800);
}
