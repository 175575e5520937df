//! What an expression sees: `.` is the value, `%` is what surrounds it. Nothing of `%` is made unless somebody reads it.

use std::borrow::Cow;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use vrl::path::{OwnedSegment, OwnedTargetPath, OwnedValuePath, PathPrefix};
use vrl::value::kind::Collection;
use vrl::value::{Kind, ObjectMap, Value};

use crate::event::{self, Body, Event, json};
use crate::outcome::{Answer, BodyEnd};

/// What is known of a record besides the record.
#[derive(Debug, Clone, Copy, Default)]
pub struct Surroundings<'a> {
    /// Attempts made so far: 0 during the first.
    pub attempts: u32,
    /// The event id as it was before the transforms; `None` lets it be taken from the value as it is now.
    pub id: Option<&'a str>,
    /// What the handler answered; `None` before it has.
    pub answer: Option<&'a Answer>,
}

/// One event as expressions and templates see it.
#[derive(Debug)]
pub struct View<'a> {
    event: &'a Event,
    value: &'a Value,
    around: Surroundings<'a>,
    response: OnceLock<Value>,
}

static NULL: Value = Value::Null;

impl<'a> View<'a> {
    /// Of an event: `.` is its decoded value, null while the body is raw.
    pub fn of(event: &'a Event, around: Surroundings<'a>) -> View<'a> {
        let value = match &event.body {
            Body::Value(value) => value,
            Body::Raw(_) => &NULL,
        };
        View::new(event, value, around)
    }

    /// Of an event whose value is held elsewhere.
    pub fn new(event: &'a Event, value: &'a Value, around: Surroundings<'a>) -> View<'a> {
        View { event, value, around, response: OnceLock::new() }
    }

    /// `.`
    pub fn value(&self) -> &'a Value {
        self.value
    }

    /// The event behind it.
    pub fn event(&self) -> &'a Event {
        self.event
    }

    /// What a path points to; `None` where the record lacks it. `%headers.NAME` of a null header is null, of an absent
    /// one `None`; `%response` is `None` before the handler has answered.
    pub fn get(&self, path: &OwnedTargetPath) -> Option<Cow<'_, Value>> {
        if path.prefix == PathPrefix::Event {
            return self.value.get(&path.path).map(Cow::Borrowed);
        }
        let metadata = self.metadata(&Reads::of([path]));
        metadata.get(&path.path).cloned().map(Cow::Owned)
    }

    /// The parts of `%` that `reads` names, as an object.
    pub(super) fn metadata(&self, reads: &Reads) -> Value {
        if reads.fields.is_empty() {
            return Value::Null;
        }
        let mut out = ObjectMap::new();
        for field in &reads.fields {
            if let Some(value) = self.field(*field, reads) {
                out.insert(field.name().into(), value);
            }
        }
        Value::Object(out)
    }

    fn field(&self, field: Field, reads: &Reads) -> Option<Value> {
        let origin = &self.event.origin;
        Some(match field {
            Field::Key => self.event.key.clone().map_or(Value::Null, Value::from_utf8_or_bytes),
            Field::Headers => self.headers(reads),
            Field::HeadersAll => self.headers_all(),
            Field::Topic => Value::from(origin.topic.name.as_str()),
            Field::Partition => Value::from(origin.partition),
            Field::Offset => Value::from(origin.offset),
            Field::Timestamp => origin.timestamp.and_then(timestamp).unwrap_or(Value::Null),
            Field::Id => match self.around.id {
                Some(id) => Value::from(id),
                None => Value::from(event::event_id(self.event, self.value)),
            },
            Field::Attempts => Value::from(i64::from(self.around.attempts)),
            Field::Response => self.response()?,
        })
    }

    fn headers(&self, reads: &Reads) -> Value {
        let mut out = ObjectMap::new();
        for header in &self.event.headers {
            let name = header.name_text();
            if reads.header_names.as_ref().is_none_or(|names| names.iter().any(|n| *n == name)) {
                let value = header.value.clone().map_or(Value::Null, Value::from_utf8_or_bytes);
                out.insert(name.into_owned().into(), value);
            }
        }
        Value::Object(out)
    }

    fn headers_all(&self) -> Value {
        let pair = |header: &event::Header| {
            let name = Value::from(header.name_text().into_owned());
            let value = header.value.clone().map_or(Value::Null, Value::from_utf8_or_bytes);
            Value::Array(vec![name, value])
        };
        Value::Array(self.event.headers.iter().map(pair).collect())
    }

    fn response(&self) -> Option<Value> {
        let answer = self.around.answer?;
        Some(self.response.get_or_init(|| response(answer)).clone())
    }
}

/// The body of an answer: JSON where `content-type` says so, else text (bytes where it is not UTF-8), null where empty.
/// Fails where the body is cut, encoded, or is not the JSON that it says it is.
pub fn answer_body(answer: &Answer) -> Result<Value, String> {
    match answer.body_end {
        BodyEnd::Complete => {}
        BodyEnd::TooLong => return Err("the answer's body is longer than max_response".into()),
        BodyEnd::BrokenOff => return Err("the answer's body broke off".into()),
        BodyEnd::Encoded => return Err("the answer's body has a content-encoding".into()),
    }
    if answer.body.is_empty() {
        return Ok(Value::Null);
    }
    let media_type = answer.header("content-type").unwrap_or("").split(';').next().unwrap_or("").trim();
    let media_type = media_type.to_ascii_lowercase();
    if media_type == "application/json" || media_type == "text/json" || media_type.ends_with("+json") {
        return json::parse(&answer.body).map_err(|e| format!("the answer's body is not JSON: {e}"));
    }
    Ok(Value::from_utf8_or_bytes(answer.body.clone()))
}

