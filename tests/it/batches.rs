//! Several records in one request, from end to end: both forms of a partial answer, one bad record, order per key (H20).

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::delivery::{Stage, ends};
use crate::outputs::answered;
use crate::support::ledger::Arrival;
use crate::support::load::{Load, Read, read};
use crate::support::receiver::{Reply, Seen, status};

const BATCH: &str = "    batch: { max_records: 20, linger: 20ms }
retry: { max_attempts: 5, initial_delay: 50ms, max_delay: 200ms }
";
/// The record that no batch is accepted with.
const BAD: usize = 17;

/// The items of a request: id and record.
fn items(arrival: &Arrival) -> Vec<(String, Read)> {
    let list: Vec<serde_json::Value> = serde_json::from_slice(&arrival.body).unwrap();
    let ids = arrival.header("weir-item-ids").unwrap().split(", ").map(str::to_owned);
    ids.zip(list.iter().map(|item| read(item.to_string().as_bytes()).unwrap())).collect()
}

/// What a receiver has said of each record, in order.
type Said = Arc<Mutex<Vec<(Read, bool)>>>;

/// Every fifth record is asked for again, once; in one form or the other, or by an id that is not there.
fn reply(seen: &Seen<'_>, said: &Said) -> Reply {
    let items = items(seen.arrival);
    let mut said = said.lock().unwrap();
    if items.iter().any(|(_, item)| item.uid == BAD) {
        return status(400);
    }
    let first = |item: &Read, said: &[(Read, bool)]| said.iter().all(|(other, _)| other != item);
    let again: HashSet<&str> = items
        .iter()
        .filter(|(_, item)| item.uid.is_multiple_of(5) && first(item, &said))
        .map(|(id, _)| id.as_str())
        .collect();
    // Nobody knows what this means, so all of it comes again.
    let confused = items.len() > 1 && items[0].1.uid.is_multiple_of(11) && first(&items[0].1, &said);
    for (id, item) in &items {
        said.push((*item, !confused && !again.contains(id.as_str())));
    }
    let named = |id: &str| format!(r#"{{"itemIdentifier":"{id}"}}"#);
    let list = |list: Vec<String>| list.join(",");
    if confused {
        return answered(format!(r#"{{"batchItemFailures":[{}]}}"#, named("msg_nobody")));
    }
    match items[0].1.uid % 3 {
        // A missing id is to be tried again.
        0 => {
            let fine = items.iter().filter(|(id, _)| !again.contains(id.as_str()));
            let fine = fine.map(|(id, _)| format!(r#"{{"id":"{id}","status":"SUCCESS"}}"#)).collect();
            answered(format!(r#"{{"statuses":[{}]}}"#, list(fine)))
        }
        _ if again.is_empty() => status(204),
        _ => {
            let failed = list(again.into_iter().map(named).collect());
            answered(format!(r#"{{"batchItemFailures":[{failed}]}}"#))
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_bad_record_takes_none_of_its_batch_with_it_and_each_key_keeps_its_order() {
    let said = Said::default();
    let heard = Arc::clone(&said);
    let stage = Stage::set("batches", BATCH, move |seen| reply(&seen, &heard)).await;
    let load = Load { events: 1_000, keys: 50, size: 200, rate: None };
    let (_, acked) = load.produce(&stage.run, stage.kafka, &stage.topic).await;
    let weir = stage.site.start("one").await;
    stage.watched().all_committed(&stage.run, &ends(&acked)).await;

    let arrivals = stage.receiver.arrivals();
    let sizes: Vec<usize> = arrivals.iter().map(|arrival| items(arrival).len()).collect();
    assert!(sizes.contains(&20), "full batches: {sizes:?}");
    assert!(sizes.iter().all(|size| *size <= 20));
    for arrival in &arrivals {
        let items = items(arrival);
        let keys: HashSet<u32> = items.iter().map(|(_, item)| item.key).collect();
        assert_eq!(keys.len(), items.len(), "one record of a key at a time");
    }
    let mut accepted: HashMap<u32, Vec<u32>> = HashMap::new();
    for (item, accepts) in said.lock().unwrap().iter().filter(|(_, accepts)| *accepts) {
        assert!(accepts);
        accepted.entry(item.key).or_default().push(item.seq);
    }
    assert_eq!(accepted.values().map(Vec::len).sum::<usize>(), load.events - 1, "each once, but the bad one");
    assert!(accepted.values().all(|seqs| seqs.is_sorted()), "in order: {accepted:?}");
    let dead = stage.kafka.read(&stage.run, &format!("{}.dlq", stage.topic));
    let told: Vec<_> = dead.iter().map(|dead| (dead.uid, dead.header("weir-status"))).collect();
    assert_eq!(told, [(Some(BAD), Some("400"))], "one bad record, one dead letter");
    let alone = arrivals.iter().filter(|a| items(a).iter().all(|(_, item)| item.uid == BAD)).count();
    assert_eq!(alone, 1, "asked for alone, once");
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}
