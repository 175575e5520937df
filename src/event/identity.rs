//! The identity that a receiver dedupes by: `webhook-id`. No clock, random number, attempt or revision goes into it.

use data_encoding::Specification;
use sha2::{Digest, Sha256};
use std::sync::LazyLock;

use super::Origin;

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
    let text = format!(
        "weir.v1\n{}\n{}\n{}\n{}\n{}\n{}",
        topic.cluster,
        topic.identity(),
        origin.partition,
        origin.offset,
        service,
        part
    );
    let digest = Sha256::digest(text.as_bytes());
    let mut id = String::with_capacity(36);
    id.push_str("msg_");
    BASE32_LOWER.encode_append(digest.split_at(20).0, &mut id);
    id
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
        let origin = Origin { topic: Arc::new(topic), partition: 3, offset: 184_467, timestamp: None };
        assert_eq!(webhook_id(&origin, "order-billing", 0), "msg_smeh2b7g5zq2t6kkxlbpatvdcmph3z2u");
        assert_ne!(webhook_id(&origin, "order-billing", 0), webhook_id(&origin, "order-billing", 1));
    }
}
