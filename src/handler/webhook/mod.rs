//! The webhook handler: one HTTP request per attempt, signed, with every limit of the contract.
//!
//! Source: http-contract.

mod spec;
mod url;
mod headers;
mod auth;
mod body;
mod cloudevent;
mod sign;
mod request;
mod tls;
mod connect;
mod client;
mod oauth2;
mod token_source;
mod site;
mod shared;
mod pool;
mod transport;
mod wire;
mod pace;
mod doors;
mod probe;
mod proxy;
mod classify;
mod rules;
mod item;
mod batch;
mod compile;
mod partial;
mod retry_after;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod host_tests;
#[cfg(test)]
mod authorities;
#[cfg(test)]
mod proxy_tests;
#[cfg(test)]
mod tls_tests;
#[cfg(test)]
mod shared_tests;
#[cfg(test)]
mod timeout_tests;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::url::Url;
use http::header::AUTHORIZATION;
use tokio::sync::{Semaphore, SemaphorePermit};

use self::batch::Batching;
use self::classify::{Deciding, Fault};
use self::client::Bounds;
use self::doors::Caller;
pub(super) use self::doors::Doors;
use self::item::{Group, Item};
use self::oauth2::Tokens;
pub(super) use self::pace::Pace;
use self::partial::Replied;
use self::probe::Bare;
use self::request::{Plan, Prepared};
use self::rules::{About, Rules};
use self::sign::Signer;
use self::wire::Wire;
use super::egress::Egress;
use super::{BoxFuture, Call, Context, Handler, Notes, Problem, StatusRange};
use crate::event::Event;
use crate::outcome::{Answer, BodyEnd, Code, Failure};
use crate::settings::References;
use crate::telemetry::clock;

pub use site::{Site, SiteSpec, Unasked};
pub use token_source::{Granted, TokenSource};
pub use transport::{Carried, Purpose, Reply, ReplyKind, Transport};

pub use spec::{
    Auth, Batch, Breaker, BreakerNumbers, BreakerOff, CloudEvents as CloudEventsSpec, CloudEventsBlock,
    CloudEventsMode, Compress, Content, EXAMPLE, Method, Probe, Rule, Sign, Spec, Then, Timeouts,
    Tls as TlsSpec,
};

/// Checks signatures as a receiver does: what `weir receive` verifies with.
#[derive(Debug)]
pub struct Verifier(Signer);

impl Verifier {
    /// Reads the secrets as they stand in a file. Fails with the index of each that is wrong and what is wrong with it.
    pub fn new(secrets: &[String], references: &References) -> Result<Verifier, Vec<(usize, String)>> {
        Signer::new(secrets, references).map(Verifier)
    }

    /// Whether one of the signature's items is that of one of the secrets, over the body before its content-encoding.
    pub fn fits(&self, id: &str, timestamp: &str, signature: &str, encoding: &str, body: &[u8]) -> bool {
        let Some(body) = body::expand(encoding, body) else { return false };
        let mut expected = String::new();
        self.0.write(id, timestamp, &body, &mut expected);
        signature.split(' ').any(|item| !item.is_empty() && expected.split(' ').any(|own| own == item))
    }
}

/// Makes the handler. Every problem of the block in one go; keys that are not built yet are for the compiler to answer.
pub fn build(
    spec: &Spec,
    context: &Context,
    references: &References,
) -> Result<Arc<dyn Handler>, Vec<Problem>> {
    let webhook = compile::compile(spec, context, references)?;
    let Some(written) = &spec.batch else { return Ok(Arc::new(webhook)) };
    let limits = compile::batch_limits(spec, written, context).map_err(|list| {
        list.into_iter().map(|problem| Problem { path: format!("webhook.{}", problem.path), ..problem })
    });
    Ok(Arc::new(Batching::new(webhook, limits.map_err(Iterator::collect::<Vec<_>>)?)))
}

struct Webhook {
    plan: Plan,
    verb: &'static str,
    accept: Vec<StatusRange>,
    rules: Rules,
    max_response: usize,
    reads_value: bool,
    reads_id: bool,
    /// Whether what is published next is made of the answer's body.
    needs_answer: bool,
    wire: Wire,
    /// OAuth2 tokens, where the file asks for them.
    tokens: Option<Tokens>,
    /// What a request without a record asks, where the file says that one is to.
    bare: Option<Bare>,
    /// The time between two requests that `rate` asks for.
    interval: Option<Duration>,
    /// Requests that may be made at once, where the file says how many.
    slots: Option<Semaphore>,
    /// Who it is at the doors of the hosts.
    caller: Caller,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").field("plan", &self.plan).field("wire", &self.wire).finish_non_exhaustive()
    }
}

impl Handler for Webhook {
    fn attempt<'a>(&'a self, batch: &'a [Call<'a>]) -> BoxFuture<'a, Vec<Result<Answer, Failure>>> {
        Box::pin(async move {
            let mut answers = Vec::with_capacity(batch.len());
            for call in batch {
                answers.push(self.one(call).await);
            }
            answers
        })
    }

    fn reads_value(&self) -> bool {
        self.reads_value
    }

    fn reads_id(&self) -> bool {
        self.reads_id
    }

    fn probes_bare(&self) -> bool {
        self.bare.is_some()
    }

    fn probe(&self) -> Option<BoxFuture<'_, bool>> {
        let bare = self.bare.as_ref()?;
        Some(Box::pin(self.is_there(bare)))
    }

    fn endpoint(&self, event: &Event, id: Option<&str>) -> Option<String> {
        let shown = self.plan.shown(event, id, &self.wire.ways.egress)?;
        Some(format!("{} {shown}", self.plan.method))
    }

    fn tidy(&self, now: Instant) {
        self.wire.pool.tidy(now);
        self.wire.ways.egress.pace.tidy(now);
        self.wire.ways.egress.doors.tidy(now);
    }
}

