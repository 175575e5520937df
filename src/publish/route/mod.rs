//! One entry of `publish`: from an event, and the handler's answer where there is one, to the record to produce. Pure.

mod answer;
mod build;
mod written;

use std::sync::Arc;

use bytes::Bytes;
use vrl::path::{OwnedSegment, OwnedTargetPath, PathPrefix};
use vrl::value::Value;

use super::topic;
use crate::codec::wire::Missing;
use crate::codec::{Codec, Trouble};
use crate::event::{self, Body, Event, Header, Outgoing, Trace};
use crate::outcome::{Answer, Code, Failure};
use crate::plan::expr::{
    Expression, Predicate, Surroundings, Template, ValueTemplate, View, answer_body, measure,
};

use crate::seal::{self, Signer};

use answer::header;
pub use written::{EXAMPLE, PartitionBy, Spec};

/// The longest value that is made; what passes untouched is bounded where it was read.
const MAX_VALUE: usize = measure::MAX_BYTES;
/// What surrounds the event that is published.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// Attempts made.
    pub attempts: u32,
    /// The source event's id as it was before the transforms; `None` lets it be taken from the event as it is now.
    pub event_id: Option<&'a str>,
    /// The webhook id of the event's part.
    pub webhook_id: &'a str,
    /// What the handler answered; `None` without a handler.
    pub answer: Option<&'a Answer>,
}

/// What an entry is built for.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its index in the list of entries: part of event ids, so it counts from 0 and never changes at run time.
    pub index: usize,
    /// Whether the stage has a handler.
    pub handler: bool,
    /// How the source's values are read and written.
    pub source: Codec,
    /// The same of the entry's own `format`; `None` where it has none.
    pub own: Option<Codec>,
}

/// One entry, compiled.
#[derive(Debug)]
pub struct Route {
    place: Place,
    topic: Topic,
    when: Option<Predicate>,
    key: Option<Template>,
    headers: Vec<(Bytes, Template)>,
    codec: Codec,
    value: Content,
    partition: Option<Expression>,
    sign: Option<Signer>,
    reads_response_body: bool,
    watch: Option<Arc<dyn Watch>>,
}

/// Looks on while records are made: what `weir test` tells of the entries.
pub trait Watch: Send + Sync + std::fmt::Debug {
    /// An event came to an entry, which applies to it or does not.
    fn considered(&self, entry: usize, applies: bool);
}

#[derive(Debug)]
enum Topic {
    Literal(Arc<str>),
    Template(Template),
}

#[derive(Debug)]
enum Content {
    /// The handler's answer.
    Answer,
    /// The event's value, untouched where nothing has looked into it.
    Event,
    /// The event's value in another format than the source's.
    Encoded,
    Template(ValueTemplate),
}

/// The records of all entries, in order; those whose `when` is false are left out. Fails also where a schema is not at hand.
pub fn render(routes: &[Route], event: &Event, inputs: &Inputs<'_>) -> Result<Vec<Outgoing>, Trouble> {
    let around = Surroundings { attempts: inputs.attempts, id: inputs.event_id, answer: inputs.answer };
    let view = View::of(event, around);
    let mut records = Vec::with_capacity(routes.len());
    for route in routes {
        records.extend(route.render(&view, inputs)?);
    }
    Ok(records)
}

impl Route {
    /// Whether `%response.body` is read, also by the default value: the handler then asks for an answer (`prefer: reply`),
    /// and an answer that breaks off is one to ask for again.
    pub fn reads_response_body(&self) -> bool {
        self.reads_response_body
    }

    /// Whether the event's value has to be decoded.
    pub fn looks_into_payload(&self) -> bool {
        let value = match &self.value {
            Content::Answer | Content::Event => false,
            Content::Encoded => true,
            Content::Template(template) => template.looks_into_payload(),
        };
        value
            || self.when.as_ref().is_some_and(Predicate::looks_into_payload)
            || self.partition.as_ref().is_some_and(Expression::looks_into_payload)
            || self.templates().any(Template::looks_into_payload)
    }

    /// Lets somebody look on.
    pub fn watch(&mut self, watch: Arc<dyn Watch>) {
        self.watch = Some(watch);
    }

    /// Whether it has a `when`.
    pub fn has_when(&self) -> bool {
        self.when.is_some()
    }

    /// What values are written by.
    pub fn codec(&self) -> &Codec {
        &self.codec
    }

    /// What its own `format` comes to; `None` where it has none.
    pub fn own_codec(&self) -> Option<&Codec> {
        self.place.own.as_ref()
    }

    /// The topic, where no record puts anything into its name.
    pub fn literal_topic(&self) -> Option<&Arc<str>> {
        match &self.topic {
            Topic::Literal(name) => Some(name),
            Topic::Template(_) => None,
        }
    }

