//! From the files on disk to what can run, again and again: what has not changed is neither parsed nor compiled anew. A broken
//! file hurts itself only.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::change::Pinned;
use super::history::{Kept, Pin};
use crate::git;
use crate::handler::egress::Egress;
use crate::plan::{self, Plan, Standing, check::Given};
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
    /// A repository that is followed.
    Git(Arc<git::Following>),
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
    /// How that file stands in git; `None` where git does not know.
    pub standing: Option<Arc<Standing>>,
    /// The file as it was read.
    pub read: Arc<PipelineFile>,
}

impl Loadable {
    /// What is written in its file.
    pub fn spec(&self) -> Option<&Pipeline> {
        self.read.spec.as_ref()
    }

    /// The text of its file.
    pub fn text(&self) -> &str {
        self.read.document.as_ref().map_or("", |document| document.source.text())
    }
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
    /// What is pinned, by pipeline.
    pinned: HashMap<String, Known>,
    /// What git knows of the folder, where it is one.
    git: Option<git::Watched>,
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
        let git = match &from {
            From::Folder(path) => Some(git::Watched::new(&folder_of(path))),
            From::Git(_) | From::Texts(_) => None,
        };
        Loader {
            from,
            settings,
            egress,
            registry,
            plugins,
            known: HashMap::new(),
            pinned: HashMap::new(),
            git,
            unread: Vec::new(),
        }
    }

    /// The repository that is followed, where one is.
    pub fn following(&self) -> Option<Arc<git::Following>> {
        match &self.from {
            From::Git(following) => Some(Arc::clone(following)),
            From::Folder(_) | From::Texts(_) => None,
        }
    }

    /// Where changes are to be looked for: the folder of the pipelines, and those of what the files name.
    pub fn folders(&self) -> Vec<PathBuf> {
        let mut folders: Vec<PathBuf> =
            self.known.values().flat_map(|known| known.inputs.folders()).map(Path::to_owned).collect();
        match &self.from {
            From::Folder(path) => folders.push(folder_of(path)),
            // What lies there changes when it is read, and not before.
            From::Git(following) => folders.retain(|folder| !folder.starts_with(following.beside(""))),
            From::Texts(_) => return Vec::new(),
        }
        folders.extend([self.settings.schemas.clone(), self.settings.plugins.clone()]);
        folders.retain(|folder| folder.is_dir());
        folders.sort();
        folders.dedup();
        folders
    }

    /// Whether nothing that was read has another content or another commit now, and no file has come or gone.
    pub fn is_up_to_date(&self) -> bool {
        if self.git.as_ref().is_some_and(|git| !git.is_unchanged()) {
            return false;
        }
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
            && self.pinned.values().all(|known| known.inputs.are_unchanged())
    }

    /// Reads, checks and compiles all files. Blocks.
    ///
    /// # Errors
    /// The folder cannot be read: nothing is known of what should run.
    pub fn load(&mut self) -> Result<Loading, std::io::Error> {
        let (in_git, fault) = self.ask_git()?;
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
        let mut count = 0;
        for known in &mut files {
            count += usize::from(known.compile(&self.environment(), &mut findings));
        }
        diagnostic::sort(&mut findings);
        let mut loading = self.settled(&files, findings, count, in_git.as_ref());
        loading.broken.extend(fault);
        self.known = files.into_iter().map(|known| (Arc::from(known.source.name()), known)).collect();
        Ok(loading)
    }

    /// What git knows of the files, and what keeps newer ones away. A followed repository is at its newest commit from here on.
    fn ask_git(&mut self) -> Result<(Option<git::Facts>, Option<Broken>), std::io::Error> {
        let From::Git(following) = &self.from else {
            return Ok((self.git.as_mut().and_then(git::Watched::read), None));
        };
        let git::Entered { facts, fault } = following.enter()?;
        let fault = fault.map(|why| Broken { file: following.shown().into(), why });
        Ok((Some(facts), fault))
    }

    fn settled(
        &self,
        files: &[Known],
        findings: Vec<Diagnostic>,
        compiled: usize,
        in_git: Option<&git::Facts>,
    ) -> Loading {
        let mut errors: Vec<&Diagnostic> = findings.iter().filter(|finding| finding.is_error()).collect();
        errors.dedup_by(|next, first| Arc::ptr_eq(&next.primary.source, &first.primary.source));
        let is_broken =
            |source: &Arc<Source>| errors.iter().any(|error| Arc::ptr_eq(&error.primary.source, source));
        let pipelines = files.iter().filter(|known| !is_broken(&known.source)).filter_map(|known| {
            let (spec, compiled) = (known.file.spec.as_ref()?, known.compiled.as_ref()?);
            let is_taken =
                self.settings.run_labels.iter().all(|(name, value)| spec.labels.get(name) == Some(value));
            is_taken.then(|| {
                let name = Path::new(known.source.name()).file_name().and_then(|name| name.to_str());
                let standing = in_git.zip(name).map(|(facts, name)| Arc::new(facts.standing(name)));
                known.loadable(spec, &compiled.plan, standing)
            })
        });
        let pipelines = pipelines.collect();
        let commit = match (&self.from, in_git) {
            (From::Git(_), Some(facts)) => format!(" (commit {})", facts.head().get(..7).unwrap_or_default()),
            _ => String::new(),
        };
        let broken = errors.into_iter().map(|error| Broken {
            file: Arc::from(error.primary.source.name()),
            why: format!("{}{commit}", diagnostic::short(error).trim_end()),
        });
        Loading { pipelines, broken: broken.collect(), findings, compiled }
    }

    /// What pipelines are to run whose older revision is held, each as it can run now beside the files that were read last. Blocks.
    pub fn pin(&mut self, pins: &[(Pin, Kept)]) -> BTreeMap<String, Pinned> {
        let mut before = std::mem::take(&mut self.pinned);
        let mut all = BTreeMap::new();
        for (pin, kept) in pins {
            let known = before.remove(&pin.pipeline).filter(|known| known.source.text() == kept.text);
            let name = format!("{}@{}", kept.file, kept.revision);
            let mut known = known.unwrap_or_else(|| Known::parse(Source::new(&name, kept.text.clone())));
            let pipeline = self.pinned(&mut known, kept);
            all.insert(pin.pipeline.clone(), Pinned { pin: pin.clone(), pipeline });
            self.pinned.insert(pin.pipeline.clone(), known);
        }
        all
    }

    /// One that is pinned: as good as a file, in the place of the file of its name.
    fn pinned(&self, known: &mut Known, kept: &Kept) -> Result<Loadable, String> {
        let of_name =
            |file: &Arc<PipelineFile>| file.spec.as_ref().is_some_and(|spec| spec.pipeline == kept.pipeline);
        let others = self.known.values().map(|known| &known.file).filter(|file| !of_name(file));
        let files: Vec<Arc<PipelineFile>> = others.chain([&known.file]).cloned().collect();
        let mut findings = known.parsed.clone();
        plan::check::check(&files, Given::of(&self.settings), &mut findings);
        known.compile(&self.environment(), &mut findings);
        let own =
            |finding: &&Diagnostic| finding.is_error() && Arc::ptr_eq(&finding.primary.source, &known.source);
        let loadable = known.file.spec.as_ref().zip(known.compiled.as_ref());
        match (findings.iter().find(own), loadable) {
            (None, Some((spec, compiled))) => Ok(Loadable {
                file: kept.file.as_str().into(),
                ..known.loadable(spec, &compiled.plan, kept.standing())
            }),
            (Some(error), _) => Err(diagnostic::short(error).trim_end().to_owned()),
            (None, None) => Err(format!("{}: it cannot be compiled", known.source.name())),
        }
    }

    /// The same with other texts in place of what it reads, and nothing kept: what these files would come to. Whoever wrote them
    /// learns nothing of the environment but what the files that run ask for themselves.
    pub fn with(&self, texts: Vec<Arc<Source>>) -> Loader {
        let mut settings = Settings::clone(&self.settings);
        let asked_for = |name: &str| {
            let reference = format!("${{env:{name}}}");
            self.known.values().any(|known| known.source.text().contains(&reference))
        };
        for (name, value) in &mut settings.references.env {
            if !asked_for(name) {
                *value = format!("env-{}", name.to_lowercase());
            }
        }
        let egress = Arc::clone(&self.egress);
        Loader::new(From::Texts(texts), Arc::new(settings), egress, self.registry.clone())
    }

    fn environment(&self) -> plan::Environment<'_> {
        plan::Environment {
            references: &self.settings.references,
            egress: Arc::clone(&self.egress),
            schemas: &self.settings.schemas,
            registry: self.registry.clone(),
            plugins: &self.plugins,
            transport: None,
        }
    }

    fn sources(&self) -> Result<Vec<files::ReadFile>, std::io::Error> {
        Ok(match &self.from {
            From::Texts(texts) => texts.iter().map(|text| Ok(Arc::clone(text))).collect(),
            From::Folder(folder) => files::pipelines(folder)?,
            From::Git(following) => {
                let read = files::pipelines(&following.folder())?;
                read.into_iter().map(|file| named(file, following)).collect()
            }
        })
    }
}

