//! Single stories that the model's histories meet only now and then.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::flow::fixture::{
    TOPIC, WIDE, again, commit, done, later, now, offsets, record, started, take_all, with_keys,
};
use crate::flow::metadata::{Decoded, Phase, Restored, Retry, decode};
use crate::flow::{Admitted, Applied, Commit, Epoch, Limits, NextOffset, Now, Order, Room, Tracker};
use crate::outcome::{Code, Outcome, Owed, Reason, Verdict};

fn restored(commit: &Commit) -> Restored {
    match decode(commit.metadata.as_bytes(), commit.next, TOPIC) {
        Decoded::Restored(restored) => restored,
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_is_taken_before_the_first_commit() {
    let now = now();
    let mut tracker =
        Tracker::assigned(Epoch(1), TOPIC, Restored::fresh(NextOffset(5), 1), Order::Key, WIDE, now);
    tracker.admit(record(1, 5, None));
    assert!(tracker.commit_is_urgent() && tracker.take(now).is_none());
    let first = commit(&mut tracker, now).unwrap();
    assert_eq!(first.next, NextOffset(5));
    assert!(restored(&first).open);
    assert_eq!(offsets(&take_all(&mut tracker, now)), [5]);
    assert!(!tracker.commit_is_urgent() && tracker.commit(now).is_none());
}

#[test]
fn a_refused_commit_is_made_again() {
    let now = now();
    let mut tracker = with_keys(Order::Key, &[None, None], now);
    let mut works = take_all(&mut tracker, now);
    done(&mut tracker, works.remove(0));
    let refused = tracker.commit(now).unwrap();
    assert_eq!(tracker.commit(now), Some(refused.clone()));
    done(&mut tracker, works.remove(0));
    tracker.accepted(Epoch(9), u64::MAX);
    tracker.accepted(refused.epoch, refused.serial);
    assert!(tracker.counts().uncommitted, "the second record is not in the accepted commit");
    assert_eq!(commit(&mut tracker, now).unwrap().next, NextOffset(2));
    assert_eq!(tracker.commit(now), None);
}

#[test]
fn a_restart_forgets_no_attempt_and_repeats_nothing() {
    let begin = now();
    let mut tracker = with_keys(Order::Key, &[Some("a"), Some("b"), Some("a"), Some("c"), Some("d")], begin);
    let mut works = take_all(&mut tracker, begin);
    assert_eq!(offsets(&works), [0, 1, 3, 4]);
    let d = works.pop().unwrap();
    done(&mut tracker, works.pop().unwrap());
    again(&mut tracker, works.pop().unwrap(), begin, 100);
    again(&mut tracker, d, begin, 7_000);
    let then = later(begin, 10);
    let said = commit(&mut tracker, then).unwrap();
    assert_eq!(said.next, NextOffset(0));

    let start = later(then, 30);
    let mut tracker = started(2, restored(&said), Order::Key, WIDE, start);
    assert_eq!((tracker.counts().open, tracker.counts().bodiless), (2, 2));
    let polled: Vec<_> =
        (0..).zip(["a", "b", "a", "c", "d"]).map(|(o, key)| record(2, o, Some(key))).collect();
    let admitted: Vec<_> = polled.into_iter().map(|record| tracker.admit(record)).collect();
    let [taken, known] = [Admitted::Taken, Admitted::Known];
    assert_eq!(admitted, [taken, taken, taken, known, taken]);
    assert_eq!(offsets(&take_all(&mut tracker, start)), [0]);
    // 100 s at 10 s after the first try, 30 s ago; and a wait that is cut to the longest one.
    assert_eq!(tracker.wake_at(), Some(later(start, 60).mono));
    let due = take_all(&mut tracker, later(start, 60));
    assert_eq!(offsets(&due), [1]);
    assert_eq!((due[0].progress.attempts, due[0].progress.first_try), (1, Some(begin.wall)));
    assert!(due[0].progress.restored);
    assert_eq!(tracker.wake_at(), Some(later(start, 600).mono));
}

/// Phases of the metadata, as the next owner takes them up.
#[test]
fn phases_are_taken_up() {
    let now = now();
    let phases = [
        Phase::Try,
        Phase::DeadLetter(Reason::Exhausted, Code::Timeout),
        Phase::Row,
        Phase::Publish,
        Phase::FirstLone,
        Phase::SecondLone,
    ];
    let retries = (0..).zip(phases).map(|(offset, phase)| Retry {
        offset,
        attempts: 2,
        due_in: 0,
        tried_for: 5,
        phase,
    });
    let said = Restored { retries: retries.collect(), ..Restored::fresh(NextOffset(0), 1) };
    let mut tracker = started(1, said, Order::Key, WIDE, now);
    let admitted: Vec<_> = (0..6).map(|offset| tracker.admit(record(1, offset, None))).collect();
    assert_eq!(admitted[2], Admitted::Known, "its row is nobody's yet, and it was accepted");
    let dead_letter = |reason, code| Owed::DeadLetter { reason, code, failure: None };
    let owed: Vec<_> = take_all(&mut tracker, now).into_iter().map(|work| work.progress.owed).collect();
    let expected = [
        Owed::Attempt,
        dead_letter(Reason::Exhausted, Code::Timeout),
        Owed::Attempt,
        Owed::Attempt,
        dead_letter(Reason::Invalid, Code::Crashed),
    ];
    assert_eq!(owed, expected);
}

#[test]
fn the_log_went_back() {
    let now = now();
    let keys = [Some("a"), Some("b"), Some("c"), Some("c"), Some("d")];
    let mut tracker = with_keys(Order::Key, &keys, now);
    let mut works = take_all(&mut tracker, now);
    assert_eq!(offsets(&works), [0, 1, 2, 4]);
    done(&mut tracker, works.remove(0));
    // Truncated to 2: what was 2, 3, 4 is gone, and another record is 2 now. Its key is still at work.
    assert_eq!(tracker.admit(record(1, 2, Some("c"))), Admitted::Taken);
    assert_eq!(tracker.counts().open, 2);
    assert!(tracker.take(now).is_none());
    assert_eq!(commit(&mut tracker, now).unwrap().next, NextOffset(1));
    let [b, c, d] = works.try_into().unwrap();
    done(&mut tracker, b);
    assert_eq!(tracker.complete(c.ticket, Verdict::Done(Outcome::Delivered)), Applied::Stale);
    assert_eq!(tracker.complete(d.ticket, Verdict::Done(Outcome::Delivered)), Applied::Stale);
    assert_eq!(offsets(&take_all(&mut tracker, now)), [2]);
    assert_eq!(commit(&mut tracker, now).unwrap().next, NextOffset(2));
    assert_eq!(tracker.tasks(), 1);
}

#[test]
fn a_retry_that_was_compacted_away_is_pruned() {
    let now = now();
    let retry = Retry { offset: 7, attempts: 2, due_in: 0, tried_for: 5, phase: Phase::Try };
    let said = Restored { retries: vec![retry], ..Restored::fresh(NextOffset(5), 1) };
    let mut tracker = started(1, said.clone(), Order::Key, WIDE, now);
    tracker.admit(record(1, 9, None));
    assert_eq!((tracker.counts().open, commit(&mut tracker, now).unwrap().next), (1, NextOffset(9)));
    // The same where nothing follows, and the end of the partition is all there is to know.
    let mut tracker = started(1, said, Order::Key, WIDE, now);
    tracker.passed(NextOffset(7));
    assert_eq!(tracker.counts().open, 1);
    tracker.passed(NextOffset(8));
    assert_eq!((tracker.counts().open, commit(&mut tracker, now).unwrap().next), (0, NextOffset(8)));
}

/// A seek that skipped what was never polled would lose it.
#[test]
fn letting_go_seeks_to_what_was_not_polled_yet() {
    let now = now();
    let retry = Retry { offset: 7, attempts: 2, due_in: 0, tried_for: 5, phase: Phase::Try };
    let said = Restored { retries: vec![retry], ..Restored::fresh(NextOffset(5), 1) };
    let mut tracker = started(1, said, Order::Key, WIDE, now);
    assert_eq!(tracker.let_go(|_| false), Some(NextOffset(5)));
    assert_eq!(tracker.admit(record(1, 5, None)), Admitted::Detached);
    tracker.sought(NextOffset(5));
    assert_eq!(tracker.admit(record(1, 5, None)), Admitted::Taken);
}

#[test]
fn what_a_probe_needs_is_kept_and_nobody_overtakes_it() {
    let now = now();
    let keys = [Some("a"), Some("b"), Some("a"), Some("c")];
    let mut tracker = with_keys(Order::Key, &keys, now);
    // Offset 2 is wanted too, but stands behind 0: only heads are kept.
    assert_eq!(tracker.let_go(|offset| offset == 0 || offset == 2), Some(NextOffset(1)));
    assert_eq!(tracker.detached(), Some(NextOffset(1)));
    assert_eq!(tracker.counts().bodiless, 3);
    let offsets = |tracker: &Tracker| tracker.candidates().map(|c| c.offset).collect::<Vec<_>>();
    assert_eq!(offsets(&tracker), [0]);

    tracker.sought(NextOffset(1));
    assert_eq!(tracker.detached(), None);
    for (offset, key) in (1..).zip([Some("b"), Some("a"), Some("c")]) {
        assert_eq!(tracker.admit(record(1, offset, key)), Admitted::Again);
    }
    assert_eq!(offsets(&tracker), [0, 1, 3], "2 waits behind 0");
}

#[test]
fn a_probe_does_not_wait() {
    let now = now();
    let mut tracker = with_keys(Order::Key, &[Some("a"), Some("b")], now);
    for (work, wait) in take_all(&mut tracker, now).into_iter().zip([500, 300]) {
        again(&mut tracker, work, now, wait);
    }
    assert!(tracker.take(now).is_none());
    let probe = tracker.take_at(1, now).unwrap();
    assert_eq!(probe.event.origin.offset, 1);
    assert_eq!(tracker.counts().waiting, 1);
    assert_eq!(tracker.complete(probe.ticket, Verdict::Abandoned), Applied::Released);
}

/// One process of a crash loop: works until it meets the record that kills it. Returns what was finished; `None` ends
/// the loop.
fn live(stored: &mut Restored, epoch: u64, now: Now, finished: &mut BTreeSet<i64>) -> Option<Owed> {
    let mut tracker = Tracker::assigned(Epoch(epoch), TOPIC, stored.clone(), Order::Key, WIDE, now);
    for offset in stored.next.0..10 {
        tracker.admit(record(epoch, offset, None));
    }
    loop {
        if let Some(said) = commit(&mut tracker, now) {
            *stored = restored(&said);
        }
        let works = take_all(&mut tracker, now);
        assert!(!tracker.is_suspect() || works.len() <= 1);
        for work in works {
            let offset = work.event.origin.offset;
            match (offset, &work.progress.owed) {
                (5, Owed::Attempt) => return None,
                (5, owed) => return Some(owed.clone()),
                _ => {}
            }
            finished.insert(offset);
            done(&mut tracker, work);
        }
    }
}

/// H34: a record that kills the process on each attempt is dead-lettered after five crashes.
#[test]
fn a_crash_loop_ends() {
    let now = now();
    let mut stored = Restored::fresh(NextOffset(0), 1);
    let mut finished = BTreeSet::new();
    let mut owed = None;
    let mut crashes = 0;
    while owed.is_none() && crashes < 20 {
        owed = live(&mut stored, crashes + 1, now, &mut finished);
        crashes += u64::from(owed.is_none());
    }
    assert_eq!(crashes, 5);
    assert_eq!(owed, Some(Owed::DeadLetter { reason: Reason::Invalid, code: Code::Crashed, failure: None }));
    assert_eq!(stored.retries.iter().find(|retry| retry.offset == 5).map(|retry| retry.attempts), Some(2));
    assert!(finished.contains(&4), "its neighbours are delivered: {finished:?}");
}

/// The same where a process does much between two commits and only makes those that work waits for: what it had at work is
/// still where the next one looks.
#[test]
fn a_crash_loop_ends_where_a_process_comes_far_without_a_commit() {
    const KILLS: i64 = 25;
    let (now, limits) = (now(), Limits { records: 4, ..WIDE });
    let mut stored = Restored::fresh(NextOffset(0), 1);
    let mut crashes = 0;
    'processes: while crashes < 20 {
        let epoch = crashes + 1;
        let mut tracker = Tracker::assigned(Epoch(epoch), TOPIC, stored.clone(), Order::Key, limits, now);
        let mut next = stored.next.0;
        for _ in 0..1_000 {
            while next < 40 && tracker.room() == Room::Open {
                tracker.admit(record(epoch, next, None));
                next += 1;
            }
            if tracker.commit_is_urgent() {
                stored = restored(&commit(&mut tracker, now).unwrap());
            }
            for work in take_all(&mut tracker, now) {
                if work.event.origin.offset != KILLS {
                    done(&mut tracker, work);
                } else if work.progress.owed == Owed::Attempt {
                    crashes += 1;
                    continue 'processes;
                } else {
                    break 'processes;
                }
            }
        }
        panic!("stuck in process {epoch}");
    }
    assert_eq!(crashes, 5);
}

#[test]
fn a_minute_of_progress_clears_the_suspicion() {
    let now = now();
    let said = Restored { crashes: 2, open: true, ..Restored::fresh(NextOffset(0), 1) };
    let mut tracker = started(1, said, Order::Key, WIDE, now);
    tracker.admit(record(1, 0, None));
    tracker.admit(record(1, 1, None));
    tracker.progressed();
    assert!(tracker.is_suspect(), "suspect records are open");
    for _ in 0..2 {
        assert!(tracker.take(now).is_none() && tracker.lone() && tracker.commit_is_urgent());
        commit(&mut tracker, now);
        let work = tracker.take(now).unwrap();
        assert!(work.lone && tracker.take(now).is_none());
        done(&mut tracker, work);
        assert!(!tracker.lone());
    }
    tracker.progressed();
    assert!(!tracker.is_suspect());
    assert_eq!(restored(&commit(&mut tracker, now).unwrap()).crashes, 0);
}

/// A clean stop before a chosen record began leaves no trace of an attempt.
#[test]
fn a_chosen_record_that_never_began_is_not_counted() {
    let now = now();
    let said = Restored { crashes: 2, open: true, ..Restored::fresh(NextOffset(0), 1) };
    let mut tracker = started(1, said, Order::Key, WIDE, now);
    tracker.admit(record(1, 0, None));
    assert!(tracker.take(now).is_none());
    let chosen = restored(&commit(&mut tracker, now).unwrap());
    assert_eq!(chosen.retries[0].phase, Phase::FirstLone);
    tracker.close();
    let closed = restored(&commit(&mut tracker, now).unwrap());
    assert!(!closed.open && closed.retries.is_empty());
    assert_eq!(closed.crashes, 3);
}

/// A lone record whose process lives is not on its way to `crashed`.
#[test]
fn an_abandoned_lone_attempt_is_not_counted() {
    let now = now();
    let said = Restored { crashes: 2, open: true, ..Restored::fresh(NextOffset(0), 1) };
    let mut tracker = started(1, said, Order::Key, WIDE, now);
    tracker.admit(record(1, 0, None));
    assert!(tracker.take(now).is_none());
    commit(&mut tracker, now);
    let work = tracker.take(now).unwrap();
    tracker.close();
    assert_eq!(tracker.complete(work.ticket, Verdict::Abandoned), Applied::Released);
    assert_eq!(restored(&commit(&mut tracker, now).unwrap()).retries, []);
}

/// At a revoke polled records are dropped; the end of the partition says nothing about them.
#[test]
fn after_close_the_end_of_the_partition_says_nothing() {
    let now = now();
    let mut tracker = with_keys(Order::Key, &[], now);
    tracker.close();
    tracker.passed(NextOffset(9));
    assert_eq!(commit(&mut tracker, now).unwrap().next, NextOffset(0));
}

#[test]
fn seconds_are_rounded_to_the_later_due_time() {
    let now = now();
    let mut tracker = with_keys(Order::Key, &[None], now);
    let work = tracker.take(now).unwrap();
    let mut progress = work.progress;
    progress.attempts = 1;
    let due = now.mono + Duration::from_millis(1_200);
    tracker.complete(work.ticket, Verdict::Again { due, progress });
    assert_eq!(restored(&commit(&mut tracker, now).unwrap()).retries[0].due_in, 2);
}
