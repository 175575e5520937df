//! The runtime file `weir.yaml` as it is written, and how `WEIR_*` variables and flags override it.

mod build;
mod clusters;
mod overlay;
mod pipelines;
mod plugins;
mod registry;
mod security;

use std::fmt;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::units::{Duration, Size};
use crate::handler::egress;

pub use build::{Loaded, load};
pub use clusters::at as cluster_at;
pub use overlay::Override;
pub use pipelines::{Git, Pipelines, Verify};
pub use plugins::{Grant, Plugins};
pub use registry::{Registry, RegistryTls, Remote};

/// The runtime file. Every key is optional.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "Weir runtime file")]
pub struct Spec {
    /// A stable name of this process; default the host name. Two live processes never share one.
    pub instance: Option<String>,
    /// Which pipelines this instance takes; default all.
    pub run: Run,
    /// Where the API listens. Default `127.0.0.1:7070`.
    pub listen: Option<String>,
    /// The folder of the pipelines (default `pipelines`), or the repository that they are taken from.
    pub pipelines: Option<Pipelines>,
    /// The folder of the schemas. Default `schemas`.
    pub schemas: Option<String>,
    /// The folder of the plugins (default `plugins`), and what some of them may do.
    pub plugins: Option<Plugins>,
    /// The Kafka clusters.
    pub kafka: Kafka,
    /// The schema registry: a URL, a block, or `embedded`.
    pub registry: Option<Registry>,
    /// Where rows are kept: `sqlite:PATH` or `postgres://..`. Default `sqlite:.weir/weir.db`.
    pub store: Option<String>,
    /// Where business ids are kept: `memory` or `redis://..`.
    pub dedupe: Option<String>,
    /// Where secrets are looked up: first `files`, then `env`.
    pub secrets: Secrets,
    /// What `${var:NAME}` stands for. May hold `${env:NAME}`, no secrets.
    pub vars: IndexMap<String, String>,
    /// Where webhooks may go.
    pub egress: egress::Spec,
    /// Tokens of the API and their roles.
    pub auth: Option<Value>,
    /// Logs, traces, metrics.
    pub telemetry: Telemetry,
    /// How long records in flight may take to end when partitions are taken away. Default 10s.
    pub drain_deadline: Option<Duration>,
    /// How long a stop may take. Default 30s.
    pub shutdown_grace: Option<Duration>,
    /// How published events are tried again.
    pub outbox: Outbox,
    /// Memory, sizes, ages.
    pub limits: Limits,
    /// The dashboard.
    pub dashboard: Option<Value>,
}

/// Which pipelines an instance takes.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Run {
    /// Pipelines that have all of these labels.
    pub labels: IndexMap<String, String>,
}

/// The cluster of the pipelines that name none, and others by name.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Kafka {
    /// `host:port` of some brokers: a list, or a text with commas.
    pub brokers: Brokers,
    /// TLS; `{}` uses the system's roots.
    pub tls: Option<Tls>,
    /// Authentication.
    pub sasl: Option<Sasl>,
    /// Properties of librdkafka. What Weir sets itself is refused.
    pub properties: IndexMap<String, String>,
    /// Whether the group remembers this instance over a restart.
    pub static_membership: bool,
    /// Whether a pipeline's `topics:` may be created.
    pub create_topics: bool,
    /// Further clusters by name, for `source.cluster`: up to 64 lower-case letters, digits, `_` and `-`.
    pub clusters: IndexMap<String, Cluster>,
}

/// A Kafka cluster.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "KafkaCluster")]
pub struct Cluster {
    /// `host:port` of some brokers: a list, or a text with commas.
    pub brokers: Brokers,
    /// TLS; `{}` uses the system's roots.
    pub tls: Option<Tls>,
    /// Authentication.
    pub sasl: Option<Sasl>,
    /// Properties of librdkafka. What Weir sets itself is refused.
    #[serde(default)]
    pub properties: IndexMap<String, String>,
}

