//! One call of the `git` program: what it is told and what is kept from it, how long it may take, how much it may say.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use crate::settings;

/// How long a call may take that asks nobody else.
pub(super) const LOCAL: Duration = Duration::from_secs(20);
/// How much a call may say that is read whole.
const MOST: u64 = 16 << 20;
/// How long one piece of what is read piece by piece may be.
const MOST_PIECE: usize = 64 << 10;
/// How much of a complaint is kept.
const MOST_SAID: u64 = 16 << 10;
/// How long what is left of a complaint is waited for when git has ended: what it started may hold the pipe.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// What is said where git failed without a word.
pub(super) const SILENT: &str = "it failed and did not say why";

/// What every call is told: nothing of the repository runs, and nobody is asked.
const TOLD: [&str; 11] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.askPass=",
    "protocol.ext.allow=never",
    "log.showSignature=false",
    "color.ui=false",
    "i18n.logOutputEncoding=UTF-8",
    "gc.auto=0",
    "maintenance.auto=false",
    "submodule.recurse=false",
    "advice.detachedHead=false",
];

/// Variables that would point git at another repository, or change what it prints.
const KEPT_FROM_IT: [&str; 19] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
    "GIT_CONFIG",
    "GIT_CONFIG_PARAMETERS",
    "GIT_EXTERNAL_DIFF",
    "GIT_LITERAL_PATHSPECS",
    "GIT_GLOB_PATHSPECS",
    "GIT_NOGLOB_PATHSPECS",
    "GIT_ICASE_PATHSPECS",
    "GIT_SHALLOW_FILE",
    "GIT_GRAFT_FILE",
    "GIT_REPLACE_REF_BASE",
    "GIT_DEFAULT_HASH",
];

/// Why git gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GitError {
    /// There is no such program.
    #[error("there is no `git` program: {0}")]
    NotInstalled(String),
    /// It took too long and was ended.
    #[error("git {what} took longer than {} s and was ended", .limit.as_secs())]
    TooSlow {
        /// The subcommand.
        what: String,
        /// How long it had.
        limit: Duration,
    },
    /// It said more than anybody reads.
    #[error("git {0} gave more than is read")]
    TooMuch(String),
    /// It failed.
    #[error("git {what}: {said}")]
    Failed {
        /// The subcommand.
        what: String,
        /// The last line of its complaint.
        said: String,
    },
}

/// Whether a reader of what git says has enough, and git may be ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum More {
    Wanted,
    Enough,
}

/// How git is called.
#[derive(Debug, Clone)]
pub(super) struct Git {
    folder: PathBuf,
    limit: Duration,
    config: Vec<String>,
    environment: Vec<(OsString, OsString)>,
    /// The group of the call that is under way, for whoever ends it.
    under_way: Arc<Mutex<Option<Pid>>>,
}

impl Git {
    /// In a folder.
    pub(super) fn at(folder: &Path) -> Git {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        Git {
            folder: folder.to_owned(),
            limit: LOCAL,
            config: Vec::new(),
            environment: Vec::new(),
            under_way: Arc::default(),
        }
    }

    /// With another limit of time.
    pub(super) fn within(mut self, limit: Duration) -> Git {
        self.limit = limit;
        self
    }

    /// With another setting.
    pub(super) fn told(mut self, setting: impl Into<String>) -> Git {
        self.config.push(setting.into());
        self
    }

