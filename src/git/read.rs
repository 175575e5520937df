//! Files and commits of other times: what another branch has, how a file came to be.

use std::path::Path;

use super::call::{Git, GitError};
use super::{Commit, commits};

/// The largest file that is read.
const MOST: u64 = 1 << 20;
/// The most files of a folder.
const MOST_FILES: usize = 10_000;

/// The pipeline files of a folder as another revision has them: name and text each, by name. `reference`: a branch, a tag, a
/// commit. Files over 1 MiB, and all files behind the ten thousandth, are an error.
///
/// # Errors
/// Git cannot tell: no repository, no such revision.
pub fn tree(folder: &Path, reference: &str) -> Result<Vec<(String, String)>, GitError> {
    let git = Git::at(folder);
    let commit = resolve(&git, reference)?;
    let prefix = prefix(&git)?;
    let mut names = commits::names(&git, &commit, &prefix)?;
    if names.len() > MOST_FILES {
        return Err(GitError::TooMuch("ls-tree".to_owned()));
    }
    names.sort();
    let read = |name: String| Ok((blob(&git, &commit, &format!("{prefix}{name}"))?, name));
    let texts: Result<Vec<(String, String)>, GitError> = names.into_iter().map(read).collect();
    Ok(texts?.into_iter().map(|(text, name)| (name, text)).collect())
}

/// The commits that changed a file of a folder, newest first, so many at most.
///
/// # Errors
/// Git cannot tell: no repository, no commit.
pub fn log(folder: &Path, name: &str, limit: usize) -> Result<Vec<Commit>, GitError> {
    commits::of_path(&Git::at(folder), "HEAD", name, limit)
}

/// The text of a file of a folder as a commit has it.
///
/// # Errors
/// Git cannot tell, or the commit has no such file.
pub fn text_at(folder: &Path, commit: &str, name: &str) -> Result<String, GitError> {
    let git = Git::at(folder);
    let commit = resolve(&git, commit)?;
    blob(&git, &commit, &format!("{}{name}", prefix(&git)?))
}

/// A commit's id.
fn resolve(git: &Git, reference: &str) -> Result<String, GitError> {
    let said = git.text(&[
        "rev-parse",
        "--verify",
        "--quiet",
        "--end-of-options",
        &format!("{reference}^{{commit}}"),
    ]);
    let said = said.map_err(|error| match error {
        GitError::Failed { what, .. } => {
            GitError::Failed { what, said: format!("there is no branch, tag or commit `{reference}`") }
        }
        other @ (GitError::NotInstalled(_) | GitError::TooSlow { .. } | GitError::TooMuch(_)) => other,
    })?;
    // `--end-of-options` itself is printed by some versions.
    Ok(said.lines().last().unwrap_or_default().to_owned())
}

fn prefix(git: &Git) -> Result<String, GitError> {
    Ok(git.text(&["rev-parse", "--show-prefix"])?.trim_end_matches('\n').to_owned())
}

fn blob(git: &Git, commit: &str, path: &str) -> Result<String, GitError> {
    let bytes = git.bytes(&["cat-file", "blob", &format!("{commit}:{path}")], MOST)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
