//! What a process runs with: the values that the runtime file, `WEIR_*` variables and flags came to, and what references
//! resolve to. The only module that reads the environment. The file itself is read by `spec::runtime`.

pub mod memory;
pub mod pem;
mod reference;
mod environment;
mod files;
mod followed;
mod inputs;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

pub use environment::{SECRET_PREFIX, environment, host_name, secrets};
pub use files::{Unread, below, read_below, read_bytes_below};
pub use followed::{Followed, Signers};
pub use inputs::{Inputs, noted};
pub use reference::{ReferenceError, References, Resolved};

/// What a process runs with; every default is settled.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The name of this process, stable over restarts.
    pub instance: String,
    /// Pipelines that have all of these labels are taken; empty: all.
    pub run_labels: BTreeMap<String, String>,
    /// `host:port` of the API.
    pub listen: String,
    /// The folder of the pipelines; where a repository is followed, that of a copy of it on this machine, for what looks at files
    /// before they are committed.
    pub pipelines: PathBuf,
    /// The repository that `weir run` takes pipelines from in place of a folder.
    pub followed: Option<Followed>,
    /// The folder of the schemas.
    pub schemas: PathBuf,
    /// The folder of the plugins.
    pub plugins: PathBuf,
    /// Where rows are kept: `sqlite:PATH` or `postgres://..`.
    pub store: Resolved,
    /// What is granted to plugins, by the file's path below their folder: folders that one may read, and where it sees them.
    pub plugin_grants: BTreeMap<String, BTreeMap<PathBuf, String>>,
    /// The Kafka clusters by name; the one of those that name none, `DEFAULT_CLUSTER`, is always among them.
    pub clusters: BTreeMap<String, ClusterSettings>,
    /// How long records in flight may take to end when partitions are taken away.
    pub drain_deadline: Duration,
    /// How long a stop may take.
    pub shutdown_grace: Duration,
    /// Bytes for records.
    pub memory: u64,
    /// Bytes of the largest body that the API takes.
    pub body: u64,
    /// How long work may stay uncommitted before dispatch stops.
    pub uncommitted: Duration,
    /// Whether logs are JSON.
    pub log_json: bool,
    /// Whether metrics are kept by partition.
    pub partition_metrics: bool,
    /// What references resolve to.
    pub references: References,
}

/// Where rows are kept where nobody says where.
pub const DEFAULT_STORE: &str = "sqlite:.weir/weir.db";

/// The name of the cluster that `kafka` itself describes.
pub const DEFAULT_CLUSTER: &str = "default";

/// A Kafka cluster, references resolved.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ClusterSettings {
    /// `host:port` of some brokers; empty where none are configured.
    pub brokers: Vec<String>,
    /// Properties of librdkafka: the user's, and those of security. Values may be secret.
    pub properties: BTreeMap<String, String>,
}

impl std::fmt::Debug for ClusterSettings {
    /// Names of properties, never their values.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClusterSettings")
            .field("brokers", &self.brokers)
            .field("properties", &self.properties.keys().collect::<Vec<_>>())
            .finish()
    }
}
