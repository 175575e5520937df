//! The scripted receiver's server: HTTP/1.1 by hyper, with what a framework would not do: resets, closes, bodies that
//! trickle.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::Sender;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::script::{self, Answer, Instead, Script};
use super::seen::{Hidden, Seen, Signature};
use crate::handler::webhook::Verifier;

/// How many records' requests are counted; beyond, the count starts anew.
const REMEMBERED: usize = 100_000;
/// The longest body that is read.
const BODY_LIMIT: usize = 10 << 20;
/// A body that trickles is sent in so many parts a second.
const PARTS: u64 = 10;

/// What answers.
pub(super) struct Receiver {
    pub(super) script: Script,
    pub(super) verifier: Option<Verifier>,
    /// What is not shown.
    pub(super) hidden: Hidden,
    /// Who is told of each request.
    pub(super) told: Sender<Seen>,
    pub(super) counts: Mutex<HashMap<String, u32>>,
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Answers until `stop`; what is under way then is cut.
pub(super) async fn serve(listener: TcpListener, receiver: Arc<Receiver>, stop: CancellationToken) {
    let connections = TaskTracker::new();
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        let Ok((stream, _)) = accepted else { continue };
        let connection = connection(stream, Arc::clone(&receiver));
        connections.spawn(stop.clone().run_until_cancelled_owned(connection));
    }
    connections.close();
    connections.wait().await;
}

async fn connection(stream: TcpStream, receiver: Arc<Receiver>) {
    let reset = Arc::new(AtomicBool::new(false));
    let wire = Wire { stream, reset: Arc::clone(&reset) };
    let service = service_fn(|request| answer(&receiver, request, &reset));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new());
    // How a connection ends is what the script is about.
    builder.serve_connection(TokioIo::new(wire), service).await.ok();
}

async fn answer(
    receiver: &Receiver,
    request: Request<Incoming>,
    reset: &AtomicBool,
) -> Result<Response<Body>, io::Error> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, BODY_LIMIT).collect().await;
    let Ok(body) = body.map(http_body_util::Collected::to_bytes) else {
        return Ok(response(StatusCode::PAYLOAD_TOO_LARGE, full(Bytes::new())));
    };
    let id = head.headers.get("webhook-id").and_then(|id| id.to_str().ok()).unwrap_or("").to_owned();
    let attempt = receiver.count(&id);
    let signature = Signature::of(receiver.verifier.as_ref(), &head.headers, &body);
    let asked = script::Request {
        method: head.method.as_str(),
        path: head.uri.path(),
        id: &id,
        attempt,
        body: &body,
    };
    let scripted = receiver.script.answer(asked);
    let (index, scripted) = scripted.map_or((None, None), |(index, answer)| (Some(index), Some(answer)));
    let status = match (signature, scripted) {
        (Signature::Bad, _) => 400,
        (_, Some(answer)) => answer.status,
        (_, None) => 200,
    };
    let instead = scripted.and_then(|answer| answer.instead).filter(|_| signature != Signature::Bad);
    let seen = Seen::new(
        (&head, &body),
        &receiver.hidden,
        attempt,
        signature,
        instead.map_or(Ok(status), Err),
        index,
    );
    // The receiver of these lines is gone only when the program ends.
    receiver.told.send(seen).await.ok();
    if signature == Signature::Bad {
        return Ok(response(
            StatusCode::BAD_REQUEST,
            full(Bytes::from_static(b"the signature does not fit")),
        ));
    }
    let Some(scripted) = scripted else { return Ok(response(StatusCode::OK, full(Bytes::new()))) };
    tokio::time::sleep(scripted.after.0).await;
    match instead {
        Some(Instead::Hang) => std::future::pending().await,
        Some(Instead::Reset) => {
            reset.store(true, Ordering::Relaxed);
            Err(io::Error::other("the script resets"))
        }
        Some(Instead::Close) => Err(io::Error::other("the script closes")),
        None => Ok(scripted_response(scripted)),
    }
}

fn scripted_response(answer: &Answer) -> Response<Body> {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let (bytes, kind) = match &answer.body {
        None => (Bytes::new(), None),
        Some(serde_json::Value::String(text)) => {
            (Bytes::from(text.clone()), Some("text/plain; charset=utf-8"))
        }
        Some(value) => (Bytes::from(value.to_string()), Some("application/json")),
    };
    let length = bytes.len();
    let body = match answer.slow {
        Some(rate) => trickle(bytes, rate.0),
        None => full(bytes),
    };
    let mut response = response(status, body);
    let headers = response.headers_mut();
    if let Some(kind) = kind {
        headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    if answer.slow.is_some() {
        headers.insert(http::header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    for (name, value) in &answer.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    }
    response
}

fn response(status: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

fn full(bytes: Bytes) -> Body {
    Full::new(bytes).boxed_unsync()
}

/// So many bytes a second, in ten parts.
fn trickle(bytes: Bytes, rate: u64) -> Body {
    let part = usize::try_from((rate / PARTS).max(1)).unwrap_or(usize::MAX);
    let every = Duration::from_secs(1) / u32::try_from(rate.clamp(1, PARTS)).unwrap_or(1);
    let parts = stream::unfold(bytes, move |mut left| async move {
        if left.is_empty() {
            return None;
        }
        tokio::time::sleep(every).await;
        let part = left.split_to(part.min(left.len()));
        Some((Ok::<_, Infallible>(Frame::data(part)), left))
    });
    BodyExt::boxed_unsync(StreamBody::new(parts))
}

impl Receiver {
    /// The number of this request of a record, from 1.
    fn count(&self, id: &str) -> u32 {
        if id.is_empty() {
            return 1;
        }
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= REMEMBERED && !counts.contains_key(id) {
            counts.clear();
        }
        let count = counts.entry(id.to_owned()).or_default();
        *count += 1;
        *count
    }
}

/// A connection that can end with a RST.
struct Wire {
    stream: TcpStream,
    reset: Arc<AtomicBool>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.reset.load(Ordering::Relaxed) {
            // Refused by the system, it is a close in good order: also an end.
            self.stream.set_zero_linger().ok();
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.reset.load(Ordering::Relaxed) {
            // A shutdown would send a FIN before the RST.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
