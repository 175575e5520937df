//! From a byte of a scalar's text back to the byte of the file: indentation, folding and escapes counted back.

use std::ops::Range;

use super::scalar::Style;
use crate::spec::span::{Source, Span};

/// Where `part` of `text`, which is written at `span` in `style`, stands in the file.
pub(super) fn locate(source: &Source, span: Span, text: &str, style: Style, part: Range<usize>) -> Span {
    let raw = source.slice(span);
    let offsets = match style {
        Style::Literal => literal(source, span, text),
        Style::Plain | Style::Single | Style::Double | Style::Folded => flowing(raw, span.start, text, style),
    };
    let at =
        |byte: usize| offsets.get(byte.min(text.len())).copied().unwrap_or(span.end).min(source.text().len());
    let start = at(part.start);
    // The end is one behind the last character, not the place of the next: that may be on another line.
    let end = match text.get(..part.end.min(text.len())).and_then(|t| t.char_indices().next_back()) {
        Some((last, c)) if last >= part.start => at(last) + raw_width(source, at(last), c),
        _ => start,
    };
    Span::new(start, end)
}

/// How many bytes of the file the character takes: an escape takes more than the character itself.
fn raw_width(source: &Source, at: usize, c: char) -> usize {
    let rest = source.text().get(at..).unwrap_or("");
    if rest.starts_with('\\') && c != '\\' || rest.starts_with("\\\\") {
        return escape_length(rest);
    }
    rest.chars().next().map_or(0, char::len_utf8)
}

/// A `|` block: each line of the text is the end of a line of the file.
fn literal(source: &Source, span: Span, text: &str) -> Vec<usize> {
    let mut offsets = Vec::with_capacity(text.len() + 1);
    let blank = text.len() - text.trim_start_matches('\n').len();
    offsets.resize(blank, span.start);
    let first = source.position(span.start).line;
    for (line, content) in (first..).zip(text.get(blank..).unwrap_or("").split_inclusive('\n')) {
        let written = source.line_span(line);
        let bare = content.trim_end_matches('\n').len();
        let start = written.end.saturating_sub(bare).max(written.start);
        offsets.extend((0..content.len()).map(|at| start + at.min(bare)));
    }
    offsets.push(offsets.last().map_or(span.start, |last| last + 1).min(span.end.max(span.start)));
    offsets
}

/// Plain, quoted and folded: text and file are walked side by side.
fn flowing(raw: &str, start: usize, text: &str, style: Style) -> Vec<usize> {
    let mut offsets = Vec::with_capacity(text.len() + 1);
    let quoted = matches!(style, Style::Single | Style::Double);
    let mut at = usize::from(quoted);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let ahead = raw.get(at..).unwrap_or("");
        if style == Style::Double && ahead.starts_with('\\') {
            let length = escape_length(ahead);
            if matches!(ahead.as_bytes().get(1), Some(b'\n' | b'\r')) {
                at += length;
                continue;
            }
            (offsets, rest) = take(offsets, rest, c.len_utf8(), start + at);
            at += length;
            continue;
        }
        let space = ahead.len() - ahead.trim_start().len();
        let breaks = ahead.get(..space).unwrap_or("").matches('\n').count();
        if c.is_whitespace() && breaks > 0 {
            let made = if style == Style::Folded {
                rest.len() - rest.trim_start().len()
            } else {
                breaks.saturating_sub(1).max(1)
            };
            (offsets, rest) = take(offsets, rest, made, start + at);
            at += space;
            continue;
        }
        (offsets, rest) = take(offsets, rest, c.len_utf8(), start + at);
        at += if style == Style::Single && ahead.starts_with("''") {
            2
        } else {
            ahead.chars().next().map_or(0, char::len_utf8)
        };
    }
    offsets.push(start + at.min(raw.len()));
    offsets
}

fn take(mut offsets: Vec<usize>, rest: &str, bytes: usize, at: usize) -> (Vec<usize>, &str) {
    let mut bytes = bytes.min(rest.len());
    while !rest.is_char_boundary(bytes) {
        bytes += 1;
    }
    offsets.extend(std::iter::repeat_n(at, bytes));
    (offsets, rest.get(bytes..).unwrap_or(""))
}

/// The length of what begins with a backslash in double quotes; a line break takes the indentation behind it along.
fn escape_length(raw: &str) -> usize {
    let length = match raw.as_bytes().get(1) {
        None => 1,
        Some(b'x') => 4,
        Some(b'u') => 6,
        Some(b'U') => 10,
        Some(b'\n' | b'\r') => raw.len() - raw.get(1..).unwrap_or("").trim_start().len(),
        Some(_) => 1 + raw.get(1..).and_then(|r| r.chars().next()).map_or(1, char::len_utf8),
    };
    length.min(raw.len()).max(1)
}
