//! Which schemas may follow each other under a subject.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::parsed::{Parsed, Shape};
use crate::schema::avro::Reader;
use crate::schema::protobuf;

/// How much the next version of a subject may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Level {
    /// As it likes.
    None,
    /// It reads what the version before it wrote.
    Backward,
    /// It reads what any version before it wrote.
    BackwardTransitive,
    /// The version before it reads what it writes.
    Forward,
    /// Every version before it reads what it writes.
    ForwardTransitive,
    /// Both, with the version before it.
    Full,
    /// Both, with every version before it.
    #[default]
    FullTransitive,
}

impl Level {
    /// Every level.
    pub const ALL: &'static [Level] = &[
        Level::None,
        Level::Backward,
        Level::BackwardTransitive,
        Level::Forward,
        Level::ForwardTransitive,
        Level::Full,
        Level::FullTransitive,
    ];

    /// The registry's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::None => "NONE",
            Level::Backward => "BACKWARD",
            Level::BackwardTransitive => "BACKWARD_TRANSITIVE",
            Level::Forward => "FORWARD",
            Level::ForwardTransitive => "FORWARD_TRANSITIVE",
            Level::Full => "FULL",
            Level::FullTransitive => "FULL_TRANSITIVE",
        }
    }

    /// Of the registry's word, in any case of letters.
    pub fn read(word: &str) -> Option<Level> {
        Level::ALL.iter().copied().find(|level| level.as_str().eq_ignore_ascii_case(word))
    }

    /// Whether all versions count, not the last one alone.
    pub fn is_transitive(self) -> bool {
        matches!(self, Level::BackwardTransitive | Level::ForwardTransitive | Level::FullTransitive)
    }

    fn backward(self) -> bool {
        matches!(self, Level::Backward | Level::BackwardTransitive | Level::Full | Level::FullTransitive)
    }

    fn forward(self) -> bool {
        matches!(self, Level::Forward | Level::ForwardTransitive | Level::Full | Level::FullTransitive)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is in the way of a new version: one sentence each; empty where it may follow. `old` are the versions that are there, by
/// number, the latest last.
pub fn obstacles(level: Level, new: &Parsed, old: &[(u32, &Parsed)]) -> Vec<String> {
    let mut found = Vec::new();
    let count = if level.is_transitive() { old.len() } else { old.len().min(1) };
    for (version, before) in old.iter().rev().take(count) {
        if level.backward() {
            let obstacles = cannot_read(new, before);
            found.extend(
                obstacles
                    .into_iter()
                    .map(|why| format!("it cannot read what version {version} wrote: {why}")),
            );
        }
        if level.forward() {
            let obstacles = cannot_read(before, new);
            found.extend(
                obstacles
                    .into_iter()
                    .map(|why| format!("version {version} cannot read what it writes: {why}")),
            );
        }
    }
    found
}

/// What a reader cannot read of a writer.
fn cannot_read(reader: &Parsed, writer: &Parsed) -> Vec<String> {
    match (&reader.shape, &writer.shape) {
        (Shape::Avro(reader), Shape::Avro(writer)) => {
            let compared = Reader::new(writer, reader);
            compared.mismatches().iter().map(|one| told(&one.path, &one.why)).collect()
        }
        (Shape::Json(reader), Shape::Json(writer)) => reader.refuses(writer),
        (Shape::Protobuf(reader), Shape::Protobuf(writer)) => {
            protobuf::mismatches(reader, writer).iter().map(|one| told(&one.path, &one.why)).collect()
        }
        _ => vec![format!("one is {}, the other {}", reader.kind, writer.kind)],
    }
}

fn told(path: &str, why: &str) -> String {
    let path = if path.is_empty() { "/" } else { path };
    format!("{path}: {why}")
}
