//! How deep a text leads its parser, found before it is led: the parser recurses without a bound.

/// Fails where brackets stand deeper than `most` inside of each other, or where it is not sure that the parser takes the
/// same characters for brackets: such texts are wrong anyway.
pub(super) fn check(text: &str, most: usize) -> Result<(), String> {
    let mut scan = Scan { rest: text.as_bytes(), line: 1 };
    let mut open = Vec::new();
    while let Some(byte) = scan.next() {
        match byte {
            b'"' | b'\'' => scan.string(byte)?,
            b'#' => scan.line(),
            b'/' if scan.rest.first() == Some(&b'/') => scan.line(),
            b'/' if scan.rest.first() == Some(&b'*') => scan.block()?,
            b'{' => open.push(b'}'),
            b'[' => open.push(b']'),
            b'(' => open.push(b')'),
            b'<' => open.push(b'>'),
            b'}' | b']' | b')' | b'>' if open.pop() != Some(byte) => {
                return Err(scan.wrong(&format!("this `{}` closes nothing", char::from(byte))));
            }
            _ => {}
        }
        if open.len() > most {
            return Err(scan.wrong(&format!("it is nested more than {most} levels deep")));
        }
    }
    Ok(())
}

struct Scan<'a> {
    rest: &'a [u8],
    line: usize,
}

impl Scan<'_> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        self.line += usize::from(*first == b'\n');
        Some(*first)
    }

    fn wrong(&self, why: &str) -> String {
        format!("line {}: {why}", self.line)
    }

    /// To the end of a line.
    fn line(&mut self) {
        while self.next().is_some_and(|byte| byte != b'\n') {}
    }

    /// To the end of a comment that has begun with its `/`.
    fn block(&mut self) -> Result<(), String> {
        self.next();
        loop {
            match (self.next(), self.rest.first()) {
                (Some(b'*'), Some(b'/')) => {
                    self.next();
                    return Ok(());
                }
                (Some(b'/'), Some(b'*')) => return Err(self.wrong("a comment begins inside of a comment")),
                (Some(_), _) => {}
                (None, _) => return Err(self.wrong("a comment does not end")),
            }
        }
    }

    /// To the end of a text that has begun.
    fn string(&mut self, quote: u8) -> Result<(), String> {
        loop {
            match self.next() {
                Some(byte) if byte == quote => return Ok(()),
                Some(b'\\') => self.escape()?,
                Some(b'\n' | 0) | None => return Err(self.wrong("a text does not end on its line")),
                Some(_) => {}
            }
        }
    }

    fn escape(&mut self) -> Result<(), String> {
        let digits = match self.next() {
            Some(b'x' | b'X') => 1,
            Some(b'u') => 4,
            Some(b'U') => 8,
            Some(
                b'0'..=b'7' | b'a' | b'b' | b'f' | b'n' | b'r' | b't' | b'v' | b'?' | b'\\' | b'\'' | b'"',
            ) => 0,
            _ => return Err(self.wrong("a text has an escape that does not exist")),
        };
        for _ in 0..digits {
            if !self.next().is_some_and(|byte| byte.is_ascii_hexdigit()) {
                return Err(self.wrong("a text has an escape that does not exist"));
            }
        }
        Ok(())
    }
}
