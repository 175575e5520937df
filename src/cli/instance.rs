//! One instance as a whole: HTTP surface and runtime, started and stopped together. `run`, `dev` and the demo differ only in
//! what they put into it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use super::exit::{CliError, Exit};
use super::load::Loaded;
use super::signals::Stop;
use crate::api::look_back::Past;
use crate::api::{self, Api, Surface};
use crate::runtime::follow::Follow;
use crate::runtime::history::History;
use crate::runtime::load::Loader;
use crate::runtime::reload::{self, Begin, Begun, OnLoaded, Reload, Reloader, SettingsFile};
use crate::runtime::status::{OnFinished, StatusReport};
use crate::runtime::{Apply, Config, Runtime};
use crate::settings::DEFAULT_CLUSTER;
use crate::telemetry::metrics::Metrics;

/// How long requests may take when the runtime has stopped already.
const API_GRACE: Duration = Duration::from_secs(2);

/// What an instance is made of.
pub(crate) struct Parts<'a> {
    pub(crate) config: Config,
    /// What can run, and what reads it again.
    pub(crate) loaded: &'a Loaded,
    pub(crate) loader: Loader,
    /// What has run, and what is pinned.
    pub(crate) history: History,
    /// Whether it runs although no pipeline can.
    pub(crate) allow_empty: bool,
    /// Who is told what a reload has found.
    pub(crate) on_loaded: OnLoaded,
    /// Who is told of finished records.
    pub(crate) on_finished: Option<&'a OnFinished>,
}

/// A started instance: the address is bound, the stages run, nothing is answered yet.
pub(crate) struct Instance {
    pub(crate) metrics: Arc<Metrics>,
    api: Api,
    runtime: Runtime,
    reload: Reload,
    reloader: Reloader,
    changes: mpsc::Receiver<Apply>,
    follow: Option<Follow>,
}

impl Instance {
    /// Binds the address, then starts the stages. Inside of a tokio runtime.
    pub(crate) async fn start(parts: Parts<'_>, stop: &Stop) -> Result<Instance, CliError> {
        let Parts { config, loaded, loader, history, allow_empty, on_loaded, on_finished } = parts;
        let metrics = Metrics::new();
        let history_shown = history.clone();
        let instance = &loaded.settings.instance;
        let settings_file = loaded.settings_file.as_ref().map(SettingsFile::new);
        let waiting = settings_file.as_ref().map(SettingsFile::waiting).unwrap_or_default();
        let first = &loaded.first;
        let begin = Begin { loader, first, history, instance, settings_file, metrics: &metrics, on_loaded };
        let begun = reload::begin(begin).await.map_err(|error| super::store::failed(&error))?;
        // What is pinned runs although its file is broken.
        if begun.settled.wanted.is_empty() && !allow_empty {
            let folder = loaded.settings.pipelines.display();
            let why = format!("no pipeline of {folder} can run; --allow-empty runs all the same");
            return Err(CliError::new(Exit::BadConfig, why));
        }
        let clusters = config.clusters.iter();
        let clusters = clusters.map(|(name, one)| (name.clone(), one.cluster.clone())).collect();
        let mut runtime = Runtime::new(config, &metrics, on_finished);
        let (reporter, stopping) = (runtime.reporter(), stop.graceful.clone());
        let embedded = loaded.registry.as_ref().and_then(|registry| registry.embedded.as_ref());
        // Where tokens are named it is closed until requests are checked against them; who needs it in here opens it.
        let registry = match embedded.filter(|_| !loaded.auth) {
            Some(embedded) => Some(embedded.open().await?),
            None => None,
        };
        let surface = Surface {
            registry,
            metrics: Arc::clone(&metrics),
            status: Arc::new(move || StatusReport { draining: stopping.is_cancelled(), ..reporter.report() }),
            reloader: begun.reloader.clone(),
            history: history_shown,
            waiting,
            past: Arc::new(Past::new(Arc::clone(&loaded.whole), clusters)),
            auth: loaded.auth,
        };
        let api = api::build(address(&loaded.settings.listen).await?, surface).await?;
        let failed = |error| CliError::new(Exit::BadConfig, format!("starting Kafka clients: {error}"));
        runtime.apply(begun.settled).map_err(failed)?;
        if loaded.clusters().is_empty() {
            runtime.open(DEFAULT_CLUSTER).map_err(failed)?;
        }
        let Begun { reload, reloader, changes, follow, .. } = begun;
        Ok(Instance { metrics, api, runtime, reload, reloader, changes, follow })
    }

    /// The address of the HTTP surface.
    pub(crate) fn address(&self) -> SocketAddr {
        self.api.address()
    }

    /// Runs until `stop`, and says whether everything ended cleanly and in time. Probes and metrics answer until the end.
    pub(crate) async fn run(self, stop: &Stop) -> bool {
        let Instance { api, runtime, reload, reloader, changes, follow, .. } = self;
        let (tasks, ended) = (TaskTracker::new(), CancellationToken::new());
        tasks.spawn(api.run(ended.clone(), API_GRACE));
        tasks.spawn(reload.run(runtime.reporter(), stop.graceful.clone()));
        if let Some(follow) = follow {
            tasks.spawn(follow.run(stop.graceful.clone()));
        }
        match signal(SignalKind::hangup()) {
            Ok(hangups) => drop(tasks.spawn(on_hangup(hangups, reloader, stop.graceful.clone()))),
            Err(error) => warn!(%error, "SIGHUP does not reload"),
        }
        tasks.close();
        // A child: the runtime cancels what it was given when it has ended, which is no second signal.
        let report = runtime.run(changes, stop.graceful.clone(), stop.now.child_token()).await;
        ended.cancel();
        tasks.wait().await;
        report.clean
    }
}

/// Reads the files again at each SIGHUP.
async fn on_hangup(mut hangups: Signal, reloader: Reloader, stop: CancellationToken) {
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            Some(()) = hangups.recv() => {}
        }
        info!("SIGHUP: reading the files again");
        // It says itself what it has done.
        reloader.reload(Vec::new()).await.ok();
    }
}

/// The first address of `host:port`.
async fn address(listen: &str) -> Result<SocketAddr, CliError> {
    let wrong = |why: String| CliError::new(Exit::BadConfig, format!("listening on `{listen}`: {why}"));
    let mut found = tokio::net::lookup_host(listen).await.map_err(|error| wrong(error.to_string()))?;
    found.next().ok_or_else(|| wrong("this name has no address".to_owned()))
}
