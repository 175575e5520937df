//! `weir-answer`: the answer of a handler that accepted, kept in the dead letter so that a replay starts at `publish` and
//! the effect is not repeated. JSON: status, headers, the body in base64, how the body ended.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::outcome::{Answer, BodyEnd};

#[derive(Serialize, Deserialize)]
struct Written {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
    end: String,
}

const ENDS: [(BodyEnd, &str); 4] = [
    (BodyEnd::Complete, "complete"),
    (BodyEnd::TooLong, "too_long"),
    (BodyEnd::BrokenOff, "broken_off"),
    (BodyEnd::Encoded, "encoded"),
];

/// The text of `weir-answer`. Cookies and header values that are not UTF-8 are left out.
pub fn encode(answer: &Answer) -> String {
    let plain = |(name, value): &(String, Bytes)| {
        let value = std::str::from_utf8(value).ok().filter(|_| name != "set-cookie")?;
        Some((name.clone(), value.to_owned()))
    };
    let end = ENDS.iter().find(|(end, _)| *end == answer.body_end).map_or("complete", |(_, word)| word);
    let written = Written {
        status: answer.status,
        headers: answer.headers.iter().filter_map(plain).collect(),
        body: STANDARD.encode(&answer.body),
        end: end.to_owned(),
    };
    serde_json::to_string(&written).unwrap_or_default()
}

/// The answer of a `weir-answer`; `None` where the text is none.
pub fn decode(text: &str) -> Option<Answer> {
    let written: Written = serde_json::from_str(text).ok()?;
    let (body_end, _) = ENDS.iter().find(|(_, word)| *word == written.end)?;
    Some(Answer {
        status: written.status,
        headers: written.headers.into_iter().map(|(name, value)| (name, Bytes::from(value))).collect(),
        body: STANDARD.decode(written.body).ok()?.into(),
        body_end: *body_end,
    })
}
