//! `weir run`: pipelines from a folder, until a signal.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::mpsc::Sender;

use clap::ValueEnum;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use super::Global;
use super::exit::{CliError, Exit};
use super::instance::{Instance, Parts};
use super::load::{self, Loaded};
use super::signals::Stop;
use super::store;
use super::terminal::Terminal;
use crate::kafka::options::Cluster;
use crate::kafka::tokens::Tokens;
use crate::runtime::load::Loader;
use crate::runtime::reload::OnLoaded;
use crate::runtime::{ClusterConfig, Config};
use crate::settings::DEFAULT_CLUSTER;
use crate::spec::diagnostic;
use crate::spec::runtime::Override;
use crate::spec::tree::Path;
use crate::spec::units;

/// Options of `weir run`.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// The folder of the pipelines.
    #[arg(long, value_name = "DIR")]
    pub pipelines: Option<PathBuf>,
    /// `host:port` of probes, metrics and API.
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// The form of log lines.
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// How long a stop may take.
    #[arg(long, value_name = "TIME")]
    pub shutdown_grace: Option<units::Duration>,
    /// Run although no pipeline is there.
    #[arg(long)]
    pub allow_empty: bool,
    /// Start nothing if any file is broken.
    #[arg(long)]
    pub strict: bool,
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl RunArgs {
    /// The options as overrides of the runtime file.
    pub(super) fn overrides(&self) -> Vec<Override> {
        let key = |key: &str| Path::root().then(key);
        let mut flags = Vec::new();
        if let Some(folder) = &self.pipelines {
            flags.push(Override::flag("--pipelines", key("pipelines"), folder.display().to_string()));
        }
        if let Some(listen) = &self.listen {
            flags.push(Override::flag("--listen", key("listen"), listen));
        }
        if let Some(format) = self.log_format {
            let word = if format == LogFormat::Json { "json" } else { "text" };
            flags.push(Override::flag("--log-format", key("telemetry").then("log"), word));
        }
        if let Some(grace) = self.shutdown_grace {
            flags.push(Override::flag("--shutdown-grace", key("shutdown_grace"), grace.to_string()));
        }
        flags
    }
}

/// Runs pipelines until a signal. Exit code 0: clean; 75: the grace ran out; 130: the second signal; 78: nothing can run.
pub(super) fn run(args: &RunArgs, global: &Global, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let mut settled = load::runtime_file(global, &args.overrides(), terminal)?;
    load::logs(&settled.settings, global, terminal)?;
    let from = load::source(&mut settled.settings)?;
    let (loaded, loader) = load::pipelines(from, settled, terminal)?;
    refuse(&loaded, args)?;
    let config = config(&loaded, clusters(&loaded)?);
    let how = How { keep: Keep::InStore, allow_empty: args.allow_empty, again: None };
    block_on(until_stopped(config, &loaded, loader, how, terminal.err_color))?
}

/// How the clusters are reached that weir.yaml names; those that pipelines use must be among them, or any if none does.
fn clusters(loaded: &Loaded) -> Result<BTreeMap<String, ClusterConfig>, CliError> {
    let settings = &loaded.settings.clusters;
    let reached = |name: &&str| settings.get(*name).is_some_and(|cluster| !cluster.brokers.is_empty());
    let mut used = loaded.clusters();
    if used.is_empty() && settings.len() == 1 {
        used.insert(DEFAULT_CLUSTER);
    }
    if let Some(name) = used.into_iter().find(|name| !reached(name)) {
        let said = if name == DEFAULT_CLUSTER {
            "no Kafka is configured: set kafka.brokers in weir.yaml or WEIR_KAFKA_BROKERS, or try `weir dev`"
                .to_owned()
        } else {
            format!("the Kafka cluster `{name}` is not configured: add it to kafka.clusters in weir.yaml")
        };
        return Err(CliError::new(Exit::BadConfig, said));
    }
    let reachable = settings.iter().filter(|(_, cluster)| !cluster.brokers.is_empty());
    let configs = reachable.map(|(name, cluster)| {
        let token_source = loaded.token_sources.get(name).cloned();
        let cluster = Cluster {
            brokers: cluster.brokers.join(","),
            properties: cluster.properties.clone(),
            tokens: token_source.as_ref().map(|_| Tokens::default()),
        };
        (name.clone(), ClusterConfig { cluster, token_source, embedded: None })
    });
    Ok(configs.collect())
}

