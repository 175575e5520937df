//! A scripted receiver on loopback, and handlers and events to send to it.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::compile::compile;
use super::{Context, Spec, Webhook};
use crate::event::{Body, Event, Header, Origin, Topic};
use crate::handler::egress::{self, Egress};
use crate::handler::{Call, Handler, Notes};
use crate::outcome::{Answer, Failure};
use crate::settings::References;

/// What the receiver does next on a connection.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Reads one whole request.
    Read,
    /// Writes bytes.
    Write(Vec<u8>),
    /// Writes until the peer is gone.
    WriteForEver(&'static [u8]),
    /// Waits for one [`Server::go`].
    WaitForGo,
    /// Does nothing until the test ends.
    Hang,
    /// Breaks the connection with a RST.
    Reset,
    /// Closes it. Also at the end of a script.
    Close,
}

/// One answer and nothing else, connection kept.
pub(super) fn serve(answer: &str) -> Vec<Step> {
    (0..100).flat_map(|_| [Step::Read, Step::Write(answer.as_bytes().to_vec())]).collect()
}

pub(super) const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// A receiver: every connection plays the script of its number, the last script again for all others.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    stop: CancellationToken,
    seen: Arc<Seen>,
}

#[derive(Debug)]
struct Seen {
    go: Semaphore,
    connections: AtomicUsize,
    closed: AtomicUsize,
    requests: Mutex<Vec<Vec<u8>>>,
}

impl Seen {
    fn new() -> Seen {
        Seen {
            go: Semaphore::new(0),
            connections: AtomicUsize::new(0),
            closed: AtomicUsize::new(0),
            requests: Mutex::default(),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Server {
    pub(super) async fn start(scripts: Vec<Vec<Step>>) -> Server {
        Server::start_at("127.0.0.1:0", scripts).await
    }

    pub(super) async fn start_at(address: &str, scripts: Vec<Vec<Step>>) -> Server {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, seen) = (CancellationToken::new(), Arc::new(Seen::new()));
        let server = Server { address, stop: stop.clone(), seen: Arc::clone(&seen) };
        let tasks = TaskTracker::new();
        tasks.clone().spawn(stop.clone().run_until_cancelled_owned(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let number = seen.connections.fetch_add(1, Ordering::SeqCst);
                let script = scripts.get(number).or(scripts.last()).unwrap().clone();
                let play = play(stream, script, Arc::clone(&seen));
                tasks.spawn(stop.clone().run_until_cancelled_owned(play));
            }
        }));
        server
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(super) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    pub(super) fn requests(&self) -> Vec<Vec<u8>> {
        self.seen.requests.lock().unwrap().clone()
    }

    /// Lets one connection go on.
    pub(super) fn go(&self) {
        self.seen.go.add_permits(1);
    }

    /// Waits until the receiver has closed so many connections, and this side has been told.
    pub(super) async fn closed(&self, count: usize) {
        while self.seen.closed.load(Ordering::SeqCst) < count {
            tokio::task::yield_now().await;
        }
        // The driver is polled at least every 61 turns of the scheduler.
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
    }
}

async fn play(mut stream: TcpStream, script: Vec<Step>, seen: Arc<Seen>) {
    for step in script {
        match step {
            Step::Read => match read_request(&mut stream).await {
                Some(request) => seen.requests.lock().unwrap().push(request),
                None => break,
            },
            Step::Reset => {
                stream.set_zero_linger().unwrap();
                break;
            }
            Step::Close => break,
            Step::WaitForGo => seen.go.acquire().await.unwrap().forget(),
            other => write(&mut stream, other).await,
        }
    }
    drop(stream);
    seen.closed.fetch_add(1, Ordering::SeqCst);
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), step: Step) {
    match step {
        Step::Write(bytes) => drop(stream.write_all(&bytes).await),
        Step::WriteForEver(bytes) => while stream.write_all(bytes).await.is_ok() {},
        Step::Hang => std::future::pending().await,
        Step::Read | Step::WaitForGo | Step::Reset | Step::Close => unreachable!("played by the caller"),
    }
}

/// Head and body; `None` where the peer closed before.
pub(super) async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    loop {
        if let Some(head) = all.windows(4).position(|w| w == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&all[..head]).to_lowercase();
            let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
            if all.len() >= head + 4 + length.parse::<usize>().unwrap() {
                return Some(all);
            }
        }
        if stream.read_buf(&mut all).await.ok()? == 0 {
            return None;
        }
    }
}

/// A header of a request as it was written.
pub(super) fn header<'a>(request: &'a str, name: &str) -> Option<&'a str> {
    request.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// Egress of the default profile, with names that resolve as the test says.
pub(super) fn egress(spec: &Value, names: &[(&str, &[&str])]) -> Egress {
    let spec: egress::Spec = serde_json::from_value(spec.clone()).unwrap();
    let mut egress = Egress::new(&spec, &[]).unwrap();
    let ips = |ips: &[&str]| ips.iter().map(|ip| ip.parse::<IpAddr>().unwrap()).collect();
    let names = names.iter().map(|(name, list)| ((*name).to_owned(), ips(list)));
    egress.names = Mutex::new(names.collect::<HashMap<_, _>>());
    egress
}

/// A handler for `url` with more keys of the block.
pub(super) fn webhook(url: &str, keys: &Value) -> Webhook {
    webhook_by(url, keys, egress(&json!({}), &[]))
}

pub(super) fn webhook_by(url: &str, keys: &Value, egress: Egress) -> Webhook {
    let mut block = json!({ "url": url, "timeout": "5s" });
    block.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    let spec: Spec = serde_json::from_value(block).unwrap();
    compile(&spec, &context(egress), &references()).unwrap()
}

pub(super) fn context(egress: Egress) -> Context {
    Context {
        service: "order-billing".into(),
        identity: "order-billing".into(),
        revision: "r1".into(),
        max_in_flight: 8,
        reads_answer: false,
        folder: Arc::from(std::path::Path::new("")),
        egress: Arc::new(egress),
        transport: None,
    }
}

pub(super) fn references() -> References {
    let secrets = [
        ("sign".to_owned(), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned()),
        ("token".to_owned(), "c4n4ry".to_owned()),
        ("broken".to_owned(), "c4n4ry\n".to_owned()),
    ];
    References { secrets: secrets.into(), ..References::default() }
}

/// An event with these bytes as its value.
pub(super) fn event(value: &[u8], headers: &[(&'static str, &[u8])]) -> Event {
    let topic = Topic { cluster: "c".into(), name: "shop.orders.v1".into(), id: None };
    let header = |(name, value): &(&'static str, &[u8])| Header {
        name: Bytes::from_static(name.as_bytes()),
        value: Some(Bytes::copy_from_slice(value)),
    };
    Event {
        origin: Origin { topic: Arc::new(topic), partition: 3, offset: 184_467, timestamp: None },
        key: None,
        headers: headers.iter().map(header).collect(),
        body: Body::Raw(Some(Bytes::copy_from_slice(value))),
        part: 0,
    }
}

/// One attempt at an event.
pub(super) async fn attempt(handler: &Webhook, event: &Event) -> Result<Answer, Failure> {
    let call = Call { event, attempt: 1, id: None, give_up_at: None, alone: false, notes: Notes::default() };
    handler.attempt(&[call]).await.remove(0)
}
