//! Findings as programs read them. Fields may only be added.

use serde_json::{Value, json};

use super::{Diagnostic, Label};

/// One finding as a JSON object: code, severity, message, place, labels, cause, help.
pub fn json(finding: &Diagnostic) -> Value {
    let mut out = json!({
        "code": finding.code,
        "severity": finding.severity.as_str(),
        "message": finding.message,
    });
    if let (Value::Object(out), Value::Object(at)) = (&mut out, place(&finding.primary)) {
        out.extend(at);
        out.insert("labels".to_owned(), finding.labels.iter().map(place).collect());
        out.insert("cause".to_owned(), finding.cause.clone().into());
        out.insert("help".to_owned(), finding.help.clone().into());
    }
    out
}

fn place(label: &Label) -> Value {
    let (start, end) = (label.source.position(label.span.start), label.source.position(label.span.end));
    json!({
        "file": label.source.name(),
        "line": start.line,
        "column": start.column,
        "end_line": end.line,
        "end_column": end.column,
        "label": label.text,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::span::{Source, Span};

    #[test]
    fn every_field_is_there() {
        let source = Source::new("a.yaml", "a: 1\nb: 2\n");
        let finding =
            Diagnostic::warning("W0505", "m", Label::new(&source, Span::new(5, 6), "l")).with_help("h");
        assert_eq!(
            json(&finding),
            serde_json::json!({
                "code": "W0505", "severity": "warning", "message": "m", "file": "a.yaml", "line": 2, "column": 1,
                "end_line": 2, "end_column": 2, "label": "l", "labels": [], "cause": null, "help": "h",
            })
        );
    }
}
