//! The request of a batch, made without I/O: what each event brings to it, and what all of them share.
//!
//! Source: http-contract, sections 2, 3 and 8.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::de::IgnoredAny;

use super::body::Sent;
use super::cloudevent;
use super::request::{Attempt, Content, Plan, Prepared};
use super::rules::About;
use super::url::Target;
use crate::event::{Event, Trace, batch_id, webhook_id};
use crate::handler::Call;
use crate::handler::egress::Egress;
use crate::outcome::{Code, Failure};
use crate::plan::expr::{Surroundings, View};

/// So many ids have room in a header.
pub(super) const MAX_ITEMS: u32 = 300;

const WEIR_ITEM_IDS: HeaderName = HeaderName::from_static("weir-item-ids");

/// What the items of one batch have in common: where they go, and the headers that the file asks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Group {
    pub(super) target: Target,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// What one event brings.
#[derive(Debug, Clone)]
pub(super) struct Item {
    /// The `webhook-id` that it would have alone, or the id of the CloudEvent.
    pub(super) id: String,
    body: Bytes,
    attempt: u32,
    /// `topic/partition/offset`.
    position: String,
    /// When `give_up_after` ends.
    give_up_at: Option<SystemTime>,
    /// A span of this attempt.
    trace: String,
    /// The event and its id, where there are `rules`.
    event: Option<Arc<Event>>,
    event_id: Option<String>,
}

impl Item {
    /// What `rules` may know of it, where they want to.
    pub(super) fn about(&self) -> Option<About<'_>> {
        let event = self.event.as_ref()?;
        Some(About { event, attempt: self.attempt, id: self.event_id.as_deref() })
    }

    /// The bytes of its body.
    pub(super) fn size(&self) -> usize {
        self.body.len()
    }
}

impl Plan {
    /// The item of one attempt; whether it keeps its event for `rules`. Fails with class `Invalid` where the record is at
    /// fault.
    pub(super) fn item(
        &self,
        call: &Call<'_>,
        egress: &Egress,
        keeps_event: bool,
    ) -> Result<(Group, Item), Failure> {
        let event = call.event;
        let attempts = call.attempt.saturating_sub(1);
        let view = View::of(event, Surroundings { attempts, id: call.id, answer: None });
        let target = self.url.target(&view, egress)?;
        let mut id = webhook_id(&event.origin, &self.identity, event.part);
        let trace = Trace::of(event).child();
        let rendered = self.body.render(event, &view)?;
        let body = match &self.cloudevents {
            Some(cloudevents) => {
                let body = match rendered {
                    Sent::Tombstone => (Bytes::new(), None),
                    Sent::Bytes(bytes, media_type) => (bytes, Some(media_type)),
                };
                let about = cloudevent::About { id: call.id, trace: &trace, content: self.body.content };
                let made = cloudevents.apply(&view, about, body, &mut HeaderMap::new())?;
                id = made.0;
                made.1.0
            }
            None => match rendered {
                Sent::Tombstone => Bytes::from_static(b"null"),
                Sent::Bytes(bytes, _) => bytes,
            },
        };
        // An untouched value is looked at here for the first time, and would spoil the whole batch.
        if let Err(error) = serde_json::from_slice::<IgnoredAny>(&body) {
            let message = format!("the value is not JSON, as an item of a batch must be: {error}");
            return Err(Failure::invalid(Code::Decode, message));
        }
        let group = Group { target, headers: self.asked(event, &view)? };
        let item = Item {
            id,
            body,
            attempt: call.attempt,
            position: event.origin.to_string(),
            give_up_at: call.give_up_at,
            trace,
            event: keeps_event.then(|| Arc::new(event.clone())),
            event_id: call.id.map(str::to_owned),
        };
        Ok((group, item))
    }

    /// The request of a batch at `now`. `items` are at least one.
    pub(super) fn batch(&self, group: &Group, items: &[Item], now: SystemTime) -> Result<Prepared, Failure> {
        let ids: Vec<&str> = items.iter().map(|item| item.id.as_str()).collect();
        let (position, trace) = items.first().map_or(("", ""), |item| (&item.position, &item.trace));
        let attempt = Attempt {
            id: batch_id(&ids),
            event: &position,
            trace: &|out| out.push_str(trace),
            number: items.iter().map(|item| item.attempt).max().unwrap_or(1),
            give_up_at: items.iter().filter_map(|item| item.give_up_at).min(),
            now,
        };
        let length = items.iter().map(|item| item.size() + 1).sum::<usize>() + 1;
        let mut body = BytesMut::with_capacity(length);
        for (index, item) in items.iter().enumerate() {
            body.extend_from_slice(if index == 0 { b"[" } else { b"," });
            body.extend_from_slice(&item.body);
        }
        body.extend_from_slice(b"]");
        let mut headers = HeaderMap::with_capacity(24);
        let media_type = if self.cloudevents.is_some() {
            cloudevent::BATCH
        } else {
            let ids = HeaderValue::try_from(ids.join(", "))
                .map_err(|_| Failure::invalid(Code::Template, "the ids of a batch cannot be a header"))?;
            headers.insert(WEIR_ITEM_IDS, ids);
            HeaderValue::from_static("application/json")
        };
        let content = Content {
            target: group.target.clone(),
            body: body.freeze(),
            media_type: Some(media_type),
            headers,
            asked: group.headers.clone(),
        };
        self.finish(content, &attempt)
    }
}
