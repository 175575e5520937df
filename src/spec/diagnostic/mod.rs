//! What is wrong with a file, as a value: code, place, cause, help. How it is printed: `human`, `short`, `json`,
//! `github`, `sarif`.

mod github;
mod human;
mod json;
mod sarif;
mod why;

use std::sync::Arc;

use super::span::{Source, Span};

pub use github::github;
pub use human::{human, short};
pub use json::json;
pub use sarif::sarif;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// Advice: the file can be used.
    Warning,
}

impl Severity {
    /// The word that is printed.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

/// A place in a source and what is to be said there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The file.
    pub source: Arc<Source>,
    /// The place in it.
    pub span: Span,
    /// What is said beside the carets; empty where the message says it all.
    pub text: String,
}

impl Label {
    /// A place and what is to be said there.
    pub fn new(source: &Arc<Source>, span: Span, text: impl Into<String>) -> Label {
        Label { source: Arc::clone(source), span, text: text.into() }
    }
}

/// One finding. Its code has a page of its own: `weir explain W0104`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// The code, such as `W0104`.
    pub code: &'static str,
    /// Error or advice.
    pub severity: Severity,
    /// What is wrong: lower case, no full stop.
    pub message: String,
    /// Where.
    pub primary: Label,
    /// What else has to do with it: the other of two lines.
    pub labels: Vec<Label>,
    /// What is known of the reason.
    pub cause: Option<String>,
    /// One action that mends it.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A finding that makes its file unusable.
    pub fn error(code: &'static str, message: impl Into<String>, primary: Label) -> Diagnostic {
        let message = message.into();
        Diagnostic {
            code,
            severity: Severity::Error,
            cause: why::of(code, &message),
            message,
            primary,
            labels: Vec::new(),
            help: None,
        }
    }

    /// A finding that makes its file unusable, of one text: what is wrong, and behind a semicolon what to do.
    pub fn told(code: &'static str, text: &str, primary: Label) -> Diagnostic {
        match text.rsplit_once("; ") {
            Some((message, help)) => Diagnostic::error(code, message, primary).with_help(help),
            None => Diagnostic::error(code, text, primary),
        }
    }

    /// A finding that is advice.
    pub fn warning(code: &'static str, message: impl Into<String>, primary: Label) -> Diagnostic {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::error(code, message, primary) }
    }

    /// The same with another place that has to do with it.
    #[must_use]
    pub fn with_label(mut self, label: Label) -> Diagnostic {
        self.labels.push(label);
        self
    }

    /// The same with what is known of the reason.
    #[must_use]
    pub fn with_cause(mut self, cause: impl Into<String>) -> Diagnostic {
        self.cause = Some(cause.into());
        self
    }

    /// The same with what to do.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Diagnostic {
        self.help = Some(help.into());
        self
    }

    /// Whether its file cannot be used.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// Puts findings into the order in which they are shown: by file, then by place, then by code. What was found twice at one
/// place is said once; of two that point at a text and at a part of it, the one that points closer stays.
pub fn sort(findings: &mut Vec<Diagnostic>) {
    findings.sort_by(|a, b| {
        let key = |d: &Diagnostic| (d.primary.span.start, d.code, d.primary.span.end);
        a.primary.source.name().cmp(b.primary.source.name()).then_with(|| key(a).cmp(&key(b)))
    });
    findings.dedup_by(|later, first| {
        later.code == first.code
            && later.primary.source == first.primary.source
            && later.primary.span.start == first.primary.span.start
    });
    let references = ["W0201", "W0207"];
    let closer: Vec<(Arc<Source>, &str, Span)> = findings
        .iter()
        .filter(|finding| references.contains(&finding.code))
        .map(|finding| (Arc::clone(&finding.primary.source), finding.code, finding.primary.span))
        .collect();
    findings.retain(|finding| {
        let span = finding.primary.span;
        !closer.iter().any(|(source, code, other)| {
            *code == finding.code
                && *source == finding.primary.source
                && *other != span
                && span.contains(*other)
        })
    });
}

/// The known word nearest to what was written, where one is near enough to be a slip of the pen.
pub fn did_you_mean<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = written.to_lowercase();
    let room = (written.chars().count() / 3).clamp(1, 3);
    let near = |word: &&str| {
        let other = word.to_lowercase();
        let distance = strsim::damerau_levenshtein(&lower, &other);
        (distance <= room && distance < other.chars().count()) || likeness(&lower, &other) >= 0.86
    };
    known
        .into_iter()
        .filter(near)
        .max_by(|a, b| likeness(&lower, &a.to_lowercase()).total_cmp(&likeness(&lower, &b.to_lowercase())))
}

fn likeness(a: &str, b: &str) -> f64 {
    strsim::jaro_winkler(a, b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_a_stranger_is_not() {
        let known = ["retry", "source", "dlq", "max_attempts"];
        assert_eq!(did_you_mean("retries", known), Some("retry"));
        assert_eq!(did_you_mean("rety", known), Some("retry"));
        assert_eq!(did_you_mean("Source", known), Some("source"));
        assert_eq!(did_you_mean("maxAttempts", known), Some("max_attempts"));
        assert_eq!(did_you_mean("colour", known), None);
        assert_eq!(did_you_mean("x", ["y"]), None);
    }
}
