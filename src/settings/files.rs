//! Files that a pipeline names: only regular ones, of a bounded size, and only below the folder that they belong to.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Component, Path};

/// The text of a file below a folder, wherever links lead inside of it; `written` is relative to the folder. Fails with what
/// is wrong: it cannot be read, lies outside, is no regular file, is larger than `most` bytes or no UTF-8.
pub fn read_below(folder: &Path, written: &str, most: u64) -> Result<String, String> {
    let unread = |error: std::io::Error| format!("cannot be read: {error}");
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    // What lies outside is told from what is not there only where it is inside.
    let outside = || format!("is outside of {}", folder.display());
    let inside = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    if !Path::new(written).components().all(inside) {
        return Err(outside());
    }
    let folder = fs::canonicalize(folder).map_err(unread)?;
    let path = fs::canonicalize(folder.join(written)).map_err(unread)?;
    if !path.starts_with(&folder) {
        return Err(format!("is outside of {}", folder.display()));
    }
    // The kind first: opening a pipe would wait for its other end.
    if !fs::metadata(&path).map_err(unread)?.is_file() {
        return Err("is no regular file".to_owned());
    }
    let mut bytes = Vec::new();
    let file = File::open(&path).map_err(unread)?;
    file.take(most.saturating_add(1)).read_to_end(&mut bytes).map_err(unread)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > most {
        return Err(format!("is larger than {most} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())
}
