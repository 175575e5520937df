//! A repository that lies elsewhere: asked for the commit of a branch or a tag, fetched into a copy of its own, laid out as files.
//! No secret of its address stands on a command line or on disk: the address goes by a variable, a password by a header.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use url::Url;

use super::call::{Git, GitError, More};
use super::commits::{self, ByName};
use crate::settings::{self, Followed, Signers};

/// How long the remote may take to say which commits it has, and to send them.
const ASK: Duration = Duration::from_secs(20);
const FETCH: Duration = Duration::from_secs(300);
/// How much a commit may hold when it is laid out: bytes and files.
const MOST_BYTES: u64 = 512 << 20;
const MOST_FILES: usize = 50_000;
/// What the remote is called in its copy.
const NAME: &str = "followed";
/// Where the copy keeps what was fetched, and what was laid out last.
const FETCHED: &str = "refs/weir/fetched";
const APPLIED: &str = "refs/weir/applied";

/// A remote and its copy.
#[derive(Debug)]
pub(super) struct Remote {
    what: Followed,
    home: PathBuf,
    local: Git,
    asking: Git,
}

/// What a branch or a tag of the remote points at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tip {
    reference: String,
    pub(super) id: String,
}

impl Remote {
    /// Makes the copy in the folder `home`, or mends it.
    pub(super) fn open(what: Followed, home: &Path) -> Result<Remote, GitError> {
        let home = std::path::absolute(home).map_err(|error| failed("init", &error))?;
        let mirror = home.join("mirror.git");
        fs::create_dir_all(&mirror).map_err(|error| failed(&format!("init {}", home.display()), &error))?;
        // What an earlier process has left half done.
        for left in ["at", "next", "index"] {
            let left = home.join(left);
            fs::remove_dir_all(&left).or_else(|_| fs::remove_file(&left)).ok();
        }
        unlock(&home);
        let local = Git::at(&mirror).told("core.autocrlf=false").with("GIT_DIR", &mirror);
        Git::at(&mirror).text(&["init", "--bare", "--quiet", "--template=", "."])?;
        let (address, header) = address(&what);
        let mut settings = vec![(format!("remote.{NAME}.url"), address)];
        if let Some(header) = header {
            settings.push(("http.extraHeader".to_owned(), header));
        }
        // Behind those that the user has set in the same way.
        let environment = settings::environment();
        let first: usize =
            environment.get("GIT_CONFIG_COUNT").and_then(|count| count.parse().ok()).unwrap_or_default();
        let mut asking =
            local.clone().within(ASK).with("GIT_CONFIG_COUNT", (first + settings.len()).to_string());
        for (number, (key, value)) in settings.into_iter().enumerate() {
            let number = first + number;
            asking = asking.with(format!("GIT_CONFIG_KEY_{number}"), key);
            asking = asking.with(format!("GIT_CONFIG_VALUE_{number}"), value);
        }
        if !has_ssh_of_its_own(&local) {
            asking = asking.with("GIT_SSH_COMMAND", "ssh -oBatchMode=yes -oConnectTimeout=15");
        }
        Ok(Remote { what, home, local, asking })
    }

    /// Ends what is asked of the remote at this moment.
    pub(super) fn end(&self) {
        self.asking.end();
    }

    /// What the remote has now; nothing is fetched.
    pub(super) fn tip(&self) -> Result<Tip, GitError> {
        let name = &self.what.reference;
        let names = match name.starts_with("refs/") {
            true => vec![name.clone()],
            false => vec![format!("refs/heads/{name}"), format!("refs/tags/{name}")],
        };
        let mut asked = vec!["ls-remote".to_owned(), "--quiet".to_owned(), NAME.to_owned()];
        asked.extend(names.iter().cloned());
        let said = self.asking.text(&asked).map_err(|error| self.redacted(error))?;
        let tip = |name: &String| {
            let line = said.lines().find_map(|line| line.strip_suffix(name.as_str())?.strip_suffix('\t'))?;
            Some(Tip { reference: name.clone(), id: line.to_owned() })
        };
        names.iter().find_map(tip).ok_or_else(|| GitError::Failed {
            what: "ls-remote".to_owned(),
            said: format!("the repository has no branch or tag `{name}`"),
        })
    }

    /// Fetches it; the commit's id.
    pub(super) fn fetch(&self, tip: &Tip) -> Result<String, GitError> {
        let what = format!("+{}:{FETCHED}", tip.reference);
        let asked = [
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-write-fetch-head",
            "--no-recurse-submodules",
            NAME,
            &what,
        ];
        unlock(&self.home);
        self.asking.clone().within(FETCH).text(&asked).map_err(|error| self.redacted(error))?;
        self.commit(FETCHED)
    }

