//! Pipelines: what runs, and how it stands to its files; reading them again, and what other files would do.

use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use serde::Serialize;
use utoipa::ToSchema;

use super::answers::{self, ChangeAnswer, PlanAnswer, PlanRequest, ReloadAnswer, ReloadRequest};
use super::{Surface, body, look_back, problem, refusal};
use crate::runtime::change::Action;
use crate::runtime::status::PipelineStatus;
use crate::spec::span::Source;

/// The longest body with files: a thousand of them.
const FILES_LIMIT: usize = 16 << 20;

pub(super) fn routes() -> Router<Surface> {
    Router::new()
        .route("/api/pipelines", get(all))
        .route("/api/pipelines/{pipeline}", get(one))
        .route("/api/reload", post(reload))
        .route("/api/plan", post(plan).layer(DefaultBodyLimit::max(FILES_LIMIT)))
}

/// Every pipeline.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PipelinesAnswer {
    /// By name.
    #[schema(value_type = Vec<Object>)]
    items: Vec<PipelineStatus>,
    /// Files that cannot run: `file:line:col: message`.
    broken: Vec<String>,
    /// Keys of weir.yaml that say something else than at the start: they hold from the next start.
    restart_for: Vec<String>,
}

/// Every pipeline: its health, how it stands to its file, its stages.
#[utoipa::path(get, path = "/api/pipelines", tag = "pipelines", responses((status = 200, body = PipelinesAnswer)))]
pub(super) async fn all(State(surface): State<Surface>) -> Json<PipelinesAnswer> {
    let report = (surface.status)();
    let restart_for = surface.waiting.load().to_vec();
    Json(PipelinesAnswer { items: report.pipelines, broken: report.broken, restart_for })
}

/// One pipeline.
#[utoipa::path(get, path = "/api/pipelines/{pipeline}", tag = "pipelines",
    params(("pipeline" = String, Path, description = "Its name")),
    responses((status = 200, body = Object), (status = 404, description = "No pipeline of this name is to run")))]
pub(super) async fn one(State(surface): State<Surface>, Path(name): Path<String>) -> Response {
    let report = (surface.status)();
    match report.pipelines.into_iter().find(|pipeline| pipeline.pipeline == name) {
        Some(pipeline) => Json(pipeline).into_response(),
        None => problem(StatusCode::NOT_FOUND, "no pipeline of this name is to run"),
    }
}

/// Reads the files now, and answers when what they say is applied. 422 where a file is broken or waits.
#[utoipa::path(post, path = "/api/reload", tag = "pipelines", request_body = ReloadRequest,
    responses((status = 200, body = ReloadAnswer), (status = 422, body = ReloadAnswer),
        (status = 503, description = "The instance stops, or too many ask")))]
pub(super) async fn reload(State(surface): State<Surface>, sent: Bytes) -> Response {
    let asked: ReloadRequest = match body(&sent) {
        Ok(asked) => asked,
        Err(problem) => return *problem,
    };
    let reloaded = match surface.reloader.reload(asked.fresh).await {
        Ok(reloaded) => reloaded,
        Err(refused) => return refusal(&refused),
    };
    let is_bad = |action| matches!(action, Action::Broken | Action::Renamed);
    let bad = reloaded.changes.iter().any(|change| is_bad(change.action));
    let status = if bad { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let changes = reloaded.changes.iter().map(ChangeAnswer::from).collect();
    (status, Json(ReloadAnswer { changes })).into_response()
}

/// What files would do in place of those that run. Nothing is changed, and nothing is sent anywhere.
#[utoipa::path(post, path = "/api/plan", tag = "pipelines", request_body = PlanRequest,
    responses((status = 200, body = PlanAnswer), (status = 503, description = "The instance stops, or too many ask")))]
pub(super) async fn plan(State(surface): State<Surface>, sent: Bytes) -> Response {
    let asked: PlanRequest = match body(&sent) {
        Ok(asked) => asked,
        Err(problem) => return *problem,
    };
    let texts = asked.files.map(|files| {
        let texts = files.into_iter().map(|(name, text)| Source::new(&name, text));
        texts.collect()
    });
    let planned = match surface.reloader.plan(texts).await {
        Ok(planned) => planned,
        Err(refused) => return refusal(&refused),
    };
    let report = (surface.status)();
    let of = |service: &str| {
        let stages = report.pipelines.iter().flat_map(|pipeline| &pipeline.stages);
        let stage = stages.into_iter().find(|stage| stage.stage == service);
        stage.map_or((0, 0, 0), |stage| {
            let lag = stage.partitions.iter().map(|partition| partition.lag).sum();
            (stage.in_flight, stage.retries_waiting, lag)
        })
    };
    let mut answer = answers::planned(&planned, of);
    if asked.look_back > 0 {
        for altered in planned.altered {
            let name = altered.1.plan.pipeline.clone();
            let looked = surface.past.look(altered, asked.look_back.min(look_back::MOST)).await;
            answer.look_back.insert(name, looked);
        }
    }
    Json(answer).into_response()
}
