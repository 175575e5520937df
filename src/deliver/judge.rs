//! Judges one failed pass over a record: again, a dead letter, or a hold. What the breaker and the holds know of the
//! moment comes in as `Standing`; nothing is remembered here.

use std::time::Instant;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Now;
use super::retry::{self, Next};
use crate::outcome::{Class, Code, Failure, HoldCause, Owed, Progress, Reason};

/// What becomes of a record that does not decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnInvalid {
    /// It is dead-lettered, its bytes untouched.
    #[default]
    Dlq,
    /// The stage holds and keeps it.
    Pause,
    /// It is dropped, and counted.
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
    let by_file = matches!(failure.code, Code::Decode | Code::Schema | Code::UnknownSchema | Code::Signature);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Answer, BodyEnd};
    use crate::telemetry::clock;
    use bytes::Bytes;
    use std::time::{Duration, SystemTime};

    fn policy(dlq: bool, on_invalid: OnInvalid) -> Policy {
        let retry = retry::Policy::build(&retry::Spec::default(), retry::RETRY_AFTER_MAX).unwrap();
        Policy { retry, dlq, on_invalid }
    }

    fn now() -> Now {
        Now { mono: clock::now(), wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000) }
    }

    fn tried(attempts: u32) -> Progress {
        let first_try = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(900));
        Progress { attempts, first_try, ..Progress::FRESH }
    }

    fn judged(policy: &Policy, attempts: u32, failure: Failure, standing: Standing) -> Judgement {
        let failed = Failed { progress: tried(attempts), called: true, failure };
        judge(policy, failed, standing, now(), &mut fastrand::Rng::with_seed(1))
    }

    fn answered(code: Code, class: Class, status: u16) -> Failure {
        let body = Bytes::from_static(b"{}");
        let answer = Answer { status, headers: Vec::new(), body, body_end: BodyEnd::Complete };
        Failure::new(code, class, "no").with_answer(answer)
    }

    fn reason(judgement: &Judgement) -> Option<(Reason, Code)> {
        match judgement {
            Judgement::DeadLetter { reason, code, .. } => Some((*reason, *code)),
            Judgement::Again { .. } | Judgement::Discard(_) | Judgement::Hold { .. } => None,
        }
    }

    fn held(judgement: Judgement) -> (HoldCause, Progress) {
        match judgement {
            Judgement::Hold { cause, progress, .. } => (cause, progress),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_class_has_its_end() {
        let policy = policy(true, OnInvalid::Dlq);
        let invalid = judged(&policy, 0, Failure::invalid(Code::Transform, "no"), Standing::Ordinary);
        assert_eq!(reason(&invalid), Some((Reason::Invalid, Code::Transform)));
        let rejected = Failure::new(Code::Status, Class::Rejected, "no");
        let rejected = judged(&policy, 1, rejected, Standing::Ordinary);
        assert_eq!(reason(&rejected), Some((Reason::Rejected, Code::Status)));
        let last = judged(&policy, 8, Failure::retry(Code::Timeout, "no"), Standing::Ordinary);
        assert_eq!(reason(&last), Some((Reason::Exhausted, Code::Timeout)));
        match judged(&policy, 7, Failure::retry(Code::Timeout, "no"), Standing::Ordinary) {
            Judgement::Again { progress, .. } => assert_eq!(progress, tried(7)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_held_attempt_does_not_count() {
        let policy = policy(true, OnInvalid::Dlq);
        let auth = || Failure::hold(Code::Auth, HoldCause::Auth, "no");
        assert_eq!(held(judged(&policy, 3, auth(), Standing::Ordinary)), (HoldCause::Auth, tried(2)));
        let (_, first) = held(judged(&policy, 1, auth(), Standing::Ordinary));
        assert_eq!((first.attempts, first.first_try), (0, None));
        let failed = Failed { progress: tried(2), called: false, failure: auth() };
        let not_called = judge(&policy, failed, Standing::Ordinary, now(), &mut fastrand::Rng::with_seed(1));
        assert_eq!(held(not_called).1.attempts, 2);
        let fault = judged(&policy, 3, auth(), Standing::AtFault);
        assert_eq!(reason(&fault), Some((Reason::Rejected, Code::Auth)));
    }

    #[test]
    fn what_the_breaker_keeps_is_not_exhausted() {
        let policy = policy(true, OnInvalid::Dlq);
        let retry = || Failure::retry(Code::Status, "no");
        assert_eq!(held(judged(&policy, 8, retry(), Standing::Kept)), (HoldCause::Breaker, tried(7)));
        assert_eq!(held(judged(&policy, 8, retry(), Standing::Probe)), (HoldCause::Breaker, tried(7)));
        let (_, kept) = held(judged(&policy, 1, retry(), Standing::Kept));
        assert_eq!(
            (kept.attempts, kept.first_try),
            (0, tried(0).first_try),
            "rule (c) asks for the first try"
        );
        let rejected = judged(&policy, 8, Failure::new(Code::Status, Class::Rejected, "no"), Standing::Probe);
        assert_eq!(reason(&rejected), Some((Reason::Rejected, Code::Status)));
    }

    #[test]
    fn on_invalid_is_for_what_came_wrong() {
        for code in [Code::Decode, Code::Schema, Code::UnknownSchema, Code::Signature] {
            let judged = |on| judged(&policy(true, on), 0, Failure::invalid(code, "no"), Standing::Ordinary);
            assert_eq!(reason(&judged(OnInvalid::Dlq)), Some((Reason::Invalid, code)));
            assert_eq!(judged(OnInvalid::Discard), Judgement::Discard(code));
            assert_eq!(held(judged(OnInvalid::Pause)).0, HoldCause::Invalid);
        }
        for on_invalid in [OnInvalid::Discard, OnInvalid::Pause] {
            let failure = Failure::invalid(Code::Template, "no");
            let judged = judged(&policy(true, on_invalid), 0, failure, Standing::Ordinary);
            assert_eq!(reason(&judged), Some((Reason::Invalid, Code::Template)));
        }
    }

    #[test]
    fn without_a_dlq_the_stage_holds_and_nothing_is_repeated_that_must_not_be() {
        let policy = policy(false, OnInvalid::Dlq);
        let owed = |attempts, failure| {
            let (cause, progress) = held(judged(&policy, attempts, failure, Standing::Ordinary));
            assert_eq!(cause, HoldCause::NoDlq);
            progress
        };
        assert_eq!(owed(8, Failure::retry(Code::Timeout, "no")), tried(7));
        assert_eq!(owed(2, answered(Code::Status, Class::Rejected, 400)), tried(1));
        let answer = owed(2, answered(Code::Answer, Class::Invalid, 201));
        assert!(matches!(answer.owed, Owed::Publish(answer) if answer.status == 201));
        let unexpected = owed(2, answered(Code::UnexpectedStatus, Class::Rejected, 204));
        assert!(matches!(unexpected.owed, Owed::DeadLetter { reason: Reason::Rejected, .. }));
    }
}
