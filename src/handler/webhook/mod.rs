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
mod connect;
mod client;
mod pool;
mod classify;
mod rules;
mod item;
mod batch;
mod partial;
mod retry_after;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tls_tests;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ::url::Url;
use tokio::sync::{Semaphore, SemaphorePermit};

use self::batch::Batching;
use self::body::BodyPlan;
use self::classify::Deciding;
use self::client::{Bounds, Exchange, Live};
use self::cloudevent::CloudEvents;
use self::connect::Limits;
use self::headers::Headers;
use self::item::{Group, Item};
use self::partial::Replied;
use self::pool::Pool;
use self::request::{Plan, Prepared};
use self::rules::{About, Rules};
use self::sign::Signer;
use self::url::UrlPlan;
use super::egress::Egress;
use super::{BoxFuture, Call, Context, Handler, Notes, Problem, StatusRange};
use crate::event::Event;
use crate::outcome::{Answer, BodyEnd, Code, Failure};
use crate::plan::expr::ValueTemplate;
use crate::settings::{ReferenceError, References};
use crate::telemetry::clock;

pub use spec::{
    Auth, Batch, Breaker, BreakerNumbers, BreakerOff, CloudEvents as CloudEventsSpec, CloudEventsBlock,
    CloudEventsMode, Compress, Content, EXAMPLE, Method, Probe, Rule, Sign, Spec, Then, Timeouts, Tls,
};

/// The longest `timeout`.
const MAX_TIMEOUT: Duration = Duration::from_secs(600);
/// The longest `linger`.
const MAX_LINGER: Duration = Duration::from_secs(60);

/// Makes the handler. Every problem of the block in one go; keys that are not built yet are for the compiler to answer.
pub fn build(
    spec: &Spec,
    context: &Context,
    references: &References,
) -> Result<Arc<dyn Handler>, Vec<Problem>> {
    let webhook = compile(spec, context, references)?;
    let Some(written) = &spec.batch else { return Ok(Arc::new(webhook)) };
    let limits = batch_limits(spec, written, context).map_err(|list| {
        list.into_iter().map(|problem| Problem { path: format!("webhook.{}", problem.path), ..problem })
    });
    Ok(Arc::new(Batching::new(webhook, limits.map_err(Iterator::collect::<Vec<_>>)?)))
}

/// When batches are closed, and what does not go together with them.
fn batch_limits(spec: &Spec, written: &Batch, context: &Context) -> Result<batch::Limits, Vec<Problem>> {
    let mut problems = Vec::new();
    if !(1..=item::MAX_ITEMS).contains(&written.max_records) {
        let help = format!("write 1 to {}: the ids of the items stand in a header", item::MAX_ITEMS);
        let message = format!("a batch of {} records cannot be made", written.max_records);
        problems.push(Problem::at("batch.max_records", message).help(help));
    }
    if written.linger.0 > MAX_LINGER {
        let message = format!("a linger of {} is out of range", written.linger);
        problems.push(Problem::at("batch.linger", message).help("write at most 1m"));
    }
    if spec.content != Content::Json {
        let message = "a batch is a JSON array: its items cannot be written otherwise";
        problems.push(Problem::at("content", message).help("take `content` out, or `batch`"));
    }
    let is_structured = |mode: CloudEventsMode| mode != CloudEventsMode::Binary;
    if !spec.cloudevents.as_ref().is_none_or(|written| is_structured(written.mode())) {
        let message = "a batch has many events, and headers carry the attributes of one";
        problems.push(Problem::at("cloudevents", message).help("write `structured`, or take `batch` out"));
    }
    if context.reads_answer {
        let message = "the answer to a batch is not the answer to one event, and `publish` takes it";
        let help = "take `batch` out, or write `publish` without `%response.body` and with a `value`";
        problems.push(Problem::at("batch", message).help(help));
    }
    let bytes = written.max_bytes.map_or(spec.max_body, |bytes| bytes);
    if problems.is_empty() {
        Ok(batch::Limits {
            records: usize::try_from(written.max_records).unwrap_or(usize::MAX),
            bytes: usize::try_from(bytes.0).unwrap_or(usize::MAX),
            linger: written.linger.0,
        })
    } else {
        Err(problems)
    }
}

