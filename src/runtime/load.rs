//! From the files on disk to what can run, again and again: what has not changed is neither parsed nor compiled anew. A broken
//! file hurts itself only.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::handler::egress::Egress;
use crate::plan::{self, Plan, check::Given};
use crate::plugin::{Grant, Plugins};
use crate::registry;
use crate::settings::{Inputs, Settings, noted};
use crate::spec::diagnostic::{self, Diagnostic};
use crate::spec::pipeline::{Delivery, Pipeline};
use crate::spec::span::Source;
use crate::spec::{PipelineFile, files};
use crate::telemetry::metrics::PipelineFacts;

/// Where pipelines come from.
#[derive(Debug, Clone)]
pub enum From {
    /// A folder, or one file.
    Folder(PathBuf),
    /// Texts that do not change.
    Texts(Vec<Arc<Source>>),
}

/// A pipeline that can run.
#[derive(Debug, Clone)]
pub struct Loadable {
    /// What will run.
    pub plan: Arc<Plan>,
    /// What metrics say of it.
    pub facts: PipelineFacts,
    /// The file that it is in.
    pub file: Arc<str>,
}

/// A file that cannot run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The file.
    pub file: Arc<str>,
    /// Its first error: `file:line:col: error[W0000]: message`.
    pub why: String,
}

/// What the files come to.
#[derive(Debug, Default)]
pub struct Loading {
    /// What can run, in the order of the files.
    pub pipelines: Vec<Loadable>,
    /// The files that cannot, each by its first error.
    pub broken: Vec<Broken>,
    /// All that is to be said of the files, in their order.
    pub findings: Vec<Diagnostic>,
    /// How many files were compiled because they, or what they name, have changed.
    pub compiled: usize,
}

/// What files are compiled with; it stays the same for as long as the process runs.
#[derive(Debug)]
pub struct Loader {
    from: From,
    settings: Arc<Settings>,
    egress: Arc<Egress>,
    registry: Option<registry::Client>,
    plugins: Plugins,
    known: HashMap<Arc<str>, Known>,
    /// What was said of files that could not be read.
    unread: Vec<String>,
}

/// A file as it was at the last load.
#[derive(Debug)]
struct Known {
    source: Arc<Source>,
    file: Arc<PipelineFile>,
    /// What parsing has found.
    parsed: Vec<Diagnostic>,
    compiled: Option<Compiled>,
    /// What it names, as it was when it was last compiled, well or not.
    inputs: Inputs,
}

#[derive(Debug)]
struct Compiled {
    plan: Arc<Plan>,
    /// What compiling has found.
    findings: Vec<Diagnostic>,
}

impl Loader {
    /// One that has read nothing yet.
    pub fn new(
        from: From,
        settings: Arc<Settings>,
        egress: Arc<Egress>,
        registry: Option<registry::Client>,
    ) -> Loader {
        let plugins = plugins(&settings);
        Loader { from, settings, egress, registry, plugins, known: HashMap::new(), unread: Vec::new() }
    }

    /// Where changes are to be looked for: the folder of the pipelines, and those of what the files name.
    pub fn folders(&self) -> Vec<PathBuf> {
        let From::Folder(path) = &self.from else { return Vec::new() };
        let mut folders: Vec<PathBuf> =
            self.known.values().flat_map(|known| known.inputs.folders()).map(Path::to_owned).collect();
        folders.push(if path.is_dir() { path.clone() } else { parent(path) });
        folders.extend([self.settings.schemas.clone(), self.settings.plugins.clone()]);
        folders.retain(|folder| folder.is_dir());
        folders.sort();
        folders.dedup();
        folders
    }

    /// Whether nothing that was read has another content now, and no file has come or gone.
    pub fn is_up_to_date(&self) -> bool {
        let Ok(sources) = self.sources() else { return false };
        let unread = sources.iter().filter_map(|source| source.as_ref().err());
        let read: Vec<&Arc<Source>> = sources.iter().filter_map(|source| source.as_ref().ok()).collect();
        let is_same = |source: &&Arc<Source>| {
            let known = self.known.get(source.name()).filter(|known| known.source.text() == source.text());
            known.is_some_and(|known| known.inputs.are_unchanged())
        };
        unread.map(|finding| diagnostic::short(finding)).eq(self.unread.iter().cloned())
            && read.len() == self.known.len()
            && read.iter().all(is_same)
    }

