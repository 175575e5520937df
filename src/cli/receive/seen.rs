//! A request as it is shown: one line for people, one JSON object for programs.

use std::io::{self, Write};

use http::HeaderMap;
use http::request::Parts;
use serde_json::{Map, Value, json};

use super::script::Instead;
use crate::event::rfc3339;
use crate::handler::webhook::Verifier;
use crate::telemetry::clock;

/// Headers that are never shown.
const SECRET: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "x-api-key"];
/// So much of a body is shown.
const SHOWN: usize = 4 << 10;
/// A text that is shorter is no secret, and would be found everywhere.
const SHORTEST: usize = 6;

/// The secrets that this process knows: they are not shown, wherever they stand.
#[derive(Default)]
pub(super) struct Hidden(Vec<String>);

impl Hidden {
    pub(super) fn of<'a>(secrets: impl Iterator<Item = &'a String>) -> Hidden {
        let texts = secrets.map(|secret| secret.trim().to_owned());
        let mut texts: Vec<String> = texts.filter(|secret| secret.len() >= SHORTEST).collect();
        // One may be a part of another.
        texts.sort_unstable_by_key(|text| std::cmp::Reverse(text.len()));
        Hidden(texts)
    }

    fn shown(&self, text: String) -> String {
        self.0
            .iter()
            .fold(text, |text, secret| if text.contains(secret) { text.replace(secret, "***") } else { text })
    }
}

/// What a signature came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signature {
    /// It fits one of the secrets.
    Ok,
    /// It fits none, or is missing.
    Bad,
    /// Nobody has asked.
    Unchecked,
}

impl Signature {
    pub(super) fn of(verifier: Option<&Verifier>, headers: &HeaderMap, body: &[u8]) -> Signature {
        let Some(verifier) = verifier else { return Signature::Unchecked };
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
        let encoding = text("content-encoding");
        let fits = verifier.fits(
            text("webhook-id"),
            text("webhook-timestamp"),
            text("webhook-signature"),
            encoding,
            body,
        );
        if fits { Signature::Ok } else { Signature::Bad }
    }

    fn as_str(self) -> &'static str {
        match self {
            Signature::Ok => "ok",
            Signature::Bad => "bad",
            Signature::Unchecked => "unchecked",
        }
    }
}

/// One request, and what it was answered with.
#[derive(Debug)]
pub(super) struct Seen {
    at: String,
    method: String,
    path: String,
    headers: Map<String, Value>,
    body: String,
    attempt: u32,
    signature: Signature,
    /// The status, or what happened instead.
    end: Result<u16, Instead>,
    /// The rule of the script, from 0.
    rule: Option<usize>,
}

impl Seen {
    pub(super) fn new(
        (head, body): (&Parts, &[u8]),
        hidden: &Hidden,
        attempt: u32,
        signature: Signature,
        end: Result<u16, Instead>,
        rule: Option<usize>,
    ) -> Seen {
        let headers = head.headers.iter().map(|(name, value)| {
            let secret = SECRET.contains(&name.as_str()) || value.is_sensitive();
            let text = if secret { "***".into() } else { String::from_utf8_lossy(value.as_bytes()) };
            (name.as_str().to_owned(), Value::from(hidden.shown(text.into_owned())))
        });
        let millis = clock::wall().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_millis());
        Seen {
            at: rfc3339(i64::try_from(millis).unwrap_or(i64::MAX)),
            method: head.method.to_string(),
            path: hidden.shown(head.uri.to_string()),
            headers: headers.collect(),
            body: cut(hidden.shown(String::from_utf8_lossy(body).into_owned())),
            attempt,
            signature,
            end,
            rule,
        }
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(Value::as_str).unwrap_or("-")
    }

    fn end(&self) -> String {
        match self.end {
            Ok(status) => status.to_string(),
            Err(Instead::Reset) => "reset".to_owned(),
            Err(Instead::Close) => "close".to_owned(),
            Err(Instead::Hang) => "hang".to_owned(),
        }
    }

    /// One line.
    pub(super) fn print(&self, json: bool, out: &mut dyn Write) -> io::Result<()> {
        if json {
            let document = json!({
                "schema": "weir.receive/v1",
                "at": self.at,
                "method": self.method,
                "path": self.path,
                "request": self.attempt,
                "answer": self.end(),
                "rule": self.rule,
                "signature": self.signature.as_str(),
                "headers": self.headers,
                "body": self.body,
            });
            return writeln!(out, "{document}");
        }
        let signature = match self.signature {
            Signature::Unchecked => "",
            Signature::Ok => "  signature ok",
            Signature::Bad => "  signature BAD",
        };
        let (event, id) = (self.header("weir-event"), self.header("webhook-id"));
        let (method, path, number, end) = (&self.method, &self.path, self.attempt, self.end());
        writeln!(out, "{}  {method} {path}  {event}  {id}  request {number}  -> {end}{signature}", self.at)
    }
}

/// The beginning of a text.
fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(SHOWN));
    text
}
