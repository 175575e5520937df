//! Lanes as stories and as a model.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::{Lanes, Order, hash_key};
use crate::flow::Applied;
use crate::flow::fixture::{TOPIC, WIDE};
use crate::flow::fixture::{again, commit, done, later, now, offsets, record, started, take_all, with_keys};
use crate::flow::metadata::{Decoded, decode};
use crate::outcome::{HoldCause, Outcome, Verdict};

proptest! {
    /// Against a list per lane: the head is the first that joined and has not left.
    #[test]
    fn one_per_key(steps in prop::collection::vec((0_u64..4, any::<bool>()), 0..200)) {
        let mut lanes = Lanes::default();
        let mut model: BTreeMap<u64, VecDeque<u32>> = BTreeMap::new();
        for (slot, (lane, join)) in (0_u32..).zip(steps) {
            let queue = model.entry(lane).or_default();
            if join {
                queue.push_back(slot);
                prop_assert_eq!(lanes.join(lane, slot), queue.len() == 1);
            } else if let Some(head) = queue.pop_front() {
                prop_assert_eq!(lanes.leave(lane, head), queue.front().copied());
            }
        }
        prop_assert!(lanes.lanes.len() == model.values().filter(|queue| !queue.is_empty()).count());
    }

    /// Not a law, but two keys of one lane would wait for each other.
    #[test]
    fn keys_rarely_share_a_lane(one: Vec<u8>, other: Vec<u8>) {
        prop_assert!(one == other || hash_key(&one) != hash_key(&other));
    }
}

#[test]
fn keys_that_differ_in_zeros_do_not_share_a_lane() {
    let mut hashes: Vec<u64> = (0..64).map(|length| hash_key(&vec![0; length])).collect();
    hashes.extend((0_u32..100_000).map(|number| hash_key(number.to_string().as_bytes())));
    let count = hashes.len();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), count);
}

#[test]
fn others_go_on() {
    let now = now();
    let mut tracker =
        with_keys(Order::Key, &[Some("a"), Some("a"), Some("b"), None, None, Some(""), Some("")], now);
    let mut works = take_all(&mut tracker, now);
    assert_eq!(offsets(&works), [0, 2, 3, 4, 5], "each null key has its own lane, an empty key is a key");
    again(&mut tracker, works.remove(0), now, 60);
    for work in works {
        done(&mut tracker, work);
    }
    let works = take_all(&mut tracker, later(now, 59));
    assert_eq!(offsets(&works), [6], "1 waits behind the retry of 0");
    assert_eq!(tracker.wake_at(), Some(later(now, 60).mono));
    let works = take_all(&mut tracker, later(now, 60));
    assert_eq!(offsets(&works), [0]);
    assert_eq!(works[0].progress.attempts, 1);
    for work in works {
        done(&mut tracker, work);
    }
    assert_eq!(offsets(&take_all(&mut tracker, later(now, 60))), [1]);
}

#[test]
fn a_partition_is_one_lane_or_none() {
    let now = now();
    let keys = [Some("a"), Some("b"), None];
    assert_eq!(offsets(&take_all(&mut with_keys(Order::Partition, &keys, now), now)), [0]);
    assert_eq!(offsets(&take_all(&mut with_keys(Order::None, &[Some("a"); 3], now), now)), [0, 1, 2]);
}

/// A hot key does not keep the others waiting, and a held record lets another key try.
#[test]
fn lanes_take_turns() {
    let now = now();
    let mut tracker = with_keys(Order::Key, &[Some("a"), Some("a"), Some("b"), Some("c")], now);
    let work = tracker.take(now).unwrap();
    done(&mut tracker, work);
    let work = tracker.take(now).unwrap();
    assert_eq!(offsets(&[work]), [2]);
    let held = tracker.take(now).unwrap();
    assert_eq!(held.event.origin.offset, 3);
    let progress = held.progress.clone();
    let verdict = Verdict::Hold { cause: HoldCause::Auth, message: String::new(), progress };
    assert_eq!(tracker.complete(held.ticket, verdict), Applied::Held);
    assert_eq!(offsets(&take_all(&mut tracker, now)), [1, 3]);
}

/// G16: two epochs of one process never have two requests of one key in flight.
#[test]
fn new_epoch_waits_for_old_tasks() {
    let now = now();
    let mut old = with_keys(Order::Key, &[Some("a"), Some("b")], now);
    let works = take_all(&mut old, now);
    let said = commit(&mut old, now);
    assert_eq!(said, None, "nothing is done: the first commit still says it all");
    old.close();
    let said = commit(&mut old, now).unwrap();
    let Decoded::Restored(restored) = decode(said.metadata.as_bytes(), said.next, TOPIC) else { panic!() };
    let mut new = started(2, restored, Order::Key, WIDE, now);
    new.wait_for(old.tasks());
    new.admit(record(2, 0, Some("a")));
    for work in works {
        assert_eq!(new.tasks(), if work.event.origin.offset == 0 { 2 } else { 1 });
        assert!(new.take(now).is_none());
        let before = new.commit(now);
        assert_eq!(new.complete(work.ticket, Verdict::Done(Outcome::Delivered)), Applied::Stale);
        assert_eq!(new.commit(now), before);
    }
    assert_eq!(offsets(&take_all(&mut new, now)), [0]);
}
