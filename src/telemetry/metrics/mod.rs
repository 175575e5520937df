//! Every metric's name, help and labels, once. A registry of our own: no statics, so that two runtimes in one test do not
//! share their counts.
//!
//! Label values come from files, never from records. They are cut to 64 bytes, and past 500 pipelines the rest are
//! counted under `other`.

mod pipeline;
mod process;
mod series;
mod stage;
mod words;

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use prometheus::{HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, TextEncoder};

pub use pipeline::{PipelineFacts, PipelineSeries};
pub use stage::{ProducerSeries, SourceSeries, StageSeries};
pub use words::{Anomaly, AttemptResult, Pool, TransformErrorKind};

use series::Group;

/// How many bytes of a label's value are kept.
const LABEL_BYTES: usize = 64;
/// How many pipelines have series of their own.
const MAX_PIPELINES: usize = 500;
/// The label value of the pipelines beyond.
const OTHER: &str = "other";
/// Bounds of `weir_http_request_duration_seconds`.
const HTTP_BOUNDS: &[f64] = &[0.005, 0.025, 0.1, 0.5, 2.5, 10.0];

/// All metrics of one instance. Make one, share it by `Arc`.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    stages: Mutex<BTreeMap<(String, String), Shared<StageSeries>>>,
    pipelines: Mutex<BTreeMap<String, Shared<PipelineSeries>>>,
    config_reloads: IntCounterVec,
    config_last_successful: IntGauge,
    config_last_timestamp: prometheus::Gauge,
    memory: IntGaugeVec,
    memory_limit: IntGaugeVec,
    http_requests: IntCounterVec,
    http_duration: HistogramVec,
    series_dropped: IntCounter,
}

/// Series, and how many handles hold them.
#[derive(Debug)]
struct Shared<S> {
    handles: usize,
    series: Arc<S>,
}

/// A stage's series. They stay until the last handle of the stage is dropped, so that a reload, which builds the new plan
/// before it drops the old one, keeps its counts.
#[derive(Debug)]
pub struct StageMetrics {
    key: (String, String),
    series: Arc<StageSeries>,
    metrics: Arc<Metrics>,
}

/// A pipeline's series, until it is dropped.
#[derive(Debug)]
pub struct PipelineMetrics {
    key: String,
    series: Arc<PipelineSeries>,
    metrics: Arc<Metrics>,
}

impl Metrics {
    /// The metrics of an instance, those of no pipeline yet.
    pub fn new() -> Arc<Metrics> {
        let registry = Registry::new();
        let registered = registry.register(Box::new(process::Process::new()));
        debug_assert!(registered.is_ok(), "{registered:?}");
        let build = Group::new(
            &registry,
            &[("version", crate::telemetry::VERSION), ("commit", crate::telemetry::COMMIT)],
        );
        build.gauge("weir_build_info", "Version and commit of this binary.").set(1);

        let g = Group::new(&registry, &[]);
        let reloads = g.counters(
            "weir_config_reloads_total",
            "Loads of the pipeline files, the first one too.",
            &["result"],
        );
        reloads.with_label_values(&["ok"]);
        reloads.with_label_values(&["failed"]);
        let memory = g.gauges("weir_memory_bytes", "Memory in use.", "pool");
        let memory_limit = g.gauges("weir_memory_limit_bytes", "Memory that may be used.", "pool");
        for pool in Pool::ALL {
            if pool.is_weighed() {
                memory.with_label_values(&[pool.as_str()]);
            }
            memory_limit.with_label_values(&[pool.as_str()]);
        }
        Arc::new(Metrics {
            registry,
            stages: Mutex::default(),
            pipelines: Mutex::default(),
            config_reloads: reloads,
            config_last_successful: g
                .gauge("weir_config_last_reload_successful", "1 while every pipeline file is good."),
            config_last_timestamp: g.real(
                "weir_config_last_reload_timestamp_seconds",
                "When the files were last read, since 1970.",
            ),
            memory,
            memory_limit,
            http_requests: g.counters(
                "weir_http_requests_total",
                "Requests to this instance.",
                &["route", "status"],
            ),
            http_duration: g.histograms(
                "weir_http_request_duration_seconds",
                "Time to answer a request to this instance.",
                "route",
                HTTP_BOUNDS,
            ),
            series_dropped: g.counter(
                "weir_metric_series_dropped_total",
                "Pipelines and stages without series of their own, counted under `other`.",
            ),
        })
    }

