//! The results for people: one line a test, and of what failed what was expected beside what came.

use std::io::{self, Write};
use std::time::Duration;

use super::Report;
use crate::rehearsal::{Difference, Ran};

/// The narrowest column of what differs.
const LABEL: usize = 6;

/// Prints them; with `quiet` only what has failed.
pub(super) fn print(report: &Report, quiet: bool, colour: bool, out: &mut dyn Write) -> io::Result<()> {
    let mut file = None;
    for ran in report.ran.iter().filter(|ran| !quiet || !ran.passed()) {
        if file != Some(&ran.case.file.path) {
            writeln!(out, "{}", ran.case.file.name())?;
            file = Some(&ran.case.file.path);
        }
        one(ran, colour, out)?;
    }
    if report.ran.is_empty() {
        return Ok(());
    }
    let (all, failed) = (report.ran.len(), report.failed());
    let tests = if all == 1 { "1 test".to_owned() } else { format!("{all} tests") };
    let took = report.took.as_secs_f64();
    let virtual_time = of_time(report.virtual_time());
    writeln!(
        out,
        "\n{tests}, {} passed, {failed} failed, {took:.2} s ({virtual_time} of virtual time)",
        all - failed
    )
}

/// How many points the line of those that were never exercised names.
const NAMED: usize = 4;

/// What no test has exercised: in full, or the first few.
pub(super) fn coverage(report: &Report, full: bool, out: &mut dyn Write) -> io::Result<()> {
    let never: Vec<String> = report
        .points
        .iter()
        .filter(|(_, exercised)| !exercised)
        .map(|(point, _)| format!("{} {}", point.service, point.what))
        .collect();
    if !full {
        if never.is_empty() {
            return Ok(());
        }
        let named = never.iter().take(NAMED).cloned().collect::<Vec<_>>().join("; ");
        let more = match never.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        return writeln!(out, "Never exercised: {named}{more}. See --coverage.");
    }
    writeln!(out, "\nExercised: {} of {}", report.points.len() - never.len(), report.points.len())?;
    for (point, exercised) in &report.points {
        let word = if *exercised { "yes" } else { "NO " };
        writeln!(out, "  {word}  {} {}", point.service, point.what)?;
    }
    Ok(())
}

fn one(ran: &Ran, colour: bool, out: &mut dyn Write) -> io::Result<()> {
    let paint = |code: &str, text: &str| {
        if colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    };
    if ran.passed() {
        return writeln!(out, "  {}    {}", paint("32", "ok"), ran.case.name);
    }
    let name = format!("{:<48}", ran.case.name);
    writeln!(out, "  {}  {name} (line {})", paint("1;31", "FAIL"), ran.case.line)?;
    let differences = &ran.judged.differences;
    let width = differences.iter().map(|one| one.label.chars().count()).max().unwrap_or(0).max(LABEL) + 2;
    for Difference { label, expected, got } in differences {
        writeln!(out, "        {label:<width$}expected {expected}")?;
        writeln!(out, "        {:<width$}got      {got}", "")?;
    }
    if let Some(why) = &ran.judged.why {
        writeln!(out, "        {:<width$}{why}", "why")?;
    }
    Ok(())
}

/// A span of time as people say it: `1m 3s`, `40s`, `250ms`.
pub(super) fn of_time(time: Duration) -> String {
    let seconds = time.as_secs();
    let parts =
        [(seconds / 86_400, "d"), (seconds / 3600 % 24, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let shown: Vec<String> =
        parts.iter().filter(|(n, _)| *n > 0).map(|(n, unit)| format!("{n}{unit}")).collect();
    match (shown.is_empty(), time.subsec_millis()) {
        (true, 0) => "0s".to_owned(),
        (true, millis) => format!("{millis}ms"),
        (false, _) => shown.join(" "),
    }
}
