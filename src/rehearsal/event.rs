//! From a given event to the record that a stage reads.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use indexmap::IndexMap;
use serde_json::Value as Json;
use vrl::path::{OwnedSegment, OwnedTargetPath, PathPrefix, parse_target_path};
use vrl::value::Value;

use crate::codec::{Codec, Trouble, Wide, json};
use crate::event::{Header, json as text};
use crate::settings::read_bytes_below;
use crate::spec::testfile::{Given, Moment};

/// The largest value of a given event.
const MOST: u64 = 8 << 20;

/// A record that is given.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Record {
    /// Left out: the one topic that the pipeline reads.
    pub(super) topic: Option<String>,
    pub(super) key: Option<Bytes>,
    pub(super) content: Content,
    pub(super) headers: Vec<Header>,
    pub(super) timestamp: Option<i64>,
    pub(super) partition: i32,
    pub(super) offset: Option<i64>,
}

/// Its value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Content {
    /// To be encoded.
    Value(Value),
    /// As it is.
    Bytes(Bytes),
}

/// What is given, with what a test changes in it. `folder` is that of the file of tests. Fails with what is wrong, and where:
/// the key of `given`, or a path of `change`.
pub(super) fn record(
    given: &Given,
    change: &IndexMap<String, Json>,
    folder: &Path,
) -> Result<Record, (String, String)> {
    let mut given = given.clone();
    let mut value = given.value.as_ref().map(of_json).transpose().map_err(|why| ("value".to_owned(), why))?;
    for (path, new) in change {
        changed(&mut given, &mut value, path, new).map_err(|why| (path.clone(), why))?;
    }
    let content = match (value, given.raw, given.raw_base64, given.file) {
        (Some(value), ..) => Content::Value(value),
        (None, Some(raw), ..) => Content::Bytes(raw.into()),
        (None, None, Some(raw), _) => {
            let bytes = STANDARD.decode(raw.trim());
            let bytes =
                bytes.map_err(|why| ("raw_base64".to_owned(), format!("this is not base64: {why}")))?;
            Content::Bytes(bytes.into())
        }
        (None, None, None, Some(file)) => {
            let read = read_bytes_below(folder, &file, MOST);
            Content::Bytes(read.map_err(|why| ("file".to_owned(), format!("`{file}` {why}")))?.into())
        }
        (None, None, None, None) => {
            return Err((String::new(), "the event has no value".to_owned()));
        }
    };
    let header = |(name, value): (&String, &String)| Header {
        name: Bytes::copy_from_slice(name.as_bytes()),
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
    };
    Ok(Record {
        topic: given.topic,
        key: given.key.as_ref().and_then(key_text).map(Bytes::from),
        content,
        headers: given.headers.iter().map(header).collect(),
        timestamp: given.timestamp.map(|Moment(millis)| millis),
        partition: given.partition.unwrap_or(0),
        offset: given.offset,
    })
}

/// A key as text; `None` for null.
pub(super) fn key_text(key: &Json) -> Option<String> {
    match key {
        Json::Null => None,
        Json::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn of_json(value: &Json) -> Result<Value, String> {
    let failed = |why: crate::outcome::Failure| why.message;
    json::decode(&Bytes::from(value.to_string()), Wide::Text).map_err(failed)
}

/// Reads a path of `change`.
pub(super) fn path(written: &str) -> Result<OwnedTargetPath, String> {
    let path = parse_target_path(written).map_err(|_| format!("`{written}` is not a path"))?;
    let named = match (path.prefix, path.path.segments.as_slice()) {
        (PathPrefix::Event, _) => return Ok(path),
        (PathPrefix::Metadata, [OwnedSegment::Field(name)]) => Some((name.as_str(), false)),
        (PathPrefix::Metadata, [OwnedSegment::Field(name), OwnedSegment::Field(_)]) => {
            Some((name.as_str(), true))
        }
        (PathPrefix::Metadata, _) => None,
    };
    match named {
        Some(("key" | "topic" | "timestamp" | "partition" | "offset", false) | ("headers", true)) => Ok(path),
        _ => Err(format!("`{written}` cannot be changed")),
    }
}

fn changed(given: &mut Given, value: &mut Option<Value>, written: &str, new: &Json) -> Result<(), String> {
    let path = path(written)?;
    let whole = |what: &str| format!("`{written}` takes {what}");
    if path.prefix == PathPrefix::Event {
        let Some(value) = value else {
            return Err("there is no `value` to change: it is given as bytes".to_owned());
        };
        if new.is_null() && !path.path.is_root() {
            value.remove(&path.path, false);
        } else {
            value.insert(&path.path, of_json(new)?);
        }
        return Ok(());
    }
    let fields = path.path.segments.iter().filter_map(|segment| match segment {
        OwnedSegment::Field(name) => Some(name.as_str()),
        OwnedSegment::Index(_) => None,
    });
    let fields: Vec<&str> = fields.collect();
    match (fields.as_slice(), new) {
        (["key"], new) => given.key = Some(new.clone()),
        (["topic"], Json::String(topic)) => given.topic = Some(topic.clone()),
        (["topic"], _) => return Err(whole("a text")),
        (["headers", name], Json::Null) => drop(given.headers.shift_remove(*name)),
        (["headers", name], new) => {
            given.headers.insert((*name).to_owned(), key_text(new).unwrap_or_default());
        }
        (["timestamp"], new) => {
            given.timestamp = Some(serde_json::from_value(new.clone()).map_err(|_| whole("a time"))?);
        }
        (["partition"], new) => {
            let number = new.as_i64().and_then(|number| i32::try_from(number).ok());
            given.partition = Some(number.ok_or_else(|| whole("a number"))?);
        }
        (["offset"], new) => given.offset = Some(new.as_i64().ok_or_else(|| whole("a number"))?),
        _ => return Err(format!("`{written}` cannot be changed")),
    }
    Ok(())
}

impl Content {
    /// The bytes of it in a topic. Fetches the schema that it is written with, where a registry has it.
    pub(super) async fn encode(self, codec: &Codec, topic: &str) -> Result<Option<Bytes>, String> {
        let value = match self {
            Content::Bytes(bytes) => return Ok(Some(bytes)),
            Content::Value(value) => value,
        };
        let most = usize::try_from(MOST).unwrap_or(usize::MAX);
        for _ in 0..8 {
            match codec.encode(&value, topic, most) {
                Ok(bytes) => return Ok(bytes),
                Err(Trouble::Failed(failure)) => return Err(failure.message),
                Err(Trouble::Missing(missing)) => {
                    missing.fetch().await.map_err(|unfetched| unfetched.into_failure().message)?;
                }
            }
        }
        Err("its schema cannot be found".to_owned())
    }
}

/// A value of a topic as plain JSON: by its codec, else as text, else in base64.
pub(super) async fn shown(value: Option<&Bytes>, codec: Option<&Codec>, headers: &[Header]) -> Json {
    let Some(bytes) = value else { return Json::Null };
    for _ in 0..8 {
        match codec.unwrap_or(&Codec::Json).decode(Some(bytes), headers, Wide::Text) {
            Ok(value) => return to_json(&value),
            Err(Trouble::Missing(missing)) if missing.fetch().await.is_ok() => {}
            Err(Trouble::Missing(_) | Trouble::Failed(_)) => break,
        }
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Json::String(text.to_owned()),
        Err(_) => Json::String(STANDARD.encode(bytes)),
    }
}

/// A value as plain JSON.
pub(super) fn to_json(value: &Value) -> Json {
    let written = text::to_bytes(value, usize::MAX).ok();
    written.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or(Json::Null)
}
