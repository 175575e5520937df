//! `weir test`: runs the tests that lie beside pipelines, without Kafka and without a network.

mod human;
mod json;

use std::path::PathBuf;
use std::time::Duration;

use super::terminal::Terminal;
use super::{CliError, Exit, Global, Output, check};
use crate::rehearsal::{Bench, Case, Judged, Suite, judge, run};
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
    /// No test is no failure.
    #[arg(long)]
    pub allow_none: bool,
}

const AFTER: &str = "A test lies beside its pipeline: pipelines/NAME.test.yaml. Time is virtual, answers are scripted, nothing is dialled.
How to write one: docs/testing.md.";

/// A test that was run.
#[derive(Debug)]
struct Ran {
    case: Case,
    judged: Judged,
    virtual_time: Duration,
    took: Duration,
}

impl Ran {
    fn passed(&self) -> bool {
        self.judged.differences.is_empty()
    }
}

/// What came of all of them.
#[derive(Debug)]
struct Report {
    ran: Vec<Ran>,
    findings: Vec<Diagnostic>,
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
    let bench = Bench::new(loaded);
    let suite = Suite::load(paths, &bench).map_err(|(path, error)| {
        CliError::new(Exit::Usage, format!("reading {}: {error}", path.display()))
    })?;
    let Suite { cases, mut findings, .. } = suite;
    let wanted = |case: &Case| {
        args.filter.as_deref().is_none_or(|text| case.name.contains(text) || case.file.name().contains(text))
    };
    let ran: Vec<Ran> = cases.into_iter().filter(wanted).map(|case| one(case, &bench)).collect();
    diagnostic::sort(&mut findings);
    let report = Report { ran, findings, took: began.elapsed() };
    print(&report, global, terminal)?;
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

fn one(case: Case, bench: &Bench) -> Ran {
    let began = clock::now();
    let (judged, virtual_time) = match run(&case, bench) {
        Ok(observed) => (judge(&case, &observed), observed.virtual_time),
        Err(why) => (Judged::not_run(&why), Duration::ZERO),
    };
    Ran { case, judged, virtual_time, took: began.elapsed() }
}

fn print(report: &Report, global: &Global, terminal: &mut Terminal) -> Result<(), CliError> {
    match global.output {
        Output::Json => writeln!(terminal.out, "{}", json::document(report))?,
        _ => {
            for finding in &report.findings {
                writeln!(terminal.err, "{}", diagnostic::human(finding, terminal.err_color))?;
            }
            human::print(report, global.quiet, terminal.out_color, &mut terminal.out)?;
        }
    }
    Ok(())
}
