//! When a failed attempt is made again, and when no more. Holds no state: the count and the first try are arguments.

mod written;

use std::time::{Duration, SystemTime};

use crate::outcome::{Class, Code, Failure};
use crate::publish::Problem;

pub use written::{Backoff, EXAMPLE, Spec, Trigger};

/// What runs: every default is settled.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    max_attempts: u32,
    waits: Waits,
    give_up_after: Option<Duration>,
    jitter: bool,
    retry_after_max: Duration,
    only: Option<Vec<Trigger>>,
}

#[derive(Debug, Clone, PartialEq)]
enum Waits {
    Exponential { initial: Duration, max: Duration },
    Fixed(Duration),
    List(Vec<Duration>),
}

/// What follows a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Another attempt, not before this time has passed.
    Wait(Duration),
    /// None: the record is exhausted.
    GiveUp,
}

/// The receiver's `Retry-After` is spread by a tenth, but by no more than this.
const SPREAD_MAX: Duration = Duration::from_secs(5);
/// The default of `retry_after_max` of the webhook block.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

impl Policy {
    /// Settles the defaults. `retry_after_max` is the handler's cap on what a receiver may ask for.
    pub fn build(spec: &Spec, retry_after_max: Duration) -> Result<Policy, Vec<Problem>> {
        let mut problems = Vec::new();
        let initial = spec.initial_delay.map_or(Duration::from_secs(1), |d| d.0);
        let max = spec.max_delay.map_or(Duration::from_secs(600), |d| d.0);
        let waits = match spec.backoff.as_ref().unwrap_or(&Backoff::Exponential) {
            Backoff::Exponential => Waits::Exponential { initial, max },
            Backoff::Fixed => Waits::Fixed(initial),
            Backoff::List(list) => Waits::List(list.iter().map(|d| d.0).collect()),
        };
        let is_list = matches!(waits, Waits::List(_));
        if matches!(&waits, Waits::List(list) if list.is_empty()) {
            problems.push(Problem::at(
                "backoff",
                "there is no wait in this list; write at least one, such as [0s, 5s, 20s]",
            ));
        }
        if is_list && spec.initial_delay.is_some() {
            problems.push(Problem::at(
                "initial_delay",
                "`initial_delay` has no meaning beside a list of waits; leave it out",
            ));
        }
        if !matches!(waits, Waits::Exponential { .. }) && spec.max_delay.is_some() {
            problems.push(Problem::at(
                "max_delay",
                "`max_delay` has a meaning only with `backoff: exponential`; leave it out",
            ));
        }
        if !is_list && initial.is_zero() {
            problems.push(Problem::at(
                "initial_delay",
                "a first wait of 0s is none; to try again at once write a list: backoff: [0s, 0s]",
            ));
        }
        if matches!(waits, Waits::Exponential { .. }) && max < initial {
            problems.push(Problem::at(
                "max_delay",
                "`max_delay` is shorter than the first wait; raise it, or lower `initial_delay`",
            ));
        }
        let max_attempts = spec.max_attempts.unwrap_or(match &waits {
            Waits::List(list) => u32::try_from(list.len()).unwrap_or(u32::MAX),
            Waits::Exponential { .. } | Waits::Fixed(_) => 8,
        });
        if spec.max_attempts == Some(0) {
            problems.push(Problem::at(
                "max_attempts",
                "no attempt would be made; write 1 or more: the first attempt counts",
            ));
        }
        if spec.give_up_after.is_some_and(|d| d.0.is_zero()) {
            problems.push(Problem::at(
                "give_up_after",
                "a record would be given up at once; for a single attempt write max_attempts: 1",
            ));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Policy {
            max_attempts,
            waits,
            give_up_after: spec.give_up_after.map(|d| d.0),
            jitter: spec.jitter.unwrap_or(true),
            retry_after_max,
            only: spec.only.clone(),
        })
    }

    /// The same with waits that are exact.
    #[must_use]
    pub fn without_jitter(self) -> Policy {
        Policy { jitter: false, ..self }
    }

    /// The same with a single attempt.
    #[must_use]
    pub fn once(self) -> Policy {
        Policy { max_attempts: 1, ..self }
    }

    /// What follows when attempt number `attempts_made` has failed, `since_first_try` after the first one began.
    /// `retry_after` is what the receiver asked for: the longer of it and the backoff is waited.
    pub fn next(
        &self,
        attempts_made: u32,
        since_first_try: Duration,
        retry_after: Option<Duration>,
        rng: &mut fastrand::Rng,
    ) -> Next {
        if self.is_last(attempts_made, since_first_try) {
            return Next::GiveUp;
        }
        let backoff = self.backoff(attempts_made.max(1), rng);
        let asked = retry_after.map(|asked| asked.min(self.retry_after_max)).filter(|asked| *asked > backoff);
        let wait = asked.map_or(backoff, |asked| asked + self.spread(asked, SPREAD_MAX, rng));
        match self.give_up_after {
            Some(end) => Next::Wait(wait.min(end.saturating_sub(since_first_try))),
            None => Next::Wait(wait),
        }
    }

