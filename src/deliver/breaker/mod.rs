//! The circuit breaker of one handler in one process: an outage raises lag, not the DLQ. It outlives assignments and
//! reloads, so that a rebalance forgets nothing. Pure: results go in, and what may be done comes out.
//!
//! Choices beyond the contract: failing keys are remembered up to a bound (1,024), and an open breaker probes at most
//! `AT_ONCE` of them back to back, so that a dead receiver with a thousand waiting keys is not hammered. A record accepted
//! while the breaker is open, by an attempt begun before, makes the next probe due at once instead of closing it.

mod seen;
mod failed;
mod window;

use std::time::{Duration, Instant, SystemTime};

use super::Now;
use super::judge::Standing;
use crate::handler::Limit;
use crate::outcome::Code;
use failed::FailedKeys;
use window::Window;

pub use seen::{Ended, Numbers, Reaction, Rule, Seen, Turn};

/// How many probes an open breaker sends without a wait, each to a key that has not failed yet.
const AT_ONCE: u32 = 16;

/// Open or closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Attempts are made as usual, up to [`Breaker::limit`].
    Closed,
    /// No attempt but probes.
    Open {
        /// Why.
        rule: Rule,
        /// When any waiting key may be probed; `None` while a probe is on its way. A key that has not failed yet may be
        /// probed before: ask [`Breaker::probe`] whenever a record begins to wait.
        next_probe: Option<Instant>,
    },
}

/// The breaker of one handler.
#[derive(Debug)]
pub struct Breaker {
    numbers: Option<Numbers>,
    open: Option<Open>,
    in_a_row: u32,
    exhausted: bool,
    last_accepted: Option<SystemTime>,
    /// The wait to go on with, where a probe without a record has closed it and no record was accepted since: a receiver that
    /// answers those alone would else be tried again each second.
    unproved: Option<Duration>,
    window: Window,
    failed: FailedKeys,
    limit: Limit,
}

#[derive(Debug)]
struct Open {
    rule: Rule,
    /// No probe at all before.
    until: Option<Instant>,
    /// No probe of a key that has failed before.
    next: Instant,
    wait: Duration,
    at_once: u32,
    probing: bool,
}

impl Breaker {
    /// A closed breaker; `None` for `breaker: none`, which never opens. `max_in_flight` bounds [`Breaker::limit`].
    pub fn new(numbers: Option<Numbers>, max_in_flight: usize) -> Breaker {
        let of_window = numbers.unwrap_or_default();
        Breaker {
            numbers,
            open: None,
            in_a_row: 0,
            exhausted: false,
            last_accepted: None,
            unproved: None,
            window: Window::new(of_window.window, of_window.keys),
            failed: FailedKeys::default(),
            limit: Limit::new(max_in_flight),
        }
    }

    /// Other numbers after a reload. What is remembered stays; `none` closes an open breaker.
    pub fn reload(&mut self, numbers: Option<Numbers>, max_in_flight: usize) {
        let of_window = numbers.unwrap_or_default();
        if self.numbers != numbers {
            self.window = Window::new(of_window.window, of_window.keys);
        }
        self.numbers = numbers;
        self.unproved = None;
        self.limit.resize(max_in_flight);
        if numbers.is_none() {
            self.open = None;
        }
    }

    /// Takes note of an attempt that has ended, and says how its failure is to be judged.
    pub fn observe(&mut self, seen: &Seen, now: Now) -> Reaction {
        let status = match seen.ended {
            Ended::Retry { status, .. } => status,
            Ended::Accepted | Ended::Other => None,
        };
        self.limit.observe(status, now.mono);
        if seen.probe
            && let Some(open) = &mut self.open
        {
            open.probing = false;
        }
        let was_open = self.open.is_some();
        self.note(seen, now);
        match seen.ended {
            Ended::Accepted => self.accepted(seen.probe, now),
            Ended::Other => Reaction::default(),
            Ended::Retry { after, .. } if was_open => self.failed_while_open(seen, after, now.mono),
            Ended::Retry { .. } => self.failed_while_closed(seen, now.mono),
        }
    }