    /// With a variable.
    pub(super) fn with(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Git {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Ends the call that is under way with these settings, where there is one.
    pub(super) fn end(&self) {
        kill(self.under_way().take());
    }

    fn under_way(&self) -> std::sync::MutexGuard<'_, Option<Pid>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it says, as text.
    pub(super) fn text<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Result<String, GitError> {
        let bytes = self.bytes(arguments, MOST)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// What it says, up to so many bytes.
    pub(super) fn bytes<A: AsRef<OsStr>>(&self, arguments: &[A], most: u64) -> Result<Vec<u8>, GitError> {
        let mut out = Vec::new();
        self.call(arguments, |said| {
            let read = said.take(most + 1).read_to_end(&mut out);
            if read.is_ok_and(|read| u64::try_from(read).unwrap_or(u64::MAX) > most) {
                return Err(GitError::TooMuch(first(arguments)));
            }
            Ok(More::Wanted)
        })?;
        Ok(out)
    }

    /// Gives each piece of what it says, which end with NUL each, as long as more is wanted.
    pub(super) fn pieces<A: AsRef<OsStr>>(
        &self,
        arguments: &[A],
        mut each: impl FnMut(&str) -> More,
    ) -> Result<(), GitError> {
        self.call(arguments, |said| {
            let mut said = BufReader::new(said);
            let mut piece = Vec::new();
            loop {
                piece.clear();
                let most = u64::try_from(MOST_PIECE).unwrap_or(u64::MAX);
                let read = (&mut said).take(most).read_until(0, &mut piece).unwrap_or(0);
                if read == 0 {
                    return Ok(More::Wanted);
                }
                if piece.last() != Some(&0) && read == MOST_PIECE {
                    return Err(GitError::TooMuch(first(arguments)));
                }
                let text = String::from_utf8_lossy(piece.strip_suffix(&[0]).unwrap_or(&piece));
                if each(&text) == More::Enough {
                    return Ok(More::Enough);
                }
            }
        })
    }

    fn call<A: AsRef<OsStr>>(
        &self,
        arguments: &[A],
        read: impl FnOnce(ChildStdout) -> Result<More, GitError>,
    ) -> Result<(), GitError> {
        let what = first(arguments);
        let not_there = |error: std::io::Error| GitError::NotInstalled(error.to_string());
        let mut child = self.command(arguments).spawn().map_err(not_there)?;
        let guard = Guard::over(&child, self.limit).map_err(|error| {
            child.kill().ok();
            not_there(error)
        })?;
        *self.under_way() = guard.group;
        let complaint = complaint(&mut child);
        let taken = match child.stdout.take() {
            Some(said) => read(said),
            None => Ok(More::Wanted),
        };
        if taken != Ok(More::Wanted) {
            guard.kill();
        }
        let status = child.wait();
        *self.under_way() = None;
        let is_late = guard.end();
        if taken? == More::Enough {
            return Ok(());
        }
        if is_late {
            return Err(GitError::TooSlow { what, limit: self.limit });
        }
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(_) | Err(_) => Err(GitError::Failed { what, said: complaint.said() }),
        }
    }

    fn command<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Command {
        let mut command = Command::new("git");
        command.arg("--no-pager").arg("-C").arg(&self.folder);
        for told in TOLD.iter().copied().chain(self.config.iter().map(String::as_str)) {
            command.arg("-c").arg(told);
        }
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for name in KEPT_FROM_IT {
            command.env_remove(name);
        }
        // Secrets among them.
        for name in settings::environment().keys().filter(|name| name.starts_with("WEIR_")) {
            command.env_remove(name);
        }
        command
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ASKPASS", "/bin/false")
            .env("SSH_ASKPASS_REQUIRE", "never")
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("GIT_ALLOW_PROTOCOL", "https:http:ssh:file")
            .env("LC_ALL", "C")
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        // What it starts dies with it.
        command.process_group(0);
        command
    }
}

/// Ends a call, and all that it started, when its time is over.
struct Guard {
    group: Option<Pid>,
    done: mpsc::SyncSender<()>,
    late: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<()>,
}

impl Guard {
    fn over(child: &Child, limit: Duration) -> std::io::Result<Guard> {
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let late = Arc::new(AtomicBool::new(false));
        let (done, ended) = mpsc::sync_channel::<()>(1);
        let is_late = Arc::clone(&late);
        let thread = std::thread::Builder::new().name("git-limit".to_owned()).spawn(move || {
            if ended.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                is_late.store(true, Ordering::Relaxed);
                kill(group);
            }
        })?;
        Ok(Guard { group, done, late, thread })
    }

    fn kill(&self) {
        kill(self.group);
    }

    /// Whether its time was over.
    fn end(self) -> bool {
        drop(self.done);
        self.thread.join().ok();
        self.late.load(Ordering::Relaxed)
    }
}

fn kill(group: Option<Pid>) {
    if let Some(group) = group {
        // It may have ended by itself.
        kill_process_group(group, Signal::KILL).ok();
    }
}

/// What git complains of, read beside its answer.
struct Complaint {
    text: Arc<Mutex<Vec<u8>>>,
    ended: mpsc::Receiver<()>,
}

fn complaint(child: &mut Child) -> Complaint {
    let text = Arc::new(Mutex::new(Vec::new()));
    let (end, ended) = mpsc::sync_channel::<()>(1);
    if let Some(mut from) = child.stderr.take() {
        let text = Arc::clone(&text);
        let read = move || {
            let mut bytes = [0; 1 << 10];
            while let Ok(count @ 1..) = from.read(&mut bytes) {
                let mut text = text.lock().unwrap_or_else(PoisonError::into_inner);
                if u64::try_from(text.len()).unwrap_or(u64::MAX) < MOST_SAID {
                    text.extend_from_slice(bytes.get(..count).unwrap_or_default());
                }
            }
            drop(end);
        };
        // Without it, the complaint is missing and nothing else.
        std::thread::Builder::new().name("git-says".to_owned()).spawn(read).ok();
    }
    Complaint { text, ended }
}

impl Complaint {
    fn said(self) -> String {
        self.ended.recv_timeout(LAST_WORDS).ok();
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        reason(&String::from_utf8_lossy(&text))
    }
}

/// The line of a complaint that says what is wrong: git's first, or that of ssh before it; else the last.
pub(super) fn reason(complaint: &str) -> String {
    let lines: Vec<&str> = complaint.lines().filter(|line| !line.trim().is_empty()).collect();
    let is_wrong = |line: &&str| line.starts_with("fatal: ") || line.starts_with("error: ");
    let line = match lines.iter().position(is_wrong) {
        // Git knows no more than that ssh has ended.
        Some(at @ 1..) if lines.get(at).is_some_and(|line| line.contains("Could not read from remote")) => {
            lines.get(at - 1)
        }
        Some(at) => lines.get(at),
        None => lines.last(),
    };
    super::commits::plain(line.copied().unwrap_or(SILENT), 400)
}

/// The subcommand, for messages: arguments may hold what is not to be printed.
fn first<A: AsRef<OsStr>>(arguments: &[A]) -> String {
    arguments.first().map(|one| one.as_ref().to_string_lossy().into_owned()).unwrap_or_default()
}
