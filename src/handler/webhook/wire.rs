//! What a handler sends with: the way to an origin, over a connection that rests, one that is shared, or a new one.
//!
//! A request of which the peer has surely seen nothing is sent again, within the same attempt.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tokio::time::timeout_at;

use super::classify::{Fault, Phase};
use super::client::{Bounds, Exchange, Live};
use super::connect::{self, Origin, Ways};
use super::pool::{First, Pool, Way};
use super::shared::Shared;
use super::transport::Stand;
use crate::outcome::Answer;
use crate::telemetry::clock;

/// How often one request is sent while the peer refuses to look at it.
const SENDINGS: usize = 3;

/// The connections of a handler, and what new ones are made by.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) ways: Ways,
    pub(super) pool: Pool,
    /// What carries requests in place of the network.
    pub(super) stand: Option<Stand>,
}

/// A request to send.
pub(super) type Sent = Request<Full<Bytes>>;

impl Wire {
    /// Sends a request and hears the answer. `again` makes it anew where it is gone and the peer has seen nothing of it.
    pub(super) async fn send(
        &self,
        origin: &Arc<Origin>,
        first: Sent,
        again: impl Fn() -> Result<Sent, Fault>,
        bounds: Bounds<'_>,
    ) -> Result<Answer, Fault> {
        if let Some(stand) = &self.stand {
            return stand.send(&self.ways, origin, first, bounds).await;
        }
        let mut request = Some(first);
        let mut rested = false;
        for sending in 0..SENDINGS {
            let now = if sending == 0 { bounds.start } else { clock::now() };
            let way = if rested { Way::New(None) } else { self.way(origin, now, bounds).await? };
            let mut sent = match request.take() {
                Some(request) => request,
                None => again()?,
            };
            if let Some(proxy) = self.ways.proxy.as_ref().filter(|_| !origin.https) {
                proxy.address(origin, &mut sent);
            }
            let exchange = match way {
                Way::Resting(mut live) => {
                    rested = true;
                    let exchange = live.exchange(sent, now, bounds).await;
                    self.keep(origin, live, &exchange);
                    exchange
                }
                Way::Shared(shared) => shared.exchange(origin, sent, bounds).await,
                Way::New(first) => Box::pin(self.over_new(origin, first, sent, bounds)).await?,
                // Not twice.
                Way::Wait(_) => continue,
            };
            match exchange {
                Exchange::Answered(answer) => return Ok(answer),
                Exchange::Failed(fault) => return Err(fault),
                Exchange::Unwritten(unsent) => request = unsent,
            }
        }
        Err(Fault::Reset("the receiver refuses requests without looking at them".to_owned()))
    }

    async fn way(&self, origin: &Arc<Origin>, now: Instant, bounds: Bounds<'_>) -> Result<Way, Fault> {
        match self.pool.way(origin, now, false) {
            Way::Wait(mut first) => {
                // Nothing is ever sent: it ends when the first one knows.
                let ended = timeout_at(bounds.deadline.into(), first.changed()).await;
                ended.map_err(|_| Fault::Timeout(Phase::Connect, bounds.limits.total))?.unwrap_or_default();
                Ok(self.pool.way(origin, clock::now(), true))
            }
            way => Ok(way),
        }
    }

    async fn over_new(
        &self,
        origin: &Arc<Origin>,
        first: Option<First>,
        request: Sent,
        bounds: Bounds<'_>,
    ) -> Result<Exchange, Fault> {
        let stream = connect::connect(&self.ways, origin, bounds.deadline).await?;
        if stream.is_h2() {
            let limits = &self.ways.limits;
            let opened =
                limits.within((Phase::Connect, limits.connect), bounds.deadline, Shared::open(stream));
            let (shared, connection) = opened.await??;
            let driver = async move { drop(connection.await) };
            self.pool.share(origin, &shared, driver, clock::now());
            drop(first);
            return Ok(shared.exchange(origin, request, bounds).await);
        }
        if first.is_some() {
            self.pool.single(origin);
        }
        drop(first);
        let now = clock::now();
        let mut live = Live::open(stream, now).await?;
        let exchange = live.exchange(request, now, bounds).await;
        self.keep(origin, live, &exchange);
        match exchange {
            Exchange::Unwritten(_) => {
                Err(Fault::Reset("the connection was closed as soon as it was made".to_owned()))
            }
            exchange => Ok(exchange),
        }
    }

    fn keep(&self, origin: &Arc<Origin>, mut live: Box<Live>, exchange: &Exchange) {
        if matches!(exchange, Exchange::Answered(_)) && live.is_reusable() {
            self.pool.put(origin, live, clock::now());
        }
    }
}
