//! The commits that changed files, in one pass over the history for all files of a folder.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::Commit;
use super::call::{Git, GitError, More};

/// One commit: a mark which no text of git has, which side it is on, its id; author, time and subject behind it.
const FORM: &str = "--format=%x01%m%H%x00%aN%x00%ct%x00%s";
const MARK: char = '\u{1}';
/// The files of pipelines.
pub(super) const ENDINGS: [&str; 2] = ["yaml", "yml"];

/// The pipeline files of a folder in a repository, as git's patterns name them. `prefix`: empty, or the folder from the root of
/// the repository with `/` behind it.
pub(super) fn patterns(prefix: &str) -> impl Iterator<Item = String> {
    let mut escaped = String::with_capacity(prefix.len());
    for c in prefix.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    ENDINGS.into_iter().map(move |ending| format!(":(top,glob){escaped}*.{ending}"))
}

/// The pipeline files that a commit, given by its id, has in a folder: their names there.
pub(super) fn names(git: &Git, at: &str, prefix: &str) -> Result<Vec<String>, GitError> {
    let mut names = Vec::new();
    let mut arguments = vec!["ls-tree", "--full-tree", "-z", "--name-only", at, "--"];
    if !prefix.is_empty() {
        arguments.push(prefix);
    }
    git.pieces(&arguments, |path| {
        let name = path.strip_prefix(prefix).unwrap_or(path);
        if ENDINGS.iter().any(|ending| name.rsplit('.').next() == Some(ending)) && !name.contains('/') {
            names.push(name.to_owned());
        }
        More::Wanted
    })?;
    Ok(names)
}

/// The last commit of each file of a folder, by its name there.
pub(super) type ByName = HashMap<String, Arc<Commit>>;

/// Who changed each pipeline file of a folder last, as of a commit.
pub(super) fn all(git: &Git, at: &str, prefix: &str) -> Result<ByName, GitError> {
    let mut missing: HashSet<String> = names(git, at, prefix)?.into_iter().collect();
    let mut found = ByName::new();
    if missing.is_empty() {
        return Ok(found);
    }
    pass(git, at, prefix, |_, commit, name| {
        if missing.remove(name) {
            found.insert(name.to_owned(), Arc::clone(commit));
        }
        if missing.is_empty() { More::Enough } else { More::Wanted }
    })?;
    Ok(found)
}

/// The same as of a later commit, where it is known as of an earlier one; `None` where that one is not behind it.
pub(super) fn since(
    git: &Git,
    (before, known): (&str, &ByName),
    at: &str,
    prefix: &str,
) -> Result<Option<ByName>, GitError> {
    let mut newer = ByName::new();
    let mut forked = false;
    pass(git, &format!("{before}...{at}"), prefix, |side, commit, name| {
        forked |= side == '<';
        newer.entry(name.to_owned()).or_insert_with(|| Arc::clone(commit));
        if forked { More::Enough } else { More::Wanted }
    })?;
    if forked {
        return Ok(None);
    }
    let last = |name: String| {
        let commit = newer.get(&name).or_else(|| known.get(&name)).map(Arc::clone)?;
        Some((name, commit))
    };
    Ok(Some(names(git, at, prefix)?.into_iter().filter_map(last).collect()))
}

/// Walks the history from the newest commit on, and gives each file that a commit changed.
fn pass(
    git: &Git,
    range: &str,
    prefix: &str,
    mut each: impl FnMut(char, &Arc<Commit>, &str) -> More,
) -> Result<(), GitError> {
    // Where a merge differs from all that it merges, it is the last change. `--relative` would not hold for those.
    let mut arguments: Vec<String> =
        ["log", "-z", FORM, "--name-only", "--no-renames", "--no-ext-diff", "--diff-merges=combined"]
            .map(str::to_owned)
            .to_vec();
    arguments.extend(["--end-of-options", range, "--"].map(str::to_owned));
    arguments.extend(patterns(prefix));
    let mut reading = Reading::default();
    git.pieces(&arguments, |piece| {
        let Some(path) = reading.take(piece) else { return More::Wanted };
        let name = path.strip_prefix(prefix).unwrap_or(path);
        match &reading.commit {
            Some((side, commit)) => each(*side, commit, name),
            None => More::Wanted,
        }
    })
}

/// Commits of a range that changed this path, newest first.
pub(super) fn of_path(git: &Git, range: &str, path: &str, limit: usize) -> Result<Vec<Commit>, GitError> {
    let (count, path) = (format!("--max-count={limit}"), format!(":(literal){path}"));
    let arguments = [
        "log",
        "-z",
        FORM,
        "--name-only",
        "--no-renames",
        "--no-ext-diff",
        &count,
        "--end-of-options",
        range,
        "--",
        &path,
    ];
    let mut reading = Reading::default();
    let mut found: Vec<Commit> = Vec::new();
    git.pieces(&arguments, |piece| {
        reading.take(piece);
        if let Some((_, commit)) = &reading.commit
            && found.last().is_none_or(|last| last.id != commit.id)
        {
            found.push(Commit::clone(commit));
        }
        More::Wanted
    })?;
    Ok(found)
}

/// Reads what `FORM` and `--name-only` write, piece by piece.
#[derive(Default)]
struct Reading {
    head: Vec<String>,
    commit: Option<(char, Arc<Commit>)>,
}

impl Reading {
    /// A file's name where the piece is one.
    fn take<'a>(&mut self, piece: &'a str) -> Option<&'a str> {
        if let Some(head) = piece.strip_prefix(MARK) {
            self.commit = None;
            self.head = vec![head.to_owned()];
            return None;
        }
        if self.commit.is_none() {
            self.head.push(piece.to_owned());
            if let [head, author, time, subject] = self.head.as_slice() {
                let mut head = head.chars();
                let side = head.next().unwrap_or(' ');
                let commit = Commit {
                    id: head.as_str().to_owned(),
                    author: plain(author, 100),
                    subject: plain(subject, 200),
                    time: time.parse().unwrap_or_default(),
                };
                self.commit = Some((side, Arc::new(commit)));
            }
            return None;
        }
        // Before the first name of a commit stands a line break.
        Some(piece.strip_prefix('\n').unwrap_or(piece)).filter(|name| !name.is_empty())
    }
}

/// A text of somebody else's for one line of a log: nothing that steers a terminal, and not too long.
pub(super) fn plain(text: &str, most: usize) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(most)
        .collect::<String>()
        .trim()
        .to_owned()
}
