//! Files of tests, and the pipelines beside them: read, checked against each other, made into cases.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use super::coverage::Coverage;
use super::event::{self, Record};
use super::run::Play;
use super::schemas::SchemaFolder;
use super::script::Script;
use crate::handler::egress::{self, Egress};
use crate::handler::webhook::Transport;
use crate::plan::check::Given as Against;
use crate::plan::{self, Plan};
use crate::plugin::Plugins;
use crate::registry::Client;
use crate::runtime::load::plugins;
use crate::settings::{ClusterSettings, References};
use crate::spec::diagnostic::{Diagnostic, did_you_mean};
use crate::spec::testfile::{Expect, Given, OneOrList, PerStage, Reply, Test, TestFile, Tests};
use crate::spec::tree::{Document, Path};
use crate::spec::{PipelineFile, files, runtime};
use crate::telemetry::metrics::Metrics;

/// What does not fit together in a file of tests.
const UNFIT: &str = "W0119";
/// A test names what is not there.
const ABSENT: &str = "W0213";

/// What tests run with: the schemas, the plugins and the address guard of the runtime file.
pub struct Bench {
    schemas: PathBuf,
    clusters: BTreeMap<String, ClusterSettings>,
    egress: egress::Spec,
    plugins: Plugins,
    registry: Client,
    pub(super) metrics: Arc<Metrics>,
    /// What its tests have exercised.
    pub coverage: Coverage,
}

impl fmt::Debug for Bench {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bench").finish_non_exhaustive()
    }
}

impl Bench {
    /// Of the runtime file. Its variables and secrets are not used: tests give their own.
    pub fn new(loaded: &runtime::Loaded) -> Bench {
        let schemas = loaded.settings.schemas.clone();
        Bench {
            egress: loaded.egress.clone(),
            clusters: loaded.settings.clusters.clone(),
            plugins: plugins(&loaded.settings),
            registry: Client::new(Arc::new(SchemaFolder::read(&schemas))),
            metrics: Metrics::new(),
            coverage: Coverage::default(),
            schemas,
        }
    }

    /// Compiles a pipeline as production does.
    fn plan(
        &self,
        file: &PipelineFile,
        references: &References,
        transport: Option<Arc<dyn Transport>>,
        findings: &mut Vec<Diagnostic>,
    ) -> Option<Plan> {
        let egress = Egress::new(&self.egress, &[]).or_else(|_| Egress::new(&egress::Spec::default(), &[]));
        let environment = plan::Environment {
            references,
            egress: Arc::new(egress.ok()?),
            schemas: &self.schemas,
            registry: Some(self.registry.clone()),
            plugins: &self.plugins,
            transport,
        };
        let given =
            Against { references, memory: u64::MAX, clusters: &self.clusters, labels: &BTreeMap::new() };
        plan::check::check(std::slice::from_ref(file), given, findings);
        plan::compile(file, &environment, findings)
    }

    /// The same for a test: a script carries its requests, waits are exact, no breaker opens, and what the file pauses runs.
    pub(super) fn compile(&self, play: &Play<'_>, script: &Arc<Script>) -> Result<Plan, String> {
        let transport = play.replies.as_ref().map(|_| Arc::clone(script) as Arc<dyn Transport>);
        let mut plan = self
            .plan(play.pipeline, play.references, transport, &mut Vec::new())
            .ok_or("the pipeline does not compile")?;
        for stage in &mut plan.stages {
            let stage = Arc::get_mut(stage).ok_or("the pipeline is in use")?;
            let retry = stage.policy.retry.clone().without_jitter();
            // Who really sends a request waits for its answer, and not for hours of retries.
            stage.policy.retry = if play.replies.is_some() { retry } else { retry.once() };
            (stage.breaker, stage.paused) = (None, false);
            match play.watch {
                Some(watch) => {
                    let watch = watch(&stage.service);
                    stage.steps.iter_mut().for_each(|step| step.watch = Some(Arc::clone(&watch)));
                }
                None => self.coverage.watch(stage),
            }
        }
        Ok(plan)
    }
}

