//! Whether weir.yaml has the cluster that a stage reads.

use std::collections::BTreeMap;

use super::Placed;
use crate::settings::{ClusterSettings, DEFAULT_CLUSTER, References};
use crate::spec::diagnostic::{Diagnostic, did_you_mean};

pub(super) fn check(
    placed: &Placed<'_>,
    clusters: &BTreeMap<String, ClusterSettings>,
    references: &References,
    findings: &mut Vec<Diagnostic>,
) {
    let named = || clusters.keys().map(String::as_str).filter(|name| *name != DEFAULT_CLUSTER);
    let name = placed.cluster.as_str();
    let source = placed.at.then("source");
    let written = placed.stage.source.cluster.as_deref();
    let has_brokers = |name: &str| clusters.get(name).is_some_and(|cluster| !cluster.brokers.is_empty());
    // Where nothing says where Kafka is, that is said when it is run.
    let nothing = named().next().is_none() && !has_brokers(DEFAULT_CLUSTER);
    // That its reference is not set, or a secret, was said.
    let unset = written.is_some_and(|it| !references.resolve(it).is_ok_and(|name| !name.is_secret()));
    if has_brokers(name) || nothing || unset {
        return;
    }
    let finding = if clusters.contains_key(name) {
        let place = placed.document.label(&source, "");
        let several = named().map(|name| format!("`cluster: {name}`")).collect::<Vec<_>>().join(" or ");
        let message = "weir.yaml has named clusters only, and this source names none";
        Diagnostic::error("W0212", message, place)
            .with_help(format!("add {several} to it, or `kafka.brokers` to weir.yaml"))
    } else {
        let place = placed.document.label(&source.then("cluster"), "");
        let help = match did_you_mean(name, named()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("add `clusters: {{ {name}: {{ brokers: [..] }} }}` to `kafka` in weir.yaml"),
        };
        Diagnostic::error("W0212", format!("weir.yaml has no cluster `{name}`"), place).with_help(help)
    };
    findings.push(finding);
}
