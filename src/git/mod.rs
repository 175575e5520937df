//! What git knows of files: who changed one last and whether it differs from what is committed; files and commits of older
//! times. Runs the `git` program, which has the user's keys, credentials and proxies; nothing here is asked of a person, no hook
//! runs, and every call has an end. All of it blocks: call it from threads that may wait.
//!
//! A repository is never needed. Where there is none, or git cannot tell, that is said once and nothing more happens.

mod call;
mod commits;
mod facts;
#[cfg(test)]
pub(crate) mod fixture;
mod follow;
mod read;
mod remote;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

pub use call::GitError;
pub use facts::{Facts, Watched};
pub use follow::{Entered, Following, Refused};
pub use read::{log, text_at, tree};

/// How many digits of a commit's id are shown.
const SHOWN: usize = 7;

/// A commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Commit {
    /// Its id: 40 hexadecimal digits (64 in a repository of SHA-256).
    pub id: String,
    /// The author's name, at most 100 characters, none that steers a terminal.
    pub author: String,
    /// The first line of its message, at most 200 characters, none that steers a terminal.
    pub subject: String,
    /// When it was committed, in seconds since 1970.
    pub time: i64,
}

impl Commit {
    /// The 7 digits that are shown.
    pub fn short(&self) -> &str {
        self.id.get(..SHOWN).unwrap_or(&self.id)
    }
}

/// How a file stands in git.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The commit that changed it last; `None`: no commit has it.
    pub commit: Option<Arc<Commit>>,
    /// Whether it differs from what is committed: changed, staged or new.
    pub dirty: bool,
}

impl Standing {
    /// The commit's whole id, with `-dirty` where the file differs from it; `uncommitted` without a commit.
    pub fn id(&self) -> String {
        self.with(self.commit.as_ref().map(|commit| commit.id.as_str()))
    }

    fn with(&self, id: Option<&str>) -> String {
        match (id, self.dirty) {
            (None, _) => "uncommitted".to_owned(),
            (Some(id), true) => format!("{id}-dirty"),
            (Some(id), false) => id.to_owned(),
        }
    }
}

impl fmt::Display for Standing {
    /// The same with the 7 digits that are shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.with(self.commit.as_ref().map(|commit| commit.short())))
    }
}

impl Serialize for Standing {
    /// `{"id", "author", "subject", "time", "dirty"}`; all but the last are null without a commit.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let commit = self.commit.as_deref();
        let mut out = serializer.serialize_struct("Standing", 5)?;
        out.serialize_field("id", &commit.map(|commit| &commit.id))?;
        out.serialize_field("author", &commit.map(|commit| &commit.author))?;
        out.serialize_field("subject", &commit.map(|commit| &commit.subject))?;
        out.serialize_field("time", &commit.map(|commit| commit.time))?;
        out.serialize_field("dirty", &self.dirty)?;
        out.end()
    }
}
