//! From the tree to a typed value, with every finding in one go: after an error its node is left out and the rest is
//! read again, until nothing is wrong any more or nothing is left.

use serde::de::DeserializeOwned;

use super::de::{Fault, NodeReader, Place, What};
use super::{Document, Kind, MAX_FINDINGS};
use crate::spec::diagnostic::{Diagnostic, Label, did_you_mean};
use crate::spec::span::Span;

/// How often a file is read again; most rounds make a finding.
const MAX_ROUNDS: usize = 400;

/// Reads the whole document as a `T`. What is wrong goes to `findings`. The value that comes back lacks what was wrong:
/// use it to look for more, and run it only where there was no error. `None` where too little is left.
pub fn read<T: DeserializeOwned>(document: &mut Document, findings: &mut Vec<Diagnostic>) -> Option<T> {
    let mut found: Vec<Diagnostic> = Vec::new();
    let mut value = None;
    for _ in 0..MAX_ROUNDS {
        let fault = match T::deserialize(NodeReader::root(&document.root, &document.skip)) {
            Ok(read) => {
                value = Some(read);
                break;
            }
            Err(fault) => fault,
        };
        let place = fault.place.as_ref().map_or(document.root.id, |place| place.id);
        found.extend(finding(document, &fault));
        let whole_file = place == document.root.id || !document.skip.insert(place);
        if whole_file || found.len() >= MAX_FINDINGS {
            break;
        }
    }
    findings.extend(found);
    value
}

fn finding(document: &Document, fault: &Fault) -> Option<Diagnostic> {
    let nowhere = || Place { id: 0, span: document.root.span, path: super::Path::root(), key: false };
    let fallback;
    let place = match &fault.place {
        Some(place) => place,
        None => {
            fallback = nowhere();
            &fallback
        }
    };
    let label = |text: String| match place.key {
        true => match document.elsewhere(&place.path) {
            Some(_) => document.label(&place.path, text),
            None => Label::new(&document.source, place.span, text),
        },
        false => document.label(&place.path, text),
    };
    match &fault.what {
        What::Follows => None,
        What::UnknownField { name, known } => Some(unknown(document, place, name, known, label)),
        What::UnknownWord { word, known } => Some(unknown_word(word, known, label)),
        What::Missing(field) => missing(document, place, field),
        What::Null => {
            let key = place.path.segments().last().map(|s| super::Path::from_iter([s.clone()]).to_string());
            let key = key.unwrap_or_default();
            let label = document.key_label(&place.path, "nothing stands here");
            Some(
                Diagnostic::error("W0107", format!("`{key}` has no value"), label)
                    .with_cause("a key without a value is not the same as no key")
                    .with_help(
                        "give it a value (what belongs to it is indented further), or take the key out",
                    ),
            )
        }
        What::Type { expected, found, fields } => {
            Some(wrong_type(document, place, expected, found, fields, label(String::new())))
        }
        What::OneKey(known) => Some(
            Diagnostic::error("W0106", format!("{} takes one key", owner(place)), label(String::new()))
                .with_help(format!("write one of {}", known.join(", "))),
        ),
        // A mapping that means nothing without what was wrong in it.
        What::Custom(_) if lacks_something(document, place) => None,
        What::Custom(message) => Some(Diagnostic::told("W0106", message, label(String::new()))),
    }
}

/// What a message calls the node of a place.
fn owner(place: &Place) -> String {
    if place.path.segments().is_empty() { "this file".to_owned() } else { format!("`{}`", place.path) }
}

