//! Signatures, judged by implementations that are not ours: the Python packages `standardwebhooks` and `cryptography`.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::delivery::PARTITIONS;
use crate::support::kafka::shared;
use crate::support::load::Load;
use crate::support::python::{as_json, python};
use crate::support::receiver::{Receiver, status};
use crate::support::run::Run;
use crate::support::weir::Site;

const OLD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// The contract's: seed and public key.
const PAIR: &str =
    "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";
const NEW: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn are_accepted_by_standardwebhooks() {
    let run = Run::new("signed");
    let kafka = shared();
    kafka.create(&run.name, PARTITIONS, &[]).await;
    let receiver = Receiver::start(&run, |seen| status(if seen.before == 0 { 500 } else { 200 })).await;
    // Among others, as the rotation has them.
    let yaml = format!(
        "source: {}\nhandler:\n  webhook:\n    url: {}\n    \
         sign: {{ secret: [\"${{secret:new}}\", \"${{secret:pair}}\", \"${{secret:old}}\"] }}\n\
         retry: {{ max_attempts: 5, backoff: fixed, initial_delay: 1s }}\n",
        run.name,
        receiver.url()
    );
    let site = Site::new(&run, kafka)
        .pipeline(&run.name, &yaml)
        .secret("new", NEW)
        .secret("old", OLD)
        .secret("pair", PAIR);
    let weir = site.start("one").await;
    let load = Load { events: 20, keys: 20, size: 300, rate: None };
    load.produce(&run, kafka, &run.name).await;
    receiver.wait_for_accepted(load.events, Duration::from_secs(60)).await;
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
    let arrivals = receiver.arrivals();
    assert_eq!(arrivals.len(), 40);
    let requests = as_json(&arrivals);
    for secret in [OLD, NEW] {
        assert_eq!(verify(secret, &requests), "40 accepted\n");
    }
    let public = PAIR.trim_start_matches("whsk_");
    assert_eq!(verify_ed25519(public, &requests), "40 accepted\n");
    let another = STANDARD.encode([7; 64]);
    assert_eq!(verify_ed25519(&another, &requests), "0 accepted\n");
    assert_ne!(verify("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", &requests), "40 accepted\n");
}

/// What the package says of these requests.
fn verify(secret: &str, requests: &[serde_json::Value]) -> String {
    let program = "
import json, sys
from standardwebhooks import Webhook
webhook = Webhook(sys.argv[1])
accepted = 0
for request in json.load(sys.stdin):
    try:
        webhook.verify(request['body'], request['headers'])
        accepted += 1
    except Exception as error:
        print(error)
print(accepted, 'accepted')
";
    python(program, &[secret], requests)
}

/// What `cryptography` says of the ed25519 item of each: the public key is the second half.
fn verify_ed25519(pair: &str, requests: &[serde_json::Value]) -> String {
    let program = "
import base64, json, sys
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
key = Ed25519PublicKey.from_public_bytes(base64.b64decode(sys.argv[1])[32:])
accepted = 0
for request in json.load(sys.stdin):
    headers = request['headers']
    [item] = [item for item in headers['webhook-signature'].split(' ') if item.startswith('v1a,')]
    signed = '.'.join([headers['webhook-id'], headers['webhook-timestamp'], request['body']])
    try:
        key.verify(base64.b64decode(item[4:]), signed.encode())
        accepted += 1
    except InvalidSignature:
        pass
print(accepted, 'accepted')
";
    python(program, &[pair], requests)
}
