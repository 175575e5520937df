//! Writes what came of a test where it expected something else: only the keys of `expect` that failed, and nothing around them.

use std::fmt::Write as _;

use serde_json::{Map, Value as Json, json};

use super::event::key_text;
use super::judge::{Judged, body};
use super::load::{Case, CaseFile};
use super::observed::{Observed, Taken, Written};
use super::script::Made;
use crate::spec::diagnostic::Diagnostic;
use crate::spec::layout;
use crate::spec::span::{Source, Span};
use crate::spec::testfile::{DeadLetter, PerStage, Published, Request, Requests, Several};
use crate::spec::tree::{Document, Path};
use crate::spec::units::Duration;

/// The text of a file of tests with what came of its tests in place of what was expected; `None` where nothing can be taken
/// over. Where the file was in the standard form, so is the text.
pub fn updated(file: &CaseFile, ran: &[(&Case, &Observed, &Judged)]) -> Option<String> {
    let source = &file.document.source;
    let mut edits: Vec<(Span, String)> = Vec::new();
    for (case, seen, judged) in ran {
        for key in failed_keys(judged) {
            let at = Path::root().then("tests").then(case.index).then("expect").then(key);
            let (Some(node), Some(new)) = (file.document.at(&at), new_value(key, case, seen)) else {
                continue;
            };
            let text = source.slice(node.span);
            let end = node.span.start + text.trim_end().len();
            edits.push((Span::new(node.span.start, end), flow(&new)));
        }
    }
    if edits.is_empty() {
        return None;
    }
    let was_formed = layout::layout(source).is_ok_and(|form| form == source.text());
    edits.sort_by_key(|(span, _)| std::cmp::Reverse(span.start));
    let mut text = source.text().to_owned();
    for (span, new) in edits {
        text.replace_range(span.start..span.end, &new);
    }
    let edited = Source::new(source.name(), text);
    let mut findings = Vec::new();
    Document::parse(&edited, &mut findings).filter(|_| !findings.iter().any(Diagnostic::is_error))?;
    let form = if was_formed { layout::layout(&edited).ok() } else { None };
    Some(form.unwrap_or_else(|| edited.text().to_owned()))
}

const KEYS: [&str; 8] = ["outcome", "hold", "stages", "attempts", "waits", "requests", "published", "dlq"];

/// The keys of `expect` that something differs at.
fn failed_keys(judged: &Judged) -> Vec<&'static str> {
    let is_at = |key: &str, label: &str| {
        label.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    KEYS.into_iter().filter(|key| judged.differences.iter().any(|one| is_at(key, &one.label))).collect()
}

/// What a key of `expect` is to say; `None` where it cannot say what came.
fn new_value(key: &str, case: &Case, seen: &Observed) -> Option<Json> {
    let expect = &case.expect;
    match key {
        "outcome" => {
            let given: Vec<&Taken> = seen.records.iter().filter(|taken| taken.given.is_some()).collect();
            outcomes(&given, matches!(expect.outcome, Some(Several::Each(_))))
        }
        "stages" => {
            let mut stages = Map::new();
            for stage in &case.file.stages {
                let taken = seen.of(&stage.service);
                if !taken.is_empty() {
                    stages.insert(stage.name.clone(), outcomes(&taken, false)?);
                }
            }
            Some(Json::Object(stages))
        }
        "hold" => Some(json!(seen.held.values().flatten().next()?.cause.as_str())),
        "attempts" => per_stage(case, expect.attempts.as_ref()?, |service, _| {
            let of_stage = seen.of(service.unwrap_or(&first(case)));
            let counts: Vec<u32> = of_stage.iter().map(|one| seen.attempts(one)).collect();
            match counts.as_slice() {
                [one] => json!(one),
                _ => json!(counts),
            }
        }),
        "waits" => per_stage(case, expect.waits.as_ref()?, |service, _| {
            let waits = seen.waits(service.unwrap_or(&first(case)));
            json!(waits.iter().map(|(wait, _)| Duration(*wait).to_string()).collect::<Vec<_>>())
        }),
        "requests" => per_stage(case, expect.requests.as_ref()?, |service, expected| {
            let all = || seen.made.iter().collect();
            let made: Vec<&Made> = service.map_or_else(all, |service| seen.requests(service));
            match expected {
                Requests::Count(_) => json!(made.len()),
                Requests::List(list) => {
                    made.iter().enumerate().map(|(at, made)| request(list.get(at), made)).collect()
                }
            }
        }),
        "published" => {
            let list = expect.published.as_ref()?;
            Some(seen.published.iter().enumerate().map(|(at, got)| published(list.get(at), got)).collect())
        }
        "dlq" => {
            let list = &expect.dlq.as_ref()?.0;
            let letters = seen.dead_letters.iter().enumerate();
            let letters: Vec<Json> = letters.map(|(at, got)| dead_letter(case, list.get(at), got)).collect();
            Some(match <[Json; 1]>::try_from(letters) {
                Ok([one]) => one,
                Err(letters) => Json::Array(letters),
            })
        }
        _ => None,
    }
}

