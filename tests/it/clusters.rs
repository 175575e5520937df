//! Two Kafka clusters in one process: a stage reads, publishes and writes dead letters in its own, where their topic is made as
//! well, and an outage of one is none of the other's.

use std::collections::HashMap;
use std::process::Stdio;
use std::time::Duration;

use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use crate::dlq_topic::{WEEK, admin, settings};
use crate::support::kafka::{Kafka, shared};
use crate::support::ledger::Arrival;
use crate::support::receiver::{Receiver, status};
use crate::support::run::{Folder, Run, until};
use crate::support::weir::{Site, Watched, Weir};

const BOUND: Duration = Duration::from_secs(60);

/// One record, told by `n` of its value.
fn write(kafka: &Kafka, topic: &str, n: &str) {
    let text = format!(r#"{{"n":"{n}"}}"#);
    let producer: BaseProducer = kafka.client().create().unwrap();
    assert!(producer.send(BaseRecord::to(topic).key("k").payload(&text)).is_ok());
    producer.flush(Duration::from_secs(20)).unwrap();
}

/// The values that a topic of a cluster holds.
fn values(kafka: &Kafka, run: &Run, topic: &str) -> Vec<String> {
    let text = |value: Option<Vec<u8>>| String::from_utf8(value.unwrap_or_default()).unwrap();
    kafka.read(run, topic).into_iter().map(|record| text(record.value)).collect()
}

fn n_of(arrival: &Arrival) -> String {
    let value: Value = serde_json::from_slice(&arrival.body).unwrap();
    value["n"].as_str().unwrap().to_owned()
}

fn of_path<'a>(arrivals: &'a [Arrival], path: &str) -> Vec<&'a Arrival> {
    arrivals.iter().filter(|arrival| arrival.target.ends_with(path)).collect()
}

async fn kafka_of(weir: &Weir) -> Value {
    let (_, body) = weir.get("/api/health").await.unwrap();
    serde_json::from_str(&body).unwrap()
}

/// The same topics in both clusters, but for those of dead letters, and a pipeline for each.
struct Scene {
    run: Run,
    here: &'static Kafka,
    there: Kafka,
    receiver: Receiver,
    site: Site,
}

impl Scene {
    async fn set(test: &str) -> Scene {
        let run = Run::new(test);
        let (here, there) = (shared(), Kafka::own(test, None));
        for kafka in [here, &there] {
            for end in ["in", "out"] {
                kafka.create(&format!("{}.{end}", run.name), 1, &[]).await;
            }
        }
        let refused = |seen: crate::support::receiver::Seen<'_>| {
            status(if seen.arrival.body.as_ref() == br#"{"n":"bad"}"# { 422 } else { 200 })
        };
        let receiver = Receiver::start(&run, refused).await;
        let mut site = Site::new(&run, here)
            .signs_on(&format!("clusters: {{ there: {{ brokers: [\"{}\"] }} }}", there.brokers()));
        for (name, cluster) in [("here", ""), ("there", ", cluster: there")] {
            let yaml = format!(
                "source: {{ topic: {0}.in{cluster} }}\nhandler: {1}/{name}\npublish: {{ topic: {0}.out, value: {{ n: \"{{{{ .n }}}}\" }} }}\ndlq: {0}.lost-{name}\n",
                run.name,
                receiver.url().trim_end_matches('/'),
            );
            site = site.pipeline(&format!("{}-{name}", run.name), &yaml);
        }
        Scene { run, here, there, receiver, site }
    }

    fn topic(&self, end: &str) -> String {
        format!("{}.{end}", self.run.name)
    }

