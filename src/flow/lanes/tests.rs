//! Lanes as stories and as a model.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use proptest::prelude::*;

use super::{Lanes, Order, hash_key};
use crate::event::Rank;
use crate::flow::fixture::{TOPIC, WIDE};
use crate::flow::fixture::{again, commit, done, later, now, offsets, record, started, take_all, with_keys};
use crate::flow::metadata::{Decoded, decode};
use crate::flow::{Admitted, Applied, NextOffset, Record, Tracker, Work};
use crate::outcome::{Filter, HoldCause, Outcome, Verdict};

proptest! {
    /// Against a list per lane, without anything handed over: the front is the first that joined and has not left.
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
                prop_assert_eq!(lanes.leave(lane, head, false), queue.front().copied());
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
    hashes.extend((1_u8..32).flat_map(|byte| (1..8).map(move |length| hash_key(&vec![byte; length]))));
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

fn hold(tracker: &mut Tracker, work: Work) {
    let verdict =
        Verdict::Hold { cause: HoldCause::Kafka, message: String::new(), progress: work.progress.clone() };
    assert_eq!(tracker.complete(work.ticket, verdict), Applied::Held);
}

/// K12: what was handed over holds up nobody behind it, in whatever order it ends.
#[test]
fn a_lane_is_handed_over_back_to_back() {
    let now = now();
    let mut tracker = with_keys(Order::Key, &[Some("a"); 4], now);
    let mut works = Vec::new();
    for _ in 0..3 {
        works.extend(take_all(&mut tracker, now));
        let last = works.last().unwrap();
        assert!(tracker.hand_over(&last.ticket));
        assert!(!tracker.hand_over(&last.ticket), "once");
    }
    assert_eq!(offsets(&works), [0, 1, 2]);
    done(&mut tracker, works.remove(1));
    assert_eq!(tracker.figures().watermark, 0, "each ends for itself");
    works.extend(take_all(&mut tracker, now));
    assert_eq!(offsets(&works), [0, 2, 3]);
    for work in works {
        done(&mut tracker, work);
    }
    assert_eq!(tracker.figures().watermark, 4);
}

/// K12: one that was not written stops its lane; those behind it are awaited and written again, in order.
#[test]
fn a_failed_one_stops_its_lane_and_what_is_behind_it_is_written_again() {
    let now = now();
    let mut tracker = with_keys(Order::Key, &[Some("a"), Some("a"), Some("a"), Some("a"), Some("b")], now);
    let mut out = Vec::new();
    for _ in 0..3 {
        out.push(tracker.take_at(i64::try_from(out.len()).unwrap(), now).unwrap());
        tracker.hand_over(&out.last().unwrap().ticket);
    }
    let [first, second, third] = <[Work; 3]>::try_from(out).unwrap();
    hold(&mut tracker, second);
    assert_eq!(offsets(&take_all(&mut tracker, now)), [4], "3 waits, another key does not");
    assert!(tracker.take(now).is_none());
    done(&mut tracker, first);
    assert!(tracker.take(now).is_none(), "2 is out still");
    assert_eq!(tracker.complete(third.ticket, Verdict::Done(Outcome::Delivered)), Applied::Repeated);
    for offset in 1..4 {
        let work = tracker.take(now).unwrap();
        assert_eq!(work.event.origin.offset, offset);
        assert!(tracker.take(now).is_none());
        done(&mut tracker, work);
    }
}

/// The front of a lane that is at work when the lane stops, and is not handed over yet, is awaited too.
#[test]
fn the_front_at_work_is_awaited_too() {
    let now = now();
    let mut tracker = with_keys(Order::Key, &[Some("a"); 3], now);
    let first = tracker.take(now).unwrap();
    tracker.hand_over(&first.ticket);
    let second = tracker.take(now).unwrap();
    again(&mut tracker, first, now, 0);
    assert!(tracker.take(now).is_none());
    assert!(!tracker.hand_over(&second.ticket), "the lane stands");
    assert_eq!(tracker.complete(second.ticket, Verdict::Done(Outcome::Delivered)), Applied::Repeated);
    let first = tracker.take(now).unwrap();
    assert_eq!(first.event.origin.offset, 0);
    done(&mut tracker, first);
    // One that ends otherwise than by being written is finished, whatever its lane does.
    let second = tracker.take(now).unwrap();
    tracker.hand_over(&second.ticket);
    let third = tracker.take(now).unwrap();
    again(&mut tracker, second, now, 0);
    let filtered = Outcome::Filtered(Filter::Condition);
    assert_eq!(tracker.complete(third.ticket, Verdict::Done(filtered)), Applied::Terminal(filtered));
    assert_eq!(offsets(&take_all(&mut tracker, now)), [1]);
}

/// M11 leaves a lane alone that stands: what is behind a body that is gone may not overtake it.
#[test]
fn a_lane_that_stands_keeps_its_bodies() {
    let now = now();
    let mut tracker = with_keys(Order::Key, &[Some("a"), Some("a"), Some("a"), Some("b")], now);
    let first = tracker.take(now).unwrap();
    tracker.hand_over(&first.ticket);
    let second = tracker.take_at(1, now).unwrap();
    tracker.hand_over(&second.ticket);
    hold(&mut tracker, first);
    assert_eq!(tracker.let_go(|_| false), Some(NextOffset(3)), "the other key's alone");
    assert_eq!(tracker.complete(second.ticket, Verdict::Done(Outcome::Delivered)), Applied::Repeated);
    assert_eq!(offsets(&take_all(&mut tracker, now)), [0]);
}

/// The more urgent goes first, a key keeps its order whatever its records are, and a due retry has the rank of its record.
#[test]
fn the_more_urgent_goes_first_and_a_key_keeps_its_order() {
    let now = now();
    let mut tracker = with_keys(Order::Key, &[], now);
    let all = [
        ("a", Rank::Low),
        ("b", Rank::Normal),
        ("c", Rank::Critical),
        ("b", Rank::Critical),
        ("d", Rank::High),
    ];
    for (offset, (key, rank)) in (0_i64..).zip(all) {
        let record = Record { rank, ..record(1, offset, Some(key)) };
        assert_eq!(tracker.admit(record), Admitted::Taken);
    }
    assert_eq!(tracker.next_rank(now.mono), Some(Rank::Critical));
    let critical = tracker.take(now).unwrap();
    assert_eq!(critical.event.origin.offset, 2);
    let progress = critical.progress.clone();
    let again = Verdict::Again { due: now.mono + Duration::from_secs(1), progress };
    assert_eq!(tracker.complete(critical.ticket, again), Applied::Waiting);
    // The urgent one of `b` waits behind the usual one of its key.
    let works = take_all(&mut tracker, now);
    assert_eq!(offsets(&works), [4, 1, 0]);
    let usual = works.into_iter().nth(1).unwrap();
    done(&mut tracker, usual);
    let later = later(now, 2);
    assert_eq!(tracker.next_rank(later.mono), Some(Rank::Critical));
    assert_eq!(offsets(&take_all(&mut tracker, later)), [3, 2], "both are critical, and take turns");
}