impl Webhook {
    async fn one(&self, call: &Call<'_>) -> Result<Answer, Failure> {
        let slot = self.slot().await;
        let (answer, shown) =
            self.request(|| self.plan.prepare(call, &self.wire.ways.egress, clock::wall())).await?;
        drop(slot);
        let about = About { event: call.event, attempt: call.attempt, id: call.id };
        self.judge(Some(about), answer, &shown, &call.notes)
    }

    /// What a call brings to a batch, and which batch it may join.
    fn item(&self, call: &Call<'_>) -> Result<(Group, Item), Failure> {
        self.plan.item(call, &self.wire.ways.egress, !self.rules.is_empty())
    }

    /// Sends a batch of at least one item, with a slot in hand.
    async fn send_batch(&self, group: &Group, items: &[Item]) -> Replied {
        let notes = Notes::default();
        let whole = async {
            let (answer, shown) = self.request(|| self.plan.batch(group, items, clock::wall())).await?;
            let about = items.first().and_then(Item::about);
            let answer = self.judge(about, answer, &shown, &notes)?;
            let ids: Vec<&str> = items.iter().map(|item| item.id.as_str()).collect();
            match partial::words(&answer.body, &ids) {
                Ok(words) => Ok((answer, words)),
                Err(what) => {
                    let message = format!("{}: {what}", self.action(&shown));
                    Err(Failure::retry(Code::Status, message).with_answer(answer))
                }
            }
        };
        let whole = whole.await;
        Replied { whole, notes }
    }

    /// Room for one more request, where `concurrency` bounds them.
    async fn slot(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.slots.as_ref()?.acquire().await.ok()
    }

    /// What an answer says of the event.
    fn judge(
        &self,
        about: Option<About<'_>>,
        answer: Answer,
        shown: &str,
        notes: &Notes,
    ) -> Result<Answer, Failure> {
        let ruled = about.and_then(|about| self.rules.decide(about, &answer, notes));
        let by = Deciding { ruled, accept: &self.accept, now: clock::wall(), notes };
        let answer = classify::answer(|| self.action(shown), answer, by)?;
        if self.needs_answer && answer.body_end == BodyEnd::BrokenOff {
            let message = format!("{}: the answer's body broke off", self.action(shown));
            return Err(Failure::retry(Code::Reset, message).with_answer(answer));
        }
        Ok(answer)
    }

    /// Makes a request and hears the answer; also where it went, for people. A token that is refused is replaced, once.
    async fn request(
        &self,
        prepare: impl Fn() -> Result<Prepared, Failure>,
    ) -> Result<(Answer, Arc<str>), Failure> {
        let Some(tokens) = &self.tokens else { return self.request_once(prepare).await };
        let mut again = true;
        loop {
            let token = tokens.token(|request| self.ask(tokens, request)).await?;
            let with_token = || {
                let mut prepared = prepare()?;
                prepared.request.headers_mut().insert(AUTHORIZATION, token.clone());
                Ok(prepared)
            };
            let (answer, shown) = self.request_once(with_token).await?;
            if answer.status != 401 || !again {
                return Ok((answer, shown));
            }
            tokens.refused(&token).await;
            again = false;
        }
    }

    /// Asks for a token.
    async fn ask(&self, tokens: &Tokens, request: Prepared) -> Result<Answer, Failure> {
        let Prepared { origin, request, .. } = request;
        let answer = self.wire.send(&origin, request, || Ok(tokens.request().request), self.bounds()).await;
        answer.map_err(|fault| classify::fault(&tokens.action(), fault))
    }

    fn bounds(&self) -> Bounds<'_> {
        let (start, limits) = (clock::now(), &self.wire.ways.limits);
        Bounds { limits, start, deadline: start + limits.total, max_response: self.max_response }
    }

    async fn request_once(
        &self,
        prepare: impl Fn() -> Result<Prepared, Failure>,
    ) -> Result<(Answer, Arc<str>), Failure> {
        let mut prepared = prepare()?;
        let Egress { pace, doors, .. } = &*self.wire.ways.egress;
        // The door first: who went through has its place in time, which it could lose by waiting again.
        let mut pass = doors.enter(&prepared.origin, self.caller, clock::now());
        let mut waited = pass.wait().await;
        if let Some(at) = pace.place(&prepared.origin, self.interval, clock::now()) {
            tokio::time::sleep_until(at.into()).await;
            waited = true;
        }
        if waited {
            // Its time and its span are those of the request.
            prepared = prepare()?;
        }
        let Prepared { origin, request, shown } = prepared;
        // It was made once without a failure, of the same event.
        let again = || Ok(prepare().map_err(|failure| Fault::Reset(failure.message))?.request);
        match self.wire.send(&origin, request, again, self.bounds()).await {
            Ok(answer) => {
                pass.answered(answer.status);
                if let Some(said) = answer.header("webhook-allowed-rate") {
                    pace.hear(&origin, said, clock::now());
                }
                Ok((answer, shown))
            }
            Err(fault) => Err(classify::fault(&self.action(&shown), fault)),
        }
    }

    /// What is being done, for messages: verb and host.
    fn action(&self, shown: &str) -> String {
        let host = Url::parse(shown).ok();
        let host =
            host.as_ref().map_or("", |url| &url[::url::Position::BeforeHost..::url::Position::AfterPort]);
        format!("{} {host}", self.verb)
    }
}
