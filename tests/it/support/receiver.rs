//! The receiver of webhooks: an HTTP/1.1 server on loopback whose answer to each request is decided by a script, and
//! which writes L3.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::support::ledger::{Arrival, hash};
use crate::support::load;
use crate::support::run::{Run, pause};
use crate::support::secured::Authority;

/// What a script does with one request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reply {
    /// 0 = none: the connection is closed without an answer.
    pub(crate) status: u16,
    pub(crate) delay: Duration,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Bytes,
    /// Never answers.
    pub(crate) hang: bool,
}

/// An answer with a status, at once.
pub(crate) fn status(status: u16) -> Reply {
    Reply { status, ..Reply::default() }
}

impl Reply {
    /// The same, later.
    pub(crate) fn after(self, delay: Duration) -> Reply {
        Reply { delay, ..self }
    }
}

/// What the script sees: the request, and how many requests for the same record there were before.
#[derive(Debug)]
pub(crate) struct Seen<'a> {
    pub(crate) arrival: &'a Arrival,
    pub(crate) before: usize,
}

type Script = dyn Fn(Seen<'_>) -> Reply + Send + Sync;

/// A running receiver; it ends when dropped.
#[derive(Debug)]
pub(crate) struct Receiver {
    scheme: &'static str,
    address: SocketAddr,
    ledger: Arc<Ledger>,
    count: watch::Receiver<Count>,
    _tasks: JoinSet<()>,
}

/// How far it has come.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    requests: usize,
    /// Different records of the load with an accepted answer.
    accepted: usize,
}

/// L3, and what is looked up in it at each request.
#[derive(Default)]
struct Book {
    arrivals: Vec<Arrival>,
    before: HashMap<(Option<usize>, String), usize>,
    accepted: HashSet<usize>,
}

struct Ledger {
    run: Run,
    /// Whether arrivals are kept.
    keeps: bool,
    script: Mutex<Arc<Script>>,
    book: Mutex<Book>,
    count: watch::Sender<Count>,
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").finish_non_exhaustive()
    }
}

