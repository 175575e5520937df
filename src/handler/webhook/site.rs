//! A server of the operator's that others than handlers ask: a schema registry. The same connections, limits and TLS as a
//! webhook's, over its own guard: where it is stands in the runtime file, which no record and no pipeline writes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use http_body_util::Full;

use super::auth;
use super::classify::{self, Fault};
use super::client::Bounds;
use super::connect::{Limits, Ways};
use super::headers::user_agent;
use super::pool::Pool;
use super::spec::Tls as TlsSpec;
use super::tls::{Files, Tls};
use super::url::{self, Target, UrlPlan};
use super::wire::{Sent, Wire};
use super::{Auth, BodyEnd};
use crate::handler::Problem;
use crate::handler::egress::{self, Egress};
use crate::outcome::Answer;
use crate::settings::References;
use crate::telemetry::clock;

/// What one request may take, from the name to the end of the answer.
const WITHIN: Duration = Duration::from_secs(10);
/// Connections that rest.
const RESTING: usize = 4;

/// A server, ready to be asked.
pub struct Site {
    target: Target,
    /// The path that its paths are below, without a slash at its end.
    below: String,
    credentials: Option<(HeaderName, HeaderValue)>,
    media_type: &'static str,
    wire: Wire,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unasked {
    /// One sentence without secrets.
    Not(String),
    /// There is one, and it is too long.
    TooLong,
}

/// How a server is reached, as it is written.
#[derive(Debug, Clone, PartialEq)]
pub struct SiteSpec {
    /// `https://registry.internal`, perhaps with a path.
    pub url: String,
    /// Credentials.
    pub auth: Option<Auth>,
    /// Certificates in place of the system's.
    pub tls: Option<TlsSpec>,
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Site").field(&self.target.shown).finish()
    }
}

impl Site {
    /// Compiles where it is and how it is asked; bodies are of `media_type`. Every problem at once, at the keys of [`SiteSpec`].
    pub fn compile(
        spec: &SiteSpec,
        media_type: &'static str,
        references: &References,
    ) -> Result<Site, Vec<Problem>> {
        let mut problems = Vec::new();
        let inside = |key: &'static str| {
            move |problem: Problem| {
                let path =
                    if problem.path.is_empty() { key.to_owned() } else { format!("{key}.{}", problem.path) };
                Problem { path, ..problem }
            }
        };
        let egress = Egress::new(&egress::Spec::default(), &[])?;
        let target = match url::compile(&spec.url, &egress, references) {
            Ok(UrlPlan::Literal(target)) if target.uri.query().is_none() => Some(target),
            Ok(_) => {
                problems.push(
                    Problem::at("url", "this URL has a template or a query")
                        .help("write scheme, host and path"),
                );
                None
            }
            Err(list) => {
                problems.extend(list.into_iter().map(inside("url")));
                None
            }
        };
        let credentials = match spec.auth.as_ref().map(|auth| auth::header(auth, references)).transpose() {
            Ok(credentials) => credentials.flatten(),
            Err(list) => {
                problems.extend(list.into_iter().map(inside("auth")));
                None
            }
        };
        let tls = match spec.tls.as_ref().map(|tls| Tls::compile(tls, Files::Any, references)).transpose() {
            Ok(tls) => tls.unwrap_or_default(),
            Err(list) => {
                problems.extend(list.into_iter().map(inside("tls")));
                Tls::default()
            }
        };
        let target = target.filter(|_| problems.is_empty()).ok_or(problems)?;
        let below = target.uri.path().trim_end_matches('/').to_owned();
        let limits = Limits { dns: WITHIN, connect: WITHIN, tls: WITHIN, first_byte: WITHIN, total: WITHIN };
        let ways = Ways { egress: Arc::new(egress), tls, proxy: None, limits };
        let wire = Wire { ways, pool: Pool::new(RESTING), stand: None };
        Ok(Site { target, below, credentials, media_type, wire })
    }

    /// The URL, for people.
    pub fn shown(&self) -> &str {
        &self.target.shown
    }

    /// Sends a request and hears its answer, of whatever status. `path` begins with a slash and may have a query. Fails within
    /// ten seconds: no answer, or one of more than `limit` bytes.
    pub async fn ask(
        &self,
        method: &Method,
        path: &str,
        body: Option<Bytes>,
        limit: usize,
    ) -> Result<Answer, Unasked> {
        let action = || format!("asking {}", self.target.origin.authority.to_str().unwrap_or(""));
        let request = || self.request(method, path, body.clone());
        let not = |fault| Unasked::Not(classify::fault(&action(), fault).message);
        let first = request().map_err(not)?;
        let (start, limits) = (clock::now(), &self.wire.ways.limits);
        let bounds = Bounds { limits, start, deadline: start + limits.total, max_response: limit };
        let sent = self.wire.send(&self.target.origin, first, request, bounds).await;
        self.wire.pool.tidy(clock::now());
        let answer = sent.map_err(not)?;
        match answer.body_end {
            BodyEnd::Complete => Ok(answer),
            BodyEnd::TooLong => Err(Unasked::TooLong),
            BodyEnd::BrokenOff => Err(Unasked::Not(format!("{}: the answer broke off", action()))),
            BodyEnd::Encoded => {
                Err(Unasked::Not(format!("{}: the answer is compressed, which nobody asked for", action())))
            }
        }
    }

    fn request(&self, method: &Method, path: &str, body: Option<Bytes>) -> Result<Sent, Fault> {
        let uri = Uri::try_from(format!("{}{path}", self.below))
            .map_err(|error| Fault::Protocol(format!("`{path}` is no path: {error}")))?;
        let body = body.unwrap_or_default();
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = method.clone();
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.insert(HOST, self.target.origin.authority.clone());
        headers.insert(USER_AGENT, user_agent());
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        if !body.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.media_type));
            headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        if let Some((name, value)) = &self.credentials {
            headers.insert(name, value.clone());
        }
        Ok(request)
    }
}
