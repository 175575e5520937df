//! The schema registry of the runtime file: from what is written to a client.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::OnceCell;
use tower::ServiceExt;
use tracing::{info, warn};

use super::exit::CliError;
use super::load::place;
use crate::api;
use crate::handler::Problem;
use crate::handler::webhook::{Auth, Site, SiteSpec, TlsSpec, Unasked};
use crate::registry::server::{Server, seed_files};
use crate::registry::{Client, MAX_REPLY, Method, Reply, Request, Transport, Unanswered};
use crate::settings::Resolved;
use crate::spec::diagnostic::Diagnostic;
use crate::spec::runtime::{self, RegistryTls, Remote};
use crate::spec::tree::Path;
use crate::store::Store;

/// What is wrong with the `registry` block.
const REGISTRY: &str = "W0702";
/// What one question to the embedded registry may take.
const WITHIN: Duration = Duration::from_secs(10);
/// What bodies of requests are.
const MEDIA_TYPE: &str = "application/vnd.schemaregistry.v1+json";

/// The schema registry that pipelines use.
#[derive(Debug)]
pub(crate) struct Registry {
    /// What asks it.
    pub(crate) client: Client,
    /// Weir's own, where it is that one.
    pub(crate) embedded: Option<Arc<Embedded>>,
}

/// The registry of the runtime file; `None` where it names none. Fails with what is wrong with the block. Nothing is asked yet.
pub(super) fn connect(loaded: &runtime::Loaded) -> Result<Option<Registry>, Vec<Diagnostic>> {
    let remote = match &loaded.registry {
        None => return Ok(None),
        Some(runtime::Registry::Embedded) => {
            let settings = &loaded.settings;
            let embedded = Embedded::new(settings.store.clone(), settings.schemas.clone());
            let client = Client::new(Arc::clone(&embedded) as Arc<dyn Transport>);
            return Ok(Some(Registry { client, embedded: Some(embedded) }));
        }
        Some(runtime::Registry::Remote(remote)) => remote,
    };
    let site = remote_site(remote).and_then(|spec| {
        Site::compile(&spec, MEDIA_TYPE, &loaded.settings.references).map_err(|list| {
            list.into_iter().map(|problem| Problem { path: as_written(&problem.path), ..problem }).collect()
        })
    });
    match site {
        Ok(site) => Ok(Some(Registry { client: Client::new(Arc::new(Remotely(site))), embedded: None })),
        Err(problems) => Err(place(problems, &Path::root().then("registry"), REGISTRY, loaded)),
    }
}

fn remote_site(remote: &Remote) -> Result<SiteSpec, Vec<Problem>> {
    let Remote { url, username, password, token, tls } = remote.clone();
    let auth = match (username, password, token) {
        (None, None, None) => None,
        (Some(username), Some(password), None) => Some(Auth::Basic { username, password }),
        (None, None, Some(token)) => Some(Auth::Bearer(token)),
        (_, _, Some(_)) => {
            let why = "a token stands in place of user and password";
            return Err(vec![
                Problem::at("token", why).help("take `token`, or `username` and `password`, out"),
            ]);
        }
        (user, _, None) => {
            let (there, lacks) =
                if user.is_some() { ("username", "password") } else { ("password", "username") };
            let why = "user and password go together";
            return Err(vec![Problem::at(there, why).help(format!("write `{lacks}` beside `{there}`"))]);
        }
    };
    let tls = tls.map(|RegistryTls { ca, cert, key }| TlsSpec { ca, cert, key });
    Ok(SiteSpec { url, auth, tls })
}

/// The key of the block that a problem of a site is at.
fn as_written(path: &str) -> String {
    match path {
        "auth.basic" => "password".to_owned(),
        "auth.bearer" => "token".to_owned(),
        other => other.strip_prefix("auth.basic.").unwrap_or(other).to_owned(),
    }
}

/// A registry over HTTP.
struct Remotely(Site);

impl fmt::Debug for Remotely {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Transport for Remotely {
    fn ask(&self, request: Request) -> BoxFuture<'_, Result<Reply, Unanswered>> {
        Box::pin(async move {
            let answer = self.0.ask(&method(request.method), &request.path, request.body, MAX_REPLY).await;
            let answer = answer.map_err(|unasked| match unasked {
                Unasked::TooLong => Unanswered::TooLong,
                Unasked::Not(why) => Unanswered::Not(why),
            })?;
            Ok(Reply { status: answer.status, body: Bytes::clone(&answer.body) })
        })
    }

    fn shown(&self) -> String {
        self.0.shown().to_owned()
    }
}

/// Weir's own registry. It is opened when something runs; to check files takes none.
pub(crate) struct Embedded {
    store: Resolved,
    schemas: PathBuf,
    open: OnceCell<(Arc<Server>, Router)>,
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded").field("store", &self.store).finish_non_exhaustive()
    }
}

impl Embedded {
    fn new(store: Resolved, schemas: PathBuf) -> Arc<Embedded> {
        Arc::new(Embedded { store, schemas, open: OnceCell::new() })
    }

    /// Opens the store and registers the files of the schemas' folder. What is refused of them is said in the log.
    pub(crate) async fn open(&self) -> Result<Arc<Server>, CliError> {
        let server = self.open_as_it_is().await?;
        let files = seed_files(&self.schemas);
        let count = files.len();
        let refused = server.seed(files).await;
        for (path, why) in &refused {
            warn!(schema = path, "not registered: {why}; `weir schemas check` says what is in the way");
        }
        info!(store = %self.store, schemas = count - refused.len(), "the schema registry is open");
        Ok(server)
    }

    /// Opens the store and registers nothing.
    pub(super) async fn open_as_it_is(&self) -> Result<Arc<Server>, CliError> {
        let (server, _) = self.open.get_or_try_init(|| self.opened()).await?;
        Ok(Arc::clone(server))
    }

    async fn opened(&self) -> Result<(Arc<Server>, Router), CliError> {
        let store = Store::open(self.store.expose()).await;
        let store = store.map_err(|error| super::store::failed(&error))?;
        let server = Arc::new(Server::new(store));
        let router = api::registry::routes(Arc::clone(&server));
        Ok((server, router))
    }
}

impl Transport for Embedded {
    fn ask(&self, request: Request) -> BoxFuture<'_, Result<Reply, Unanswered>> {
        Box::pin(async move {
            let failed =
                |why: &dyn fmt::Display| Unanswered::Not(format!("asking the embedded registry: {why}"));
            let Some((_, router)) = self.open.get() else { return Err(failed(&"it is not open")) };
            let body = Body::from(request.body.unwrap_or_default());
            let request =
                http::Request::builder().method(method(request.method)).uri(request.path).body(body);
            let request = request.map_err(|error| failed(&error))?;
            let answered = async {
                // It has no error of its own.
                let response = router.clone().oneshot(request).await.map_err(|never| failed(&never))?;
                let status = response.status().as_u16();
                let body = axum::body::to_bytes(response.into_body(), MAX_REPLY).await;
                Ok(Reply { status, body: body.map_err(|_| Unanswered::TooLong)? })
            };
            tokio::time::timeout(WITHIN, answered).await.map_err(|_| failed(&"no answer within 10s"))?
        })
    }

    fn shown(&self) -> String {
        "the embedded registry".to_owned()
    }
}

fn method(method: Method) -> http::Method {
    match method {
        Method::Get => http::Method::GET,
        Method::Post => http::Method::POST,
        Method::Put => http::Method::PUT,
        Method::Delete => http::Method::DELETE,
    }
}
