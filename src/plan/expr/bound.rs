//! Bounds on a source before VRL sees it. VRL's parser and compiler recurse into each operator, bracket and `else`, without a
//! limit (a chain of 1,000 `||` ends the process), and type each level anew for all above it: a chain of 250 takes
//! seconds, closures double their time with each level.
//!
//! Read from the text, roughly: what is counted too high is refused though it would compile, what is counted too low costs
//! time; neither can happen to a program that a person would want to read.

use std::ops::Range;

/// How deep operators, brackets and `else` may nest: `a || b || c` is two deep.
const MAX_DEPTH: usize = 64;
/// What a level of a closure counts.
const CLOSURE: usize = 8;
/// How many names and indexes a path may have.
const MAX_PATH: usize = 64;
/// How many statements a program may have.
const MAX_STATEMENTS: usize = 1_000;
/// The sum of the depths of all operators: ten chains of the full depth.
const MAX_WORK: usize = 20_000;

/// A bound that a source is over, where, and what to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Over {
    pub(super) message: String,
    pub(super) span: Range<usize>,
    pub(super) help: &'static str,
}

/// Checks a source; the first bound that it is over.
pub(super) fn check(source: &str) -> Result<(), Over> {
    let mut scan = Scan { levels: vec![Level::default()], ..Scan::default() };
    let mut chars = source.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let rest = source.get(at..).unwrap_or("");
        match c {
            '#' => while chars.next_if(|(_, c)| *c != '\n').is_some() {},
            '"' => {
                let length = quoted(rest);
                let inserts = rest.get(..length).unwrap_or("").matches("{{").count();
                (0..inserts).for_each(|_| scan.operator(1));
                skip(&mut chars, at + length);
                scan.last = '"';
            }
            's' | 'r' | 't' if rest.get(1..).is_some_and(|rest| rest.starts_with('\'')) => {
                skip(&mut chars, at + raw(rest));
                scan.last = '\'';
            }
            c if c.is_alphanumeric() || c == '_' => {
                let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
                scan.word(rest.get(..end).unwrap_or(""));
                skip(&mut chars, at + end);
            }
            c => {
                let two = rest.get(..2).unwrap_or("");
                scan.sign(c, two);
                if matches!(two, "||" | "&&" | "??" | "==" | "!=" | "<=" | ">=" | "->") {
                    chars.next();
                }
            }
        }
        scan.judge(at)?;
    }
    Ok(())
}

/// One bracket that is open, or the source itself.
#[derive(Debug, Default, Clone, Copy)]
struct Level {
    base: usize,
    elses: usize,
    logical: usize,
    inner: usize,
}

impl Level {
    fn depth(self) -> usize {
        self.base + self.elses + self.logical + self.inner
    }
}

#[derive(Debug, Default)]
struct Scan {
    levels: Vec<Level>,
    /// The last character that is no space.
    last: char,
    /// A statement has ended; an `else` may still follow it.
    ended: bool,
    closure: bool,
    path: usize,
    statements: usize,
    work: usize,
}

impl Scan {
    fn depth(&self) -> usize {
        self.levels.iter().map(|level| level.depth()).sum()
    }

    fn top(&mut self) -> Option<&mut Level> {
        self.levels.last_mut()
    }

    fn operator(&mut self, count: usize) {
        if let Some(top) = self.top() {
            top.inner += count;
        }
        self.work += self.depth();
    }

    fn word(&mut self, word: &str) {
        let is_else = word == "else";
        let ended = std::mem::take(&mut self.ended);
        if let Some(top) = self.top() {
            if is_else {
                (top.elses, top.logical, top.inner) = (top.elses + 1, 0, 0);
            } else if ended {
                top.elses = 0;
            }
        }
        if is_else {
            self.work += self.depth();
        }
        self.last = 'a';
    }

    fn sign(&mut self, c: char, two: &str) {
        if c == '.' || c == '[' {
            self.path += 1;
        } else if c != ']' {
            self.path = 0;
        }
        match (two, c) {
            (_, '\n') if !"+-*/|&?<>=,([{".contains(self.last) => self.statement(),
            (_, '\n') => {}
            ("->", _) => self.closure = true,
            ("||" | "&&" | "??", _) => {
                if let Some(top) = self.top() {
                    (top.logical, top.inner) = (top.logical + 1, 0);
                }
                self.work += self.depth();
            }
            (_, '(' | '[' | '{') => {
                if let Some(top) = self.top().filter(|_| c == '{') {
                    (top.logical, top.inner) = (0, 0);
                }
                let base = if c == '{' && std::mem::take(&mut self.closure) { CLOSURE } else { 1 };
                self.levels.push(Level { base, ..Level::default() });
                self.work += self.depth();
            }
            (_, ')' | ']' | '}') if self.levels.len() > 1 => drop(self.levels.pop()),
            (_, ';') => self.statement(),
            (_, ',') => {
                if let Some(top) = self.top() {
                    (top.elses, top.logical, top.inner) = (0, 0, 0);
                }
            }
            (_, '+' | '-' | '*' | '/' | '|' | '<' | '>' | '=' | '!') => self.operator(1),
            _ => {}
        }
        if !c.is_whitespace() {
            self.last = c;
        }
    }

