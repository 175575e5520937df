//! Findings as people read them: the source line, carets, cause, help; or one line each, for editors and agents.

use super::{Diagnostic, Label, Severity};
use crate::spec::span::{Source, Span};

/// How much of a very long line is shown.
const WIDTH: usize = 160;
/// How much of a very long message is shown.
const TEXT: usize = 400;

const BOLD: &str = "\x1b[1m";
const RED: &str = "\x1b[1;31m";
const YELLOW: &str = "\x1b[1;33m";
const BLUE: &str = "\x1b[1;34m";

/// One line more.
macro_rules! put {
    ($out:ident, $($text:tt)+) => {{
        $out.push_str(&format!($($text)+));
        $out.push('\n');
    }};
}

/// What is wrong with a key: its line may hold a private one.
const KEY: &str = "W0312";

/// The long form, ending in a line break. `colour` adds terminal colours; they never carry meaning alone.
pub fn human(finding: &Diagnostic, colour: bool) -> String {
    let paint = Paint { colour };
    let accent = match finding.severity {
        Severity::Error => RED,
        Severity::Warning => YELLOW,
    };
    let kind = paint.with(accent, &format!("{}[{}]", finding.severity.as_str(), finding.code));
    let mut out = format!("{kind}{}\n", paint.with(BOLD, &format!(": {}", printable(&finding.message))));
    let margin = margin(finding);
    let mut before: Option<&Label> = None;
    let mut labels: Vec<(&Label, bool)> = std::iter::once((&finding.primary, true))
        .chain(finding.labels.iter().map(|label| (label, false)))
        .collect();
    // One block a file, the one of the primary label first; in it by line.
    labels.sort_by_key(|(label, _)| (!same_file(label, &finding.primary), label.span));
    for (label, primary) in labels {
        if !before.is_some_and(|before| same_file(before, label)) {
            // The arrow names the place of the finding itself, even where another line is shown above it.
            let place = if same_file(label, &finding.primary) { &finding.primary } else { label };
            let arrow = if primary || same_file(label, &finding.primary) { "-->" } else { ":::" };
            let position = place.source.position(place.span.start);
            let name = printable(place.source.name());
            let at = if place.source.text().is_empty() { name } else { format!("{name}:{position}") };
            put!(out, "{}{} {at}", " ".repeat(margin.max(2)), paint.with(BLUE, arrow));
            if !place.source.text().is_empty() {
                put!(out, "{} {}", " ".repeat(margin), paint.with(BLUE, "|"));
            }
        }
        let is_secret = primary && finding.code == KEY && may_be_key(label);
        snippet(
            &mut out,
            (label, is_secret),
            before,
            margin,
            if primary { ("^", accent) } else { ("-", BLUE) },
            &paint,
        );
        before = Some(label);
    }
    for (word, text) in [("cause", &finding.cause), ("help", &finding.help)] {
        if let Some(text) = text {
            let indent = " ".repeat(margin + 5 + word.len());
            let text = text.lines().map(printable).collect::<Vec<_>>().join(&format!("\n{indent}"));
            let head = format!("= {word}:");
            put!(out, "{} {} {text}", " ".repeat(margin), paint.with(BOLD, &head));
        }
    }
    out
}

/// The short form: `file:line:col: error[CODE]: message; help: ..`, one line.
pub fn short(finding: &Diagnostic) -> String {
    let source = &finding.primary.source;
    let position = source.position(finding.primary.span.start);
    let (name, severity) = (source.name(), finding.severity.as_str());
    let at = if source.text().is_empty() { String::new() } else { format!(":{position}") };
    let mut out = format!("{name}{at}: {severity}[{}]: {}", finding.code, printable(&finding.message));
    for (word, text) in [("cause", &finding.cause), ("help", &finding.help)] {
        if let Some(text) = text {
            out.push_str(&format!("; {word}: {}", printable(text)));
        }
    }
    out.push('\n');
    out
}

/// Whether what is written there is long enough for a key, and not the name of a secret.
fn may_be_key(label: &Label) -> bool {
    let written = label.source.slice(label.span);
    written.len() >= 20 && !written.contains("${")
}

fn same_file(a: &Label, b: &Label) -> bool {
    a.source == b.source
}

/// Room for the largest line number.
fn margin(finding: &Diagnostic) -> usize {
    let line = |label: &Label| label.source.position(label.span.start).line;
    let largest = finding.labels.iter().map(line).chain([line(&finding.primary)]).max().unwrap_or(1);
    largest.to_string().len()
}

fn snippet(
    out: &mut String,
    (label, is_secret): (&Label, bool),
    before: Option<&Label>,
    margin: usize,
    mark: (&str, &str),
    paint: &Paint,
) {
    let source = &label.source;
    if source.text().is_empty() {
        return;
    }
    let line = source.position(label.span.start).line;
    let above = before.filter(|b| same_file(b, label)).map(|b| source.position(b.span.start).line);
    let window = if is_secret { Window::hidden() } else { Window::of(source, line, label.span) };
    let bar = paint.with(BLUE, "|");
    if above != Some(line) {
        if above.is_some_and(|above| line > above + 1) {
            put!(out, "{}", paint.with(BLUE, "..."));
        }
        let number = paint.with(BLUE, &format!("{line:<margin$}"));
        let shown = format!("{number} {bar} {}", window.text);
        put!(out, "{}", shown.trim_end());
    }
    let carets = paint.with(mark.1, &mark.0.repeat(window.carets));
    let indent = " ".repeat(window.indent);
    let text = label.text.lines().next().map(printable).unwrap_or_default();
    let said = if text.is_empty() { String::new() } else { format!(" {}", paint.with(mark.1, &text)) };
    put!(out, "{} {bar} {indent}{carets}{said}", " ".repeat(margin));
}