impl Known {
    fn parse(source: Arc<Source>) -> Known {
        let mut parsed = Vec::new();
        let file = Arc::new(PipelineFile::parse(&source, &mut parsed));
        Known { source, file, parsed, compiled: None, inputs: Inputs::default() }
    }

    fn loadable(&self, spec: &Pipeline, plan: &Arc<Plan>, standing: Option<Arc<Standing>>) -> Loadable {
        plan.stages.iter().for_each(|stage| stage.in_git.set(standing.clone()));
        Loadable {
            plan: Arc::clone(plan),
            facts: facts(spec, plan, standing.as_deref()),
            file: Arc::from(self.source.name()),
            standing,
            read: Arc::clone(&self.file),
        }
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

/// A file under its name in the repository, where its reader would look for it.
fn named(file: files::ReadFile, following: &git::Following) -> files::ReadFile {
    let named = |source: &Source| Source::new(following.name(Path::new(source.name())), source.text());
    match file {
        Ok(source) => Ok(named(&source)),
        Err(mut finding) => {
            finding.primary.source = named(&finding.primary.source);
            Err(finding)
        }
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

/// The folder itself, or that of a single file.
fn folder_of(path: &Path) -> PathBuf {
    if path.is_dir() { path.to_owned() } else { parent(path) }
}

fn facts(spec: &Pipeline, plan: &Plan, standing: Option<&Standing>) -> PipelineFacts {
    let slo = spec.slo.as_ref();
    PipelineFacts {
        owner: spec.owner.clone().unwrap_or_default(),
        revision: plan.revision.short().to_owned(),
        commit: standing.map(ToString::to_string).unwrap_or_default(),
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

    #[test]
    fn a_commit_of_the_same_content_shows_and_changes_nothing() {
        let repository = git::fixture::Repository::new();
        let text = |name: &str| format!("pipeline: {name}\nsource: t-{name}\nhandler: log\n");
        let one = repository.commit("a.yaml", &text("a"), "a");
        std::os::unix::fs::symlink("flows", repository.0.path().join("pipelines")).unwrap();
        let mut loader = loader(repository.0.path());
        let shown = |loading: &Loading| -> Vec<String> {
            let one = |one: &Loadable| {
                let running = one.plan.stages[0].in_git.get().map(|standing| standing.to_string());
                assert_eq!(running, Some(one.facts.commit.clone()), "what dead letters say");
                one.facts.commit.clone()
            };
            loading.pipelines.iter().map(one).collect()
        };
        let first = loader.load().unwrap();
        assert_eq!(shown(&first), [&one[..7]]);
        repository.write("b.yaml", &text("b"));
        let dirty = loader.load().unwrap();
        assert_eq!(shown(&dirty), [&one[..7], "uncommitted"]);
        assert!(loader.is_up_to_date());
        let two = repository.commit("b.yaml", &text("b"), "b");
        assert!(!loader.is_up_to_date(), "it is committed now");
        let committed = loader.load().unwrap();
        assert_eq!(
            (committed.compiled, shown(&committed)),
            (0, vec![one[..7].to_owned(), two[..7].to_owned()])
        );
        assert!(Arc::ptr_eq(&committed.pipelines[1].plan, &dirty.pipelines[1].plan));
        assert!(loader.is_up_to_date());
        let standing = committed.pipelines[1].standing.as_ref().unwrap();
        assert_eq!((standing.commit.as_ref().unwrap().subject.as_str(), standing.dirty), ("b", false));
    }
}
