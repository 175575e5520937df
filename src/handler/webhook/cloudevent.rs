//! Requests as CloudEvents 1.0: attributes as headers, or attributes and data in one JSON body. A record that is a CloudEvent
//! already stays the same.
//!
//! Source: http-contract, section 4; the HTTP and Kafka bindings of CloudEvents 1.0.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use indexmap::IndexMap;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::Serialize;
use serde_json::value::RawValue;
use vrl::value::Value;

use super::spec::{self, CloudEventsBlock, CloudEventsMode, Content};
use crate::event::{self, Event, correlation_id, event_type, json, rfc3339};
use crate::handler::Problem;
use crate::outcome::{Code, Failure};
use crate::plan::expr::{Template, View};
use crate::settings::References;

const STRUCTURED: HeaderValue = HeaderValue::from_static("application/cloudevents+json; charset=utf-8");
/// The type of a batch of structured events.
pub(super) const BATCH: HeaderValue =
    HeaderValue::from_static("application/cloudevents-batch+json; charset=utf-8");
/// What a header's value may not have as it is.
const ESCAPED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// How the requests of a stage are CloudEvents.
#[derive(Debug)]
pub(super) struct CloudEvents {
    structured: bool,
    kind: String,
    source: Option<String>,
    subject: Option<Template>,
}

/// The attributes of an event, in order; extensions too.
type Attributes = IndexMap<String, String>;

/// What an event brings to its request besides its value.
#[derive(Debug, Clone, Copy)]
pub(super) struct About<'a> {
    /// Its id as it was before the transforms; `None` lets it be taken from the event.
    pub(super) id: Option<&'a str>,
    /// The span of this attempt.
    pub(super) trace: &'a str,
    /// What the body is written as.
    pub(super) content: Content,
}

/// A body and its type.
pub(super) type Body = (Bytes, Option<HeaderValue>);

impl CloudEvents {
    /// `None` where requests are none. Every problem at once.
    pub(super) fn compile(
        written: &spec::CloudEvents,
        references: &References,
    ) -> Result<Option<CloudEvents>, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut resolved = |path: &str, text: &str| match references.resolve(text) {
            Ok(resolved) => Some(resolved.expose().to_owned()),
            Err(error) => {
                problems.push(Problem::at(path, error.to_string()).help(error.help()));
                None
            }
        };
        let block = match written {
            spec::CloudEvents::Mode(mode) => {
                CloudEventsBlock { mode: *mode, r#type: None, source: None, subject: None }
            }
            spec::CloudEvents::Block(block) => block.clone(),
        };
        let structured = match block.mode {
            CloudEventsMode::None => return Ok(None),
            CloudEventsMode::Binary => false,
            CloudEventsMode::Structured => true,
        };
        let kind = block.r#type.as_deref().map(|text| resolved("type", text).unwrap_or_default());
        let source = block.source.as_deref().and_then(|text| resolved("source", text));
        let subject = block.subject.as_deref().and_then(|text| match Template::parse(text) {
            Ok(template) => Some(template),
            Err(findings) => {
                problems.extend(findings.into_iter().map(|finding| Problem {
                    path: "subject".to_owned(),
                    message: finding.message,
                    help: finding.help,
                }));
                None
            }
        });
        let Some(kind) = kind.filter(|kind| !kind.is_empty()) else {
            let help = "write `cloudevents: { mode: .., type: com.example.order.paid }`";
            problems.push(Problem::at("", "an event that names no type needs one from here").help(help));
            return Err(problems);
        };
        if problems.is_empty() {
            Ok(Some(CloudEvents { structured, kind, source, subject }))
        } else {
            Err(problems)
        }
    }

    /// Whether the value must be decoded for it.
    pub(super) fn looks_into_payload(&self) -> bool {
        self.subject.as_ref().is_some_and(Template::looks_into_payload)
    }

