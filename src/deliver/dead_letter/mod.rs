//! The dead letter: the original record byte for byte, and what is known of its end in `weir-*` headers. Written by the
//! engine; the source offset waits for its ack.

mod answer;
mod written;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use crate::event::{Body, Event, Header, Outgoing, rfc3339};
use crate::outcome::{Class, Code, Failure, Reason};

pub use answer::{decode as decode_answer, encode as encode_answer};
pub use written::{After, EXAMPLE, Spec};

/// Marks the beginning of the block of Weir's headers: the last such header counts.
pub const MARK: &str = "weir-dlq";
/// How much of an answer's body `weir-response` quotes.
const RESPONSE_HEAD: usize = 1_024;
/// How long `weir-error` may be.
const ERROR_MAX: usize = 2_048;

/// What is known of the record besides the record and its failure.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// The pipeline's name.
    pub pipeline: &'a str,
    /// The stage's service name: `pipeline.stage`, or the pipeline's name where the file has no `stages`.
    pub stage: &'a str,
    /// The revision that judged.
    pub revision: &'a str,
    /// The commit of its file, with `-dirty` where the file differs from it; `None` outside of git.
    pub commit: Option<&'a str>,
    /// The event id; `None` where nobody may look into the record, as it may be what kills the process.
    pub event_id: Option<&'a str>,
    /// The webhook id of the record, part 0.
    pub webhook_id: &'a str,
    /// How many replays have failed.
    pub replays: u32,
    /// Attempts made.
    pub attempts: u32,
    /// When the first attempt began; `None` where none was made.
    pub first_try: Option<SystemTime>,
    /// When the last attempt began; `None` where none was made.
    pub last_try: Option<SystemTime>,
    /// Method and URL, without query and userinfo; `None` without a handler that has one.
    pub endpoint: Option<&'a str>,
    /// The parts of a split record that failed; empty where it was not split.
    pub failed_parts: &'a [u32],
}

/// The dead letter of a record. `original` is the record as it was read: its body is raw. `failure` is `None` where the
/// verdict was restored from the commit metadata, which keeps reason and code only.
///
/// Source: http-contract, section 12.
pub fn record(
    topic: &Arc<str>,
    original: &Event,
    facts: &Facts<'_>,
    reason: Reason,
    code: Code,
    failure: Option<&Failure>,
) -> Outgoing {
    let value = match &original.body {
        Body::Raw(value) => value.clone(),
        Body::Value(value) => {
            debug_assert!(false, "a dead letter is made of the record as it was read");
            Some(Bytes::from(value.to_string()))
        }
    };
    let mut headers = Vec::with_capacity(original.headers.len() + 24);
    headers.extend_from_slice(&original.headers);
    let mut block = Block(&mut headers);
    block.text(MARK, "1");
    block.text("weir-reason", reason.as_str());
    block.text("weir-code", code.as_str());
    match failure {
        Some(failure) => block.text("weir-error", head(&failure.message, ERROR_MAX)),
        None => block.text("weir-error", "judged before a restart; only the reason and the code are left"),
    }
    block.facts(facts);
    block.position(original);
    block.failure(failure);
    Outgoing {
        topic: Arc::clone(topic),
        partition: None,
        key: original.key.clone(),
        value,
        headers,
        timestamp: None,
    }
}

/// Makes a dead letter smaller that its topic refuses as too large: `weir-answer` goes first, then `weir-response`. Gives
/// `false` where nothing is left to leave out. The record's own headers are never touched.
pub fn shrink(letter: &mut Outgoing) -> bool {
    let begin = own(&letter.headers).len();
    for name in ["weir-answer", "weir-response"] {
        let found = letter.headers.iter().skip(begin).position(|header| header.name == name);
        if let Some(at) = found {
            letter.headers.remove(begin + at);
            return true;
        }
    }
    false
}

/// The record's own headers of a dead letter: what stands before the last block. A record that is none is all its own.
pub fn own(headers: &[Header]) -> &[Header] {
    let begin = headers.iter().rposition(|header| header.name == MARK).unwrap_or(headers.len());
    headers.split_at(begin).0
}

struct Block<'a>(&'a mut Vec<Header>);

impl Block<'_> {
    fn text(&mut self, name: &'static str, value: &str) {
        let value = Some(Bytes::copy_from_slice(value.as_bytes()));
        self.0.push(Header { name: Bytes::from_static(name.as_bytes()), value });
    }

    fn facts(&mut self, facts: &Facts<'_>) {
        self.text("weir-pipeline", facts.pipeline);
        self.text("weir-stage", facts.stage);
        self.text("weir-revision", facts.revision);
        if let Some(commit) = facts.commit {
            self.text("weir-commit", commit);
        }
        if let Some(id) = facts.event_id {
            self.text("weir-event-id", id);
        }
        self.text("weir-webhook-id", facts.webhook_id);
        self.text("weir-replay-count", &facts.replays.to_string());
        self.text("weir-attempts", &facts.attempts.to_string());
        for (name, time) in [("weir-first-try", facts.first_try), ("weir-last-try", facts.last_try)] {
            if let Some(time) = time {
                self.text(name, &rfc3339(millis_of(time)));
            }
        }
        if let Some(endpoint) = facts.endpoint {
            self.text("weir-endpoint", endpoint);
        }
        if !facts.failed_parts.is_empty() {
            let parts: Vec<String> = facts.failed_parts.iter().map(u32::to_string).collect();
            self.text("weir-failed-parts", &parts.join(","));
        }
    }

    fn position(&mut self, event: &Event) {
        let origin = &event.origin;
        self.text("weir-source-topic", &origin.topic.name);
        if let Some(id) = origin.topic.id {
            self.text("weir-source-topic-id", &id.to_string());
        }
        self.text("weir-source-partition", &origin.partition.to_string());
        self.text("weir-source-offset", &origin.offset.to_string());
        if let Some(millis) = origin.timestamp {
            self.text("weir-source-timestamp", &rfc3339(millis));
        }
    }

    fn failure(&mut self, failure: Option<&Failure>) {
        let Some((failure, answer)) = failure.and_then(|f| f.answer.as_ref().map(|answer| (f, answer)))
        else {
            return;
        };
        self.text("weir-status", &answer.status.to_string());
        if !answer.body.is_empty() {
            let (head, _) = answer.body.split_at(answer.body.len().min(RESPONSE_HEAD));
            self.text("weir-response", &STANDARD.encode(head));
        }
        // The handler accepted, and the fault lies in what was to be published: a replay starts there.
        if failure.class == Class::Invalid {
            self.text("weir-answer", &encode_answer(answer));
        }
    }
}

/// The beginning of a text, cut between two characters.
fn head(text: &str, most: usize) -> &str {
    text.split_at(text.floor_char_boundary(most)).0
}

fn millis_of(time: SystemTime) -> i64 {
    let millis = |d: std::time::Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => millis(after),
        Err(before) => -millis(before.duration()),
    }
}

#[cfg(test)]
mod tests;
