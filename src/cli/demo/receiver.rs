//! The demo's webhooks: one server for all services of the samples, which answers by a script. What it answers follows from
//! the seed, the record and the number of the attempt, so that a run can be repeated.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};

/// How many records' attempts are remembered; beyond, the memory starts anew and the script with it.
const REMEMBERED: usize = 100_000;
/// The longest body that is read.
const BODY_LIMIT: usize = 1 << 20;

/// One answer of the script.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scripted {
    pub(crate) status: u16,
    /// Seconds of `Retry-After`: at most 2.
    pub(crate) retry_after: Option<u64>,
    pub(crate) body: Option<Value>,
}

/// What the service behind `path` says to the `attempt`-th request (from 1) with this body. A record is refused for a while
/// on its first two attempts at most, so that none exhausts its retries. The draw is made from the body and not from the
/// `webhook-id`: that one differs from run to run, because the embedded broker's cluster id does.
pub(crate) fn answer(seed: u64, path: &str, body: &[u8], attempt: u32) -> Scripted {
    let event: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let draw = |salt: &str, attempt: u32| {
        let mut hasher = DefaultHasher::new();
        (seed, path, body, salt, attempt).hash(&mut hasher);
        hasher.finish()
    };
    let plain = |status, body| Scripted { status, retry_after: None, body };
    if path == "/v1/invoices" && event.pointer("/total/currency") == Some(&json!("XBT")) {
        return plain(422, Some(json!({ "error": "unknown currency", "got": "XBT" })));
    }
    if attempt <= 2 {
        match draw("refuse", attempt) % 100 {
            0..8 => return plain(503, Some(json!({ "error": "maintenance" }))),
            8..13 => {
                let wait = 1 + draw("wait", attempt) % 2;
                return Scripted { status: 429, retry_after: Some(wait), body: None };
            }
            _ => {}
        }
    }
    let name = draw("name", 0) % 1_000_000;
    // On every attempt the same.
    let declined = draw("card", 0) % 100 < 15;
    match path {
        "/charges" if declined => plain(402, Some(json!({ "decline_code": "card_declined" }))),
        "/charges" => plain(201, Some(json!({ "payment_id": format!("pay_{name:06}") }))),
        "/tickets" => {
            let booking = event.get("booking_id").cloned();
            plain(201, Some(json!({ "booking_id": booking, "ticket": format!("t_{name:06}") })))
        }
        "/messages" => plain(202, None),
        _ => plain(201, Some(json!({ "invoice": format!("inv_{name:06}") }))),
    }
}

/// The receiver's memory: how often it saw each record.
#[derive(Debug, Clone)]
struct Receiver {
    seed: u64,
    seen: Arc<Mutex<HashMap<String, u32>>>,
}

/// The receiver as a router for `api::serve`.
pub(crate) fn router(seed: u64) -> Router {
    let receiver = Receiver { seed, seen: Arc::default() };
    Router::new()
        .route("/v1/invoices", post(receive))
        .route("/charges", post(receive))
        .route("/tickets", post(receive))
        .route("/messages", post(receive))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(receiver)
}

async fn receive(State(receiver): State<Receiver>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let id = headers.get("webhook-id").and_then(|value| value.to_str().ok()).unwrap_or("");
    let scripted = answer(receiver.seed, uri.path(), &body, receiver.attempt(id));
    let status = StatusCode::from_u16(scripted.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = match scripted.body {
        Some(body) => (status, axum::Json(body)).into_response(),
        None => status.into_response(),
    };
    if let Some(seconds) = scripted.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

impl Receiver {
    /// The number of this attempt, from 1.
    fn attempt(&self, id: &str) -> u32 {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= REMEMBERED && !seen.contains_key(id) {
            seen.clear();
        }
        let count = seen.entry(id.to_owned()).or_default();
        *count += 1;
        *count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_of_the_script_occurs_and_each_record_gets_through_by_its_third_attempt() {
        let mut statuses: HashMap<u16, usize> = HashMap::new();
        for number in 0..1000 {
            let body = json!({ "id": number }).to_string();
            for path in ["/v1/invoices", "/charges", "/tickets", "/messages"] {
                for attempt in 1..=3 {
                    let scripted = answer(1, path, body.as_bytes(), attempt);
                    assert_eq!(scripted, answer(1, path, body.as_bytes(), attempt));
                    assert!(scripted.retry_after.is_none_or(|seconds| (1..=2).contains(&seconds)));
                    *statuses.entry(scripted.status).or_default() += 1;
                    let passed = matches!(scripted.status, 201 | 202 | 402);
                    assert!(passed || attempt < 3, "{path} {attempt}: {scripted:?}");
                }
            }
        }
        for status in [201, 202, 402, 429, 503] {
            assert!(statuses.get(&status).is_some_and(|count| *count > 100), "{status}: {statuses:?}");
        }
        let failed = statuses[&503] + statuses[&429];
        assert!(
            failed * 5 < statuses.values().sum::<usize>(),
            "few enough that no breaker opens: {statuses:?}"
        );
    }

    #[test]
    fn a_currency_that_billing_does_not_know_is_refused_for_good() {
        let body = json!({ "total": { "currency": "XBT" } }).to_string();
        for attempt in 1..5 {
            assert_eq!(answer(1, "/v1/invoices", body.as_bytes(), attempt).status, 422);
        }
    }
}
