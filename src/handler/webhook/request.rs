//! The request of one attempt, made without I/O: everything that decides what a receiver sees.
//!
//! Source: http-contract, sections 2 to 5 and 9.

use std::fmt::{self, Write as _};
use std::ops::Range;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use http_body_util::Full;
use vrl::value::Value;

use super::body::{BodyPlan, Sent, compress};
use super::cloudevent::{About, CloudEvents};
use super::connect::Origin;
use super::headers::{Headers, header_value, user_agent};
use super::sign::Signer;
use super::spec::Compress;
use super::url::{Target, UrlPlan};
use crate::event::{Body, Event, Trace, correlation_id, webhook_id};
use crate::handler::Call;
use crate::handler::egress::Egress;
use crate::outcome::{Code, Failure};
use crate::plan::expr::{Surroundings, View};

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
pub(super) const WEIR_ATTEMPT: HeaderName = HeaderName::from_static("weir-attempt");
const WEIR_EVENT: HeaderName = HeaderName::from_static("weir-event");
const WEIR_DEADLINE: HeaderName = HeaderName::from_static("weir-deadline");
const WEIR_TOMBSTONE: HeaderName = HeaderName::from_static("weir-tombstone");
pub(super) const WEIR_SENDER: HeaderName = HeaderName::from_static("weir-sender");
pub(super) const PREFER: HeaderName = HeaderName::from_static("prefer");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const CORRELATION: HeaderName = HeaderName::from_static("x-correlation-id");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// All headers of a request together are at most this long.
const MAX_HEADERS: usize = 16 << 10;

/// What is the same for every request of a stage.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) method: Method,
    pub(super) url: UrlPlan,
    pub(super) headers: Headers,
    pub(super) body: BodyPlan,
    pub(super) cloudevents: Option<CloudEvents>,
    pub(super) signer: Option<Signer>,
    pub(super) compress: Option<Compress>,
    pub(super) identity: String,
    pub(super) idempotency_key: bool,
}

/// A request, and where it goes.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) origin: Arc<Origin>,
    pub(super) request: Request<Full<Bytes>>,
    /// The URL without query, for people.
    pub(super) shown: Arc<str>,
}

/// What each request says of its attempt.
pub(super) struct Attempt<'a> {
    pub(super) id: String,
    /// `topic/partition/offset`; of a batch the first one's.
    pub(super) event: &'a dyn fmt::Display,
    /// Writes the span of this attempt.
    pub(super) trace: &'a dyn Fn(&mut String),
    /// Its number; of a batch the highest.
    pub(super) number: u32,
    /// When `give_up_after` ends; of a batch the earliest.
    pub(super) give_up_at: Option<SystemTime>,
    /// When it is made.
    pub(super) now: SystemTime,
}

/// What a request is made of.
pub(super) struct Content {
    pub(super) target: Target,
    /// The body, and its type where there is one.
    pub(super) body: Bytes,
    pub(super) media_type: Option<HeaderValue>,
    /// Headers that nothing of the file takes the place of.
    pub(super) headers: HeaderMap,
    /// What the file asks for, from the record.
    pub(super) asked: Vec<(HeaderName, HeaderValue)>,
}

impl Plan {
    /// Makes the request of one attempt at `now`. Fails with class `Invalid` where the record is at fault.
    pub(super) fn prepare(
        &self,
        call: &Call<'_>,
        egress: &Egress,
        now: SystemTime,
    ) -> Result<Prepared, Failure> {
        let event = call.event;
        let attempts = call.attempt.saturating_sub(1);
        let view = View::of(event, Surroundings { attempts, id: call.id, answer: None });
        let target = self.url.target(&view, egress)?;
        let mut headers = HeaderMap::with_capacity(24);
        let (mut body, mut media_type) = match self.body.render(event, &view)? {
            Sent::Tombstone => {
                headers.insert(WEIR_TOMBSTONE, HeaderValue::from_static("true"));
                (Bytes::new(), None)
            }
            Sent::Bytes(bytes, media_type) => (bytes, Some(media_type)),
        };
        add_context(event, &mut headers);
        let trace = self.cloudevents.as_ref().map(|_| Trace::of(event).child());
        if let (Some(cloudevents), Some(trace)) = (&self.cloudevents, &trace) {
            let about = About { id: call.id, trace, content: self.body.content };
            (_, (body, media_type)) = cloudevents.apply(&view, about, (body, media_type), &mut headers)?;
        }
        let asked = self.asked(event, &view)?;
        let attempt = Attempt {
            id: webhook_id(&event.origin, &self.identity, event.part),
            event: &event.origin,
            trace: &|out| match &trace {
                Some(trace) => out.push_str(trace),
                None => Trace::of(event).write_child(out),
            },
            number: call.attempt,
            give_up_at: call.give_up_at,
            now,
        };
        self.finish(Content { target, body, media_type, headers, asked }, &attempt)
    }

