//! From files, variables and flags to what can run. Findings are printed here; a broken pipeline file hurts itself only.

use std::collections::{BTreeMap, BTreeSet};
use std::net::ToSocketAddrs;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use super::Global;
use super::exit::{CliError, Exit};
use super::registry::{self, Registry};
use super::terminal::Terminal;
use crate::handler::Problem;
use crate::handler::egress::Egress;
use crate::handler::webhook::{Auth, TokenSource};
use crate::plan::{self, Plan, check::Given};
use crate::plugin::{Grant, Plugins};
use crate::settings::{self, Settings};
use crate::spec::diagnostic::{self, Diagnostic};
use crate::spec::pipeline::{Delivery, Pipeline};
use crate::spec::runtime::{self, Override};
use crate::spec::span::Source;
use crate::spec::tree::Path;
use crate::spec::{PipelineFile, files};
use crate::telemetry::logs::{Format, Logs};
use crate::telemetry::metrics::PipelineFacts;

/// The runtime file that is read where none is named.
const RUNTIME_FILE: &str = "weir.yaml";
/// The variable that sets the log filter.
const LOG_FILTER: &str = "WEIR_LOG";
/// What is wrong with the `egress` block.
const EGRESS: &str = "W0801";
/// What is wrong with how Weir signs on to Kafka.
const SIGN_ON: &str = "W0602";

/// What can run.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) settings: Settings,
    /// Where the tokens for Kafka come from, by cluster.
    pub(crate) token_sources: BTreeMap<String, Arc<TokenSource>>,
    /// The schema registry, where there is one.
    pub(crate) registry: Option<Registry>,
    /// Whether `auth` names tokens.
    pub(crate) auth: bool,
    pub(crate) pipelines: Vec<Loadable>,
    /// Files that cannot run, each by its first error: `file:line:col: message`.
    pub(crate) broken: Vec<String>,
}

impl Loaded {
    /// The clusters that its pipelines use.
    pub(crate) fn clusters(&self) -> BTreeSet<&str> {
        let stages = self.pipelines.iter().flat_map(|one| &one.plan.stages);
        stages.map(|stage| stage.source.cluster.as_str()).collect()
    }
}

/// A pipeline that can run.
#[derive(Debug)]
pub(crate) struct Loadable {
    pub(crate) plan: Arc<Plan>,
    pub(crate) facts: PipelineFacts,
}

/// A file's text, or why it cannot be read.
pub(crate) type ReadFile = Result<Arc<Source>, Box<Diagnostic>>;

/// Settles the runtime file, variables and flags. Errors end the program with 78.
pub(crate) fn runtime_file(
    global: &Global,
    flags: &[Override],
    terminal: &mut Terminal,
) -> Result<runtime::Loaded, CliError> {
    let path = match &global.config {
        Some(path) => Some(path.clone()),
        None => Some(PathBuf::from(RUNTIME_FILE)).filter(|path| path.exists()),
    };
    let mut findings = Vec::new();
    let source = match path.map(|path| files::source(&path)).transpose() {
        Ok(source) => source,
        Err(finding) => {
            findings.push(*finding);
            None
        }
    };
    settle(source.as_ref(), flags, findings, terminal)
}

/// The same without a file: what the demo runs with.
pub(crate) fn settle(
    file: Option<&Arc<Source>>,
    flags: &[Override],
    mut findings: Vec<Diagnostic>,
    terminal: &mut Terminal,
) -> Result<runtime::Loaded, CliError> {
    let environment = settings::environment();
    let loaded = runtime::load(file, &environment, flags, &mut findings);
    let broken = findings.iter().any(Diagnostic::is_error);
    print(&mut findings, terminal)?;
    loaded
        .filter(|_| !broken)
        .ok_or_else(|| CliError::new(Exit::BadConfig, "the settings have errors; nothing was started"))
}

/// Sets logging up, once per process.
pub(crate) fn logs(settings: &Settings, global: &Global, terminal: &Terminal) -> Result<(), CliError> {
    let environment = settings::environment();
    let level = match (global.quiet, global.verbose) {
        (true, _) => "error",
        (false, 0) => "info",
        (false, 1) => "info,weir=debug",
        (false, _) => "debug",
    };
    let filter = environment.get(LOG_FILTER).filter(|filter| !filter.is_empty());
    let filter = filter.cloned().unwrap_or_else(|| level.to_owned());
    let format = if settings.log_json { Format::Json } else { Format::Text };
    Logs { format, filter, color: terminal.err_color }.init()?;
    Ok(())
}

