//! From files, variables and flags to what can run. Findings are printed here; a broken pipeline file hurts itself only.

use std::collections::{BTreeMap, BTreeSet};
use std::net::ToSocketAddrs;
use std::path::{Component, Path as FilePath, PathBuf};
use std::sync::Arc;

use super::Global;
use super::exit::{CliError, Exit};
use super::registry::{self, Registry};
use super::terminal::Terminal;
use crate::git::{Following, Refused};
use crate::handler::Problem;
use crate::handler::egress::Egress;
use crate::handler::webhook::{Auth, TokenSource};
use crate::plan::Stage;
use crate::runtime::load::{From, Loader, Loading};
use crate::settings::{self, Settings};
use crate::spec::diagnostic::{self, Diagnostic};
use crate::spec::files;
use crate::spec::runtime::{self, Override};
use crate::spec::span::Source;
use crate::spec::tree::Path;
use crate::telemetry::logs::{Format, Logs};

/// The runtime file that is read where none is named.
const RUNTIME_FILE: &str = "weir.yaml";
/// Where copies of followed repositories are kept.
const COPIES: &str = ".weir/git";
/// The variable that sets the log filter.
const LOG_FILTER: &str = "WEIR_LOG";
/// What is wrong with the `egress` block.
const EGRESS: &str = "W0801";
/// What is wrong with how Weir signs on to Kafka.
const SIGN_ON: &str = "W0602";

/// What can run.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) settings: Arc<Settings>,
    /// Where the tokens for Kafka come from, by cluster.
    pub(crate) token_sources: BTreeMap<String, Arc<TokenSource>>,
    /// The schema registry, where there is one.
    pub(crate) registry: Option<Registry>,
    /// Whether `auth` names tokens.
    pub(crate) auth: bool,
    /// The runtime file, where there is one.
    pub(crate) settings_file: Option<Arc<Source>>,
    /// All that the runtime file came to.
    pub(crate) whole: Arc<runtime::Loaded>,
    /// What the files came to when they were first read.
    pub(crate) first: Loading,
}

impl Loaded {
    /// The stages of its pipelines.
    pub(crate) fn stages(&self) -> impl Iterator<Item = &Arc<Stage>> {
        self.first.pipelines.iter().flat_map(|one| &one.plan.stages)
    }

    /// The clusters that its pipelines use.
    pub(crate) fn clusters(&self) -> BTreeSet<&str> {
        self.stages().map(|stage| stage.source.cluster.as_str()).collect()
    }
}

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

/// Where pipelines come from. Where a repository is followed, its newest commit is here when this returns, and its folders of
/// schemas and plugins stand in for those of the same name here.
pub(crate) fn source(settings: &mut Settings) -> Result<From, CliError> {
    let Some(followed) = settings.followed.clone() else {
        return Ok(From::Folder(settings.pipelines.clone()));
    };
    let is_inside = |folder: &&PathBuf| {
        folder.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
    };
    let beside = [&settings.schemas, &settings.plugins];
    let beside: Vec<String> =
        beside.into_iter().filter(is_inside).map(|folder| folder.display().to_string()).collect();
    let name = format!("{} {}", followed.shown, followed.reference);
    let following = Following::begin(followed, FilePath::new(COPIES), &settings.instance, &beside);
    let following = following.map_err(|refused| {
        let exit = match refused {
            Refused::Unreachable(_) => Exit::Unreachable,
            Refused::Unusable(_) => Exit::BadConfig,
        };
        CliError::new(exit, format!("following {name}: {refused}"))
    })?;
    for folder in [&mut settings.schemas, &mut settings.plugins] {
        let written = folder.display().to_string();
        if beside.contains(&written) && following.beside(&written).is_dir() {
            *folder = following.beside(&written);
        }
    }
    Ok(From::Git(Arc::new(following)))
}

/// Reads, checks and compiles pipeline files, and prints what is wrong with them; also gives what reads them again.
pub(crate) fn pipelines(
    from: From,
    loaded: runtime::Loaded,
    terminal: &mut Terminal,
) -> Result<(Loaded, Loader), CliError> {
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
    let tokens = loaded.document.at(&Path::root().then("auth").then("tokens"));
    let auth = tokens.is_some_and(|tokens| !tokens.items().is_empty());
    // Without a file the tree is one of flags and variables.
    let settings_file = Some(&loaded.document.source).filter(|source| FilePath::new(source.name()).is_file());
    let settings_file = settings_file.cloned();
    let settings = Arc::new(loaded.settings.clone());
    let whole = Arc::new(loaded);
    let client = registry.as_ref().map(|registry| registry.client.clone());
    let mut loader = Loader::new(from, Arc::clone(&settings), egress, client);
    let mut first = loader.load().map_err(|error| unreadable(&settings.pipelines, &error))?;
    print(&mut first.findings, terminal)?;
    Ok((Loaded { settings, token_sources, registry, auth, settings_file, whole, first }, loader))
}

fn unreadable(folder: &FilePath, error: &std::io::Error) -> CliError {
    let help = "name the folder with --pipelines, WEIR_PIPELINES or `pipelines` in weir.yaml";
    CliError::new(Exit::BadConfig, format!("reading {}: {error}; {help}", folder.display()))
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

/// Findings to stderr, all of them, in order.
pub(super) fn print(findings: &mut Vec<Diagnostic>, terminal: &mut Terminal) -> Result<(), CliError> {
    diagnostic::sort(findings);
    for finding in findings.iter() {
        writeln!(terminal.err, "{}", diagnostic::human(finding, terminal.err_color))?;
    }
    Ok(())
}
