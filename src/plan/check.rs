//! Checks on what was written, in one file and across files. Pure: needs no VRL, no network. What VRL and templates say
//! comes from compiling.

mod clusters;
mod graph;
mod memory;
mod names;
mod references;
mod advice;

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};

use crate::settings::{ClusterSettings, DEFAULT_CLUSTER, References, Settings};
use crate::spec::PipelineFile;
use crate::spec::diagnostic::Diagnostic;
use crate::spec::pipeline::{Pipeline, Stage};
use crate::spec::tree::{Document, Node, Path};

/// A stage and where it stands.
struct Placed<'a> {
    /// `pipeline.stage`; the pipeline alone where the file has no `stages`.
    service: String,
    /// The same of the name that the pipeline had first.
    identity: String,
    /// The name of its cluster.
    cluster: String,
    /// The defaults of its file are in it.
    stage: Stage,
    document: &'a Document,
    /// The file's root, or `stages.NAME`.
    at: Path,
}

impl Placed<'_> {
    /// The path of a key: that of the stage, or of the file where it says it for all of its stages.
    fn path(&self, key: &str) -> Path {
        let own = self.at.then(key);
        if self.document.at(&own).is_some() { own } else { Path::root().then(key) }
    }

    /// The routes of `publish`, each with its path.
    fn routes(&self) -> Vec<(Path, &Node)> {
        let path = self.at.then("publish");
        match self.document.at(&path) {
            None => Vec::new(),
            Some(node) if node.items().is_empty() => vec![(path, node)],
            Some(node) => node.items().iter().enumerate().map(|(at, item)| (path.then(at), item)).collect(),
        }
    }
}

/// What files are checked against.
#[derive(Debug, Clone, Copy)]
pub struct Given<'a> {
    /// What `${..}` resolves to.
    pub references: &'a References,
    /// `limits.memory`, in bytes.
    pub memory: u64,
    /// The clusters of weir.yaml by name.
    pub clusters: &'a BTreeMap<String, ClusterSettings>,
    /// The labels of the pipelines that the instance takes; empty: all.
    pub labels: &'a BTreeMap<String, String>,
}

impl<'a> Given<'a> {
    /// What the settings of a process give.
    pub fn of(settings: &'a Settings) -> Given<'a> {
        Given {
            references: &settings.references,
            memory: settings.memory,
            clusters: &settings.clusters,
            labels: &settings.run_labels,
        }
    }
}

/// Checks all files that are loaded together.
pub fn check<F: Borrow<PipelineFile>>(files: &[F], given: Given<'_>, findings: &mut Vec<Diagnostic>) {
    let Given { references, memory, clusters, labels } = given;
    let read: Vec<(&Document, Option<&Pipeline>)> = files
        .iter()
        .map(Borrow::borrow)
        .filter_map(|file| Some((file.document.as_ref()?, file.spec.as_ref())))
        .collect();
    let mut placed = Vec::new();
    for (document, spec) in &read {
        names::pipeline(document, findings);
        references::check(document, references, findings);
        let Some(spec) = spec else { continue };
        for (name, stage) in spec.stages() {
            let root = Path::root();
            let (service, identity, at) = match name {
                None => (spec.pipeline.clone(), spec.identity().to_owned(), root),
                Some(name) => {
                    let of = |pipeline: &str| format!("{pipeline}.{name}");
                    (of(&spec.pipeline), of(spec.identity()), root.then("stages").then(name))
                }
            };
            let cluster = stage.source.cluster.as_deref().unwrap_or(DEFAULT_CLUSTER);
            let cluster = references.shown(cluster);
            let placed_stage = Placed { service, identity, cluster, stage, document, at };
            // Another instance takes it, and knows other clusters.
            if labels.iter().all(|(name, value)| spec.labels.get(name) == Some(value)) {
                clusters::check(&placed_stage, clusters, references, findings);
            }
            names::secrets(&placed_stage, references, findings);
            advice::stage(&placed_stage, spec, findings);
            placed.push(placed_stage);
        }
    }
    names::across(&read, &placed, references, findings);
    let used: BTreeSet<&str> = placed.iter().map(|placed| placed.cluster.as_str()).collect();
    for cluster in used {
        // No stage leads from one cluster to another.
        let of_cluster: Vec<_> = placed.iter().filter(|placed| placed.cluster == cluster).collect();
        graph::check(&of_cluster, references, findings);
    }
    memory::check(&placed, memory, findings);
}