fn dead_letter(case: &Case, expected: Option<&DeadLetter>, got: &Written) -> Json {
    let stage = case.file.stages.iter().find(|stage| stage.service == got.by).map(|stage| stage.name.clone());
    let asked = |key: fn(&DeadLetter) -> bool| expected.is_none_or(key);
    let keys = [
        ("topic", asked(|one| one.topic.is_some()), Some(got.record.topic.to_string())),
        ("stage", asked(|one| one.stage.is_some()), stage),
        ("reason", asked(|one| one.reason.is_some()), got.header("weir-reason")),
        ("code", asked(|one| one.code.is_some()), got.header("weir-code")),
    ];
    let keys = keys.into_iter().filter(|(_, asked, _)| *asked);
    let mut new: Map<String, Json> =
        keys.filter_map(|(key, _, value)| Some((key.to_owned(), json!(value?)))).collect();
    let headers = expected.map(|one| headers(&one.headers, |name| got.header(name)));
    if let Some(headers) = headers.filter(|headers| !headers.is_empty()) {
        new.insert("headers".to_owned(), Json::Object(headers));
    }
    Json::Object(new)
}

fn first(case: &Case) -> String {
    case.file.stages.first().map(|stage| stage.service.clone()).unwrap_or_default()
}

fn per_stage<T>(case: &Case, expected: &PerStage<T>, new: impl Fn(Option<&str>, &T) -> Json) -> Option<Json> {
    match expected {
        PerStage::One(one) => Some(new(None, one)),
        PerStage::Each(each) => {
            let of = |(name, one): (&String, &T)| {
                let stage = case.file.stages.iter().find(|stage| stage.name == *name)?;
                Some((name.clone(), new(Some(&stage.service), one)))
            };
            Some(Json::Object(each.iter().filter_map(of).collect()))
        }
    }
}

/// The outcomes of records; `None` where one has none.
fn outcomes(taken: &[&Taken], as_list: bool) -> Option<Json> {
    let words: Option<Vec<&str>> = taken.iter().map(|taken| taken.outcome.map(|one| one.as_str())).collect();
    let words = words.filter(|words| !words.is_empty())?;
    let same = words.windows(2).all(|pair| pair.first() == pair.last());
    Some(if same && !as_list { json!(words.first()) } else { json!(words) })
}

