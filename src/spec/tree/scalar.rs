//! What a plain word means: the core schema of YAML 1.2, read strictly. `NO`, `on` and `12:30:00` are texts.

/// How a scalar was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Without quotes.
    Plain,
    /// `'..'`
    Single,
    /// `".."`
    Double,
    /// A `|` block.
    Literal,
    /// A `>` block.
    Folded,
}

/// What a plain word means.
#[derive(Debug, Clone, PartialEq)]
pub enum Word {
    /// `true`, `false`
    Bool(bool),
    /// A whole number from 0.
    Unsigned(u64),
    /// A whole number below 0.
    Signed(i64),
    /// A number with a fraction or an exponent.
    Float(f64),
    /// Anything else.
    Text,
    /// A number in a form that tools read differently, or that would lose digits: why.
    Unclear(&'static str),
}

/// Whether a plain word is null.
pub(super) fn is_null(word: &str) -> bool {
    matches!(word, "" | "~" | "null" | "Null" | "NULL")
}

impl Word {
    /// The meaning of a scalar; what is quoted or in a block is always a text.
    pub fn of(text: &str, style: Style) -> Word {
        if style != Style::Plain {
            return Word::Text;
        }
        match text {
            "true" | "True" | "TRUE" => return Word::Bool(true),
            "false" | "False" | "FALSE" => return Word::Bool(false),
            _ => {}
        }
        let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
        if matches!(unsigned, ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN") {
            return Word::Unclear("infinity and not-a-number have no form in JSON; write it in quotes");
        }
        if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') || text.len() > 400 {
            return Word::Text;
        }
        if unsigned.bytes().all(|b| b.is_ascii_digit()) {
            return whole(text, unsigned);
        }
        let radix = |prefix: &str, digit: fn(&u8) -> bool| {
            unsigned
                .strip_prefix(prefix)
                .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| digit(&b)))
        };
        if radix("0x", u8::is_ascii_hexdigit) || radix("0o", |b| (b'0'..=b'7').contains(b)) {
            return Word::Unclear(
                "hexadecimal and octal numbers are not taken; write the number in decimal, or in quotes",
            );
        }
        if is_float(unsigned) { text.parse().map_or(Word::Text, finite) } else { Word::Text }
    }
}

fn whole(text: &str, digits: &str) -> Word {
    if digits.len() > 1 && digits.starts_with('0') {
        return Word::Unclear(
            "a number with a leading zero is octal for some tools and decimal for others; leave the zero out, or write it in quotes",
        );
    }
    let too_large =
        Word::Unclear("a whole number of more than 64 bits would lose digits; write it in quotes");
    if text.starts_with('-') {
        text.parse().map_or(too_large, Word::Signed)
    } else {
        digits.parse().map_or(too_large, Word::Unsigned)
    }
}

fn finite(number: f64) -> Word {
    if number.is_finite() {
        Word::Float(number)
    } else {
        Word::Unclear("this number is too large; write it in quotes")
    }
}

/// `[0-9]*(.[0-9]*)?([eE][-+]?[0-9]+)?` with at least one digit before the exponent.
fn is_float(text: &str) -> bool {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa.as_bytes(), Some(exponent.as_bytes())),
        None => (text.as_bytes(), None),
    };
    let digits = mantissa.iter().filter(|b| b.is_ascii_digit()).count();
    let points = mantissa.iter().filter(|b| **b == b'.').count();
    let exponent = exponent.is_none_or(|e| {
        let e = e.strip_prefix(b"-").or_else(|| e.strip_prefix(b"+")).unwrap_or(e);
        !e.is_empty() && e.iter().all(u8::is_ascii_digit)
    });
    digits > 0 && points <= 1 && digits + points == mantissa.len() && exponent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn norway_and_times_are_texts_and_octals_are_refused() {
        let of = |text| Word::of(text, Style::Plain);
        for text in [
            "NO",
            "on",
            "off",
            "yes",
            "12:30:00",
            "1.2.3",
            "v1",
            ".",
            "1_000",
            "2024-01-01",
            "-",
            ".id",
            "e3",
        ] {
            assert_eq!(of(text), Word::Text, "{text}");
        }
        assert_eq!(of("true"), Word::Bool(true));
        assert_eq!(of("12"), Word::Unsigned(12));
        assert_eq!(of("-3"), Word::Signed(-3));
        assert_eq!(of("1e3"), Word::Float(1000.0));
        assert_eq!(of(".5"), Word::Float(0.5));
        assert_eq!(Word::of("12", Style::Double), Word::Text);
        for text in ["014", "0o14", "0x1F", ".inf", "-.inf", ".nan", "18446744073709551616", "1e999"] {
            assert!(matches!(of(text), Word::Unclear(_)), "{text}");
        }
    }
}
