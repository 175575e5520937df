//! `weir test`: runs the tests that lie beside pipelines, without Kafka and without a network.

mod human;
mod json;
mod junit;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::fmt::replace;
use super::terminal::Terminal;
use super::{CliError, Exit, Global, Output, check};
use crate::rehearsal::{Bench, Case, CaseFile, Point, Ran, Results, run_all, updated};
use crate::settings::environment;
use crate::spec::diagnostic::{self, Diagnostic};
use crate::telemetry::clock;

/// Which tests to run.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// Files of tests, files of pipelines, or folders. Default: the folder of weir.yaml, else `pipelines`.
    pub paths: Vec<PathBuf>,
    /// Only tests whose name, or whose pipeline's name, has this in it.
    #[arg(long, value_name = "TEXT")]
    pub filter: Option<String>,
    /// Write what came of the tests that have failed into their files: only the keys of `expect` that differ.
    #[arg(long)]
    pub update: bool,
    /// Say what no test has exercised: transforms, sides of `when`, retries, dead letters.
    #[arg(long)]
    pub coverage: bool,
    /// No test is no failure.
    #[arg(long)]
    pub allow_none: bool,
}

const AFTER: &str = "A test lies beside its pipeline: pipelines/NAME.test.yaml. Time is virtual, answers are scripted, nothing is dialled.
How to write one: docs/testing.md.";

/// What came of all of them.
#[derive(Debug)]
struct Report {
    ran: Vec<Ran>,
    findings: Vec<Diagnostic>,
    /// What tests may exercise, and whether they did; nothing where not all of them were run.
    points: Vec<(Point, bool)>,
    took: Duration,
}

impl Report {
    fn failed(&self) -> usize {
        self.ran.iter().filter(|ran| !ran.passed()).count()
    }

    fn virtual_time(&self) -> Duration {
        self.ran.iter().map(|ran| ran.virtual_time).sum()
    }
}

/// Runs the command: yes where every test has passed, no where one has not or there is none, bad configuration where a file
/// cannot be used.
pub fn test(args: &Args, global: &Global, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let began = clock::now();
    let mut findings = Vec::new();
    let Some(loaded) = check::settings(global.config.as_deref(), &environment(), &mut findings) else {
        super::load::print(&mut findings, terminal)?;
        return Ok(Exit::BadConfig);
    };
    let default = [loaded.settings.pipelines.clone()];
    let paths = if args.paths.is_empty() { &default[..] } else { &args.paths };
    let bench = Bench::new(&loaded);
    let wanted = |case: &Case| {
        args.filter.as_deref().is_none_or(|text| case.name.contains(text) || case.file.name().contains(text))
    };
    let unreadable = |(path, error): (PathBuf, std::io::Error)| {
        CliError::new(Exit::Usage, format!("reading {}: {error}", path.display()))
    };
    let Results { mut ran, files, mut findings } = run_all(paths, &bench, wanted).map_err(unreadable)?;
    if args.update {
        let written = update(&files, &ran, &mut findings);
        if !written.is_empty() {
            // What was written is judged anew.
            let again = run_all(paths, &bench, wanted).map_err(unreadable)?;
            findings.extend(again.findings);
            ran = again.ran;
        }
        for name in written {
            writeln!(terminal.err, "updated {name}")?;
        }
    }
    diagnostic::sort(&mut findings);
    let points = if args.filter.is_none() { bench.coverage.points() } else { Vec::new() };
    let report = Report { ran, findings, points, took: began.elapsed() };
    print(&report, args, global, terminal)?;
    if report.ran.is_empty() && report.findings.is_empty() && !args.allow_none {
        let message = match &args.filter {
            Some(text) => format!("no test has `{text}` in its name or in that of its file"),
            None => "there is no test: write one beside a pipeline, as NAME.test.yaml".to_owned(),
        };
        return Err(CliError::new(Exit::No, message));
    }
    Ok(match (report.findings.is_empty(), report.failed()) {
        (false, _) => Exit::BadConfig,
        (true, 0) => Exit::Yes,
        (true, _) => Exit::No,
    })
}

/// Writes files of tests anew whose tests have failed; the names of those that were written.
fn update(files: &[Arc<CaseFile>], ran: &[Ran], findings: &mut Vec<Diagnostic>) -> Vec<String> {
    let mut written = Vec::new();
    for file in files {
        let of_file = ran.iter().filter(|ran| Arc::ptr_eq(&ran.case.file, file) && !ran.passed());
        let failed: Vec<_> =
            of_file.filter_map(|ran| Some((&ran.case, ran.seen.as_ref()?, &ran.judged))).collect();
        let Some(text) = updated(file, &failed) else { continue };
        match replace(&file.path, &file.document.source, &text) {
            Ok(()) => written.push(file.path.display().to_string()),
            Err(finding) => findings.push(*finding),
        }
    }
    written
}

fn print(report: &Report, args: &Args, global: &Global, terminal: &mut Terminal) -> Result<(), CliError> {
    match global.output {
        Output::Json => writeln!(terminal.out, "{}", json::document(report))?,
        Output::Junit => {
            let document = junit::document(report)
                .map_err(|error| CliError::new(Exit::Bug, format!("writing JUnit XML: {error}")))?;
            writeln!(terminal.out, "{document}")?;
        }
        _ => {
            for finding in &report.findings {
                writeln!(terminal.err, "{}", diagnostic::human(finding, terminal.err_color))?;
            }
            human::print(report, global.quiet, terminal.out_color, &mut terminal.out)?;
            human::coverage(report, args.coverage, &mut terminal.out)?;
        }
    }
    Ok(())
}
