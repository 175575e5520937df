//! One instance as a whole: HTTP surface and runtime, started and stopped together. `run`, `dev` and the demo differ only in
//! what they put into it.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::exit::{CliError, Exit};
use super::load::Loaded;
use super::signals::Stop;
use crate::api::{self, Api, Surface};
use crate::runtime::status::{OnFinished, StatusReport};
use crate::runtime::{Config, Reporter, Runtime};
use crate::telemetry::clock;
use crate::telemetry::metrics::{Metrics, PipelineMetrics};

/// How long requests may take when the runtime has stopped already.
const API_GRACE: Duration = Duration::from_secs(2);

/// A started instance: the address is bound, the stages run, nothing is answered yet.
pub(crate) struct Instance {
    pub(crate) metrics: Arc<Metrics>,
    api: Api,
    runtime: Runtime,
}

impl Instance {
    /// Binds the address, then starts the stages. Inside of a tokio runtime.
    pub(crate) async fn start(
        config: Config,
        loaded: &Loaded,
        on_finished: Option<&OnFinished>,
        stop: &Stop,
    ) -> Result<Instance, CliError> {
        let metrics = Metrics::new();
        let reporter = Arc::new(OnceLock::new());
        let pipelines =
            loaded.pipelines.iter().map(|one| metrics.pipeline(&one.plan.pipeline, &one.facts)).collect();
        let status = Status {
            reporter: Arc::clone(&reporter),
            pipelines,
            broken: loaded.broken.clone(),
            stopping: stop.graceful.clone(),
        };
        let embedded = loaded.registry.as_ref().and_then(|registry| registry.embedded.as_ref());
        let registry = match embedded {
            Some(embedded) => Some(embedded.open().await?),
            None => None,
        };
        let surface = Surface {
            registry,
            metrics: Arc::clone(&metrics),
            status: Arc::new(move || status.report()),
            auth: loaded.auth,
        };
        let api = api::build(address(&loaded.settings.listen).await?, surface).await?;
        let plans: Vec<_> = loaded.pipelines.iter().map(|one| Arc::clone(&one.plan)).collect();
        let runtime = Runtime::start(config, &plans, &metrics, on_finished)
            .map_err(|error| CliError::new(Exit::BadConfig, format!("starting Kafka clients: {error}")))?;
        metrics.config_read(loaded.broken.is_empty(), clock::wall());
        // Only this function sets it, once.
        reporter.set(runtime.reporter()).ok();
        Ok(Instance { metrics, api, runtime })
    }

    /// The address of the HTTP surface.
    pub(crate) fn address(&self) -> SocketAddr {
        self.api.address()
    }

    /// Runs until `stop`, and says whether everything ended cleanly and in time. Probes and metrics answer until the end.
    pub(crate) async fn run(self, stop: &Stop) -> bool {
        let (tasks, ended) = (TaskTracker::new(), CancellationToken::new());
        tasks.spawn(self.api.run(ended.clone(), API_GRACE));
        tasks.close();
        // A child: the runtime cancels what it was given when it has ended, which is no second signal.
        let report = self.runtime.run(stop.graceful.clone(), stop.now.child_token()).await;
        ended.cancel();
        tasks.wait().await;
        report.clean
    }
}

/// What the surface is told.
struct Status {
    reporter: Arc<OnceLock<Reporter>>,
    /// In the order of the pipelines; holding them keeps their series.
    pipelines: Vec<PipelineMetrics>,
    broken: Vec<String>,
    stopping: CancellationToken,
}

impl Status {
    fn report(&self) -> StatusReport {
        let mut report = self.reporter.get().map(Reporter::report).unwrap_or_default();
        report.draining = self.stopping.is_cancelled();
        report.broken.clone_from(&self.broken);
        for pipeline in &report.pipelines {
            let series = self.pipelines.iter().find(|series| series.name() == pipeline.pipeline);
            if let Some(series) = series {
                series.set_health(pipeline.health);
            }
        }
        report
    }
}

/// The first address of `host:port`.
async fn address(listen: &str) -> Result<SocketAddr, CliError> {
    let wrong = |why: String| CliError::new(Exit::BadConfig, format!("listening on `{listen}`: {why}"));
    let mut found = tokio::net::lookup_host(listen).await.map_err(|error| wrong(error.to_string()))?;
    found.next().ok_or_else(|| wrong("this name has no address".to_owned()))
}
