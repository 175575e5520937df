//! The `webhook` block as the user writes it.

use std::borrow::Cow;
use std::time::Duration as StdDuration;

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::handler::written::{OneOrMany, Rate, StatusRange};
use crate::spec::form::{TextOrBlock, text_or_block};
use crate::spec::units::{Duration, Ratio, Size};

/// A stage that delivers by webhook.
pub const EXAMPLE: &str = r#"
handler:
  webhook:
    url: https://billing.internal/v1/invoices/{{ .order_id }}
    headers: { x-tenant: "{{ %headers.tenant }}" }
    body: { amount_cents: "{{ .amount_cents }}", currency: EUR }
    accept: [200-299, 409]                 # 409: it is there already
    timeout: 10s
"#;

/// Sends each event as an HTTP request.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "WebhookHandler")]
pub struct Spec {
    /// Where to: `http` or `https`. May be a template after the first path segment; each inserted value is one
    /// percent-encoded segment or query value.
    pub url: String,
    /// The request's method.
    #[serde(default)]
    pub method: Method,
    /// Headers of the request: literal names, templates as values.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub headers: IndexMap<String, String>,
    /// Record headers to copy, by name; `*` at the end stands for any rest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forward_headers: Vec<String>,
    /// A template of the body; left out, the value goes out as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
    /// What the body is written as.
    #[serde(default)]
    pub content: Content,
    /// The CloudEvents form of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloudevents: Option<CloudEvents>,
    /// Several events in one request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<Batch>,
    /// The statuses that accept an event: the list is complete when given.
    #[serde(default = "accept_default")]
    pub accept: Vec<StatusRange>,
    /// What an answer means, by condition, in order; the first that is true decides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
    /// Standard Webhooks signatures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign: Option<Sign>,
    /// Credentials of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// Certificates in place of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// An HTTP proxy: `http://[user:password@]host[:port]`. The address guard judges it in place of the receiver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
    /// The limit over everything, the answer's body included; at most 10m.
    #[serde(default = "timeout_default")]
    pub timeout: Duration,
    /// The limits of the steps.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// The largest body to send, before compression; a larger one is `invalid`.
    #[serde(default = "max_body_default")]
    pub max_body: Size,
    /// How much of an answer's body is kept.
    #[serde(default = "max_response_default")]
    pub max_response: Size,
    /// Requests at once; `max_in_flight` where left out. It bounds the requests of all stages to the same host: the smallest
    /// number that any of them says counts. Less while the host answers 429, 502, 503 or 504 to many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub concurrency: Option<u32>,
    /// Requests in a time, shared by all stages of one host: `50/s`. Less while the host asks for it
    /// (`WebHook-Allowed-Rate`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// The longest wait that a `Retry-After` may ask for.
    #[serde(default = "retry_after_max_default")]
    pub retry_after_max: Duration,
    /// When the stage pauses because the receiver is down: `none`, or the numbers.
    #[serde(default)]
    pub breaker: Breaker,
    /// What asks whether a held stage may go on.
    #[serde(default)]
    pub probe: Probe,
    /// Compression of the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compress: Option<Compress>,
    /// Adds `idempotency-key: "<webhook-id>"`.
    #[serde(default)]
    pub idempotency_key: bool,
    /// Adds `weir-sender: pipeline.stage@revision`.
    #[serde(default)]
    pub identify: bool,
}

fn accept_default() -> Vec<StatusRange> {
    vec![StatusRange { first: 200, last: 299 }]
}

fn timeout_default() -> Duration {
    Duration(StdDuration::from_secs(15))
}

fn max_body_default() -> Size {
    Size(256 << 10)
}

fn max_response_default() -> Size {
    Size(64 << 10)
}

fn retry_after_max_default() -> Duration {
    Duration(StdDuration::from_secs(3600))
}

impl Spec {
    /// Every key but `url` at its default: the short form `handler: URL`.
    pub fn of_url(url: impl Into<String>) -> Spec {
        Spec {
            url: url.into(),
            method: Method::default(),
            headers: IndexMap::new(),
            forward_headers: Vec::new(),
            body: None,
            content: Content::default(),
            cloudevents: None,
            batch: None,
            accept: accept_default(),
            rules: Vec::new(),
            sign: None,
            auth: None,
            tls: None,
            proxy: None,
            timeout: timeout_default(),
            timeouts: Timeouts::default(),
            max_body: max_body_default(),
            max_response: max_response_default(),
            concurrency: None,
            rate: None,
            retry_after_max: retry_after_max_default(),
            breaker: Breaker::default(),
            probe: Probe::default(),
            compress: None,
            idempotency_key: false,
            identify: false,
        }
    }
}