fn compile(spec: &Spec, context: &Context, references: &References) -> Result<Webhook, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut found = |prefix: &str, list: Vec<Problem>| {
        problems.extend(list.into_iter().map(|problem| {
            let dot = if prefix.is_empty() || problem.path.is_empty() { "" } else { "." };
            Problem { path: format!("webhook.{prefix}{dot}{}", problem.path), ..problem }
        }));
    };
    let url = url::compile(&spec.url, &context.egress, references).map_err(|list| found("url", list)).ok();
    let headers = Headers::compile(&spec.headers, &spec.forward_headers, references);
    let headers = headers.map_err(|list| found("", list)).ok();
    let template = spec.body.as_ref().map(|tree| body_template(tree, references));
    let template = template.transpose().map_err(|list| found("body", list));
    let cloudevents = spec.cloudevents.as_ref().map(|written| CloudEvents::compile(written, references));
    let cloudevents = cloudevents.transpose().map(Option::flatten).map_err(|list| found("cloudevents", list));
    if let (Ok(Some(_)), Some(headers)) = (&cloudevents, &headers)
        && let Some(name) = headers.names().find(|name| name.as_str().starts_with("ce-"))
    {
        let message = format!("`{name}` is written by `cloudevents`");
        found(&format!("headers.{name}"), vec![Problem::at("", message).help("leave it out")]);
    }
    let signer = spec.sign.as_ref().map(|sign| {
        Signer::new(&sign.secret.0, references).map_err(|list| {
            list.into_iter().map(|(index, why)| Problem::at(index.to_string(), why)).collect::<Vec<_>>()
        })
    });
    let signer = signer.transpose().map_err(|list| found("sign.secret", list));
    let auth = spec.auth.as_ref().map(|auth| auth::header(auth, references)).transpose();
    let auth = auth.map_err(|list| found("auth", list));
    if let (Ok(Some((name, _))), Some(headers)) = (&auth, &headers)
        && headers.writes(name)
    {
        let twice = format!("`auth` and `headers` both write `{name}`");
        found("auth", vec![Problem::at("", twice).help("keep one of them")]);
    }
    let rules = Rules::compile(&spec.rules).map_err(|list| found("rules", list));
    found("", limits_problems(spec));
    let (Some(url), Some(mut headers), Ok(template), Ok(cloudevents), Ok(signer), Ok(auth), Ok(rules), true) =
        (url, headers, template, cloudevents, signer, auth, rules, problems.is_empty())
    else {
        return Err(problems);
    };
    headers.literal.extend(auth);
    add_fixed(&mut headers, spec, context);
    let max = usize::try_from(spec.max_body.0).unwrap_or(usize::MAX);
    let reads_value = headers.look_into_payload() || UrlPlan::looks_into_payload(&spec.url);
    let body = BodyPlan { template, content: spec.content, max };
    let reads_value = reads_value
        || cloudevents.as_ref().is_some_and(CloudEvents::looks_into_payload)
        || rules.look_into_payload();
    let reads_value = reads_value || body.looks_into_payload();
    let reads_id = headers.read_id() || UrlPlan::reads_id(&spec.url) || body.reads_id() || rules.read_id();
    let at_once =
        spec.concurrency.map_or(context.max_in_flight, |n| usize::try_from(n).unwrap_or(usize::MAX));
    Ok(Webhook {
        plan: Plan {
            method: method(spec.method),
            url,
            headers,
            body,
            cloudevents,
            signer,
            service: context.service.clone(),
            idempotency_key: spec.idempotency_key,
        },
        verb: verb(spec.method),
        limits: limits(spec),
        accept: spec.accept.clone(),
        rules,
        max_response: usize::try_from(spec.max_response.0).unwrap_or(usize::MAX),
        reads_value,
        reads_id,
        needs_answer: context.reads_answer,
        egress: Arc::clone(&context.egress),
        pool: Pool::new(at_once),
        slots: spec.concurrency.map(|_| Semaphore::new(at_once.min(Semaphore::MAX_PERMITS))),
    })
}

