//! The judge: the invariants I1 to I6, I8 and I11 of docs/rules.md, as pure functions over the ledgers. Each returns what
//! is wrong; its tests show that a violated ledger is caught.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use crate::support::ledger::{Arrival, Fault, Ledgers};
use crate::support::show;

/// What is wrong, and which records or which partition's commits show it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Wrong {
    pub(crate) text: String,
    pub(crate) uids: Vec<usize>,
    pub(crate) partition: Option<i32>,
}

fn wrong(uids: &[usize], text: String) -> Wrong {
    Wrong { text, uids: uids.to_vec(), partition: None }
}

/// Judges a run by I1 to I6 and I11. A run without a fault may repeat nothing.
///
/// # Panics
/// With the violations found, the events concerned, and the name of a file with all of them.
pub(crate) fn all(ledgers: &Ledgers) {
    let mut found = no_loss(ledgers, &HashSet::new());
    found.extend(nothing_invented(ledgers));
    found.extend(one_id_each(ledgers));
    found.extend(order_per_key(ledgers));
    found.extend(duplicates(ledgers));
    found.extend(committed_too_far(ledgers));
    found.extend(commits_monotone(ledgers));
    found.extend(faults_bit(ledgers));
    found.sort();
    found.dedup();
    assert!(found.is_empty(), "{}", show::report(ledgers, &found));
}

/// I1: every acknowledged record is accepted, dead-lettered, or named by the caller as ended in another way.
pub(crate) fn no_loss(ledgers: &Ledgers, ended: &HashSet<usize>) -> Vec<Wrong> {
    let accepted: HashSet<usize> = accepted(ledgers).filter_map(|arrival| arrival.uid).collect();
    let dead: HashSet<usize> = ledgers.dead.iter().filter_map(|dead| dead.uid).collect();
    let lost = ledgers
        .acked
        .iter()
        .filter(|acked| ![&accepted, &dead, ended].into_iter().any(|set| set.contains(&acked.uid)));
    lost.map(|acked| {
        let text = format!("I1 lost: uid {} at {}/{}", acked.uid, acked.partition, acked.offset);
        wrong(&[acked.uid], text)
    })
    .collect()
}

/// I2: what arrived was sent, unchanged.
pub(crate) fn nothing_invented(ledgers: &Ledgers) -> Vec<Wrong> {
    let mut found = Vec::new();
    for arrival in &ledgers.arrivals {
        let Some(uid) = arrival.uid else {
            let text = format!("I2 invented: a body that is not of the load, for {}", arrival.event);
            found.push(wrong(&[], text));
            continue;
        };
        match ledgers.intents.get(uid) {
            None => found.push(wrong(&[uid], format!("I2 invented: uid {uid}"))),
            Some(intent)
                if intent.hash != arrival.hash || (intent.key, intent.seq) != (arrival.key, arrival.seq) =>
            {
                found.push(wrong(&[uid], format!("I2 changed: uid {uid}")));
            }
            Some(_) => {}
        }
    }
    found
}

/// H03, H04: each request for a record carries one id, which no other record has.
pub(crate) fn one_id_each(ledgers: &Ledgers) -> Vec<Wrong> {
    let mut ids: HashMap<usize, &str> = HashMap::new();
    let mut owners: HashMap<&str, usize> = HashMap::new();
    let mut found = Vec::new();
    for arrival in &ledgers.arrivals {
        let (Some(uid), id) = (arrival.uid, arrival.webhook_id.as_str()) else { continue };
        if *ids.entry(uid).or_insert(id) != id {
            found.push(wrong(&[uid], format!("H03 another id: uid {uid}")));
        }
        let owner = *owners.entry(id).or_insert(uid);
        if owner != uid {
            found.push(wrong(&[owner, uid], format!("H04 the same id: uid {owner} and {uid}")));
        }
    }
    found
}

