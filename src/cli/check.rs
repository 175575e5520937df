//! `weir check`: finds mistakes in pipeline files, in one go, without a server.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::terminal::Terminal;
use super::{CliError, Exit, Global, Output};
use crate::handler::egress::{self, Egress};
use crate::plan::{self, check::Given};
use crate::rehearsal::{Bench, Suite};
use crate::settings::environment;
use crate::spec::diagnostic::{self, Diagnostic, Severity};
use crate::spec::span::Source;
use crate::spec::{PipelineFile, files, markdown, runtime};
use crate::telemetry::clock;

/// What to check, and how to say it.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Args {
    /// Files, or folders of files; `-` is standard input. Of Markdown files the YAML blocks that begin with `pipeline:`.
    /// Default: the folder of weir.yaml, else `pipelines`.
    pub paths: Vec<PathBuf>,
    /// Exit 1 on warnings too.
    #[arg(long)]
    pub deny_warnings: bool,
}

/// What a check found.
#[derive(Debug)]
pub struct Report {
    /// Every finding, in the order in which it is shown.
    pub findings: Vec<Diagnostic>,
    /// How many files were checked.
    pub files: usize,
}

impl Report {
    fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }
}

/// Checks the texts of files that are loaded together.
pub fn check(sources: &[Arc<Source>], loaded: &runtime::Loaded, mut findings: Vec<Diagnostic>) -> Report {
    let files: Vec<PipelineFile> =
        sources.iter().map(|source| PipelineFile::parse(source, &mut findings)).collect();
    let references = &loaded.settings.references;
    plan::check::check(&files, Given::of(&loaded.settings), &mut findings);
    let guard = Egress::new(&loaded.egress, &[]);
    if let Err(problems) = &guard {
        findings.extend(super::load::egress_findings(problems.clone(), loaded));
    }
    if let Ok(egress) = guard.or_else(|_| Egress::new(&egress::Spec::default(), &[])) {
        let egress = Arc::new(egress);
        findings.extend(super::load::token_sources(loaded, &egress).err().into_iter().flatten());
        let registry = match super::registry::connect(loaded) {
            Ok(registry) => registry.map(|registry| registry.client),
            Err(list) => {
                findings.extend(list);
                None
            }
        };
        let plugins = crate::runtime::load::plugins(&loaded.settings);
        let schemas = &loaded.settings.schemas;
        let environment =
            plan::Environment { references, egress, schemas, registry, plugins: &plugins, transport: None };
        for file in &files {
            plan::compile(file, &environment, &mut findings);
        }
    }
    diagnostic::sort(&mut findings);
    Report { findings, files: files.len() }
}

/// Runs the command: yes where nothing is wrong, no where something is, wrong use for a path that does not exist, bad
/// configuration for a broken runtime file.
pub fn run(args: &Args, global: &Global, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let began = clock::now();
    let form = Form { output: global.output, colour: terminal.out_color };
    let mut findings = Vec::new();
    let Some(loaded) = settings(global.config.as_deref(), &environment(), &mut findings) else {
        diagnostic::sort(&mut findings);
        let report = Report { findings, files: 0 };
        print(&report, form, began.elapsed(), &mut terminal.out)?;
        return Ok(Exit::BadConfig);
    };
    let default = [loaded.settings.pipelines.clone()];
    let paths = if args.paths.is_empty() { &default[..] } else { &args.paths };
    let mut found = Texts::default();
    for path in paths {
        collect(path, &mut found, &mut findings)
            .map_err(|error| CliError::new(Exit::Usage, format!("reading {}: {error}", path.display())))?;
    }
    let mut report = check(&found.sources, &loaded, findings);
    // Each stands for itself: two examples of one document may have one name.
    for block in found.blocks {
        let apart = check(&[block], &loaded, Vec::new());
        report.findings.extend(apart.findings);
        report.files += apart.files;
    }
    let bench = Bench::new(&loaded);
    for path in paths.iter().filter(|path| path.is_dir() || files::is_test(path)) {
        let suite = Suite::load(std::slice::from_ref(path), &bench).map_err(|(_, error)| {
            CliError::new(Exit::Usage, format!("reading {}: {error}", path.display()))
        })?;
        report.files += suite.read;
        report.findings.extend(suite.findings);
    }
    diagnostic::sort(&mut report.findings);
    if report.files == 0 && report.findings.is_empty() {
        return Err(CliError::new(Exit::No, "there is no pipeline file to check"));
    }
    print(&report, form, began.elapsed(), &mut terminal.out)?;
    let no = report.count(Severity::Error) > 0 || (args.deny_warnings && report.count(Severity::Warning) > 0);
    Ok(if no { Exit::No } else { Exit::Yes })
}

