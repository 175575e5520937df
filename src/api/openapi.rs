//! The OpenAPI document: made of what stands beside the functions that answer.

use axum::Json;
use utoipa::OpenApi;

use super::{pipelines, revisions};

/// Where the document is.
pub(super) const PATH: &str = "/openapi.json";

/// Weir: what runs, how it stands to its files, and what is held against them.
#[derive(OpenApi)]
#[openapi(
    paths(
        pipelines::all,
        pipelines::one,
        pipelines::reload,
        pipelines::plan,
        revisions::history,
        revisions::revisions,
        revisions::diff,
        revisions::roll_back,
        revisions::release
    ),
    tags((name = "pipelines"), (name = "revisions"))
)]
struct Document;

/// The document.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
    document.info.title = "Weir".to_owned();
    document.info.version = crate::telemetry::VERSION.to_owned();
    document
}

/// `GET /openapi.json`.
pub(super) async fn document() -> Json<utoipa::openapi::OpenApi> {
    Json(openapi())
}
