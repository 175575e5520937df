//! What schemas use, wherever it is kept: each after those that it uses itself, within bounds. Circles end where they close.

use std::collections::HashSet;

use futures_util::future::BoxFuture;

use super::words::{Named, Reference};

/// How many schemas one may use, those of its references counted.
const MAX_REFERENCES: usize = 64;
/// How much text they may have together.
const MAX_TEXT: usize = 4 << 20;

/// Why they are not together.
#[derive(Debug)]
pub(super) enum Uncollected<E> {
    /// There are too many, or they are too large: one sentence.
    TooMuch(String),
    /// One could not be had.
    Other(E),
}

/// What is left to do.
enum Step {
    Open(Reference),
    Close(Named),
}

/// Whether a text refers to a schema of this name: it stands in it in quotes, perhaps without its namespace, perhaps with more
/// behind it.
pub fn mentions(text: &str, name: &str) -> bool {
    let short = if name.contains(['/', '#']) { name } else { name.rsplit('.').next().unwrap_or(name) };
    text.contains(&format!("\"{name}")) || text.contains(&format!("\"{short}\""))
}

/// A text, and what it uses.
pub(super) type Fetched<'a, E> = BoxFuture<'a, Result<(String, Vec<Reference>), E>>;

/// Brings together what a schema of so many bytes uses. `fetch` gives a text and what it uses.
pub(super) async fn collect<'a, E>(
    first: Vec<Reference>,
    length: usize,
    fetch: impl Fn(Reference) -> Fetched<'a, E>,
) -> Result<Vec<Named>, Uncollected<E>> {
    let mut steps: Vec<Step> = first.into_iter().rev().map(Step::Open).collect();
    let (mut opened, mut collected) = (HashSet::new(), Vec::new());
    let mut room = MAX_TEXT.saturating_sub(length);
    while let Some(step) = steps.pop() {
        let reference = match step {
            Step::Close(named) => {
                collected.push(named);
                continue;
            }
            Step::Open(reference) => reference,
        };
        if !opened.insert(reference.name.clone()) {
            continue;
        }
        if opened.len() > MAX_REFERENCES {
            return Err(Uncollected::TooMuch(format!("the schema uses more than {MAX_REFERENCES} others")));
        }
        let (text, uses) = fetch(reference.clone()).await.map_err(Uncollected::Other)?;
        room = room.checked_sub(text.len()).ok_or_else(|| {
            let what = format!("the schema and those that it uses have more than {MAX_TEXT} bytes");
            Uncollected::TooMuch(what)
        })?;
        steps.push(Step::Close(Named { name: reference.name, text }));
        steps.extend(uses.into_iter().rev().map(Step::Open));
    }
    Ok(collected)
}