/// Scripted answers, by the service of the stage that asks.
pub(super) type Replies = BTreeMap<String, Vec<Reply>>;

/// Tests of several files, in their order.
#[derive(Debug, Default)]
pub struct Suite {
    /// How many files there are, those included that cannot be used.
    pub read: usize,
    /// The files.
    pub files: Vec<Arc<CaseFile>>,
    /// The tests of all files, in their order.
    pub cases: Vec<Case>,
    /// What is wrong with files of tests, and with the pipelines that they test.
    pub findings: Vec<Diagnostic>,
}

/// A file of tests and its pipeline.
#[derive(Debug)]
pub struct CaseFile {
    /// Its tree.
    pub document: Document,
    /// Where it lies.
    pub path: PathBuf,
    /// The pipeline.
    pub(super) pipeline: PipelineFile,
    pub(super) references: References,
    /// The stages: their names in the file, and their services.
    pub(super) stages: Vec<Stage>,
}

/// A stage as tests name it.
#[derive(Debug, Clone)]
pub(super) struct Stage {
    /// Its name in the file; the pipeline's where the file has no `stages`.
    pub(super) name: String,
    pub(super) service: String,
}

/// One test, ready to run.
#[derive(Debug, Clone)]
pub struct Case {
    /// What it shows.
    pub name: String,
    /// Which of its file's tests it is.
    pub index: usize,
    /// The line of its name.
    pub line: usize,
    /// Where it is written.
    pub file: Arc<CaseFile>,
    pub(super) given: Vec<Record>,
    /// By service.
    pub(super) replies: Replies,
    /// What it expects.
    pub expect: Expect,
}

impl CaseFile {
    /// The name of the file, without its folder.
    pub fn name(&self) -> String {
        self.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// Whether the pipeline has `stages`.
    pub(super) fn has_stages(&self) -> bool {
        self.pipeline.spec.as_ref().is_some_and(|spec| spec.stages.is_some())
    }
}

impl Suite {
    /// Reads the tests that paths stand for: files of tests, the file beside a pipeline's, or all of a folder.
    ///
    /// # Errors
    /// A path that cannot be read, with the path.
    pub fn load(paths: &[PathBuf], bench: &Bench) -> Result<Suite, (PathBuf, io::Error)> {
        let mut suite = Suite::default();
        for path in paths {
            for file in files::tests_at(path).map_err(|error| (path.clone(), error))? {
                suite.add(&file, bench);
            }
        }
        crate::spec::diagnostic::sort(&mut suite.findings);
        Ok(suite)
    }