    /// Which of the waiting keys may be probed now; `None` where the breaker is closed, a probe is on its way, or it is
    /// too early. The caller then calls [`Breaker::probe_started`].
    pub fn probe(&self, waiting: impl IntoIterator<Item = u64>, now: Instant) -> Option<u64> {
        let open = self.open.as_ref().filter(|open| !open.probing)?;
        if open.until.is_some_and(|until| now < until) {
            return None;
        }
        let paced = now >= open.next;
        if !paced && open.at_once == 0 {
            return None;
        }
        let key = waiting.into_iter().min_by_key(|key| self.failed.order(*key))?;
        (paced || self.failed.order(key) == 0).then_some(key)
    }

    /// Whether a probe without a record (`probe: head | options`) is due.
    pub fn bare_probe_due(&self, now: Instant) -> bool {
        self.open
            .as_ref()
            .is_some_and(|open| !open.probing && now >= open.next.max(open.until.unwrap_or(now)))
    }

    /// The probe is on its way.
    pub fn probe_started(&mut self, now: Instant) {
        if let Some(open) = &mut self.open {
            open.probing = true;
            if now < open.next {
                open.at_once = open.at_once.saturating_sub(1);
            }
        }
    }

    /// The probe ended without a result: its assignment was revoked, or the process stops.
    pub fn probe_abandoned(&mut self) {
        if let Some(open) = &mut self.open {
            open.probing = false;
        }
    }

    /// The probe without a record has ended; `passed`: the receiver is there.
    pub fn bare_probe_ended(&mut self, passed: bool, now: Now) -> Reaction {
        if passed {
            // No record was accepted: who was exhausted, and when one was accepted last, stays as it is.
            self.unproved = self.open.as_ref().map(|open| open.wait).or(self.unproved);
            return self.close(now.mono);
        }
        let (numbers, Some(open)) = (self.numbers.unwrap_or_default(), &mut self.open) else {
            return Reaction::default();
        };
        open.probing = false;
        open.pace(&numbers, None, now.mono);
        Reaction::default()
    }

    /// Open or closed.
    pub fn state(&self) -> State {
        match &self.open {
            None => State::Closed,
            Some(open) => State::Open {
                rule: open.rule,
                next_probe: (!open.probing).then_some(open.until.map_or(open.next, |u| u.max(open.next))),
            },
        }
    }

    /// Whether records of more keys may be taken in while `waiting_keys` keys wait.
    pub fn takes_in(&self, waiting_keys: usize) -> bool {
        self.open.is_none() || waiting_keys < self.numbers.unwrap_or_default().keys
    }

    /// How many attempts may be in flight; 0 while open, where probes are the only ones.
    pub fn limit(&mut self, now: Instant) -> usize {
        if self.open.is_some() { 0 } else { self.limit.get(now) }
    }

    fn note(&mut self, seen: &Seen, now: Now) {
        let cap = self.numbers.unwrap_or_default().retry_after_max;
        match seen.ended {
            Ended::Accepted => {
                self.window.add(seen.key, false, now.mono);
                self.failed.remove(seen.key);
                self.last_accepted = Some(now.wall);
                self.unproved = None;
            }
            Ended::Other => self.window.add(seen.key, false, now.mono),
            Ended::Retry { status, after, .. } => {
                self.window.add(seen.key, true, now.mono);
                if matches!(status, Some(429 | 503)) {
                    let until = after.and_then(|after| now.mono.checked_add(after.min(cap)));
                    self.window.throttled(seen.key, until, now.mono);
                }
                self.failed.insert(seen.key);
            }
        }
        let nobody_there = match seen.ended {
            Ended::Retry { code: Code::Dns | Code::Connect, .. } => true,
            Ended::Retry { status, .. } => matches!(status, Some(502..=504)),
            Ended::Accepted | Ended::Other => false,
        };
        self.in_a_row = if nobody_there { self.in_a_row.saturating_add(1) } else { 0 };
    }

