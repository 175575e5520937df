//! What people write and YAML reads otherwise: each trap is recognised by what stands in the file, and answered with what
//! to write instead.

use std::sync::Arc;

use granit_parser::{ErrorKind, ScanError};

use super::scalar::Style;
use super::{Kind, Node};
use crate::spec::diagnostic::{Diagnostic, Label};
use crate::spec::span::{Source, Span};

/// A value as it stands in a line: `key: value`, `- value`, or a part of `{ }` and `[ ]`.
struct Written<'s> {
    key: &'s str,
    value: Span,
    indent: usize,
}

/// A syntax error, or the trap behind it.
pub(super) fn syntax(source: &Arc<Source>, at: usize, error: &ScanError) -> Diagnostic {
    if let Some(tab) = tab_near(source, at, error.kind()) {
        return Diagnostic::error("W0101", "a tab where YAML takes spaces only", Label::new(source, tab, ""))
            .with_help("indent with spaces");
    }
    if matches!(error.kind(), ErrorKind::RecursionLimitExceeded) {
        let label = Label::new(source, Span::new(at, at), "the limit is reached here");
        return Diagnostic::error("W0110", "this is nested more than 64 deep", label);
    }
    let known = written(source, at).and_then(|outer| {
        let inner = inside_flow(source, &outer, at);
        quoting(source, at, error.kind(), &outer, inner.as_ref())
    });
    known.unwrap_or_else(|| {
        let info = error.info().replace(['`', '\''], "");
        let finding =
            Diagnostic::error("W0101", "this is not YAML", Label::new(source, Span::new(at, at), info));
        if let Some((colon, key)) = no_space(source, at) {
            let label = Label::new(source, colon, "a space belongs behind it");
            return Diagnostic::error("W0101", "there is no space behind the colon", label)
                .with_help(format!("write {key}: .."));
        }
        match error.kind() {
            ErrorKind::MappingValueNotAllowed | ErrorKind::InvalidIndentation => {
                finding.with_help("look at the indentation of this line and of the one above it")
            }
            ErrorKind::UnclosedQuotedScalar => finding.with_help("close the quote that begins here"),
            _ => {
                finding.with_help("look at this line and at the one above it: quotes, brackets, indentation")
            }
        }
    })
}

/// The colon of `key:value` in the line of the error, or in the one above it, and the key.
fn no_space(source: &Source, at: usize) -> Option<(Span, &str)> {
    let line = source.position(at).line;
    [line, line.saturating_sub(1)].into_iter().filter(|line| *line > 0).find_map(|line| {
        let span = source.line_span(line);
        let text = source.slice(span);
        let key = text.trim_start_matches([' ', '-']);
        let from = text.len() - key.len();
        let end = key.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-')))?;
        let rest = key.get(end..)?.strip_prefix(':')?;
        let glued = end > 0 && !rest.starts_with([' ', '/']) && !rest.is_empty() && !rest.contains(": ");
        let colon = span.start + from + end;
        glued.then_some((Span::new(colon, colon + 1), key.get(..end)?))
    })
}

/// What to leave out so that the rest of the file can be read: the whole value in which the error lies.
pub(super) fn region(source: &Source, at: usize) -> Option<Span> {
    let outer = written(source, at)?;
    let mut end = outer.value.end;
    let mut line = source.position(outer.value.start).line + 1;
    while line <= source.lines() {
        let text = source.line(line);
        let indent = text.len() - text.trim_start().len();
        if !text.trim().is_empty() && indent <= outer.indent {
            break;
        }
        if !text.trim().is_empty() {
            end = source.line_span(line).end;
        }
        line += 1;
    }
    Some(Span::new(outer.value.start, end))
}

