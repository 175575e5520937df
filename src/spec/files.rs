//! From a path to the texts of pipeline files. Reads regular files only, and not more than 1 MiB of each.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::diagnostic::{Diagnostic, Label};
use super::span::{Source, Span};
use super::tree::MAX_BYTES;

/// The pipeline files that a path stands for: itself, or in a folder its `*.yaml` and `*.yml` but for tests
/// (`*.test.yaml`) and hidden files, by name. Fails where the path cannot be read.
pub fn pipelines_at(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut out = Vec::new();
    for entry in fs::read_dir(path)? {
        let file = entry?.path();
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or("");
        let yaml = name.ends_with(".yaml") || name.ends_with(".yml");
        let test = name.ends_with(".test.yaml") || name.ends_with(".test.yml");
        if yaml && !test && !name.starts_with('.') && !file.is_dir() {
            out.push(file);
        }
    }
    out.sort();
    Ok(out)
}

/// The text of a file. A file that cannot be read, is no regular file, is too large or no UTF-8 is a finding.
pub fn source(path: &Path) -> Result<Arc<Source>, Box<Diagnostic>> {
    let name = path.display().to_string();
    let fault = |message: String| {
        Box::new(Diagnostic::error(
            "W0102",
            message,
            Label::new(&Source::new(&name, ""), Span::default(), ""),
        ))
    };
    // The kind first: opening a pipe would wait for its other end.
    let kind = fs::metadata(path).map_err(|error| fault(format!("the file cannot be read: {error}")))?;
    if !kind.is_file() {
        return Err(fault("this is no regular file".to_owned()));
    }
    let file = fs::File::open(path).map_err(|error| fault(format!("the file cannot be read: {error}")))?;
    let mut bytes = Vec::new();
    let limit = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit)
        .read_to_end(&mut bytes)
        .map_err(|error| fault(format!("the file cannot be read: {error}")))?;
    if bytes.len() > MAX_BYTES {
        return Err(fault("the file is larger than 1 MiB".to_owned()));
    }
    decode(&name, bytes)
}

/// A text of a name from its bytes.
pub fn decode(name: &str, bytes: Vec<u8>) -> Result<Arc<Source>, Box<Diagnostic>> {
    String::from_utf8(bytes).map(|text| Source::new(name, text)).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let source = Source::new(name, String::from_utf8_lossy(error.as_bytes()));
        let label = Label::new(&source, Span::new(at, at), "this byte is no UTF-8");
        Box::new(Diagnostic::error("W0102", "the file is not UTF-8", label).with_help("save it as UTF-8"))
    })
}
