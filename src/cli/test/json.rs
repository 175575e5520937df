//! The results as one JSON document.

use serde_json::{Value, json};

use super::Report;
use crate::rehearsal::Ran;
use crate::spec::diagnostic;

/// `weir.test/v1`: may only grow.
pub(super) fn document(report: &Report) -> Value {
    let findings: Vec<Value> = report.findings.iter().map(diagnostic::json).collect();
    let points = report.points.iter();
    let points: Vec<Value> = points
        .map(|(point, exercised)| json!({ "stage": point.service, "what": point.what, "exercised": exercised }))
        .collect();
    json!({
        "schema": "weir.test/v1",
        "tests": report.ran.iter().map(one).collect::<Vec<_>>(),
        "passed": report.ran.len() - report.failed(),
        "failed": report.failed(),
        "seconds": report.took.as_secs_f64(),
        "virtual_seconds": report.virtual_time().as_secs_f64(),
        "coverage": points,
        "findings": findings,
    })
}

fn one(ran: &Ran) -> Value {
    let differences = ran.judged.differences.iter();
    let differences: Vec<Value> =
        differences.map(|one| json!({ "at": one.label, "expected": one.expected, "got": one.got })).collect();
    json!({
        "file": ran.case.file.path.display().to_string(),
        "line": ran.case.line,
        "name": ran.case.name,
        "passed": ran.passed(),
        "seconds": ran.took.as_secs_f64(),
        "virtual_seconds": ran.virtual_time.as_secs_f64(),
        "differences": differences,
        "why": ran.judged.why,
    })
}
