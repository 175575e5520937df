//! The three probes. A failing handler, a held stage or a Kafka outage makes nothing unready: restarting a process mends
//! no receiver.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use super::Surface;
use crate::runtime::status::{Health, KafkaStatus, StageStatus, StatusReport};
use crate::settings::DEFAULT_CLUSTER;
use crate::telemetry::clock;

/// `GET /livez`: 200 while the process turns.
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: 200 once the pipeline files were read and while no drain is under way, else 503. The body lists each
/// stage's state.
pub(super) async fn readyz(State(surface): State<Surface>) -> (StatusCode, Json<Value>) {
    let report = (surface.status)();
    let ready = report.files_read && !report.draining;
    let stages: Vec<Value> = report
        .pipelines
        .iter()
        .flat_map(|pipeline| &pipeline.stages)
        .map(|stage| {
            let holds: Vec<&str> = stage.holds.iter().map(|hold| hold.cause.as_str()).collect();
            json!({ "stage": stage.stage, "health": stage.health.as_str(), "holds": holds })
        })
        .collect();
    let body = json!({
        "ready": ready, "files_read": report.files_read, "draining": report.draining,
        "broken_files": report.broken.len(), "stages": stages,
    });
    (if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(body))
}

/// `GET /api/health`: always 200. `status` is `ok`, `degraded` (a pipeline fails, its file is broken, or one of several
/// Kafka clusters does not answer) or `down` (Kafka does not answer). `components`, which name each hold and its reason, only where no `auth` is configured.
pub(super) async fn health(State(surface): State<Surface>) -> Json<Value> {
    let report = (surface.status)();
    let now = jiff::Timestamp::try_from(clock::wall()).unwrap_or_default();
    let mut body =
        json!({ "status": status_word(&report), "service": "weir", "timestamp": format!("{now:.3}") });
    if let (false, Some(body)) = (surface.auth, body.as_object_mut()) {
        body.insert("components".into(), components(&report));
    }
    Json(body)
}

fn status_word(report: &StatusReport) -> &'static str {
    let worst = report.pipelines.iter().map(|pipeline| pipeline.health).max();
    match (report.kafka(), worst) {
        ((0, 1.., 0), _) => "down",
        ((_, 1.., _), _) | (_, Some(Health::Degraded | Health::Failing)) => "degraded",
        _ if report.broken.is_empty() => "ok",
        _ => "degraded",
    }
}

fn components(report: &StatusReport) -> Value {
    let pipelines: Map<String, Value> = report
        .pipelines
        .iter()
        .map(|p| {
            let holds: Vec<Value> = p.stages.iter().flat_map(holds).collect();
            let commit = p.commit.as_ref().map(ToString::to_string);
            let body = json!({ "health": p.health.as_str(), "revision": p.revision, "commit": commit, "holds": holds });
            (p.pipeline.clone(), body)
        })
        .collect();
    json!({
        "kafka": kafka(report),
        "pipelines": pipelines,
    })
}

/// The state of Kafka: UP where all clusters are. The details are those of the default cluster, else of the first; with
/// several, `clusters` has each.
fn kafka(report: &StatusReport) -> Value {
    let status = match report.kafka() {
        (_, 1.., _) => "DOWN",
        (1.., 0, 0) => "UP",
        _ => "UNKNOWN",
    };
    let details = |cluster: Option<&KafkaStatus>| {
        let (id, nodes) = cluster.map_or(("", 0), |cluster| (cluster.cluster_id.as_str(), cluster.nodes));
        json!({ "clusterId": id, "nodeCount": nodes })
    };
    let main = report.clusters.get(DEFAULT_CLUSTER).or_else(|| report.clusters.values().next());
    let mut body = json!({ "status": status, "details": details(main) });
    if report.clusters.len() > 1
        && let Some(body) = body.as_object_mut()
    {
        let each = report.clusters.iter().map(|(name, cluster)| {
            let status = match cluster.up {
                Some(true) => "UP",
                Some(false) => "DOWN",
                None => "UNKNOWN",
            };
            (name.clone(), json!({ "status": status, "details": details(Some(cluster)) }))
        });
        body.insert("clusters".to_owned(), Value::Object(each.collect()));
    }
    body
}

/// Why a stage waits, and since when.
fn holds(stage: &StageStatus) -> impl Iterator<Item = Value> {
    stage.holds.iter().map(|hold| {
        json!({ "stage": stage.stage, "cause": hold.cause.as_str(), "message": hold.message, "since": hold.since })
    })
}