/// Every pipeline file of the settings' folder.
pub(crate) fn sources(folder: &FilePath) -> Result<Vec<ReadFile>, CliError> {
    let paths = files::pipelines_at(folder).map_err(|error| {
        let help = "name the folder with --pipelines, WEIR_PIPELINES or `pipelines` in weir.yaml";
        CliError::new(Exit::BadConfig, format!("reading {}: {error}; {help}", folder.display()))
    })?;
    Ok(paths.iter().map(|path| files::pipeline(path)).collect())
}

/// Reads, checks and compiles pipeline files, and prints what is wrong with them.
pub(crate) fn pipelines(
    sources: Vec<ReadFile>,
    loaded: runtime::Loaded,
    terminal: &mut Terminal,
) -> Result<Loaded, CliError> {
    let mut findings = Vec::new();
    let mut files = Vec::new();
    for source in sources {
        match source {
            Ok(source) => files.push(PipelineFile::parse(&source, &mut findings)),
            Err(finding) => findings.push(*finding),
        }
    }
    let references = &loaded.settings.references;
    plan::check::check(&files, Given::of(&loaded.settings), &mut findings);
    let egress = egress(&loaded, terminal)?;
    let token_sources = match token_sources(&loaded, &egress) {
        Ok(sources) => sources,
        Err(mut findings) => {
            print(&mut findings, terminal)?;
            return Err(CliError::new(Exit::BadConfig, "`sasl` has errors; nothing was started"));
        }
    };
    let registry = match registry::connect(&loaded) {
        Ok(registry) => registry,
        Err(mut findings) => {
            print(&mut findings, terminal)?;
            return Err(CliError::new(Exit::BadConfig, "`registry` has errors; nothing was started"));
        }
    };
    let plugins = plugins(&loaded.settings);
    let environment = plan::Environment {
        references,
        egress,
        schemas: &loaded.settings.schemas,
        registry: registry.as_ref().map(|registry| registry.client.clone()),
        plugins: &plugins,
    };
    let compiled: Vec<_> = files
        .iter()
        .filter_map(|file| {
            let plan = plan::compile(file, &environment, &mut findings)?;
            Some((file.spec.as_ref()?, Arc::new(plan), file.document.as_ref()?))
        })
        .collect();
    print(&mut findings, terminal)?;
    let mut errors: Vec<&Diagnostic> = findings.iter().filter(|finding| finding.is_error()).collect();
    errors.dedup_by(|next, first| Arc::ptr_eq(&next.primary.source, &first.primary.source));
    let wanted = &loaded.settings.run_labels;
    let pipelines = compiled
        .into_iter()
        .filter(|(spec, _, document)| {
            takes(wanted, spec)
                && !errors.iter().any(|error| Arc::ptr_eq(&error.primary.source, &document.source))
        })
        .map(|(spec, plan, _)| Loadable { facts: facts(spec, &plan), plan })
        .collect();
    let tokens = loaded.document.at(&Path::root().then("auth").then("tokens"));
    let auth = tokens.is_some_and(|tokens| !tokens.items().is_empty());
    let broken = errors.into_iter().map(diagnostic::short).collect();
    Ok(Loaded { settings: loaded.settings, token_sources, registry, auth, pipelines, broken })
}

/// Where plugins come from.
pub(super) fn plugins(settings: &Settings) -> Plugins {
    let grants = settings.plugin_grants.iter();
    let grants = grants.map(|(file, files)| (file.clone(), Grant { files: files.clone() })).collect();
    Plugins::new(&settings.plugins, grants)
}

/// The address guard of the runtime file; Weir's own address is never dialled.
fn egress(loaded: &runtime::Loaded, terminal: &mut Terminal) -> Result<Arc<Egress>, CliError> {
    let own: Vec<_> = loaded.settings.listen.to_socket_addrs().map(Iterator::collect).unwrap_or_default();
    let problems = match Egress::new(&loaded.egress, &own) {
        Ok(egress) => return Ok(Arc::new(egress)),
        Err(problems) => problems,
    };
    let mut findings = egress_findings(problems, loaded);
    print(&mut findings, terminal)?;
    Err(CliError::new(Exit::BadConfig, "`egress` has errors; nothing was started"))
}

