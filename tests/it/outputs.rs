//! What a stage publishes: the answer as the next event, acknowledged before the offset passes; and outputs that are not
//! there, or refuse (B4, D1).

use std::collections::HashMap;
use std::time::{Duration, UNIX_EPOCH};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::dead_letters::send;
use crate::delivery::{PARTITIONS, Stage, ends};
use crate::support::check;
use crate::support::kafka::Kafka;
use crate::support::ledger::{Arrival, Dead, Ledgers};
use crate::support::load::Load;
use crate::support::receiver::{Receiver, Reply, Seen, status};
use crate::support::run::{Run, until};
use crate::support::weir::{Site, Watched, Weir};

/// How long librdkafka hopes that a topic will yet appear: 30 s by default, at each try.
pub(crate) const HOPE: (&str, &str) = ("topic.metadata.propagation.max.ms", "2000");
/// Room for a few tries.
const TRIES: Duration = Duration::from_secs(60);

/// Accepts, with this JSON as the answer.
pub(crate) fn answered(body: impl Into<bytes::Bytes>) -> Reply {
    Reply { headers: vec![("content-type", "application/json".into())], body: body.into(), ..status(200) }
}

/// Accepts, and gives back what came: the answer then is a record of the load too.
fn echo(seen: &Seen<'_>) -> Reply {
    answered(seen.arrival.body.clone())
}

