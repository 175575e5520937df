//! Puts a new text in the place of a file's, so that a reader sees the one or the other and never a part.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, chown};
use std::path::Path;

use crate::spec::diagnostic::{Diagnostic, Label};
use crate::spec::files;
use crate::spec::span::{Source, Span};

/// What is said where a file is not written.
const UNWRITTEN: &str = "W0102";

/// Writes the text beside the file and renames it over it, with the file's permissions and owner. Of a link the target is
/// written. Fails, and leaves the file as it is, where it is read-only, has changed since `read`, or cannot be written.
pub(in crate::cli) fn replace(path: &Path, read: &Source, text: &str) -> Result<(), Box<Diagnostic>> {
    let fault = |message: String, help: &str| {
        let nowhere = Label::new(&Source::new(read.name(), ""), Span::default(), "");
        Box::new(Diagnostic::error(UNWRITTEN, message, nowhere).with_help(help))
    };
    let cannot = |error: io::Error| {
        fault(
            format!("the file cannot be written: {error}"),
            "it is left as it is; look at the folder's permissions",
        )
    };
    let target = fs::canonicalize(path).map_err(cannot)?;
    let known = fs::metadata(&target).map_err(cannot)?;
    if known.permissions().readonly() {
        return Err(fault(
            "the file is read-only".to_owned(),
            "it is left as it is; to let it be written: chmod u+w",
        ));
    }
    let name = target.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let beside = target.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside).map_err(cannot)?;
    let written = fill(file, &beside, text, &known).and_then(|()| {
        // As late as can be: what an editor has saved meanwhile is not lost.
        let unchanged = files::source(&target).is_ok_and(|now| now.text() == read.text());
        if unchanged { fs::rename(&beside, &target).map(|()| true) } else { Ok(false) }
    });
    if !matches!(written, Ok(true)) {
        fs::remove_file(&beside).ok();
    }
    match written {
        Ok(true) => Ok(()),
        Ok(false) => {
            Err(fault("the file has changed meanwhile".to_owned(), "it is left as it is; format it again"))
        }
        Err(error) => Err(cannot(error)),
    }
}

fn fill(mut file: File, path: &Path, text: &str, like: &fs::Metadata) -> io::Result<()> {
    file.write_all(text.as_bytes())?;
    let own = file.metadata()?;
    if (own.uid(), own.gid()) != (like.uid(), like.gid()) {
        chown(path, Some(like.uid()), Some(like.gid()))?;
    }
    // After the owner, whose change takes bits away.
    file.set_permissions(like.permissions())?;
    file.sync_all()
}
