//! What a breaker is told, by which numbers it judges, and what it answers.

use std::time::{Duration, SystemTime};

use crate::deliver::judge::Standing;
use crate::deliver::retry::RETRY_AFTER_MAX;
use crate::handler::webhook;
use crate::outcome::{Class, Code, Failure};

/// When a breaker opens and how it probes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Numbers {
    /// Rule (a): this many attempts in a row found nobody there.
    pub in_a_row: u32,
    /// Rule (b): within this time ..
    pub window: Duration,
    /// .. at least this many attempts ..
    pub attempts: u32,
    /// .. of at least this many keys; also how many keys may wait before intake stops.
    pub keys: usize,
    /// .. of which this share ended in retry.
    pub share: f64,
    /// The wait before the first paced probe; it doubles ..
    pub first_wait: Duration,
    /// .. up to this.
    pub longest_wait: Duration,
    /// The cap on what a receiver may ask for.
    pub retry_after_max: Duration,
}

impl Default for Numbers {
    fn default() -> Numbers {
        Numbers {
            in_a_row: 5,
            window: Duration::from_secs(30),
            attempts: 10,
            keys: 3,
            share: 0.7,
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(30),
            retry_after_max: RETRY_AFTER_MAX,
        }
    }
}

impl Numbers {
    /// Of a webhook's block; `None` for `breaker: none`.
    pub fn of(webhook: &webhook::Spec) -> Option<Numbers> {
        let webhook::Breaker::On(written) = &webhook.breaker else { return None };
        Some(Numbers {
            in_a_row: written.consecutive,
            window: written.window.0,
            attempts: written.min_attempts,
            keys: usize::try_from(written.min_keys).unwrap_or(usize::MAX),
            share: written.failure_ratio.0,
            retry_after_max: webhook.retry_after_max.0,
            ..Numbers::default()
        })
    }
}

/// How an attempt ended, as far as the breaker cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The receiver took it.
    Accepted,
    /// Worth another attempt.
    Retry {
        /// The code of the failure.
        code: Code,
        /// The status, where there was an answer.
        status: Option<u16>,
        /// The receiver's `Retry-After`.
        after: Option<Duration>,
    },
    /// Rejected, held, or a fault of the record: the receiver's health is not what failed.
    Other,
}

impl Ended {
    /// Of a failed attempt; `only` of the retry policy has been applied.
    pub fn of(failure: &Failure) -> Ended {
        match failure.class {
            Class::Retry { after } => {
                let status = failure.answer.as_ref().map(|answer| answer.status);
                Ended::Retry { code: failure.code, status, after }
            }
            Class::Invalid | Class::Rejected | Class::Hold(_) => Ended::Other,
        }
    }
}

/// An attempt that has ended.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// The hash of the record's key (and partition); of a record without a key, of its position.
    pub key: u64,
    /// How it ended.
    pub ended: Ended,
    /// Whether it was the probe.
    pub probe: bool,
    /// Whether the retry policy allows no other (`retry::Policy::is_last`).
    pub last_attempt: bool,
    /// When the record's first attempt began.
    pub first_try: SystemTime,
    /// Whether the record was restored from the metadata of an earlier assignment.
    pub restored: bool,
    /// Whether a record of another key is there to be tried.
    pub others_wait: bool,
}

/// What an observation changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reaction {
    /// How the failure is to be judged.
    pub standing: Standing,
    /// Whether the breaker opened or closed just now.
    pub turned: Option<Turn>,
}

/// A change of state, for log, metric and status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It opened, and by which rule.
    Opened(Rule),
    /// It closed.
    Closed,
}

/// Why a breaker opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// (a) attempts in a row found nobody there.
    InARow,
    /// (b) most attempts of several keys failed.
    Share,
    /// (c) a record would be exhausted while another key has one to try.
    LastAttempt,
    /// (d) a second record in a row would be exhausted, or one restored from an earlier assignment, with none accepted.
    SecondInARow,
    /// Half of the answers were 429 or 503, and the receiver said when to return.
    Throttled,
}

impl Rule {
    /// One sentence for logs and status.
    pub fn message(self) -> &'static str {
        match self {
            Rule::InARow => "attempts in a row found the receiver unreachable",
            Rule::Share => "most attempts of several keys failed",
            Rule::LastAttempt => "a record reached its last attempt and none was accepted since its first",
            Rule::SecondInARow => "records in a row reached their last attempt and none was accepted between",
            Rule::Throttled => "half of the answers were 429 or 503 with a Retry-After",
        }
    }
}