    fn add(&mut self, path: &FilePath, bench: &Bench) {
        self.read += 1;
        let source = match files::pipeline(path) {
            Ok(source) => source,
            Err(finding) => return self.findings.push(*finding),
        };
        let mut findings = Vec::new();
        let parsed = TestFile::parse(&source, &mut findings);
        let (Some(document), Some(spec)) = (parsed.document, parsed.spec) else {
            return self.findings.extend(findings);
        };
        let mut check = Check { document: &document, findings };
        let pipeline = check.pipeline(path, &spec);
        let given_by = source.name().rsplit('/').next().unwrap_or_default();
        let map = |map: &indexmap::IndexMap<String, String>| map.clone().into_iter().collect();
        let references = References {
            env: map(&spec.env),
            vars: map(&spec.vars),
            secrets: map(&spec.secrets),
            given_by: Some(given_by.into()),
        };
        let plan =
            pipeline.as_ref().and_then(|file| bench.plan(file, &references, None, &mut check.findings));
        let (Some(pipeline), Some(plan)) = (pipeline, plan) else {
            let findings = std::mem::take(&mut check.findings);
            return self.findings.extend(findings.into_iter().filter(Diagnostic::is_error));
        };
        let stages: Vec<Stage> = plan
            .stages
            .iter()
            .map(|stage| {
                let name = stage.stage.clone().unwrap_or_else(|| stage.pipeline.clone());
                Stage { name, service: stage.service.clone() }
            })
            .collect();
        check.names(&spec);
        let folder = path.parent().unwrap_or(FilePath::new("."));
        let mut cases = Vec::new();
        for (index, test) in spec.tests.iter().enumerate() {
            let ready = check.test(index, test, &spec, &plan, folder);
            cases.extend(ready.map(|(given, replies)| (index, test.clone(), given, replies)));
        }
        let findings = std::mem::take(&mut check.findings);
        let broken = findings.iter().any(Diagnostic::is_error);
        self.findings.extend(findings.into_iter().filter(Diagnostic::is_error));
        if broken {
            return;
        }
        let lines = cases.iter().map(|(index, ..)| line(&document, *index)).collect::<Vec<_>>();
        let file = Arc::new(CaseFile { document, path: path.to_owned(), pipeline, references, stages });
        bench.coverage.expect(&plan, &file);
        self.files.push(Arc::clone(&file));
        self.cases.extend(cases.into_iter().zip(lines).map(|((index, test, given, replies), line)| Case {
            name: test.name,
            index,
            line,
            file: Arc::clone(&file),
            given,
            replies,
            expect: test.expect,
        }));
    }
}

fn line(document: &Document, index: usize) -> usize {
    let label = document.label(&Path::root().then("tests").then(index).then("name"), "");
    document.source.position(label.span.start).line
}

/// Checks a file of tests against its pipeline.
struct Check<'a> {
    document: &'a Document,
    findings: Vec<Diagnostic>,
}

