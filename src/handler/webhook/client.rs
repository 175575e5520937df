//! One request over one connection of HTTP/1.1. The connection is driven by the attempt's own task, together with the request: no
//! task and no channel between two threads stand in the way. Between two requests it rests in the pool.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, Response};
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::time::Sleep;

use super::classify::{Fault, Phase};
use super::connect::{Limits, Metered, Traffic};
use crate::outcome::{Answer, BodyEnd};

/// The head of an answer is at most this long.
const MAX_HEAD: usize = 32 << 10;
/// How long a connection may rest.
pub(super) const MAX_REST: Duration = Duration::from_secs(90);

/// An open connection.
pub(super) struct Live {
    sender: SendRequest<Full<Bytes>>,
    connection: Connection<TokioIo<Metered>, Full<Bytes>>,
    /// The connection has ended and is not polled again.
    ended: bool,
    traffic: Arc<Traffic>,
    /// The last interim status (1xx) that came; 0 before one.
    interim: Arc<AtomicU16>,
    /// Kept from request to request: moving a timer further costs no lock.
    timer: Pin<Box<Sleep>>,
    /// Whether it has carried a request before.
    pub(super) reused: bool,
    /// When it came to rest.
    pub(super) since: Instant,
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("reused", &self.reused).finish_non_exhaustive()
    }
}

/// What became of a request.
#[derive(Debug)]
pub(super) enum Exchange {
    /// The head of an answer came.
    Answered(Answer),
    /// The peer has seen nothing of the request, or has refused to look at it; the request, where it is still whole.
    Unwritten(Option<Request<Full<Bytes>>>),
    /// There is no answer.
    Failed(Fault),
}

/// What bounds one exchange.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds<'a> {
    pub(super) limits: &'a Limits,
    /// When it began.
    pub(super) start: Instant,
    /// When all must be over.
    pub(super) deadline: Instant,
    /// How much of the answer's body is kept.
    pub(super) max_response: usize,
}

impl Live {
    /// Makes HTTP/1.1 of a stream.
    pub(super) async fn open(stream: Metered, now: Instant) -> Result<Box<Live>, Fault> {
        let traffic = stream.traffic();
        let handshake = Builder::new()
            .max_buf_size(MAX_HEAD)
            .max_header_size(MAX_HEAD)
            .handshake(TokioIo::new(stream))
            .await;
        let (sender, connection) = handshake.map_err(|error| Fault::Connect(error.to_string()))?;
        let timer = Box::pin(tokio::time::sleep_until(now.into()));
        let interim = Arc::default();
        Ok(Box::new(Live {
            sender,
            connection,
            ended: false,
            traffic,
            interim,
            timer,
            reused: false,
            since: now,
        }))
    }

    /// Sends a request now, at `from`, and reads the answer.
    pub(super) async fn exchange(
        &mut self,
        mut request: Request<Full<Bytes>>,
        from: Instant,
        bounds: Bounds<'_>,
    ) -> Exchange {
        let interim = Arc::clone(&self.interim);
        interim.store(0, Ordering::Relaxed);
        hyper::ext::on_informational(&mut request, move |answer| {
            interim.store(answer.status().as_u16(), Ordering::Relaxed);
        });
        let before = self.traffic.written();
        let first_byte = from + bounds.limits.first_byte;
        let body_length = request.body().size_hint().lower();
        self.timer.as_mut().reset(first_byte.min(bounds.deadline).into());
        // The response can only become ready while the connection is polled, by this same task. So its wake-ups are not
        // needed, and the task's budget is charged by the socket alone.
        let mut response = pin!(tokio::task::unconstrained(self.sender.try_send_request(request)));
        let head = poll_fn(|cx| {
            let ended = self.drive(cx);
            if let Poll::Ready(result) = response.as_mut().poll(&mut quiet()) {
                return Poll::Ready(Some(result));
            }
            // It has ended and said nothing of the request, or time is up.
            if ended || self.timer.as_mut().poll(cx).is_ready() { Poll::Ready(None) } else { Poll::Pending }
        })
        .await;
        let written = self.traffic.written() - before;
        match head {
            Some(Ok(response)) => Exchange::Answered(self.read(response, bounds).await),
            Some(Err(_)) | None if let Some(refusal) = self.traffic.refusal() => {
                Exchange::Failed(Fault::Tls(refusal.to_owned()))
            }
            Some(Err(mut error)) => match error.take_message() {
                Some(request) => Exchange::Unwritten(Some(request)),
                None if written == 0 => Exchange::Unwritten(None),
                None => {
                    let error = error.into_error();
                    let lone = self.lone_interim().filter(|_| error.is_incomplete_message());
                    lone.map_or_else(|| Exchange::Failed(fault(&error)), Exchange::Answered)
                }
            },
            None if self.ended && written == 0 => Exchange::Unwritten(None),
            None if self.ended
                && let Some(lone) = self.lone_interim() =>
            {
                Exchange::Answered(lone)
            }
            None if self.ended => Exchange::Failed(Fault::Reset("the connection ended".to_owned())),
            None => {
                let limits = bounds.limits;
                let limit = if first_byte < bounds.deadline { limits.first_byte } else { limits.total };
                let phase = if written <= body_length { Phase::Write } else { Phase::FirstByte };
                Exchange::Failed(Fault::Timeout(phase, limit))
            }
        }
    }