    /// The headers that the file asks for of one event. None of them is an attribute of a CloudEvent, where requests are some.
    pub(super) fn asked(
        &self,
        event: &Event,
        view: &View<'_>,
    ) -> Result<Vec<(HeaderName, HeaderValue)>, Failure> {
        let mut asked = Vec::new();
        self.headers.render(event, view, |name, value| asked.push((name, value)))?;
        if self.cloudevents.is_some() {
            asked.retain(|(name, _)| !name.as_str().starts_with("ce-"));
        }
        Ok(asked)
    }

    /// Adds what every request has, and signs it.
    pub(super) fn finish(&self, content: Content, attempt: &Attempt<'_>) -> Result<Prepared, Failure> {
        let Content { target, body, media_type, mut headers, mut asked } = content;
        headers.insert(HOST, target.origin.authority.clone());
        headers.insert(USER_AGENT, user_agent());
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Some(media_type) = media_type {
            headers.insert(CONTENT_TYPE, media_type);
        }
        // What is signed is what the receiver's framework hands on: the body before its encoding.
        self.write_texts(attempt, &body, &mut headers)?;
        let body = match self.compress.filter(|_| !body.is_empty()) {
            Some(kind) => {
                let name = match kind {
                    Compress::Gzip => "gzip",
                    Compress::Zstd => "zstd",
                };
                headers.insert(CONTENT_ENCODING, HeaderValue::from_static(name));
                compress(kind, &body)?
            }
            None => body,
        };
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        for (name, value) in &self.headers.literal {
            headers.insert(name, value.clone());
        }
        // What the record carries never takes the place of what is there already.
        asked.retain(|(name, _)| !headers.contains_key(name));
        for (name, value) in asked {
            headers.append(name, value);
        }
        let length: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        if length > MAX_HEADERS {
            return Err(Failure::invalid(Code::TooLarge, "the request's headers are over 16KiB"));
        }
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = target.uri;
        *request.headers_mut() = headers;
        Ok(Prepared { origin: target.origin, request, shown: target.shown })
    }

    /// The headers whose values are made for each attempt. Their texts share one buffer.
    fn write_texts(
        &self,
        attempt: &Attempt<'_>,
        body: &[u8],
        headers: &mut HeaderMap,
    ) -> Result<(), Failure> {
        let id = attempt.id.as_str();
        let mut texts = Texts { all: String::with_capacity(320), parts: Vec::with_capacity(8) };
        let timestamp = seconds(attempt.now).to_string();
        texts.add(WEBHOOK_ID, |out| out.push_str(id));
        texts.add(WEBHOOK_TIMESTAMP, |out| out.push_str(&timestamp));
        if let Some(signer) = &self.signer {
            texts.add(WEBHOOK_SIGNATURE, |out| signer.write(id, &timestamp, body, out));
        }
        // Writing to a string does not fail.
        texts.add(WEIR_EVENT, |out| write!(out, "{}", attempt.event).unwrap_or_default());
        texts.add(TRACEPARENT, |out| (attempt.trace)(out));
        if let Some(at) = attempt.give_up_at {
            texts.add(WEIR_DEADLINE, |out| write!(out, "{}", seconds(at)).unwrap_or_default());
        }
        if self.idempotency_key {
            texts.add(IDEMPOTENCY_KEY, |out| write!(out, "\"{id}\"").unwrap_or_default());
        }
        texts.write(headers)?;
        headers.insert(WEIR_ATTEMPT, HeaderValue::from(attempt.number));
        Ok(())
    }

    /// The URL of an event's request without query, for people; `None` where this event has none.
    pub(super) fn shown(&self, event: &Event, id: Option<&str>, egress: &Egress) -> Option<Arc<str>> {
        let view = View::of(event, Surroundings { id, ..Surroundings::default() });
        self.url.target(&view, egress).ok().map(|target| target.shown)
    }
}

/// Where the event stands among others: correlation id and trace state. One that no header can carry stays behind: it is
/// not what the file asked for.
fn add_context(event: &Event, headers: &mut HeaderMap) {
    let value = match &event.body {
        Body::Value(value) => value,
        Body::Raw(_) => &Value::Null,
    };
    let carried = |text: &str| header_value(Bytes::copy_from_slice(text.as_bytes()));
    if let Some(value) = correlation_id(event, value).and_then(|id| carried(&id)) {
        headers.insert(CORRELATION, value);
    }
    let state = event.header("tracestate").filter(|_| Trace::is_given(event));
    if let Some(value) = state.and_then(|state| header_value(state.clone())) {
        headers.insert(TRACESTATE, value);
    }
}

struct Texts {
    all: String,
    parts: Vec<(HeaderName, Range<usize>)>,
}

impl Texts {
    fn add(&mut self, name: HeaderName, write: impl FnOnce(&mut String)) {
        let start = self.all.len();
        write(&mut self.all);
        self.parts.push((name, start..self.all.len()));
    }

    fn write(self, headers: &mut HeaderMap) -> Result<(), Failure> {
        let all = Bytes::from(self.all);
        for (name, range) in self.parts {
            headers.insert(name, bytes_value(all.slice(range))?);
        }
        Ok(())
    }
}

fn bytes_value(bytes: Bytes) -> Result<HeaderValue, Failure> {
    header_value(bytes)
        .ok_or_else(|| Failure::invalid(Code::Template, "the record's position cannot be a header"))
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