/// What is wrong with `egress`, where it is written.
pub(super) fn egress_findings(problems: Vec<Problem>, loaded: &runtime::Loaded) -> Vec<Diagnostic> {
    place(problems, &Path::root().then("egress"), EGRESS, loaded)
}

/// Where the tokens for Kafka come from, by cluster, where `sasl` says that there are some; else what is wrong there.
pub(super) fn token_sources(
    loaded: &runtime::Loaded,
    egress: &Arc<Egress>,
) -> Result<BTreeMap<String, Arc<TokenSource>>, Vec<Diagnostic>> {
    let (mut sources, mut findings) = (BTreeMap::new(), Vec::new());
    for (cluster, written) in &loaded.oauth2 {
        let runtime::OAuth2 { token_url, client_id, client_secret, scopes, audience } = written.clone();
        let auth = Auth::Oauth2 { token_url, client_id, client_secret, scopes, audience };
        match TokenSource::compile(&auth, egress, &loaded.settings.references) {
            Ok(source) => sources.extend(source.map(|source| (cluster.clone(), Arc::new(source)))),
            Err(problems) => {
                findings.extend(place(problems, &runtime::cluster_at(cluster).then("sasl"), SIGN_ON, loaded));
            }
        }
    }
    if findings.is_empty() { Ok(sources) } else { Err(findings) }
}

/// Findings of a block, each at its key.
pub(super) fn place(
    problems: Vec<Problem>,
    block: &Path,
    code: &'static str,
    loaded: &runtime::Loaded,
) -> Vec<Diagnostic> {
    problems
        .into_iter()
        .map(|problem| {
            let path =
                problem.path.split('.').fold(block.clone(), |path, step| match step.parse::<usize>() {
                    Ok(index) => path.then(index),
                    Err(_) => path.then(step),
                });
            let found = Diagnostic::error(code, problem.message, loaded.document.label(&path, ""));
            match problem.help {
                Some(help) => found.with_help(help),
                None => found,
            }
        })
        .collect()
}

/// Whether a pipeline has all the labels that this instance takes.
fn takes(wanted: &BTreeMap<String, String>, spec: &Pipeline) -> bool {
    wanted.iter().all(|(name, value)| spec.labels.get(name) == Some(value))
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

/// Findings to stderr, all of them, in order.
pub(super) fn print(findings: &mut Vec<Diagnostic>, terminal: &mut Terminal) -> Result<(), CliError> {
    diagnostic::sort(findings);
    for finding in findings.iter() {
        writeln!(terminal.err, "{}", diagnostic::human(finding, terminal.err_color))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_file_with_an_error_of_any_kind_does_not_run_and_the_others_do() {
        let mut terminal = Terminal {
            out: Box::new(io::sink()),
            err: Box::new(io::sink()),
            out_color: false,
            err_color: false,
        };
        let loaded = settle(None, &[], Vec::new(), &mut terminal).unwrap();
        let file = |name: &str, text: &str| -> ReadFile { Ok(Source::new(name, text)) };
        let sources = vec![
            // It compiles; that its dead letters come back to it is found by looking at topics.
            file("a.yaml", "pipeline: a\nsource: t\nhandler: https://h.test/v1/a\ndlq: t\n"),
            file("b.yaml", "pipeline: b\nsource: t\nhandler: log\n"),
            // Its name is taken.
            file("c.yaml", "pipeline: b\nsource: u\nhandler: log\n"),
        ];
        let loaded = pipelines(sources, loaded, &mut terminal).unwrap();
        let run: Vec<_> =
            loaded.pipelines.iter().map(|one| one.plan.stages[0].source.topics.join(" ")).collect();
        assert_eq!(run, ["t"], "{:?}", loaded.broken);
        assert_eq!(loaded.pipelines[0].plan.pipeline, "b");
        let broken: Vec<_> = loaded.broken.iter().map(|line| line.split(':').next().unwrap()).collect();
        assert_eq!(broken, ["a.yaml", "c.yaml"]);
    }
}