    /// Reads, checks and compiles all files. Blocks.
    ///
    /// # Errors
    /// The folder cannot be read: nothing is known of what should run.
    pub fn load(&mut self) -> Result<Loading, std::io::Error> {
        let sources = self.sources()?;
        let mut findings = Vec::new();
        let mut before = std::mem::take(&mut self.known);
        let mut files: Vec<Known> = Vec::new();
        for source in sources {
            match source {
                Ok(source) => {
                    let same =
                        before.remove(source.name()).filter(|known| known.source.text() == source.text());
                    files.push(same.unwrap_or_else(|| Known::parse(source)));
                }
                Err(finding) => findings.push(*finding),
            }
        }
        self.unread = findings.iter().map(diagnostic::short).collect();
        findings.extend(files.iter().flat_map(|known| &known.parsed).cloned());
        let parsed: Vec<Arc<PipelineFile>> = files.iter().map(|known| Arc::clone(&known.file)).collect();
        plan::check::check(&parsed, Given::of(&self.settings), &mut findings);
        let environment = plan::Environment {
            references: &self.settings.references,
            egress: Arc::clone(&self.egress),
            schemas: &self.settings.schemas,
            registry: self.registry.clone(),
            plugins: &self.plugins,
            transport: None,
        };
        let mut count = 0;
        for known in &mut files {
            count += usize::from(known.compile(&environment, &mut findings));
        }
        diagnostic::sort(&mut findings);
        let loading = self.settled(&files, findings, count);
        self.known = files.into_iter().map(|known| (Arc::from(known.source.name()), known)).collect();
        Ok(loading)
    }

    fn settled(&self, files: &[Known], findings: Vec<Diagnostic>, compiled: usize) -> Loading {
        let mut errors: Vec<&Diagnostic> = findings.iter().filter(|finding| finding.is_error()).collect();
        errors.dedup_by(|next, first| Arc::ptr_eq(&next.primary.source, &first.primary.source));
        let is_broken =
            |source: &Arc<Source>| errors.iter().any(|error| Arc::ptr_eq(&error.primary.source, source));
        let pipelines = files.iter().filter(|known| !is_broken(&known.source)).filter_map(|known| {
            let (spec, compiled) = (known.file.spec.as_ref()?, known.compiled.as_ref()?);
            let is_taken =
                self.settings.run_labels.iter().all(|(name, value)| spec.labels.get(name) == Some(value));
            is_taken.then(|| Loadable {
                plan: Arc::clone(&compiled.plan),
                facts: facts(spec, &compiled.plan),
                file: Arc::from(known.source.name()),
            })
        });
        let pipelines = pipelines.collect();
        let broken = errors.into_iter().map(|error| Broken {
            file: Arc::from(error.primary.source.name()),
            why: diagnostic::short(error).trim_end().to_owned(),
        });
        Loading { pipelines, broken: broken.collect(), findings, compiled }
    }

    fn sources(&self) -> Result<Vec<files::ReadFile>, std::io::Error> {
        Ok(match &self.from {
            From::Texts(texts) => texts.iter().map(|text| Ok(Arc::clone(text))).collect(),
            From::Folder(folder) => files::pipelines(folder)?,
        })
    }
}

impl Known {
    fn parse(source: Arc<Source>) -> Known {
        let mut parsed = Vec::new();
        let file = Arc::new(PipelineFile::parse(&source, &mut parsed));
        Known { source, file, parsed, compiled: None, inputs: Inputs::default() }
    }

    /// Compiles it where it, or what it names, has changed; whether it had to be.
    fn compile(&mut self, environment: &plan::Environment<'_>, findings: &mut Vec<Diagnostic>) -> bool {
        if let Some(compiled) = self.compiled.as_ref().filter(|_| self.inputs.are_unchanged()) {
            findings.extend(compiled.findings.iter().cloned());
            return false;
        }
        let before = findings.len();
        let (plan, inputs) = noted(|| plan::compile(&self.file, environment, findings));
        let found = findings.get(before..).unwrap_or_default().to_vec();
        // What is broken is compiled each time: it may be another file that makes it so.
        self.compiled = plan.map(|plan| Compiled { plan: Arc::new(plan), findings: found });
        self.inputs = inputs;
        true
    }
}

/// Where plugins come from.
pub fn plugins(settings: &Settings) -> Plugins {
    let grants = settings.plugin_grants.iter();
    let grants = grants.map(|(file, files)| (file.clone(), Grant { files: files.clone() })).collect();
    Plugins::new(&settings.plugins, grants)
}

fn parent(path: &Path) -> PathBuf {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
}

