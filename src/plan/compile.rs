//! From what was written to what runs: defaults settled, programs compiled, references resolved, every finding placed in
//! the file and none kept back. No network, and no file but the certificates that a handler's `tls` names.

use std::sync::Arc;
use std::time::Duration;

use super::expr::{TreeFinding, finding};
use super::pattern::Pattern;
use super::place;
use super::priority::Priority;
use super::schema::{Asked, Publishes};
use super::stage::{DeadLetters, InGit, Plan, Revision, Source, Stage, Start};
use crate::codec::{Codec, Format};
use crate::deliver::breaker::Numbers;
use crate::deliver::{judge, retry};
use crate::handler::egress::Egress;
use crate::handler::webhook::{Breaker, BreakerNumbers, Transport};
use crate::handler::{self, Handler};
use crate::plugin::Plugins;
use crate::publish::route::{Place, Route};
use crate::publish::topic;
use crate::registry;
use crate::seal::{Verifier, VerifySpec};
use crate::settings::{DEFAULT_CLUSTER, ReferenceError, References};
use crate::spec::PipelineFile;
use crate::spec::diagnostic::Diagnostic;
use crate::spec::pipeline::{self, Pipeline};
use crate::spec::source;
use crate::spec::tree::{Document, MAX_FINDINGS, Path};
use crate::transform::{self, Step};

/// What a file is compiled against.
#[derive(Debug, Clone)]
pub struct Environment<'a> {
    /// What `${..}` resolves to.
    pub references: &'a References,
    /// Where handlers may send to.
    pub egress: Arc<Egress>,
    /// The folder of the schemas.
    pub schemas: &'a std::path::Path,
    /// The schema registry, where there is one.
    pub registry: Option<registry::Client>,
    /// Where plugins come from.
    pub plugins: &'a Plugins,
    /// What carries the requests of webhooks in place of the network, where something does.
    pub transport: Option<Arc<dyn Transport>>,
}

/// A name that is not one.
const NAME: &str = "W0202";
/// A topic's or group's name that Kafka does not take.
const TOPIC: &str = "W0203";
/// A stage that does nothing, or a file without one.
const NOTHING: &str = "W0205";
/// A key that a file with `stages` has in its stages.
const BESIDE_STAGES: &str = "W0116";
/// Numbers of `retry` or words of `dlq` that do not fit together.
const VALUES: &str = "W0117";
/// What is wrong with a handler's block.
const HANDLER: &str = "W0801";

/// Records at once where the file does not say: with a handler, and without.
const MAX_IN_FLIGHT: (usize, usize) = (256, 4_096);
/// A name is part of group, client and metric names.
const NAME_MAX: usize = 63;

/// Compiles a file. Findings are added, but for those that `check` has made of the same place already; `None` where one
/// of them, old or new, is an error of this file.
pub fn compile(
    file: &PipelineFile,
    environment: &Environment<'_>,
    findings: &mut Vec<Diagnostic>,
) -> Option<Plan> {
    let (document, spec) = (file.document.as_ref()?, file.spec.as_ref()?);
    let revision = Revision::of(document.source.text());
    let mut compiler = Compiler { document, spec, environment, revision: &revision, findings: Vec::new() };
    let stages = compiler.stages();
    for found in compiler.findings {
        if !findings.iter().any(|known| says_it(known, &found)) {
            findings.push(found);
        }
    }
    let broken = findings.iter().any(|f| f.is_error() && Arc::ptr_eq(&f.primary.source, &document.source));
    let stages: Option<Vec<_>> = stages.into_iter().collect();
    let stages = stages.filter(|stages| !broken && !stages.is_empty())?;
    Some(Plan { pipeline: spec.pipeline.clone(), revision, stages })
}

/// Whether `known` says the same of the same place. A reference that does not resolve is known wherever it stands; a handler
/// and a block of templates name it too, the block as a whole.
fn says_it(known: &Diagnostic, found: &Diagnostic) -> bool {
    let (a, b) = (&known.primary, &found.primary);
    let overlap = a.span == b.span || (a.span.start < b.span.end && b.span.start < a.span.end);
    let reference = matches!(known.code, finding::UNRESOLVED | finding::MALFORMED | finding::REFERENCE);
    let same = known.code == found.code || (reference && found.code == HANDLER);
    let said = same && reference && known.message == found.message;
    same && (overlap || said) && Arc::ptr_eq(&a.source, &b.source)
}