/// Not everything can run, where `--strict` asks for it.
pub(super) fn refuse(loaded: &Loaded, args: &RunArgs) -> Result<(), CliError> {
    let count = loaded.first.broken.len();
    let bad = |message: String| Err(CliError::new(Exit::BadConfig, message));
    if args.strict && count > 0 {
        return bad(format!("{count} of the pipeline files have errors, and --strict is set"));
    }
    Ok(())
}

/// What the runtime needs of the settings.
pub(super) fn config(loaded: &Loaded, clusters: BTreeMap<String, ClusterConfig>) -> Config {
    let settings = &loaded.settings;
    Config {
        clusters,
        memory: settings.memory,
        uncommitted: settings.uncommitted,
        drain_deadline: settings.drain_deadline,
        shutdown_grace: settings.shutdown_grace,
    }
}

/// Prints what a reload has found, as the start does; with logs in JSON as lines of the log. `again` hears of each.
fn on_loaded(loaded: &Loaded, again: Option<Sender<()>>, color: bool) -> OnLoaded {
    let json = loaded.settings.log_json;
    Box::new(move |loading, is_new| {
        if let Some(again) = &again {
            // Who hears it may have ended.
            again.send(()).ok();
        }
        if !is_new {
            return;
        }
        for finding in &loading.findings {
            if json {
                let said = diagnostic::short(finding);
                match finding.is_error() {
                    true => error!("{}", said.trim_end()),
                    false => warn!("{}", said.trim_end()),
                }
            } else {
                // Whoever closed it does not want to see it.
                writeln!(std::io::stderr(), "{}", diagnostic::human(finding, color)).ok();
            }
        }
    })
}

/// Where it is kept what has run and what is pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// In the store of the settings.
    InStore,
    /// Nowhere: it ends with the process, as the broker inside of it does.
    Passing,
}

/// How an instance is run.
pub(super) struct How {
    /// Where it is kept what has run and what is pinned.
    pub(super) keep: Keep,
    /// Although no pipeline can run.
    pub(super) allow_empty: bool,
    /// Who hears each time that the files were read.
    pub(super) again: Option<Sender<()>>,
}

/// Starts an instance and runs it until a signal.
pub(super) async fn until_stopped(
    config: Config,
    loaded: &Loaded,
    loader: Loader,
    how: How,
    color: bool,
) -> Result<Exit, CliError> {
    let (tasks, ended) = (TaskTracker::new(), CancellationToken::new());
    let stop = Stop::on_signals(&tasks, ended.clone())?;
    let How { keep, allow_empty, again } = how;
    let history = match keep {
        Keep::InStore => store::history(&loaded.settings).await?,
        Keep::Passing => store::passing().await?,
    };
    let on_loaded = on_loaded(loaded, again, color);
    let parts = Parts { config, loaded, loader, history, allow_empty, on_loaded, on_finished: None };
    let instance = Instance::start(parts, &stop).await?;
    info!(
        instance = loaded.settings.instance,
        address = %instance.address(),
        pipelines = loaded.first.pipelines.len(),
        broken = loaded.first.broken.len(),
        "running; event tracking is not available yet: no rows are written"
    );
    let clean = Box::pin(instance.run(&stop)).await;
    ended.cancel();
    tasks.close();
    tasks.wait().await;
    Ok(stop.exit(clean))
}

/// Runs a future to its end on a tokio runtime of its own.
pub(super) fn block_on<F: Future>(future: F) -> Result<F::Output, CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("weir")
        .enable_all()
        .build()
        .map_err(|error| CliError::new(Exit::Unreachable, format!("starting threads: {error}")))?;
    let output = runtime.block_on(future);
    // What still runs was told to stop and had its time.
    runtime.shutdown_background();
    Ok(output)
}
