//! A connection that requests share: HTTP/2. A task of its own drives it, as no single attempt could: it answers the peer's
//! pings and hears its farewell while nobody asks for anything. It ends with the last handle, or with the pool.
//!
//! Source: RFC 9113, sections 6.8 and 8.7: what the peer has refused it has not looked at.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use h2::client::{Builder, Connection, ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::uri::{Authority, Parts, Scheme};
use http::{Request, Uri, Version};
use http_body_util::Full;
use hyper::body::Body as _;
use tokio::time::timeout_at;

use super::classify::{Fault, Phase};
use super::client::{Bounds, Exchange, answer, quiet};
use super::connect::{Metered, Origin, Traffic};
use crate::outcome::BodyEnd;
use crate::telemetry::clock;

/// Bytes of answers that may be on their way at once over one connection.
const WINDOW: u32 = 1 << 20;
/// A header list as HTTP/2 counts it, with 32 bytes for each field.
const MAX_LIST: u32 = 48 << 10;

/// A handle of the connection.
#[derive(Clone)]
pub(super) struct Shared {
    sender: SendRequest<Bytes>,
    traffic: Arc<Traffic>,
    /// A request had no answer in time: perhaps nobody is there any more.
    worn: Arc<AtomicBool>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("worn", &self.worn).finish_non_exhaustive()
    }
}

impl Shared {
    /// Makes HTTP/2 of a stream. The connection is the caller's to drive.
    pub(super) async fn open(stream: Metered) -> Result<(Shared, Connection<Metered, Bytes>), Fault> {
        let traffic = stream.traffic();
        let handshake = Builder::new()
            .enable_push(false)
            .initial_connection_window_size(WINDOW)
            .max_header_list_size(MAX_LIST)
            .handshake(stream)
            .await;
        let (sender, connection) = handshake.map_err(|error| Fault::Connect(error.to_string()))?;
        Ok((Shared { sender, traffic, worn: Arc::default() }, connection))
    }

    /// Whether it takes no more requests: closed, told to go away, or worn out.
    pub(super) fn is_gone(&mut self) -> bool {
        self.worn.load(Ordering::Relaxed)
            || matches!(self.sender.poll_ready(&mut quiet()), Poll::Ready(Err(_)))
    }

