//! Two stages in one file: what the first publishes the second reads, and correlation id and trace go along.

use std::collections::HashSet;
use std::time::Duration;

use rdkafka::message::{Header, OwnedHeaders};

use crate::dead_letters::send;
use crate::delivery::{PARTITIONS, Stage};
use crate::outputs::{answered, trace};
use crate::support::ledger::{Arrival, Dead};
use crate::support::receiver::{Receiver, Reply, Seen, status};
use crate::support::run::until;
use crate::support::weir::Watched;

const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const NOT_SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

/// The scenery: a source, what lies between the stages, a receiver for each.
struct Chain {
    stage: Stage,
    between: String,
    second: Receiver,
}

/// Two attempts at each record; the answer is the record's number.
fn ticket(seen: &Seen<'_>) -> Reply {
    if seen.before == 0 { status(503) } else { answered(seen.arrival.body.clone()) }
}

impl Chain {
    async fn set(test: &str) -> Chain {
        let mut stage = Stage::set(test, "", |seen| ticket(&seen)).await;
        let second = Receiver::start(&stage.run, |_| status(200)).await;
        let (topic, between) = (&stage.topic, format!("{}.between", stage.topic));
        stage.kafka.create(&between, PARTITIONS, &[]).await;
        let yaml = format!(
            "dlq: {topic}.dlq\nretry: {{ max_attempts: 5, backoff: fixed, initial_delay: 200ms }}\nstages:\n  \
             charge:\n    source: {topic}\n    handler: {}\n    publish: {{ topic: {between} }}\n  \
             tell:\n    source: {between}\n    handler: {}\n",
            stage.receiver.url(),
            second.url()
        );
        stage.site = stage.site.pipeline(&stage.topic, &yaml);
        Chain { between, second, stage }
    }

    /// A record whose value is its number.
    fn send(&self, number: u8, headers: &[(&str, &str)]) {
        let mut all = OwnedHeaders::new();
        for (key, value) in headers {
            all = all.insert(Header { key, value: Some(*value) });
        }
        send(&self.stage, Some(b"k"), Some(&[b'0' + number]), all, 0);
    }
}

/// The requests for the record with this value, in order.
fn of(arrivals: &[Arrival], number: u8) -> Vec<&Arrival> {
    arrivals.iter().filter(|arrival| arrival.body[..] == [b'0' + number]).collect()
}

/// Where one record's trace was seen: each request, what was published, the next request.
fn traceparents<'a>(attempts: &[&'a Arrival], published: &'a Dead, next: &'a Arrival) -> Vec<&'a str> {
    let mut all: Vec<&str> = attempts.iter().map(|arrival| arrival.header("traceparent").unwrap()).collect();
    all.push(published.header("traceparent").unwrap());
    all.push(next.header("traceparent").unwrap());
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn correlation_id_and_trace_go_from_stage_to_stage() {
    let chain = Chain::set("chain").await;
    let weir = chain.stage.site.start("one").await;
    let correlation = ("correlation_id", "c-1");
    chain.send(0, &[correlation, ("traceparent", SAMPLED), ("tracestate", "a=1,b=2")]);
    chain.send(1, &[("traceparent", NOT_SAMPLED)]);
    // No trace of its own: a state without a parent is nobody's.
    chain.send(2, &[("tracestate", "a=1")]);
    chain.second.wait_for(3, Duration::from_secs(60)).await;
    let (run, kafka) = (&chain.stage.run, chain.stage.kafka);
    for (topic, name) in [(&chain.stage.topic, "charge"), (&chain.between, "tell")] {
        let group = format!("{}.{name}", chain.stage.group);
        let watched = Watched { kafka, group: &group, topic, partitions: PARTITIONS };
        let all = async || watched.committed(run).await.iter().map(|sample| sample.offset).sum::<i64>() == 3;
        until(&format!("everything of {name} committed"), Duration::from_secs(15), all).await;
    }
    let (first, second) = (chain.stage.receiver.arrivals(), chain.second.arrivals());
    let published = kafka.read(run, &chain.between);
    assert_eq!((first.len(), published.len(), second.len()), (6, 3, 3));
    let bodies: Vec<&[u8]> = second.iter().map(|arrival| &arrival.body[..]).collect();
    assert_eq!(bodies, [b"0", b"1", b"2"], "the order of the key holds over both stages");

    let mut ids = HashSet::new();
    for number in 0..3_u8 {
        let (attempts, next) = (of(&first, number), of(&second, number)[0]);
        let event = &published[usize::from(number)];
        assert_eq!(event.value.as_deref(), Some(&[b'0' + number][..]));
        let counted: Vec<u32> = attempts.iter().map(|arrival| arrival.attempt).collect();
        assert_eq!(counted, [1, 2]);
        assert_eq!(attempts[0].webhook_id, attempts[1].webhook_id);
        assert!(next.event.starts_with(&format!("{}/", chain.between)), "{}", next.event);
        assert_ne!(attempts[0].webhook_id, next.webhook_id, "another stage's request has an id of its own");
        let id = format!("{}-0", attempts[0].webhook_id);
        assert_eq!(event.header("ce_id"), Some(id.as_str()));

        let source = [Some(SAMPLED), Some(NOT_SAMPLED), None][usize::from(number)];
        let seen = traceparents(&attempts, event, next);
        let traces: HashSet<&str> = seen.iter().map(|text| trace(text).0).collect();
        assert_eq!(traces.len(), 1, "attempts, event and next request are of one trace: {seen:?}");
        let spans: HashSet<&str> = seen.iter().chain(source.iter()).map(|text| trace(text).1).collect();
        assert_eq!(spans.len(), seen.len() + source.iter().count(), "each has a span of its own: {seen:?}");
        if let Some(source) = source {
            assert_eq!(trace(seen[0]).0, trace(source).0, "the source record's trace goes on");
            let flags = &source[source.len() - 3..];
            assert!(seen.iter().all(|text| text.ends_with(flags)), "so does its flag: {seen:?}");
        }
        ids.extend(traces.into_iter().map(str::to_owned));

        let (correlation, state) = if number == 0 { (Some("c-1"), Some("a=1,b=2")) } else { (None, None) };
        for request in attempts.iter().chain([&next]) {
            assert_eq!(request.header("x-correlation-id"), correlation, "{number}");
            assert_eq!(request.header("tracestate"), state, "{number}");
        }
        assert_eq!(event.header("ce_correlationid"), correlation, "{number}");
        assert_eq!(event.header("tracestate"), state, "{number}");
    }
    assert_eq!(ids.len(), 3, "each record has a trace of its own");
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}