    fn statement(&mut self) {
        if let Some(top) = self.top() {
            (top.logical, top.inner) = (0, 0);
        }
        self.statements += usize::from(!self.ended && self.last != '\0');
        self.ended = true;
    }

    fn judge(&self, at: usize) -> Result<(), Over> {
        let over = |message: String, help| Err(Over { message, span: at..at + 1, help });
        if self.depth() > MAX_DEPTH {
            return over(
                format!("operators and brackets nest more than {MAX_DEPTH} deep"),
                "assign a part of it to a variable first, or ask with includes([..], .a)",
            );
        }
        if self.path > MAX_PATH {
            return over(format!("this path has more than {MAX_PATH} parts"), "begin at a part of it");
        }
        if self.statements > MAX_STATEMENTS || self.work > MAX_WORK {
            return over(
                "this program is too large to be compiled in time".to_owned(),
                "make several steps of it",
            );
        }
        Ok(())
    }
}

fn skip(chars: &mut std::iter::Peekable<std::str::CharIndices<'_>>, to: usize) {
    while chars.next_if(|(at, _)| *at < to).is_some() {}
}

/// The length of a text in double quotes, up to the end where it is not closed.
fn quoted(text: &str) -> usize {
    closed(text, 1, '"')
}

/// The length of `s'..'` and its like.
fn raw(text: &str) -> usize {
    closed(text, 2, '\'')
}

/// The length of a text whose content begins behind so many characters, with its closing quote.
fn closed(text: &str, content: usize, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(content) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over(source: &str) -> String {
        check(source).map_or_else(|over| over.message, |()| String::new())
    }

    #[test]
    fn what_people_write_is_within_the_bounds() {
        let lines =
            "x = .a + 1 * 2 # and - so / on ||||||||||||||||||||||\n.b = upcase!(string!(.c))\n".repeat(400);
        let branches = ".x = if .a == 1 && .b { 1 }".to_owned() + &" else if .a == 2 || .b { 2 }".repeat(50);
        let alternatives = format!(".a == \"x\"{}", " ||\n .a == \"x\"".repeat(50));
        let list = format!("includes([{}], .a)", "\"a\", ".repeat(2_000));
        let object = format!(".x = {{ {} }}", "\"k\": string!(.a) + \"b\", ".repeat(500));
        let text = format!(".a = \"{}\" + s'{}'", "+".repeat(5_000), "{{ |".repeat(5_000));
        for source in [&lines, &branches, &alternatives, &list, &object, &text] {
            assert_eq!(check(source), Ok(()), "{}", source.chars().take(60).collect::<String>());
        }
    }

    #[test]
    fn what_recurses_without_end_is_over() {
        let deep = "operators and brackets nest more than 64 deep";
        for source in [
            vec![".a"; 100].join(" || "),
            vec![".a == 1"; 100].join(" ||\n"),
            vec!["1"; 100].join(" + "),
            vec![".a"; 100].join(" ?? "),
            format!("if .a {{ 1 }}{}", " else if .a { 1 }".repeat(100)),
            format!("if .a {{ 1 }}{}", "\nelse if .a { 1 }".repeat(100)),
            "(".repeat(100),
            "[(1 + {\"a\": ".repeat(25),
            "!".repeat(100),
            "for_each(.a) -> |k, v| { ".repeat(9),
            format!("\"{}\"", "{{ a }}".repeat(100)),
            "a = ".repeat(100) + "1",
        ] {
            assert_eq!(over(&source), deep, "{}", source.chars().take(60).collect::<String>());
        }
        let long = "this path has more than 64 parts";
        assert_eq!(
            (over(&".a".repeat(100)).as_str(), over(&format!(".a{}", "[0]".repeat(100))).as_str()),
            (long, long)
        );
        let large = "this program is too large to be compiled in time";
        let chains = format!(".x = {}\n", vec!["1"; 60].join(" + ")).repeat(20);
        for source in [".x = 1\n".repeat(1_100), ".x = 1;".repeat(1_100), chains] {
            assert_eq!(over(&source), large, "{}", source.chars().take(60).collect::<String>());
        }
    }
}
