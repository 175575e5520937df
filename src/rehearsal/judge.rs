//! What came of a test against what was expected.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value as Json;

use super::compare;
use super::event::key_text;
use super::load::Case;
use super::observed::{Observed, Taken, Written};
use super::script::Made;
use super::why;
use crate::handler::Spec;
use crate::handler::webhook::Verifier;
use crate::spec::testfile::{
    DeadLetter, Hold, OutcomeWord, PerStage, Published, Request, Requests, Several, Signature, WordOfCode,
    WordOfReason,
};
use crate::spec::units::Duration;

/// Something that is not as expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What: `waits`, `requests[0].body.total`.
    pub label: String,
    /// What was expected.
    pub expected: String,
    /// What came.
    pub got: String,
}

impl Difference {
    pub(super) fn new(
        label: impl Into<String>,
        expected: impl Into<String>,
        got: impl Into<String>,
    ) -> Difference {
        Difference { label: label.into(), expected: expected.into(), got: got.into() }
    }
}

/// A test that was run.
#[derive(Debug, Default)]
pub struct Judged {
    /// What is not as expected; nothing where the test has passed.
    pub differences: Vec<Difference>,
    /// What is known of the reason.
    pub why: Option<String>,
}

impl Judged {
    /// A test that could not be run.
    pub fn not_run(why: &str) -> Judged {
        Judged { differences: vec![Difference::new("given", "a test that can be run", why)], why: None }
    }
}

/// Compares what came of a test with what it expects.
pub fn judge(case: &Case, seen: &Observed) -> Judged {
    let mut judge = Judge { case, seen, out: Vec::new() };
    judge.all();
    let differences = judge.out;
    let why = if differences.is_empty() { None } else { why::why(case, seen, &differences) };
    Judged { differences, why }
}

struct Judge<'a> {
    case: &'a Case,
    seen: &'a Observed,
    out: Vec<Difference>,
}