impl Check<'_> {
    fn say(&mut self, code: &'static str, path: &Path, message: impl Into<String>, help: impl Into<String>) {
        let label = self.document.label(path, "");
        self.findings.push(Diagnostic::error(code, message, label).with_help(help));
    }

    /// The pipeline of that name beside the file.
    fn pipeline(&mut self, path: &FilePath, spec: &Tests) -> Option<PipelineFile> {
        let folder =
            path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(FilePath::new("."));
        let mut names = BTreeSet::new();
        for file in files::pipelines_at(folder).unwrap_or_default() {
            let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
            if stem != spec.pipeline {
                names.insert(stem);
                continue;
            }
            match files::pipeline(&file) {
                Ok(source) => return Some(PipelineFile::parse(&source, &mut self.findings)),
                Err(finding) => self.findings.push(*finding),
            }
            return None;
        }
        let help = match did_you_mean(&spec.pipeline, names.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => {
                format!("tests lie beside their pipeline: write {}.yaml in the same folder", spec.pipeline)
            }
        };
        let message = format!("there is no pipeline `{}` in this folder", spec.pipeline);
        self.say(ABSENT, &Path::root().then("pipeline"), message, help);
        None
    }

    /// Each name stands for one test.
    fn names(&mut self, spec: &Tests) {
        let mut known = BTreeSet::new();
        for (index, test) in spec.tests.iter().enumerate() {
            if !known.insert(test.name.as_str()) {
                let path = Path::root().then("tests").then(index).then("name");
                self.say(
                    UNFIT,
                    &path,
                    format!("two tests are called `{}`", test.name),
                    "name each by what it shows",
                );
            }
        }
    }

    fn test(
        &mut self,
        index: usize,
        test: &Test,
        spec: &Tests,
        plan: &Plan,
        folder: &FilePath,
    ) -> Option<(Vec<Record>, Replies)> {
        let before = self.findings.len();
        let at = Path::root().then("tests").then(index);
        let (given, place) = match (&test.given, &spec.given) {
            (Some(own), _) => (own, at.then("given")),
            (None, Some(every)) => (every, Path::root().then("given")),
            (None, None) => {
                let help = "write `given` in the test, or at the top for every test of the file";
                self.say(UNFIT, &at, "this test has no event", help);
                (&OneOrList(Vec::new()), at.clone())
            }
        };
        let records = self.given(given, &place, test, &at, folder);
        for record in &records {
            self.topic(record, &place, plan);
        }
        let replies = self.replies(test, &at, plan);
        if test.expect.is_empty() {
            let help = "say what becomes of the event, such as expect: { outcome: delivered }";
            self.say(UNFIT, &at.then("expect"), "this test expects nothing", help);
        }
        self.expect(&test.expect, &at.then("expect"), plan);
        (self.findings.len() == before).then_some((records, replies))
    }

    fn given(
        &mut self,
        given: &OneOrList<Given>,
        place: &Path,
        test: &Test,
        at: &Path,
        folder: &FilePath,
    ) -> Vec<Record> {
        let one = self.document.at(place).is_none_or(|node| node.items().is_empty());
        let mut records = Vec::new();
        for (index, given) in given.0.iter().enumerate() {
            let place = if one { place.clone() } else { place.then(index) };
            let forms = [
                ("value", given.value.is_some()),
                ("raw", given.raw.is_some()),
                ("raw_base64", given.raw_base64.is_some()),
                ("file", given.file.is_some()),
            ];
            let written: Vec<&str> = forms.iter().filter(|(_, there)| *there).map(|(key, _)| *key).collect();
            match written.as_slice() {
                [_] => {}
                [] => {
                    let help = "write `value`, or bytes as `raw`, `raw_base64` or `file`; value: null is a tombstone";
                    self.say(UNFIT, &place, "this event has no value", help);
                    continue;
                }
                [first, second, ..] => {
                    let message = format!("`{first}` and `{second}` are both the event's value");
                    self.say(UNFIT, &place.then(*second), message, "keep one of them");
                    continue;
                }
            }
            match event::record(given, &test.change, folder) {
                Ok(record) => records.push(record),
                Err((key, why)) if test.change.contains_key(&key) => {
                    let help = "a path of the value, such as .status, or %key, %headers.NAME, %topic, %timestamp, %partition, %offset";
                    self.say(UNFIT, &at.then("change").then(key.as_str()), why, help);
                }
                Err((key, why)) => {
                    let help = "write the bytes in another way, or look at the name";
                    self.say(UNFIT, &place.then(key.as_str()), why, help);
                }
            }
        }
        records
    }

    fn topic(&mut self, record: &Record, place: &Path, plan: &Plan) {
        let read = plan.stages.iter().flat_map(|stage| stage.source.topics.iter().map(String::as_str));
        match &record.topic {
            Some(topic) if plan.stages.iter().any(|stage| super::stages::reads(stage, topic)) => {}
            Some(topic) => {
                let help = match did_you_mean(topic, read.clone()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("the pipeline reads {}", read.collect::<Vec<_>>().join(", ")),
                };
                let message = format!("no stage reads the topic `{topic}`");
                self.say(ABSENT, &place.then("topic"), message, help);
            }
            None if super::run::only_topic(plan).is_some() => {}
            None => {
                let topics: Vec<&str> = read.collect();
                let help = format!("write `topic`; the pipeline reads {}", topics.join(", "));
                self.say(UNFIT, place, "it is not said from which topic the event is read", help);
            }
        }
    }

    fn replies(&mut self, test: &Test, at: &Path, plan: &Plan) -> Replies {
        let Some(written) = &test.replies else { return BTreeMap::new() };
        let at = at.then("replies");
        let stages = self.per_stage(written, &at, plan);
        for (_, list) in &stages {
            for reply in *list {
                let Reply::Answer(answer) = reply else { continue };
                for (name, value) in &answer.headers {
                    let wrong = http::HeaderName::try_from(name.as_str()).is_err()
                        || http::HeaderValue::try_from(value.as_str()).is_err();
                    if wrong {
                        let help = "a name of letters, digits and -, and a value of one line";
                        self.say(UNFIT, &at, format!("`{name}` cannot be a header"), help);
                    }
                }
            }
        }
        stages.into_iter().map(|(service, list)| (service, list.clone())).collect()
    }

    /// What is said of stages, by service. Names that are not there are said.
    fn per_stage<'t, T>(&mut self, written: &'t PerStage<T>, at: &Path, plan: &Plan) -> Vec<(String, &'t T)> {
        let single = plan.stages.iter().find(|_| plan.stages.len() == 1);
        match written {
            PerStage::One(one) => match single {
                Some(stage) => vec![(stage.service.clone(), one)],
                None => {
                    let names: Vec<&str> = names(plan).collect();
                    let key = at.segments().last().map(|last| Path::from_iter([last.clone()]).to_string());
                    let help = format!(
                        "write {}: {{ STAGE: .. }}; the stages are {}",
                        key.unwrap_or_default(),
                        names.join(", ")
                    );
                    self.say(UNFIT, at, "it is not said of which stage", help);
                    Vec::new()
                }
            },
            PerStage::Each(each) => {
                let mut found = Vec::new();
                for (name, one) in each {
                    found.extend(
                        self.stage(name, &at.then(name.as_str()), plan).map(|service| (service, one)),
                    );
                }
                found
            }
        }
    }

    /// The service of a stage that is named.
    fn stage(&mut self, name: &str, at: &Path, plan: &Plan) -> Option<String> {
        let found =
            plan.stages.iter().find(|stage| stage.stage.as_deref().unwrap_or(&stage.pipeline) == name);
        if let Some(stage) = found {
            return Some(stage.service.clone());
        }
        let help = match did_you_mean(name, names(plan)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("the stages are {}", names(plan).collect::<Vec<_>>().join(", ")),
        };
        let label = match self.document.at(at).and_then(crate::spec::tree::Node::text) {
            Some(text) if text == name => self.document.label(at, ""),
            _ => self.document.key_label(at, ""),
        };
        let message = format!("the pipeline has no stage `{name}`");
        self.findings.push(Diagnostic::error(ABSENT, message, label).with_help(help));
        None
    }

    fn expect(&mut self, expect: &Expect, at: &Path, plan: &Plan) {
        if let Some(hold) = &expect.hold
            && let PerStage::Each(_) = hold
        {
            self.per_stage(hold, &at.then("hold"), plan);
        }
        for name in expect.stages.iter().flat_map(|stages| stages.keys()) {
            self.stage(name, &at.then("stages").then(name.as_str()), plan);
        }
        if let Some(attempts) = &expect.attempts {
            self.per_stage(attempts, &at.then("attempts"), plan);
        }
        if let Some(waits) = &expect.waits {
            self.per_stage(waits, &at.then("waits"), plan);
        }
        if let Some(requests @ PerStage::Each(_)) = &expect.requests {
            self.per_stage(requests, &at.then("requests"), plan);
        }
        for (index, letter) in expect.dlq.iter().flat_map(|letters| letters.0.iter().enumerate()) {
            let base = at.then("dlq");
            let base = if self.document.at(&base).is_some_and(|node| !node.items().is_empty()) {
                base.then(index)
            } else {
                base
            };
            if let Some(stage) = &letter.stage {
                self.stage(stage, &base.then("stage"), plan);
            }
        }
        if expect.hold.is_some() && expect.outcome.is_some() {
            let help = "a record that a stage holds has no outcome: take `outcome` out";
            self.say(UNFIT, &at.then("hold"), "`hold` stands in place of `outcome`", help);
        }
    }
}

fn names(plan: &Plan) -> impl Iterator<Item = &str> {
    plan.stages.iter().map(|stage| stage.stage.as_deref().unwrap_or(&stage.pipeline))
}