    /// The commit that was laid out last, by this process or one before it.
    pub(super) fn applied(&self) -> Option<String> {
        self.commit(APPLIED).ok()
    }

    fn commit(&self, reference: &str) -> Result<String, GitError> {
        let said =
            self.local.text(&["rev-parse", "--verify", "--quiet", &format!("{reference}^{{commit}}")])?;
        Ok(said.trim().to_owned())
    }

    /// Whether somebody has signed the commit whose signature counts.
    pub(super) fn verify(&self, commit: &str) -> Result<(), GitError> {
        let Some(signers) = &self.what.verify else { return Ok(()) };
        // What checks the other kinds of signatures knows other signers: the user's own.
        let none = |program: &str| format!("{program}=/bin/false");
        let git = match signers {
            Signers::Ssh(file) => self
                .local
                .clone()
                .told(format!("gpg.ssh.allowedSignersFile={}", file.display()))
                .told(none("gpg.program"))
                .told(none("gpg.openpgp.program")),
            Signers::OpenPgp(file) => {
                self.local.clone().told(none("gpg.ssh.program")).with("GNUPGHOME", self.keyring(file)?)
            }
        };
        let checked = git.told(none("gpg.x509.program")).text(&["verify-commit", commit]);
        checked.map(drop).map_err(|error| match error {
            GitError::Failed { what, said } => GitError::Failed {
                what,
                said: match said.as_str() {
                    super::call::SILENT => "the commit has no signature".to_owned(),
                    said => format!("no signature that counts: {said}"),
                },
            },
            other @ (GitError::NotInstalled(_) | GitError::TooSlow { .. } | GitError::TooMuch(_)) => other,
        })
    }

    /// A home for gpg which holds these keys and no others.
    fn keyring(&self, file: &Path) -> Result<PathBuf, GitError> {
        let home = self.home.join("gnupg");
        let wrong = |error: &dyn std::fmt::Display| failed("verify-commit", error);
        fs::remove_dir_all(&home).ok();
        fs::create_dir(&home).map_err(|error| wrong(&error))?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        fs::set_permissions(&home, mode).map_err(|error| wrong(&error))?;
        let mut gpg = Command::new("gpg");
        gpg.args(["--batch", "--quiet", "--no-autostart", "--homedir"]).arg(&home).arg("--import").arg(file);
        let output =
            gpg.stdin(Stdio::null()).output().map_err(|error| wrong(&format!("running gpg: {error}")))?;
        match output.status.success() {
            true => Ok(home),
            false => Err(wrong(&format!("gpg cannot read the keys of {}", file.display()))),
        }
    }

    /// Lays the files of a commit out in a folder of its own, whole or not at all. `folders` are those that will be read, where
    /// they are there; the first must be.
    pub(super) fn lay_out(&self, commit: &str, folders: &[String]) -> Result<PathBuf, GitError> {
        let (at, half) = (self.home.join("at"), self.home.join("at").join("half"));
        let whole = at.join(commit);
        if !whole.is_dir() {
            self.weigh(commit)?;
            let wrong = |error: io::Error| failed("checkout", &error);
            fs::remove_dir_all(&half).ok();
            fs::create_dir_all(&half).map_err(wrong)?;
            let index = self.home.join("index");
            let git = self
                .local
                .clone()
                .within(FETCH)
                .with("GIT_LFS_SKIP_SMUDGE", "1")
                .with("GIT_INDEX_FILE", &index)
                .with("GIT_WORK_TREE", &half);
            git.text(&["read-tree", commit])?;
            git.text(&["checkout-index", "--all", "--force", "--quiet"])?;
            fs::rename(&half, &whole).map_err(wrong)?;
        }
        let short = commit.get(..super::SHOWN).unwrap_or(commit);
        for (number, folder) in folders.iter().enumerate() {
            let Ok(path) = fs::canonicalize(whole.join(folder)) else {
                if number == 0 {
                    return Err(failed("checkout", &format!("commit {short} has no folder `{folder}`")));
                }
                continue;
            };
            let inside = fs::canonicalize(&whole).is_ok_and(|whole| path.starts_with(whole));
            if !inside || !path.is_dir() {
                let said = format!("`{folder}` of commit {short} is no folder of the repository");
                return Err(failed("checkout", &said));
            }
        }
        self.local.text(&["update-ref", APPLIED, commit])?;
        Ok(whole)
    }