/// What the files are checked against; `None` where the runtime file has errors.
pub(super) fn settings(
    config: Option<&Path>,
    environment: &BTreeMap<String, String>,
    findings: &mut Vec<Diagnostic>,
) -> Option<runtime::Loaded> {
    let path = config.unwrap_or(Path::new("weir.yaml"));
    let source = if config.is_some() || path.exists() {
        match files::source(path) {
            Ok(source) => Some(source),
            Err(finding) => {
                findings.push(*finding);
                return None;
            }
        }
    } else {
        None
    };
    let loaded = runtime::load(source.as_ref(), environment, &[], findings)?;
    (!findings.iter().any(Diagnostic::is_error)).then_some(loaded)
}

/// What is to be checked: files that are loaded together, and the blocks of Markdown files.
#[derive(Default)]
struct Texts {
    sources: Vec<Arc<Source>>,
    blocks: Vec<Arc<Source>>,
}

/// The texts that a path stands for. Fails where there is nothing at the path.
fn collect(path: &Path, found: &mut Texts, findings: &mut Vec<Diagnostic>) -> io::Result<()> {
    if path == Path::new("-") {
        match files::standard_input()? {
            Ok(source) => found.sources.push(source),
            Err(finding) => findings.push(*finding),
        }
        return Ok(());
    }
    if files::is_test(path) {
        return std::fs::metadata(path).map(drop);
    }
    for file in files::pipelines_at(path)? {
        let is_markdown = file.extension().is_some_and(|end| end.eq_ignore_ascii_case("md"));
        match files::pipeline(&file) {
            Ok(source) if is_markdown => found.blocks.extend(markdown::blocks(&source)),
            Ok(source) => found.sources.push(source),
            Err(finding) => findings.push(*finding),
        }
    }
    Ok(())
}

#[derive(Clone, Copy)]
struct Form {
    output: Output,
    colour: bool,
}

fn print(report: &Report, form: Form, took: Duration, out: &mut dyn Write) -> io::Result<()> {
    match form.output {
        // The command line refuses the forms of other commands.
        Output::Human | Output::Junit | Output::Markdown | Output::Mermaid | Output::Dot | Output::Svg => {
            for finding in &report.findings {
                writeln!(out, "{}", diagnostic::human(finding, form.colour))?;
            }
            writeln!(out, "{}", summary(report, took))
        }
        Output::Short => {
            report.findings.iter().try_for_each(|f| out.write_all(diagnostic::short(f).as_bytes()))
        }
        Output::Json | Output::Jsonl => {
            let document = serde_json::json!({
                "schema": "weir.check/v1",
                "files": report.files,
                "errors": report.count(Severity::Error),
                "warnings": report.count(Severity::Warning),
                "findings": report.findings.iter().map(diagnostic::json).collect::<Vec<_>>(),
            });
            writeln!(out, "{document}")
        }
        Output::Github => {
            report.findings.iter().try_for_each(|f| out.write_all(diagnostic::github(f).as_bytes()))
        }
        Output::Sarif => writeln!(out, "{}", diagnostic::sarif(&report.findings, super::explain::page)),
    }
}

fn summary(report: &Report, took: Duration) -> String {
    let many = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let mut text = format!("{} checked in {:.1} s: ", many(report.files, "file"), took.as_secs_f64());
    match report.findings.first() {
        None => text.push_str("nothing wrong."),
        Some(first) => {
            let errors = many(report.count(Severity::Error), "error");
            let warnings = many(report.count(Severity::Warning), "warning");
            text.push_str(&format!("{errors}, {warnings}. Explain one with: weir explain {}", first.code));
        }
    }
    text
}
