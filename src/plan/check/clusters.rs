//! Whether weir.yaml has the cluster that a stage reads.

use std::collections::BTreeMap;

use super::Placed;
use crate::settings::{ClusterSettings, DEFAULT_CLUSTER, References};
use crate::spec::diagnostic::{Diagnostic, did_you_mean};

pub(super) fn check(
    stages: &[Placed<'_>],
    clusters: &BTreeMap<String, ClusterSettings>,
    references: &References,
    findings: &mut Vec<Diagnostic>,
) {
    let named = || clusters.keys().map(String::as_str).filter(|name| *name != DEFAULT_CLUSTER);
    for placed in stages {
        let name = placed.cluster.as_str();
        let source = placed.at.then("source");
        let written = placed.stage.source.cluster.as_deref();
        let finding = match clusters.get(name) {
            // Without brokers and other clusters, where Kafka is shall be said when it is run.
            Some(cluster) if !cluster.brokers.is_empty() || named().next().is_none() => continue,
            Some(_) => {
                let place = placed.document.label(&source, "");
                let several =
                    named().map(|name| format!("`cluster: {name}`")).collect::<Vec<_>>().join(" or ");
                let message = "weir.yaml has named clusters only, and this source names none";
                Diagnostic::error("W0212", message, place)
                    .with_help(format!("add {several} to it, or `kafka.brokers` to weir.yaml"))
            }
            // That its reference is not set was said.
            None if written.is_some_and(|written| references.resolve(written).is_err()) => continue,
            None => {
                let place = placed.document.label(&source.then("cluster"), "");
                let help = match did_you_mean(name, named()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => {
                        format!("add `clusters: {{ {name}: {{ brokers: [..] }} }}` to `kafka` in weir.yaml")
                    }
                };
                Diagnostic::error("W0212", format!("weir.yaml has no cluster `{name}`"), place)
                    .with_help(help)
            }
        };
        findings.push(finding);
    }
}
