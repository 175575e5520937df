//! A plugin's file: below its folder, a regular file, of a bounded size, and a WebAssembly module by its first bytes.

use std::path::Path;

use crate::settings::{Unread, read_bytes_below};

/// What a module begins with: text that is no module would be taken for WebAssembly's text form.
const MAGIC: &[u8] = b"\0asm\x01\0\0\0";
/// What a component begins with.
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// The bytes of a module; else why they are not used.
pub(super) fn read(folder: &Path, name: &str, most: u64) -> Result<Vec<u8>, String> {
    let bytes = read_bytes_below(folder, name, most).map_err(|why: Unread| why.to_string())?;
    is_module(&bytes)?;
    Ok(bytes)
}

/// Whether these bytes begin as a module does.
pub(super) fn is_module(bytes: &[u8]) -> Result<(), String> {
    if bytes.starts_with(MAGIC) {
        return Ok(());
    }
    Err(match bytes.starts_with(COMPONENT) {
        true => "is a component of WebAssembly: build it as a module".to_owned(),
        false => "is no WebAssembly module".to_owned(),
    })
}
