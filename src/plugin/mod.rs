//! WebAssembly guests through Extism: files of the plugins' folder that a `plugin` step calls. A guest is fenced (no network,
//! no files but those that weir.yaml grants, memory and output bounded) and timed; what it does wrong is a `Fault` of that
//! one call. What its input and output mean is the caller's business.

mod file;
#[cfg(feature = "plugins")]
mod fence;
#[cfg(feature = "plugins")]
mod guest;
#[cfg(not(feature = "plugins"))]
#[path = "none.rs"]
mod guest;
#[cfg(feature = "plugins")]
mod host;
#[cfg(feature = "plugins")]
mod pool;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use sha2::{Digest, Sha256};

pub use guest::Guest;

use crate::settings::below;

/// How long a call may take, where the file does not say.
pub const TIMEOUT: Duration = Duration::from_millis(100);
/// How much memory a guest may have, where the file does not say.
pub const MEMORY: u64 = 32 << 20;
/// How long an answer may be, where the file does not say.
pub const MAX_OUTPUT: u64 = 1 << 20;
/// The largest file that is read.
pub const MAX_FILE: u64 = 32 << 20;

/// What one call may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Time.
    pub timeout: Duration,
    /// Bytes of memory, those of its input and output included.
    pub memory: u64,
    /// Bytes of the answer.
    pub max_output: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        let max_output = usize::try_from(MAX_OUTPUT).unwrap_or(usize::MAX);
        Limits { timeout: TIMEOUT, memory: MEMORY, max_output }
    }
}

/// What weir.yaml lets a plugin do.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Grant {
    /// Folders that it may read: where they lie, and where the plugin sees them.
    pub files: BTreeMap<PathBuf, String>,
}

/// Which guest is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// The file as it is written: below the plugins' folder, with or without the folder's own name.
    pub file: &'a str,
    /// The exported function that will be called.
    pub function: &'a str,
    /// What `config_get` of the guest answers. May hold secrets.
    pub config: BTreeMap<String, String>,
    /// Texts in the configuration that are printed nowhere, whatever the guest says.
    pub secrets: Vec<String>,
    /// What each call may take.
    pub limits: Limits,
}

/// Why a guest cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// One sentence: lower case, no full stop.
    pub message: String,
    /// One action.
    pub help: String,
    /// Whether the function is at fault, else the file.
    pub function: bool,
}

impl Refused {
    fn new(message: impl Into<String>, help: impl Into<String>) -> Refused {
        Refused { message: message.into(), help: help.into(), function: false }
    }
}

/// What a module is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// Bytes of the file.
    pub size: usize,
    /// Its exported functions.
    pub functions: Vec<String>,
    /// What it imports: module and name.
    pub imports: Vec<(String, String)>,
    /// Whether it needs WASI.
    pub wasi: bool,
    /// Bytes of memory that it begins with.
    pub memory: u64,
}

/// What a call gave.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Called {
    /// The answer, at most `max_output` bytes.
    pub output: Vec<u8>,
    /// What it counted, by name.
    pub counts: Vec<(String, u64)>,
}

/// What a guest did wrong in a call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It ran for too long.
    #[error("it ran longer than {} ms", .0.as_millis())]
    Timeout(Duration),
    /// It wanted more memory than it may have.
    #[error("it needs more memory than its {} KiB", .0 >> 10)]
    Memory(u64),
    /// It trapped.
    #[error("it trapped: {0}")]
    Trap(String),
    /// It answered that it has failed.
    #[error("it says: {0}")]
    Said(String),
    /// It answered with a code and no text.
    #[error("it ended with the code {0}")]
    Code(i32),
    /// It did what a guest may not.
    #[error("{0}")]
    Refused(String),
    /// It gave no answer.
    #[error("it gave no output")]
    NoOutput,
    /// Its answer is too long.
    #[error("its output of {0} bytes is longer than {1} bytes")]
    TooLong(usize, usize),
    /// Every instance was busy for too long.
    #[error("none of its instances became free within {} s", .0.as_secs())]
    Busy(Duration),
}

/// The plugins' folder, what is granted to its files, and what was loaded of it. A guest is loaded once for each content,
/// configuration and limits, and lives as long as somebody holds it.
pub struct Plugins {
    folder: PathBuf,
    grants: BTreeMap<String, Grant>,
    loaded: Mutex<BTreeMap<[u8; 32], Weak<Guest>>>,
}

impl Plugins {
    /// Of a folder; `grants` by the file's path below it.
    pub fn new(folder: impl Into<PathBuf>, grants: BTreeMap<String, Grant>) -> Plugins {
        Plugins { folder: folder.into(), grants, loaded: Mutex::default() }
    }

    /// Reads, checks and compiles a guest, which takes seconds for a large one, or gives the one that is there.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn load(&self, wanted: &Wanted<'_>) -> Result<Arc<Guest>, Refused> {
        if cfg!(not(feature = "plugins")) {
            return Err(Refused::new(
                "this build of Weir has no plugins",
                "take a build with them: cargo build --features plugins; the released ones have them",
            ));
        }
        let name = below(&self.folder, wanted.file);
        let bytes = file::read(&self.folder, name, MAX_FILE).map_err(|why| {
            let help = format!("plugins lie below `{}` (`plugins` of weir.yaml)", self.folder.display());
            Refused::new(format!("the plugin {} {why}", wanted.file), help)
        })?;
        self.load_bytes(name, &bytes, wanted)
    }

    /// The same of bytes that were read elsewhere.
    ///
    /// # Errors
    /// Why they cannot be used.
    pub fn load_bytes(&self, name: &str, bytes: &[u8], wanted: &Wanted<'_>) -> Result<Arc<Guest>, Refused> {
        let grant = self.grants.get(name).cloned().unwrap_or_default();
        let key = key(name, bytes, wanted, &grant);
        // Held while a guest is compiled: who wants the same one waits for it.
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.retain(|_, guest| guest.strong_count() > 0);
        let guest = match loaded.get(&key).and_then(Weak::upgrade) {
            Some(guest) => guest,
            None => {
                let guest = Arc::new(Guest::load(name, bytes, wanted, &grant)?);
                loaded.insert(key, Arc::downgrade(&guest));
                guest
            }
        };
        guest.has(wanted.function)?;
        Ok(guest)
    }
}

impl fmt::Debug for Plugins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugins").field("folder", &self.folder).finish_non_exhaustive()
    }
}

fn key(name: &str, bytes: &[u8], wanted: &Wanted<'_>, grant: &Grant) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(Sha256::digest(bytes));
    // Debug forms are unambiguous: texts stand in quotes.
    let rest = format!("{name:?}{:?}{:?}{grant:?}", wanted.config, wanted.limits);
    hash.update(Sha256::digest(rest.as_bytes()));
    hash.finalize().into()
}