/// The `key: value` or `- value` of the line at `at`, where `at` lies in the value.
fn written(source: &Source, at: usize) -> Option<Written<'_>> {
    let line = source.line_span(source.position(at).line);
    let text = source.slice(line);
    let mut from = text.len() - text.trim_start_matches(' ').len();
    let mut indent = from;
    while text.get(from..)?.starts_with("- ") {
        indent = from;
        from += 2;
        from += text.get(from..)?.len() - text.get(from..)?.trim_start().len();
    }
    let rest = text.get(from..)?;
    let key_end = rest
        .find([':', '{', '[', '"', '\''])
        .filter(|end| rest.get(*end..).is_some_and(|r| r.starts_with(": ")));
    let (key, start) = match key_end {
        Some(end) => {
            indent = from;
            let value = rest.get(end + 1..)?;
            (rest.get(..end)?, from + end + 1 + value.len() - value.trim_start().len())
        }
        None => ("", from),
    };
    let value = Span::new(line.start + start, line.start + text.trim_end().len());
    // The header of a block scalar: its value is the lines below.
    let block = source.slice(value).strip_prefix(['|', '>']).is_some_and(|header| {
        let rest = header.trim_start_matches(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-'));
        rest.is_empty() || rest.trim_start().starts_with('#')
    });
    let item = key_end.is_some() || indent < from;
    (item && !block && value.start <= at && at <= line.end && value.start < value.end).then_some(Written {
        key,
        value,
        indent,
    })
}

/// The part of a `{ }` or `[ ]` in which the error lies.
fn inside_flow<'s>(source: &'s Source, outer: &Written<'_>, at: usize) -> Option<Written<'s>> {
    let text = source.slice(outer.value);
    if !text.starts_with(['{', '[']) || text.starts_with("{{") {
        return None;
    }
    let error = at.checked_sub(outer.value.start)?;
    let before = text.get(..error)?;
    let opened = before.matches(['{', '[']).count();
    if opened == before.matches(['}', ']']).count() {
        return None;
    }
    let (mut start, mut key_start) = (1, 1);
    for (at, c) in before.char_indices() {
        let next = before.get(at + 1..).unwrap_or("");
        match c {
            ',' | '[' | '{' if next.starts_with(' ') || c != '{' => (start, key_start) = (at + 1, at + 1),
            ':' if next.starts_with(' ') => start = at + 1,
            _ => {}
        }
    }
    let start = start + text.get(start..)?.len() - text.get(start..)?.trim_start().len();
    let key = text.get(key_start..start).unwrap_or("").trim().trim_end_matches(':');
    let mut depth = 0_i32;
    let mut quoted = false;
    let tail = text.get(start..)?;
    let closes = |(_, c): &(usize, char)| {
        match c {
            '"' => quoted = !quoted,
            '{' | '[' | '(' if !quoted => depth += 1,
            '}' | ']' | ')' if !quoted => depth -= 1,
            _ => {}
        }
        depth < 0 || (depth == 0 && *c == ',' && !quoted)
    };
    let end = tail.char_indices().find(closes).map_or(tail.len(), |(end, _)| end);
    let length = tail.get(..end)?.trim_end().len();
    let value = Span::new(outer.value.start + start, outer.value.start + start + length);
    (length > 0).then_some(Written { key, value, indent: outer.indent })
}

