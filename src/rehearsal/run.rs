//! One test: its pipeline is compiled with a script in place of the network, given its events, and let work on a clock of its
//! own.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;

use super::event::{Record, shown};
use super::load::{Bench, Case};
use super::observed::{Observed, Written};
use super::script::Script;
use super::stages::{Done, Stages, ToRead, reads};
use crate::codec::Codec;
use crate::event::Outgoing;
use crate::plan::{Plan, Stage};
use crate::publish::route::Route;
use crate::telemetry::clock;

/// When every test begins: 2026-01-01T00:00:00Z.
pub(super) const BEGIN: Duration = Duration::from_secs(1_767_225_600);

/// Runs a test. Fails where it cannot be run: an event that its schema does not take, a pipeline that does not compile.
pub fn run(case: &Case, bench: &Bench) -> Result<Observed, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.map_err(|error| format!("starting a clock: {error}"))?;
    runtime.block_on(Box::pin(play(case, bench)))
}

async fn play(case: &Case, bench: &Bench) -> Result<Observed, String> {
    let _following = clock::follow(SystemTime::UNIX_EPOCH + BEGIN);
    let begun = clock::now();
    let woken = Arc::new(Notify::new());
    let script = Arc::new(Script::new(replies(case), Arc::clone(&woken)));
    let plan = bench.compile(case, &script)?;
    let mut stages = Stages::start(&plan, &script, &woken, &bench.metrics);
    let given = to_read(&plan, &case.given).await?;
    for record in &given {
        if !stages.read(record) {
            return Err(format!("no stage reads the topic {}", record.topic));
        }
    }
    let Done { records, published, dead_letters, held, faults, last } = Box::pin(stages.work()).await;
    let seen = Observed {
        records,
        made: script.made(),
        published: written(&plan, published, true).await,
        dead_letters: written(&plan, dead_letters, false).await,
        held: held.into_iter().collect(),
        left: script.left(),
        faults,
        virtual_time: last.map_or(Duration::ZERO, |last| last.saturating_duration_since(begun)),
    };
    let most = |stage: &Arc<Stage>| (stage.service.clone(), stage.policy.retry.max_attempts());
    bench.coverage.note(&plan.stages.iter().map(most).collect::<Vec<_>>(), &seen);
    Ok(seen)
}

/// The answers by the service of each stage.
fn replies(case: &Case) -> BTreeMap<String, VecDeque<crate::spec::testfile::Reply>> {
    case.replies.iter().map(|(service, list)| (service.clone(), list.iter().cloned().collect())).collect()
}

/// What is given as records of topics: positions settled, values encoded.
async fn to_read(plan: &Plan, given: &[Record]) -> Result<Vec<ToRead>, String> {
    let mut ends: BTreeMap<(String, i32), i64> = BTreeMap::new();
    let mut records = Vec::with_capacity(given.len());
    for (index, record) in given.iter().enumerate() {
        let topic = match &record.topic {
            Some(topic) => topic.clone(),
            None => only_topic(plan).ok_or("the pipeline reads several topics: say which, with `topic`")?,
        };
        let codec = plan.stages.iter().find(|stage| reads(stage, &topic)).map(|stage| &stage.source.codec);
        let value = record.content.clone().encode(codec.unwrap_or(&Codec::Json), &topic).await;
        let value = value.map_err(|why| format!("the event does not fit the format of {topic}: {why}"))?;
        let end = ends.entry((topic.clone(), record.partition)).or_default();
        let offset = record.offset.unwrap_or(*end);
        if offset < *end {
            return Err(format!("offset {offset} of {topic} lies before one that is given already"));
        }
        *end = offset + 1;
        let begin = i64::try_from(BEGIN.as_millis()).unwrap_or(0);
        records.push(ToRead {
            topic: topic.into(),
            partition: record.partition,
            offset,
            key: record.key.clone(),
            value,
            headers: record.headers.clone(),
            timestamp: Some(record.timestamp.unwrap_or(begin)),
            given: Some(index),
        });
    }
    Ok(records)
}

/// The one topic that a pipeline reads which none of its own stages writes.
pub(super) fn only_topic(plan: &Plan) -> Option<String> {
    let mut read: Vec<&String> = plan.stages.iter().flat_map(|stage| &stage.source.topics).collect();
    let written = |topic: &str| {
        let routes = plan.stages.iter().flat_map(|stage| &stage.publish);
        routes.filter_map(Route::literal_topic).any(|name| &**name == topic)
    };
    read.sort();
    read.dedup();
    read.retain(|topic| !written(topic));
    let pattern = plan.stages.iter().any(|stage| stage.source.pattern.is_some());
    match read.as_slice() {
        [one] if !pattern => Some((*one).clone()),
        _ => None,
    }
}

/// What was written, with its values read.
async fn written(plan: &Plan, records: Vec<(Arc<str>, Outgoing)>, published: bool) -> Vec<Written> {
    let mut out = Vec::with_capacity(records.len());
    for (by, record) in records {
        let stage = plan.stages.iter().find(|stage| stage.service == *by);
        let codec =
            stage.and_then(|stage| if published { codec(stage, &record) } else { Some(&stage.source.codec) });
        let shown = shown(record.value.as_ref(), codec, &record.headers).await;
        out.push(Written { by: by.to_string(), record, shown });
    }
    out
}

/// What the value of a published record is written by.
fn codec<'a>(stage: &'a Stage, record: &Outgoing) -> Option<&'a Codec> {
    let named = stage.publish.iter().find(|route| route.literal_topic() == Some(&record.topic));
    let route = named.or_else(|| stage.publish.iter().find(|route| route.literal_topic().is_none()));
    route.map(Route::codec)
}
