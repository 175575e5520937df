//! Files as they lie on disk: which ones are pipelines, and the text of each.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::diagnostic::{Diagnostic, Label};
use super::span::{Source, Span};
use super::tree::MAX_BYTES;

/// What standard input is called in messages.
pub const STDIN: &str = "<stdin>";

/// The pipeline files that a path stands for: itself, or in a folder its `*.yaml` and `*.yml` but for tests
/// (`*.test.yaml`) and hidden files, by name. Fails where the path cannot be read.
pub fn pipelines_at(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    yaml_in(path, false)
}

/// The files of tests that a path stands for: itself, the one beside a pipeline's file, or in a folder all of them, by name.
/// Fails where the path cannot be read.
pub fn tests_at(path: &Path) -> io::Result<Vec<PathBuf>> {
    if fs::metadata(path)?.is_dir() {
        return yaml_in(path, true);
    }
    if is_test(path) {
        return Ok(vec![path.to_owned()]);
    }
    let beside = ["test.yaml", "test.yml"].map(|end| path.with_extension(end));
    Ok(beside.into_iter().filter(|file| file.is_file()).collect())
}

/// Whether a file is one of tests, by its name.
pub fn is_test(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
    name.ends_with(".test.yaml") || name.ends_with(".test.yml")
}

/// The YAML files of a folder that are tests, or are not, by name.
fn yaml_in(folder: &Path, tests: bool) -> io::Result<Vec<PathBuf>> {
    let mut out = Vec::new();
    for entry in fs::read_dir(folder)? {
        let file = entry?.path();
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or("");
        let yaml = name.ends_with(".yaml") || name.ends_with(".yml");
        if yaml && is_test(&file) == tests && !name.starts_with('.') {
            out.push(file);
        }
    }
    out.sort();
    Ok(out)
}

/// A file's text, or why it cannot be read.
pub type ReadFile = Result<Arc<Source>, Box<Diagnostic>>;

/// The texts of the pipeline files that a path stands for. Fails where the path cannot be read.
pub fn pipelines(path: &Path) -> io::Result<Vec<ReadFile>> {
    Ok(pipelines_at(path)?.iter().map(|path| pipeline(path)).collect())
}

/// The text of a pipeline's file. Where it is a link, it leads to a file of its own folder, as mounted volumes have them: else
/// who may write pipelines could have any file read, and quoted in findings.
pub fn pipeline(path: &Path) -> Result<Arc<Source>, Box<Diagnostic>> {
    if !path.is_symlink() {
        return source(path);
    }
    let name = path.display().to_string();
    let cannot = |error: io::Error| unreadable(path, &name, &error);
    let kind = fs::metadata(path).map_err(cannot)?.file_type();
    if !kind.is_file() {
        return Err(no_file(kind, &name));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = fs::canonicalize(folder).map_err(cannot)?;
    let target = fs::canonicalize(path).map_err(cannot)?;
    if !target.starts_with(folder) {
        return Err(fault(
            &name,
            "this link cannot be followed: it leads out of its folder".to_owned(),
            "put the file itself into the folder, or let the link point at a file beside it or below",
        ));
    }
    // What was looked at is what is read, wherever the link points now.
    let file = fs::File::open(target).map_err(cannot)?;
    decode(&name, bounded(file).map_err(cannot)?)
}

/// The text of a file. A file that cannot be read, is no regular file, is too large or no UTF-8 is a finding.
pub fn source(path: &Path) -> Result<Arc<Source>, Box<Diagnostic>> {
    let name = path.display().to_string();
    let cannot = |error: io::Error| unreadable(path, &name, &error);
    // The kind first: opening a pipe would wait for its other end.
    let kind = fs::metadata(path).map_err(cannot)?.file_type();
    if !kind.is_file() {
        return Err(no_file(kind, &name));
    }
    let file = fs::File::open(path).map_err(cannot)?;
    let bytes = bounded(file).map_err(cannot)?;
    decode(&name, bytes)
}

/// The text that comes in by standard input, up to its end.
pub fn standard_input() -> io::Result<Result<Arc<Source>, Box<Diagnostic>>> {
    bounded(io::stdin().lock()).map(|bytes| decode(STDIN, bytes))
}

/// A text of a name from its bytes.
pub fn decode(name: &str, bytes: Vec<u8>) -> Result<Arc<Source>, Box<Diagnostic>> {
    if bytes.len() > MAX_BYTES {
        let help = "write one pipeline per file; no pipeline needs that much";
        return Err(fault(name, "the file is larger than 1 MiB".to_owned(), help));
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(fault(name, "the file is UTF-16, not UTF-8".to_owned(), "save it as UTF-8"));
    }
    String::from_utf8(bytes).map(|text| Source::new(name, text)).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let source = Source::new(name, String::from_utf8_lossy(error.as_bytes()));
        let label = Label::new(&source, Span::new(at, at), "this byte is no UTF-8");
        Box::new(Diagnostic::error(UNREADABLE, "the file is not UTF-8", label).with_help("save it as UTF-8"))
    })
}

const UNREADABLE: &str = "W0102";

/// No more of it than what tells that it is too large.
fn bounded(from: impl Read) -> io::Result<Vec<u8>> {
    let limit = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    from.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn fault(name: &str, message: String, help: &str) -> Box<Diagnostic> {
    let nowhere = Label::new(&Source::new(name, ""), Span::default(), "");
    Box::new(Diagnostic::error(UNREADABLE, message, nowhere).with_help(help))
}

fn unreadable(path: &Path, name: &str, error: &io::Error) -> Box<Diagnostic> {
    if let Ok(target) = fs::read_link(path) {
        let message = format!("this link to {} cannot be followed: {error}", target.display());
        return fault(name, message, "let it point at a file, or remove it");
    }
    let help = match error.kind() {
        io::ErrorKind::NotFound => "look at the name, and from which folder it is taken",
        io::ErrorKind::PermissionDenied => "let the user that runs Weir read it, such as with chmod a+r",
        _ => "Weir reads regular files, and standard input as `-`",
    };
    fault(name, format!("the file cannot be read: {error}"), help)
}

/// A pipe, a device, a folder with the name of a file.
fn no_file(kind: fs::FileType, name: &str) -> Box<Diagnostic> {
    let what = if kind.is_dir() {
        "a folder"
    } else if kind.is_fifo() {
        "a named pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    };
    let help = if kind.is_dir() {
        "pipelines lie side by side in one folder: move its files up, or rename it"
    } else {
        "Weir reads regular files, and standard input as `-`"
    };
    fault(name, format!("this is {what}, not a file"), help)
}
