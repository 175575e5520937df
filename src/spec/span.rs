//! Where something was written: byte ranges, and the texts that they point into.

use std::fmt;
use std::sync::Arc;

/// A range of bytes of a [`Source`]. Line and column are derived from it by [`Source::position`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// The byte after the last; equal to `start` where the span is a point.
    pub end: usize,
}

impl Span {
    /// From `start` up to, not including, `end`; a point where `end` lies before `start`.
    pub fn new(start: usize, end: usize) -> Span {
        Span { start, end: end.max(start) }
    }

    /// Whether `other` lies inside of this span.
    pub fn contains(self, other: Span) -> bool {
        self.start <= other.start && other.end <= self.end
    }
}

/// A line and a column, both from 1; the column counts characters, as editors do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The line, from 1.
    pub line: usize,
    /// The character in that line, from 1.
    pub column: usize,
}

impl fmt::Display for Position {
    /// `line:column`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A file (or a variable) that was read: its name as messages show it, and its text.
#[derive(PartialEq, Eq)]
pub struct Source {
    name: String,
    text: String,
    line_starts: Vec<usize>,
}

impl fmt::Debug for Source {
    /// Only the name: the text of a file is long.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({})", self.name)
    }
}

impl Source {
    /// A text and its name. An empty text is shown without source lines: use it where there is no text (a file that
    /// cannot be read), or where the text must not be printed (a variable that may hold a secret).
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Arc<Source> {
        let text = text.into();
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        let line_starts = std::iter::once(0).chain(breaks).collect();
        Arc::new(Source { name: name.into(), text, line_starts })
    }

    /// The name as messages show it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text of a span; empty where the span does not fit the text.
    pub fn slice(&self, span: Span) -> &str {
        self.text.get(span.start..span.end).unwrap_or("")
    }

    /// Line and column of a byte; the end of the text for one behind it.
    pub fn position(&self, byte: usize) -> Position {
        let byte = self.floor(byte);
        let line = self.line_starts.partition_point(|start| *start <= byte);
        let start = self.line_start(line);
        let column = self.slice(Span::new(start, byte)).chars().count() + 1;
        Position { line, column }
    }

    /// The byte at which a line (from 1) begins; the end of the text for a line behind it.
    pub fn line_start(&self, line: usize) -> usize {
        self.line_starts.get(line.saturating_sub(1)).copied().unwrap_or(self.text.len())
    }

    /// The text of a line (from 1), without its line break.
    pub fn line(&self, line: usize) -> &str {
        self.slice(self.line_span(line))
    }

    /// The span of a line (from 1), without its line break.
    pub fn line_span(&self, line: usize) -> Span {
        let start = self.line_start(line);
        let whole = self.slice(Span::new(start, self.line_start(line + 1)));
        Span::new(start, start + whole.trim_end_matches(['\n', '\r']).len())
    }

    /// How many lines there are; at least 1.
    pub fn lines(&self) -> usize {
        self.line_starts.len()
    }

    fn floor(&self, byte: usize) -> usize {
        let mut byte = byte.min(self.text.len());
        while !self.text.is_char_boundary(byte) {
            byte -= 1;
        }
        byte
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn columns_count_characters_and_lines_end_without_their_break() {
        let source = Source::new("a.yaml", "é: 1\r\nb: ü2\n");
        assert_eq!(source.position(3).to_string(), "1:3");
        assert_eq!(source.position(source.text().find('2').unwrap()).to_string(), "2:5");
        assert_eq!(
            (source.line(1), source.line(2), source.line(3), source.line(9)),
            ("é: 1", "b: ü2", "", "")
        );
        assert_eq!(source.position(999).to_string(), "3:1");
    }

    proptest! {
        #[test]
        fn any_byte_has_a_position(text in ".{0,40}(\n.{0,20}){0,3}", byte in 0usize..200) {
            let source = Source::new("x", text);
            let position = source.position(byte);
            prop_assert!(position.line >= 1 && position.line <= source.lines() && position.column >= 1);
        }
    }
}