/// A stage with `publish`. `publish` is the list's text; `OUT` in it stands for the topic's name and a dot.
async fn publishing(
    test: &str,
    publish: &str,
    script: impl Fn(Seen<'_>) -> Reply + Send + Sync + 'static,
) -> Stage {
    let mut stage = Stage::set(test, "", script).await;
    let (topic, url) = (&stage.topic, stage.receiver.url());
    let publish = publish.replace("OUT", &format!("{topic}."));
    let yaml = format!("source: {topic}\ndlq: {topic}.dlq\nhandler: {url}\npublish:\n{publish}");
    stage.site = stage.site.pipeline(&stage.topic, &yaml).property(HOPE.0, HOPE.1);
    stage
}

/// All headers of a record, in order.
fn headers(record: &Dead) -> Vec<(&str, &str)> {
    record.headers.iter().map(|(name, value)| (name.as_str(), std::str::from_utf8(value).unwrap())).collect()
}

/// Trace id and span of a `traceparent`.
pub(crate) fn trace(traceparent: &str) -> (&str, &str) {
    let mut parts = traceparent.split('-').skip(1);
    (parts.next().unwrap(), parts.next().unwrap())
}

/// How often each uid of the load is there.
fn times(records: &[Dead]) -> HashMap<usize, usize> {
    let mut times = HashMap::new();
    for record in records {
        *times.entry(record.uid.unwrap()).or_default() += 1;
    }
    times
}

/// What a stage has had refused by a topic that it publishes to.
async fn refusals(weir: &Weir, topic: &str) -> f64 {
    weir.metric("weir_producer_records_total", &[("topic", topic), ("result", "error")]).await
}

/// Whether the broker knows the topic; asking makes none.
fn exists(kafka: &Kafka, topic: &str) -> bool {
    let reader: BaseConsumer = kafka.client().set("allow.auto.create.topics", "false").create().unwrap();
    let all = reader.fetch_metadata(None, Duration::from_secs(10)).unwrap();
    all.topics().iter().any(|found| found.name() == topic)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_becomes_the_next_event() {
    const ANSWER: &str = r#" {"ticket" : "t-9", "n":9007199254740993}"#;
    let publish = "  - { topic: OUTone }\n  \
                   - { topic: OUTtwo, when: \"%response.status == 200\", key: \"{{ %response.body.ticket }}\", \
                   headers: { x-status: \"{{ %response.status }}\" }, value: { t: \"{{ %response.body.ticket }}\" } }\n  \
                   - { topic: OUTtwo, when: \"%response.status == 402\" }\n";
    let stage = publishing("answer", publish, |_| answered(ANSWER)).await;
    let [one, two] = ["one", "two"].map(|name| format!("{}.{name}", stage.topic));
    for topic in [&one, &two] {
        stage.kafka.create(topic, 1, &[]).await;
    }
    let weir = stage.site.start("one").await;
    let source = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let given = [
        ("ce_id", "e-1"),
        ("correlation_id", "c-1"),
        ("traceparent", source),
        ("tracestate", "vendor=1"),
        ("x-other", "stays behind"),
    ];
    let mut record = OwnedHeaders::new();
    for (key, value) in given {
        record = record.insert(Header { key, value: Some(value) });
    }
    send(&stage, Some(b"k-1"), Some(br#"{"n":1}"#), record, 0);
    send(&stage, None, Some(br#"{"n":2}"#), OwnedHeaders::new(), 0);
    stage.watched().all_committed(&stage.run, &[(0, 2)].into()).await;

    let arrivals = stage.receiver.arrivals();
    let by_event = |event: &str| arrivals.iter().find(|arrival| arrival.event.ends_with(event)).unwrap();
    let (first, second) = (by_event("/0/0"), by_event("/0/1"));
    assert_eq!((arrivals.len(), first.header("prefer")), (2, Some("reply")), "an answer is asked for");

    let published = stage.kafka.read(&stage.run, &one);
    let of = |arrival: &Arrival| {
        let id = format!("{}-0", arrival.webhook_id);
        published.iter().find(|record| record.header("ce_id") == Some(id.as_str())).unwrap()
    };
    assert_eq!(published.len(), 2);
    let (event, other) = (of(first), of(second));
    assert_eq!(event.key.as_deref(), Some(&b"k-1"[..]), "the source's key");
    assert_eq!(event.value.as_deref(), Some(ANSWER.as_bytes()), "the answer byte for byte");
    let id = format!("{}-0", first.webhook_id);
    let sent_on = event.header("traceparent").unwrap();
    let expected = [
        ("ce_id", id.as_str()),
        ("ce_causationid", "e-1"),
        ("ce_correlationid", "c-1"),
        ("traceparent", sent_on),
        ("tracestate", "vendor=1"),
    ];
    assert_eq!(headers(event), expected, "these and no others");
    let spans = [source, first.header("traceparent").unwrap(), sent_on].map(trace);
    assert!(spans.iter().all(|(id, _)| *id == spans[0].0), "one trace: {spans:?}");
    assert!(spans[0].1 != spans[1].1 && spans[1].1 != spans[2].1 && spans[0].1 != spans[2].1, "{spans:?}");

    assert_eq!(other.key, None, "no key where the source has none");
    let names: Vec<&str> = headers(other).iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["ce_id", "ce_causationid", "traceparent"], "no correlation id is made up");
    let cause = other.header("ce_causationid").unwrap();
    assert!(cause.ends_with("/0/1"), "the position, where the source says no id: {cause}");

    let chosen = stage.kafka.read(&stage.run, &two);
    assert_eq!(chosen.len(), 2, "the third entry's condition is false");
    for record in &chosen {
        assert_eq!(record.key.as_deref(), Some(&b"t-9"[..]));
        assert_eq!(record.value.as_deref(), Some(&br#"{"t":"t-9"}"#[..]));
        assert_eq!(record.header("x-status"), Some("200"));
    }
    let ids: Vec<_> = chosen.iter().filter_map(|record| record.header("ce_id")).collect();
    assert!(ids.contains(&format!("{}-1", first.webhook_id).as_str()), "the entry's number: {ids:?}");
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_is_published_once_and_before_its_offset_is_committed() {
    let mut stage = publishing("publish-load", "  - topic: OUTnext\n", |seen| echo(&seen)).await;
    // Acks come later than the commits that would not wait for them.
    stage.site = stage.site.property("linger.ms", "2500");
    let next = format!("{}.next", stage.topic);
    // The broker's own time of the append: what a commit has to come after.
    stage.kafka.create(&next, PARTITIONS, &[("message.timestamp.type", "LogAppendTime")]).await;
    let commits = stage.commits();
    let weir = stage.site.start("one").await;
    let load = Load { events: 1_000, keys: 1_000, size: 400, rate: Some(200) };
    let (intents, acked) = load.produce(&stage.run, stage.kafka, &stage.topic).await;
    stage.watched().all_committed_within(&stage.run, &ends(&acked), TRIES).await;
    let commits = tokio::task::spawn_blocking(|| commits.stop()).await.unwrap();
    let published = stage.kafka.read(&stage.run, &next);
    assert_eq!((published.len(), times(&published).len()), (load.events, load.events), "each once");
    assert_eq!(stage.receiver.arrivals().len(), load.events);
    // Judged by its outputs, as if they were all that there is: none lost, and no commit before its output.
    let ledgers = Ledgers { intents, acked, dead: published, commits, ..Ledgers::default() };
    check::all(&ledgers);
    assert!(ledgers.commits.len() > 20, "{} samples", ledgers.commits.len());
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_output_that_refuses_is_not_passed_and_the_handler_is_not_asked_again() {
    let stage = publishing("output-refuses", "  - topic: OUTnext\n", |_| answered("{}")).await;
    let next = format!("{}.next", stage.topic);
    // It takes nothing that is older than a minute; a published record has its source's time.
    stage.kafka.create(&next, 1, &[("message.timestamp.before.max.ms", "60000")]).await;
    let weir = stage.site.start("one").await;
    let wall = weir::telemetry::clock::wall().duration_since(UNIX_EPOCH).unwrap();
    let old = wall.as_millis() as i64 - 3_600_000;
    let producer: BaseProducer = stage.kafka.client().create().unwrap();
    let record = BaseRecord::to(&stage.topic).partition(0).key("k").payload("{}").timestamp(old);
    assert!(producer.send(record).is_ok());
    producer.flush(Duration::from_secs(20)).unwrap();
    weir.holds("kafka").await;
    let tried_again = || async { refusals(&weir, &next).await >= 3.0 };
    until("a few more tries", TRIES, tried_again).await;
    assert_eq!(committed(&stage.watched(), &stage.run).await, 0, "not past what is owed");
    stage.kafka.configure(&next, &[("message.timestamp.before.max.ms", "9000000000")]).await;
    stage.watched().all_committed_within(&stage.run, &[(0, 1)].into(), TRIES).await;
    assert_eq!(stage.kafka.read(&stage.run, &next).len(), 1);
    assert_eq!(stage.receiver.arrivals().len(), 1, "the answer was kept");
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

/// The sum of the offsets committed.
async fn committed(watched: &Watched<'_>, run: &Run) -> i64 {
    watched.committed(run).await.iter().map(|sample| sample.offset).sum()
}

/// F-12. On a broker that makes a topic for whoever names it and does not say no.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_output_holds_the_stage_and_is_not_made_by_producing() {
    let run = Run::new("no-output");
    let kafka = Kafka::with(&run.name, "auto.create.topics.enable=true");
    let (topic, group) = (run.name.clone(), format!("weir.{}", run.name));
    let next = format!("{topic}.next");
    kafka.create(&topic, PARTITIONS, &[]).await;
    kafka.create(&format!("{topic}.dlq"), 1, &[]).await;
    let producer: BaseProducer = kafka.client().create().unwrap();
    assert!(producer.send(BaseRecord::<str, str>::to(&format!("{topic}.any")).payload("x")).is_ok());
    producer.flush(Duration::from_secs(20)).unwrap();
    assert!(exists(&kafka, &format!("{topic}.any")), "the broker does make topics");

    let receiver = Receiver::start(&run, |seen| echo(&seen)).await;
    let yaml = format!(
        "source: {topic}\ndlq: {topic}.dlq\nhandler: {}\npublish: {{ topic: {next} }}\n",
        receiver.url()
    );
    let site = Site::new(&run, &kafka).pipeline(&topic, &yaml).property(HOPE.0, HOPE.1);
    let watched = Watched { kafka: &kafka, group: &group, topic: &topic, partitions: PARTITIONS };
    let weir = site.start("one").await;
    let load = Load { events: 40, keys: 40, size: 300, rate: None };
    let (_, acked) = load.produce(&run, &kafka, &topic).await;
    let held = || async { weir.metric("weir_stage_held", &[("cause", "topic_missing")]).await > 0.0 };
    until("held by the missing topic", TRIES, held).await;
    let refused = refusals(&weir, &next).await;
    until("a few more tries", TRIES, || async { refusals(&weir, &next).await >= refused + 3.0 }).await;
    let (ready, stages) = weir.get("/readyz").await.unwrap();
    assert_eq!(ready, 200, "a missing topic is no reason to restart");
    assert!(stages.contains("topic_missing"), "{stages}");
    assert!(weir.log().contains(&next), "the topic is named");
    assert!(!exists(&kafka, &next), "producing to it does not make it");
    assert_eq!(committed(&watched, &run).await, 0, "nothing is passed");

    kafka.create(&next, 1, &[]).await;
    watched.all_committed_within(&run, &ends(&acked), TRIES).await;
    let published = kafka.read(&run, &next);
    assert_eq!((published.len(), times(&published).len()), (load.events, load.events), "each once");
    let arrivals = receiver.arrivals();
    let asked: std::collections::HashSet<_> = arrivals.iter().map(|arrival| arrival.uid).collect();
    assert_eq!((arrivals.len(), asked.len()), (load.events, load.events), "the handler once for each record");
    assert_eq!(kafka.read(&run, &format!("{topic}.dlq")).len(), 0);
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_output_has_taken_is_not_published_again_while_another_is_missing() {
    let publish = "  - topic: OUTone\n  - topic: OUTtwo\n";
    let stage = publishing("half-published", publish, |seen| echo(&seen)).await;
    let [one, two] = ["one", "two"].map(|name| format!("{}.{name}", stage.topic));
    stage.kafka.create(&one, 1, &[]).await;
    let weir = stage.site.start("one").await;
    send(&stage, Some(b"k"), Some(br#"{"uid":0,"key":0,"seq":0}"#), OwnedHeaders::new(), 0);
    // Its first pass, and three more.
    until("three more tries", TRIES, || async { refusals(&weir, &two).await >= 4.0 }).await;
    let held = weir.metric("weir_stage_held", &[("cause", "topic_missing")]).await;
    assert!(held > 0.0);
    assert_eq!(stage.kafka.read(&stage.run, &one).len(), 1, "once, not once a try");

    stage.kafka.create(&two, 1, &[]).await;
    stage.watched().all_committed_within(&stage.run, &[(0, 1)].into(), TRIES).await;
    for topic in [&one, &two] {
        assert_eq!(stage.kafka.read(&stage.run, topic).len(), 1, "{topic}");
    }
    assert_eq!(stage.receiver.arrivals().len(), 1, "the handler once");
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}