fn facts(spec: &Pipeline, plan: &Plan) -> PipelineFacts {
    let slo = spec.slo.as_ref();
    PipelineFacts {
        owner: spec.owner.clone().unwrap_or_default(),
        revision: plan.revision.short().to_owned(),
        commit: String::new(),
        delivery: match spec.delivery {
            Delivery::AtLeastOnce => "at_least_once".to_owned(),
        },
        max_age: slo.and_then(|slo| slo.max_age).map(|age| age.0),
        dlq_ratio: slo.and_then(|slo| slo.dlq_ratio).map(|ratio| ratio.0),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::handler::egress;
    use crate::spec::runtime;

    fn loader(folder: &Path) -> Loader {
        let mut settings =
            runtime::load(None, &std::collections::BTreeMap::new(), &[], &mut Vec::new()).unwrap().settings;
        settings.schemas = folder.join("schemas");
        let egress = Arc::new(Egress::new(&egress::Spec::default(), &[]).unwrap());
        Loader::new(From::Folder(folder.join("pipelines")), Arc::new(settings), egress, None)
    }

    fn names(loading: &Loading) -> Vec<&str> {
        loading.pipelines.iter().map(|one| one.plan.pipeline.as_str()).collect()
    }

    #[test]
    fn a_file_with_an_error_of_any_kind_does_not_run_and_the_others_do() {
        let folder = tempfile::tempdir().unwrap();
        let files = [
            // It compiles; that its dead letters come back to it is found by looking at topics.
            ("a.yaml", "pipeline: a\nsource: t\nhandler: https://h.test/v1/a\ndlq: t\n"),
            ("b.yaml", "pipeline: b\nsource: t\nhandler: log\n"),
            // Its name is taken.
            ("c.yaml", "pipeline: b\nsource: u\nhandler: log\n"),
        ];
        fs::create_dir(folder.path().join("pipelines")).unwrap();
        for (name, text) in files {
            fs::write(folder.path().join("pipelines").join(name), text).unwrap();
        }
        let loading = loader(folder.path()).load().unwrap();
        assert_eq!(names(&loading), ["b"], "{:?}", loading.broken);
        let broken: Vec<_> = loading.broken.iter().map(|one| one.file.rsplit('/').next().unwrap()).collect();
        assert_eq!(broken, ["a.yaml", "c.yaml"]);
    }

    #[test]
    fn what_has_not_changed_is_not_compiled_again() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("pipelines")).unwrap();
        fs::create_dir(at("schemas")).unwrap();
        let order = r#"{"type": "record", "name": "O", "fields": [{"name": "id", "type": "string"}]}"#;
        fs::write(at("schemas/o.avsc"), order).unwrap();
        let plain = |name: &str| format!("pipeline: {name}\nsource: t-{name}\nhandler: log\n");
        let avro = "pipeline: avro\nsource: { topic: t, format: avro, schema: { file: schemas/o.avsc } }\nhandler: log\n";
        for name in ["a", "b"] {
            fs::write(at(&format!("pipelines/{name}.yaml")), plain(name)).unwrap();
        }
        fs::write(at("pipelines/avro.yaml"), avro).unwrap();
        let mut loader = loader(folder.path());
        let first = loader.load().unwrap();
        assert_eq!((first.compiled, names(&first)), (3, vec!["a", "avro", "b"]), "{:?}", first.broken);
        assert!(loader.is_up_to_date());
        let again = loader.load().unwrap();
        assert_eq!(again.compiled, 0);
        let same = |one: &Loading, other: &Loading, at: usize| {
            Arc::ptr_eq(&one.pipelines[at].plan, &other.pipelines[at].plan)
        };
        assert!((0..3).all(|at| same(&first, &again, at)));

        fs::write(at("pipelines/b.yaml"), format!("# more\n{}", plain("b"))).unwrap();
        assert!(!loader.is_up_to_date());
        let edited = loader.load().unwrap();
        assert_eq!(edited.compiled, 1);
        assert!(same(&first, &edited, 0) && same(&first, &edited, 1) && !same(&first, &edited, 2));

        // A schema is a change of who names it, and of nobody else.
        fs::write(at("schemas/o.avsc"), order.replace("id", "key")).unwrap();
        assert!(!loader.is_up_to_date());
        assert_eq!(loader.load().unwrap().compiled, 1);
        fs::write(at("schemas/o.avsc"), "{").unwrap();
        let broken = loader.load().unwrap();
        assert_eq!((names(&broken), broken.broken.len()), (vec!["a", "b"], 1));
        fs::write(at("schemas/o.avsc"), order).unwrap();
        assert_eq!(names(&loader.load().unwrap()), ["a", "avro", "b"]);

        fs::remove_file(at("pipelines/a.yaml")).unwrap();
        assert!(!loader.is_up_to_date());
        assert_eq!(names(&loader.load().unwrap()), ["avro", "b"]);
        // Of two files of one name the second is broken, until the first is gone.
        fs::write(at("pipelines/b.yml"), plain("b")).unwrap();
        let loading = loader.load().unwrap();
        assert_eq!((names(&loading), loading.broken.len()), (vec!["avro", "b"], 1));
        fs::remove_file(at("pipelines/b.yaml")).unwrap();
        let loading = loader.load().unwrap();
        assert_eq!(names(&loading), ["avro", "b"], "{:?}", loading.broken);
        fs::rename(at("pipelines"), at("away")).unwrap();
        assert!(loader.load().is_err());
    }
}
