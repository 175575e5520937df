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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::body::Body;
    use axum::http::{Request, StatusCode};
    use tower::ServiceExt;

    use super::*;
    use crate::api::{Surface, router};
    use crate::runtime::history::History;
    use crate::runtime::reload::{Reloader, Waiting};
    use crate::runtime::status::StatusReport;
    use crate::telemetry::metrics::Metrics;

    const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");

    #[test]
    fn the_document_changes_only_on_purpose() {
        let document = openapi().to_pretty_json().unwrap() + "\n";
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(GOLDEN, &document).unwrap();
        }
        let golden = std::fs::read_to_string(GOLDEN).unwrap_or_default();
        assert!(document == golden, "UPDATE_EXPECT=1 writes docs/openapi.json anew; look at the difference");
    }

    #[tokio::test]
    async fn each_path_of_the_document_is_one_of_the_router_with_the_same_methods() {
        let surface = Surface {
            metrics: Metrics::new(),
            status: Arc::new(StatusReport::default),
            auth: false,
            registry: None,
            reloader: Reloader::deaf(),
            history: History::default(),
            waiting: Waiting::default(),
            past: crate::api::tests::nothing_past(),
        };
        let router = router(surface, "127.0.0.1:1".parse().unwrap());
        let document = serde_json::to_value(openapi()).unwrap();
        let paths = document["paths"].as_object().unwrap();
        assert!(paths.len() >= 8, "{paths:?}");
        for (path, methods) in paths {
            for method in methods.as_object().unwrap().keys() {
                let uri = path.replace(['{', '}'], "");
                let ask = |method: &str| {
                    let request = Request::builder().method(method.to_uppercase().as_str()).uri(&uri);
                    router.clone().oneshot(request.header("host", "127.0.0.1").body(Body::empty()).unwrap())
                };
                let status = ask(method).await.unwrap().status();
                assert_ne!(status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
                // Of others than ours the router has none: a path that it knows refuses a method, others are not found.
                assert_eq!(ask("TRACE").await.unwrap().status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
            }
        }
        let text = document.to_string();
        assert!(!text.contains("127.0.0.1"), "it names no machine");
    }
}
