//! `order: partition` and `order: none` from end to end; `order: key` is what all other tests run with.

use std::time::Duration;

use rdkafka::message::OwnedHeaders;

use crate::dead_letters::send;
use crate::delivery::Stage;
use crate::support::receiver::{Seen, status};
use crate::support::run::until;

const SOON: Duration = Duration::from_secs(30);
const PATIENT: &str =
    "    breaker: none\nretry: { max_attempts: 1000, backoff: fixed, initial_delay: 50ms }\n";

/// A receiver that has nothing against any record but `bad`.
fn refusing(seen: &Seen<'_>) -> u16 {
    if seen.arrival.body.as_ref() == b"bad" { 503 } else { 200 }
}

async fn ordered(test: &str, order: &str) -> Stage {
    let more = format!("{PATIENT}order: {order}\n");
    Stage::set(test, &more, |seen| status(refusing(&seen))).await
}

/// The bodies that were accepted, in their order.
fn accepted(stage: &Stage) -> Vec<String> {
    let arrivals = stage.receiver.arrivals();
    let accepted = arrivals.iter().filter(|arrival| arrival.accepted());
    accepted.map(|arrival| String::from_utf8_lossy(&arrival.body).into_owned()).collect()
}

/// Waits until the bad record has been tried so often.
async fn tried(stage: &Stage, times: usize) {
    let tries = || stage.receiver.arrivals().iter().filter(|arrival| arrival.body.as_ref() == b"bad").count();
    let enough = tries() + times;
    until("the bad record is tried again and again", SOON, || async { tries() >= enough }).await;
}

fn write(stage: &Stage, records: &[(&str, &str, i32)]) {
    for (key, value, partition) in records {
        send(stage, Some(key.as_bytes()), Some(value.as_bytes()), OwnedHeaders::new(), *partition);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_partition_a_failing_record_keeps_back_other_keys_and_no_other_partition() {
    let stage = ordered("by-partition", "partition").await;
    let weir = stage.site.start("one").await;
    write(&stage, &[("a", "bad", 0)]);
    tried(&stage, 2).await;
    write(&stage, &[("b", "behind", 0), ("a", "last", 0), ("c", "beside", 1)]);
    until("the other partition", SOON, || async { accepted(&stage) == ["beside"] }).await;
    tried(&stage, 5).await;
    assert_eq!(accepted(&stage), ["beside"], "what is behind it waits, whatever its key");
    stage.receiver.script(|_| status(200));
    stage.watched().all_committed(&stage.run, &[(0, 3), (1, 1)].into()).await;
    assert_eq!(accepted(&stage), ["beside", "bad", "behind", "last"]);
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_order_a_record_overtakes_one_of_its_key() {
    let stage = ordered("no-order", "none").await;
    let weir = stage.site.start("one").await;
    write(&stage, &[("a", "bad", 0)]);
    tried(&stage, 2).await;
    write(&stage, &[("a", "first", 0), ("a", "second", 0)]);
    until("both that are behind it", SOON, || async { accepted(&stage).len() == 2 }).await;
    tried(&stage, 2).await;
    stage.receiver.script(|_| status(200));
    stage.watched().all_committed(&stage.run, &[(0, 3)].into()).await;
    assert_eq!(accepted(&stage).last().map(String::as_str), Some("bad"), "and each once");
    assert_eq!(accepted(&stage).len(), 3);
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}
