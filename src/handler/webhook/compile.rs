//! From a block to a handler: every part compiled, every problem at its key. Pure.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::body::BodyPlan;
use super::cloudevent::CloudEvents;
use super::connect::{Limits, Ways};
use super::headers::Headers;
use super::oauth2::Tokens;
use super::pool::Pool;
use super::probe::Bare;
use super::proxy::Proxy;
use super::request::Plan;
use super::rules::Rules;
use super::sign::Signer;
use super::spec::{Batch, CloudEventsMode, Content, Method, Spec};
use super::tls::{Files, Tls};
use super::transport::Stand;
use super::url::UrlPlan;
use super::wire::Wire;
use super::{Webhook, auth, batch, headers, item, pace, request, url};
use crate::handler::{Context, Problem};
use crate::plan::expr::ValueTemplate;
use crate::settings::{ReferenceError, References};

/// The longest `timeout`.
const MAX_TIMEOUT: Duration = Duration::from_secs(600);
/// The longest `linger`.
const MAX_LINGER: Duration = Duration::from_secs(60);

/// The compiled parts of a block.
struct Parts {
    url: UrlPlan,
    headers: Headers,
    template: Option<ValueTemplate>,
    cloudevents: Option<CloudEvents>,
    signer: Option<Signer>,
    tokens: Option<Tokens>,
    tls: Tls,
    rules: Rules,
    bare: Option<Bare>,
    proxy: Option<Proxy>,
}

/// Compiles a block. Every problem at once, each at its key.
pub(super) fn compile(
    spec: &Spec,
    context: &Context,
    references: &References,
) -> Result<Webhook, Vec<Problem>> {
    let Parts { url, mut headers, template, cloudevents, signer, tokens, tls, rules, bare, proxy } =
        parts(spec, context, references)?;
    add_fixed(&mut headers, spec, context);
    let max = usize::try_from(spec.max_body.0).unwrap_or(usize::MAX);
    let body = BodyPlan { template, content: spec.content, max };
    let reads_value = headers.look_into_payload()
        || UrlPlan::looks_into_payload(&spec.url)
        || cloudevents.as_ref().is_some_and(CloudEvents::looks_into_payload)
        || rules.look_into_payload()
        || body.looks_into_payload();
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
            compress: spec.compress,
            identity: context.identity.clone(),
            idempotency_key: spec.idempotency_key,
        },
        verb: verb(spec.method),
        accept: spec.accept.clone(),
        rules,
        max_response: usize::try_from(spec.max_response.0).unwrap_or(usize::MAX),
        reads_value,
        reads_id,
        needs_answer: context.reads_answer,
        wire: Wire {
            ways: Ways { egress: Arc::clone(&context.egress), tls, proxy, limits: limits(spec) },
            pool: Pool::new(at_once),
            stand: context.transport.as_ref().map(|transport| Stand {
                service: context.service.as_str().into(),
                transport: Arc::clone(transport),
            }),
        },
        tokens,
        bare,
        interval: spec.rate.map(pace::interval),
        caller: context.egress.doors.caller(spec.concurrency.map(|_| at_once)),
        slots: spec.concurrency.map(|_| Semaphore::new(at_once.min(Semaphore::MAX_PERMITS))),
    })
}

