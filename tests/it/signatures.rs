//! Signatures, judged by an implementation that is not ours: the Python package `standardwebhooks`.

use std::time::Duration;

use crate::delivery::PARTITIONS;
use crate::support::kafka::shared;
use crate::support::load::Load;
use crate::support::python::{as_json, python};
use crate::support::receiver::{Receiver, status};
use crate::support::run::Run;
use crate::support::weir::Site;

const OLD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NEW: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn are_accepted_by_standardwebhooks() {
    let run = Run::new("signed");
    let kafka = shared();
    kafka.create(&run.name, PARTITIONS, &[]).await;
    let receiver = Receiver::start(&run, |seen| status(if seen.before == 0 { 500 } else { 200 })).await;
    let yaml = format!(
        "source: {}\nhandler:\n  webhook:\n    url: {}\n    \
         sign: {{ secret: [\"${{secret:new}}\", \"${{secret:old}}\"] }}\n\
         retry: {{ max_attempts: 5, backoff: fixed, initial_delay: 1s }}\n",
        run.name,
        receiver.url()
    );
    let site = Site::new(&run, kafka).pipeline(&run.name, &yaml).secret("new", NEW).secret("old", OLD);
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
