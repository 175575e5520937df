//! `source: {pattern}`: which topics a stage reads that takes all of a name.

use std::fmt;

use regex::{Regex, RegexBuilder};

use crate::publish::topic;

/// The most memory that a compiled pattern may take.
const MAX_SIZE: usize = 1 << 20;

/// A regular expression over whole names of topics, matched in linear time.
#[derive(Clone)]
pub struct Pattern {
    written: String,
    whole: Regex,
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({})", self.written)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Pattern) -> bool {
        self.written == other.written
    }
}

impl Pattern {
    /// Compiles what was written. Fails with what is wrong with it, in one line.
    pub fn new(written: &str) -> Result<Pattern, String> {
        if written.is_empty() {
            return Err("a pattern is not empty".to_owned());
        }
        // By itself first: a parenthesis too much would else close ours.
        let one_line = |error: &regex::Error| match error {
            regex::Error::CompiledTooBig(_) => "it takes more than 1MiB when compiled".to_owned(),
            other => other.to_string().lines().last().unwrap_or("").trim_start_matches("error: ").to_owned(),
        };
        let build = |text: &str| RegexBuilder::new(text).size_limit(MAX_SIZE).build();
        build(written).map_err(|error| one_line(&error))?;
        let whole = build(&format!("^(?:{written})$")).map_err(|error| one_line(&error))?;
        Ok(Pattern { written: written.to_owned(), whole })
    }

    /// Whether a topic is one of them. Those that belong to Kafka itself never are.
    pub fn takes(&self, name: &str) -> bool {
        topic::fault(name).is_none() && self.whole.is_match(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_whole_names_and_none_of_kafkas_own() {
        let pattern = Pattern::new(r"shop\.(orders|carts)\.v\d+").unwrap();
        for taken in ["shop.orders.v1", "shop.carts.v12"] {
            assert!(pattern.takes(taken), "{taken}");
        }
        for other in ["shop.orders.v1.dlq", "xshop.orders.v1", "shop.orders.v1\n", "shop.orders.v\u{661}", ""]
        {
            assert!(!pattern.takes(other), "{other:?}");
        }
        let all = Pattern::new(".*").unwrap();
        assert!(all.takes("a") && all.takes(&"x".repeat(249)));
        for other in ["__consumer_offsets", "__transaction_state", "..", "a b", &"x".repeat(250)] {
            assert!(!all.takes(other), "{other:?}");
        }
        assert!(Pattern::new("a|b").unwrap().takes("b") && !Pattern::new("a|b").unwrap().takes("ab"));
    }

    #[test]
    fn what_does_not_compile_is_said_in_a_line() {
        for (written, why) in [
            ("", "not empty"),
            ("a)(b", "unopened group"),
            ("*", "repetition operator missing expression"),
            ("(?=a)", "look-around"),
            ("(a{1000}){1000}", "more than 1MiB"),
        ] {
            let said = Pattern::new(written).unwrap_err();
            assert!(said.contains(why) && !said.contains('\n'), "{written}: {said}");
        }
    }
}