fn wrong_type(
    document: &Document,
    place: &Place,
    expected: &str,
    found: &str,
    fields: &[&str],
    label: Label,
) -> Diagnostic {
    let owner = owner(place);
    let node = document.nearest(&place.path);
    let key = match place.path.segments().last() {
        Some(super::Segment::Key(key)) => format!("{key}: "),
        Some(super::Segment::Index(_)) | None => String::new(),
    };
    let help = match (expected, &node.kind) {
        ("a list", Kind::Scalar(text, _)) if text.starts_with('-') => {
            "write a space behind each `-`".to_owned()
        }
        ("a list", Kind::Scalar(text, _))
            if text.chars().count() <= 60 && !text.contains(['\n', ',', '"']) =>
        {
            format!("write a list: {key}[{text}]")
        }
        ("a list", _) => "begin each item with `- `".to_owned(),
        ("a mapping", _) if place.path.segments().is_empty() => {
            format!("write keys and values, such as {}: ..", fields.first().unwrap_or(&"key"))
        }
        ("a mapping", _) if fields.is_empty() => format!("write keys and values: {key}{{ NAME: VALUE }}"),
        ("a mapping", _) => format!("write a block; its fields are {}", fields.join(", ")),
        ("a text", _) => "write one text, without brackets".to_owned(),
        ("true or false", _) => "write true or false, without quotes".to_owned(),
        ("a whole number", _) => "write digits alone, such as 8".to_owned(),
        ("a whole number above 0", _) => "write digits alone, 1 or more".to_owned(),
        _ => {
            let message = format!("{owner} cannot be {found}");
            return Diagnostic::error("W0106", message, label).with_help(format!("write {expected}"));
        }
    };
    Diagnostic::error("W0106", format!("{owner} takes {expected}, not {found}"), label).with_help(help)
}

fn unknown(
    document: &Document,
    place: &Place,
    name: &str,
    known: &[&str],
    label: impl Fn(String) -> Label,
) -> Diagnostic {
    let above: super::Path =
        place.path.segments().split_last().map_or(&[][..], |(_, above)| above).iter().cloned().collect();
    let owner = if above.segments().is_empty() { "this file".to_owned() } else { format!("`{above}`") };
    let finding = Diagnostic::error(
        "W0104",
        format!("unknown field `{name}`"),
        label(format!("not a field of {owner}")),
    );
    let taken = document.at(&above);
    let free = |field: &&str| taken.is_none_or(|node| node.get(field).is_none());
    match did_you_mean(name, known.iter().copied().filter(free)) {
        Some(near) => finding.with_help(format!("did you mean `{near}`?")),
        None => finding.with_help(format!("the fields are {}", known.join(", "))),
    }
}

fn unknown_word(word: &str, known: &[&str], label: impl Fn(String) -> Label) -> Diagnostic {
    let text = format!("not one of {}", known.join(", "));
    let finding = Diagnostic::error("W0106", format!("`{word}` is not known here"), label(text));
    match did_you_mean(word, known.iter().copied()) {
        Some(near) => finding.with_help(format!("did you mean `{near}`?")),
        None => finding.with_help(format!(
            "write {}{}",
            if known.len() > 1 { "one of " } else { "" },
            known.join(", ")
        )),
    }
}

/// Whether an entry of the mapping was left out because of a finding of its own.
fn lacks_something(document: &Document, place: &Place) -> bool {
    document.nearest(&place.path).entries().iter().any(|entry| document.skip.contains(&entry.value.id))
}

/// A missing field; nothing where its key is there and has a finding of its own.
fn missing(document: &Document, place: &Place, field: &str) -> Option<Diagnostic> {
    let node = document.nearest(&place.path);
    // Its key is there and was wrong, or was meant by one that was: `topics` for `topic`, `nam` for `name`.
    let answered = node.entries().iter().any(|entry| {
        document.skip.contains(&entry.value.id)
            && (entry.key == field || did_you_mean(&entry.key, [field]).is_some())
    });
    if answered {
        return None;
    }
    let at = place.path.to_string();
    let owner = if at.is_empty() { "the file".to_owned() } else { format!("`{at}`") };
    let label = match &node.kind {
        Kind::Map(_) if !at.is_empty() => document.label(&place.path, format!("needs `{field}`")),
        _ => {
            let first = document.source.line_span(1);
            let span = node.entries().first().map_or(Span::new(first.start, first.start), |e| e.key_span);
            Label::new(&document.source, span, format!("needs `{field}`"))
        }
    };
    Some(
        Diagnostic::error("W0105", format!("{owner} lacks the field `{field}`"), label)
            .with_help(format!("add it: {field}: ..")),
    )
}
