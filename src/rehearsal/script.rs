//! The scripted answers of a test, and the requests that were made.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value as Json;
use tokio::sync::Notify;

use crate::handler::BoxFuture;
use crate::handler::webhook::{Carried, Purpose, Reply, ReplyKind, Transport};
use crate::spec::testfile::{self, Answered};
use crate::telemetry::clock::{self, Now};

/// A request that was made.
#[derive(Debug, Clone)]
pub(super) struct Made {
    pub(super) request: Carried,
    /// The number of its attempt.
    pub(super) attempt: u32,
    /// The record's position.
    pub(super) event: String,
    pub(super) begun: Now,
    /// When it had its answer, or its time was over.
    pub(super) ended: Option<Now>,
    /// Whether the script had an answer.
    pub(super) answered: bool,
    /// The answer's `Retry-After`.
    pub(super) retry_after: Option<String>,
}

/// Answers by stage, in their order.
#[derive(Debug)]
pub(super) struct Script {
    state: Mutex<State>,
    /// Told at each request and each end.
    woken: Arc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    replies: BTreeMap<String, VecDeque<testfile::Reply>>,
    made: Vec<Made>,
    unanswered: bool,
}

impl Script {
    /// By the service of each stage.
    pub(super) fn new(replies: BTreeMap<String, VecDeque<testfile::Reply>>, woken: Arc<Notify>) -> Script {
        Script { state: Mutex::new(State { replies, ..State::default() }), woken }
    }

    /// Whether a stage has answers left.
    pub(super) fn has_replies(&self, service: &str) -> bool {
        self.lock().replies.get(service).is_some_and(|left| !left.is_empty())
    }

    /// Whether a request was made for which there is no answer.
    pub(super) fn lacks_reply(&self) -> bool {
        self.lock().unanswered
    }

    /// How many answers are left, by stage.
    pub(super) fn left(&self) -> BTreeMap<String, usize> {
        let state = self.lock();
        let left = state.replies.iter().filter(|(_, left)| !left.is_empty());
        left.map(|(service, left)| (service.clone(), left.len())).collect()
    }

    /// What was asked.
    pub(super) fn made(&self) -> Vec<Made> {
        self.lock().made.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a request; its number, and the answer where there is one.
    fn ask(&self, request: Carried) -> (usize, Option<ReplyKind>) {
        let mut state = self.lock();
        let reply = state.replies.get_mut(&*request.service).and_then(VecDeque::pop_front);
        let text = |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
        let (attempt, event) = (text("weir-attempt").parse().unwrap_or(0), text("weir-event").to_owned());
        let retry_after = match &reply {
            Some(testfile::Reply::Answer(answered)) => {
                let found =
                    answered.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("retry-after"));
                found.map(|(_, value)| value.clone())
            }
            _ => None,
        };
        let answered = reply.is_some();
        state.unanswered |= !answered;
        let begun = clock::both();
        state.made.push(Made { request, attempt, event, begun, ended: None, answered, retry_after });
        (state.made.len() - 1, reply.map(kind))
    }
}

impl Transport for Script {
    fn carry(&self, request: Carried) -> BoxFuture<'_, Reply> {
        Box::pin(async move {
            if request.purpose == Purpose::Token {
                return Reply { number: usize::MAX, kind: token() };
            }
            let (number, kind) = self.ask(request);
            self.woken.notify_one();
            match kind {
                Some(kind) => Reply { number, kind },
                None => std::future::pending().await,
            }
        })
    }

    fn ended(&self, _service: &str, number: usize) {
        if let Some(made) = self.lock().made.get_mut(number) {
            made.ended = Some(clock::both());
        }
        self.woken.notify_one();
    }
}

/// What a token's endpoint answers that nobody scripts.
fn token() -> ReplyKind {
    let body =
        Bytes::from_static(br#"{"access_token":"test-token","token_type":"Bearer","expires_in":3600}"#);
    let after = std::time::Duration::ZERO;
    ReplyKind::Answer { status: 200, headers: json_type(), body, after }
}

fn json_type() -> HeaderMap {
    HeaderMap::from_iter([(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"))])
}

fn kind(reply: testfile::Reply) -> ReplyKind {
    match reply {
        testfile::Reply::Answer(Answered { status, headers: written, body, after }) => {
            let (mut headers, body) = match body {
                None => (HeaderMap::new(), Bytes::new()),
                Some(Json::String(text)) => (HeaderMap::new(), Bytes::from(text)),
                Some(json) => (json_type(), Bytes::from(json.to_string())),
            };
            for (name, value) in &written {
                let pair = (HeaderName::try_from(name.as_str()), HeaderValue::try_from(value.as_str()));
                // Others are refused when the file is read.
                if let (Ok(name), Ok(value)) = pair {
                    headers.insert(name, value);
                }
            }
            ReplyKind::Answer { status, headers, body, after: after.0 }
        }
        testfile::Reply::Timeout => ReplyKind::Timeout,
        testfile::Reply::Connect => ReplyKind::Connect,
        testfile::Reply::Reset => ReplyKind::Reset,
        testfile::Reply::Dns => ReplyKind::Dns,
        testfile::Reply::Tls => ReplyKind::Tls,
    }
}