impl Receiver {
    /// Listens on a port of loopback that was free.
    pub(crate) async fn start(
        run: &Run,
        script: impl Fn(Seen<'_>) -> Reply + Send + Sync + 'static,
    ) -> Receiver {
        Receiver::start_at(run, "127.0.0.1", script).await
    }

    /// The same; it keeps no arrivals, for loads that would fill the memory. Its script sees each request as a first one.
    /// On this port, or on one that was free (0).
    pub(crate) async fn forgetful(
        run: &Run,
        port: u16,
        script: impl Fn(Seen<'_>) -> Reply + Send + Sync + 'static,
    ) -> Receiver {
        Receiver::listen(run, ("127.0.0.1", port), None, false, script).await
    }

    /// The same on another address of loopback.
    pub(crate) async fn start_at(
        run: &Run,
        ip: &str,
        script: impl Fn(Seen<'_>) -> Reply + Send + Sync + 'static,
    ) -> Receiver {
        Receiver::listen(run, (ip, 0), None, true, script).await
    }

    /// The same over TLS, on 127.0.0.1, with a certificate of this authority.
    pub(crate) async fn sealed(
        run: &Run,
        authority: &Authority,
        script: impl Fn(Seen<'_>) -> Reply + Send + Sync + 'static,
    ) -> Receiver {
        Receiver::listen(run, ("127.0.0.1", 0), Some(authority.server()), true, script).await
    }

    async fn listen(
        run: &Run,
        at: (&str, u16),
        tls: Option<TlsAcceptor>,
        keeps: bool,
        script: impl Fn(Seen<'_>) -> Reply + Send + Sync + 'static,
    ) -> Receiver {
        let listener = TcpListener::bind(at).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, count) = watch::channel(Count::default());
        let script: Arc<Script> = Arc::new(script);
        let ledger = Arc::new(Ledger {
            run: run.clone(),
            keeps,
            script: Mutex::new(script),
            book: Mutex::default(),
            count: sender,
        });
        let mut tasks = JoinSet::new();
        let scheme = if tls.is_some() { "https" } else { "http" };
        tasks.spawn(accept(listener, tls, ledger.clone()));
        Receiver { scheme, address, ledger, count, _tasks: tasks }
    }

    /// Its URL, with a first path segment.
    pub(crate) fn url(&self) -> String {
        format!("{}://{}/hook", self.scheme, self.address)
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// From now on another script decides.
    pub(crate) fn script(&self, script: impl Fn(Seen<'_>) -> Reply + Send + Sync + 'static) {
        *self.ledger.script.lock().unwrap() = Arc::new(script);
    }

    /// L3 until now, in the order of arrival.
    pub(crate) fn arrivals(&self) -> Vec<Arrival> {
        let mut arrivals = self.ledger.book.lock().unwrap().arrivals.clone();
        arrivals.retain(|arrival| !arrival.is_bare());
        arrivals
    }

    /// The requests without a record until now.
    pub(crate) fn bare(&self) -> Vec<Arrival> {
        let mut arrivals = self.ledger.book.lock().unwrap().arrivals.clone();
        arrivals.retain(Arrival::is_bare);
        arrivals
    }

    /// How many different records of the load have been accepted.
    pub(crate) fn accepted(&self) -> usize {
        self.count.borrow().accepted
    }

    /// Waits until there have been so many requests.
    pub(crate) async fn wait_for(&self, requests: usize, bound: Duration) {
        self.wait(bound, |count| count.requests >= requests).await;
    }

    /// Waits until so many different records of the load have been accepted.
    pub(crate) async fn wait_for_accepted(&self, records: usize, bound: Duration) {
        self.wait(bound, |count| count.accepted >= records).await;
    }

    async fn wait(&self, bound: Duration, reached: impl Fn(&Count) -> bool) {
        let mut count = self.count.clone();
        let waited = tokio::time::timeout(bound, count.wait_for(reached)).await.is_ok();
        assert!(waited, "the receiver did not come far enough within {bound:?}: {:?}", *self.count.borrow());
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, ledger: Arc<Ledger>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        drop(stream.set_nodelay(true));
        let (tls, ledger) = (tls.clone(), ledger.clone());
        connections.spawn(async move {
            match tls {
                None => serve(stream, &ledger).await,
                // Without an agreement there is no request, and that is what its ledger says.
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        serve(stream, &ledger).await;
                    }
                }
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, ledger: &Ledger) {
    let service = service_fn(|request| answer(request, ledger));
    // An error is a peer that went away: it is in the ledger as a request without an end.
    drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
}

/// No answer: hyper closes the connection.
#[derive(Debug)]
struct Closed;

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("closed by the script")
    }
}

impl std::error::Error for Closed {}

async fn answer(request: Request<Incoming>, ledger: &Ledger) -> Result<Response<Full<Bytes>>, Closed> {
    let start = ledger.run.now();
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Closed)?.to_bytes();
    let header = |name: &str| {
        head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    };
    let read = load::read(&body);
    let arrival = Arrival {
        start,
        method: head.method.to_string(),
        uid: read.map(|read| read.uid),
        key: read.map_or(0, |read| read.key),
        seq: read.map_or(0, |read| read.seq),
        hash: hash(&body),
        attempt: header("weir-attempt").parse().unwrap_or_default(),
        webhook_id: header("webhook-id"),
        event: header("weir-event"),
        target: head.uri.to_string(),
        headers: head
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect(),
        body,
        ..Arrival::default()
    };
    let script = ledger.script.lock().unwrap().clone();
    let subject = (arrival.uid, if arrival.uid.is_some() { String::new() } else { arrival.event.clone() });
    let uid = arrival.uid;
    let (index, reply) = if !ledger.keeps {
        (None, script(Seen { arrival: &arrival, before: 0 }))
    } else {
        let mut book = ledger.book.lock().unwrap();
        let requests = book.before.entry(subject).or_default();
        let before = std::mem::replace(requests, *requests + 1);
        let reply = script(Seen { arrival: &arrival, before });
        book.arrivals.push(arrival);
        (Some(book.arrivals.len() - 1), reply)
    };
    ledger.count.send_modify(|count| count.requests += 1);
    if reply.hang {
        std::future::pending::<()>().await;
    }
    if !reply.delay.is_zero() {
        pause(reply.delay).await;
    }
    if reply.status == 0 {
        return Err(Closed);
    }
    let mut response = Response::builder().status(reply.status);
    for (name, value) in &reply.headers {
        response = response.header(*name, value);
    }
    let response = response.body(Full::new(reply.body)).unwrap();
    // Written down before the first byte goes out: whoever has seen the answer finds it here.
    let mut book = ledger.book.lock().unwrap();
    if let Some(arrival) = index.and_then(|index| book.arrivals.get_mut(index)) {
        arrival.status = Some(reply.status);
        arrival.end = Some(ledger.run.now());
    }
    if let Some(uid) = uid.filter(|_| (200..300).contains(&reply.status)) {
        book.accepted.insert(uid);
    }
    let accepted = book.accepted.len();
    drop(book);
    ledger.count.send_modify(|count| count.accepted = accepted);
    Ok(response)
}