    /// The interim answer that was all there came before the peer closed the connection in good order. A part of another
    /// head behind it is none: that one broke off.
    fn lone_interim(&self) -> Option<Answer> {
        let status = self.interim.load(Ordering::Relaxed);
        let body_end = BodyEnd::Complete;
        (status != 0 && self.traffic.ends_a_head()).then(|| Answer {
            status,
            headers: Vec::new(),
            body: Bytes::new(),
            body_end,
        })
    }

    /// Whether another request may follow.
    pub(super) fn is_reusable(&mut self) -> bool {
        if !self.ended && !self.sender.is_ready() {
            self.drive(&mut quiet());
        }
        !self.ended && self.sender.is_ready()
    }

    /// Whether the peer has closed it while it rested.
    pub(super) fn is_closed(&mut self) -> bool {
        self.drive(&mut quiet())
    }

    /// Polls the connection; true when it has ended. Why it did, the request hears from it.
    fn drive(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.ended {
            self.ended = Pin::new(&mut self.connection).poll(cx).is_ready();
        }
        self.ended
    }

    async fn read(&mut self, response: Response<Incoming>, bounds: Bounds<'_>) -> Answer {
        let (head, body) = response.into_parts();
        if body.is_end_stream() {
            return answer(head.status.as_u16(), &head.headers, Bytes::new(), BodyEnd::Complete);
        }
        self.timer.as_mut().reset(bounds.deadline.into());
        let (bytes, end) = self.read_body(body, bounds.max_response).await;
        answer(head.status.as_u16(), &head.headers, bytes, end)
    }

    async fn read_body(&mut self, mut body: Incoming, max: usize) -> (Bytes, BodyEnd) {
        let mut kept = BytesMut::new();
        let end = poll_fn(|cx| {
            // Once the connection has been polled and no frame has followed, there is none before the next wake-up.
            let mut driven = false;
            loop {
                match Pin::new(&mut body).poll_frame(&mut quiet()) {
                    Poll::Ready(None) => return Poll::Ready(BodyEnd::Complete),
                    Poll::Ready(Some(Err(_))) => return Poll::Ready(BodyEnd::BrokenOff),
                    Poll::Ready(Some(Ok(frame))) => {
                        let Ok(data) = frame.into_data() else { continue };
                        let room = max - kept.len();
                        kept.extend_from_slice(data.get(..room.min(data.len())).unwrap_or(&data));
                        if data.len() > room {
                            return Poll::Ready(BodyEnd::TooLong);
                        }
                        driven = false;
                    }
                    Poll::Pending if !driven => {
                        driven = true;
                        self.drive(cx);
                    }
                    Poll::Pending if self.ended => return Poll::Ready(BodyEnd::BrokenOff),
                    Poll::Pending => {
                        return self.timer.as_mut().poll(cx).map(|()| BodyEnd::BrokenOff);
                    }
                }
            }
        })
        .await;
        (kept.freeze(), end)
    }
}

pub(super) fn quiet() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

pub(super) fn answer(status: u16, headers: &HeaderMap, body: Bytes, end: BodyEnd) -> Answer {
    let length = headers.values().map(http::HeaderValue::len).sum();
    let mut values = BytesMut::with_capacity(length);
    let mut out = Vec::with_capacity(headers.len());
    for (name, value) in headers {
        values.extend_from_slice(value.as_bytes());
        out.push((name.as_str().to_owned(), values.split().freeze()));
    }
    let encoded = headers
        .get(http::header::CONTENT_ENCODING)
        .is_some_and(|value| !value.is_empty() && value.as_bytes() != b"identity");
    let body_end = if encoded && !body.is_empty() { BodyEnd::Encoded } else { end };
    Answer { status, headers: out, body, body_end }
}

fn fault(error: &hyper::Error) -> Fault {
    let mut words = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        words.push_str(": ");
        words.push_str(&cause.to_string());
        source = cause.source();
    }
    // What is parsed and is not HTTP, too long a head included.
    if error.is_parse() { Fault::Protocol(words) } else { Fault::Reset(words) }
}