/// A request's method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[schemars(rename = "WebhookMethod")]
pub enum Method {
    /// The default.
    #[default]
    POST,
    /// For receivers that are addressed by a key.
    PUT,
    /// A change of part of it.
    PATCH,
    /// For deletions.
    DELETE,
}

/// What a body is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "WebhookContent")]
pub enum Content {
    /// `application/json`.
    #[default]
    Json,
    /// `application/x-www-form-urlencoded` of a flat object.
    Form,
    /// `text/plain` of a string.
    Text,
    /// Bytes; the type comes from the record's `content-type` header.
    Raw,
}

/// The CloudEvents form of the request.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum CloudEvents {
    /// The mode alone.
    Mode(CloudEventsMode),
    /// The mode and attributes.
    Block(CloudEventsBlock),
}

impl CloudEvents {
    /// The mode.
    pub fn mode(&self) -> CloudEventsMode {
        match self {
            CloudEvents::Mode(mode) => *mode,
            CloudEvents::Block(block) => block.mode,
        }
    }

    /// The template of the event's subject.
    pub fn subject(&self) -> Option<&str> {
        match self {
            CloudEvents::Mode(_) => None,
            CloudEvents::Block(block) => block.subject.as_deref(),
        }
    }
}

/// How a request carries a CloudEvent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CloudEventsMode {
    /// It is none.
    None,
    /// Attributes as `ce-` headers.
    Binary,
    /// Attributes and data in one JSON body.
    Structured,
}

/// The CloudEvents form with attributes.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CloudEventsBlock {
    /// The mode.
    pub mode: CloudEventsMode,
    /// The event's type where neither event nor schema names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r#type: Option<String>,
    /// The event's source; `/kafka/<cluster>/<topic>` where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// A template of the event's subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
}

impl TextOrBlock for CloudEvents {
    type Block = CloudEventsBlock;
    const EXPECTED: &'static str = "none, binary, structured or a block";

    fn of_text<E: Error>(text: &str) -> Result<CloudEvents, E> {
        match text {
            "none" => Ok(CloudEvents::Mode(CloudEventsMode::None)),
            "binary" => Ok(CloudEvents::Mode(CloudEventsMode::Binary)),
            "structured" => Ok(CloudEvents::Mode(CloudEventsMode::Structured)),
            other => {
                let what = format!("`{other}` is not a CloudEvents mode; write none, binary or structured");
                Err(E::custom(what))
            }
        }
    }

    fn of_block<E>(block: CloudEventsBlock) -> Result<CloudEvents, E> {
        Ok(CloudEvents::Block(block))
    }
}

impl<'de> Deserialize<'de> for CloudEvents {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text_or_block(deserializer)
    }
}

impl JsonSchema for CloudEvents {
    fn schema_name() -> Cow<'static, str> {
        "CloudEvents".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (mode, block) =
            (generator.subschema_for::<CloudEventsMode>(), generator.subschema_for::<CloudEventsBlock>());
        json_schema!({ "anyOf": [mode, block] })
    }
}

/// Several events in one request. Closed by whichever comes first.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "HandlerBatch")]
pub struct Batch {
    /// Events in one request.
    #[serde(default = "max_records_default")]
    #[schemars(range(min = 1))]
    pub max_records: u32,
    /// Bytes in one request; `max_body` where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<Size>,
    /// How long a batch waits to be full.
    #[serde(default)]
    pub linger: Duration,
}

fn max_records_default() -> u32 {
    100
}

/// What an answer means, by condition.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AnswerRule")]
pub struct Rule {
    /// A VRL predicate over `%response`.
    pub when: String,
    /// What then.
    pub then: Then,
}

/// What an answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "AnswerMeaning")]
pub enum Then {
    /// Accepted.
    Ok,
    /// Try again.
    Retry,
    /// Dead-letter at once.
    Dlq,
    /// Pause the stage.
    Hold,
}

