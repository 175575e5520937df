//! Room in the metadata, against the encoder.

use std::time::Duration;

use proptest::prelude::*;

use super::{Limits, Room, Why};
use crate::flow::fixture::{WIDE, again, commit, done, later, now, record, started, take_all};
use crate::flow::metadata::{Restored, characters};
use crate::flow::{NextOffset, Order, Tracker};
use crate::outcome::{Code, Owed, Reason, Verdict};

fn fresh(limits: Limits) -> Tracker {
    started(1, Restored::fresh(NextOffset(0), 12), Order::None, limits, now())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// H30: whatever completes next, the text is not longer than what the O(1) bound said.
    #[test]
    fn worst_case_is_never_too_low(
        base in 0_i64..1 << 55,
        gaps in prop::collection::vec(prop_oneof![9 => 1_i64..4, 2 => 1_i64..300, 1 => 1_i64..3_000_000], 1..600),
        fates in prop::collection::vec(0_u8..10, 600),
        wait in 0_u64..600,
        days in 0_u64..1000,
    ) {
        let now = now();
        let wide = Limits { metadata: 1 << 20, ..WIDE };
        let mut tracker = started(1, Restored::fresh(NextOffset(base), 12), Order::None, wide, now);
        let mut offset = base;
        for gap in gaps {
            offset += gap;
            tracker.admit(record(1, offset, None));
        }
        let mut works = Vec::new();
        for (work, fate) in take_all(&mut tracker, now).into_iter().zip(&fates) {
            match fate {
                0 => again(&mut tracker, work, now, wait),
                1 => {
                    let mut progress = work.progress;
                    (progress.attempts, progress.first_try) = (200, Some(now.wall));
                    progress.owed = Owed::DeadLetter { reason: Reason::Exhausted, code: Code::Status, failure: None };
                    let due = now.mono + Duration::from_secs(wait);
                    tracker.complete(work.ticket, Verdict::Again { due, progress });
                }
                _ => works.push((work, *fate)),
            }
        }
        let worst = tracker.load().worst;
        for (work, _) in works.into_iter().filter(|(_, fate)| fate % 2 == 0) {
            done(&mut tracker, work);
        }
        let text = tracker.commit(later(now, days * 86_400)).map_or(0, |commit| commit.metadata.len());
        prop_assert!(text <= characters(worst), "{} > {}", text, characters(worst));
    }
}

/// H30: at three quarters the partition takes no new records, until it is below 60 %.
#[test]
fn metadata_closes_at_three_quarters() {
    let now = now();
    let mut tracker = fresh(WIDE);
    let mut open = 0;
    while tracker.room() == Room::Open {
        tracker.admit(record(1, 3 * open, None));
        let work = tracker.take(now).unwrap();
        again(&mut tracker, work, now, 300);
        commit(&mut tracker, now);
        open += 1;
    }
    assert_eq!(tracker.room(), Room::Full(Why::Metadata));
    assert!((200..=340).contains(&open), "{open} waiting retries");
    let later = later(now, 300);
    let mut closed = open;
    while tracker.room() != Room::Open {
        let work = tracker.take(later).unwrap();
        done(&mut tracker, work);
        commit(&mut tracker, later);
        closed -= 1;
    }
    assert!(closed > 0 && closed <= open * 4 / 5 + 1, "open again with {closed} of {open}");
}

/// A restart with a full text waits for bodies that it has to poll: it must not pause the partition for that.
#[test]
fn restored_records_are_polled_however_full_it_is() {
    let now = now();
    let mut tracker = fresh(WIDE);
    for offset in 0..300 {
        tracker.admit(record(1, offset, None));
    }
    for work in take_all(&mut tracker, now) {
        again(&mut tracker, work, now, 300);
    }
    tracker.admit(record(1, 300, None));
    assert_eq!(tracker.room(), Room::Full(Why::Metadata));
    assert_eq!(tracker.let_go(|_| false), Some(NextOffset(0)));
    tracker.sought(NextOffset(0));
    for offset in 0..=300 {
        assert_eq!(tracker.room(), Room::Open, "{offset}");
        tracker.admit(record(1, offset, None));
    }
    assert_eq!(tracker.room(), Room::Full(Why::Metadata));
}

#[test]
fn records_and_bytes_have_hysteresis() {
    for (limits, why) in
        [(Limits { records: 10, ..WIDE }, Why::Records), (Limits { bytes: 1_000, ..WIDE }, Why::Bytes)]
    {
        let mut tracker = fresh(limits);
        for offset in 0..10 {
            assert_eq!(tracker.room(), Room::Open);
            tracker.admit(record(1, offset, None));
        }
        let mut rooms = Vec::new();
        for work in take_all(&mut tracker, now()).into_iter().take(3) {
            rooms.push(tracker.room());
            done(&mut tracker, work);
        }
        rooms.push(tracker.room());
        assert_eq!(rooms, [Room::Full(why), Room::Full(why), Room::Full(why), Room::Open]);
    }
}

/// H31: all in flight start to wait at once. The commit is made, says what it leaves out, and fits a smaller broker too.
#[test]
fn overflow_commits_all_the_same() {
    let now = now();
    let mut tracker = fresh(WIDE);
    for offset in 0..2_000 {
        tracker.admit(record(1, offset, None));
    }
    for work in take_all(&mut tracker, now) {
        if work.event.origin.offset % 2 == 0 {
            again(&mut tracker, work, now, 300);
        } else {
            done(&mut tracker, work);
        }
    }
    for limit in [4096, 2048, 1024] {
        tracker.set_metadata_limit(limit);
        let commit = tracker.commit(now).unwrap();
        assert_eq!(commit.next, NextOffset(0));
        assert!(
            commit.metadata.len() <= limit && commit.cut.retries > 300 && commit.cut.done > 900,
            "{commit:?}"
        );
    }
}
