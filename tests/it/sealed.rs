//! Fields that are encrypted and events that are signed, from one pipeline to the next over Kafka, and judged by Python's
//! `cryptography`, which knows no more than docs/protection.md says.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rdkafka::message::{Header, OwnedHeaders};
use serde_json::{Value, json};

use crate::dead_letters::send;
use crate::delivery::Stage;
use crate::support::ledger::Dead;
use crate::support::python::python;
use crate::support::receiver::status;

/// What the documentation says, as a program: the signature of each record, and the card in the clear.
const JUDGE: &str = r#"
import base64, json, struct, sys
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
public, ring, topic = base64.b64decode(sys.argv[1]), dict(line.split(":") for line in sys.argv[2].split()), sys.argv[3]
def field(data): return b"\0" if data is None else b"\1" + struct.pack(">Q", len(data)) + data
for one in json.load(sys.stdin):
    value = base64.b64decode(one["value"])
    version, key, signature = one["signature"].split(",")
    signed = b"weir-signature-v1\0" + field(key.encode()) + field(topic.encode()) + field(one["key"].encode()) + field(value) + field(one["id"] and one["id"].encode()) + field(None)
    Ed25519PublicKey.from_public_bytes(public).verify(base64.b64decode(signature), signed)
    envelope = json.loads(value)["card"]
    head, body = envelope.rsplit(":", 1)
    data = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
    bound = (head + "\norders\n.card").encode()
    name = head.split(":")[2]
    print(version, json.loads(AESGCM(base64.b64decode(ring[name])).decrypt(data[:12], data[12:], bound)))
"#;

/// One pipeline that encrypts and signs, one that verifies and decrypts.
struct Scene {
    stage: Stage,
    /// The topic between them.
    out: String,
    public: String,
    ring: String,
}

async fn scene() -> Scene {
    let mut stage = Stage::set("sealed", "", |_| status(200)).await;
    let out = format!("{}.out", stage.topic);
    stage.kafka.create(&out, 1, &[]).await;
    let seed = [5; 32];
    let public = STANDARD.encode(ed25519_dalek::SigningKey::from_bytes(&seed).verifying_key().to_bytes());
    let (old, new) =
        (format!("2025:{}", STANDARD.encode([1; 32])), format!("2026:{}", STANDARD.encode([2; 32])));
    let ring = format!("{new}\n{old}");
    let first = format!(
        "source: {{ topic: {0} }}\ntransforms:\n  - encrypt: {{ fields: [.card], key: \"${{secret:keys}}\", context: orders }}\n\
         publish: {{ topic: {out}, value: \"{{{{ . }}}}\", sign: {{ key: \"${{secret:signing}}\", id: k1 }} }}\ndlq: {0}.dlq\n",
        stage.topic
    );
    let second = format!(
        "source: {{ topic: {out}, verify: {{ keys: [\"k1:{public}\"] }} }}\n\
         transforms:\n  - decrypt: {{ fields: [.card], key: \"${{secret:keys}}\", context: orders }}\n\
         handler: {1}\ndlq: {0}.dlq\n",
        stage.topic,
        stage.receiver.url()
    );
    let reader = format!("{}-reader", stage.topic);
    stage.site = stage
        .site
        .secret("keys", &ring)
        .secret("signing", &format!("whsk_{}", STANDARD.encode(seed)))
        .pipeline(&stage.topic, &first)
        .pipeline(&reader, &second);
    Scene { stage, out, public, ring }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fields_and_events_are_protected_from_one_pipeline_to_the_next() {
    let Scene { stage, out, public, ring } = scene().await;
    for n in 0..3 {
        let order = json!({ "id": format!("o-{n}"), "card": 4_111_111_111_111_111_i64 + n }).to_string();
        send(&stage, Some(b"k"), Some(order.as_bytes()), OwnedHeaders::new(), 0);
    }
    let weir = stage.site.start("one").await;
    stage.receiver.wait_for(3, Duration::from_secs(60)).await;
    let bodies: Vec<Value> = stage
        .receiver
        .arrivals()
        .iter()
        .map(|arrival| serde_json::from_slice(&arrival.body).unwrap())
        .collect();
    let exact: Vec<Value> =
        (0..3).map(|n| json!({ "id": format!("o-{n}"), "card": 4_111_111_111_111_111_i64 + n })).collect();
    assert_eq!(bodies, exact, "a number comes back as a number");
    let written = stage.kafka.read(&stage.run, &out);
    let given: Vec<Value> = written
        .iter()
        .map(|record| {
            json!({ "key": "k", "value": STANDARD.encode(record.value.as_deref().unwrap()),
                "signature": record.header("weir-signature"), "id": record.header("ce_id") })
        })
        .collect();
    let text =
        String::from_utf8(written.iter().flat_map(|record| record.value.clone().unwrap()).collect()).unwrap();
    assert!(!text.contains("4111111") && text.contains("weir:1:2026:"), "{text}");
    let said = python(JUDGE, &[&public, &ring, &out], &given);
    let cards: Vec<String> = (0..3).map(|n| format!("v1 {}", 4_111_111_111_111_111_i64 + n)).collect();
    assert_eq!(said.lines().collect::<Vec<_>>(), cards);
    what_is_forged_is_dead_lettered(&stage, &out, &written[0]).await;
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

/// Unsigned, signed by nobody we know, signed for another value; then a good one again.
async fn what_is_forged_is_dead_lettered(stage: &Stage, out: &str, one: &Dead) {
    let signature = one.header("weir-signature").unwrap().to_owned();
    let value = one.value.as_deref().unwrap();
    // Its id stands in its value, so that it has no header of one.
    assert_eq!(one.header("ce_id"), None);
    let with = |signature: &str| {
        OwnedHeaders::new().insert(Header { key: "weir-signature", value: Some(signature) })
    };
    let to = |value: &[u8], headers: OwnedHeaders| {
        crate::dead_letters::send_to(stage, out, Some(b"k"), Some(value), headers, 0);
    };
    to(value, OwnedHeaders::new());
    to(value, with(&signature.replace("k1", "k9")));
    to(b"{\"id\":\"o-9\"}", with(&signature));
    to(value, with(&signature));
    stage.receiver.wait_for(4, Duration::from_secs(60)).await;
    crate::support::run::until("three dead letters", Duration::from_secs(30), async || {
        stage.kafka.read(&stage.run, &format!("{}.dlq", stage.topic)).len() == 3
    })
    .await;
    let dead = stage.kafka.read(&stage.run, &format!("{}.dlq", stage.topic));
    let why: Vec<_> =
        dead.iter().map(|one| (one.header("weir-code"), one.header("weir-error").unwrap())).collect();
    assert_eq!(
        why,
        [
            (Some("signature"), "verifying the record: it has no header weir-signature"),
            (Some("signature"), "verifying the record: the source has no key `k9`"),
            (
                Some("signature"),
                "verifying the record: its signature by the key `k1` does not fit: topic, key, value, event id or schema id are not those that were signed"
            ),
        ]
    );
}
