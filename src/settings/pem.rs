//! PEM files that the operator names: read within bounds, whatever lies there.

use std::path::Path;

use super::files::{Unread, read_file};

/// What every PEM begins a section with.
pub const BEGIN: &str = "-----BEGIN ";

/// The text of a PEM file. Fails with what is wrong with the file, to be said behind its name: `is no regular file`.
pub fn read(path: &Path) -> Result<String, String> {
    match read_file(path) {
        Ok(text) if text.contains(BEGIN) => Ok(text),
        Ok(_) | Err(Unread::NoText) => Err("is no PEM file".to_owned()),
        Err(unread) => Err(unread.to_string()),
    }
}