    /// Makes the event of a request: its id, and the body to send. In binary mode the attributes go into `headers`.
    pub(super) fn apply(
        &self,
        view: &View<'_>,
        about: About<'_>,
        body: Body,
        headers: &mut HeaderMap,
    ) -> Result<(String, Body), Failure> {
        let event = view.event();
        // A value that nothing else looks into is looked at for what it says of itself, and goes out as it came.
        let looked = match &event.body {
            event::Body::Value(_) => None,
            event::Body::Raw(raw) => raw.as_ref().and_then(|raw| json::parse(raw).ok()),
        };
        let value = looked.as_ref().unwrap_or_else(|| view.value());
        let given = is_structured(event).then(|| envelope(value)).flatten();
        let (mut attributes, body) = match given {
            Some(_) if self.structured => {
                let id = value.get(vrl::path!("id")).and_then(text).unwrap_or_default();
                return Ok((id, (body.0, Some(STRUCTURED))));
            }
            Some((attributes, data)) => (attributes, data),
            None => (from_headers(event), body),
        };
        let is_own = !attributes.is_empty();
        self.complete(&mut attributes, view, value, about)?;
        let id = attributes.get("id").cloned().unwrap_or_default();
        if self.structured {
            return Ok((id, (structured(&attributes, body, about.content)?, Some(STRUCTURED))));
        }
        for (name, text) in &attributes {
            let value = utf8_percent_encode(text, ESCAPED).to_string();
            let name = HeaderName::try_from(format!("ce-{name}"));
            if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(value)) {
                headers.insert(name, value);
            }
        }
        let own = event.header("content-type").filter(|_| is_own && is_binary(event));
        let kind = own.and_then(|kind| super::headers::header_value(kind.clone()));
        Ok((id, (body.0, body.1.map(|usual| kind.unwrap_or(usual)))))
    }

    /// What the event does not say of itself.
    fn complete(
        &self,
        attributes: &mut Attributes,
        view: &View<'_>,
        value: &Value,
        about: About<'_>,
    ) -> Result<(), Failure> {
        let (event, origin) = (view.event(), &view.event().origin);
        // An event that is one already has said what it is about.
        if let Some(subject) = self.subject.as_ref().filter(|_| attributes.is_empty()) {
            attributes.insert("subject".to_owned(), subject.render_text(view)?);
        }
        let mut add = |name: &str, make: &mut dyn FnMut() -> Option<String>| {
            if !attributes.contains_key(name)
                && let Some(text) = make().filter(|text| !text.is_empty())
            {
                attributes.insert(name.to_owned(), text);
            }
        };
        add("specversion", &mut || Some("1.0".to_owned()));
        add("id", &mut || Some(about.id.map_or_else(|| event::event_id(event, value), str::to_owned)));
        add("source", &mut || {
            let usual = || format!("/kafka/{}/{}", origin.topic.cluster, origin.topic.name);
            Some(self.source.clone().unwrap_or_else(usual))
        });
        add("type", &mut || {
            Some(event_type(event, value).map_or_else(|| self.kind.clone(), std::borrow::Cow::into_owned))
        });
        add("time", &mut || origin.timestamp.map(rfc3339).filter(|time| time.contains('T')));
        add("partitionkey", &mut || std::str::from_utf8(event.key.as_ref()?).ok().map(str::to_owned));
        add("sequence", &mut || Some(format!("{:019}", origin.offset)));
        add("correlationid", &mut || correlation_id(event, value).map(std::borrow::Cow::into_owned));
        add("causationid", &mut || {
            let metadata = value.get(vrl::path!("metadata"))?;
            ["causationId", "causation_id"].iter().find_map(|name| text(metadata.get(vrl::path!(*name))?))
        });
        attributes.insert("traceparent".to_owned(), about.trace.to_owned());
        Ok(())
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::Integer(number) => Some(number.to_string()),
        Value::Boolean(yes) => Some(yes.to_string()),
        other => other.to_str().map(str::to_owned),
    }
}

