//! `proxy`: an HTTP proxy between Weir and the receiver. To `https` receivers it gives a tunnel (CONNECT), so it sees no
//! content; requests to `http` receivers it is handed whole. It resolves the receiver's name, so the address guard judges
//! the proxy's addresses and not the receiver's.
//!
//! Source: http-contract, section 1; RFC 9110, sections 7.2 and 9.3.6.

use std::convert::Infallible;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{HOST, PROXY_AUTHORIZATION};
use http::{HeaderValue, Method, Request, Uri};
use http_body_util::Empty;
use hyper::client::conn::http1::Builder;
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use tokio::net::TcpStream;
use url::{Host, Url};

use super::classify::Fault;
use super::connect::Origin;
use super::headers::header_value;
use super::wire::Sent;
use crate::handler::Problem;
use crate::settings::References;

/// The head of the proxy's answer is at most this long.
const MAX_HEAD: usize = 32 << 10;

/// An HTTP proxy.
pub(super) struct Proxy {
    pub(super) host: Host,
    pub(super) port: u16,
    pub(super) credentials: Option<HeaderValue>,
}

impl fmt::Debug for Proxy {
    /// Where it is, never the credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({}:{})", self.host, self.port)
    }
}

impl Proxy {
    /// Reads `http://[user:password@]host[:port]`. The path of a problem is empty.
    pub(super) fn compile(written: &str, references: &References) -> Result<Proxy, Problem> {
        let resolve = |text: &str| {
            references.resolve(text).map_err(|error| Problem::at("", error.to_string()).help(error.help()))
        };
        let no_proxy = |why: &str| {
            Problem::at("", format!("not a proxy that can be used: {why}"))
                .help("write http://HOST:PORT, with a password as http://USER:${secret:NAME}@HOST:PORT")
        };
        let (user_info, place) = match written.strip_prefix("http://").and_then(|rest| rest.rsplit_once('@'))
        {
            Some((user_info, place)) => (Some(user_info), format!("http://{place}")),
            None => (None, written.to_owned()),
        };
        let resolved = resolve(&place)?;
        let url = Url::parse(resolved.expose()).map_err(|_| no_proxy("it is not a URL"))?;
        if url.scheme() != "http" {
            return Err(no_proxy(
                "its scheme is not http (a receiver's https is kept: the proxy gives a tunnel)",
            ));
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(no_proxy("it has a path"));
        }
        if url.password().is_some() && !resolved.is_secret() {
            return Err(in_the_file());
        }
        let host = url.host().ok_or_else(|| no_proxy("it has no host"))?.to_owned();
        let port = url.port_or_known_default().ok_or_else(|| no_proxy("it has no port"))?;
        let unusable = || {
            no_proxy("its user's name has a `:`, or the credentials a character that a header cannot carry")
        };
        let credentials = match user_info {
            None if url.username().is_empty() && url.password().is_none() => None,
            // All of it is one secret.
            None => {
                let (user, password) = (decoded(url.username()), decoded(url.password().unwrap_or("")));
                let both = user.zip(password);
                Some(both.and_then(|(user, password)| basic(&user, &password)).ok_or_else(unusable)?)
            }
            Some(user_info) => {
                let (user, password) = parts(user_info);
                // What a reference stands for is taken as it is.
                let user = if user.contains("${") {
                    Some(resolve(user)?.expose().to_owned())
                } else {
                    decoded(user)
                };
                let password = match password {
                    None => String::new(),
                    Some(password) => {
                        let password = resolve(password)?;
                        if !password.is_secret() {
                            return Err(in_the_file());
                        }
                        password.expose().to_owned()
                    }
                };
                Some(user.and_then(|user| basic(&user, &password)).ok_or_else(unusable)?)
            }
        };
        Ok(Proxy { host, port, credentials })
    }

    /// Makes a request for an `http` receiver one that the proxy passes on.
    pub(super) fn address(&self, origin: &Origin, request: &mut Sent) {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let authority = origin.authority.to_str().unwrap_or_default();
        // Both parts have been read from a URL before.
        if let Ok(whole) = Uri::builder().scheme("http").authority(authority).path_and_query(path).build() {
            *request.uri_mut() = whole;
        }
        if let Some(credentials) = &self.credentials {
            request.headers_mut().insert(PROXY_AUTHORIZATION, credentials.clone());
        }
    }

    /// Has the proxy connect to an `https` receiver; what is sent from then on, the receiver hears.
    pub(super) async fn tunnel(&self, tcp: TcpStream, origin: &Origin) -> Result<TcpStream, Fault> {
        let failed = |error: hyper::Error| Fault::Connect(format!("the proxy gave no tunnel: {error}"));
        let (mut sender, connection) =
            Builder::new().max_buf_size(MAX_HEAD).handshake(TokioIo::new(tcp)).await.map_err(failed)?;
        let request = self.connect_request(origin)?;
        let exchange = async {
            let answer = sender.send_request(request).await.map_err(failed)?;
            match answer.status() {
                status if status.is_success() => hyper::upgrade::on(answer).await.map_err(failed),
                http::StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
                    Err(Fault::Credentials("the proxy refuses the credentials (407)".to_owned()))
                }
                status => Err(Fault::Connect(format!("the proxy gave no tunnel: it answered {status}"))),
            }
        };
        let drive = async {
            // How it ended, the exchange hears.
            connection.with_upgrades().await.ok();
            std::future::pending::<Infallible>().await
        };
        let upgraded = tokio::select! {
            biased;
            upgraded = exchange => upgraded?,
            never = drive => match never {},
        };
        match upgraded.downcast::<TokioIo<TcpStream>>() {
            Ok(parts) if parts.read_buf.is_empty() => Ok(parts.io.into_inner()),
            Ok(_) | Err(_) => Err(Fault::Protocol("the proxy spoke before the receiver could".to_owned())),
        }
    }

    fn connect_request(&self, origin: &Origin) -> Result<Request<Empty<Bytes>>, Fault> {
        let authority = format!("{}:{}", origin.host, origin.port);
        let uncallable =
            |error: &dyn fmt::Display| Fault::Connect(format!("no tunnel can be asked for: {error}"));
        let uri = Uri::builder().authority(authority.as_str()).build().map_err(|error| uncallable(&error))?;
        let host = HeaderValue::try_from(authority).map_err(|error| uncallable(&error))?;
        let mut request = Request::new(Empty::new());
        *request.method_mut() = Method::CONNECT;
        *request.uri_mut() = uri;
        request.headers_mut().insert(HOST, host);
        if let Some(credentials) = &self.credentials {
            request.headers_mut().insert(PROXY_AUTHORIZATION, credentials.clone());
        }
        Ok(request)
    }
}

fn in_the_file() -> Problem {
    Problem::at("", "credentials do not stand in the file").help("write http://USER:${secret:NAME}@HOST:PORT")
}

/// User and password of a text, where a `:` of a reference is none between them.
fn parts(user_info: &str) -> (&str, Option<&str>) {
    let mut inside = false;
    for (at, c) in user_info.char_indices() {
        match c {
            '{' => inside = true,
            '}' => inside = false,
            ':' if !inside => return (user_info.get(..at).unwrap_or(""), user_info.get(at + 1..)),
            _ => {}
        }
    }
    (user_info, None)
}

fn decoded(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

/// The value of `proxy-authorization`; `None` where it cannot be one.
fn basic(user: &str, password: &str) -> Option<HeaderValue> {
    if user.contains(':') {
        return None;
    }
    let mut value = header_value(format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))).into())?;
    value.set_sensitive(true);
    Some(value)
}
