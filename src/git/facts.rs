//! Who changed the pipeline files of a folder last, and which of them differ from what is committed. The history is read when
//! `HEAD` has moved, and from where it was; what differs is read each time. Two short calls where nothing has moved, whatever
//! the number of files.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::{info, warn};

use super::Standing;
use super::call::{Git, GitError, More};
use super::commits::{self, ByName};

/// What git knows of the pipeline files of a folder.
#[derive(Debug, Clone)]
pub struct Facts {
    head: String,
    commits: Arc<ByName>,
    dirty: HashSet<String>,
}

impl Facts {
    /// Reads them once; `None` where git does not know the folder.
    pub fn read(folder: &Path) -> Option<Facts> {
        Watched::new(folder).read()
    }

    /// Of files as a commit has them.
    pub(super) fn of(head: &str, commits: Arc<ByName>) -> Facts {
        Facts { head: head.to_owned(), commits, dirty: HashSet::new() }
    }

    /// The commit that is checked out.
    pub fn head(&self) -> &str {
        &self.head
    }

    /// Whether any file differs from what is committed.
    pub fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// How a file stands, by its name in the folder.
    pub fn standing(&self, name: &str) -> Standing {
        let commit = self.commits.get(name).cloned();
        let dirty = commit.is_none() || self.dirty.contains(name);
        Standing { commit, dirty }
    }
}

/// A folder whose facts are read again and again.
#[derive(Debug)]
pub struct Watched {
    folder: PathBuf,
    known: Option<Known>,
    /// What was said last of why git knows nothing.
    said: Option<String>,
}

#[derive(Debug)]
struct Known {
    head: String,
    prefix: String,
    directory: PathBuf,
    stamps: Vec<Stamp>,
    commits: Arc<ByName>,
}

/// A file of the repository's own, as it was.
type Stamp = Option<(u64, u64, i64, i64)>;

/// Why git knows nothing, and what to do.
enum Nothing {
    /// No repository, which is nobody's mistake.
    Outside,
    Because(String),
}

impl Watched {
    /// One that has read nothing yet.
    pub fn new(folder: &Path) -> Watched {
        Watched { folder: folder.to_owned(), known: None, said: None }
    }

    /// Reads what git knows now; `None` where it knows nothing, which is said once.
    pub fn read(&mut self) -> Option<Facts> {
        match self.facts() {
            Ok(facts) => {
                self.said = None;
                Some(facts)
            }
            Err(nothing) => {
                self.known = None;
                self.say(nothing);
                None
            }
        }
    }

    /// Whether git's own files are as they were when it was asked: no commit, no other branch, nothing staged since.
    pub fn is_unchanged(&self) -> bool {
        self.known.as_ref().is_none_or(|known| stamps(&known.directory) == known.stamps)
    }

    fn say(&mut self, nothing: Nothing) {
        let (text, is_odd) = match nothing {
            Nothing::Outside => ("the files are in no git repository".to_owned(), false),
            Nothing::Because(why) => (why, true),
        };
        if self.said.as_ref() == Some(&text) {
            return;
        }
        let folder = self.folder.display();
        match is_odd {
            true => warn!(%folder, "commits are not known, the content alone tells revisions apart: {text}"),
            false => info!(%folder, "commits are not known, the content alone tells revisions apart: {text}"),
        }
        self.said = Some(text);
    }