/// The traps that end with quotes around the value.
fn quoting(
    source: &Arc<Source>,
    at: usize,
    kind: &ErrorKind,
    outer: &Written<'_>,
    inner: Option<&Written<'_>>,
) -> Option<Diagnostic> {
    let place = inner.unwrap_or(outer);
    let value = source.slice(place.value);
    let rest = source.text().get(at..).unwrap_or("");
    let label = |text: &str| Label::new(source, place.value, text.to_owned());
    let say = |message: &str, text: &str, help: String| {
        Some(Diagnostic::error("W0108", message, label(text)).with_help(help))
    };
    let quote = || format!("quote it: {}", with_key(place.key, &quoted(value)));
    if let ErrorKind::UnknownQuotedScalarEscape = kind {
        return say("an escape that double quotes do not have", "a backslash begins an escape here", {
            let bare = value.trim_matches('"').replace('\'', "''");
            format!("use single quotes: {}", with_key(place.key, &format!("'{bare}'")))
        });
    }
    if value.starts_with("{{") || (value.contains("{{") && rest.starts_with('{')) {
        return say(
            "a template must be quoted here",
            "YAML reads `{` as the beginning of a mapping",
            quote(),
        );
    }
    if let Some(open) = value.chars().next().filter(|c| matches!(c, '{' | '[')) {
        let close = if open == '{' { '}' } else { ']' };
        if value.matches(open).count() > value.matches(close).count() {
            let label =
                Label::new(source, Span::new(place.value.start, place.value.start + 1), "it opens here");
            return Some(
                Diagnostic::error("W0101", format!("`{open}` is not closed"), label)
                    .with_help(format!("close it with `{close}`, or quote the value if it is a text")),
            );
        }
    }
    if rest.starts_with(['{', '[']) && inner.is_some() {
        return say(
            "this text must be quoted inside { } and [ ]",
            "`{` and `[` end a text that has no quotes",
            quote(),
        );
    }
    if value.starts_with(['"', '\'']) && !matches!(kind, ErrorKind::UnclosedQuotedScalar) {
        let help = match value.split_once(" == ") {
            Some((left, right)) if !right.contains(['&', '|']) => {
                format!("turn it round: {}", with_key(place.key, &format!("{right} == {left}")))
            }
            _ => quote(),
        };
        return say("text after a quoted value", "the value ends at its closing quote", help);
    }
    let first = value.chars().next()?;
    if matches!(first, '%' | '@' | '`' | '*' | '&' | '!' | '>' | '|' | '[' | '-') {
        let message =
            format!("`{first}` cannot begin a value that has no quotes").replace("```", "a backtick");
        // In `{ %key: x }` it is the key that begins so.
        let length = value.find(": ").filter(|_| inner.is_some()).unwrap_or(value.len());
        let span = Span::new(place.value.start, place.value.start + length);
        let help = format!("quote it: {}", with_key(place.key, &quoted(source.slice(span))));
        return Some(Diagnostic::error("W0108", message, Label::new(source, span, "")).with_help(help));
    }
    if matches!(kind, ErrorKind::MappingValueNotAllowed) && at <= place.value.end {
        let help = format!("quote all of it, or use a block:\n{}", with_key(place.key, &single(value)));
        return say("`: ` inside of a value that has no quotes", "YAML reads `: ` as the end of a key", help);
    }
    None
}

/// `key: !exists(.a)`: a tag, whatever it says.
pub(super) fn tag(source: &Arc<Source>, tag: Span) -> Diagnostic {
    let written = written(source, tag.start);
    let inner = written.as_ref().and_then(|outer| inside_flow(source, outer, tag.start + 1));
    let place = inner.or(written).filter(|place| place.value.start == tag.start);
    let Some(place) = place else {
        return Diagnostic::error("W0109", "explicit tags are not taken", Label::new(source, tag, ""))
            .with_help("leave the tag out, or quote the value if it begins with `!`");
    };
    let label = Label::new(source, place.value, "YAML reads this as a tag, and the value as empty");
    Diagnostic::error("W0109", "a value that begins with `!` must be quoted", label)
        .with_help(format!("quote it: {}", with_key(place.key, &quoted(source.slice(place.value)))))
}

/// `filter: &x .a`: an anchor that nothing repeats is half of an expression.
pub(super) fn unused_anchor(source: &Arc<Source>, anchor: Span) -> Diagnostic {
    let place = written(source, anchor.start).filter(|place| place.value.start == anchor.start);
    let (span, key) = place.map_or((anchor, ""), |place| (place.value, place.key));
    let label = Label::new(source, span, "YAML reads this as an anchor, which no alias repeats");
    let help = format!("quote it: {}", with_key(key, &quoted(source.slice(span))));
    Diagnostic::error("W0108", "`&` cannot begin a value that has no quotes", label).with_help(help)
}

