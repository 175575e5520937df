//! Findings as GitHub shows them beside the lines of a change: workflow commands.
//!
//! Source: GitHub's documentation of workflow commands; escapes as `@actions/core` writes them.

use super::Diagnostic;

/// One finding as a line: `::error file=..,line=..::message`.
pub fn github(finding: &Diagnostic) -> String {
    let source = &finding.primary.source;
    let (start, end) =
        (source.position(finding.primary.span.start), source.position(finding.primary.span.end));
    let mut text = finding.message.clone();
    for (word, more) in [("cause", &finding.cause), ("help", &finding.help)] {
        if let Some(more) = more {
            text.push_str(&format!("\n{word}: {more}"));
        }
    }
    let mut at = format!("file={}", property(source.name()));
    if !source.text().is_empty() {
        at.push_str(&format!(",line={},col={}", start.line, start.column));
        // GitHub marks columns only within one line.
        if end.line == start.line {
            at.push_str(&format!(",endColumn={}", end.column));
        }
    }
    format!("::{} {at},title={}::{}\n", finding.severity.as_str(), finding.code, data(&text))
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::diagnostic::Label;
    use crate::spec::span::{Source, Span};

    #[test]
    fn what_ends_a_command_is_escaped() {
        let source = Source::new("a,b:c%.yaml", "a: 1\nb: 2\n");
        let finding = Diagnostic::error("W0104", "100 %\r\n::stop", Label::new(&source, Span::new(8, 9), ""))
            .with_help("do this");
        assert_eq!(
            github(&finding),
            "::error file=a%2Cb%3Ac%25.yaml,line=2,col=4,endColumn=5,title=W0104::100 %25%0D%0A::stop%0Ahelp: do this\n"
        );
        let nowhere = Source::new("gone.yaml", "");
        let finding = Diagnostic::warning("W0102", "m", Label::new(&nowhere, Span::default(), ""));
        assert_eq!(github(&finding), "::warning file=gone.yaml,title=W0102::m\n");
    }
}
