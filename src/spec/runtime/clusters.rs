//! The clusters of the runtime file: that of `kafka` itself, and those of `kafka.clusters`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::build::Builder;
use super::{Cluster, Kafka, security};
use crate::kafka::options::RESERVED;
use crate::settings::{ClusterSettings, DEFAULT_CLUSTER, References};
use crate::spec::diagnostic::Diagnostic;
use crate::spec::tree::Path;
use crate::spec::units;

/// The longest name of a cluster.
const MAX_NAME: usize = 64;

/// Where a cluster is written.
pub fn at(name: &str) -> Path {
    let kafka = Path::root().then("kafka");
    if name == DEFAULT_CLUSTER { kafka } else { kafka.then("clusters").then(name) }
}

impl Kafka {
    /// Every cluster with its name; that of `kafka` itself first.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, Cluster)> {
        let own = Cluster {
            brokers: self.brokers.clone(),
            tls: self.tls.clone(),
            sasl: self.sasl.clone(),
            properties: self.properties.clone(),
        };
        let named = self.clusters.iter().map(|(name, cluster)| (name.as_str(), cluster.clone()));
        std::iter::once((DEFAULT_CLUSTER, own)).chain(named)
    }
}

impl Builder<'_> {
    pub(super) fn clusters(
        &mut self,
        references: &References,
        kafka: &Kafka,
        drain_deadline: Duration,
    ) -> BTreeMap<String, ClusterSettings> {
        for (name, cluster) in &kafka.clusters {
            self.named(name, cluster);
        }
        let settled = kafka.all().map(|(name, cluster)| {
            (name.to_owned(), self.cluster(references, &at(name), &cluster, drain_deadline))
        });
        settled.collect()
    }

    /// What only a cluster with a name can have wrong.
    fn named(&mut self, name: &str, cluster: &Cluster) {
        let path = Path::root().then("kafka").then("clusters").then(name);
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
        let (message, help, label) = if name == DEFAULT_CLUSTER {
            let message = format!("`{name}` is the cluster that `kafka` itself describes");
            (message, "give this one another name", self.document.key_label(&path, ""))
        } else if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(legal) {
            let message = format!("`{name}` is no name of a cluster");
            let help = "use 1 to 64 lower-case letters, digits, `_` and `-`";
            (message, help, self.document.key_label(&path, ""))
        } else if cluster.brokers.0.is_empty() {
            let message = format!("the cluster `{name}` has no broker");
            let help = "name at least one: brokers: [kafka-1:9092]";
            (message, help, self.document.label(&path.then("brokers"), ""))
        } else {
            return;
        };
        self.findings.push(Diagnostic::error("W0106", message, label).with_help(help));
    }

    fn cluster(
        &mut self,
        references: &References,
        at: &Path,
        written: &Cluster,
        drain_deadline: Duration,
    ) -> ClusterSettings {
        let mut brokers = Vec::new();
        for broker in &written.brokers.0 {
            brokers.push(self.text(references, &at.then("brokers"), broker));
        }
        let mut properties = BTreeMap::new();
        for (name, value) in &written.properties {
            let value = self.text(references, &at.then("properties").then(name.as_str()), value);
            self.property(at, name, &value, drain_deadline);
            properties.insert(name.clone(), value);
        }
        for (property, value) in self.security(references, at, written) {
            properties.insert(property.to_owned(), value);
        }
        ClusterSettings { brokers, properties }
    }

    /// What Weir sets itself, or needs for what it promises.
    fn property(&mut self, cluster: &Path, name: &str, value: &str, drain_deadline: Duration) {
        let too_short = name == "max.poll.interval.ms"
            && value.parse::<u128>().is_ok_and(|millis| millis <= drain_deadline.as_millis());
        let reserved = RESERVED.contains(&name) || name.starts_with("enable.auto.");
        let keys = security::keys_of(name);
        if !too_short && !reserved && keys.is_none() {
            return;
        }
        let label = self.document.key_label(&cluster.then("properties").then(name), "");
        let finding = if let Some(keys) = keys {
            let keys: Vec<String> = keys.split(' ').map(|key| format!("{cluster}.{key}")).collect();
            Diagnostic::error("W0601", format!("`{name}` is set by Weir itself"), label)
                .with_cause("one place says how Weir signs on to Kafka")
                .with_help(format!("write {} instead", keys.join(" or ")))
        } else if reserved {
            Diagnostic::error("W0601", format!("`{name}` is set by Weir itself"), label)
                .with_cause("what Weir promises about loss, order and duplicates rests on it")
                .with_help("take it out")
        } else {
            let deadline = units::Duration(drain_deadline);
            Diagnostic::error("W0601", "`max.poll.interval.ms` must be longer than `drain_deadline`", label)
                .with_cause("Kafka would take the partitions away while they are drained")
                .with_help(format!("raise it above {deadline}, or lower `drain_deadline`"))
        };
        self.findings.push(finding);
    }
}