    /// Whether nothing follows when attempt number `attempts_made` fails at this time.
    pub fn is_last(&self, attempts_made: u32, since_first_try: Duration) -> bool {
        attempts_made >= self.max_attempts || self.give_up_after.is_some_and(|end| since_first_try >= end)
    }

    /// The wait before the very first attempt: entry 1 of a list. `None` where there is none.
    pub fn before_first(&self, rng: &mut fastrand::Rng) -> Option<Duration> {
        match &self.waits {
            Waits::List(list) => {
                let first = list.first().filter(|wait| !wait.is_zero())?;
                Some(self.spread_over(*first, rng))
            }
            Waits::Exponential { .. } | Waits::Fixed(_) => None,
        }
    }

    /// When a record first tried at `first_try` is given up; `None` where only the count ends it.
    pub fn give_up_at(&self, first_try: SystemTime) -> Option<SystemTime> {
        first_try.checked_add(self.give_up_after?)
    }

    /// How many attempts are made.
    pub fn max_attempts(&self) -> u32 {
        self.max_attempts
    }

    /// No wait is longer: a due time beyond it, found in the commit metadata, is cut to it.
    pub fn longest_wait(&self) -> Duration {
        let written = match &self.waits {
            Waits::Exponential { max, .. } => *max,
            Waits::Fixed(wait) => *wait,
            Waits::List(list) => list.iter().max().copied().unwrap_or_default(),
        };
        let spread = written.saturating_add(written / 10);
        let asked = self.retry_after_max.saturating_add((self.retry_after_max / 10).min(SPREAD_MAX));
        spread.max(asked)
    }

    /// The failure under `only`: what it does not list is rejected instead of retried, and a status that it lists is
    /// retried although the table would dead-letter it. Holds, faults of the record and a 2xx stay what they are: they are
    /// no rows of the retry table.
    pub fn apply_only(&self, mut failure: Failure) -> Failure {
        let Some(only) = self.only.as_ref().filter(|_| !failure.by_rule) else { return failure };
        let status = failure.answer.as_ref().map(|answer| answer.status).filter(|s| !(200..300).contains(s));
        let transport =
            matches!(failure.code, Code::Dns | Code::Connect | Code::Reset | Code::Timeout | Code::Protocol);
        let named = status.is_some_and(|status| only.contains(&Trigger::Status(status)));
        let listed = match (failure.code, status) {
            (code, _) if transport => only.contains(&Trigger::Transport(code)),
            (Code::Status, Some(500..=599)) => named || only.contains(&Trigger::ServerError),
            (Code::Status, Some(_)) => named,
            _ => return failure,
        };
        match failure.class {
            Class::Retry { .. } if !listed => failure.class = Class::Rejected,
            Class::Rejected if named && !transport => failure.class = Class::Retry { after: None },
            Class::Retry { .. } | Class::Rejected | Class::Invalid | Class::Hold(_) => {}
        }
        failure
    }

    fn backoff(&self, attempts_made: u32, rng: &mut fastrand::Rng) -> Duration {
        match &self.waits {
            Waits::Exponential { initial, max } => {
                let factor = 1u32.checked_shl(attempts_made - 1).unwrap_or(u32::MAX);
                let cap = initial.saturating_mul(factor).min(*max);
                if self.jitter { up_to(cap, rng) } else { cap }
            }
            Waits::Fixed(wait) => self.spread_over(*wait, rng),
            Waits::List(list) => {
                // Entry k is the wait before attempt k: after attempt n it is entry n + 1, at index n.
                let index = usize::try_from(attempts_made).unwrap_or(usize::MAX);
                let wait = list.get(index).or(list.last()).copied().unwrap_or_default();
                self.spread_over(wait, rng)
            }
        }
    }

    fn spread_over(&self, wait: Duration, rng: &mut fastrand::Rng) -> Duration {
        wait.saturating_add(self.spread(wait, Duration::MAX, rng))
    }

    /// 0 to 10 % of `wait`, at most `most`.
    fn spread(&self, wait: Duration, most: Duration, rng: &mut fastrand::Rng) -> Duration {
        if self.jitter { up_to((wait / 10).min(most), rng) } else { Duration::ZERO }
    }
}

/// A random time from nothing to `cap`, both included.
fn up_to(cap: Duration, rng: &mut fastrand::Rng) -> Duration {
    Duration::from_nanos(rng.u64(0..=u64::try_from(cap.as_nanos()).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests;
