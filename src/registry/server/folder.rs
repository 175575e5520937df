//! The folder of the schemas: the files that a registry begins with.

use std::path::{Path, PathBuf};

use tracing::warn;

use super::SeedFile;
use crate::settings::read_below;

/// How deep the folder is looked through, and how many files are taken.
const MAX_DEPTH: usize = 8;
const MAX_FILES: usize = 5_000;

/// The schemas of a folder; none where it is not there.
pub fn seed_files(folder: &Path) -> Vec<SeedFile> {
    let mut files = Vec::new();
    let Ok(root) = folder.canonicalize() else { return files };
    let mut open = vec![(PathBuf::new(), 0)];
    while let Some((below, depth)) = open.pop() {
        let Ok(entries) = std::fs::read_dir(folder.join(&below)) else { continue };
        for entry in entries.flatten() {
            let path = below.join(entry.file_name());
            let hidden = entry.file_name().to_str().is_none_or(|name| name.starts_with('.'));
            let Some(name) = path.to_str().filter(|_| !hidden && files.len() < MAX_FILES) else { continue };
            if entry.path().is_dir() {
                let inside = entry.path().canonicalize().is_ok_and(|path| path.starts_with(&root));
                if depth < MAX_DEPTH && inside {
                    open.push((path, depth + 1));
                }
                continue;
            }
            if SeedFile::new(name, String::new()).is_none() {
                continue;
            }
            match read_below(folder, name) {
                Ok(text) => files.extend(SeedFile::new(name, text)),
                Err(why) => warn!(schema = name, "not registered: the file {why}"),
            }
        }
    }
    files
}
