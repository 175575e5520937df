//! Asking a receiver whether it is there, without a record: `probe: head | options`.
//!
//! Source: http-contract, section 6.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{HOST, USER_AGENT};
use http::{HeaderName, HeaderValue, Method, Request};
use http_body_util::Full;
use tracing::debug;

use super::Webhook;
use super::headers::user_agent;
use super::request::Prepared;
use super::spec::Probe;
use super::url::{Target, UrlPlan};
use crate::handler::Problem;

/// A request without a record. What is the same for every record is part of it: the beginning of the URL, literal headers,
/// `auth`. Nothing is signed, since there is no event that could have an id.
#[derive(Debug)]
pub(super) struct Bare {
    method: Method,
    target: Target,
}

impl Bare {
    /// `None` for `probe: request`.
    pub(super) fn compile(probe: Probe, url: &UrlPlan) -> Result<Option<Bare>, Problem> {
        let method = match probe {
            Probe::Request => return Ok(None),
            Probe::Head => Method::HEAD,
            Probe::Options => Method::OPTIONS,
        };
        let target = url.without_record().ok_or_else(|| {
            Problem::at("probe", "a request without a record has no host to go to: record data chooses it")
                .help("write `probe: request`, or take `probe` out")
        })?;
        Ok(Some(Bare { method, target }))
    }

    fn request(&self, headers: &[(HeaderName, HeaderValue)]) -> Prepared {
        let mut request = Request::new(Full::new(Bytes::new()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.target.uri.clone();
        let all = request.headers_mut();
        all.insert(HOST, self.target.origin.authority.clone());
        all.insert(USER_AGENT, user_agent());
        for (name, value) in headers {
            all.insert(name, value.clone());
        }
        Prepared { origin: Arc::clone(&self.target.origin), request, shown: Arc::clone(&self.target.shown) }
    }
}

impl Webhook {
    /// Whether the receiver is there: any status below 500 but those that refuse the caller or the event for good.
    pub(super) async fn is_there(&self, bare: &Bare) -> bool {
        let slot = self.slot().await;
        let answered = self.request(|| Ok(bare.request(&self.plan.headers.literal))).await;
        drop(slot);
        match answered {
            Ok((answer, shown)) => {
                debug!(method = %bare.method, url = %shown, status = answer.status, "probed");
                answer.status < 500 && !matches!(answer.status, 401 | 403 | 407 | 410)
            }
            Err(failure) => {
                debug!(method = %bare.method, url = %bare.target.shown, "probed: {}", failure.message);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::handler::Handler;
    use crate::handler::webhook::testing::{Server, Step, header, serve, webhook};

    /// What passes is what the contract says, and what is sent is no event.
    #[tokio::test]
    async fn a_request_without_a_record_says_whether_the_receiver_is_there() {
        for (status, passes) in [(200, true), (204, true), (404, true), (405, true), (301, true), (429, true)]
            .into_iter()
            .chain([(401, false), (403, false), (407, false), (410, false), (500, false), (503, false)])
        {
            let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 5\r\n\r\n");
            let server = Server::start(vec![serve(&answer)]).await;
            let keys = json!({
                "probe": "head", "headers": { "x-tenant": "a", "x-of": "{{ .id }}" },
                "auth": { "bearer": "${secret:token}" }, "sign": { "secret": "${secret:sign}" },
            });
            let handler = webhook(&server.url("/v1/{{ .id }}?q=1"), &keys);
            assert_eq!(handler.probe().unwrap().await, passes, "{status}");
            assert!(
                handler.probe().unwrap().await == passes,
                "the connection goes on after an answer that has no body"
            );
            assert_eq!(server.connections(), 1);
            let request = String::from_utf8(server.requests().remove(0)).unwrap();
            assert!(request.starts_with("HEAD /v1/ HTTP/1.1\r\n"), "{request}");
            assert_eq!(
                (header(&request, "x-tenant"), header(&request, "authorization")),
                (Some("a"), Some("Bearer c4n4ry"))
            );
            for name in ["x-of", "webhook-id", "webhook-signature", "weir-event", "content-type"] {
                assert_eq!(header(&request, name), None, "{name}");
            }
        }
        let gone = Server::start(vec![vec![Step::Reset]]).await;
        assert!(!webhook(&gone.url("/v1"), &json!({ "probe": "options" })).probe().unwrap().await);
        assert!(webhook(&gone.url("/v1"), &json!({})).probe().is_none());
    }
}