impl Judge<'_> {
    fn all(&mut self) {
        let expect = &self.case.expect;
        for fault in &self.seen.faults {
            self.say("fault of Weir", "none", fault.clone());
        }
        if let Some(outcome) = &expect.outcome {
            let given: Vec<&Taken> = self.seen.records.iter().filter(|taken| taken.given.is_some()).collect();
            self.outcomes("outcome", outcome, &given);
        }
        self.holds();
        self.stages();
        self.attempts();
        self.waits();
        self.requests();
        if let Some(published) = &expect.published {
            self.published(published);
        }
        if let Some(letters) = &expect.dlq {
            self.dead_letters(&letters.0);
        }
        self.bytes_of_dead_letters();
        self.signatures();
        self.replies();
    }

    fn say(&mut self, label: impl Into<String>, expected: impl Into<String>, got: impl Into<String>) {
        self.out.push(Difference::new(label, expected, got));
    }

    fn service(&self, name: &str) -> String {
        let found = self.case.file.stages.iter().find(|stage| stage.name == name);
        found.map_or_else(|| name.to_owned(), |stage| stage.service.clone())
    }

    fn name(&self, service: &str) -> String {
        let found = self.case.file.stages.iter().find(|stage| stage.service == service);
        found.map_or_else(|| service.to_owned(), |stage| stage.name.clone())
    }

    /// What is said of stages, each with its service and its label.
    fn each<'t, T>(&self, key: &str, said: &'t PerStage<T>) -> Vec<(String, String, &'t T)> {
        match said {
            PerStage::One(one) => {
                let service = self.case.file.stages.first().map(|stage| stage.service.clone());
                vec![(service.unwrap_or_default(), key.to_owned(), one)]
            }
            PerStage::Each(each) => {
                each.iter().map(|(name, one)| (self.service(name), format!("{key}.{name}"), one)).collect()
            }
        }
    }

    fn outcomes(&mut self, label: &str, expected: &Several<OutcomeWord>, taken: &[&Taken]) {
        let got: Vec<String> = taken.iter().map(|taken| self.outcome(taken)).collect();
        match expected {
            Several::Every(word) if got.is_empty() || got.iter().any(|got| got != word.as_str()) => {
                let shown = if got.is_empty() { "no record".to_owned() } else { got.join(", ") };
                self.say(label, word.as_str(), shown);
            }
            Several::Every(_) => {}
            Several::Each(words) => {
                let words: Vec<&str> = words.iter().map(|word| word.as_str()).collect();
                if words != got {
                    self.say(label, list(&words), list(&got));
                }
            }
        }
    }

    fn outcome(&self, taken: &Taken) -> String {
        match taken.outcome {
            Some(outcome) => outcome.as_str().to_owned(),
            None => match self.seen.held.get(&taken.service).and_then(|held| held.first()) {
                Some(held) => format!("held ({})", held.cause.as_str()),
                None => "none yet".to_owned(),
            },
        }
    }

    fn holds(&mut self) {
        let expect = &self.case.expect;
        let held: BTreeMap<String, Vec<&str>> = self
            .seen
            .held
            .iter()
            .map(|(service, held)| (service.clone(), held.iter().map(|one| one.cause.as_str()).collect()))
            .collect();
        let shown = |causes: Option<&Vec<&str>>| {
            causes.map_or_else(|| "no hold".to_owned(), |causes| causes.join(", "))
        };
        match &expect.hold {
            Some(PerStage::One(Hold(cause))) => {
                if !held.values().flatten().any(|one| *one == cause.as_str()) {
                    let causes: Vec<&str> = held.values().flatten().copied().collect();
                    let got = if causes.is_empty() { self.without_hold() } else { causes.join(", ") };
                    self.say("hold", cause.as_str(), got);
                }
            }
            Some(each @ PerStage::Each(_)) => {
                for (service, label, Hold(cause)) in self.each("hold", each) {
                    let causes = held.get(&service);
                    if causes.is_none_or(|causes| !causes.contains(&cause.as_str())) {
                        self.say(label, cause.as_str(), shown(causes));
                    }
                }
            }
            None => {
                // An outcome that is expected has said so already.
                let said = |label: &str| label == "outcome" || label.starts_with("stages");
                if !held.is_empty() && !self.out.iter().any(|one| said(&one.label)) {
                    let causes: Vec<&str> = held.values().flatten().copied().collect();
                    self.say("hold", "no hold", causes.join(", "));
                }
            }
        }
    }

    /// What became of the records where no stage holds.
    fn without_hold(&self) -> String {
        let outcomes: Vec<String> = self.seen.records.iter().map(|taken| self.outcome(taken)).collect();
        if outcomes.is_empty() { "no hold".to_owned() } else { format!("no hold: {}", outcomes.join(", ")) }
    }

    fn stages(&mut self) {
        let Some(expected) = &self.case.expect.stages else { return };
        for stage in self.case.file.stages.clone() {
            let taken = self.seen.of(&stage.service);
            let label = format!("stages.{}", stage.name);
            match expected.get(&stage.name) {
                Some(outcome) => self.outcomes(&label, outcome, &taken),
                None if taken.is_empty() => {}
                None => {
                    let got: Vec<String> = taken.iter().map(|taken| self.outcome(taken)).collect();
                    self.say(label, "no record", got.join(", "));
                }
            }
        }
    }

    fn attempts(&mut self) {
        let Some(expected) = &self.case.expect.attempts else { return };
        for (service, label, expected) in self.each("attempts", expected) {
            let got: Vec<u32> =
                self.seen.of(&service).into_iter().map(|taken| self.seen.attempts(taken)).collect();
            match expected {
                Several::Every(count) if !got.is_empty() && got.iter().all(|got| got == count) => {}
                Several::Every(0) if got.is_empty() => {}
                Several::Each(counts) if *counts == got => {}
                Several::Every(count) => self.say(label, count.to_string(), one_or_list(&got)),
                Several::Each(counts) => self.say(label, list(counts), list(&got)),
            }
        }
    }

    fn waits(&mut self) {
        let Some(expected) = &self.case.expect.waits else { return };
        for (service, label, expected) in self.each("waits", expected) {
            let got: Vec<Duration> =
                self.seen.waits(&service).into_iter().map(|(wait, _)| Duration(wait)).collect();
            if *expected != got {
                self.say(label, list(expected), list(&got));
            }
        }
    }

    fn requests(&mut self) {
        let Some(expected) = &self.case.expect.requests else { return };
        let groups: Vec<(String, Vec<&Made>, &Requests)> = match expected {
            PerStage::One(one) => vec![("requests".to_owned(), self.seen.made.iter().collect(), one)],
            PerStage::Each(_) => {
                let each = self.each("requests", expected).into_iter();
                each.map(|(service, label, one)| (label, self.seen.requests(&service), one)).collect()
            }
        };
        for (label, made, expected) in groups {
            match expected {
                Requests::Count(count) if *count == made.len() => {}
                Requests::Count(count) => self.say(label, count.to_string(), counted(&made)),
                Requests::List(list) if list.len() == made.len() => {
                    for (at, (expected, made)) in list.iter().zip(made).enumerate() {
                        self.request(&format!("{label}[{at}]"), expected, made);
                    }
                }
                Requests::List(list) => self.say(label, list.len().to_string(), counted(&made)),
            }
        }
    }

    fn request(&mut self, label: &str, expected: &Request, made: &Made) {
        let request = &made.request;
        if let Some(method) = expected.method.as_deref().filter(|method| *method != request.method.as_str()) {
            self.say(format!("{label}.method"), method, request.method.as_str());
        }
        if let Some(url) = expected.url.as_deref().filter(|url| *url != request.url) {
            self.say(format!("{label}.url"), url, request.url.clone());
        }
        for (name, value) in &expected.headers {
            let got: Vec<&str> = request
                .headers
                .get_all(name.as_str())
                .iter()
                .filter_map(|value| value.to_str().ok())
                .collect();
            if !got.contains(&value.as_str()) {
                let got = if got.is_empty() { "nothing".to_owned() } else { got.join(", ") };
                self.say(format!("{label}.headers.{name}"), value.clone(), got);
            }
        }
        let body = body(&request.body);
        let at = format!("{label}.body");
        for (expected, subset) in [(&expected.body, false), (&expected.contains, true)] {
            if let Some(expected) = expected {
                compare::values(&at, expected, &body, subset, &mut self.out);
            }
        }
        if expected.signature == Some(Signature::Valid) && !request.headers.contains_key("webhook-signature")
        {
            self.say(format!("{label}.signature"), "valid", "none");
        }
    }

    fn published(&mut self, expected: &[Published]) {
        if expected.len() != self.seen.published.len() {
            let topics: Vec<&str> = self.seen.published.iter().map(|one| &*one.record.topic).collect();
            let wanted: Vec<&str> = expected.iter().map(|one| one.topic.as_deref().unwrap_or("?")).collect();
            self.say("published", list(&wanted), list(&topics));
            return;
        }
        for (at, (expected, got)) in expected.iter().zip(&self.seen.published).enumerate() {
            let label = format!("published[{at}]");
            written(&label, expected.topic.as_deref(), &expected.headers, got, &mut self.out);
            if let Some(key) = &expected.key
                && key_text(key) != got.key()
            {
                let shown = |key: Option<String>| key.unwrap_or_else(|| "no key".to_owned());
                self.out.push(Difference::new(
                    format!("{label}.key"),
                    shown(key_text(key)),
                    shown(got.key()),
                ));
            }
            for (expected, subset) in [(&expected.value, false), (&expected.contains, true)] {
                if let Some(expected) = expected {
                    compare::values(&format!("{label}.value"), expected, &got.shown, subset, &mut self.out);
                }
            }
        }
    }

    fn dead_letters(&mut self, expected: &[DeadLetter]) {
        let got = &self.seen.dead_letters;
        if expected.len() != got.len() {
            let reasons = got.iter().map(|letter| {
                format!("{} to {}", letter.header("weir-reason").unwrap_or_default(), letter.record.topic)
            });
            let reasons: Vec<String> = reasons.collect();
            let shown = if reasons.is_empty() { "none".to_owned() } else { reasons.join(", ") };
            let wanted = if expected.len() == 1 {
                "1 dead letter".to_owned()
            } else {
                format!("{} dead letters", expected.len())
            };
            self.say("dlq", wanted, shown);
            return;
        }
        for (at, (expected, got)) in expected.iter().zip(got).enumerate() {
            let label =
                if self.seen.dead_letters.len() == 1 { "dlq".to_owned() } else { format!("dlq[{at}]") };
            written(&label, expected.topic.as_deref(), &expected.headers, got, &mut self.out);
            let stage = self.name(&got.by);
            let words = [
                ("stage", expected.stage.clone(), Some(stage)),
                (
                    "reason",
                    expected.reason.map(|WordOfReason(one)| one.as_str().to_owned()),
                    got.header("weir-reason"),
                ),
                (
                    "code",
                    expected.code.map(|WordOfCode(one)| one.as_str().to_owned()),
                    got.header("weir-code"),
                ),
            ];
            for (key, expected, got) in words {
                if let Some(expected) = expected
                    && Some(&expected) != got.as_ref()
                {
                    self.say(format!("{label}.{key}"), expected, got.unwrap_or_else(|| "nothing".to_owned()));
                }
            }
        }
    }

    /// A dead letter is its record, byte for byte.
    fn bytes_of_dead_letters(&mut self) {
        for (at, letter) in self.seen.dead_letters.iter().enumerate() {
            let source = ["topic", "partition", "offset"]
                .map(|part| letter.header(&format!("weir-source-{part}")).unwrap_or_default())
                .join("/");
            let of = self.seen.of(&letter.by);
            let Some(taken) = of.into_iter().find(|taken| taken.position == source) else {
                self.out.push(Difference::new(format!("dlq[{at}]"), "a record that was read", source));
                continue;
            };
            for (what, expected, got) in
                [("key", &taken.key, &letter.record.key), ("value", &taken.value, &letter.record.value)]
            {
                if expected != got {
                    let shown = |bytes: &Option<bytes::Bytes>| {
                        bytes.as_ref().map_or("null".to_owned(), |bytes| {
                            compare::short(&String::from_utf8_lossy(bytes))
                        })
                    };
                    self.out.push(Difference::new(format!("dlq[{at}].{what}"), shown(expected), shown(got)));
                }
            }
        }
    }

    /// What is signed is signed rightly.
    fn signatures(&mut self) {
        let verifiers = verifiers(self.case);
        for (at, made) in self.seen.made.iter().enumerate() {
            let text = |name: &str| {
                made.request.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
            };
            let signature = text("webhook-signature");
            if signature.is_empty() {
                continue;
            }
            let fits = verifiers.get(&*made.request.service).is_some_and(|verifier| {
                let (id, time, encoding) =
                    (text("webhook-id"), text("webhook-timestamp"), text("content-encoding"));
                verifier.fits(id, time, signature, encoding, &made.request.body)
            });
            if !fits {
                self.out.push(Difference::new(format!("requests[{at}].signature"), "valid", "not valid"));
            }
        }
    }

    /// Each answer was asked for, and each request had one.
    fn replies(&mut self) {
        for made in self.seen.made.iter().filter(|made| !made.answered) {
            let same = self.seen.requests(&made.request.service);
            let number = same.into_iter().position(|one| std::ptr::eq(one, made)).unwrap_or(0);
            let label = self.of_stage("replies", &made.request.service);
            let got = format!("request {}: {} {}", number + 1, made.request.method, made.request.url);
            self.out.push(Difference::new(label, requests(number), got));
        }
        for (service, left) in &self.seen.left {
            let label = self.of_stage("replies", service);
            let made = self.seen.requests(service).len();
            self.say(label, requests(made + left), made.to_string());
        }
    }

    fn of_stage(&self, key: &str, service: &str) -> String {
        if self.case.file.has_stages() { format!("{key}.{}", self.name(service)) } else { key.to_owned() }
    }
}