/// The part of a line that is shown, and where the carets go.
struct Window {
    text: String,
    indent: usize,
    carets: usize,
}

impl Window {
    /// In place of a line that may hold a key.
    fn hidden() -> Window {
        Window { text: "***".to_owned(), indent: 0, carets: 3 }
    }

    fn of(source: &Source, line: usize, span: Span) -> Window {
        let whole = source.line_span(line);
        let line = source.line(line);
        // A line may be as long as its file: walked over, never copied.
        let count = line.chars().count();
        let first = source.position(span.start).column.saturating_sub(1).min(count);
        let last = Span::new(span.start, span.end.min(whole.end));
        let length = source.slice(last).chars().count().max(1);
        let from = if first + length.min(WIDTH / 2) > WIDTH { first.saturating_sub(WIDTH / 4) } else { 0 };
        let to = count.min(from + WIDTH);
        let mut text = String::new();
        let lead = if from > 0 { "... " } else { "" };
        text.push_str(lead);
        let start = line.char_indices().nth(from).map_or(line.len(), |(at, _)| at);
        text.extend(line.get(start..).unwrap_or("").chars().take(to - from).map(visible));
        if to < count {
            text.push_str(" ...");
        }
        let room = (from + WIDTH).saturating_sub(first).max(1);
        Window { text, indent: first - from + lead.len(), carets: length.min(room) }
    }
}

/// What is written by others must not steer the terminal, nor fill it.
fn printable(text: &str) -> String {
    let mut out: String = text.chars().take(TEXT).map(visible).collect();
    if text.chars().nth(TEXT).is_some() {
        out.push_str(" ...");
    }
    out
}

fn visible(c: char) -> char {
    match c {
        '\t' | '\n' | '\r' => ' ',
        c if c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}') =>
        {
            '\u{fffd}'
        }
        c => c,
    }
}

struct Paint {
    colour: bool,
}

impl Paint {
    fn with(&self, style: &str, text: &str) -> String {
        if self.colour && !text.is_empty() { format!("{style}{text}\x1b[0m") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(source: &std::sync::Arc<Source>, needle: &str, text: &str) -> Label {
        let start = source.text().find(needle).unwrap();
        Label::new(source, Span::new(start, start + needle.len()), text)
    }

    #[test]
    fn the_form_of_the_manual() {
        let text = "\n".repeat(22) + "retries: { max_attempts: 8 }\n";
        let source = Source::new("pipelines/order-billing.yaml", text);
        let finding = Diagnostic::error(
            "W0104",
            "unknown field `retries`",
            at(&source, "retries", "not a field of a pipeline"),
        )
        .with_help("did you mean `retry`?");
        let expected = "\
error[W0104]: unknown field `retries`
  --> pipelines/order-billing.yaml:23:1
   |
23 | retries: { max_attempts: 8 }
   | ^^^^^^^ not a field of a pipeline
   = help: did you mean `retry`?
";
        assert_eq!(human(&finding, false), expected);
        assert_eq!(
            short(&finding),
            "pipelines/order-billing.yaml:23:1: error[W0104]: unknown field `retries`; help: did you mean `retry`?\n"
        );
        assert!(human(&finding, true).contains("\x1b[1;31merror[W0104]"));
    }

    #[test]
    fn two_lines_of_one_file_and_one_of_another() {
        let a = Source::new("a.yaml", "dlq: x\n\n\ndlq: y\n");
        let b = Source::new("b.yaml", "group: g\n");
        let finding = Diagnostic::error("W0103", "the key `dlq` is there twice", at(&a, "dlq: y", "again"))
            .with_label(at(&a, "dlq: x", "first"))
            .with_label(at(&b, "group", "and here"))
            .with_cause("one\ntwo");
        let expected = "\
error[W0103]: the key `dlq` is there twice
  --> a.yaml:4:1
  |
1 | dlq: x
  | ------ first
...
4 | dlq: y
  | ^^^^^^ again
  ::: b.yaml:1:1
  |
1 | group: g
  | ----- and here
  = cause: one
           two
";
        assert_eq!(human(&finding, false), expected);
    }

    #[test]
    fn a_very_long_line_and_control_characters_stay_readable() {
        let source = Source::new("a.yaml", format!("{}\u{1b}[31mX{}", "é".repeat(900), "y".repeat(100_000)));
        let out = human(&Diagnostic::error("W0101", "m", at(&source, "X", "here")), false);
        assert!(out.len() < 1_000 && !out.contains('\u{1b}') && out.contains("... "), "{out}");
        let empty = Source::new("gone.yaml", "");
        let out = human(&Diagnostic::error("W0102", "m", Label::new(&empty, Span::default(), "")), false);
        assert_eq!(out, "error[W0102]: m\n  --> gone.yaml\n");
    }
}
