//! Findings as code scanners exchange them: SARIF 2.1.0.

use std::collections::BTreeMap;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::{Value, json};

use super::{Diagnostic, Label, Severity};

/// What a path may not have as it is in a URI.
const PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b']')
    .add(b'\\');

/// The log of one run. `page` is what is known of a code: Markdown whose first line is its title.
pub fn sarif(findings: &[Diagnostic], page: impl Fn(&str) -> Option<&'static str>) -> Value {
    let codes: BTreeMap<&str, usize> = {
        let mut codes: Vec<&str> = findings.iter().map(|finding| finding.code).collect();
        codes.sort_unstable();
        codes.dedup();
        codes.into_iter().zip(0..).collect()
    };
    let rule = |code: &&str| {
        let page = page(code).unwrap_or("");
        let title = page.lines().next().unwrap_or("").trim_start_matches("# ").trim();
        let title = title.strip_prefix(*code).map_or(title, |rest| rest.trim_start_matches([':', ' ']));
        let mut rule = json!({ "id": code, "help": { "text": page, "markdown": page } });
        if !title.is_empty() {
            add(&mut rule, "shortDescription", json!({ "text": title }));
        }
        rule
    };
    let result = |finding: &Diagnostic| {
        let mut text = finding.message.clone();
        for (word, more) in [("cause", &finding.cause), ("help", &finding.help)] {
            if let Some(more) = more {
                text.push_str(&format!("\n{word}: {more}"));
            }
        }
        let level = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let related: Vec<Value> =
            finding.labels.iter().zip(1..).map(|(label, id)| related(label, id)).collect();
        json!({
            "ruleId": finding.code,
            "ruleIndex": codes.get(finding.code),
            "level": level,
            "message": { "text": text },
            "locations": [{ "physicalLocation": place(&finding.primary) }],
            "relatedLocations": related,
        })
    };
    json!({
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "weir",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": codes.keys().map(rule).collect::<Vec<_>>(),
            } },
            "columnKind": "unicodeCodePoints",
            "results": findings.iter().map(result).collect::<Vec<_>>(),
        }],
    })
}

fn add(object: &mut Value, key: &str, value: Value) {
    if let Value::Object(object) = object {
        object.insert(key.to_owned(), value);
    }
}

fn place(label: &Label) -> Value {
    let source = &label.source;
    let uri = utf8_percent_encode(source.name(), PATH).to_string();
    let mut place = json!({ "artifactLocation": { "uri": uri } });
    if !source.text().is_empty() {
        let (start, end) = (source.position(label.span.start), source.position(label.span.end));
        let region = json!({
            "startLine": start.line, "startColumn": start.column, "endLine": end.line, "endColumn": end.column,
        });
        add(&mut place, "region", region);
    }
    place
}

fn related(label: &Label, id: usize) -> Value {
    json!({ "id": id, "physicalLocation": place(label), "message": { "text": label.text } })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::span::{Source, Span};

    #[test]
    fn a_rule_stands_once_and_a_result_points_at_it() {
        let source = Source::new("pipe lines/ä.yaml", "a: 1\nb: 2\n");
        let at = |start, end| Label::new(&source, Span::new(start, end), "first here");
        let findings = [
            Diagnostic::error("W0103", "twice", at(5, 6)).with_label(at(0, 1)).with_help("keep one"),
            Diagnostic::warning("W0505", "m", at(0, 1)),
            Diagnostic::error("W0103", "twice", at(0, 1)),
        ];
        let log =
            sarif(&findings, |code| (code == "W0103").then_some("# W0103: a key is there twice\n\nBody.\n"));
        let run = &log["runs"][0];
        let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
        assert_eq!(rules.len(), 2);
        assert_eq!(rules[0]["shortDescription"]["text"], "a key is there twice");
        let results = run["results"].as_array().unwrap();
        let indexes: Vec<&Value> = results.iter().map(|result| &result["ruleIndex"]).collect();
        assert_eq!(indexes, [0, 1, 0]);
        let place = &results[0]["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "pipe%20lines/%C3%A4.yaml");
        assert_eq!(
            place["region"],
            json!({ "startLine": 2, "startColumn": 1, "endLine": 2, "endColumn": 2 })
        );
        assert_eq!(results[0]["relatedLocations"][0]["message"]["text"], "first here");
        assert_eq!(results[1]["level"], "warning");
    }
}
