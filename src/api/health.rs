//! The three probes. A failing handler, a held stage or a Kafka outage makes nothing unready: restarting a process mends
//! no receiver.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use super::Surface;
use crate::runtime::status::{Health, StageStatus, StatusReport};
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

/// `GET /api/health`: always 200. `status` is `ok`, `degraded` (a pipeline fails or its file is broken) or `down` (Kafka
/// does not answer). `components`, which name each hold and its reason, only where no `auth` is configured.
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
    match (report.kafka.up, worst) {
        (Some(false), _) => "down",
        (_, Some(Health::Degraded | Health::Failing)) => "degraded",
        _ if report.broken.is_empty() => "ok",
        _ => "degraded",
    }
}

fn components(report: &StatusReport) -> Value {
    let up = match report.kafka.up {
        Some(true) => "UP",
        Some(false) => "DOWN",
        None => "UNKNOWN",
    };
    let pipelines: Map<String, Value> = report
        .pipelines
        .iter()
        .map(|p| {
            let holds: Vec<Value> = p.stages.iter().flat_map(holds).collect();
            let body = json!({ "health": p.health.as_str(), "revision": p.revision, "holds": holds });
            (p.pipeline.clone(), body)
        })
        .collect();
    json!({
        "kafka": {
            "status": up,
            "details": { "clusterId": report.kafka.cluster_id, "nodeCount": report.kafka.nodes },
        },
        "pipelines": pipelines,
    })
}

/// Why a stage waits, and since when.
fn holds(stage: &StageStatus) -> impl Iterator<Item = Value> {
    stage.holds.iter().map(|hold| {
        json!({ "stage": stage.stage, "cause": hold.cause.as_str(), "message": hold.message, "since": hold.since })
    })
}