/// I3: the first successes of each key rise; a step back, and two requests of one key at once, need a fault between.
pub(crate) fn order_per_key(ledgers: &Ledgers) -> Vec<Wrong> {
    let mut keys: BTreeMap<u32, Vec<&Arrival>> = BTreeMap::new();
    for arrival in ledgers.arrivals.iter().filter(|arrival| arrival.uid.is_some()) {
        keys.entry(arrival.key).or_default().push(arrival);
    }
    let fault =
        |from: Duration, to: Duration| ledgers.faults.iter().any(|fault| (from..=to).contains(&fault.at));
    let mut found = Vec::new();
    for (key, mut arrivals) in keys {
        arrivals.sort_by_key(|arrival| arrival.start);
        for pair in arrivals.windows(2) {
            let [one, two] = pair else { continue };
            if one.end.is_none_or(|end| end > two.start)
                && !fault(one.start, two.start)
                && one.status != Some(0)
            {
                let text =
                    format!("I3 overlap: key {key}, seq {} and {} at {:?}", one.seq, two.seq, two.start);
                found.push(wrong(&uids(one, two), text));
            }
        }
        let mut seen = HashSet::new();
        let mut last: Option<&Arrival> = None;
        let mut highest: Option<&Arrival> = None;
        for arrival in arrivals.into_iter().filter(|arrival| arrival.accepted()) {
            let first = seen.insert(arrival.seq);
            if let Some(highest) = highest
                && first
                && arrival.seq < highest.seq
            {
                let text = format!("I3 reordered: key {key}, seq {} after {}", arrival.seq, highest.seq);
                found.push(wrong(&uids(highest, arrival), text));
            }
            if let Some(last) = last
                && arrival.seq <= last.seq
                && !fault(last.start, arrival.start)
            {
                let text = format!(
                    "I3 step back: key {key}, seq {} after {}, no fault between",
                    arrival.seq, last.seq
                );
                found.push(wrong(&uids(last, arrival), text));
            }
            if highest.is_none_or(|highest| arrival.seq > highest.seq) {
                highest = Some(arrival);
            }
            last = Some(arrival);
        }
    }
    found
}

fn uids(one: &Arrival, two: &Arrival) -> Vec<usize> {
    [one.uid, two.uid].into_iter().flatten().collect()
}

/// I4: a record is accepted again only where a fault lies between, the committed state at that fault did not know of it,
/// and its work was in flight then, or had ended no longer than `UNCOMMITTED` before.
pub(crate) fn duplicates(ledgers: &Ledgers) -> Vec<Wrong> {
    let positions = ledgers.positions();
    let mut last: HashMap<usize, &Arrival> = HashMap::new();
    let mut found = Vec::new();
    let mut arrivals: Vec<&Arrival> = accepted(ledgers).collect();
    arrivals.sort_by_key(|arrival| arrival.start);
    for arrival in arrivals {
        let Some(uid) = arrival.uid else { continue };
        let Some(before) = last.insert(uid, arrival) else { continue };
        let between = |fault: &&Fault| before.start <= fault.at && fault.at <= arrival.start;
        let Some(fault) = ledgers.faults.iter().rfind(between) else {
            let (one, two) = (before.start, arrival.start);
            let text = format!("I4 repeated without a fault: uid {uid} at {one:?} and {two:?}");
            found.push(wrong(&[uid], text));
            continue;
        };
        let Some((partition, offset)) = positions.get(&uid) else { continue };
        let known = fault.committed.get(partition);
        if known.is_some_and(|(committed, done)| offset < committed || done.has(*offset)) {
            let text = format!(
                "I4 repeated though committed: uid {uid} at {partition}/{offset} after {}",
                fault.what
            );
            found.push(Wrong { partition: Some(*partition), ..wrong(&[uid], text) });
        }
        // Of faults that follow each other, the first may have kept the record from being committed.
        let first = ledgers.faults.iter().find(between).unwrap_or(fault);
        if before.end.is_some_and(|end| end + UNCOMMITTED < first.at) {
            let (end, at) = (before.end, first.at);
            let text = format!("I4 repeated old work: uid {uid}, ended at {end:?}, fault at {at:?}");
            found.push(Wrong { partition: Some(*partition), ..wrong(&[uid], text) });
        }
    }
    found
}

/// The longest work that no accepted commit covers (`limits.uncommitted`), and a second for a busy machine.
const UNCOMMITTED: Duration = Duration::from_secs(6);

/// I5: at every sample all offsets below the committed one, and all marked done, were terminal at that time.
pub(crate) fn committed_too_far(ledgers: &Ledgers) -> Vec<Wrong> {
    let mut ended: HashMap<usize, Duration> = HashMap::new();
    let ends = accepted(ledgers).map(|arrival| (arrival.uid, arrival.end.unwrap_or_default()));
    let dead = ledgers.dead.iter().map(|dead| (dead.uid, dead.at));
    for (uid, at) in ends.chain(dead) {
        if let Some(uid) = uid {
            let first = ended.entry(uid).or_insert(at);
            *first = at.min(*first);
        }
    }
    // Per partition by offset: the latest end of all records up to it, so that a sample costs one look-up.
    let mut partitions: HashMap<i32, BTreeMap<i64, (usize, Option<Duration>)>> = HashMap::new();
    for acked in &ledgers.acked {
        let end = ended.get(&acked.uid).copied();
        partitions.entry(acked.partition).or_default().insert(acked.offset, (acked.uid, end));
    }
    let mut found = Vec::new();
    for records in partitions.values_mut() {
        let mut latest = Some(Duration::ZERO);
        for (_, end) in records.values_mut() {
            latest = latest.zip(*end).map(|(latest, end)| latest.max(end));
            *end = latest;
        }
    }
    for sample in &ledgers.commits {
        let Some(records) = partitions.get(&sample.partition) else { continue };
        let late = |end: &Option<Duration>| end.is_none_or(|end| end > sample.at);
        let below = records.range(..sample.offset).next_back();
        if below.is_some_and(|(_, (_, end))| late(end)) {
            // The first whose prefix is late is the late one itself.
            let Some((offset, (uid, end))) = records.iter().find(|(_, (_, end))| late(end)) else { continue };
            let text = format!(
                "I5 committed too far: {}/{} at {:?}, when the record at {offset} had not ended ({end:?})",
                sample.partition, sample.offset, sample.at
            );
            found.push(Wrong { partition: Some(sample.partition), ..wrong(&[*uid], text) });
        }
    }
    found
}