/// Topic and headers of what was written.
fn written(
    label: &str,
    topic: Option<&str>,
    headers: &indexmap::IndexMap<String, String>,
    got: &Written,
    out: &mut Vec<Difference>,
) {
    if let Some(topic) = topic.filter(|topic| *topic != &*got.record.topic) {
        out.push(Difference::new(format!("{label}.topic"), topic, &*got.record.topic));
    }
    for (name, value) in headers {
        let header = got.header(name);
        if header.as_ref() != Some(value) {
            let header = header.unwrap_or_else(|| "nothing".to_owned());
            out.push(Difference::new(format!("{label}.headers.{name}"), value.clone(), header));
        }
    }
}

/// What verifies the signatures of each stage that makes some, by service.
fn verifiers(case: &Case) -> BTreeMap<String, Verifier> {
    let Some(spec) = &case.file.pipeline.spec else { return BTreeMap::new() };
    let stages = spec.stages().into_iter().filter_map(|(name, stage)| {
        let service = name.map_or_else(|| spec.pipeline.clone(), |name| format!("{}.{name}", spec.pipeline));
        let Some(Spec::Webhook(webhook)) = &stage.handler else { return None };
        let verifier = Verifier::new(&webhook.sign.as_ref()?.secret.0, &case.file.references).ok()?;
        Some((service, verifier))
    });
    stages.collect()
}

/// A body as JSON, else as text.
pub(super) fn body(bytes: &bytes::Bytes) -> Json {
    if bytes.is_empty() {
        return Json::Null;
    }
    serde_json::from_slice(bytes)
        .unwrap_or_else(|_| Json::String(String::from_utf8_lossy(bytes).into_owned()))
}

fn requests(count: usize) -> String {
    if count == 1 { "1 request".to_owned() } else { format!("{count} requests") }
}

fn counted(made: &[&Made]) -> String {
    let shown: Vec<String> =
        made.iter().map(|made| format!("{} {}", made.request.method, made.request.url)).collect();
    if shown.is_empty() {
        "0".to_owned()
    } else {
        format!("{}: {}", shown.len(), compare::short(&shown.join(", ")))
    }
}

fn list<T: fmt::Display>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(T::to_string).collect();
    format!("[{}]", items.join(", "))
}

fn one_or_list<T: fmt::Display>(items: &[T]) -> String {
    match items {
        [one] => one.to_string(),
        items => list(items),
    }
}
