//! What happened within the last seconds, in buckets of one second: bounded, whatever the rate.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Counts of attempts over a sliding time.
#[derive(Debug)]
pub(super) struct Window {
    length: Duration,
    buckets: VecDeque<Bucket>,
    keys: Recent,
    throttled_keys: Recent,
    throttled_until: Option<Instant>,
}

#[derive(Debug)]
struct Bucket {
    begins: Instant,
    attempts: u32,
    retries: u32,
    throttled: u32,
}

/// What the window holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Attempts that ended.
    pub(super) attempts: u32,
    /// Those that ended in retry.
    pub(super) retries: u32,
    /// Those that ended in 429 or 503.
    pub(super) throttled: u32,
    /// Whether the attempts were of enough keys.
    pub(super) keys: bool,
    /// Whether the 429 and 503 were of enough keys.
    pub(super) throttled_keys: bool,
}

impl Window {
    /// Over `length`; `keys` are enough keys.
    pub(super) fn new(length: Duration, keys: usize) -> Window {
        Window {
            length,
            buckets: VecDeque::new(),
            keys: Recent::new(keys),
            throttled_keys: Recent::new(keys),
            throttled_until: None,
        }
    }

    /// An attempt has ended.
    pub(super) fn add(&mut self, key: u64, retry: bool, now: Instant) {
        let bucket = self.bucket(now);
        bucket.attempts = bucket.attempts.saturating_add(1);
        bucket.retries = bucket.retries.saturating_add(u32::from(retry));
        self.keys.see(key, now);
    }

    /// The attempt added last was answered 429 or 503; the receiver wants nothing before `until`.
    pub(super) fn throttled(&mut self, key: u64, until: Option<Instant>, now: Instant) {
        let bucket = self.bucket(now);
        bucket.throttled = bucket.throttled.saturating_add(1);
        self.throttled_keys.see(key, now);
        self.throttled_until = self.throttled_until.max(until);
    }

    /// The latest time that a 429 or 503 asked to wait for.
    pub(super) fn throttled_until(&self) -> Option<Instant> {
        self.throttled_until
    }

    /// What the window holds now.
    pub(super) fn tally(&mut self, now: Instant) -> Tally {
        self.forget(now);
        let mut tally = Tally {
            keys: self.keys.enough(self.length, now),
            throttled_keys: self.throttled_keys.enough(self.length, now),
            ..Tally::default()
        };
        for bucket in &self.buckets {
            tally.attempts = tally.attempts.saturating_add(bucket.attempts);
            tally.retries = tally.retries.saturating_add(bucket.retries);
            tally.throttled = tally.throttled.saturating_add(bucket.throttled);
        }
        tally
    }

    /// Begins anew.
    pub(super) fn clear(&mut self) {
        self.buckets.clear();
        self.keys.seen.clear();
        self.throttled_keys.seen.clear();
        self.throttled_until = None;
    }

    fn forget(&mut self, now: Instant) {
        let length = self.length;
        let old = |bucket: &Bucket| now.saturating_duration_since(bucket.begins) >= length;
        while self.buckets.pop_front_if(|bucket| old(bucket)).is_some() {}
    }

    #[expect(clippy::unwrap_used, reason = "the line above pushes where there is none")]
    fn bucket(&mut self, now: Instant) -> &mut Bucket {
        self.forget(now);
        let fresh = self
            .buckets
            .back()
            .is_none_or(|bucket| now.saturating_duration_since(bucket.begins) >= Duration::from_secs(1));
        if fresh {
            self.buckets.push_back(Bucket { begins: now, attempts: 0, retries: 0, throttled: 0 });
        }
        self.buckets.back_mut().unwrap()
    }
}

/// The last few different keys: enough to know whether so many were seen within a time.
#[derive(Debug)]
struct Recent {
    enough: usize,
    seen: VecDeque<(u64, Instant)>,
}

impl Recent {
    fn new(enough: usize) -> Recent {
        Recent { enough, seen: VecDeque::new() }
    }

    fn see(&mut self, key: u64, now: Instant) {
        self.seen.retain(|(other, _)| *other != key);
        self.seen.push_back((key, now));
        if self.seen.len() > self.enough {
            self.seen.pop_front();
        }
    }

    fn enough(&self, length: Duration, now: Instant) -> bool {
        let recent = |(_, at): &&(u64, Instant)| now.saturating_duration_since(*at) < length;
        self.seen.iter().filter(recent).count() >= self.enough
    }
}