pub(super) struct Compiler<'a, 'e> {
    pub(super) document: &'a Document,
    spec: &'a Pipeline,
    pub(super) environment: &'a Environment<'e>,
    revision: &'a Revision,
    pub(super) findings: Vec<Diagnostic>,
}

impl Compiler<'_, '_> {
    fn stages(&mut self) -> Vec<Option<Arc<Stage>>> {
        let root = Path::root();
        self.name(&self.spec.pipeline, &root.then("pipeline"), false);
        for (at, name) in self.spec.was.0.iter().enumerate() {
            let was = root.then("was");
            let listed = self.document.at(&was).is_some_and(|node| !node.items().is_empty());
            self.name(name, &if listed { was.then(at) } else { was }, false);
        }
        self.one_form();
        let mut stages = Vec::new();
        for (name, written) in self.spec.stages() {
            let path = match name {
                Some(name) => root.then("stages").then(name),
                None => root.clone(),
            };
            if let Some(name) = name {
                self.name(name, &path, true);
            }
            let stage = self.stage(name, &written, &path);
            stages.push(stage.map(Arc::new));
        }
        stages
    }

    fn name(&mut self, name: &str, path: &Path, is_key: bool) {
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if !name.is_empty() && name.len() <= NAME_MAX && name.chars().all(legal) {
            return;
        }
        let label = if is_key { self.document.key_label(path, "") } else { self.document.label(path, "") };
        let message = format!("`{name}` is not a name");
        let help =
            format!("a name is 1 to {NAME_MAX} of a-z, 0-9 and -: it becomes part of group and metric names");
        self.findings.push(Diagnostic::error(NAME, message, label).with_help(help));
    }

    /// A file has its one stage at the top, or several under `stages`.
    fn one_form(&mut self) {
        let root = Path::root();
        if self.spec.stages.is_none() {
            let written = |key: &str| self.document.root.get(key).is_some();
            if self.spec.source.is_none() && !written("source") && !written("stages") {
                let label = self.document.label(&root.then("pipeline"), "");
                let message = "this pipeline has no `source`";
                let help = "name a topic: source: shop.orders.v1";
                self.findings.push(Diagnostic::error(NOTHING, message, label).with_help(help));
            }
            return;
        }
        for key in ["source", "transforms", "handler", "publish"] {
            if self.document.root.get(key).is_some() {
                let label = self.document.key_label(&root.then(key), "");
                let message = format!("`{key}` stands beside `stages`");
                let help = format!("move `{key}` into the stage that it belongs to");
                self.findings.push(Diagnostic::error(BESIDE_STAGES, message, label).with_help(help));
            }
        }
        if self.spec.stages.as_ref().is_some_and(|stages| stages.is_empty()) {
            let label = self.document.label(&root.then("stages"), "");
            let help = "name one: stages: { billing: { source: shop.orders.v1, handler: log } }";
            self.findings.push(Diagnostic::error(NOTHING, "`stages` has no stage", label).with_help(help));
        }
    }

