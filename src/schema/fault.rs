//! Where in a value something does not fit its schema, and why.

use std::fmt;

/// What does not fit, without the data itself: `/total/cents: expected long, got string`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// From the innermost step outwards.
    steps: Vec<String>,
    message: String,
    unfit: bool,
}

impl Fault {
    /// Of the value that is looked at.
    pub fn new(message: impl Into<String>) -> Fault {
        Fault { steps: Vec::new(), message: message.into(), unfit: false }
    }

    /// The value is what its writer meant, and the reader's schema has no place for it.
    pub fn unfit(message: impl Into<String>) -> Fault {
        Fault { unfit: true, ..Fault::new(message) }
    }

    /// Whether the value is whole, and only does not fit.
    pub fn is_unfit(&self) -> bool {
        self.unfit
    }

    /// The same as a part of something larger.
    #[must_use]
    pub fn inside(mut self, step: impl Into<String>) -> Fault {
        self.steps.push(step.into());
        self
    }

    /// Where, as a JSON pointer; empty for the whole value.
    pub fn path(&self) -> String {
        let steps = self.steps.iter().rev();
        steps.map(|step| format!("/{}", step.replace('~', "~0").replace('/', "~1"))).collect()
    }

    /// Why, without where.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path().as_str() {
            "" => f.write_str(&self.message),
            path => write!(f, "{path}: {}", self.message),
        }
    }
}

impl std::error::Error for Fault {}
