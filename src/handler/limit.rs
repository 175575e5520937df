//! How many attempts may be in flight, of one handler and of all that go to one host. Judged once a second, so single
//! failures change nothing.
//!
//! After an outage it begins at 1 and doubles each second, until the first bad second or the top: 256 in eight seconds.

use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);
/// Fewer answers in a second say nothing.
const ANSWERS: u32 = 20;

/// An adaptive limit between 1 and the configured one.
#[derive(Debug)]
pub(crate) struct Limit {
    max: usize,
    now: usize,
    /// The most that were in flight in this second, where that is known.
    used: Option<usize>,
    doubling: bool,
    second: Option<Instant>,
    answers: u32,
    bad: u32,
}

impl Limit {
    /// At its top.
    pub(crate) fn new(max: usize) -> Limit {
        let max = max.max(1);
        Limit { max, now: max, used: None, doubling: false, second: None, answers: 0, bad: 0 }
    }

    /// Another top: a limit that stood at its top stays there.
    pub(crate) fn resize(&mut self, max: usize) {
        let at_top = self.now == self.max;
        self.max = max.max(1);
        self.now = if at_top { self.max } else { self.now.min(self.max) };
    }

    /// Begins again at 1.
    pub(crate) fn restart(&mut self, now: Instant) {
        *self = Limit { now: 1, doubling: true, second: Some(now), ..Limit::new(self.max) };
    }

    /// An attempt has ended; `status` of one that is to be retried.
    pub(crate) fn observe(&mut self, status: Option<u16>, now: Instant) {
        self.judge(now);
        self.answers = self.answers.saturating_add(1);
        self.bad = self.bad.saturating_add(u32::from(matches!(status, Some(429 | 502..=504))));
    }

    /// So many are in flight. A limit that nobody comes near is halved from there: half of it would change nothing.
    pub(crate) fn used(&mut self, in_flight: usize) {
        self.used = self.used.max(Some(in_flight));
    }

    /// Whether it is at its top, and nothing is known that could change it.
    pub(crate) fn rests(&mut self, now: Instant) -> bool {
        self.judge(now);
        self.now == self.max && self.answers == 0
    }

    /// The limit.
    pub(crate) fn get(&mut self, now: Instant) -> usize {
        self.judge(now);
        self.now
    }

    fn judge(&mut self, now: Instant) {
        let second = *self.second.get_or_insert(now);
        let passed = now.saturating_duration_since(second).as_secs();
        if passed == 0 {
            return;
        }
        self.second = second.checked_add(SECOND * u32::try_from(passed).unwrap_or(u32::MAX)).or(Some(now));
        // More than 20 % of at least 20 answers.
        if self.answers >= ANSWERS && self.bad.saturating_mul(5) > self.answers {
            self.now = (self.now.min(self.used.unwrap_or(self.now)) / 2).max(1);
            self.doubling = false;
        } else {
            self.grow();
        }
        (self.answers, self.bad, self.used) = (0, 0, None);
        // Seconds without an answer are seconds without a fault; more of them than this reach any top.
        for _ in 1..passed.min(128) {
            self.grow();
        }
    }

    fn grow(&mut self) {
        let more = if self.doubling { self.now } else { (self.now / 4).max(1) };
        self.now = self.now.saturating_add(more).min(self.max);
        self.doubling &= self.now < self.max;
    }
}
