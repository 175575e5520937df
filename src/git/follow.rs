//! A branch that is followed: its newest commit is fetched, checked and laid out beside what is read, and taken in one step by
//! whoever reads. What goes wrong on the way leaves what is there.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tracing::{error, info, warn};

use super::call::GitError;
use super::commits::ByName;
use super::facts::Facts;
use super::remote::{Remote, Tip};
use crate::settings::Followed;

/// Why nothing can be followed.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The remote does not answer, and nothing of it is known from earlier.
    #[error("{0}")]
    Unreachable(String),
    /// It answers, and what it has cannot be used.
    #[error("{0}")]
    Unusable(String),
}

/// A branch or a tag that is followed.
#[derive(Debug)]
pub struct Following {
    what: Followed,
    remote: Remote,
    /// What is read of a commit: the folder of the pipelines first.
    folders: Vec<String>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What the remote had when a commit of it was made ready.
    tip: Option<Tip>,
    ready: Option<Ready>,
    /// The commit whose files `current` is, and the one before it.
    entered: [String; 2],
    fault: Option<Fault>,
}

/// A commit that is laid out.
#[derive(Debug, Clone)]
struct Ready {
    commit: String,
    facts: Arc<ByName>,
}

/// What keeps the newest commit away.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fault {
    /// The remote does not answer.
    Remote(String),
    /// The commit is not to be used.
    Commit(String),
}

impl Fault {
    /// Whether it is the same but for figures, such as how long an attempt took.
    fn is_like(&self, other: &Fault) -> bool {
        let plain = |text: &str| text.chars().filter(|c| !c.is_ascii_digit()).collect::<String>();
        match (self, other) {
            (Fault::Remote(one), Fault::Remote(other)) => plain(one) == plain(other),
            _ => self == other,
        }
    }

    fn text(&self) -> &str {
        match self {
            Fault::Remote(why) | Fault::Commit(why) => why,
        }
    }
}

/// What is to be read now.
#[derive(Debug)]
pub struct Entered {
    /// What git knows of its files.
    pub facts: Facts,
    /// What keeps a newer commit away.
    pub fault: Option<String>,
}

impl Following {
    /// Begins with the newest commit, or where it cannot be had, with the last that was read from this folder. `cache` is where
    /// copies are kept, `instance` who keeps one, `beside` further folders of the repository that will be read.
    ///
    /// # Errors
    /// There is nothing to begin with.
    pub fn begin(
        what: Followed,
        cache: &Path,
        instance: &str,
        beside: &[String],
    ) -> Result<Following, Refused> {
        let mut digest = Sha256::new();
        for part in [what.url.expose(), &what.reference, instance] {
            digest.update(part.as_bytes());
            digest.update([0]);
        }
        let name = data_encoding::HEXLOWER.encode(digest.finalize().get(..8).unwrap_or_default());
        let remote = Remote::open(what.clone(), &cache.join(name));
        let remote = remote.map_err(|error| Refused::Unusable(error.to_string()))?;
        let folders = std::iter::once(what.path.clone()).chain(beside.iter().cloned()).collect();
        let following = Following { what, remote, folders, state: Mutex::default() };
        following.poll();
        if following.state().ready.is_none() {
            following.fall_back()?;
        }
        following.enter().map_err(|error| Refused::Unusable(error.to_string()))?;
        Ok(following)
    }

    /// The last commit that was laid out here.
    fn fall_back(&self) -> Result<(), Refused> {
        let refuse = |fault: &Fault| match fault {
            Fault::Remote(why) => Refused::Unreachable(why.clone()),
            Fault::Commit(why) => Refused::Unusable(why.clone()),
        };
        let nothing = Fault::Remote("the repository has no commit".to_owned());
        let fault = self.state().fault.clone().unwrap_or(nothing);
        let Some(commit) = self.remote.applied() else { return Err(refuse(&fault)) };
        let ready = self.make_ready(&commit).map_err(|_| refuse(&fault))?;
        warn!(url = %self.what.shown, commit = short(&commit), "starting with the commit that was used last");
        self.state().ready = Some(ready);
        Ok(())
    }

    /// How often to ask.
    pub fn period(&self) -> Duration {
        self.what.poll
    }

    /// The folder of the pipelines, whose files change at `enter` only.
    pub fn folder(&self) -> PathBuf {
        self.beside(&self.what.path)
    }

