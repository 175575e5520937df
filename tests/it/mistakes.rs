//! Mistakes that people make, each with all that `weir check` says of it. `tests/cases/mistakes/*.txt` hold them: a title
//! (`== title`), the files (`-- name`, the first one `order-billing.yaml` where nothing else is said), and behind
//! `-- says` the output. `UPDATE_EXPECT=1` writes the outputs anew; read the difference as their reader would.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weir::cli::check;
use weir::spec::diagnostic::{self, Diagnostic};
use weir::spec::runtime;
use weir::spec::span::Source;

use crate::support::run::root;

/// A mistake: its files by name, and what is said of it.
#[derive(Debug)]
struct Mistake {
    title: String,
    files: Vec<(String, String)>,
    says: String,
}

const FIRST: &str = "order-billing.yaml";
const SETTINGS: &str = "weir.yaml";

fn read(text: &str) -> Vec<Mistake> {
    let mut mistakes: Vec<Mistake> = Vec::new();
    let mut saying = false;
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("== ") {
            mistakes.push(Mistake { title: title.to_owned(), files: Vec::new(), says: String::new() });
            saying = false;
            continue;
        }
        let mistake = mistakes.last_mut().expect("the file begins with `== title`");
        match line.strip_prefix("-- ") {
            Some("says") => saying = true,
            Some(name) => mistake.files.push((name.to_owned(), String::new())),
            None if saying => mistake.says += &format!("{line}\n"),
            None => {
                if mistake.files.is_empty() {
                    mistake.files.push((FIRST.to_owned(), String::new()));
                }
                mistake.files.last_mut().unwrap().1 += &format!("{line}\n");
            }
        }
    }
    mistakes
}

fn write(mistakes: &[Mistake]) -> String {
    let mut out = String::new();
    for mistake in mistakes {
        out += &format!("== {}\n", mistake.title);
        for (at, (name, text)) in mistake.files.iter().enumerate() {
            if at > 0 || name != FIRST {
                out += &format!("-- {name}\n");
            }
            out += text;
        }
        out += &format!("-- says\n{}", mistake.says);
    }
    out
}

/// What a check of these files finds, on a machine whose environment is known.
fn found(files: &[(String, String)]) -> Vec<Diagnostic> {
    let environment = [
        ("HOSTNAME", "host"),
        ("WEIR_SECRET_BILLING_TOKEN", "a-token"),
        ("WEIR_SECRET_BILLING_SIGNING", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
    ];
    let environment: BTreeMap<String, String> =
        environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let (settings, pipelines): (Vec<_>, Vec<_>) = files
        .iter()
        .map(|(name, text)| Source::new(name.as_str(), text.as_str()))
        .partition(|source| source.name() == SETTINGS);
    let mut findings = Vec::new();
    let loaded = runtime::load(settings.first(), &environment, &[], &mut findings);
    match loaded {
        Some(loaded) => check::check(&pipelines, &loaded, findings).findings,
        None => {
            diagnostic::sort(&mut findings);
            findings
        }
    }
}

/// A finding says where, by line, column and caret, and what to do.
fn lacks(finding: &Diagnostic, files: &[(String, String)]) -> Option<&'static str> {
    let (source, span) = (&finding.primary.source, finding.primary.span);
    let known = files.iter().any(|(name, text)| name == source.name() && text == source.text());
    let output = diagnostic::human(finding, false);
    let place = format!("--> {}:{}\n", source.name(), source.position(span.start));
    if !known || span.end > source.text().len() || !output.contains(&place) || !output.contains('^') {
        return Some("a place");
    }
    finding.help.is_none().then_some("help")
}

/// A message without what somebody has written: the parts in back quotes.
fn kind(message: &str) -> String {
    message.split('`').step_by(2).collect::<Vec<_>>().join("`")
}

#[test]
fn each_mistake_has_place_cause_and_help() {
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    let (mut wrong, mut count, mut caused) = (Vec::new(), 0, BTreeSet::new());
    let folder = root().join("tests/cases/mistakes");
    let mut paths: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let mut mistakes = read(&std::fs::read_to_string(&path).unwrap());
        count += mistakes.len();
        for mistake in &mut mistakes {
            let title = format!("{}: {}", path.file_stem().unwrap().to_string_lossy(), mistake.title);
            let findings = found(&mistake.files);
            if findings.is_empty() {
                wrong.push(format!("{title}: nothing is said"));
            }
            let mut says = String::new();
            for finding in &findings {
                if finding.cause.is_some() && lacks(finding, &mistake.files).is_none() {
                    caused.insert((finding.code, kind(&finding.message)));
                }
                says += &format!("{}\n", diagnostic::human(finding, false));
                if let Some(what) = lacks(finding, &mistake.files) {
                    wrong.push(format!("{title}: lacks {what}: {}", diagnostic::short(finding)));
                }
            }
            if !update && says != mistake.says {
                wrong.push(format!("{title}: says\n{says}"));
            }
            mistake.says = says;
        }
        if update {
            std::fs::write(&path, write(&mistakes)).unwrap();
        }
    }
    assert!(count >= 200, "{count} mistakes are left");
    assert!(caused.len() >= 40, "{} kinds of mistake have place, cause and help: {caused:#?}", caused.len());
    assert!(wrong.is_empty(), "UPDATE_EXPECT=1 writes the outputs anew:\n{}", wrong.join("\n"));
}

#[test]
fn a_finding_without_a_place_or_a_word_is_caught() {
    let files = [(FIRST.to_owned(), "pipeline: a\n".to_owned())];
    let source = Source::new(FIRST, "pipeline: a\n");
    let label =
        |source: &Arc<Source>, end| diagnostic::Label::new(source, weir::spec::span::Span::new(0, end), "");
    let finding = Diagnostic::error("W0101", "m", label(&source, 8));
    assert_eq!(lacks(&finding, &files), Some("help"));
    assert_eq!(lacks(&finding.clone().with_cause("c"), &files), Some("help"));
    assert_eq!(lacks(&finding.with_help("h"), &files), None);
    assert_eq!(kind("`a` has no `b` c"), kind("`x` has no `y z` c"));
    let nowhere = Diagnostic::error("W0101", "m", label(&Source::new(FIRST, ""), 0)).with_help("h");
    assert_eq!(lacks(&nowhere, &files), Some("a place"));
    let behind = Diagnostic::error("W0101", "m", label(&source, 99)).with_help("h");
    assert_eq!(lacks(&behind, &files), Some("a place"));
}

#[test]
fn what_is_read_is_written_the_same() {
    let text = "== a\nx: 1\n-- weir.yaml\ny: 2\n-- says\nerror\n\n== b\n-- Other.yaml\nz\n-- says\n\n";
    assert_eq!(write(&read(text)), text);
}
