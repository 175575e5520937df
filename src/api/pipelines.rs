//! Pipelines: what runs, and how it stands to its files.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::{Surface, problem};
use crate::plan::Revision;
use crate::runtime::change::{Action, Change};

/// `GET /api/pipelines`: `{"pipelines": [..], "broken": ["file:line:col: message"]}`, by name.
pub(super) async fn all(State(surface): State<Surface>) -> Json<Value> {
    let report = (surface.status)();
    Json(json!({ "pipelines": report.pipelines, "broken": report.broken }))
}

/// `GET /api/pipelines/{pipeline}`: one of them, or 404.
pub(super) async fn one(State(surface): State<Surface>, Path(name): Path<String>) -> Response {
    let report = (surface.status)();
    match report.pipelines.into_iter().find(|pipeline| pipeline.pipeline == name) {
        Some(pipeline) => Json(pipeline).into_response(),
        None => problem(StatusCode::NOT_FOUND, "no pipeline of this name is to run"),
    }
}

/// `POST /api/reload`: reads the files now, and answers when what they say is applied: `{"changes": [{"name", "action",
/// "why", "from", "to", "commit"}]}`, where `action` is `keep`, `swap`, `restart`, `start`, `stop` or `broken`. 200 where nothing is broken, else 422.
/// 503 while the instance stops.
pub(super) async fn reload(State(surface): State<Surface>) -> Response {
    let Some(reloaded) = surface.reloader.reload().await else {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "the instance stops, or too many reloads wait");
    };
    let broken = reloaded.changes.iter().any(|change| change.action == Action::Broken);
    let status = if broken { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let changes: Vec<Value> = reloaded.changes.iter().map(shown).collect();
    (status, Json(json!({ "changes": changes }))).into_response()
}

fn shown(change: &Change) -> Value {
    json!({
        "name": change.name, "action": change.action.as_str(), "why": change.why,
        "from": change.from.as_ref().map(Revision::short), "to": change.to.as_ref().map(Revision::short),
        "commit": change.standing.as_deref(),
    })
}
