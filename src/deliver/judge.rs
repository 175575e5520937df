//! Judges one failed pass over a record: again, a dead letter, or a hold. What the breaker and the holds know of the
//! moment comes in as `Standing`; nothing is remembered here.

use std::time::Instant;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Now;
use super::retry::{self, Next};
use crate::outcome::{Class, Code, Failure, HoldCause, Owed, Progress, Reason};

/// What becomes of a record that its source's format or schema refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnInvalid {
    /// It is dead-lettered with its bytes untouched.
    #[default]
    Dlq,
    /// The stage pauses and keeps it.
    Pause,
    /// It is dropped and counted.
    Discard,
}

/// What a stage does with failures.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// When to try again, and when no more.
    pub retry: retry::Policy,
    /// Whether the stage has a `dlq`.
    pub dlq: bool,
    /// What becomes of records that do not decode or validate.
    pub on_invalid: OnInvalid,
}

/// A pass over a record that failed.
#[derive(Debug, Clone, PartialEq)]
pub struct Failed {
    /// What is known of the record, this attempt counted where `called`.
    pub progress: Progress,
    /// Whether the handler was called: a record that does not even decode has made no attempt.
    pub called: bool,
    /// Why it failed.
    pub failure: Failure,
}

/// What else decides over a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Standing {
    /// Nothing else.
    #[default]
    Ordinary,
    /// It was a probe of the open breaker: a failure that asks for another attempt does not count.
    Probe,
    /// The breaker is open, or opened by this failure, and the record would be exhausted: the failure does not count, and
    /// the record waits for the breaker.
    Kept,
    /// It has raised again a hold that an accepted record had ended: the record is at fault, not the stage.
    AtFault,
}

/// What is to be done with the record.
#[derive(Debug, Clone, PartialEq)]
pub enum Judgement {
    /// Another attempt, not before `due`.
    Again {
        /// When.
        due: Instant,
        /// What is known now.
        progress: Progress,
    },
    /// A dead letter is owed.
    DeadLetter {
        /// Why.
        reason: Reason,
        /// Why, finely.
        code: Code,
        /// The failure in full.
        failure: Box<Failure>,
    },
    /// `on_invalid: discard`: dropped and counted.
    Discard(Code),
    /// The stage pauses and keeps the record.
    Hold {
        /// Why.
        cause: HoldCause,
        /// One sentence.
        message: String,
        /// What is known now; the held attempt is not counted.
        progress: Progress,
    },
}

/// Judges a failed pass.
pub fn judge(
    policy: &Policy,
    failed: Failed,
    standing: Standing,
    now: Now,
    rng: &mut fastrand::Rng,
) -> Judgement {
    let Failed { progress, called, failure } = failed;
    let failure = policy.retry.apply_only(failure);
    match failure.class {
        Class::Invalid => invalid(policy, progress, called, failure),
        Class::Rejected => end(policy, Reason::Rejected, progress, called, failure),
        Class::Hold(_) if standing == Standing::AtFault => {
            end(policy, Reason::Rejected, progress, called, failure)
        }
        Class::Hold(cause) => {
            Judgement::Hold { cause, message: failure.message, progress: uncounted(progress, called) }
        }
        Class::Retry { .. } if standing == Standing::Probe => {
            let progress = uncounted(progress, called);
            Judgement::Hold { cause: HoldCause::Breaker, message: failure.message, progress }
        }
        Class::Retry { .. } if standing == Standing::Kept => {
            // Rule (c) asks what was accepted since the first try, so that time stays, also where no attempt is left.
            let first_try = progress.first_try;
            let progress = Progress { first_try, ..uncounted(progress, called) };
            Judgement::Hold { cause: HoldCause::Breaker, message: failure.message, progress }
        }
        Class::Retry { after } => {
            let since = progress.first_try.and_then(|first| now.wall.duration_since(first).ok());
            match policy.retry.next(progress.attempts, since.unwrap_or_default(), after, rng) {
                Next::Wait(wait) => {
                    let due = now.mono.checked_add(wait).unwrap_or(now.mono);
                    Judgement::Again { due, progress: Progress { owed: Owed::Attempt, ..progress } }
                }
                Next::GiveUp => end(policy, Reason::Exhausted, progress, called, failure),
            }
        }
    }
}

fn invalid(policy: &Policy, progress: Progress, called: bool, failure: Failure) -> Judgement {
    let by_file = matches!(failure.code, Code::Decode | Code::Schema | Code::UnknownSchema);
    match policy.on_invalid {
        OnInvalid::Pause if by_file => Judgement::Hold {
            cause: HoldCause::Invalid,
            message: failure.message,
            progress: uncounted(progress, called),
        },
        OnInvalid::Discard if by_file => Judgement::Discard(failure.code),
        OnInvalid::Dlq | OnInvalid::Pause | OnInvalid::Discard => {
            end(policy, Reason::Invalid, progress, called, failure)
        }
    }
}

/// The record is at its end: a dead letter, or without a `dlq` a hold, until somebody has mended the file or the receiver.
fn end(policy: &Policy, reason: Reason, progress: Progress, called: bool, failure: Failure) -> Judgement {
    let code = failure.code;
    if policy.dlq {
        return Judgement::DeadLetter { reason, code, failure: Box::new(failure) };
    }
    let message = format!("no `dlq` to take a record that is {}: {}", reason.as_str(), failure.message);
    let progress = match failure {
        // The handler has accepted: the answer is kept, and what is owed is its publish.
        Failure { class: Class::Invalid, answer: Some(answer), .. } => {
            Progress { owed: Owed::Publish(answer), ..progress }
        }
        // The effect has happened, or the receiver wants no repeat: another request could only do harm.
        failure @ Failure { code: Code::UnexpectedStatus | Code::Aborted, .. } => {
            Progress { owed: Owed::DeadLetter { reason, code, failure: Some(Box::new(failure)) }, ..progress }
        }
        _ => uncounted(progress, called),
    };
    Judgement::Hold { cause: HoldCause::NoDlq, message, progress }
}

/// As if the attempt had not been made. `give_up_after` does not run before the first attempt that counts.
fn uncounted(mut progress: Progress, called: bool) -> Progress {
    progress.attempts = progress.attempts.saturating_sub(u32::from(called));
    if progress.attempts == 0 {
        progress.first_try = None;
    }
    progress.owed = Owed::Attempt;
    progress
}