    async fn arrived(&self, name: &str, count: usize) {
        let path = format!("/{name}");
        let there = || async { of_path(&self.receiver.arrivals(), &path).len() >= count };
        until(&format!("{count} requests to {path}"), BOUND, there).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_stage_reads_and_writes_in_its_own_cluster() {
    let scene = Scene::set("clusters").await;
    let weir = scene.site.start("one").await;
    for (kafka, name) in [(scene.here, "here"), (&scene.there, "there")] {
        for text in [name, "bad"] {
            write(kafka, &scene.topic("in"), text);
        }
    }
    scene.arrived("here", 2).await;
    scene.arrived("there", 2).await;
    for (kafka, name) in [(scene.here, "here"), (&scene.there, "there")] {
        let (topic, group) = (scene.topic("in"), format!("weir.{}-{name}", scene.run.name));
        let watched = Watched { kafka, group: &group, topic: &topic, partitions: 1 };
        watched.all_committed(&scene.run, &[(0, 2)].into()).await;
        assert_eq!(
            values(kafka, &scene.run, &scene.topic("out")),
            [format!(r#"{{"n":"{name}"}}"#)],
            "{name}"
        );
        let lost = scene.topic(&format!("lost-{name}"));
        assert_eq!(values(kafka, &scene.run, &lost), [r#"{"n":"bad"}"#], "{name}");
        assert_eq!(settings(&admin(kafka), &lost).await["retention.ms"], WEEK, "Weir has made it, {name}");
    }
    for (kafka, other) in [(scene.here, "there"), (&scene.there, "here")] {
        let all = admin(kafka).inner().fetch_metadata(None, Duration::from_secs(10)).unwrap();
        let strange = all.topics().iter().find(|topic| topic.name() == scene.topic(&format!("lost-{other}")));
        assert!(strange.is_none(), "what is of the cluster {other} is made nowhere else");
    }
    let arrivals = scene.receiver.arrivals();
    let (here, there) = (of_path(&arrivals, "/here"), of_path(&arrivals, "/there"));
    assert_eq!((here.len(), there.len()), (2, 2), "each record once, and none of the other cluster");
    let both = || async { kafka_of(&weir).await["components"]["kafka"]["status"] == "UP" };
    until("both clusters are looked at", BOUND, both).await;
    let health = kafka_of(&weir).await;
    let clusters = &health["components"]["kafka"]["clusters"];
    let id = |name: &str| clusters[name]["details"]["clusterId"].as_str().unwrap().to_owned();
    assert_eq!(health["status"], "ok", "{health}");
    assert!(!id("there").is_empty() && id("there") != id("default"), "{health}");
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_of_one_cluster_is_none_of_the_others() {
    let scene = Scene::set("clusters-outage").await;
    let weir = scene.site.start("one").await;
    for (kafka, name) in [(scene.here, "here"), (&scene.there, "there")] {
        write(kafka, &scene.topic("in"), "before");
        scene.arrived(name, 1).await;
    }
    scene.there.kill();
    let down = || async {
        let health = kafka_of(&weir).await;
        let cluster = |name: &str| health["components"]["kafka"]["clusters"][name]["status"].clone();
        health["status"] == "degraded" && cluster("there") == "DOWN" && cluster("default") == "UP"
    };
    until("one cluster is down", BOUND, down).await;
    for number in 0..20 {
        write(scene.here, &scene.topic("in"), &number.to_string());
    }
    scene.arrived("here", 21).await;
    scene.there.start();
    write(&scene.there, &scene.topic("in"), "after");
    // What was not committed when the broker died may come again before it.
    let after =
        || async { of_path(&scene.receiver.arrivals(), "/there").iter().any(|one| n_of(one) == "after") };
    until("what was written afterwards", BOUND, after).await;
    let up = || async { kafka_of(&weir).await["components"]["kafka"]["status"] == "UP" };
    until("both clusters answer", BOUND, up).await;
    let arrivals = scene.receiver.arrivals();
    let bodies = |path| -> Vec<String> { of_path(&arrivals, path).iter().map(|one| n_of(one)).collect() };
    let numbers = (0..20).map(|number| number.to_string());
    let expected: Vec<String> = std::iter::once("before".to_owned()).chain(numbers).collect();
    assert_eq!(bodies("/here"), expected, "in order, each once");
    let there = bodies("/there");
    assert_eq!((there.first().unwrap().as_str(), there.last().unwrap().as_str()), ("before", "after"));
    assert!(there.len() <= 3 && there.is_sorted_by_key(|body| body != "before"), "{there:?}");
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

/// `weir dev` has an embedded broker for each cluster that a pipeline names.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn weir_dev_has_a_broker_for_each_cluster() {
    let run = Run::new("clusters-dev");
    let receiver = Receiver::start(&run, |_| status(200)).await;
    let folder = Folder::new(&run.name);
    std::fs::create_dir_all(folder.path().join("pipelines")).unwrap();
    std::fs::write(
        folder.path().join("weir.yaml"),
        "listen: 127.0.0.1:0\nkafka: { brokers: [\"nowhere:1\"], clusters: { there: { brokers: [\"nowhere:2\"] } } }\n",
    )
    .unwrap();
    for (name, cluster) in [("here", ""), ("there", ", cluster: there")] {
        let yaml = format!(
            "pipeline: {name}\nsource: {{ topic: in{cluster} }}\nhandler: {}/{name}\n",
            receiver.url().trim_end_matches('/')
        );
        std::fs::write(folder.path().join(format!("pipelines/{name}.yaml")), yaml).unwrap();
    }
    let mut dev = Command::new(env!("CARGO_BIN_EXE_weir"))
        .arg("dev")
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut said = BufReader::new(dev.stderr.take().unwrap()).lines();
    let mut brokers = HashMap::new();
    while brokers.len() < 2 {
        let line = timeout(BOUND, said.next_line()).await.unwrap().unwrap().expect("both are named");
        let Some((of, at)) = line.split_once(": an embedded broker on ") else { continue };
        let name =
            if of == "Kafka" { "here" } else { of.trim_start_matches("Kafka `").trim_end_matches('`') };
        brokers.insert(name.to_owned(), at.split(',').next().unwrap().to_owned());
    }
    for name in ["here", "there"] {
        let mut client = rdkafka::ClientConfig::new();
        let producer: BaseProducer = client.set("bootstrap.servers", &brokers[name]).create().unwrap();
        let value = format!(r#"{{"n":"{name}"}}"#);
        assert!(producer.send(BaseRecord::to("in").key("k").payload(&value)).is_ok());
        producer.flush(Duration::from_secs(20)).unwrap();
    }
    let arrived = || async { receiver.arrivals().len() >= 2 };
    until("a record of each", BOUND, arrived).await;
    let arrivals = receiver.arrivals();
    for name in ["here", "there"] {
        let its = of_path(&arrivals, &format!("/{name}"));
        let values: Vec<String> = its.iter().map(|one| n_of(one)).collect();
        assert_eq!(values, [name], "what was written to its broker, and nothing of the other");
    }
    let pid = dev.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert_eq!(timeout(BOUND, dev.wait()).await.unwrap().unwrap().code(), Some(0));
}
