//! The results as JUnit XML, which CI systems show: a suite for each file.

use quick_junit::{NonSuccessKind, Report as Junit, TestCase, TestCaseStatus, TestSuite};

use super::Report;
use crate::rehearsal::Ran;
use crate::spec::diagnostic;

/// The document. Findings of files that cannot be used are cases that have failed.
pub(super) fn document(report: &Report) -> Result<String, quick_junit::SerializeError> {
    let mut junit = Junit::new("weir test");
    junit.set_time(report.took);
    let mut suites: Vec<TestSuite> = Vec::new();
    for ran in &report.ran {
        let name = ran.case.file.path.display().to_string();
        if suites.last().is_none_or(|suite| suite.name.as_str() != name) {
            suites.push(TestSuite::new(name));
        }
        if let Some(suite) = suites.last_mut() {
            suite.add_test_case(case(ran));
        }
    }
    for finding in &report.findings {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
        status.set_message(finding.message.clone()).set_type(finding.code);
        status.set_description(diagnostic::human(finding, false));
        let mut suite = TestSuite::new(finding.primary.source.name());
        suite.add_test_case(TestCase::new("the file can be used", status));
        suites.push(suite);
    }
    junit.add_test_suites(suites);
    junit.to_string()
}

fn case(ran: &Ran) -> TestCase {
    let status = if ran.passed() {
        TestCaseStatus::success()
    } else {
        let lines = ran.judged.differences.iter();
        let mut lines: Vec<String> =
            lines.map(|one| format!("{}: expected {}, got {}", one.label, one.expected, one.got)).collect();
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
        status.set_message(lines.first().cloned().unwrap_or_default());
        lines.extend(ran.judged.why.as_ref().map(|why| format!("why: {why}")));
        status.set_description(lines.join("\n"));
        status
    };
    let mut case = TestCase::new(ran.case.name.as_str(), status);
    case.set_classname(ran.case.file.name()).set_time(ran.took);
    case.add_property(("line", ran.case.line.to_string().as_str()));
    case.add_property(("virtual_seconds", ran.virtual_time.as_secs_f64().to_string().as_str()));
    case
}
