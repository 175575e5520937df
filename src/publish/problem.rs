//! What is wrong with a block of a file, before it has a place in that file: a path inside of the block and a sentence.
//! The compiler knows where the block stands and makes a diagnostic of it.

use std::fmt;

/// One thing that is wrong with a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key inside of the block, such as `max_delay` or `headers.x-kind`; empty for the block itself.
    pub path: String,
    /// What is wrong and what to write instead: lower case, no full stop.
    pub message: String,
}

impl Problem {
    /// A problem at a key of the block.
    pub fn at(path: impl Into<String>, message: impl Into<String>) -> Problem {
        Problem { path: path.into(), message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => f.write_str(&self.message),
            path => write!(f, "{path}: {}", self.message),
        }
    }
}
