//! What a partition shows of itself: how far it is, what waits longest, how full its commit metadata is.

use std::time::SystemTime;

use super::Tracker;
use crate::flow::open::State;

/// How far a partition is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// The next offset to commit.
    pub watermark: i64,
    /// Everything below was received, or is known to be done.
    pub position: i64,
    /// Records received or restored, and not terminal.
    pub open: usize,
    /// Offsets at or above the position that are known already: done by an earlier owner, or open.
    pub known_ahead: u64,
    /// The time of the lowest open record, in milliseconds since 1970.
    pub oldest_timestamp: Option<i64>,
    /// When the longest tried of the waiting records was first tried.
    pub oldest_first_try: Option<SystemTime>,
    /// The characters of the last commit's metadata, and how many there may be.
    pub metadata: (usize, usize),
}

impl Figures {
    /// Records that were not read yet where the log ends there. What was compacted away counts too: nobody knows of it
    /// before it is read.
    pub fn unread(&self, end: i64) -> u64 {
        u64::try_from(end.saturating_sub(self.position)).unwrap_or(0).saturating_sub(self.known_ahead)
    }
}

impl Tracker {
    /// The figures of this moment.
    pub fn figures(&self) -> Figures {
        let counts = self.counts();
        let done: i64 = self.ahead.iter().map(|range| range.end - range.start.max(self.position)).sum();
        let mut known_ahead = u64::try_from(done).unwrap_or(0);
        let mut at = self.open.last_id();
        while self.open.get(at).is_some_and(|slot| slot.offset >= self.position) {
            known_ahead += 1;
            at = self.open.before(at);
        }
        // Nobody waits in most partitions, and then none of the open records is looked at.
        let waiting = self.open.iter().take(if self.waiting > 0 { usize::MAX } else { 0 });
        let oldest_first_try = waiting
            .filter(|slot| slot.state == State::Waiting)
            .filter_map(|slot| slot.tried.as_ref()?.progress.first_try)
            .min();
        Figures {
            watermark: self.base(),
            position: self.position,
            open: counts.open,
            known_ahead,
            oldest_timestamp: counts.oldest_timestamp,
            oldest_first_try,
            metadata: (self.written, self.limits.metadata),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::flow::fixture::{TOPIC, WIDE, again, commit, done, later, now, started, take_all, with_keys};
    use crate::flow::metadata::{Phase, Restored, Retry};
    use crate::flow::{Epoch, NextOffset, Order};

    #[test]
    fn the_watermark_stands_below_the_position_while_a_record_is_open() {
        let now = now();
        let mut tracker = with_keys(Order::Key, &[Some("a"), Some("b"), Some("c")], now);
        let mut works = take_all(&mut tracker, now);
        done(&mut tracker, works.remove(1));
        let figures = tracker.figures();
        assert_eq!((figures.watermark, figures.position, figures.open), (0, 3, 2));
        assert_eq!((figures.unread(3), figures.unread(10), figures.unread(1)), (0, 7, 0));
        for work in works {
            done(&mut tracker, work);
        }
        assert_eq!((tracker.figures().watermark, tracker.figures().open), (3, 0));
    }

    #[test]
    fn what_an_earlier_owner_left_is_not_counted_as_unread_too() {
        let now = now();
        let retry = Retry { offset: 6, attempts: 2, due_in: 60, tried_for: 90, phase: Phase::Try };
        let said =
            Restored { done: vec![7..8, 8..9], retries: vec![retry], ..Restored::fresh(NextOffset(5), 1) };
        let tracker = started(1, said, Order::Key, WIDE, now);
        let figures = tracker.figures();
        assert_eq!((figures.watermark, figures.position, figures.open), (5, 5, 1));
        assert_eq!(figures.unread(10), 2, "5 and 9: 6 is open, 7 and 8 are done");
    }

    #[test]
    fn the_oldest_retry_is_the_one_that_was_tried_first() {
        let start = now();
        let mut tracker = with_keys(Order::Key, &[Some("a"), Some("b")], start);
        assert_eq!(tracker.figures().oldest_first_try, None);
        let works = take_all(&mut tracker, start);
        for (work, after) in works.into_iter().zip([20, 10]) {
            again(&mut tracker, work, later(start, after), 300);
        }
        assert_eq!(tracker.figures().oldest_first_try, Some(start.wall + Duration::from_secs(10)));
    }

    #[test]
    fn the_metadata_is_as_long_as_the_last_commit_made_it() {
        let now = now();
        let mut tracker = with_keys(Order::Key, &[Some("a"), Some("b")], now);
        let mut works = take_all(&mut tracker, now);
        let before = tracker.figures().metadata;
        again(&mut tracker, works.remove(0), now, 300);
        let said = commit(&mut tracker, now).unwrap();
        assert_eq!(tracker.figures().metadata, (said.metadata.len(), 4096));
        assert!(said.metadata.len() > before.0 && before.0 > 0);
        let fresh = Restored::fresh(NextOffset(0), 1);
        let unsaid = Tracker::assigned(Epoch(2), TOPIC, fresh, Order::Key, WIDE, now);
        assert_eq!(unsaid.figures().metadata.0, 0);
    }
}
