//! PEM files that the operator names: read within bounds, whatever lies there.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// A PEM file is at most this long.
const MAX: u64 = 1 << 20;
/// What every PEM begins a section with.
pub const BEGIN: &str = "-----BEGIN ";

/// The text of a PEM file. Fails with what is wrong with the file, to be said behind its name: `is no regular file`.
pub fn read(path: &Path) -> Result<String, String> {
    let unread = |error: io::Error| format!("cannot be read: {error}");
    // The kind first: opening a pipe would wait for its other end.
    if !fs::metadata(path).map_err(unread)?.is_file() {
        return Err("is no regular file".to_owned());
    }
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(MAX + 1).read_to_end(&mut bytes)).map_err(unread)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX {
        return Err("is larger than 1 MiB".to_owned());
    }
    let text = String::from_utf8(bytes).ok().filter(|text| text.contains(BEGIN));
    text.ok_or_else(|| "is no PEM file".to_owned())
}