    /// The schema that values are written with, where it is not at hand; nothing where a record has a part in the topic's name.
    pub fn missing(&self) -> Option<Missing> {
        let Codec::Wire(wire) = &self.codec else { return None };
        wire.missing_for(self.literal_topic()?)
    }

    /// The subject under which it registers the schema of a file, and the schema's text; `None` where it does not, or a record
    /// has a part in the topic's name.
    pub fn registers(&self) -> Option<(String, String)> {
        let Codec::Wire(wire) = &self.codec else { return None };
        wire.registers(self.literal_topic()?)
    }

    /// The record to produce; `None` where `when` is false. A value that its schema does not take is `invalid` (`output`). With an answer every failure is `invalid` (`answer`) and carries
    /// it, so that a replay of the dead letter starts here.
    pub fn render(&self, view: &View<'_>, inputs: &Inputs<'_>) -> Result<Option<Outgoing>, Trouble> {
        let Some(answer) = inputs.answer else {
            return self.record(view, inputs).map_err(|trouble| match trouble {
                // `on_invalid` is about what comes in.
                Trouble::Failed(failure) if failure.code == Code::Schema => {
                    Trouble::Failed(Failure { code: Code::Output, ..failure })
                }
                other => other,
            });
        };
        let readable = |answer| if self.reads_response_body { answer_body(answer).map(drop) } else { Ok(()) };
        readable(answer)
            .map_err(|what| Failure::invalid(Code::Answer, what).into())
            .and_then(|()| self.record(view, inputs))
            .map_err(|trouble| match trouble {
                Trouble::Failed(failure) => {
                    let code = if failure.code == Code::TooLarge { failure.code } else { Code::Answer };
                    Trouble::Failed(Failure { code, ..failure }.with_answer(answer.clone()))
                }
                missing @ Trouble::Missing(_) => missing,
            })
    }

    fn record(&self, view: &View<'_>, inputs: &Inputs<'_>) -> Result<Option<Outgoing>, Trouble> {
        let applies = self.when.as_ref().map_or(Ok(true), |when| when.test(view))?;
        if let Some(watch) = &self.watch {
            watch.considered(self.place.index, applies);
        }
        if !applies {
            return Ok(None);
        }
        let event = view.event();
        let topic = self.topic(view)?;
        let content = self.content(view, &topic, inputs.answer)?;
        let key = match (&self.key, content.partition_key) {
            (Some(template), _) => template.render_bytes(view)?,
            (None, Some(key)) => Some(key.into()),
            (None, None) => event.key.clone(),
        };
        let mut headers = content.headers;
        self.add_headers(&mut headers, view, inputs, &content.parsed)?;
        let timestamp = event.origin.timestamp.filter(|millis| *millis >= 0);
        let partition = self.partition(view)?;
        let mut record = Outgoing { topic, partition, key, value: content.value, headers, timestamp };
        if let Some(signer) = &self.sign {
            signer.sign(&mut record);
        }
        Ok(Some(record))
    }

    fn topic(&self, view: &View<'_>) -> Result<Arc<str>, Failure> {
        let template = match &self.topic {
            Topic::Literal(name) => return Ok(Arc::clone(name)),
            Topic::Template(template) => template,
        };
        let name = template.render_text(view)?;
        match topic::fault(&name) {
            None => Ok(name.into()),
            Some(fault) => Err(Failure::invalid(Code::Template, format!("rendering `topic`: {fault}"))),
        }
    }

    fn content(&self, view: &View<'_>, topic: &str, given: Option<&Answer>) -> Result<Rendered, Trouble> {
        let event = view.event();
        match (&self.value, &event.body) {
            (Content::Answer, _) => {
                let Some(given) = given else {
                    return Err(Failure::invalid(Code::Answer, "publishing: the answer is not there").into());
                };
                let content = answer::content(given, &self.codec, topic)?;
                Ok(Rendered {
                    value: Some(content.value),
                    headers: content.headers,
                    partition_key: content.partition_key,
                    parsed: content.parsed,
                })
            }
            (Content::Template(template), _) => {
                let parsed = template.render(view)?;
                measure::check(&parsed).map_err(|what| Failure::invalid(Code::Template, what))?;
                let value = self.codec.encode(&parsed, topic, MAX_VALUE)?;
                Ok(Rendered { value, headers: Vec::new(), partition_key: None, parsed })
            }
            (Content::Event, Body::Raw(value)) => {
                let (headers, parsed) = (passed_on(event), Value::Null);
                Ok(Rendered { value: value.clone(), headers, partition_key: None, parsed })
            }
            (Content::Event | Content::Encoded, _) => {
                let parsed = view.value().clone();
                let value = self.codec.encode(&parsed, topic, MAX_VALUE)?;
                Ok(Rendered { value, headers: passed_on(event), partition_key: None, parsed })
            }
        }
    }