/// `%response`: an unreadable body is null here; who needs it asks [`answer_body`] why.
fn response(answer: &Answer) -> Value {
    let mut headers = ObjectMap::new();
    for (name, value) in &answer.headers {
        headers.insert(name.as_str().into(), Value::from_utf8_or_bytes(value.clone()));
    }
    let body = answer_body(answer).unwrap_or(Value::Null);
    Value::Object(ObjectMap::from([
        ("status".into(), Value::from(i64::from(answer.status))),
        ("headers".into(), Value::Object(headers)),
        ("body".into(), body),
    ]))
}

/// Milliseconds since 1970 as a timestamp; `None` outside of the years 0 to 9999, where a producer wrote nonsense.
fn timestamp(millis: i64) -> Option<Value> {
    const YEAR_0: i64 = -62_167_219_200_000;
    const YEAR_10000: i64 = 253_402_300_800_000;
    if !(YEAR_0..YEAR_10000).contains(&millis) {
        return None;
    }
    let distance = Duration::from_millis(millis.unsigned_abs());
    let time: SystemTime = if millis < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance };
    Some(Value::Timestamp(time.into()))
}

/// The names after `%`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Key,
    Headers,
    HeadersAll,
    Topic,
    Partition,
    Offset,
    Timestamp,
    Id,
    Attempts,
    Response,
}

impl Field {
    pub(super) const ALL: [Field; 10] = [
        Field::Key,
        Field::Headers,
        Field::HeadersAll,
        Field::Topic,
        Field::Partition,
        Field::Offset,
        Field::Timestamp,
        Field::Id,
        Field::Attempts,
        Field::Response,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Field::Key => "key",
            Field::Headers => "headers",
            Field::HeadersAll => "headers_all",
            Field::Topic => "topic",
            Field::Partition => "partition",
            Field::Offset => "offset",
            Field::Timestamp => "timestamp",
            Field::Id => "id",
            Field::Attempts => "attempts",
            Field::Response => "response",
        }
    }

    fn kind(self) -> Kind {
        let text = Kind::bytes().or_null();
        match self {
            Field::Key => text,
            Field::Headers => Kind::object(Collection::from_unknown(text)),
            Field::HeadersAll => {
                Kind::array(Collection::from_unknown(Kind::array(Collection::from_unknown(text))))
            }
            Field::Topic | Field::Id => Kind::bytes(),
            Field::Partition | Field::Offset | Field::Attempts => Kind::integer(),
            Field::Timestamp => Kind::timestamp().or_null(),
            Field::Response => {
                let kinds = [Kind::integer(), Kind::object(Collection::from_unknown(text)), Kind::any()];
                let known = RESPONSE.iter().zip(kinds).map(|(name, kind)| ((*name).into(), kind)).collect();
                Kind::object(Collection::from_parts(known, Kind::undefined()))
            }
        }
    }
}

/// What `%response` has.
pub(super) const RESPONSE: [&str; 3] = ["status", "headers", "body"];

/// The types of `%`, so that `%attempts > 3` compiles; whether `%response` is there for certain.
pub(super) fn metadata_kind(answered: bool) -> Kind {
    let kind = |field: &Field| match field {
        Field::Response if !answered => field.kind().or_null(),
        field => field.kind(),
    };
    let known = Field::ALL.iter().map(|field| (field.name().into(), kind(field))).collect();
    Kind::object(Collection::from_parts(known, Kind::undefined()))
}

/// What a program, a predicate or a template reads.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Reads {
    /// Whether `.` is read, or `%id`, which comes from the payload's envelope.
    pub(super) payload: bool,
    /// Whether `%response` is read.
    pub(super) response: bool,
    /// Whether `%id` is read.
    pub(super) id: bool,
    fields: Vec<Field>,
    /// The header names read; `None`: all of them.
    header_names: Option<Vec<String>>,
}

impl Reads {
    pub(super) fn of<'p>(paths: impl IntoIterator<Item = &'p OwnedTargetPath>) -> Reads {
        let mut reads = Reads { header_names: Some(Vec::new()), ..Reads::default() };
        for path in paths {
            if path.prefix == PathPrefix::Event {
                reads.payload = true;
                continue;
            }
            for field in fields_of(&path.path) {
                if !reads.fields.contains(&field) {
                    reads.fields.push(field);
                }
                reads.payload |= field == Field::Id;
                reads.id |= field == Field::Id;
                reads.response |= field == Field::Response;
                if field == Field::Headers {
                    match (path.path.segments.get(1), &mut reads.header_names) {
                        (Some(OwnedSegment::Field(name)), Some(names)) => names.push(name.to_string()),
                        _ => reads.header_names = None,
                    }
                }
            }
        }
        reads
    }
}

fn fields_of(path: &OwnedValuePath) -> Vec<Field> {
    match path.segments.first() {
        Some(OwnedSegment::Field(name)) => {
            Field::ALL.into_iter().filter(|field| field.name() == name.as_str()).collect()
        }
        Some(OwnedSegment::Index(_)) => Vec::new(),
        None => Field::ALL.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absurd_timestamps_are_null() {
        assert_eq!(timestamp(i64::MIN), None);
        assert_eq!(timestamp(i64::MAX), None);
        let json = |millis| json::to_bytes(&timestamp(millis).unwrap(), 100).unwrap();
        assert_eq!(json(1_700_000_000_123), r#""2023-11-14T22:13:20.123Z""#);
        assert_eq!(json(-1), r#""1969-12-31T23:59:59.999Z""#);
    }
}