    /// Refuses a commit that would fill the disk.
    fn weigh(&self, commit: &str) -> Result<(), GitError> {
        let (mut bytes, mut files) = (0_u64, 0_usize);
        self.local.pieces(&["ls-tree", "-r", "-l", "-z", commit], |piece| {
            let size = piece.split('\t').next().and_then(|head| head.rsplit(' ').next()).unwrap_or_default();
            (bytes, files) = (bytes.saturating_add(size.parse().unwrap_or(0)), files + 1);
            if bytes > MOST_BYTES || files > MOST_FILES { More::Enough } else { More::Wanted }
        })?;
        if bytes > MOST_BYTES || files > MOST_FILES {
            let said = format!("the commit holds more than {MOST_FILES} files or {} MiB", MOST_BYTES >> 20);
            return Err(failed("checkout", &said));
        }
        Ok(())
    }

    /// Who changed each pipeline file last, as of a commit, from what is known as of another one.
    pub(super) fn commits(&self, commit: &str, known: Option<(&str, &ByName)>) -> Result<ByName, GitError> {
        let path = self.what.path.trim_start_matches("./").trim_end_matches('/');
        let prefix = if path.is_empty() || path == "." { String::new() } else { format!("{path}/") };
        if let Some(known) = known
            && let Ok(Some(newer)) = commits::since(&self.local, known, commit, &prefix)
        {
            return Ok(newer);
        }
        commits::all(&self.local, commit, &prefix)
    }

    /// Lets `current` be the files of a commit that is laid out, in one step.
    pub(super) fn switch(&self, commit: &str) -> io::Result<()> {
        let next = self.home.join("next");
        fs::remove_file(&next).ok();
        std::os::unix::fs::symlink(Path::new("at").join(commit), &next)?;
        fs::rename(next, self.current())
    }

    /// Removes the files of all commits but these.
    pub(super) fn keep(&self, commits: [&str; 2]) {
        let Ok(entries) = fs::read_dir(self.home.join("at")) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            if !commits.iter().any(|commit| name == *commit) && name != "half" {
                fs::remove_dir_all(entry.path()).ok();
            }
        }
    }

    /// Where the files are that are read.
    pub(super) fn current(&self) -> PathBuf {
        self.home.join("current")
    }

    /// A failure without what must not be printed.
    fn redacted(&self, error: GitError) -> GitError {
        let GitError::Failed { what, said } = error else { return error };
        let (address, _) = address(&self.what);
        let said = said.replace(self.what.url.expose(), &self.what.shown).replace(&address, &self.what.shown);
        GitError::Failed { what, said }
    }
}

/// Takes away what a call that was ended has locked: nobody else works here.
fn unlock(home: &Path) {
    for locked in
        ["index", "mirror.git/packed-refs", "mirror.git/config", "mirror.git/HEAD", "mirror.git/shallow"]
    {
        fs::remove_file(home.join(format!("{locked}.lock"))).ok();
    }
    for reference in [FETCHED, APPLIED] {
        fs::remove_file(home.join("mirror.git").join(format!("{reference}.lock"))).ok();
    }
}

/// The address without a password where one can go by a header, and the header.
fn address(what: &Followed) -> (String, Option<String>) {
    let written = what.url.expose();
    let parsed = Url::parse(written).ok().filter(|url| matches!(url.scheme(), "https" | "http"));
    if let Some(mut url) = parsed {
        // A name alone, which is no secret, is for the user's credential helper.
        let is_token = what.url.is_secret() && !url.username().is_empty();
        if url.password().is_none() && !is_token {
            return (written.to_owned(), None);
        }
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let both = format!("{}:{}", decoded(url.username()), decoded(url.password().unwrap_or_default()));
        if url.set_password(None).is_ok() && url.set_username("").is_ok() {
            return (url.into(), Some(format!("Authorization: Basic {}", STANDARD.encode(both))));
        }
        return (written.to_owned(), None);
    }
    // A path is taken from where Weir runs, and git runs elsewhere.
    let is_path = !written.contains("://") && (written.starts_with('.') || !written.contains(':'));
    let absolute = is_path.then(|| std::path::absolute(written).ok()).flatten();
    (absolute.map_or_else(|| written.to_owned(), |path| path.display().to_string()), None)
}

/// Whether the user has said how git calls ssh.
fn has_ssh_of_its_own(git: &Git) -> bool {
    let environment = settings::environment();
    ["GIT_SSH_COMMAND", "GIT_SSH"].iter().any(|name| environment.contains_key(*name))
        || git.text(&["config", "--get", "core.sshCommand"]).is_ok_and(|said| !said.trim().is_empty())
}

fn failed(what: &str, said: &dyn std::fmt::Display) -> GitError {
    GitError::Failed { what: what.to_owned(), said: said.to_string() }
}
