//! The HTTP surface of an instance: probes, metrics and health. `build` binds and returns, `run` answers until told to
//! stop. What is shown comes in through `Surface`; nothing here knows how a pipeline runs.

pub mod answers;
mod health;
pub mod look_back;
pub mod openapi;
mod pipelines;
mod revisions;
pub mod registry;
pub mod serve;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::registry::server::Server;
use crate::runtime::history::{History, NotFound};
use crate::runtime::reload::{Refused, Reloader, Waiting};
use crate::runtime::status::StatusReport;
use crate::telemetry::clock;
use crate::telemetry::metrics::Metrics;

/// Where the embedded registry is.
pub const REGISTRY_PATH: &str = "/registry";
/// The longest request body that is read.
const BODY_LIMIT: usize = 64 * 1024;

/// What the surface shows.
#[derive(Clone)]
pub struct Surface {
    /// The instance's metrics.
    pub metrics: Arc<Metrics>,
    /// The instance's state, made when somebody asks; cheap and without waiting.
    pub status: Arc<dyn Fn() -> StatusReport + Send + Sync>,
    /// What reads the pipeline files again.
    pub reloader: Reloader,
    /// What pipelines have run.
    pub history: History,
    /// What tells how recent records would have fared.
    pub past: Arc<look_back::Past>,
    /// Keys of the runtime file that wait for a restart.
    pub waiting: Waiting,
    /// Whether `auth` names tokens. Until requests are checked against them, details stay closed.
    pub auth: bool,
    /// The embedded registry, where it is served.
    pub registry: Option<Arc<Server>>,
}

impl std::fmt::Debug for Surface {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Surface").field("auth", &self.auth).finish_non_exhaustive()
    }
}

/// Why the surface cannot be offered.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Anybody could reach it: exit code 78.
    #[error(
        "listening on {0} without `auth` would let anybody in; listen on 127.0.0.1, or set `auth.tokens`"
    )]
    PublicWithoutAuth(SocketAddr),
    /// The address is taken or not ours: exit code 69.
    #[error("binding {address}: {source}")]
    Bind {
        /// What was asked for.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A bound surface that answers nothing yet.
#[derive(Debug)]
pub struct Api {
    listener: TcpListener,
    address: SocketAddr,
    router: Router,
}

/// Binds the address. A public one needs `auth`.
pub async fn build(listen: SocketAddr, surface: Surface) -> Result<Api, ApiError> {
    if !listen.ip().is_loopback() && !surface.auth {
        return Err(ApiError::PublicWithoutAuth(listen));
    }
    let bind = |source| ApiError::Bind { address: listen, source };
    let listener = TcpListener::bind(listen).await.map_err(bind)?;
    let address = listener.local_addr().map_err(bind)?;
    Ok(Api { listener, address, router: router(surface, address) })
}

impl Api {
    /// The address in use: with port 0 the one that the system chose.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop`; then requests under way have until `grace` has passed.
    pub async fn run(self, stop: CancellationToken, grace: Duration) {
        serve::serve(self.listener, self.router, stop, grace).await;
    }
}

/// The routes. A new endpoint is one line here and one function in the file of its resource.
fn router(surface: Surface, address: SocketAddr) -> Router {
    let local_only = address.ip().is_loopback() && !surface.auth;
    let router = Router::new()
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/api/health", get(health::health))
        .route("/metrics", get(metrics))
        .fallback(|| async { problem(StatusCode::NOT_FOUND, "there is no such path") })
        .method_not_allowed_fallback(|| async {
            problem(StatusCode::METHOD_NOT_ALLOWED, "this path has no such method")
        })
        .layer(DefaultBodyLimit::max(BODY_LIMIT));
    // With tokens it stays closed until requests are checked against them.
    let router = match surface.registry.clone().filter(|_| !surface.auth) {
        Some(server) => router.nest_service(REGISTRY_PATH, registry::routes(server)),
        None => router,
    };
    let router = if surface.auth {
        router
    } else {
        router
            .merge(pipelines::routes())
            .merge(revisions::routes())
            .route(openapi::PATH, get(openapi::document))
    };
    let router = if local_only { router.layer(middleware::from_fn(local_host_only)) } else { router };
    router.layer(middleware::from_fn_with_state(Arc::clone(&surface.metrics), count)).with_state(surface)
}

async fn metrics(State(surface): State<Surface>) -> Response {
    let text = "text/plain; version=0.0.4; charset=utf-8";
    // Whoever makes the status also brings the gauges of health up to date.
    (surface.status)();
    ([(header::CONTENT_TYPE, text)], surface.metrics.encode()).into_response()
}

/// Counts each answer under its route's pattern.
async fn count(State(metrics): State<Arc<Metrics>>, request: Request, next: Next) -> Response {
    let route =
        request.extensions().get::<MatchedPath>().map_or_else(|| "none".into(), |m| m.as_str().to_owned());
    let began = clock::now();
    let response = next.run(request).await;
    let took = clock::now().saturating_duration_since(began);
    metrics.http_answered(&route, response.status().as_u16(), took);
    response
}

/// Without tokens only this machine may ask, and no web page on it: a page reaches us under its own host name when that
/// name has been pointed at this address, or with its own `Origin`.
async fn local_host_only(request: Request, next: Next) -> Response {
    if asks_locally(request.headers()) {
        return next.run(request).await;
    }
    problem(StatusCode::FORBIDDEN, "without `auth` only requests to a loopback host are answered")
}

fn asks_locally(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or(""));
    let origin = text(header::ORIGIN).map(|origin| origin.split_once("://").map_or("", |(_, host)| host));
    is_local(text(header::HOST).unwrap_or("")) && origin.is_none_or(is_local)
}

/// Whether `host[:port]` names this machine.
fn is_local(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(inside) => inside.split(']').next().unwrap_or(""),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// A request's body; an empty one is `{}`.
fn body<T: serde::de::DeserializeOwned>(sent: &[u8]) -> Result<T, Box<Response>> {
    let sent = if sent.trim_ascii().is_empty() { b"{}" } else { sent };
    serde_json::from_slice(sent)
        .map_err(|error| Box::new(problem(StatusCode::BAD_REQUEST, &format!("reading the request: {error}"))))
}

/// Why whoever reads the files does not do something.
fn refusal(refused: &Refused) -> Response {
    let status = match refused {
        Refused::Busy | Refused::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
        Refused::NoPipeline(_) => StatusCode::NOT_FOUND,
        Refused::NoRevision(NotFound::Short(_)) => StatusCode::BAD_REQUEST,
        Refused::NoRevision(NotFound::None { .. }) => StatusCode::NOT_FOUND,
        Refused::NoRevision(NotFound::Several { .. }) | Refused::Conflict(_) => StatusCode::CONFLICT,
        Refused::Broken(_) => StatusCode::UNPROCESSABLE_ENTITY,
        Refused::Unread(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    problem(status, &refused.to_string())
}

/// An error as `application/problem+json` (RFC 9457).
pub(crate) fn problem(status: StatusCode, detail: &str) -> Response {
    let title = status.canonical_reason().unwrap_or("error");
    let body = serde_json::json!({
        "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail,
    });
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
}

#[cfg(test)]
mod tests;