    fn accepted(&mut self, probe: bool, now: Now) -> Reaction {
        self.exhausted = false;
        let Some(open) = &mut self.open else { return Reaction::default() };
        if !probe {
            open.next = now.mono;
            return Reaction::default();
        }
        self.close(now.mono)
    }

    fn close(&mut self, now: Instant) -> Reaction {
        if self.open.take().is_none() {
            return Reaction::default();
        }
        self.in_a_row = 0;
        self.window.clear();
        self.limit.restart(now);
        Reaction { standing: Standing::Ordinary, turned: Some(Turn::Closed) }
    }

    fn failed_while_open(&mut self, seen: &Seen, after: Option<Duration>, now: Instant) -> Reaction {
        let (Some(open), numbers) = (&mut self.open, self.numbers.unwrap_or_default()) else {
            return Reaction::default();
        };
        if open.rule == Rule::Throttled {
            open.until = open.until.max(self.window.throttled_until());
        }
        let standing = if seen.probe {
            open.pace(&numbers, after, now);
            Standing::Probe
        } else if seen.last_attempt {
            Standing::Kept
        } else {
            Standing::Ordinary
        };
        Reaction { standing, turned: None }
    }

    fn failed_while_closed(&mut self, seen: &Seen, now: Instant) -> Reaction {
        let Some(numbers) = self.numbers else { return Reaction::default() };
        let by_record = if seen.last_attempt { self.last_attempt(seen) } else { None };
        let Some(rule) = by_record.or_else(|| self.by_numbers(&numbers, now)) else {
            self.exhausted |= seen.last_attempt;
            return Reaction::default();
        };
        let until = if rule == Rule::Throttled { self.window.throttled_until() } else { None };
        let first = self.unproved.unwrap_or(numbers.first_wait);
        let next = now.checked_add(first).unwrap_or(now);
        let wait = first.saturating_mul(2).min(numbers.longest_wait);
        self.open = Some(Open { rule, until, next, wait, at_once: AT_ONCE, probing: false });
        let standing = if seen.last_attempt { Standing::Kept } else { Standing::Ordinary };
        Reaction { standing, turned: Some(Turn::Opened(rule)) }
    }

    /// Rules (c) and (d): whether a record at its last attempt opens the breaker instead of being exhausted. Of a restored
    /// record nobody knows who was exhausted before it, so until something is accepted here it counts as the second.
    fn last_attempt(&self, seen: &Seen) -> Option<Rule> {
        let accepted_since = self.last_accepted.is_some_and(|at| at >= seen.first_try);
        let unknown = seen.restored && self.last_accepted.is_none();
        if self.exhausted || unknown {
            Some(Rule::SecondInARow)
        } else if !accepted_since && seen.others_wait {
            Some(Rule::LastAttempt)
        } else {
            None
        }
    }

    /// Rules (a) and (b), and that of half of the answers.
    fn by_numbers(&mut self, numbers: &Numbers, now: Instant) -> Option<Rule> {
        let tally = self.window.tally(now);
        let enough = tally.attempts >= numbers.attempts;
        if enough
            && tally.throttled_keys
            && tally.throttled.saturating_mul(2) >= tally.attempts
            && self.window.throttled_until().is_some_and(|until| until > now)
        {
            return Some(Rule::Throttled);
        }
        if self.in_a_row >= numbers.in_a_row {
            return Some(Rule::InARow);
        }
        let share = f64::from(tally.retries) >= f64::from(tally.attempts) * numbers.share;
        (enough && tally.keys && share).then_some(Rule::Share)
    }
}

impl Open {
    /// A paced probe has failed: the next one waits twice as long, or as long as the receiver asks for.
    fn pace(&mut self, numbers: &Numbers, after: Option<Duration>, now: Instant) {
        if now < self.next {
            return;
        }
        let asked = after.unwrap_or_default().min(numbers.retry_after_max);
        self.next = now.checked_add(self.wait.max(asked)).unwrap_or(now);
        self.wait = self.wait.saturating_mul(2).min(numbers.longest_wait);
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