fn body_template(tree: &serde_json::Value, references: &References) -> Result<ValueTemplate, Vec<Problem>> {
    let template = ValueTemplate::parse(tree).map_err(|findings| {
        let problem = |found: crate::plan::expr::TreeFinding| Problem {
            path: found.path.join("."),
            message: found.finding.message,
            help: found.finding.help,
        };
        findings.into_iter().map(problem).collect::<Vec<_>>()
    })?;
    let mut resolve = |text: &str| {
        let resolved = references.resolve(text)?;
        Ok::<_, ReferenceError>(resolved.expose().to_owned())
    };
    template.resolve(&mut resolve).map_err(|error| vec![Problem::at("", error.to_string())])
}

fn limits_problems(spec: &Spec) -> Vec<Problem> {
    let mut problems = Vec::new();
    if spec.timeout.0.is_zero() || spec.timeout.0 > MAX_TIMEOUT {
        problems.push(
            Problem::at("timeout", format!("a timeout of {} is out of range", spec.timeout))
                .help("write more than 0s and at most 10m"),
        );
    }
    let steps = [
        ("dns", spec.timeouts.dns),
        ("connect", spec.timeouts.connect),
        ("tls", spec.timeouts.tls),
        ("first_byte", spec.timeouts.first_byte),
    ];
    for (name, limit) in steps {
        if limit.0.is_zero() {
            problems.push(Problem::at(format!("timeouts.{name}"), "a limit of 0s lets nothing through"));
        }
    }
    if spec.accept.is_empty() {
        problems
            .push(Problem::at("accept", "no status is accepted").help("write statuses, such as [200-299]"));
    }
    if spec.concurrency == Some(0) {
        problems.push(Problem::at("concurrency", "no request may be made").help("write 1 or more"));
    }
    problems
}

/// Headers that the file does not write and that no event changes.
fn add_fixed(headers: &mut Headers, spec: &Spec, context: &Context) {
    if context.reads_answer {
        headers.literal.push((request::PREFER, http::HeaderValue::from_static("reply")));
    }
    let sender = format!("{}@{}", context.service, context.revision);
    if let (true, Some(value)) = (spec.identify, headers::header_value(sender.into())) {
        headers.literal.push((request::WEIR_SENDER, value));
    }
}

fn method(method: Method) -> http::Method {
    match method {
        Method::POST => http::Method::POST,
        Method::PUT => http::Method::PUT,
        Method::PATCH => http::Method::PATCH,
        Method::DELETE => http::Method::DELETE,
    }
}

fn verb(method: Method) -> &'static str {
    match method {
        Method::POST => "posting to",
        Method::PUT => "putting to",
        Method::PATCH => "patching",
        Method::DELETE => "deleting at",
    }
}

fn limits(spec: &Spec) -> Limits {
    let steps = &spec.timeouts;
    Limits {
        dns: steps.dns.0,
        connect: steps.connect.0,
        tls: steps.tls.0,
        first_byte: steps.first_byte.0,
        total: spec.timeout.0,
    }
}

struct Webhook {
    plan: Plan,
    verb: &'static str,
    limits: Limits,
    accept: Vec<StatusRange>,
    rules: Rules,
    max_response: usize,
    reads_value: bool,
    reads_id: bool,
    /// Whether what is published next is made of the answer's body.
    needs_answer: bool,
    egress: Arc<Egress>,
    pool: Pool,
    /// Requests that may be made at once, where the file says how many.
    slots: Option<Semaphore>,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").field("plan", &self.plan).field("pool", &self.pool).finish_non_exhaustive()
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

    fn endpoint(&self, event: &Event, id: Option<&str>) -> Option<String> {
        let shown = self.plan.shown(event, id, &self.egress)?;
        Some(format!("{} {shown}", self.plan.method))
    }

    fn tidy(&self, now: Instant) {
        self.pool.tidy(now);
    }
}

impl Webhook {
    async fn one(&self, call: &Call<'_>) -> Result<Answer, Failure> {
        let slot = self.slot().await;
        let now = clock::wall();
        let (answer, shown) = self.request(|| self.plan.prepare(call, &self.egress, now)).await?;
        drop(slot);
        let about = About { event: call.event, attempt: call.attempt, id: call.id };
        self.judge(Some(about), answer, &shown, now, &call.notes)
    }