fn parts(spec: &Spec, context: &Context, references: &References) -> Result<Parts, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut found = |prefix: &str, list: Vec<Problem>| {
        problems.extend(list.into_iter().map(|problem| {
            let dot = if prefix.is_empty() || problem.path.is_empty() { "" } else { "." };
            Problem { path: format!("webhook.{prefix}{dot}{}", problem.path), ..problem }
        }));
    };
    let url = url::compile(&spec.url, &context.egress, references).map_err(|list| found("url", list)).ok();
    let headers = Headers::compile(&spec.headers, &spec.forward_headers, references);
    let mut headers = headers.map_err(|list| found("", list)).ok();
    let template = spec.body.as_ref().map(|tree| body_template(tree, references));
    let template = template.transpose().map_err(|list| found("body", list));
    let cloudevents = spec.cloudevents.as_ref().map(|written| CloudEvents::compile(written, references));
    let cloudevents = cloudevents.transpose().map(Option::flatten).map_err(|list| found("cloudevents", list));
    let signer = spec.sign.as_ref().map(|sign| {
        Signer::new(&sign.secret.0, references).map_err(|list| {
            list.into_iter().map(|(index, why)| Problem::at(index.to_string(), why)).collect::<Vec<_>>()
        })
    });
    let signer = signer.transpose().map_err(|list| found("sign.secret", list));
    let auth = spec.auth.as_ref().map(|auth| auth::header(auth, references)).transpose();
    let auth = auth.map(Option::flatten).map_err(|list| found("auth", list));
    let tokens =
        spec.auth.as_ref().map(|auth| Tokens::compile(auth, &context.egress, references)).transpose();
    let tokens = tokens.map(Option::flatten).map_err(|list| found("auth", list));
    if let Some(headers) = &mut headers {
        let is_event = matches!(cloudevents, Ok(Some(_)));
        let authorization = matches!(tokens, Ok(Some(_))).then_some(http::header::AUTHORIZATION);
        let name = auth.iter().flatten().map(|(name, _)| name.clone()).next().or(authorization);
        found("", written_twice(headers, name.as_ref(), is_event));
        headers.literal.extend(auth.iter().flatten().cloned());
    }
    let tls =
        spec.tls.as_ref().map(|tls| Tls::compile(tls, Files::Below(&context.folder), references)).transpose();
    let tls = tls.map(Option::unwrap_or_default).map_err(|list| found("tls", list));
    let rules = Rules::compile(&spec.rules).map_err(|list| found("rules", list));
    let bare = url.as_ref().map(|url| Bare::compile(spec.probe, url)).transpose();
    let bare = bare.map(Option::flatten).map_err(|problem| found("", vec![problem]));
    let proxy = spec.proxy.as_ref().map(|written| Proxy::compile(written, references)).transpose();
    let proxy = proxy.map_err(|problem| found("proxy", vec![problem]));
    found("", limits_problems(spec));
    match (url, headers, template, cloudevents, signer, tokens, tls, rules, bare, proxy) {
        (
            Some(url),
            Some(headers),
            Ok(template),
            Ok(cloudevents),
            Ok(signer),
            Ok(tokens),
            Ok(tls),
            Ok(rules),
            Ok(bare),
            Ok(proxy),
        ) if problems.is_empty() => {
            Ok(Parts { url, headers, template, cloudevents, signer, tokens, tls, rules, bare, proxy })
        }
        _ => Err(problems),
    }
}

/// Headers of the file that `auth` or `cloudevents` write too.
fn written_twice(headers: &Headers, auth: Option<&http::HeaderName>, is_event: bool) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let Some(name) = auth.filter(|name| headers.writes(name)) {
        let twice = format!("`auth` and `headers` both write `{name}`");
        problems.push(Problem::at("auth", twice).help("keep one of them"));
    }
    for name in headers.names().filter(|name| is_event && name.as_str().starts_with("ce-")) {
        let twice = format!("`{name}` is written by `cloudevents`");
        problems.push(Problem::at(format!("headers.{name}"), twice).help("leave it out"));
    }
    problems
}

/// When batches are closed, and what does not go together with them.
pub(super) fn batch_limits(
    spec: &Spec,
    written: &Batch,
    context: &Context,
) -> Result<batch::Limits, Vec<Problem>> {
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
    template
        .resolve(&mut resolve)
        .map_err(|error| vec![Problem::at("", error.to_string()).help(error.help())])
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
            problems.push(Problem::at(
                format!("timeouts.{name}"),
                "a limit of 0s lets nothing through; write more, or leave it out",
            ));
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
