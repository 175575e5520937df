//! One test: its pipeline is compiled with a script in place of the network, given its events, and let work on a clock of its
//! own.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;

use super::event::{Record, shown};
use super::load::{Bench, Case, Replies};
use super::observed::{Observed, Written};
use super::script::Script;
use super::stages::{Done, Stages, ToRead, reads};
use crate::codec::Codec;
use crate::event::Outgoing;
use crate::plan::{Plan, Stage};
use crate::publish::route::Route;
use crate::settings::References;
use crate::spec::PipelineFile;
use crate::telemetry::clock;
use crate::transform::Watch;

/// When every test begins: 2026-01-01T00:00:00Z.
pub(super) const BEGIN: Duration = Duration::from_secs(1_767_225_600);

/// Who looks on in the stage of a service.
type Watching<'a> = &'a dyn Fn(&str) -> Arc<dyn Watch>;

/// What is to happen.
pub(super) struct Play<'a> {
    pub(super) pipeline: &'a PipelineFile,
    pub(super) references: &'a References,
    pub(super) given: &'a [Record],
    /// The answers by service; `None`: requests are really sent, and time passes as it does.
    pub(super) replies: Option<Replies>,
    /// Looks on in the stage of a service.
    pub(super) watch: Option<Watching<'a>>,
}

/// Runs a test. Fails where it cannot be run: an event that its schema does not take, a pipeline that does not compile.
pub fn run(case: &Case, bench: &Bench) -> Result<Observed, String> {
    let file = &case.file;
    let replies = Some(case.replies.clone());
    let (pipeline, references) = (&file.pipeline, &file.references);
    play(&Play { pipeline, references, given: &case.given, replies, watch: None }, bench)
}

/// The same for what is no test.
pub(super) fn play(play: &Play<'_>, bench: &Bench) -> Result<Observed, String> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = match play.replies {
        Some(_) => builder.enable_time().start_paused(true).build(),
        None => builder.enable_all().build(),
    };
    let runtime = runtime.map_err(|error| format!("starting a clock: {error}"))?;
    runtime.block_on(Box::pin(perform(play, bench)))
}

async fn perform(play: &Play<'_>, bench: &Bench) -> Result<Observed, String> {
    let _following = play.replies.as_ref().map(|_| clock::follow(SystemTime::UNIX_EPOCH + BEGIN));
    let begun = clock::now();
    let woken = Arc::new(Notify::new());
    let replies = play.replies.clone().unwrap_or_default().into_iter();
    let replies = replies.map(|(service, list)| (service, VecDeque::from(list))).collect();
    let script = Arc::new(Script::new(replies, Arc::clone(&woken)));
    let plan = bench.compile(play, &script)?;
    let mut stages = Stages::start(&plan, &script, &woken, &bench.metrics);
    let given = to_read(&plan, play.given).await?;
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
