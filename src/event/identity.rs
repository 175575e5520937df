//! The identity that a receiver dedupes by: `webhook-id`. No clock, random number, attempt or revision goes into it.

use std::fmt::Write as _;
use std::sync::LazyLock;

use data_encoding::Specification;
use sha2::{Digest, Sha256};
use vrl::value::Value;

use super::{Event, Header, Origin};

static BASE32_LOWER: LazyLock<data_encoding::Encoding> = LazyLock::new(|| {
    let mut spec = Specification::new();
    spec.symbols.push_str("abcdefghijklmnopqrstuvwxyz234567");
    #[expect(clippy::unwrap_used, reason = "a constant alphabet of 32 letters; the test below builds it")]
    spec.encoding().unwrap()
});

/// The `webhook-id` of one part of one record at one stage: `msg_` and lower-case unpadded base32 of the first 20 bytes
/// of SHA-256 over seven lines. `service` is `pipeline.stage`, or the pipeline alone where the file has no `stages`.
/// The same over retries, restarts, rebalances, reloads and replays.
///
/// Source: http-contract, section 3.
pub fn webhook_id(origin: &Origin, service: &str, part: u32) -> String {
    let topic = &origin.topic;
    // Made for every attempt: one allocation, of enough room for all seven lines.
    let mut text = String::with_capacity(80 + topic.cluster.len() + topic.name.len() + service.len());
    text.push_str("weir.v1\n");
    text.push_str(&topic.cluster);
    text.push('\n');
    topic.write_identity(&mut text);
    // Writing to a string does not fail.
    write!(text, "\n{}\n{}\n{service}\n{part}", origin.partition, origin.offset).unwrap_or_default();
    of_text(&text)
}

/// The `webhook-id` of a batch: the same hash over the ids of its items, in order, one a line.
///
/// Source: http-contract, section 8.
pub fn batch_id(items: &[&str]) -> String {
    of_text(&items.join("\n"))
}

fn of_text(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    let mut id = String::with_capacity(36);
    id.push_str("msg_");
    BASE32_LOWER.encode_append(digest.split_at(20).0, &mut id);
    id
}

/// The event id: what the event says of itself ([`own_event_id`]), else `topic id/partition/offset`. `value` is the record's
/// value as it was decoded, `Value::Null` where nothing looked into it.
///
/// Source: design, section 5.
pub fn event_id(event: &Event, value: &Value) -> String {
    own_event_id(&event.headers, value).unwrap_or_else(|| {
        let origin = &event.origin;
        format!("{}/{}/{}", origin.topic.identity(), origin.partition, origin.offset)
    })
}

/// The id that an event brings: of the envelope (`metadata.eventId`, `event_id`, `id`, as text or integer), else of the
/// header `ce_id`, `event_id` or `eventId`. Empty counts as absent.
///
/// Source: design, section 5.
pub fn own_event_id(headers: &[Header], value: &Value) -> Option<String> {
    let text = |value: &Value| match value {
        Value::Integer(number) => Some(number.to_string()),
        other => other.to_str().filter(|text| !text.is_empty()).map(str::to_owned),
    };
    let envelope = value
        .get(vrl::path!("metadata", "eventId"))
        .and_then(text)
        .or_else(|| value.get(vrl::path!("event_id")).and_then(text))
        .or_else(|| value.get(vrl::path!("id")).and_then(text));
    envelope.or_else(|| header_event_id(headers).map(str::to_owned))
}

/// The id that an event brings in its headers: the last `ce_id`, else `event_id`, else `eventId`, that is text and not empty.
pub fn header_event_id(headers: &[Header]) -> Option<&str> {
    ["ce_id", "event_id", "eventId"].into_iter().find_map(|name| {
        let last = headers.iter().rev().find(|header| header.name == name.as_bytes())?;
        let text = std::str::from_utf8(last.value.as_ref()?).ok()?;
        (!text.is_empty()).then_some(text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Topic, TopicId};
    use std::sync::Arc;

    #[test]
    fn the_vector_of_the_contract_holds() {
        let topic = Topic {
            cluster: "MkU3OEVBNTcwNTJENDM2Qg".into(),
            name: "shop.orders.v1".into(),
            id: Some(TopicId([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])),
        };
        let origin =
            Origin { topic: Arc::new(topic.clone()), partition: 3, offset: 184_467, timestamp: None };
        assert_eq!(webhook_id(&origin, "order-billing", 0), "msg_smeh2b7g5zq2t6kkxlbpatvdcmph3z2u");
        assert_ne!(webhook_id(&origin, "order-billing", 0), webhook_id(&origin, "order-billing", 1));
        // A mirror keeps all but the cluster's id.
        let mirrored = Arc::new(Topic { cluster: "AkU3OEVBNTcwNTJENDM2Qg".into(), ..topic });
        let here = webhook_id(&origin, "order-billing", 0);
        let elsewhere = Origin { topic: mirrored, ..origin };
        assert_ne!(here, webhook_id(&elsewhere, "order-billing", 0));
    }
}