    fn facts(&mut self) -> Result<Facts, Nothing> {
        let git = Git::at(&self.folder);
        let (prefix, directory, is_shallow) = place(&git)?;
        if is_shallow {
            let why = "the repository is a shallow clone; fetch the rest with: git fetch --unshallow";
            return Err(Nothing::Because(why.to_owned()));
        }
        // Before git is asked: what changes meanwhile makes them differ.
        let stamps = stamps(&directory);
        let (head, dirty) = status(&git, &prefix).map_err(|error| because(&error))?;
        let Some(head) = head else {
            return Err(Nothing::Because("the repository has no commit yet".to_owned()));
        };
        let same_place =
            self.known.take().filter(|known| known.directory == directory && known.prefix == prefix);
        let commits = match same_place {
            Some(known) if known.head == head => known.commits,
            Some(known) => {
                let newer = commits::since(&git, (&known.head, &known.commits), &head, &prefix);
                match newer {
                    Ok(Some(newer)) => Arc::new(newer),
                    // Another branch, or a history that was written anew.
                    Ok(None) | Err(_) => {
                        Arc::new(commits::all(&git, &head, &prefix).map_err(|error| because(&error))?)
                    }
                }
            }
            None => Arc::new(commits::all(&git, &head, &prefix).map_err(|error| because(&error))?),
        };
        let facts = Facts { head: head.clone(), commits: Arc::clone(&commits), dirty };
        self.known = Some(Known { head, prefix, directory, stamps, commits });
        Ok(facts)
    }
}

/// Where the folder lies in its repository, where git keeps what belongs to it, and whether its history is cut off.
fn place(git: &Git) -> Result<(String, PathBuf, bool), Nothing> {
    let asked = ["rev-parse", "--show-prefix", "--absolute-git-dir", "--is-shallow-repository"];
    let said = git.text(&asked).map_err(|error| because(&error))?;
    let mut lines = said.lines();
    let prefix = lines.next().unwrap_or_default().to_owned();
    let directory = PathBuf::from(lines.next().unwrap_or_default());
    Ok((prefix, directory, lines.next() == Some("true")))
}

/// The commit that is checked out, where there is one, and the files of the folder that differ from it.
fn status(git: &Git, prefix: &str) -> Result<(Option<String>, HashSet<String>), GitError> {
    let asked = [
        "status",
        "--porcelain=v2",
        "--branch",
        "-z",
        "--untracked-files=all",
        "--ignore-submodules=all",
        "--no-renames",
        "--no-ahead-behind",
        "--",
    ];
    let asked: Vec<String> = asked.map(str::to_owned).into_iter().chain(commits::patterns(prefix)).collect();
    let (mut head, mut dirty) = (None, HashSet::new());
    git.pieces(&asked, |piece| {
        if let Some(id) = piece.strip_prefix("# branch.oid ") {
            head = Some(id.to_owned()).filter(|id| id != "(initial)");
        } else if let Some(path) = changed(piece) {
            dirty.insert(path.strip_prefix(prefix).unwrap_or(path).to_owned());
        }
        More::Wanted
    })?;
    Ok((head, dirty))
}

/// The path of a line of `git status --porcelain=v2`: behind 8 words for a change, 10 for a conflict, 1 for what is new.
fn changed(line: &str) -> Option<&str> {
    let words = match line.get(..2)? {
        "1 " => 8,
        "u " => 10,
        "? " => 1,
        _ => return None,
    };
    line.splitn(words + 1, ' ').nth(words)
}

fn because(error: &GitError) -> Nothing {
    match error {
        GitError::Failed { said, .. } if said.contains("not a git repository") => Nothing::Outside,
        GitError::Failed { said, .. } if said.contains("dubious ownership") => Nothing::Because(format!(
            "{said}; if you trust it, allow it for the user of Weir with: git config --global --add safe.directory PATH"
        )),
        GitError::NotInstalled(_) => {
            Nothing::Because(format!("{error}; install git to see commits beside revisions"))
        }
        GitError::Failed { .. } | GitError::TooSlow { .. } | GitError::TooMuch(_) => {
            Nothing::Because(error.to_string())
        }
    }
}

/// What changes with each commit, checkout and `git add`.
fn stamps(directory: &Path) -> Vec<Stamp> {
    let stamp = |name: &str| {
        let meta = fs::metadata(directory.join(name)).ok()?;
        Some((meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec()))
    };
    ["HEAD", "logs/HEAD", "index", "shallow"].into_iter().map(stamp).collect()
}