    fn stage(&mut self, name: Option<&str>, written: &pipeline::Stage, path: &Path) -> Option<Stage> {
        let pipeline = self.spec.pipeline.clone();
        let of =
            |pipeline: &str| name.map_or_else(|| pipeline.to_owned(), |name| format!("{pipeline}.{name}"));
        let (service, identity) = (of(&pipeline), of(self.spec.identity()));
        let asked =
            Asked { format: written.source.format, schema: written.source.schema.as_ref(), publishes: None };
        let own = self.codec(&asked, &path.then("source"));
        let codec = own.clone().unwrap_or(Codec::Json);
        let source = self.source(&written.source, &identity, codec.clone(), &path.then("source"));
        let steps = self.steps(written, path);
        let in_flight = if written.handler.is_some() { MAX_IN_FLIGHT.0 } else { MAX_IN_FLIGHT.1 };
        let max_in_flight =
            written.max_in_flight.map_or(in_flight, |n| usize::try_from(n.get()).unwrap_or(usize::MAX));
        let publish = self.publish(written, &codec, path);
        if own.is_some() {
            self.shapes(written, &codec, publish.as_deref(), path);
        }
        let reads_answer =
            publish.as_ref().is_some_and(|routes| routes.iter().any(Route::reads_response_body));
        let handler = written.handler.as_ref().map(|handler| {
            let context = handler::Context {
                service: service.clone(),
                identity: identity.clone(),
                revision: self.revision.short().to_owned(),
                max_in_flight,
                reads_answer,
                folder: folder(&self.document.source),
                egress: Arc::clone(&self.environment.egress),
                transport: self.environment.transport.clone(),
            };
            self.handler(handler, &context, &path.then("handler"))
        });
        let priority = self.priority(written, codec.clone(), path);
        let retry = self.retry(written, path);
        let dlq = self.dlq(written, path);
        self.does_something(path);
        let (handler, dlq) = (handler.transpose().ok()?, dlq.ok()?);
        let (_, source, steps, retry, publish) = (own?, source?, steps?, retry?, publish?);
        let is_text = matches!(codec, Codec::Json | Codec::JsonSchema(_) | Codec::Text | Codec::Bytes);
        let looks_into_payload = (!is_text && handler.is_some())
            || steps.iter().any(Step::looks_into_payload)
            || handler.as_ref().is_some_and(|handler| handler.reads_value())
            || publish.iter().any(Route::looks_into_payload);
        let asks_for_id = steps.iter().skip(1).any(Step::reads_id)
            || handler.as_ref().is_some_and(|handler| handler.reads_id())
            || !publish.is_empty();
        let seats = steps.iter().any(Step::blocks).then(seats);
        let needs_id = looks_into_payload && !steps.is_empty() && asks_for_id;
        Some(Stage {
            service,
            identity,
            pipeline,
            stage: name.map(str::to_owned),
            revision: self.revision.clone(),
            in_git: InGit::default(),
            priority: priority?,
            paused: self.spec.paused,
            order: written.order.unwrap_or_default(),
            max_in_flight,
            steps,
            seats,
            policy: judge::Policy { retry, dlq: dlq.is_some(), on_invalid: written.source.on_invalid },
            breaker: written.handler.as_ref().and_then(breaker),
            handler,
            publish,
            dlq,
            source,
            looks_into_payload,
            needs_id,
        })
    }

    fn dlq(&mut self, written: &pipeline::Stage, path: &Path) -> Result<Option<DeadLetters>, ()> {
        let Some(dlq) = &written.dlq else { return Ok(None) };
        let base = self.written_at(path, "dlq");
        let built = dlq.build(self.environment.references).map_err(|list| {
            for found in list {
                self.problem(&base, &found.path, VALUES, &found.message, None);
            }
        });
        built.map(|topic| Some(DeadLetters { topic: topic.into() }))
    }

    fn does_something(&mut self, path: &Path) {
        let written_down = |key: &str| self.document.at(&path.then(key)).is_some();
        if !written_down("handler") && !written_down("publish") {
            let label = self.document.label(&path.then("source"), "");
            let help = "add a `handler` or a `publish`; `handler: log` writes each event to the log";
            let message = "this stage reads records and does nothing with them";
            self.findings.push(Diagnostic::error(NOTHING, message, label).with_help(help));
        }
    }

    fn source(
        &mut self,
        written: &source::Spec,
        identity: &str,
        codec: Codec,
        path: &Path,
    ) -> Option<Source> {
        let one = written.topics.len() == 1 && self.document.at(&path.then("topics")).is_none();
        let mut topics = Vec::new();
        for (at, topic) in written.topics.iter().enumerate() {
            let path = if one { path.then("topic") } else { path.then("topics").then(at) };
            let name = self.resolve(topic, &path)?;
            if let Some(fault) = topic::fault(&name) {
                let finding = Diagnostic::error(TOPIC, fault, self.document.label(&path, ""));
                self.findings.push(finding.with_help(topic::help(&name)));
                if self.findings.len() >= MAX_FINDINGS {
                    return None;
                }
            }
            topics.push(name);
        }
        let pattern = match &written.pattern {
            Some(text) => Some(self.pattern(text, &path.then("pattern"))?),
            None => None,
        };
        let cluster = match &written.cluster {
            Some(name) => self.resolve(name, &path.then("cluster"))?,
            None => DEFAULT_CLUSTER.to_owned(),
        };
        let group = match &written.group {
            Some(group) => self.resolve(group, &path.then("group"))?,
            None => format!("weir.{identity}"),
        };
        if group.trim().is_empty() || group.len() > 249 {
            let label = self.document.label(&path.then("group"), "");
            let finding = Diagnostic::error(TOPIC, "a group's name has 1 to 249 characters", label);
            self.findings.push(finding.with_help("take `group` out: its default is the stage's own name"));
        }
        let start = match written.start {
            source::Start::Earliest => Start::Earliest,
            source::Start::Latest => Start::Latest,
            source::Start::At(time) => Start::At(time.as_millisecond()),
        };
        let verify = match &written.verify {
            Some(spec) => Some(self.verifier(spec, &path.then("verify"))?),
            None => None,
        };
        Some(Source {
            cluster,
            topics,
            pattern,
            group,
            start,
            codec,
            wide_integers: written.wide_integers,
            on_tombstone: written.on_tombstone,
            on_out_of_range: written.on_out_of_range,
            verify,
        })
    }