/// Whether an attribute may have this name: what headers and other bindings can carry.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// Whether a record is a CloudEvent of the Kafka binding's structured form.
fn is_structured(event: &Event) -> bool {
    let kind = event.header("content-type").and_then(|kind| std::str::from_utf8(kind).ok());
    kind.is_some_and(|kind| {
        let essence = kind.split(';').next().unwrap_or("").trim();
        essence.eq_ignore_ascii_case("application/cloudevents+json")
    })
}

/// Whether it is one of the binary form.
fn is_binary(event: &Event) -> bool {
    ["ce_specversion", "ce_id"].iter().any(|name| event.header(name).is_some())
}

/// The attributes of the binary form; none where the record is none.
fn from_headers(event: &Event) -> Attributes {
    let mut attributes = Attributes::new();
    if !is_binary(event) {
        return attributes;
    }
    for header in &event.headers {
        let name = header.name_text();
        let Some(name) = name.strip_prefix("ce_").filter(|name| is_name(name)) else { continue };
        let text = header.value.as_ref().and_then(|value| std::str::from_utf8(value).ok());
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            attributes.insert(name.to_owned(), text.to_owned());
        }
    }
    attributes
}

/// Attributes and data of the structured form; `None` where the value is no such event.
fn envelope(value: &Value) -> Option<(Attributes, Body)> {
    let object = value.as_object()?;
    object.get("specversion")?;
    let mut attributes = Attributes::new();
    for (name, value) in object {
        if is_name(name)
            && !matches!(name.as_str(), "data" | "datacontenttype")
            && let Some(text) = text(value)
        {
            attributes.insert(name.to_string(), text);
        }
    }
    let kind = object.get("datacontenttype").and_then(text);
    let is_json = kind.as_deref().is_none_or(|kind| kind.contains("json"));
    let data = match (object.get("data_base64").and_then(text), object.get("data")) {
        (Some(data), _) => STANDARD.decode(data).ok()?.into(),
        (None, Some(data)) if is_json => serde_json::to_vec(&json::Json(data)).ok()?.into(),
        (None, Some(data)) => Bytes::from(text(data)?),
        (None, None) => Bytes::new(),
    };
    let kind = kind.unwrap_or_else(|| "application/json".to_owned());
    Some((attributes, (data, HeaderValue::try_from(kind).ok())))
}

/// The structured form.
#[derive(Serialize)]
struct Structured<'a> {
    #[serde(flatten)]
    attributes: &'a Attributes,
    #[serde(skip_serializing_if = "Option::is_none")]
    datacontenttype: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Data<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Data<'a> {
    Json(&'a RawValue),
    Text(&'a str),
}

fn structured(attributes: &Attributes, body: Body, content: Content) -> Result<Bytes, Failure> {
    let (bytes, kind) = body;
    let invalid = |what: String| Failure::invalid(Code::Decode, what);
    let (data, data_base64) = match (&kind, content) {
        // A tombstone has no data.
        (None, _) => (None, None),
        (Some(_), Content::Json) => {
            let raw = serde_json::from_slice(&bytes).map_err(|error| {
                invalid(format!("the value is not JSON, as the data of a structured event must be: {error}"))
            })?;
            (Some(Data::Json(raw)), None)
        }
        (Some(_), Content::Text | Content::Form) => {
            let text =
                std::str::from_utf8(&bytes).map_err(|_| invalid("the value is not UTF-8 text".into()))?;
            (Some(Data::Text(text)), None)
        }
        (Some(_), Content::Raw) => (None, Some(STANDARD.encode(&bytes))),
    };
    let datacontenttype = kind.as_ref().and_then(|kind| kind.to_str().ok());
    let event = Structured { attributes, datacontenttype, data, data_base64 };
    let written = serde_json::to_vec(&event);
    written.map(Bytes::from).map_err(|error| invalid(format!("the event cannot be written: {error}")))
}

#[cfg(test)]
mod tests;
