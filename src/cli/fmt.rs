//! `weir fmt`: files in the standard form, comments kept. A file whose form would mean something else is left alone.

mod write;

pub(super) use write::replace;

use std::io::Write;
use std::path::{Path, PathBuf};

use super::exit::{CliError, Exit};
use super::load;
use super::terminal::Terminal;
use super::{Global, Output};
use crate::spec::diagnostic::{self, Diagnostic};
use crate::spec::{files, layout};

/// What to format.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// Files, or folders of files; `-` is standard input, whose form goes to standard output. Default: the folder of
    /// weir.yaml, else `pipelines`.
    pub paths: Vec<PathBuf>,
    /// Write nothing; name the files that are not in the standard form, and exit 1 where there is one.
    #[arg(long)]
    pub check: bool,
}

const AFTER: &str = "Two spaces a level, one between { } and what stands in them, lines of 110 characters, no two empty lines in
a row; quotes are double where that changes nothing. Values, their order and comments stay. What stands below a line
`# weir-fmt-ignore` is left as it is.";

/// What was done.
#[derive(Debug, Default)]
struct Report {
    files: usize,
    /// The files that were, or would be, written.
    changed: Vec<String>,
    /// Why a file was left alone.
    findings: Vec<Diagnostic>,
}

/// Runs the command: no where a file was left alone, or with `--check` is not in the standard form.
pub(super) fn fmt(args: &Args, global: &Global, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let stdin = args.paths.iter().any(|path| path == Path::new("-"));
    if stdin && (args.paths.len() > 1 || global.output != Output::Human) {
        let message = "`-` stands alone: its standard form is what goes to standard output";
        return Err(CliError::new(Exit::Usage, message));
    }
    let mut report = Report::default();
    if stdin {
        standard_input(args, &mut report, terminal)?;
    } else {
        for file in files_of(args, global, terminal)? {
            one(&file, args.check, &mut report);
        }
        if report.files == 0 {
            return Err(CliError::new(Exit::No, "there is no pipeline file to format"));
        }
    }
    diagnostic::sort(&mut report.findings);
    for finding in &report.findings {
        writeln!(terminal.err, "{}", diagnostic::human(finding, terminal.err_color))?;
    }
    if !stdin || args.check {
        print(&report, global, terminal)?;
    }
    if !stdin && !global.quiet {
        writeln!(terminal.err, "{}", summary(&report, args.check))?;
    }
    let no = !report.findings.is_empty() || (args.check && !report.changed.is_empty());
    Ok(if no { Exit::No } else { Exit::Yes })
}

/// The files that the paths stand for. A Markdown file is none.
fn files_of(args: &Args, global: &Global, terminal: &mut Terminal) -> Result<Vec<PathBuf>, CliError> {
    let default;
    let paths = if args.paths.is_empty() {
        default = [load::runtime_file(global, &[], terminal)?.settings.pipelines];
        &default[..]
    } else {
        &args.paths
    };
    let wrong =
        |path: &Path, why: String| CliError::new(Exit::Usage, format!("reading {}: {why}", path.display()));
    let mut all = Vec::new();
    for path in paths {
        if path.extension().is_some_and(|end| end.eq_ignore_ascii_case("md")) {
            return Err(wrong(path, "only YAML files are formatted".to_owned()));
        }
        // A link that leads nowhere is a finding like any other file that cannot be read.
        match files::pipelines_at(path) {
            Ok(found) => all.extend(found),
            Err(_) if path.is_symlink() => all.push(path.clone()),
            Err(error) => return Err(wrong(path, error.to_string())),
        }
    }
    Ok(all)
}

fn one(file: &Path, check: bool, report: &mut Report) {
    report.files += 1;
    let source = match files::pipeline(file) {
        Ok(source) => source,
        Err(finding) => return report.findings.push(*finding),
    };
    let form = match layout::layout(&source) {
        Ok(form) => form,
        Err(findings) => return report.findings.extend(findings),
    };
    if form == source.text() {
        return;
    }
    if !check && let Err(finding) = write::replace(file, &source, &form) {
        return report.findings.push(*finding);
    }
    report.changed.push(source.name().to_owned());
}

/// The form of what comes in goes out; nothing goes out where there is none.
fn standard_input(args: &Args, report: &mut Report, terminal: &mut Terminal) -> Result<(), CliError> {
    let read = files::standard_input()
        .map_err(|error| CliError::new(Exit::Usage, format!("reading standard input: {error}")))?;
    let form =
        read.map_err(|finding| vec![*finding]).and_then(|source| Ok((layout::layout(&source)?, source)));
    match form {
        Err(findings) => report.findings = findings,
        Ok((form, source)) if args.check => {
            report.changed.extend((form != source.text()).then(|| source.name().to_owned()));
        }
        Ok((form, _)) => terminal.out.write_all(form.as_bytes())?,
    }
    Ok(())
}

/// The names of the files that were, or would be, written.
fn print(report: &Report, global: &Global, terminal: &mut Terminal) -> Result<(), CliError> {
    if global.output == Output::Json {
        let document = serde_json::json!({
            "schema": "weir.fmt/v1",
            "files": report.files,
            "changed": report.changed,
            "findings": report.findings.iter().map(diagnostic::json).collect::<Vec<_>>(),
        });
        writeln!(terminal.out, "{document}")?;
        return Ok(());
    }
    for name in &report.changed {
        writeln!(terminal.out, "{name}")?;
    }
    Ok(())
}

fn summary(report: &Report, check: bool) -> String {
    let mut left: Vec<&str> = report.findings.iter().map(|finding| finding.primary.source.name()).collect();
    left.dedup();
    let files = if report.files == 1 { "1 file".to_owned() } else { format!("{} files", report.files) };
    let done = if check { "not in the standard form" } else { "formatted" };
    let alone = if left.is_empty() { String::new() } else { format!(", {} left alone", left.len()) };
    format!("{files}: {} {done}{alone}", report.changed.len())
}