    /// Headers of the file, then those that tie the event to what caused it, where it does not bring them.
    fn add_headers(
        &self,
        headers: &mut Vec<Header>,
        view: &View<'_>,
        inputs: &Inputs<'_>,
        parsed: &Value,
    ) -> Result<(), Failure> {
        for (name, template) in &self.headers {
            headers.retain(|header| header.name != name);
            headers.push(Header { name: name.clone(), value: template.render_bytes(view)? });
        }
        let event = view.event();
        let has = |headers: &[Header], name: &str| headers.iter().any(|h| h.name == name.as_bytes());
        let source_id = match inputs.event_id {
            Some(id) => id.to_owned(),
            None => event::event_id(event, view.value()),
        };
        let own_id = event::own_event_id(headers, parsed);
        if own_id.is_none() {
            headers.push(header("ce_id", &format!("{}-{}", inputs.webhook_id, self.place.index)));
        }
        // An event that is passed on under its own id has not caused itself.
        if own_id.as_ref() != Some(&source_id) && !has(headers, "ce_causationid") {
            headers.push(header("ce_causationid", &source_id));
        }
        if !has(headers, "ce_correlationid")
            && let Some(id) = event::correlation_id(event, view.value())
        {
            headers.push(header("ce_correlationid", &id));
        }
        if !has(headers, "traceparent") {
            headers.push(header("traceparent", &Trace::of(event).child()));
        }
        if !has(headers, "tracestate")
            && Trace::is_given(event)
            && let Some(state) = event.header("tracestate")
        {
            headers.push(Header { name: Bytes::from_static(b"tracestate"), value: Some(state.clone()) });
        }
        Ok(())
    }

    fn partition(&self, view: &View<'_>) -> Result<Option<i32>, Failure> {
        let Some(expression) = &self.partition else { return Ok(None) };
        match expression.eval(view)? {
            Value::Integer(number) if number >= 0 && i32::try_from(number).is_ok() => {
                Ok(i32::try_from(number).ok())
            }
            other => Err(Failure::invalid(
                Code::Template,
                format!("`partition` gave {}, not the number of a partition", other.kind_str()),
            )),
        }
    }

    fn templates(&self) -> impl Iterator<Item = &Template> {
        let topic = match &self.topic {
            Topic::Literal(_) => None,
            Topic::Template(template) => Some(template),
        };
        topic.into_iter().chain(&self.key).chain(self.headers.iter().map(|(_, template)| template))
    }

    fn find_response_body(&self) -> bool {
        let value = match &self.value {
            Content::Answer => true,
            Content::Event | Content::Encoded => false,
            Content::Template(template) => any_path(template, &is_response_body),
        };
        value
            || self.when.as_ref().is_some_and(|when| when.reads().iter().any(is_response_body))
            || self.partition.as_ref().is_some_and(|e| e.reads().iter().any(is_response_body))
            || self.templates().any(|template| template.paths().any(is_response_body))
    }
}

struct Rendered {
    value: Option<Bytes>,
    headers: Vec<Header>,
    partition_key: Option<String>,
    /// The value, for an id of its own; null where nothing looked into it.
    parsed: Value,
}

/// The headers of an event that goes on as it is: its own, but the span, which is a new one, the state of a trace that is
/// not there, and its signature, which is of another topic and perhaps of another value.
fn passed_on(event: &Event) -> Vec<Header> {
    let given = Trace::is_given(event);
    let stays = |header: &&Header| {
        header.name != "traceparent" && header.name != seal::HEADER && (given || header.name != "tracestate")
    };
    event.headers.iter().filter(stays).cloned().collect()
}

/// Whether a path is `%response.body`, below it, or above it.
fn is_response_body(path: &OwnedTargetPath) -> bool {
    let is = |at: usize, name: &str| match path.path.segments.get(at) {
        Some(OwnedSegment::Field(field)) => field.as_str() == name,
        Some(OwnedSegment::Index(_)) => false,
        None => true,
    };
    path.prefix == PathPrefix::Metadata && is(0, "response") && is(1, "body")
}

fn any_path(template: &ValueTemplate, test: &impl Fn(&OwnedTargetPath) -> bool) -> bool {
    match template {
        ValueTemplate::Literal(_) => false,
        ValueTemplate::Text(template) => template.paths().any(test),
        ValueTemplate::List(list) => list.iter().any(|item| any_path(item, test)),
        ValueTemplate::Map(map) => map.iter().any(|(_, item)| any_path(item, test)),
    }
}

#[cfg(test)]
mod tests;
