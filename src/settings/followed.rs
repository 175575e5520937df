//! The repository that is followed.

use std::path::PathBuf;
use std::time::Duration;

use super::Resolved;

/// A branch or a tag of a repository, whose newest commit is what runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Followed {
    /// Its address, perhaps with a password.
    pub url: Resolved,
    /// The address as it may be printed.
    pub shown: String,
    /// The branch or the tag.
    pub reference: String,
    /// The folder of the pipelines from the root of the repository: `.`, or a path below.
    pub path: String,
    /// How often it is asked.
    pub poll: Duration,
    /// Who must have signed a commit; `None`: nobody.
    pub verify: Option<Signers>,
}

/// Whose signatures count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signers {
    /// A file of allowed signers, for signatures of SSH.
    Ssh(PathBuf),
    /// A file of OpenPGP public keys.
    OpenPgp(PathBuf),
}