/// I6: what is committed for a partition never falls.
pub(crate) fn commits_monotone(ledgers: &Ledgers) -> Vec<Wrong> {
    let mut highest: HashMap<i32, i64> = HashMap::new();
    let mut found = Vec::new();
    for sample in &ledgers.commits {
        let highest = highest.entry(sample.partition).or_insert(sample.offset);
        if sample.offset < *highest {
            let text = format!("I6 fell: partition {}, {} after {highest}", sample.partition, sample.offset);
            found.push(Wrong { partition: Some(sample.partition), ..wrong(&[], text) });
        }
        *highest = sample.offset.max(*highest);
    }
    found
}

/// I8: something new is accepted within the bound after a fault has ended.
pub(crate) fn progress(ledgers: &Ledgers, ended: Duration, bound: Duration) -> Vec<Wrong> {
    let mut seen = HashSet::new();
    let new = accepted(ledgers)
        .filter(|arrival| seen.insert(arrival.uid))
        .filter_map(|arrival| arrival.end)
        .find(|end| *end > ended);
    match new {
        Some(end) if end - ended <= bound => Vec::new(),
        other => {
            let text = format!("I8: nothing new within {bound:?} after {ended:?}; the next at {other:?}");
            vec![wrong(&[], text)]
        }
    }
}

/// I11: each fault left evidence, else the test is void.
pub(crate) fn faults_bit(ledgers: &Ledgers) -> Vec<Wrong> {
    let void = ledgers.faults.iter().filter(|fault| fault.evidence.is_empty());
    void.map(|fault| wrong(&[], format!("I11 void: {} at {:?} did not bite", fault.what, fault.at))).collect()
}