/// Standard Webhooks signatures.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "WebhookSign")]
pub struct Sign {
    /// One secret or several, in order: `${secret:NAME}` of a `whsec_` secret. At most 10.
    pub secret: OneOrMany,
}

/// Credentials of a request.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[schemars(rename = "WebhookAuth")]
pub enum Auth {
    /// `authorization: Basic ..`.
    Basic {
        /// The user's name.
        username: String,
        /// The password: `${secret:NAME}`.
        password: String,
    },
    /// `authorization: Bearer ..`: `${secret:NAME}`.
    Bearer(String),
    /// A key in a header.
    ApiKey {
        /// The header's name.
        header: String,
        /// The key: `${secret:NAME}`.
        value: String,
    },
    /// OAuth2 client credentials.
    Oauth2 {
        /// Where tokens are made.
        token_url: String,
        /// The client's id.
        client_id: String,
        /// The client's secret: `${secret:NAME}`.
        client_secret: String,
        /// Scopes to ask for.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        scopes: Vec<String>,
        /// The audience to ask for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        audience: Option<String>,
    },
}

/// Certificates in place of the system's. Each is `${secret:NAME}` of a secret that holds the PEM, or the name of a PEM file of
/// the pipeline's folder.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "WebhookTls")]
pub struct Tls {
    /// The authorities to trust, and no other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// Our certificate, with those between it and its authority after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert: Option<String>,
    /// The key of `cert`, not encrypted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// The limits of the steps of a request.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "WebhookTimeouts")]
pub struct Timeouts {
    /// Until the host's name is resolved.
    pub dns: Duration,
    /// Until the connection is made.
    pub connect: Duration,
    /// Until TLS is agreed.
    pub tls: Duration,
    /// From the request to the head of the answer.
    pub first_byte: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        let five = Duration(StdDuration::from_secs(5));
        Timeouts { dns: five, connect: five, tls: five, first_byte: Duration(StdDuration::from_secs(15)) }
    }
}

/// When the stage pauses because the receiver is down.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Breaker {
    /// Never.
    Off(BreakerOff),
    /// By these numbers.
    On(BreakerNumbers),
}

impl Default for Breaker {
    fn default() -> Breaker {
        Breaker::On(BreakerNumbers::default())
    }
}

/// The word `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BreakerOff {
    /// `none`.
    None,
}

/// The numbers of the circuit breaker.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BreakerNumbers {
    /// Attempts in a row that end in `dns`, `connect`, 502, 503 or 504.
    pub consecutive: u32,
    /// The time over which attempts are counted.
    pub window: Duration,
    /// Attempts in the window.
    pub min_attempts: u32,
    /// Different keys among them.
    pub min_keys: u32,
    /// The share of them that ended in a retry.
    pub failure_ratio: Ratio,
}

impl Default for BreakerNumbers {
    fn default() -> BreakerNumbers {
        BreakerNumbers {
            consecutive: 5,
            window: Duration(StdDuration::from_secs(30)),
            min_attempts: 10,
            min_keys: 3,
            failure_ratio: Ratio(0.7),
        }
    }
}

impl TextOrBlock for Breaker {
    type Block = BreakerNumbers;
    const EXPECTED: &'static str = "none or a block";

    fn of_text<E: Error>(text: &str) -> Result<Breaker, E> {
        match text {
            "none" => Ok(Breaker::Off(BreakerOff::None)),
            other => Err(E::custom(format!(
                "`{other}` is not a breaker; write none (no breaker), or a block of its numbers"
            ))),
        }
    }

    fn of_block<E>(numbers: BreakerNumbers) -> Result<Breaker, E> {
        Ok(Breaker::On(numbers))
    }
}

impl<'de> Deserialize<'de> for Breaker {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text_or_block(deserializer)
    }
}

impl JsonSchema for Breaker {
    fn schema_name() -> Cow<'static, str> {
        "Breaker".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (off, on) =
            (generator.subschema_for::<BreakerOff>(), generator.subschema_for::<BreakerNumbers>());
        json_schema!({ "anyOf": [off, on] })
    }
}

/// What asks whether a held stage may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Probe {
    /// The next waiting record of another key.
    #[default]
    Request,
    /// A HEAD request without a record.
    Head,
    /// An OPTIONS request without a record.
    Options,
}

/// Compression of a request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "WebhookCompress")]
pub enum Compress {
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}
