//! `weir dev --demo`: the sample pipelines, a scripted receiver and a trickle of events, all in this process. When the time
//! is over, what was produced is finished, and the numbers must add up.

mod events;
mod feed;
mod line;
mod receiver;
mod summary;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::dev::{self, DevArgs};
use super::exit::{CliError, Exit};
use super::instance::{Instance, Parts};
use super::load::{self, Loaded};
use super::signals::Stop;
use super::terminal::Terminal;
use super::{Global, Output, run, store};
use crate::api::serve;
use crate::event::{Header, Outgoing};
use crate::kafka::Partition;
use crate::kafka::admin::Admin;
use crate::kafka::embedded::Embedded;
use crate::kafka::producer::Producer;
use crate::runtime::load::{From, Loader};
use crate::settings::DEFAULT_CLUSTER;
use crate::spec::runtime::Override;
use crate::spec::span::Source;
use crate::spec::tree::Path;
use crate::telemetry::clock;
use crate::telemetry::metrics::StageMetrics;
use events::{Events, Sample};
use feed::Tally;
use summary::{StageSummary, Summary};

/// Between two events of the trickle.
const PAUSE: Duration = Duration::from_millis(80);
/// How long what was produced may take to finish.
const FINISH_WITHIN: Duration = Duration::from_secs(30);
/// How often the broker is asked, while nothing happens, whether all is finished.
const ASK_EVERY: Duration = Duration::from_millis(250);
/// The sample pipelines, as they lie in the repository.
const SAMPLES: [(&str, &str); 2] = [
    ("pipelines/order-billing.yaml", include_str!("../../../pipelines/order-billing.yaml")),
    ("pipelines/booking.yaml", include_str!("../../../pipelines/booking.yaml")),
];
/// What the samples call their services.
const SERVICES: [&str; 4] = ["billing_url", "payments_url", "tickets_url", "notify_url"];

/// Runs the demo. Exit code 0: the numbers add up; 1: they do not; 130: the second signal.
pub(super) fn demo(args: &DevArgs, global: &Global, terminal: &mut Terminal) -> Result<Exit, CliError> {
    run::block_on(Box::pin(show(args, global, terminal)))?
}

async fn show(args: &DevArgs, global: &Global, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let (tasks, ended) = (TaskTracker::new(), CancellationToken::new());
    let receiver = TcpListener::bind("127.0.0.1:0").await?;
    let (loaded, loader) = load(args, global, &format!("http://{}", receiver.local_addr()?), terminal)?;
    tasks.spawn(serve::serve(receiver, receiver::router(args.seed), ended.clone(), Duration::from_secs(1)));
    let embedded = dev::start(&events::TOPICS.iter().map(|(topic, _)| (*topic).to_owned()).collect())?;
    dev::banner([(DEFAULT_CLUSTER, &embedded)], global, terminal)?;

    let asked = Stop::on_signals(&tasks, ended.clone())?;
    // Stopping the runtime is another matter than ending the trickle, which the first signal does.
    let stop = Stop { graceful: CancellationToken::new(), now: asked.now.clone() };
    let (tally, on_finished, lines) = Tally::new();
    let config = run::config(&loaded, dev::config([(DEFAULT_CLUSTER, &embedded)]));
    let parts = Parts {
        config,
        loaded: &loaded,
        loader,
        history: store::passing().await?,
        allow_empty: false,
        on_loaded: Box::new(|_, _| ()),
        on_finished: Some(&on_finished),
    };
    let instance = Instance::start(parts, &stop).await?;
    drop(on_finished);
    let watched = Watched::new(&loaded, &instance, &embedded, tally)?;
    if !global.quiet {
        let address = instance.address();
        writeln!(terminal.err, "Probes and metrics: http://{address}/readyz, http://{address}/metrics\n")?;
    }
    // Results go to stdout: with `-o json` that is the summary alone.
    let json = global.output == Output::Json;
    let (to, color) = match json {
        true => (std::mem::replace(&mut terminal.err, Box::new(std::io::stderr())), terminal.err_color),
        false => (std::mem::replace(&mut terminal.out, Box::new(std::io::stdout())), terminal.out_color),
    };
    let shown = tasks.spawn(feed::show(lines, to, color, global.quiet));

    let running = async { Box::pin(instance.run(&stop)).await };
    let playing = async {
        let played = trickle(args, &embedded, &asked).await;
        timeout(FINISH_WITHIN, watched.finished(&asked)).await.ok();
        let stages = watched.summary().await;
        stop.graceful.cancel();
        played.and(stages)
    };
    let (_clean, stages) = tokio::join!(running, playing);
    // The lines end when the engine has let go of its end.
    timeout(Duration::from_secs(5), shown).await.ok();
    ended.cancel();
    tasks.close();
    tasks.wait().await;
    let summary = Summary::new(args.seed, stages?);
    if json {
        let text = serde_json::to_string(&summary).unwrap_or_default();
        writeln!(terminal.out, "{text}")?;
    } else {
        write!(terminal.out, "\n{}", summary.table())?;
    }
    Ok(match (asked.now.is_cancelled(), summary.adds_up) {
        (true, _) => Exit::Interrupted,
        (false, true) => Exit::Yes,
        (false, false) => Exit::No,
    })
}

