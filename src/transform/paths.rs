//! Paths of the value as keys and entries of a block: `.order.id`.

use vrl::path::{OwnedSegment, OwnedTargetPath, OwnedValuePath, PathPrefix};

use crate::plan::expr::{Finding, finding, parse_path};

/// The largest index that a path may write to: what lies below is filled with null.
const MAX_INDEX: isize = 10_000;

/// A path of the value (`.a.b`, `.` for all of it), for reading and writing.
pub(super) fn parse(text: &str) -> Result<OwnedValuePath, Finding> {
    let span = 0..text.len();
    let path: OwnedTargetPath = parse_path(text, span.clone()).map_err(|finding| *finding)?;
    if path.prefix == PathPrefix::Metadata {
        return Err(Finding::new(finding::READ_ONLY, format!("`{text}` can be read, not written"), span)
            .help("only paths of the value stand here, such as .order.id"));
    }
    let far = |segment: &OwnedSegment| match segment {
        OwnedSegment::Index(index) => index.unsigned_abs() > MAX_INDEX.unsigned_abs(),
        OwnedSegment::Field(_) => false,
    };
    if path.path.segments.iter().any(far) {
        return Err(Finding::new(finding::PATH, format!("an index of `{text}` is over {MAX_INDEX}"), span));
    }
    Ok(path.path)
}

/// How a path reads in a message.
pub(super) fn name(path: &OwnedValuePath) -> String {
    OwnedTargetPath::event(path.clone()).to_string()
}