    /// What a call brings to a batch, and which batch it may join.
    fn item(&self, call: &Call<'_>) -> Result<(Group, Item), Failure> {
        self.plan.item(call, &self.egress, !self.rules.is_empty())
    }

    /// Sends a batch of at least one item, with a slot in hand.
    async fn send_batch(&self, group: &Group, items: &[Item]) -> Replied {
        let (now, notes) = (clock::wall(), Notes::default());
        let whole = async {
            let (answer, shown) = self.request(|| self.plan.batch(group, items, now)).await?;
            let about = items.first().and_then(Item::about);
            let answer = self.judge(about, answer, &shown, now, &notes)?;
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
        now: SystemTime,
        notes: &Notes,
    ) -> Result<Answer, Failure> {
        let ruled = about.and_then(|about| self.rules.decide(about, &answer, notes));
        let by = Deciding { ruled, accept: &self.accept, now, notes };
        let answer = classify::answer(|| self.action(shown), answer, by)?;
        if self.needs_answer && answer.body_end == BodyEnd::BrokenOff {
            let message = format!("{}: the answer's body broke off", self.action(shown));
            return Err(Failure::retry(Code::Reset, message).with_answer(answer));
        }
        Ok(answer)
    }

    /// Makes a request and hears the answer; also where it went, for people.
    async fn request(
        &self,
        prepare: impl Fn() -> Result<Prepared, Failure>,
    ) -> Result<(Answer, Arc<str>), Failure> {
        let start = clock::now();
        let bounds = Bounds {
            limits: &self.limits,
            first_byte: start,
            deadline: start + self.limits.total,
            max_response: self.max_response,
        };
        let prepared = prepare()?;
        let shown = Arc::clone(&prepared.shown);
        match self.send(prepare, prepared, bounds).await {
            Ok(answer) => Ok((answer, shown)),
            Err(fault) => Err(classify::fault(&self.action(&shown), fault)),
        }
    }

    /// Sends the request over a connection that rests, else over a new one. A resting one that turns out to be closed is
    /// replaced, once, where nothing was written to it.
    async fn send(
        &self,
        prepare: impl Fn() -> Result<Prepared, Failure>,
        prepared: Prepared,
        bounds: Bounds<'_>,
    ) -> Result<Answer, classify::Fault> {
        let Prepared { origin, mut request, .. } = prepared;
        if let Some(mut live) = self.pool.take(&origin, bounds.first_byte) {
            let bounds = Bounds { first_byte: bounds.first_byte + self.limits.first_byte, ..bounds };
            match live.exchange(request, bounds).await {
                Exchange::Answered(answer) => return Ok(self.keep(&origin, live, answer)),
                Exchange::Failed(fault) => return Err(fault),
                Exchange::Unwritten(Some(unsent)) => request = unsent,
                Exchange::Unwritten(None) => {
                    // It was made once without a failure, of the same event.
                    request = prepare().map_err(|f| classify::Fault::Reset(f.message))?.request;
                }
            }
        }
        let stream = connect::connect(&self.egress, &origin, &self.limits, bounds.deadline).await?;
        let now = clock::now();
        let mut live = Live::open(stream, now).await?;
        let bounds = Bounds { first_byte: now + self.limits.first_byte, ..bounds };
        match live.exchange(request, bounds).await {
            Exchange::Answered(answer) => Ok(self.keep(&origin, live, answer)),
            Exchange::Failed(fault) => Err(fault),
            Exchange::Unwritten(_) => {
                Err(classify::Fault::Reset("the connection was closed as soon as it was made".to_owned()))
            }
        }
    }

    fn keep(&self, origin: &Arc<connect::Origin>, mut live: Box<Live>, answer: Answer) -> Answer {
        if live.is_reusable() {
            self.pool.put(origin, live, clock::now());
        }
        answer
    }

    /// What is being done, for messages: verb and host.
    fn action(&self, shown: &str) -> String {
        let host = Url::parse(shown).ok();
        let host =
            host.as_ref().map_or("", |url| &url[::url::Position::BeforeHost..::url::Position::AfterPort]);
        format!("{} {host}", self.verb)
    }
}
