//! All tests of files or folders, and what came of each, as data: for `weir test`, and for whoever else runs tests.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::judge::{Judged, judge};
use super::load::{Bench, Case, CaseFile, Suite};
use super::observed::Observed;
use super::run::run;
use crate::spec::diagnostic::Diagnostic;
use crate::telemetry::clock;

/// A test that was run.
#[derive(Debug)]
pub struct Ran {
    /// The test.
    pub case: Case,
    /// What came of it; `None` where it could not be run.
    pub seen: Option<Observed>,
    /// What is not as expected.
    pub judged: Judged,
    /// How long it took, in virtual time.
    pub virtual_time: Duration,
    /// How long it really took.
    pub took: Duration,
}

impl Ran {
    /// Whether everything came as expected.
    pub fn passed(&self) -> bool {
        self.judged.differences.is_empty()
    }
}

/// What came of all tests.
#[derive(Debug)]
pub struct Results {
    /// The tests, in the order of the files.
    pub ran: Vec<Ran>,
    /// The files that could be used.
    pub files: Vec<Arc<CaseFile>>,
    /// What is wrong with the others, and with the pipelines that they test.
    pub findings: Vec<Diagnostic>,
}

/// Runs the tests that paths stand for and that are `wanted`. Blocks; not to be called inside of a tokio runtime.
///
/// # Errors
/// A path that cannot be read, with the path.
pub fn run_all(
    paths: &[PathBuf],
    bench: &Bench,
    wanted: impl Fn(&Case) -> bool,
) -> Result<Results, (PathBuf, io::Error)> {
    let Suite { files, cases, findings, .. } = Suite::load(paths, bench)?;
    let ran = cases.into_iter().filter(wanted).map(|case| one(case, bench)).collect();
    Ok(Results { ran, files, findings })
}

fn one(case: Case, bench: &Bench) -> Ran {
    let began = clock::now();
    let (seen, judged) = match run(&case, bench) {
        Ok(observed) => {
            let judged = judge(&case, &observed);
            (Some(observed), judged)
        }
        Err(why) => (None, Judged::not_run(&why)),
    };
    let virtual_time = seen.as_ref().map_or(Duration::ZERO, |seen| seen.virtual_time);
    Ran { case, seen, judged, virtual_time, took: began.elapsed() }
}
