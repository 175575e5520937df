//! How it is said: the path, what is there instead, and what to write.

use std::ops::Range;

use vrl::path::{OwnedSegment, OwnedTargetPath, OwnedValuePath};

use super::Lack;
use crate::codec::shape::{Absent, Misfit, Near, Shape, Why};
use crate::plan::expr::{Finding, finding};
use crate::spec::diagnostic::did_you_mean;

/// How many names of fields are told.
const MAX_NAMES: usize = 10;

/// What does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject<'p> {
    /// What the file says under `value`, and the path of the event whose value it is, where it is that alone.
    Value(Option<&'p str>),
    /// The event, which is passed on.
    Event,
}

/// A path that no value has.
pub(super) fn absent(path: &[OwnedSegment], absent: &Absent, lack: Lack, span: Range<usize>) -> Finding {
    let above = shown(path.get(..absent.at).unwrap_or_default());
    let read = shown(path.get(..=absent.at).unwrap_or(path));
    let message = match lack {
        Lack::Schema => format!("`{read}` is not in the schema of the source"),
        Lack::Format => format!("`{read}` is not in the value of the source"),
        Lack::TakenOut => format!("`{read}` is not in the value any more: a step before has taken it out"),
    };
    let finding = Finding::new(finding::ABSENT, message, span);
    let field = match path.get(absent.at) {
        Some(OwnedSegment::Field(name)) => Some(name.as_str()),
        Some(OwnedSegment::Index(_)) | None => None,
    };
    let names = || absent.names.iter().map(String::as_str);
    if let Some(name) = field.and_then(|written| did_you_mean(written, names())) {
        return finding.help(format!("did you mean `{}`?", replaced(path, absent.at, name)));
    }
    let whole = if above == "." { "the value".to_owned() } else { format!("`{above}`") };
    let has_fields = field.is_some() && !absent.names.is_empty();
    let finding = if has_fields { finding } else { finding.cause(format!("{whole} is {}", absent.there)) };
    match field {
        Some(_) if has_fields => finding.help(format!("{whole} has {}", listed(names()))),
        Some(name) if absent.there.starts_with("a list") => {
            let item = if above == "." { ".[0]".to_owned() } else { format!("{above}[0]") };
            finding.help(format!("name an item, as in `{item}.{name}`, or `split` the list before"))
        }
        _ => finding.help(format!("read `{above}` as it is, or change it in a step before")),
    }
}

/// A path that no schema declares, beside one that it does.
pub(super) fn near(path: &[OwnedSegment], near: &Near, span: Range<usize>) -> Finding {
    let read = shown(path.get(..=near.at).unwrap_or(path));
    Finding::new(finding::NEAR, format!("the schema does not declare `{read}`"), span)
        .help(format!("did you mean `{}`?", replaced(path, near.at, &near.name)))
}

/// What a step takes is never there.
pub(super) fn not_a(path: &str, shape: &Shape, wanted: &str) -> Finding {
    let message = format!("`{path}` is never {wanted}");
    Finding::new(finding::MISFIT, message, 0..path.len())
        .cause(format!("it is {}", shape.word()))
        .help(format!("name {wanted}, or take the step out"))
}

/// A key that the schema has no field for; `near`: the one that was perhaps meant.
pub(super) fn unknown<'n>(key: &str, near: Option<&str>, names: impl Iterator<Item = &'n str>) -> Finding {
    let finding = Finding::new(finding::MISFIT, format!("the schema has no field `{key}`"), 0..usize::MAX);
    match near {
        Some(name) => finding.help(format!("did you mean `{name}`?")),
        None => finding.help(format!("the schema has {}", listed(names))),
    }
}

/// A field that is not there and has to be.
pub(super) fn missing(names: &[String], takes: &str, subject: Subject<'_>) -> Finding {
    let path = dotted(names);
    let (message, help) = match subject {
        Subject::Value(_) => (
            format!("the value lacks `{path}`, which its schema asks for"),
            format!("write it ({takes}), or give the field a default in the schema"),
        ),
        Subject::Event => (
            format!("the event never has `{path}`, which the schema that it is written with asks for"),
            format!("`set` it in a step before ({takes}), or write a `value`"),
        ),
    };
    Finding::new(finding::MISFIT, message, 0..usize::MAX).help(help)
}

/// A value that no schema takes; `names` are the fields that lead to it.
pub(super) fn misfit(misfit: &Misfit, names: &[String], subject: Subject<'_>) -> Finding {
    let names: Vec<String> = names.iter().chain(&misfit.path).cloned().collect();
    let path = dotted(&names);
    let what = match subject {
        Subject::Value(_) if names.is_empty() => "the value".to_owned(),
        Subject::Event if names.is_empty() => "the event".to_owned(),
        Subject::Value(_) => format!("`{path}` of the value"),
        Subject::Event => format!("`{path}` of the event"),
    };
    let new = |message: String| Finding::new(finding::MISFIT, message, 0..usize::MAX);
    match &misfit.why {
        Why::Kind { is, takes } => {
            let help = match (subject, cast(takes)) {
                (Subject::Event, Some(to)) => {
                    format!("`cast` it in a step before: cast: {{ {path}: {to} }}")
                }
                (Subject::Value(Some(from)), Some(to)) => {
                    format!("`cast` it in a step before: cast: {{ {from}: {to} }}")
                }
                (Subject::Value(None), _) => format!("write {takes}"),
                (Subject::Event | Subject::Value(Some(_)), None) => {
                    format!("make it {takes} in a step before, or change the schema")
                }
            };
            new(format!("{what} is {is}, and its schema takes {takes}")).help(help)
        }
        Why::Unknown(known) => {
            let known = listed(known.iter().map(String::as_str));
            new(format!("{what} has no field in the schema that it is written with"))
                .help(format!("`remove` it in a step before, or write a `value`; the schema has {known}"))
        }
        Why::Missing(takes) => missing(&names, takes, subject),
        Why::NoSymbol(known) => {
            let known = listed(known.iter().map(String::as_str));
            new(format!("{what} is none of the texts that its schema takes"))
                .help(format!("write one of {known}"))
        }
    }
}

/// What `cast` makes of a value, where it makes what is taken.
fn cast(takes: &str) -> Option<&'static str> {
    let first = takes.split(" or ").find(|kind| *kind != "null")?;
    match first {
        "an integer" => Some("int"),
        "a number" => Some("float"),
        "a boolean" => Some("bool"),
        "text" => Some("string"),
        "a timestamp" => Some("timestamp"),
        _ => None,
    }
}

fn shown(path: &[OwnedSegment]) -> String {
    OwnedTargetPath::event(OwnedValuePath { segments: path.to_vec() }).to_string()
}

/// A path with another name in one place.
fn replaced(path: &[OwnedSegment], at: usize, name: &str) -> String {
    let mut segments = path.to_vec();
    if let Some(segment) = segments.get_mut(at) {
        *segment = OwnedSegment::field(name);
    }
    shown(&segments)
}

fn dotted(names: &[String]) -> String {
    let segment = |name: &String| match name.parse::<i16>() {
        Ok(index) => OwnedSegment::index(index.into()),
        Err(_) => OwnedSegment::field(name),
    };
    shown(&names.iter().map(segment).collect::<Vec<_>>())
}

fn listed<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let names: Vec<&str> = names.collect();
    let told: Vec<String> = names.iter().take(MAX_NAMES).map(|name| format!("`{name}`")).collect();
    match names.len().saturating_sub(MAX_NAMES) {
        0 if told.is_empty() => "no fields".to_owned(),
        0 => told.join(", "),
        more => format!("{} and {more} more", told.join(", ")),
    }
}
