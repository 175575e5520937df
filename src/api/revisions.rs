//! What pipelines have run: their revisions, how those differ, holding an older one and letting it go.

use std::collections::HashMap;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use serde::Deserialize;
use similar::TextDiff;

use super::answers::{
    DiffAnswer, DifferenceAnswer, HistoryAnswer, LineAnswer, ReleaseRequest, RepinnedAnswer, RevisionAnswer,
    RollbackRequest, UntilRequest,
};
use super::{Surface, body, problem, refusal};
use crate::runtime::history::{Kept, Until, named};
use crate::runtime::plan;
use crate::runtime::reload::{Refused, Release, Rollback};
use crate::spec::PipelineFile;
use crate::spec::span::Source;
use crate::store::StoreError;

/// Lines that are given where nobody says how many, and at most.
const LINES: (u32, u32) = (50, 500);
/// Who acts where nobody says so.
const SOMEBODY: &str = "local";

pub(super) fn routes() -> Router<Surface> {
    Router::new()
        .route("/api/history", get(history))
        .route("/api/pipelines/{pipeline}/revisions", get(revisions))
        .route("/api/pipelines/{pipeline}/revisions/{from}/diff/{to}", get(diff))
        .route("/api/pipelines/{pipeline}/rollback", post(roll_back))
        .route("/api/pipelines/{pipeline}/release", post(release))
}

/// How many lines.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(default)]
pub(super) struct Page {
    /// At most so many, 50 where it is left out, 500 at most.
    limit: Option<u32>,
}

impl Page {
    fn lines(&self) -> u32 {
        self.limit.unwrap_or(LINES.0).clamp(1, LINES.1)
    }
}

/// Whether it is only said what would be done.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(default)]
pub(super) struct DryRun {
    /// `true`: nothing is done.
    dry_run: bool,
}

fn away(error: &StoreError) -> Response {
    problem(StatusCode::SERVICE_UNAVAILABLE, &error.to_string())
}

/// What was done to all pipelines, the newest first.
#[utoipa::path(get, path = "/api/history", tag = "revisions", params(Page),
    responses((status = 200, body = HistoryAnswer), (status = 503, description = "The store does not answer")))]
pub(super) async fn history(State(surface): State<Surface>, Query(page): Query<Page>) -> Response {
    match surface.history.lines(None, page.lines()).await {
        Ok(lines) => {
            let items = lines.iter().map(LineAnswer::from).collect();
            Json(HistoryAnswer { revisions: Vec::new(), items }).into_response()
        }
        Err(error) => away(&error),
    }
}

/// The revisions of a pipeline, and what was done to it, the newest first; also of one that has stopped.
#[utoipa::path(get, path = "/api/pipelines/{pipeline}/revisions", tag = "revisions",
    params(("pipeline" = String, Path, description = "Its name"), Page),
    responses((status = 200, body = HistoryAnswer), (status = 404, description = "No pipeline of this name has run"),
        (status = 503, description = "The store does not answer")))]
pub(super) async fn revisions(
    State(surface): State<Surface>,
    Path(name): Path<String>,
    Query(page): Query<Page>,
) -> Response {
    let asked =
        tokio::try_join!(surface.history.revisions(&name), surface.history.lines(Some(&name), page.lines()));
    let (kept, lines) = match asked {
        Ok(found) => found,
        Err(error) => return away(&error),
    };
    if kept.is_empty() && lines.is_empty() {
        return problem(StatusCode::NOT_FOUND, "no pipeline of this name has run");
    }
    let report = (surface.status)();
    let runs: HashMap<&str, &str> =
        report.pipelines.iter().map(|one| (one.pipeline.as_str(), one.revision.as_str())).collect();
    let running = |kept: &Kept| runs.get(name.as_str()) == Some(&kept.revision.short());
    let revisions = kept.iter().map(|kept| RevisionAnswer::of(kept, running(kept))).collect();
    Json(HistoryAnswer { revisions, items: lines.iter().map(LineAnswer::from).collect() }).into_response()
}

/// How two revisions of a pipeline differ: as they are written, and in effect.
#[utoipa::path(get, path = "/api/pipelines/{pipeline}/revisions/{from}/diff/{to}", tag = "revisions",
    params(("pipeline" = String, Path, description = "Its name"),
        ("from" = String, Path, description = "The beginning of a revision or of a commit"),
        ("to" = String, Path, description = "The beginning of a revision or of a commit")),
    responses((status = 200, body = DiffAnswer), (status = 404, description = "No such revision"),
        (status = 503, description = "The store does not answer")))]
