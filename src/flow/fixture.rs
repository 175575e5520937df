//! What the tests of this module share.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::metadata::Restored;
use super::{Admitted, Applied, Commit, Epoch, Limits, NextOffset, Now, Order, Record, Tracker, Work};
use crate::event::Rank;
use crate::event::{Body, Event, Origin, Topic};
use crate::outcome::{Outcome, Verdict};

pub(super) const TOPIC: [u8; 4] = [1, 2, 3, 4];

/// Limits that nothing reaches.
pub(super) const WIDE: Limits =
    Limits { records: 1 << 20, bytes: 1 << 30, metadata: 4096, max_wait: Duration::from_secs(600) };

pub(super) fn now() -> Now {
    let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600);
    Now { mono: crate::telemetry::clock::now(), wall }
}

pub(super) fn later(now: Now, seconds: u64) -> Now {
    let by = Duration::from_secs(seconds);
    Now { mono: now.mono + by, wall: now.wall + by }
}

pub(super) fn record(epoch: u64, offset: i64, key: Option<&str>) -> Record {
    let topic = Topic { cluster: "c".into(), name: "t".into(), id: None };
    let origin = Origin { topic: Arc::new(topic), partition: 0, offset, timestamp: None };
    let key = key.map(|key| Bytes::copy_from_slice(key.as_bytes()));
    let event = Event { origin, key, headers: vec![], body: Body::Raw(None), part: 0 };
    Record { event: Arc::new(event), epoch: Epoch(epoch), bytes: 100, rank: Rank::Normal }
}

/// An assignment whose first commit is accepted.
pub(super) fn started(epoch: u64, restored: Restored, order: Order, limits: Limits, now: Now) -> Tracker {
    let mut tracker = Tracker::assigned(Epoch(epoch), TOPIC, restored, order, limits, now);
    commit(&mut tracker, now).unwrap();
    tracker
}

/// The same from offset 0, with these records, one offset after another.
pub(super) fn with_keys(order: Order, keys: &[Option<&str>], now: Now) -> Tracker {
    let mut tracker = started(1, Restored::fresh(NextOffset(0), 1), order, WIDE, now);
    for (offset, key) in (0..).zip(keys) {
        assert_eq!(tracker.admit(record(1, offset, *key)), Admitted::Taken);
    }
    tracker
}

/// Commits, and the broker accepts it.
pub(super) fn commit(tracker: &mut Tracker, now: Now) -> Option<Commit> {
    let commit = tracker.commit(now)?;
    tracker.accepted(commit.epoch, commit.serial);
    Some(commit)
}

/// Everything that can be taken now.
pub(super) fn take_all(tracker: &mut Tracker, now: Now) -> Vec<Work> {
    std::iter::from_fn(|| tracker.take(now)).collect()
}

pub(super) fn offsets(works: &[Work]) -> Vec<i64> {
    works.iter().map(|work| work.event.origin.offset).collect()
}

pub(super) fn done(tracker: &mut Tracker, work: Work) {
    let applied = tracker.complete(work.ticket, Verdict::Done(Outcome::Delivered));
    assert_eq!(applied, Applied::Terminal(Outcome::Delivered));
}

/// The attempt has failed; the next one is due in so many seconds.
pub(super) fn again(tracker: &mut Tracker, work: Work, now: Now, wait: u64) {
    let mut progress = work.progress;
    progress.attempts += 1;
    progress.first_try.get_or_insert(now.wall);
    let due = now.mono + Duration::from_secs(wait);
    assert_eq!(tracker.complete(work.ticket, Verdict::Again { due, progress }), Applied::Waiting);
}
