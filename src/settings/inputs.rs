//! Which files something was made of, so that it is made anew when one of them has changed and not otherwise. Every file that
//! a pipeline names is read through `settings::files`, which notes it here: no reader can forget to.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Of a file up to this size the content tells whether it has changed; of a larger one its kind, length and time.
const MOST_READ: u64 = 1 << 20;

thread_local! {
    static NOTED: RefCell<Option<BTreeMap<PathBuf, Stamp>>> = const { RefCell::new(None) };
}

/// Files as they were when they were read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inputs(BTreeMap<PathBuf, Stamp>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Stamp {
    /// It is not there, or not to be read.
    Gone,
    /// It is no regular file, or a large one.
    Seen {
        device: u64,
        inode: u64,
        length: u64,
        modified: (i64, i64),
    },
    Content([u8; 32]),
}

impl Inputs {
    /// Whether all of them are as they were.
    pub fn are_unchanged(&self) -> bool {
        self.0.iter().all(|(path, stamp)| Stamp::of(path) == *stamp)
    }

    /// The folders that they lie in.
    pub fn folders(&self) -> impl Iterator<Item = &Path> {
        self.0.keys().filter_map(|path| path.parent())
    }
}

/// Does something on this thread, and says which files were read for it, also those that were not there.
pub fn noted<T>(act: impl FnOnce() -> T) -> (T, Inputs) {
    let outer = NOTED.replace(Some(BTreeMap::new()));
    let made = act();
    let inner = NOTED.replace(outer).unwrap_or_default();
    NOTED.with_borrow_mut(|outer| {
        if let Some(outer) = outer {
            outer.extend(inner.clone());
        }
    });
    (made, Inputs(inner))
}

/// A file is about to be read. Before it is: a change that comes in between makes the note differ.
pub(super) fn note(path: &Path) {
    NOTED.with_borrow_mut(|noted| {
        if let Some(noted) = noted {
            noted.entry(path.to_owned()).or_insert_with(|| Stamp::of(path));
        }
    });
}

impl Stamp {
    fn of(path: &Path) -> Stamp {
        let Ok(meta) = fs::metadata(path) else { return Stamp::Gone };
        if meta.is_file() && meta.len() <= MOST_READ {
            return fs::read(path).map_or(Stamp::Gone, |bytes| Stamp::Content(Sha256::digest(bytes).into()));
        }
        Stamp::Seen {
            device: meta.dev(),
            inode: meta.ino(),
            length: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::read_below;

    #[test]
    fn what_was_read_is_known_and_each_change_of_it_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.avsc");
        fs::write(&path, "1").unwrap();
        let (read, inputs) = noted(|| {
            let (_, inner) = noted(|| read_below(folder.path(), "a.avsc"));
            assert!(inner.are_unchanged());
            read_below(folder.path(), "later.avsc").is_err()
        });
        assert!(read && inputs.are_unchanged());
        assert!(inputs.folders().any(|one| one == folder.path()));
        fs::write(&path, "2").unwrap();
        assert!(!inputs.are_unchanged(), "other content of the same length");
        fs::write(&path, "1").unwrap();
        assert!(inputs.are_unchanged());
        fs::write(folder.path().join("later.avsc"), "").unwrap();
        assert!(!inputs.are_unchanged(), "one that was not there has come");
        assert_eq!(noted(|| ()).1, Inputs::default());
    }
}