fn request(expected: Option<&Request>, made: &Made) -> Json {
    let made = &made.request;
    let mut new = Map::new();
    let all = expected.is_none();
    if all || expected.is_some_and(|one| one.method.is_some()) {
        new.insert("method".to_owned(), json!(made.method.as_str()));
    }
    if all || expected.is_some_and(|one| one.url.is_some()) {
        new.insert("url".to_owned(), json!(made.url));
    }
    if let Some(expected) = expected {
        let header =
            |name: &str| made.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let headers = headers(&expected.headers, header);
        if !headers.is_empty() {
            new.insert("headers".to_owned(), Json::Object(headers));
        }
        if let Some(contains) = &expected.contains {
            new.insert("contains".to_owned(), subset(contains, &body(&made.body)));
        }
        if expected.signature.is_some() && made.headers.contains_key("webhook-signature") {
            new.insert("signature".to_owned(), json!("valid"));
        }
    }
    if all || expected.is_some_and(|one| one.body.is_some()) {
        new.insert("body".to_owned(), body(&made.body));
    }
    Json::Object(new)
}

fn published(expected: Option<&Published>, got: &Written) -> Json {
    let mut new = Map::new();
    let all = expected.is_none();
    if all || expected.is_some_and(|one| one.topic.is_some()) {
        new.insert("topic".to_owned(), json!(&*got.record.topic));
    }
    if all || expected.is_some_and(|one| one.key.is_some()) {
        let written = expected.and_then(|one| one.key.clone()).filter(|key| key_text(key) == got.key());
        new.insert("key".to_owned(), written.unwrap_or_else(|| json!(got.key())));
    }
    if all || expected.is_some_and(|one| one.value.is_some()) {
        new.insert("value".to_owned(), got.shown.clone());
    }
    if let Some(expected) = expected {
        if let Some(contains) = &expected.contains {
            new.insert("contains".to_owned(), subset(contains, &got.shown));
        }
        let headers = headers(&expected.headers, |name| got.header(name));
        if !headers.is_empty() {
            new.insert("headers".to_owned(), Json::Object(headers));
        }
    }
    Json::Object(new)
}

/// The headers that were looked at, as far as they are there.
fn headers(
    expected: &indexmap::IndexMap<String, String>,
    got: impl Fn(&str) -> Option<String>,
) -> Map<String, Json> {
    expected.keys().filter_map(|name| Some((name.clone(), json!(got(name)?)))).collect()
}

/// What was looked at of a value, as it is now.
fn subset(expected: &Json, got: &Json) -> Json {
    match (expected, got) {
        (Json::Object(expected), Json::Object(got)) => {
            let both =
                expected.iter().filter_map(|(key, value)| Some((key.clone(), subset(value, got.get(key)?))));
            Json::Object(both.collect())
        }
        (_, got) => got.clone(),
    }
}

/// A value as YAML on one line.
fn flow(value: &Json) -> String {
    match value {
        Json::Object(map) => {
            let mut out = String::from("{ ");
            for (at, (key, value)) in map.iter().enumerate() {
                let comma = if at == 0 { "" } else { ", " };
                // Writing to a string does not fail.
                write!(out, "{comma}{}: {}", word(key), flow(value)).unwrap_or_default();
            }
            if map.is_empty() { "{}".to_owned() } else { out + " }" }
        }
        Json::Array(list) => {
            let items: Vec<String> = list.iter().map(flow).collect();
            format!("[{}]", items.join(", "))
        }
        Json::String(text) => word(text),
        other => other.to_string(),
    }
}

/// A text: plain where no reader takes it for anything else.
fn word(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c))
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"]
            .contains(&text.to_lowercase().as_str());
    let is_span = text.parse::<Duration>().is_ok();
    if plain || is_span { text.to_owned() } else { Json::String(text.to_owned()).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_as_what_it_was() {
        let value =
            json!({ "a": "x y", "b": ["1", 2, null, true], "c": { "no": "no", "d": "5s" }, "e": "o'n: {" });
        let text = format!("v: {}\n", flow(&value));
        let mut findings = Vec::new();
        let mut document = Document::parse(&Source::new("a.yaml", text), &mut findings).unwrap();
        let read: Json = crate::spec::tree::read(&mut document, &mut findings).unwrap();
        assert_eq!((findings, &read["v"]), (Vec::new(), &value), "{value}");
    }
}
