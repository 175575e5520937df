//! Where webhooks may go: the `egress` block of weir.yaml.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where webhooks may go. Judged on the address about to be dialled; never written in a pipeline file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Egress")]
pub struct Spec {
    /// The addresses that are refused unless they are allowed below.
    pub profile: Profile,
    /// Networks that the profile would refuse and that are allowed all the same.
    pub allow_cidrs: Vec<String>,
    /// Networks that are refused, whatever else allows them.
    pub deny_cidrs: Vec<String>,
    /// Hosts that are allowed past the profile, exactly or by `*.` suffix; only these may come from record data.
    pub allow_hosts: Vec<String>,
}

/// The addresses that are refused by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "EgressProfile")]
pub enum Profile {
    /// Refuses link-local, metadata, multicast, unspecified and broadcast addresses.
    #[default]
    Internal,
    /// Allows globally routable addresses over https only.
    Public,
}