fn accepted(ledgers: &Ledgers) -> impl Iterator<Item = &Arrival> {
    ledgers.arrivals.iter().filter(|arrival| arrival.accepted())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::ledger::{Acked, Intent, Sample};
    use crate::support::metadata::Done;

    /// Four records of one key at offsets 0 to 3, accepted one a second: at 1 to 2 s, 2 to 3 s ..
    fn good() -> Ledgers {
        let mut ledgers = Ledgers::default();
        for uid in 0..4_usize {
            let seq = uid as u32;
            ledgers.intents.push(Intent { key: 7, seq, hash: 100 + u64::from(seq) });
            ledgers.acked.push(Acked { uid, partition: 0, offset: i64::from(seq) });
            ledgers.arrivals.push(arrival(seq, seq.into()));
            ledgers.commits.push(Sample {
                at: at(2.5 + f64::from(seq)),
                offset: i64::from(seq) + 1,
                ..Sample::default()
            });
        }
        ledgers
    }

    fn arrival(seq: u32, second: f64) -> Arrival {
        Arrival {
            start: at(1.0 + second),
            end: Some(at(2.0 + second)),
            uid: Some(seq as usize),
            key: 7,
            seq,
            hash: 100 + u64::from(seq),
            webhook_id: format!("id-{seq}"),
            status: Some(200),
            ..Arrival::default()
        }
    }

    fn at(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    fn fault(second: f64, committed: i64) -> Fault {
        let committed = HashMap::from([(0, (committed, Done { ranges: vec![(3, 4)], ..Done::default() }))]);
        Fault { at: at(second), what: "kill", evidence: "gone".into(), committed }
    }

    fn check(change: impl FnOnce(&mut Ledgers), found: &str) {
        let mut ledgers = good();
        change(&mut ledgers);
        let result = std::panic::catch_unwind(|| all(&ledgers));
        let text = result.err().map(|text| *text.downcast::<String>().unwrap()).unwrap_or_default();
        assert!(
            text.contains(found) && text.is_empty() == found.is_empty(),
            "wanted {found:?}, found {text}"
        );
    }

    #[test]
    fn a_record_has_one_id_and_shares_it_with_no_other() {
        check(|ledgers| ledgers.arrivals[1].webhook_id = "id-0".into(), "H04 the same id: uid 0 and 1");
        let again = |ledgers: &mut Ledgers| {
            let mut again = arrival(3, 4.0);
            again.webhook_id = "another".into();
            ledgers.arrivals.push(again);
        };
        check(again, "H03 another id: uid 3");
    }

    #[test]
    fn a_good_run_passes() {
        check(|_| {}, "");
    }

    #[test]
    fn a_lost_record_is_caught() {
        check(|ledgers| drop(ledgers.arrivals.pop()), "I1 lost: uid 3 at 0/3");
        check(|ledgers| ledgers.arrivals[3].status = Some(503), "I1 lost: uid 3 at 0/3");
        check(|ledgers| ledgers.arrivals[3].end = None, "I1 lost: uid 3 at 0/3");
    }

    #[test]
    fn an_invented_or_changed_record_is_caught() {
        check(|ledgers| ledgers.arrivals[2].hash = 1, "I2 changed: uid 2");
        check(
            |ledgers| ledgers.arrivals.push(Arrival { uid: Some(9), ..arrival(9, 9.0) }),
            "I2 invented: uid 9",
        );
    }

    #[test]
    fn a_reordered_key_is_caught() {
        let swap = |ledgers: &mut Ledgers| {
            ledgers.arrivals[1] = arrival(2, 1.0);
            ledgers.arrivals[2] = arrival(1, 2.0);
        };
        check(swap, "I3 reordered: key 7, seq 1 after 2");
    }

    #[test]
    fn two_requests_of_a_key_at_once_are_caught() {
        check(|ledgers| ledgers.arrivals[2].start = at(2.5), "I3 overlap: key 7, seq 1 and 2");
    }

    #[test]
    fn a_repeat_needs_a_fault_that_explains_it() {
        let repeat = |ledgers: &mut Ledgers, seq: u32| ledgers.arrivals.push(arrival(seq, 6.0));
        check(|ledgers| repeat(ledgers, 1), "I4 repeated without a fault: uid 1");
        check(
            |ledgers| {
                repeat(ledgers, 1);
                ledgers.faults.push(fault(6.0, 1));
            },
            "",
        );
        check(
            |ledgers| {
                repeat(ledgers, 1);
                ledgers.faults.push(fault(6.0, 2));
            },
            "I4 repeated though committed: uid 1",
        );
        check(
            |ledgers| {
                repeat(ledgers, 3);
                ledgers.faults.push(fault(6.0, 1));
            },
            "I4 repeated though committed: uid 3",
        );
    }

    #[test]
    fn old_work_must_not_be_repeated() {
        check(
            |ledgers| {
                ledgers.arrivals.push(arrival(0, 9.0));
                ledgers.faults.push(fault(8.5, 0));
            },
            "I4 repeated old work: uid 0",
        );
    }

    #[test]
    fn a_commit_too_far_is_caught_even_where_nothing_is_lost() {
        check(|ledgers| ledgers.commits[1].offset = 3, "I5 committed too far: 0/3");
    }

    #[test]
    fn a_commit_going_backwards_is_caught() {
        check(|ledgers| ledgers.commits[2].offset = 1, "I6 fell: partition 0, 1 after 2");
    }

    #[test]
    fn what_is_wrong_is_shown_with_its_events_and_a_file_with_all_of_them() {
        let mut ledgers = good();
        ledgers.arrivals[3].status = Some(503);
        ledgers.faults.push(fault(9.0, 4));
        let text = show::report(&ledgers, &no_loss(&ledgers, &HashSet::new()));
        for part in [
            "I1 lost: uid 3 at 0/3",
            "intended: uid 3, key 7, seq 3",
            "acknowledged: uid 3 at 0/3",
            "requested: uid 3, key 7, seq 3, attempt 0: 503",
            "fault: kill, gone",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(!text.contains("uid 2"), "others are not concerned:\n{text}");
        let file = text.lines().last().unwrap().rsplit(' ').next().unwrap();
        let all = std::fs::read_to_string(file).unwrap();
        for part in ["acknowledged: uid 2 at 0/2", "committed: 0/4", "requested: uid 0"] {
            assert!(all.contains(part), "{part}\n{all}");
        }
    }

    #[test]
    fn a_fault_without_evidence_is_void() {
        check(
            |ledgers| ledgers.faults.push(Fault { evidence: String::new(), ..fault(9.0, 4) }),
            "I11 void: kill",
        );
    }

    #[test]
    fn progress_needs_something_new() {
        assert!(progress(&good(), at(3.5), at(1.0)).is_empty());
        assert_eq!(progress(&good(), at(3.5), at(0.1)).len(), 1);
        assert_eq!(progress(&good(), at(5.5), at(10.0)).len(), 1);
    }
}