    /// The series of a stage, all set to 0 the first time. `stage` is the service name: the pipeline's name where the
    /// file has no `stages`, else `pipeline.stage`.
    pub fn stage(self: &Arc<Metrics>, pipeline: &str, stage: &str) -> StageMetrics {
        let (pipeline, stage) = (label(pipeline), label(stage));
        let mut stages = lock(&self.stages);
        let mut names: Vec<&str> = stages.keys().map(|(pipeline, _)| pipeline.as_str()).collect();
        names.dedup();
        let known = names.binary_search(&pipeline).is_ok();
        let key = match self.pipeline_label(pipeline, known, names.len()) {
            OTHER => (OTHER.to_owned(), OTHER.to_owned()),
            pipeline => (pipeline.to_owned(), stage.to_owned()),
        };
        let shared = stages.entry(key.clone()).or_insert_with_key(|(pipeline, stage)| Shared {
            handles: 0,
            series: Arc::new(StageSeries::new(&self.registry, pipeline, stage)),
        });
        shared.handles += 1;
        StageMetrics { key, series: Arc::clone(&shared.series), metrics: Arc::clone(self) }
    }

    /// The series of a pipeline. A second call with the same name and other facts replaces `weir_pipeline_info` and the
    /// limits: drop the older handle then.
    pub fn pipeline(self: &Arc<Metrics>, pipeline: &str, facts: &PipelineFacts) -> PipelineMetrics {
        let mut pipelines = lock(&self.pipelines);
        let pipeline = label(pipeline);
        let known = pipelines.contains_key(pipeline);
        let key = self.pipeline_label(pipeline, known, pipelines.len()).to_owned();
        let handles = match pipelines.remove(&key) {
            Some(shared) => {
                shared.series.unregister();
                shared.handles
            }
            None => 0,
        };
        let series = Arc::new(PipelineSeries::new(&self.registry, &key, facts));
        pipelines.insert(key.clone(), Shared { handles: handles + 1, series: Arc::clone(&series) });
        PipelineMetrics { key, series, metrics: Arc::clone(self) }
    }

    /// The pipeline files were read; `ok` is whether every one of them is good.
    pub fn config_read(&self, ok: bool, at: SystemTime) {
        self.config_reloads.with_label_values(&[if ok { "ok" } else { "failed" }]).inc();
        self.config_last_successful.set(i64::from(ok));
        let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.config_last_timestamp.set(since.as_secs_f64());
    }

    /// So many bytes of a pool are in use. Of one that nobody weighs there is no series.
    pub fn memory_in_use(&self, pool: Pool, bytes: u64) {
        if pool.is_weighed() {
            self.memory.with_label_values(&[pool.as_str()]).set(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
    }

    /// So many bytes of a pool may be used.
    pub fn memory_limit(&self, pool: Pool, bytes: u64) {
        self.memory_limit.with_label_values(&[pool.as_str()]).set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// A request to this instance was answered. `route` is the pattern of the route, never the path.
    pub fn http_answered(&self, route: &str, status: u16, took: std::time::Duration) {
        let class = match status / 100 {
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            _ => "5xx",
        };
        self.http_requests.with_label_values(&[route, class]).inc();
        self.http_duration.with_label_values(&[route]).observe(took.as_secs_f64());
    }

    /// Everything in Prometheus' text format, version 0.0.4.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        match TextEncoder::new().encode_utf8(&self.registry.gather(), &mut text) {
            Ok(()) => text,
            Err(error) => {
                tracing::error!(%error, "encoding metrics failed");
                String::new()
            }
        }
    }

    /// `pipeline` cut, or `other` where it is unknown and 500 others have series.
    fn pipeline_label<'a>(&self, pipeline: &'a str, known: bool, others: usize) -> &'a str {
        if known || others < MAX_PIPELINES {
            return pipeline;
        }
        self.series_dropped.inc();
        OTHER
    }
}

impl PipelineMetrics {
    /// The pipeline's name, as its label has it.
    pub fn name(&self) -> &str {
        &self.key
    }
}

impl Deref for StageMetrics {
    type Target = StageSeries;

    fn deref(&self) -> &StageSeries {
        &self.series
    }
}

impl Deref for PipelineMetrics {
    type Target = PipelineSeries;

    fn deref(&self) -> &PipelineSeries {
        &self.series
    }
}

impl Drop for StageMetrics {
    fn drop(&mut self) {
        let mut stages = lock(&self.metrics.stages);
        if let Some(last) = release(&mut stages, &self.key) {
            last.unregister();
        }
    }
}

impl Drop for PipelineMetrics {
    fn drop(&mut self) {
        let mut pipelines = lock(&self.metrics.pipelines);
        if let Some(last) = release(&mut pipelines, &self.key) {
            last.unregister();
        }
    }
}

/// Gives one handle back; the series, where it was the last. Taking them out belongs under the map's lock, else the next
/// stage of the same name could come before it and find its series taken.
fn release<K: Ord, S>(map: &mut BTreeMap<K, Shared<S>>, key: &K) -> Option<Arc<S>> {
    let shared = map.get_mut(key)?;
    shared.handles = shared.handles.saturating_sub(1);
    if shared.handles > 0 {
        return None;
    }
    map.remove(key).map(|shared| shared.series)
}

/// The label value of a name: at most 64 bytes, cut between characters.
fn label(name: &str) -> &str {
    name.split_at(name.floor_char_boundary(LABEL_BYTES)).0
}

/// A lock that nothing under it can poison: each section only counts or looks up.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
