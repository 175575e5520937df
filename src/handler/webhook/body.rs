//! The body of a request and its type.
//!
//! Source: http-contract, section 4.

use std::io::{Read as _, Write as _};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use http::HeaderValue;
use url::form_urlencoded;
use vrl::value::Value;

use super::headers::header_value;
use super::spec::{Compress, Content};
use crate::event::{Body, Event, json};
use crate::outcome::{Code, Failure};
use crate::plan::expr::{ValueTemplate, View};

/// How the body is made.
#[derive(Debug)]
pub(super) struct BodyPlan {
    /// `None`: the value goes out as it is.
    pub(super) template: Option<ValueTemplate>,
    pub(super) content: Content,
    /// The largest body, in bytes.
    pub(super) max: usize,
}

/// What is sent.
#[derive(Debug)]
pub(super) enum Sent {
    /// A null value: no body.
    Tombstone,
    /// A body, and its type where the file does not say it.
    Bytes(Bytes, HeaderValue),
}

impl BodyPlan {
    /// Whether the value must be decoded for it.
    pub(super) fn looks_into_payload(&self) -> bool {
        match &self.template {
            Some(template) => template.looks_into_payload(),
            None => self.content == Content::Form,
        }
    }

    /// Whether it reads `%id`.
    pub(super) fn reads_id(&self) -> bool {
        self.template.as_ref().is_some_and(ValueTemplate::reads_id)
    }

    /// Makes the body of one event. A tombstone has none. Fails with code `template` where the value cannot be written so,
    /// `too_large` where it is over `max`.
    pub(super) fn render(&self, event: &Event, view: &View<'_>) -> Result<Sent, Failure> {
        if event.is_tombstone() || matches!(event.body, Body::Value(Value::Null)) {
            return Ok(Sent::Tombstone);
        }
        let bytes = match (&self.template, &event.body) {
            (Some(template), _) => self.write(&template.render(view)?)?,
            (None, Body::Value(value)) => self.write(value)?,
            (None, Body::Raw(_)) if self.content == Content::Form => {
                return Err(Failure::invalid(Code::Template, "a form needs a decoded value"));
            }
            (None, Body::Raw(raw)) => raw.clone().unwrap_or_default(),
        };
        if bytes.len() > self.max {
            let message = format!("the body has {} bytes; max_body is {}", bytes.len(), self.max);
            return Err(Failure::invalid(Code::TooLarge, message));
        }
        Ok(Sent::Bytes(bytes, self.media_type(event)))
    }

    fn write(&self, value: &Value) -> Result<Bytes, Failure> {
        match self.content {
            Content::Json => {
                let text = serde_json::to_vec(&json::Json(value)).map_err(|error| {
                    Failure::invalid(Code::Template, format!("the body cannot be written as JSON: {error}"))
                })?;
                Ok(text.into())
            }
            Content::Form => form(value),
            Content::Text | Content::Raw => match value {
                Value::Bytes(bytes) => Ok(bytes.clone()),
                Value::String(text) => Ok(text.as_bytes().clone()),
                Value::Object(_) | Value::Array(_) => Err(Failure::invalid(
                    Code::Template,
                    "a body of text needs a string, not a list or an object",
                )),
                other => scalar(other),
            },
        }
    }

    fn media_type(&self, event: &Event) -> HeaderValue {
        match self.content {
            Content::Json => HeaderValue::from_static("application/json"),
            Content::Form => HeaderValue::from_static("application/x-www-form-urlencoded"),
            Content::Text => HeaderValue::from_static("text/plain; charset=utf-8"),
            Content::Raw => event
                .header("content-type")
                .and_then(|value| header_value(value.clone()))
                .unwrap_or_else(|| HeaderValue::from_static("application/octet-stream")),
        }
    }
}

/// A body in its content-encoding.
pub(super) fn compress(kind: Compress, body: &[u8]) -> Result<Bytes, Failure> {
    let written = match kind {
        Compress::Gzip => {
            let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::default());
            encoder.write_all(body).and_then(|()| encoder.finish())
        }
        // 3 is zstd's own default.
        Compress::Zstd => zstd::bulk::compress(body, 3),
    };
    written
        .map(Bytes::from)
        .map_err(|error| Failure::invalid(Code::Template, format!("the body cannot be compressed: {error}")))
}

/// A body before its content-encoding; `None` where it cannot be undone, or is absurdly long.
pub(super) fn expand(encoding: &str, body: &[u8]) -> Option<Vec<u8>> {
    const MOST: usize = 16 << 20;
    let mut out = Vec::new();
    match encoding {
        "" | "identity" => out.extend_from_slice(body),
        "gzip" => {
            let most = u64::try_from(MOST).unwrap_or(u64::MAX);
            GzDecoder::new(body).take(most).read_to_end(&mut out).ok()?;
        }
        "zstd" => out = zstd::bulk::decompress(body, MOST).ok()?,
        _ => return None,
    }
    Some(out)
}

/// A flat object as a form; null is left out.
fn form(value: &Value) -> Result<Bytes, Failure> {
    let wrong = || Failure::invalid(Code::Template, "a form needs a flat object");
    let object = value.as_object().ok_or_else(wrong)?;
    let mut form = form_urlencoded::Serializer::new(String::new());
    for (name, value) in object {
        let bytes = match value {
            Value::Null => continue,
            Value::Object(_) | Value::Array(_) => return Err(wrong()),
            other => scalar(other)?,
        };
        let text = std::str::from_utf8(&bytes)
            .map_err(|_| Failure::invalid(Code::Template, "a form needs text, and a value is not UTF-8"))?;
        form.append_pair(name, text);
    }
    Ok(form.finish().into())
}

/// A scalar as text: as JSON, without quotes.
fn scalar(value: &Value) -> Result<Bytes, Failure> {
    match value {
        Value::Bytes(bytes) => Ok(bytes.clone()),
        Value::String(text) => Ok(text.as_bytes().clone()),
        Value::Timestamp(_) | Value::Regex(_) => Ok(value.coerce_to_bytes()),
        other => {
            let text = serde_json::to_vec(&json::Json(other));
            text.map(Bytes::from).map_err(|error| {
                Failure::invalid(Code::Template, format!("a value cannot be written as text: {error}"))
            })
        }
    }
}
