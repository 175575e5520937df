//! A handler's answer as the value of the next event. A wrong answer is never mended by asking again: the effect has
//! happened. So every fault here is `invalid` (`answer`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use percent_encoding::percent_decode;
use vrl::value::Value;

use crate::codec::{Codec, Format, Trouble};
use crate::event::{self, Header};
use crate::outcome::{Answer, BodyEnd, Code, Failure};
use crate::plan::expr::answer_body;

/// What an answer gives the record to publish.
#[derive(Debug, PartialEq)]
pub(super) struct Content {
    pub(super) value: Bytes,
    /// The attributes of a CloudEvent, as the Kafka binding names them, and its content type.
    pub(super) headers: Vec<Header>,
    /// The CloudEvent's `partitionkey`.
    pub(super) partition_key: Option<String>,
    /// The value as JSON, for an id of its own; null where it is none.
    pub(super) parsed: Value,
}

impl Content {
    fn of(value: Bytes) -> Content {
        Content { value, headers: Vec::new(), partition_key: None, parsed: Value::Null }
    }
}

/// The attributes without which there is no CloudEvent.
const REQUIRED: [&str; 4] = ["specversion", "id", "source", "type"];

/// The answer's body: a CloudEvent where the answer is one, else the body in the entry's format.
pub(super) fn content(answer: &Answer, codec: &Codec, topic: &str) -> Result<Content, Trouble> {
    if answer.body_end == BodyEnd::Complete && answer.body.is_empty() {
        let why = "the answer has no body; where that is meant write `when: \"%response.body != null\"`";
        return Err(wrong(why.to_owned()));
    }
    // A 202 says that somebody will see to it: its body is about that, and no event (Knative's data plane).
    if matches!(answer.status, 200 | 201) {
        if media_type(answer) == "application/cloudevents+json" {
            return structured(answer).map_err(wrong)?.by_schema(codec, topic);
        }
        if answer.header("ce-specversion").is_some() {
            return binary(answer).map_err(wrong)?.by_schema(codec, topic);
        }
    }
    let body = answer_body_checked(answer).map_err(wrong)?;
    let value = encode(answer, &body, codec, topic)?;
    // What is not JSON has no id of its own.
    let parsed = if body.is_object() { body } else { event::json::parse(&value).unwrap_or(Value::Null) };
    Ok(Content { parsed, ..Content::of(value) })
}

fn wrong(what: String) -> Trouble {
    Trouble::Failed(Failure::invalid(Code::Answer, what))
}

/// The body, where it is whole, readable and not null.
fn answer_body_checked(answer: &Answer) -> Result<Value, String> {
    let body = answer_body(answer)?;
    if body.is_null() { Err("the answer's body is null".into()) } else { Ok(body) }
}

/// JSON that came as JSON goes on byte for byte, as does text under `text` and anything under `bytes`; text under `json`
/// becomes a JSON string.
fn encode(answer: &Answer, body: &Value, codec: &Codec, topic: &str) -> Result<Bytes, Trouble> {
    let came_as_json = is_json(&media_type(answer));
    match codec {
        Codec::Bytes => Ok(answer.body.clone()),
        Codec::Json if came_as_json => Ok(answer.body.clone()),
        Codec::Text if std::str::from_utf8(&answer.body).is_ok() => Ok(answer.body.clone()),
        Codec::Wire(wire) if came_as_json && codec.format() == Format::Json => {
            wire.frame(&answer.body, topic)
        }
        Codec::Json
        | Codec::Text
        | Codec::JsonSchema(_)
        | Codec::Avro(_)
        | Codec::Protobuf(_)
        | Codec::Wire(_) => {
            let encoded = codec.encode(body, topic, super::MAX_VALUE)?;
            let as_it_came = came_as_json && codec.format() == Format::Json;
            let encoded = encoded.map(|encoded| if as_it_came { answer.body.clone() } else { encoded });
            encoded.ok_or_else(|| wrong("the answer's body is null".to_owned()))
        }
    }
}

fn binary(answer: &Answer) -> Result<Content, String> {
    answer_body_checked(answer)?;
    let mut content = Content::of(answer.body.clone());
    if let Some(kind) = answer.header("content-type") {
        content.headers.push(header("content-type", kind));
    }
    for (name, value) in &answer.headers {
        let Some(attribute) = name.strip_prefix("ce-") else { continue };
        let text = percent_decode(value)
            .decode_utf8()
            .map_err(|_| format!("the answer's header {name} is not UTF-8 text"))?;
        content.attribute(attribute, &text);
    }
    content.complete()
}