pub(super) async fn diff(
    State(surface): State<Surface>,
    Path((name, from, to)): Path<(String, String, String)>,
) -> Response {
    let kept = match surface.history.revisions(&name).await {
        Ok(kept) => kept,
        Err(error) => return away(&error),
    };
    let both = named(&name, &kept, &from).and_then(|from| Ok((from, named(&name, &kept, &to)?)));
    match both {
        Ok((from, to)) => Json(differ(from, to)).into_response(),
        Err(error) => refusal(&Refused::from(error)),
    }
}

fn differ(from: &Kept, to: &Kept) -> DiffAnswer {
    let label = |kept: &Kept| format!("{}@{}", kept.file, kept.revision);
    let yaml = TextDiff::from_lines(&from.text, &to.text)
        .unified_diff()
        .context_radius(3)
        .header(&label(from), &label(to))
        .to_string();
    let read =
        |kept: &Kept| PipelineFile::parse(&Source::new(&kept.file, kept.text.clone()), &mut Vec::new()).spec;
    let differences = match (read(from), read(to)) {
        (Some(before), Some(after)) => plan::differences(&before, &after),
        _ => Vec::new(),
    };
    DiffAnswer {
        from: (*from.revision).to_owned(),
        to: (*to.revision).to_owned(),
        yaml,
        differences: differences.iter().map(DifferenceAnswer::from).collect(),
    }
}

/// Runs an older revision of a pipeline, and holds it against its file.
#[utoipa::path(post, path = "/api/pipelines/{pipeline}/rollback", tag = "revisions",
    params(("pipeline" = String, Path, description = "Its name"), DryRun), request_body = RollbackRequest,
    responses((status = 200, body = RepinnedAnswer), (status = 400, description = "No reason is given"),
        (status = 404, description = "No such pipeline, or no such revision"),
        (status = 409, description = "It runs this revision already"),
        (status = 422, description = "This revision cannot run any more"),
        (status = 503, description = "The store does not answer")))]
pub(super) async fn roll_back(
    State(surface): State<Surface>,
    Path(pipeline): Path<String>,
    Query(DryRun { dry_run }): Query<DryRun>,
    sent: Bytes,
) -> Response {
    let asked: RollbackRequest = match body(&sent) {
        Ok(asked) => asked,
        Err(problem) => return *problem,
    };
    if asked.reason.trim().is_empty() {
        return problem(StatusCode::BAD_REQUEST, "a rollback needs a `reason`: whoever finds the pin asks");
    }
    let until = match asked.until {
        UntilRequest::Change => Until::Change,
        UntilRequest::Release => Until::Release,
    };
    let (to, reason, actor) = (asked.to, asked.reason, actor(asked.actor));
    let order = Rollback { pipeline, to, reason, actor, until, dry_run };
    match surface.reloader.roll_back(order).await {
        Ok(done) => Json(RepinnedAnswer::of(&done, dry_run)).into_response(),
        Err(refused) => refusal(&refused),
    }
}

/// Takes a pin back: the pipeline runs what its file says.
#[utoipa::path(post, path = "/api/pipelines/{pipeline}/release", tag = "revisions",
    params(("pipeline" = String, Path, description = "Its name"), DryRun), request_body = ReleaseRequest,
    responses((status = 200, body = RepinnedAnswer), (status = 409, description = "It is not pinned"),
        (status = 503, description = "The store does not answer")))]
pub(super) async fn release(
    State(surface): State<Surface>,
    Path(pipeline): Path<String>,
    Query(DryRun { dry_run }): Query<DryRun>,
    sent: Bytes,
) -> Response {
    let asked: ReleaseRequest = match body(&sent) {
        Ok(asked) => asked,
        Err(problem) => return *problem,
    };
    let order = Release { pipeline, reason: asked.reason, actor: actor(asked.actor), dry_run };
    match surface.reloader.release(order).await {
        Ok(done) => Json(RepinnedAnswer::of(&done, dry_run)).into_response(),
        Err(refused) => refusal(&refused),
    }
}

fn actor(said: String) -> String {
    Some(said).filter(|said| !said.trim().is_empty()).unwrap_or_else(|| SOMEBODY.to_owned())
}
