//! What a scripted receiver answers: a file of rules, and which of them one request meets. Pure.

use std::hash::{DefaultHasher, Hash, Hasher};

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::handler::OneOrMany;
use crate::spec::units::{Duration, Ratio, Size};

/// The file.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Script")]
pub struct Script {
    /// What the chances are drawn from: the same seed and the same requests are answered alike.
    pub seed: u64,
    /// One signing secret or several (`${secret:NAME}`): each request's signature is checked, and a bad one refused with 400.
    pub verify: Option<OneOrMany>,
    /// In order; the first that fits a request answers it. A request that none fits is answered with 200.
    pub answers: Vec<Answer>,
}

/// One answer, and when it is given.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ScriptedAnswer")]
pub struct Answer {
    /// Which requests it is for; all where left out.
    #[serde(default)]
    pub on: On,
    /// The status.
    #[serde(default = "ok")]
    #[schemars(range(min = 200, max = 599))]
    pub status: u16,
    /// More headers, such as `retry-after: "2"`.
    #[serde(default)]
    pub headers: IndexMap<String, String>,
    /// The body: a text as it is, anything else as JSON.
    #[serde(default)]
    pub body: Option<serde_json::Value>,
    /// How long to wait before the answer.
    #[serde(default)]
    pub after: Duration,
    /// How many bytes of the body to send in a second.
    #[serde(default)]
    pub slow: Option<Size>,
    /// What happens in place of an answer.
    #[serde(default)]
    pub instead: Option<Instead>,
}

fn ok() -> u16 {
    200
}

/// What happens in place of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Instead {
    /// The connection is reset (RST).
    Reset,
    /// The connection is closed.
    Close,
    /// Nothing, until the sender gives up.
    Hang,
}

/// Which requests. What is left out fits every one.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "ScriptedOn")]
pub struct On {
    /// The path; `*` at its end stands for anything.
    pub path: Option<String>,
    /// The method.
    pub method: Option<String>,
    /// The first so many requests of a record (by `webhook-id`).
    pub first: Option<u32>,
    /// A text in the body.
    pub contains: Option<String>,
    /// By chance, so often: `5%`.
    pub chance: Option<Ratio>,
}

/// One request, as the script sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    /// `webhook-id`; empty where there is none.
    pub(super) id: &'a str,
    /// How often this record was sent, from 1.
    pub(super) attempt: u32,
    pub(super) body: &'a [u8],
}

impl Script {
    /// The answer to a request, and its index; `None`: 200.
    pub(super) fn answer(&self, request: Request<'_>) -> Option<(usize, &Answer)> {
        self.answers.iter().enumerate().find(|(index, answer)| self.fits(&answer.on, request, *index))
    }

    fn fits(&self, on: &On, request: Request<'_>, index: usize) -> bool {
        let path = on.path.as_deref().is_none_or(|wanted| match wanted.strip_suffix('*') {
            Some(start) => request.path.starts_with(start),
            None => request.path == wanted,
        });
        path && on.method.as_deref().is_none_or(|method| method.eq_ignore_ascii_case(request.method))
            && on.first.is_none_or(|first| request.attempt <= first)
            && on.contains.as_deref().is_none_or(|text| contains(request.body, text.as_bytes()))
            && on.chance.is_none_or(|chance| self.draw(request, index) < chance.0)
    }

    /// From 0 to 1, by seed, rule, record and attempt. By the body where the sender gives no id.
    fn draw(&self, request: Request<'_>, index: usize) -> f64 {
        let mut hasher = DefaultHasher::new();
        (self.seed, index, request.attempt, request.path, request.id).hash(&mut hasher);
        if request.id.is_empty() {
            request.body.hash(&mut hasher);
        }
        f64::from(u32::try_from(hasher.finish() >> 32).unwrap_or(0)) / f64::from(u32::MAX)
    }
}

fn contains(body: &[u8], text: &[u8]) -> bool {
    text.is_empty() || body.windows(text.len()).any(|window| window == text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::from_yaml;

    const SCRIPT: &str = "
seed: 7
answers:
  - on: { path: /v1/*, method: post, first: 2 }
    status: 503
    headers: { retry-after: \"1\" }
  - on: { contains: XBT }
    status: 422
    body: { error: unknown currency }
  - on: { chance: 20% }
    instead: reset
  - on: { path: /slow }
    after: 200ms
    slow: 10B
";

    fn request<'a>(path: &'a str, attempt: u32, body: &'a str) -> Request<'a> {
        Request { method: "POST", path, id: "msg_1", attempt, body: body.as_bytes() }
    }

    #[test]
    fn the_first_that_fits_answers() {
        let script: Script = from_yaml(SCRIPT).unwrap();
        let index = |request| script.answer(request).map(|(index, _)| index);
        assert_eq!(index(request("/v1/a", 1, "XBT")), Some(0));
        assert_eq!(index(request("/v1/a", 3, "a XBT b")), Some(1));
        let get = Request { method: "GET", ..request("/v1/a", 1, "XBT") };
        assert_eq!(index(get), Some(1));
        let without = Script { answers: script.answers[..2].to_vec(), ..script.clone() };
        assert!(without.answer(request("/v2", 1, "XB")).is_none());
    }

    #[test]
    fn a_chance_is_drawn_from_the_seed_and_met_as_often_as_it_says() {
        let script: Script = from_yaml("answers: [{ on: { chance: 20% }, status: 500 }]").unwrap();
        let ids: Vec<String> = (0..10_000).map(|number| format!("msg_{number}")).collect();
        let drawn = |script: &Script| -> Vec<bool> {
            let of = |id: &String| script.answer(Request { id, ..request("/", 1, "") }).is_some();
            ids.iter().map(of).collect()
        };
        let once = drawn(&script);
        assert_eq!(once, drawn(&script));
        assert_ne!(once, drawn(&Script { seed: 2, ..script }));
        let met = once.iter().filter(|met| **met).count();
        assert!((1_850..2_150).contains(&met), "{met}");
    }

    #[test]
    fn what_is_wrong_with_a_script_is_said_with_its_place() {
        let error = from_yaml::<Script>("answers:\n  - on: { pathh: /a }\n    statuss: 500\n").unwrap_err();
        assert!(error.contains("test.yaml:2:11") && error.contains("test.yaml:3:5"), "{error}");
        assert!(error.contains("did you mean `path`?"), "{error}");
    }
}