/// `key: {{ .id }}`, which YAML takes for a mapping in a mapping; or a key that really is a list or a mapping.
pub(super) fn key_is_no_text(source: &Arc<Source>, map: Span, key: Span) -> Diagnostic {
    let text = source.slice(map);
    if text.starts_with("{{") {
        let name = written(source, map.start).filter(|w| w.value.start == map.start).map_or("", |w| w.key);
        let label = Label::new(source, map, "YAML reads `{` as the beginning of a mapping");
        return Diagnostic::error("W0108", "a template must be quoted here", label)
            .with_help(format!("quote it: {}", with_key(name, &quoted(text))));
    }
    Diagnostic::error("W0106", "a key must be a text", Label::new(source, key, "a list or a mapping"))
}

/// `.note != "a #b"`: cut at ` #`.
pub(super) fn cut_at_hash(source: &Arc<Source>, span: Span) -> Option<Diagnostic> {
    let text = source.slice(span);
    let line = source.line_span(source.position(span.end).line);
    let rest = source.slice(Span::new(span.end, line.end));
    if !odd_quotes(text) || !rest.trim_start().starts_with('#') || !rest.contains('"') {
        return None;
    }
    let whole = Span::new(span.start, line.end);
    let key = written(source, span.start).map_or("", |w| w.key);
    let label = Label::new(source, Span::new(span.end, line.end), "a comment, for YAML");
    let help = format!(
        "quote all of it, or use a block:\n{}",
        with_key(key, &single(source.slice(whole).trim_end()))
    );
    Some(Diagnostic::error("W0111", "this value is cut at ` #`", label).with_help(help))
}

/// `{ when: .a == "x, y" }`: torn at the comma.
pub(super) fn torn_at_comma(source: &Arc<Source>, value: &Node) -> Option<Diagnostic> {
    if !has_odd_quotes(value) {
        return None;
    }
    let line = source.line_span(source.position(value.span.end).line);
    let rest = source.slice(Span::new(value.span.end, line.end));
    if !rest.trim_start().starts_with(',') {
        return None;
    }
    let end = value.span.end + rest.find('"').map_or(0, |quote| quote + 1);
    let whole = Span::new(value.span.start, end);
    let label = Label::new(source, whole, "the comma ends the value, in spite of the quotes in it");
    let help = format!("quote all of it: {}", single(source.slice(whole)));
    Some(Diagnostic::error("W0112", "this value is cut in two at a comma", label).with_help(help))
}

/// Whether a plain text holds an odd number of `"`: half of what its author saw as one value.
pub(super) fn has_odd_quotes(node: &Node) -> bool {
    matches!(&node.kind, Kind::Scalar(text, Style::Plain) if odd_quotes(text))
}

fn odd_quotes(text: &str) -> bool {
    !text.starts_with('"') && text.matches('"').count() % 2 == 1
}

/// The tab that the error is about: one that indents the line of the error, or, where the error names tabs, the next.
fn tab_near(source: &Source, at: usize, kind: &ErrorKind) -> Option<Span> {
    let indents = |tab: usize| {
        let line = source.line_span(source.position(tab).line);
        source.slice(Span::new(line.start, tab)).trim().is_empty()
    };
    let line = source.line_span(source.position(at).line);
    let own = source.slice(line).find('\t').map(|tab| line.start + tab).filter(|tab| indents(*tab));
    let named = matches!(
        kind,
        ErrorKind::TabInPlainScalar | ErrorKind::TabNotAllowed | ErrorKind::TabInBlockIndentation
    );
    let rest = source.text().get(at..).filter(|_| named).unwrap_or("");
    let next = || rest.match_indices('\t').map(|(tab, _)| at + tab).find(|tab| indents(*tab));
    let any = || rest.find('\t').map(|tab| at + tab);
    let tab = own.or_else(next).or_else(any)?;
    Some(Span::new(tab, tab + 1))
}

fn with_key(key: &str, value: &str) -> String {
    if key.is_empty() { value.to_owned() } else { format!("{key}: {value}") }
}

/// The value in the quotes that need the least of it to be escaped.
pub(super) fn quoted(value: &str) -> String {
    if value.contains(['"', '\\']) { single(value) } else { format!("\"{value}\"") }
}

fn single(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}