/// Brokers, at least one where Kafka is used.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(transparent)]
pub struct Brokers(pub Vec<String>);

/// TLS to the brokers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "KafkaTls")]
pub struct Tls {
    /// The authorities to trust in place of the system's: a file, or `${secret:NAME}` of a secret that holds the PEM.
    pub ca: Option<String>,
    /// The client's certificate with those between it and its authority: a file, or `${secret:NAME}`.
    pub cert: Option<String>,
    /// The client's key: a file, or `${secret:NAME}`.
    pub key: Option<String>,
    /// The password of the key: `${secret:NAME}`.
    pub key_password: Option<String>,
}

/// How Weir signs on to the brokers.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "KafkaSasl")]
pub struct Sasl {
    /// The mechanism.
    pub mechanism: Mechanism,
    /// The user.
    pub username: Option<String>,
    /// The password: `${secret:NAME}`.
    pub password: Option<String>,
    /// Where the tokens of OAUTHBEARER come from.
    pub oauth2: Option<OAuth2>,
}

/// OAuth2 client credentials: who Weir is to whoever makes tokens.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "KafkaOAuth2")]
pub struct OAuth2 {
    /// Where tokens are made.
    pub token_url: String,
    /// The client's id.
    pub client_id: String,
    /// The client's secret: `${secret:NAME}`.
    pub client_secret: String,
    /// Scopes to ask for.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// The audience to ask for.
    pub audience: Option<String>,
}

/// A SASL mechanism.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Mechanism {
    /// A password in the clear: with TLS only.
    #[serde(rename = "PLAIN")]
    Plain,
    /// A salted challenge.
    #[serde(rename = "SCRAM-SHA-256")]
    Scram256,
    /// A salted challenge.
    #[serde(rename = "SCRAM-SHA-512")]
    Scram512,
    /// A token of `oauth2`.
    #[serde(rename = "OAUTHBEARER")]
    OauthBearer,
}

/// Where secrets are looked up.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Secrets {
    /// A folder with a file for each secret.
    pub files: Option<String>,
    /// The beginning of the variables that hold secrets; the rest, in lower case, is the name. Default `WEIR_SECRET_`.
    pub env: Option<String>,
}

/// Logs, traces, metrics.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// The form of the logs: `text` (default) or `json`.
    pub log: LogFormat,
    /// Where traces go.
    pub otlp: Option<String>,
    /// Whether metrics are kept by partition.
    pub partition_metrics: bool,
}

/// The form of the logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// How published events are tried again.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Outbox {
    /// How often. Default 20.
    pub max_retries: Option<u32>,
    /// The first wait. Default 1s.
    pub initial_delay: Option<Duration>,
    /// The longest wait. Default 1m.
    pub max_delay: Option<Duration>,
}

/// Memory, sizes, ages.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Memory for records. Default 512MiB.
    pub memory: Option<Size>,
    /// The largest body that the API takes. Default 1MiB.
    pub body: Option<Size>,
    /// How long work may stay uncommitted before dispatch stops. Default 5s.
    pub uncommitted: Option<Duration>,
    /// How long rows are kept.
    pub retention: Retention,
}

/// How long rows are kept.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// Rows of attempts. Default 7d.
    pub attempts: Option<Duration>,
    /// Rows of records. Default 30d.
    pub tracking: Option<Duration>,
    /// Rows of dead letters. Default 90d.
    pub dead_letters: Option<Duration>,
}

impl<'de> Deserialize<'de> for Brokers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;

        impl<'de> Visitor<'de> for Form {
            type Value = Brokers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of `host:port`, or a text with commas")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Brokers, E> {
                Ok(Brokers(text.split(',').map(|broker| broker.trim().to_owned()).collect()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Brokers, A::Error> {
                Deserialize::deserialize(SeqAccessDeserializer::new(seq)).map(Brokers)
            }
        }

        deserializer.deserialize_any(Form)
    }
}

#[cfg(test)]
mod tests;
