//! What keys have in common: their names, and that a private one never stands in a file.

use crate::plan::expr::{Finding, TreeFinding, finding};
use crate::settings::{ReferenceError, References};

/// The longest name of a key.
const MAX_ID: usize = 64;

/// Whether a text may name a key: it stands in every envelope and every signature.
pub(super) fn is_id(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=MAX_ID).contains(&text.len()) && text.bytes().all(legal)
}

/// What a key's name is made of.
pub(super) const ID_HELP: &str =
    "a key's name is 1 to 64 of A-Z, a-z, 0-9, `.`, `_` and `-`, such as 2026-11";

/// What is wrong with a key, and what to do.
pub(super) fn wrong(path: &[&str], message: impl Into<String>, help: impl Into<String>) -> TreeFinding {
    TreeFinding::at(path.iter().copied(), Finding::new(finding::KEY, message, 0..usize::MAX).help(help))
}

/// A key's text, which is a secret.
pub(super) fn secret(
    path: &[&str],
    written: &str,
    references: &References,
) -> Result<String, Box<TreeFinding>> {
    let resolved = references.resolve(written).map_err(|error| Box::new(unresolved(path, &error)))?;
    if !resolved.is_secret() {
        return Err(Box::new(wrong(path, "a key does not stand in the file", "write ${secret:NAME}")));
    }
    Ok(resolved.expose().to_owned())
}

/// A reference that does not resolve.
pub(super) fn unresolved(path: &[&str], error: &ReferenceError) -> TreeFinding {
    let missing = matches!(error, ReferenceError::Missing { .. });
    let code = if missing { finding::UNRESOLVED } else { finding::MALFORMED };
    let found = Finding::new(code, error.to_string(), 0..usize::MAX).help(error.help());
    TreeFinding::at(path.iter().copied(), found)
}