/// The samples, with the receiver's address for each of their services.
fn load(
    args: &DevArgs,
    global: &Global,
    receiver: &str,
    terminal: &mut Terminal,
) -> Result<(Loaded, Loader), CliError> {
    let mut flags = args.run.overrides();
    let vars = Path::root().then("vars");
    flags.extend(SERVICES.map(|name| Override::flag("--demo", vars.then(name), receiver)));
    let settled = load::settle(None, &flags, Vec::new(), terminal)?;
    load::logs(&settled.settings, global, terminal)?;
    let from = From::Texts(SAMPLES.map(|(name, text)| Source::new(name, text)).into());
    let (loaded, loader) = load::pipelines(from, settled, terminal)?;
    if loaded.first.broken.is_empty() {
        return Ok((loaded, loader));
    }
    Err(CliError::new(Exit::Bug, "the sample pipelines have errors"))
}

/// Produces events until the time is over or the first signal.
async fn trickle(args: &DevArgs, embedded: &Embedded, asked: &Stop) -> Result<(), CliError> {
    let failed = |error| CliError::new(Exit::Unreachable, format!("producing the demo's events: {error}"));
    let producer = Producer::build(&embedded.cluster(), "weir-demo").map_err(failed)?;
    let until = args.duration.map(|duration| clock::now() + duration.0);
    for sample in Events::new(args.seed) {
        producer.send(&outgoing(sample)).await.map_err(failed)?;
        let over = until.is_some_and(|until| clock::now() >= until);
        if over || timeout(PAUSE, asked.graceful.cancelled()).await.is_ok() {
            break;
        }
    }
    Ok(())
}

fn outgoing(sample: Sample) -> Outgoing {
    let header = |(name, value): (&'static str, String)| Header {
        name: bytes::Bytes::from_static(name.as_bytes()),
        value: Some(value.into()),
    };
    Outgoing {
        topic: Arc::from(sample.topic),
        partition: None,
        key: Some(sample.key.into()),
        value: Some(sample.value.into()),
        headers: sample.headers.into_iter().map(header).collect(),
        timestamp: None,
    }
}

/// What the summary is made of: the broker's logs, the consumers' counters, the outcomes.
struct Watched {
    stages: Vec<(Vec<String>, StageMetrics, String)>,
    admin: Admin,
    tally: Arc<Tally>,
}

impl Watched {
    fn new(
        loaded: &Loaded,
        instance: &Instance,
        embedded: &Embedded,
        tally: Arc<Tally>,
    ) -> Result<Watched, CliError> {
        let admin = Admin::build(&embedded.cluster(), "weir-demo-admin")
            .map_err(|error| CliError::new(Exit::Unreachable, format!("asking the broker: {error}")))?;
        let stages = loaded
            .stages()
            .map(|stage| {
                let series = instance.metrics.stage(&stage.pipeline, &stage.service);
                (stage.source.topics.clone(), series, stage.service.clone())
            })
            .collect();
        Ok(Watched { stages, admin, tally })
    }

    /// Returns when every record has its outcome, or at the second signal.
    async fn finished(&self, asked: &Stop) {
        loop {
            let done = self.summary().await.is_ok_and(|stages| stages.values().all(StageSummary::adds_up));
            if done || asked.now.is_cancelled() {
                return;
            }
            // Whichever comes first: the broker may have something that no outcome tells of.
            timeout(ASK_EVERY, self.tally.changed()).await.ok();
        }
    }

    /// The counts of each stage at this moment.
    async fn summary(&self) -> Result<BTreeMap<String, StageSummary>, CliError> {
        let mut summary = BTreeMap::new();
        for (topics, series, service) in &self.stages {
            let counts = self.tally.of(service);
            let mut produced = 0;
            for topic in topics {
                produced += records(self.admin.clone(), topic.clone()).await?;
            }
            let consumed = series.events_received.get();
            summary.insert(service.clone(), StageSummary { produced, consumed, ..counts });
        }
        Ok(summary)
    }
}

/// How many records were ever written to a topic of the embedded broker: its logs begin at 0 and have no gaps.
async fn records(admin: Admin, topic: String) -> Result<u64, CliError> {
    let ask = move || {
        let partitions = admin.partitions(&topic)?.unwrap_or(0);
        let topic: Arc<str> = topic.into();
        let mut records = 0;
        for number in 0..i32::try_from(partitions).unwrap_or(i32::MAX) {
            let (_, end) = admin.log(&Partition { topic: Arc::clone(&topic), number })?;
            records += u64::try_from(end).unwrap_or(0);
        }
        Ok(records)
    };
    let failed = |error: crate::kafka::KafkaError| {
        CliError::new(Exit::Unreachable, format!("asking the embedded broker: {error}"))
    };
    match tokio::task::spawn_blocking(ask).await {
        Ok(records) => records.map_err(failed),
        Err(_) => Err(CliError::new(Exit::Bug, "asking the embedded broker: the task was lost")),
    }
}