    fn verifier(&mut self, spec: &VerifySpec, path: &Path) -> Option<Verifier> {
        let built = Verifier::build(spec, self.environment.references);
        built.map_err(|list| self.tree_findings(path, &list)).ok()
    }

    fn pattern(&mut self, text: &str, path: &Path) -> Option<Pattern> {
        let text = self.resolve(text, path)?;
        match Pattern::new(&text) {
            Ok(pattern) => Some(pattern),
            Err(why) => {
                let label = self.document.label(path, why);
                let finding = Diagnostic::error(TOPIC, "this is no pattern of topics", label);
                self.findings.push(
                    finding.with_help(
                        r"write a regular expression over whole names, such as 'shop\.orders\.v\d+'",
                    ),
                );
                None
            }
        }
    }

    pub(super) fn resolve(&mut self, text: &str, path: &Path) -> Option<String> {
        match self.environment.references.resolve(text) {
            Ok(resolved) => Some(resolved.expose().to_owned()),
            Err(error) => {
                let label = self.document.label(path, "");
                let code = match &error {
                    ReferenceError::Missing { .. } => finding::UNRESOLVED,
                    ReferenceError::Malformed { .. } => finding::MALFORMED,
                };
                self.findings.push(Diagnostic::error(code, error.to_string(), label).with_help(error.help()));
                None
            }
        }
    }

    /// `None` where it is wrong; `Some(None)` where there is none.
    #[expect(clippy::option_option, reason = "a key that is left out is not one that is wrong")]
    fn priority(&mut self, written: &pipeline::Stage, codec: Codec, path: &Path) -> Option<Option<Priority>> {
        let Some(text) = &written.priority else { return Some(None) };
        let base = self.written_at(path, "priority");
        match Priority::compile(text, codec, written.source.wide_integers) {
            Ok(priority) if priority.reads_response() => {
                let label = self.document.label(&base, "no handler has been called yet");
                let finding = Diagnostic::error(VALUES, "`priority` has no answer to look at", label);
                self.findings
                    .push(finding.with_help("read the record: its value as `.`, its headers as `%headers`"));
                None
            }
            Ok(priority) => Some(Some(priority)),
            Err(found) => {
                let found: Vec<TreeFinding> =
                    found.into_iter().map(|found| TreeFinding::at(Vec::<String>::new(), found)).collect();
                self.tree_findings(&base, &found);
                None
            }
        }
    }

    fn steps(&mut self, written: &pipeline::Stage, path: &Path) -> Option<Vec<Step>> {
        let mut steps = Some(Vec::new());
        let Environment { references, plugins, .. } = self.environment;
        let context = transform::Context { references, plugins };
        for (at, item) in written.transforms.iter().enumerate() {
            match item.build(at, &context) {
                Ok(step) => {
                    if let Some(steps) = &mut steps {
                        steps.push(step);
                    }
                }
                Err(found) => {
                    let item = place::item(self.document, &path.then("transforms"), at);
                    self.tree_findings(&item, &found);
                    steps = None;
                }
            }
        }
        steps
    }