    /// Sends a request and reads the answer. The peer bounds the requests at once; one that waits for its turn waits until
    /// the deadline.
    pub(super) async fn exchange(
        &self,
        origin: &Origin,
        request: Request<Full<Bytes>>,
        bounds: Bounds<'_>,
    ) -> Exchange {
        let (head, body) = match translate(origin, request) {
            Ok(both) => both,
            Err(why) => return Exchange::Failed(Fault::Protocol(why)),
        };
        let mut sender = self.sender.clone();
        let late = |phase, limit| Exchange::Failed(Fault::Timeout(phase, limit));
        let whole = bounds.limits.total;
        let deadline: tokio::time::Instant = bounds.deadline.into();
        match timeout_at(deadline, poll_fn(|cx| sender.poll_ready(cx))).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return self.unsent(&error),
            Err(_) => return late(Phase::Write, whole),
        }
        let (response, stream) = match sender.send_request(head, body.is_empty()) {
            Ok(both) => both,
            Err(error) => return self.unsent(&error),
        };
        let mut upload = Upload { stream, rest: body };
        // Ready again is what has begun, and also what has failed: then the response says why.
        if timeout_at(deadline, poll_fn(|cx| sender.poll_ready(cx))).await.is_err() {
            return late(Phase::Write, whole);
        }
        let first_byte = clock::now() + bounds.limits.first_byte;
        let until = first_byte.min(bounds.deadline);
        match timeout_at(until.into(), upload.until(response)).await {
            Ok(Ok(response)) => {
                let (head, body) = response.into_parts();
                let (bytes, end) = self.read(body, bounds.max_response, bounds.deadline).await;
                Exchange::Answered(answer(head.status.as_u16(), &head.headers, bytes, end))
            }
            Ok(Err(error)) => self.failed(&error),
            Err(_) => {
                self.worn.store(true, Ordering::Relaxed);
                let limit = if first_byte < bounds.deadline { bounds.limits.first_byte } else { whole };
                late(if upload.rest.is_empty() { Phase::FirstByte } else { Phase::Write }, limit)
            }
        }
    }

    async fn read(&self, mut body: RecvStream, max: usize, deadline: Instant) -> (Bytes, BodyEnd) {
        let mut kept = BytesMut::new();
        loop {
            let data = match timeout_at(deadline.into(), body.data()).await {
                Ok(Some(Ok(data))) => data,
                Ok(None) => return (kept.freeze(), BodyEnd::Complete),
                Ok(Some(Err(_))) => return (kept.freeze(), BodyEnd::BrokenOff),
                Err(_) => {
                    self.worn.store(true, Ordering::Relaxed);
                    return (kept.freeze(), BodyEnd::BrokenOff);
                }
            };
            let room = max - kept.len();
            kept.extend_from_slice(data.get(..room.min(data.len())).unwrap_or(&data));
            if data.len() > room {
                return (kept.freeze(), BodyEnd::TooLong);
            }
            // It fails where the stream has ended: then nothing more comes.
            body.flow_control().release_capacity(data.len()).unwrap_or_default();
        }
    }

    /// The request was never handed over.
    fn unsent(&self, error: &h2::Error) -> Exchange {
        let of_the_connection = error.is_io() || error.is_go_away() || error.reason().is_some();
        match self.traffic.refusal() {
            Some(refusal) => Exchange::Failed(Fault::Tls(refusal.to_owned())),
            None if of_the_connection => Exchange::Unwritten(None),
            None => Exchange::Failed(Fault::Protocol(error.to_string())),
        }
    }

    fn failed(&self, error: &h2::Error) -> Exchange {
        if let Some(refusal) = self.traffic.refusal() {
            return Exchange::Failed(Fault::Tls(refusal.to_owned()));
        }
        // A farewell fails only the requests that it names as not looked at.
        let refused =
            error.is_remote() && (error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM));
        Exchange::Failed(match error {
            _ if refused => return Exchange::Unwritten(None),
            _ if error.is_library() => Fault::Protocol(error.to_string()),
            _ => Fault::Reset(error.to_string()),
        })
    }
}

/// A body on its way, as fast as the peer takes it.
struct Upload {
    stream: SendStream<Bytes>,
    rest: Bytes,
}

impl Upload {
    /// Sends until there is a response.
    async fn until(&mut self, mut response: ResponseFuture) -> Result<http::Response<RecvStream>, h2::Error> {
        poll_fn(|cx| {
            self.push(cx);
            Pin::new(&mut response).poll(cx)
        })
        .await
    }

    fn push(&mut self, cx: &mut Context<'_>) {
        while !self.rest.is_empty() {
            self.stream.reserve_capacity(self.rest.len());
            // Where the stream has failed, the response says why.
            let Poll::Ready(Some(Ok(room))) = self.stream.poll_capacity(cx) else { return };
            let next = self.rest.split_to(room.min(self.rest.len()));
            if self.stream.send_data(next, self.rest.is_empty()).is_err() {
                return;
            }
        }
    }
}

/// A request as HTTP/2 has it: the whole URL, and no `host`.
fn translate(origin: &Origin, request: Request<Full<Bytes>>) -> Result<(Request<()>, Bytes), String> {
    let (mut head, mut body) = request.into_parts();
    let mut uri = Parts::default();
    uri.scheme = Some(if origin.https { Scheme::HTTPS } else { Scheme::HTTP });
    uri.authority =
        Some(Authority::try_from(origin.authority.as_bytes()).map_err(|error| error.to_string())?);
    uri.path_and_query = head.uri.path_and_query().cloned();
    head.uri = Uri::from_parts(uri).map_err(|error| error.to_string())?;
    head.version = Version::HTTP_2;
    head.headers.remove(http::header::HOST);
    // All of it is there: its only frame comes at once.
    let bytes = match Pin::new(&mut body).poll_frame(&mut quiet()) {
        Poll::Ready(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
        Poll::Ready(_) | Poll::Pending => Bytes::new(),
    };
    Ok((Request::from_parts(head, ()), bytes))
}