fn structured(answer: &Answer) -> Result<Content, String> {
    let body = answer_body_checked(answer)?;
    let event: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&answer.body)
        .map_err(|_| format!("the answer's CloudEvent is {}, not an object", body.kind_str()))?;
    let mut content = Content::of(Bytes::new());
    let mut data = None;
    for (name, value) in &event {
        match (name.as_str(), value) {
            ("data", serde_json::Value::Null) => {}
            ("data", value) => data = Some(value.clone()),
            ("data_base64", value) => {
                let text = value.as_str().unwrap_or("");
                let bytes = STANDARD.decode(text).map_err(|_| "the answer's data_base64 is not base64")?;
                content.value = bytes.into();
            }
            ("datacontenttype", value) => {
                content.headers.push(header("content-type", value.as_str().unwrap_or("")));
            }
            (_, serde_json::Value::Null) => {}
            (name, serde_json::Value::String(text)) => content.attribute(name, text),
            (name, value @ (serde_json::Value::Bool(_) | serde_json::Value::Number(_))) => {
                content.attribute(name, &value.to_string());
            }
            (name, _) => {
                return Err(format!("the answer's CloudEvent attribute {name} is a list or an object"));
            }
        }
    }
    let kind = event.get("datacontenttype").and_then(|kind| kind.as_str()).unwrap_or("application/json");
    match data {
        Some(serde_json::Value::String(text)) if !is_json(&essence(kind)) => content.value = text.into(),
        Some(data) => content.value = data.to_string().into(),
        None if content.value.is_empty() => return Err("the answer's CloudEvent has no data".into()),
        None => {}
    }
    if !event.contains_key("datacontenttype") {
        content.headers.push(header("content-type", "application/json"));
    }
    content.complete()
}

impl Content {
    /// The data as the entry's schema has it, where it has one: what is written is what its readers expect.
    fn by_schema(mut self, codec: &Codec, topic: &str) -> Result<Content, Trouble> {
        if !codec.validates() {
            // What is not JSON has no id of its own.
            self.parsed = event::json::parse(&self.value).unwrap_or(Value::Null);
            return Ok(self);
        }
        self.parsed = event::json::parse(&self.value)
            .map_err(|error| wrong(format!("the answer's CloudEvent has data that is no JSON: {error}")))?;
        match codec {
            Codec::Wire(wire) if codec.format() == Format::Json => {
                self.value = wire.frame(&self.value, topic)?;
                return Ok(self);
            }
            _ => {}
        }
        let encoded = codec.encode(&self.parsed, topic, super::MAX_VALUE)?;
        let encoded = encoded.ok_or_else(|| wrong("the answer's CloudEvent has no data".to_owned()))?;
        if codec.format() == Format::Json {
            return Ok(self);
        }
        self.value = encoded;
        self.headers.retain(|header| header.name != "content-type");
        let media_type = format!("application/{}", codec.format().as_str());
        self.headers.push(header("content-type", &media_type));
        Ok(self)
    }

    fn attribute(&mut self, name: &str, value: &str) {
        if name == "partitionkey" {
            self.partition_key = Some(value.to_owned());
        }
        self.headers.push(header(&format!("ce_{name}"), value));
    }

    fn complete(self) -> Result<Content, String> {
        let has = |name: &str| {
            let name = format!("ce_{name}");
            self.headers
                .iter()
                .any(|h| h.name == name.as_bytes() && h.value.as_ref().is_some_and(|v| !v.is_empty()))
        };
        match REQUIRED.into_iter().find(|name| !has(name)) {
            Some(name) => Err(format!("the answer's CloudEvent has no {name}")),
            None => Ok(self),
        }
    }
}

pub(super) fn header(name: &str, value: &str) -> Header {
    Header {
        name: Bytes::copy_from_slice(name.as_bytes()),
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
    }
}

fn media_type(answer: &Answer) -> String {
    essence(answer.header("content-type").unwrap_or(""))
}

fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase()
}

fn is_json(media_type: &str) -> bool {
    media_type == "application/json" || media_type == "text/json" || media_type.ends_with("+json")
}