    /// A folder of the repository.
    pub fn beside(&self, folder: &str) -> PathBuf {
        self.remote.current().join(folder)
    }

    /// A file's name as it is in the repository.
    pub fn name(&self, path: &Path) -> String {
        path.strip_prefix(self.remote.current()).unwrap_or(path).components().as_path().display().to_string()
    }

    /// The address, as it may be printed, and the branch.
    pub fn shown(&self) -> String {
        format!("{} {}", self.what.shown, self.what.reference)
    }

    /// Asks the remote, and makes its newest commit ready where it is another one. Whether there is something new: a commit, or
    /// what keeps it away. Blocks, for as long as the remote takes.
    pub fn poll(&self) -> bool {
        let known = self.state().tip.clone();
        let asked = self.remote.tip().map_err(|error| Fault::Remote(error.to_string()));
        let newer = match asked {
            Ok(tip) if known.as_ref() == Some(&tip) => Ok(None),
            Ok(tip) => self.take(tip).map(Some),
            Err(fault) => Err(fault),
        };
        self.settle(newer)
    }

    /// Ends what is asked of the remote at this moment: nobody waits for it any more.
    pub fn end(&self) {
        self.remote.end();
    }

    fn take(&self, tip: Tip) -> Result<(Tip, Ready), Fault> {
        let commit = self.remote.fetch(&tip).map_err(|error| Fault::Remote(error.to_string()))?;
        let ready = self.make_ready(&commit);
        let ready = ready.map_err(|error| Fault::Commit(format!("commit {}: {error}", short(&commit))))?;
        Ok((tip, ready))
    }

    fn make_ready(&self, commit: &str) -> Result<Ready, GitError> {
        self.remote.verify(commit)?;
        self.remote.lay_out(commit, &self.folders)?;
        let before = self.state().ready.clone();
        let known = before.as_ref().map(|ready| (ready.commit.as_str(), &*ready.facts));
        let facts = Arc::new(self.remote.commits(commit, known)?);
        Ok(Ready { commit: commit.to_owned(), facts })
    }

    /// Keeps what was found, and says it where it is new.
    fn settle(&self, newer: Result<Option<(Tip, Ready)>, Fault>) -> bool {
        let mut state = self.state();
        let (url, reference) = (&self.what.shown, &self.what.reference);
        let (fault, ready) = match newer {
            Ok(newer) => (None, newer),
            Err(fault) => (Some(fault), None),
        };
        let is_other = match (&state.fault, &fault) {
            (Some(before), Some(now)) => !before.is_like(now),
            (before, now) => before.is_some() || now.is_some(),
        };
        match &fault {
            Some(Fault::Remote(why)) if is_other => {
                warn!(%url, reference, "the git repository cannot be read, what was read of it goes on: {why}");
            }
            Some(Fault::Commit(why)) if is_other => {
                error!(%url, reference, "a commit is not applied, what runs goes on: {why}");
            }
            None if is_other => info!(%url, reference, "the git repository can be read again"),
            Some(_) | None => {}
        }
        if is_other {
            state.fault = fault;
        }
        let Some((tip, ready)) = ready else { return is_other };
        state.tip = Some(tip);
        let is_new = state.ready.as_ref().is_none_or(|known| known.commit != ready.commit);
        if is_new {
            info!(%url, reference, commit = short(&ready.commit), "a new commit");
        }
        state.ready = Some(ready);
        is_new || is_other
    }

    /// Lets the folder be that of the newest commit that is ready. Who reads it calls this, so that no reading sees two commits.
    ///
    /// # Errors
    /// The files of the commit cannot be put in place.
    pub fn enter(&self) -> io::Result<Entered> {
        let mut state = self.state();
        let ready = state.ready.clone().ok_or_else(|| io::Error::other("no commit is ready"))?;
        let [now, _] = &state.entered;
        if *now != ready.commit {
            self.remote.switch(&ready.commit)?;
            let before = std::mem::replace(&mut state.entered, [ready.commit.clone(), String::new()]);
            let [before, _] = before;
            state.entered = [ready.commit.clone(), before];
            let [now, before] = &state.entered;
            self.remote.keep([now, before]);
        }
        let fault = state.fault.as_ref().map(|fault| fault.text().to_owned());
        Ok(Entered { facts: Facts::of(&ready.commit, ready.facts), fault })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn short(commit: &str) -> &str {
    commit.get(..super::SHOWN).unwrap_or(commit)
}

#[cfg(test)]
mod tests;
