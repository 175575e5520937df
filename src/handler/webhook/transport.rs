//! What carries requests in place of the network: the script of `weir test`. All that makes a request, bounds it and judges its
//! answer is the same; no name is resolved and nothing is dialled.

use std::fmt;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body_util::BodyExt;
use url::Host;

use super::classify::{Fault, Phase};
use super::client::{self, Bounds};
use super::connect::{Origin, Ways, vet};
use super::request::WEIR_ATTEMPT;
use super::wire::Sent;
use crate::handler::BoxFuture;
use crate::outcome::{Answer, BodyEnd};

/// Carries requests.
pub trait Transport: Send + Sync + fmt::Debug {
    /// What is heard of a request; one that is never answered may wait for ever.
    fn carry(&self, request: Carried) -> BoxFuture<'_, Reply>;

    /// A request that `carry` was asked for has its answer, or its time is over.
    fn ended(&self, _service: &str, _number: usize) {}
}

/// A request on its way.
#[derive(Debug, Clone)]
pub struct Carried {
    /// The stage that makes it.
    pub service: Arc<str>,
    /// What it is for.
    pub purpose: Purpose,
    /// Its method.
    pub method: Method,
    /// Where it goes.
    pub url: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// An attempt at a record, or at a batch of them.
    Attempt,
    /// To be given a token.
    Token,
    /// To learn whether the receiver is there.
    Probe,
}

/// What is heard of a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// The number by which its end is told.
    pub number: usize,
    /// What it is.
    pub kind: ReplyKind,
}

/// An answer, or why there is none.
#[derive(Debug, Clone, PartialEq)]
pub enum ReplyKind {
    /// An answer.
    Answer {
        /// Its status.
        status: u16,
        /// Its headers.
        headers: HeaderMap,
        /// Its body.
        body: Bytes,
        /// How long it takes.
        after: Duration,
    },
    /// None within the handler's limits.
    Timeout,
    /// No connection.
    Connect,
    /// The connection breaks behind the request.
    Reset,
    /// The name is not known.
    Dns,
    /// The certificate is not trusted.
    Tls,
}

/// A transport as a handler has it.
#[derive(Debug, Clone)]
pub(super) struct Stand {
    pub(super) service: Arc<str>,
    pub(super) transport: Arc<dyn Transport>,
}

impl Stand {
    /// Carries a request, within the limits of the handler.
    pub(super) async fn send(
        &self,
        ways: &Ways,
        origin: &Origin,
        request: Sent,
        bounds: Bounds<'_>,
    ) -> Result<Answer, Fault> {
        match origin.host {
            Host::Ipv4(ip) => {
                drop(vet(&ways.egress, &origin.host, origin.https, &[(ip, origin.port).into()])?)
            }
            Host::Ipv6(ip) => {
                drop(vet(&ways.egress, &origin.host, origin.https, &[(ip, origin.port).into()])?)
            }
            Host::Domain(_) => {}
        }
        let (head, body) = request.into_parts();
        let body = body.collect().await.map(|all| all.to_bytes()).unwrap_or_default();
        let purpose = match (head.headers.contains_key(WEIR_ATTEMPT), &head.method) {
            (true, _) => Purpose::Attempt,
            (false, &Method::HEAD | &Method::OPTIONS) => Purpose::Probe,
            (false, _) => Purpose::Token,
        };
        let scheme = if origin.https { "https" } else { "http" };
        let authority = origin.authority.to_str().unwrap_or_default();
        let carried = Carried {
            service: Arc::clone(&self.service),
            purpose,
            method: head.method,
            url: format!("{scheme}://{authority}{}", head.uri),
            headers: head.headers,
            body,
        };
        let Reply { number, kind } = self.transport.carry(carried).await;
        let heard = hear(kind, bounds).await;
        self.transport.ended(&self.service, number);
        heard
    }
}

async fn hear(reply: ReplyKind, bounds: Bounds<'_>) -> Result<Answer, Fault> {
    let limits = bounds.limits;
    let first_byte = (Phase::FirstByte, limits.first_byte);
    match reply {
        ReplyKind::Answer { status, headers, mut body, after } => {
            limits.within(first_byte, bounds.deadline, tokio::time::sleep(after)).await?;
            let end = if body.len() > bounds.max_response { BodyEnd::TooLong } else { BodyEnd::Complete };
            body.truncate(bounds.max_response);
            Ok(client::answer(status, &headers, body, end))
        }
        ReplyKind::Timeout => limits.within(first_byte, bounds.deadline, pending()).await,
        ReplyKind::Connect => Err(Fault::Connect("connection refused".to_owned())),
        ReplyKind::Reset => Err(Fault::Reset("connection reset by peer".to_owned())),
        ReplyKind::Dns => Err(Fault::Dns("the name is not known".to_owned())),
        ReplyKind::Tls => Err(Fault::Tls("the certificate is not trusted".to_owned())),
    }
}