    fn publish(&mut self, written: &pipeline::Stage, source: &Codec, path: &Path) -> Option<Vec<Route>> {
        let mut routes = Some(Vec::new());
        for (index, route) in written.publish.0.iter().enumerate() {
            let item = place::item(self.document, &path.then("publish"), index);
            let publishes = Publishes { register: route.register, subject_name: route.subject_name };
            // What says something of a schema and no format is of the default one.
            let implied = route.schema.is_some() || route.register.is_some() || route.subject_name.is_some();
            let format = route.format.or(implied.then_some(Format::Json));
            let own = match format.map(|format| {
                let asked = Asked { format, schema: route.schema.as_ref(), publishes: Some(publishes) };
                self.codec(&asked, &item)
            }) {
                Some(None) => {
                    routes = None;
                    continue;
                }
                own => own.flatten(),
            };
            let place = Place { index, handler: written.handler.is_some(), source: source.clone(), own };
            match Route::build(route, place, self.environment.references) {
                Ok(route) => {
                    if let Some(routes) = &mut routes {
                        routes.push(route);
                    }
                }
                Err(found) => {
                    self.tree_findings(&item, &found);
                    routes = None;
                }
            }
        }
        routes
    }

    fn handler(
        &mut self,
        written: &handler::Spec,
        context: &handler::Context,
        path: &Path,
    ) -> Result<Arc<dyn Handler>, ()> {
        handler::build(written, context, self.environment.references).map_err(|list| {
            for found in list.into_iter().take(MAX_FINDINGS) {
                if place::follows(self.document, path, &found.path) {
                    continue;
                }
                self.problem(path, &found.path, HANDLER, &found.message, found.help.as_deref());
            }
        })
    }

    fn retry(&mut self, written: &pipeline::Stage, path: &Path) -> Option<retry::Policy> {
        let spec = written.retry.clone().unwrap_or_default();
        let cap = match &written.handler {
            Some(handler::Spec::Webhook(webhook)) => webhook.retry_after_max.0,
            Some(handler::Spec::Log(_) | handler::Spec::Sql(_)) | None => retry::RETRY_AFTER_MAX,
        };
        let base = self.written_at(path, "retry");
        retry::Policy::build(&spec, cap)
            .map_err(|list| {
                for found in list {
                    self.problem(&base, &found.path, VALUES, &found.message, None);
                }
            })
            .ok()
    }

    /// Where a key of a stage is written: in the stage, or beside `stages` as the default of each.
    pub(super) fn written_at(&self, stage: &Path, key: &str) -> Path {
        let own = stage.then(key);
        if self.document.at(&own).is_some() { own } else { Path::root().then(key) }
    }

    fn tree_findings(&mut self, base: &Path, found: &[TreeFinding]) {
        let room = MAX_FINDINGS.saturating_sub(self.findings.len());
        let found = found.iter().take(room);
        self.findings.extend(found.map(|found| place::tree_finding(self.document, base, found)));
    }

    fn problem(&mut self, base: &Path, key: &str, code: &'static str, message: &str, help: Option<&str>) {
        if self.findings.len() >= MAX_FINDINGS {
            return;
        }
        let diagnostic = place::problem(self.document, base, key, code, message);
        self.findings.push(match help {
            Some(help) => diagnostic.with_help(help),
            None => diagnostic,
        });
    }
}

/// How many threads may be inside of a stage's transforms at once, where those may keep one for longer than a moment: one for
/// each processor.
fn seats() -> tokio::sync::Semaphore {
    tokio::sync::Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from))
}

/// The folder of a file.
fn folder(source: &crate::spec::span::Source) -> Arc<std::path::Path> {
    std::path::Path::new(source.name()).parent().unwrap_or(std::path::Path::new("")).into()
}

/// The numbers of a handler's breaker; `None` for `breaker: none`, and for handlers that need none.
fn breaker(handler: &handler::Spec) -> Option<Numbers> {
    let handler::Spec::Webhook(webhook) = handler else { return None };
    let Breaker::On(numbers) = &webhook.breaker else { return None };
    let BreakerNumbers { consecutive, window, min_attempts, min_keys, failure_ratio } = *numbers;
    Some(Numbers {
        in_a_row: consecutive,
        window: window.0,
        attempts: min_attempts,
        keys: usize::try_from(min_keys).unwrap_or(usize::MAX),
        share: failure_ratio.0,
        first_wait: Duration::from_secs(1),
        longest_wait: Duration::from_secs(30),
        retry_after_max: webhook.retry_after_max.0,
    })
}

#[cfg(test)]
mod tests;
