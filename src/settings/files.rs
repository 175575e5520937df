//! Files that a pipeline names: only regular ones, of a bounded size, and only below the folder that they belong to.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Component, Path};

use super::inputs;

/// The largest text that is read, in bytes.
const MOST: u64 = 1 << 20;

/// Why a file that a pipeline names is not read.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    /// The system says why.
    #[error("cannot be read: {0}")]
    Io(#[from] std::io::Error),
    /// It does not lie below its folder.
    #[error("is outside of its folder")]
    Outside,
    /// It is a folder, a pipe, a device.
    #[error("is no regular file")]
    NoFile,
    /// It is too large.
    #[error("is larger than {} MiB", .0 >> 20)]
    Large(u64),
    /// Its bytes are no text.
    #[error("is not UTF-8")]
    NoText,
}

/// A path below a folder, without the folder's own name, with or without which it may be written.
pub fn below<'a>(folder: &Path, written: &'a str) -> &'a str {
    let below = match (folder.file_name(), Path::new(written).components().next()) {
        (Some(name), Some(Component::Normal(first))) if name == first => {
            Path::new(written).strip_prefix(first).ok().and_then(Path::to_str)
        }
        _ => None,
    };
    below.unwrap_or(written)
}

/// The text of a file below a folder, wherever links lead inside of it; `written` is relative to the folder.
///
/// # Errors
/// Why it is not read; nothing of what it holds.
pub fn read_below(folder: &Path, written: &str) -> Result<String, Unread> {
    text(read_bytes_below(folder, written, MOST)?)
}

/// The bytes of such a file, where it is not larger than `most`.
///
/// # Errors
/// Why it is not read.
pub fn read_bytes_below(folder: &Path, written: &str, most: u64) -> Result<Vec<u8>, Unread> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    // What lies outside is told from what is not there only where it is inside.
    let inside = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    if !Path::new(written).components().all(inside) {
        return Err(Unread::Outside);
    }
    // Also where it is not there: it may come.
    inputs::note(&folder.join(written));
    let folder = fs::canonicalize(folder)?;
    let path = fs::canonicalize(folder.join(written))?;
    if !path.starts_with(&folder) {
        return Err(Unread::Outside);
    }
    read_bytes(&path, most)
}

/// The text of a regular file.
pub(super) fn read_file(path: &Path) -> Result<String, Unread> {
    inputs::note(path);
    text(read_bytes(path, MOST)?)
}

fn read_bytes(path: &Path, most: u64) -> Result<Vec<u8>, Unread> {
    // The kind first: opening a pipe would wait for its other end.
    if !fs::metadata(path)?.is_file() {
        return Err(Unread::NoFile);
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > most {
        return Err(Unread::Large(most));
    }
    Ok(bytes)
}

fn text(bytes: Vec<u8>) -> Result<String, Unread> {
    String::from_utf8(bytes).map_err(|_| Unread::NoText)
}
