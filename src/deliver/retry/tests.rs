//! H12 and H13 at this level, and the written form.

use super::*;
use crate::outcome::{Answer, BodyEnd};
use crate::spec::units;
use proptest::prelude::*;
use serde_json::json;

const SECOND: Duration = Duration::from_secs(1);

fn policy(written: serde_json::Value) -> Policy {
    Policy::build(&serde_json::from_value(written).unwrap(), RETRY_AFTER_MAX).unwrap()
}

fn problems(written: serde_json::Value) -> Vec<String> {
    let spec = serde_json::from_value(written).unwrap();
    let found = Policy::build(&spec, RETRY_AFTER_MAX).unwrap_err();
    found.into_iter().map(|problem| problem.path).collect()
}

fn rng() -> fastrand::Rng {
    fastrand::Rng::with_seed(7)
}

fn wait(policy: &Policy, made: u32, after: Option<Duration>, rng: &mut fastrand::Rng) -> Duration {
    match policy.next(made, Duration::ZERO, after, rng) {
        Next::Wait(wait) => wait,
        Next::GiveUp => panic!("gave up after {made}"),
    }
}

#[test]
fn the_written_forms_are_read() {
    let written = json!({ "backoff": ["0s", "5s"], "only": [429, "5xx", "timeout"], "jitter": false });
    let spec: Spec = serde_json::from_value(written.clone()).unwrap();
    assert_eq!(
        spec.only.as_deref(),
        Some(&[Trigger::Status(429), Trigger::ServerError, Trigger::Transport(Code::Timeout)][..])
    );
    assert_eq!(serde_json::to_value(&spec).unwrap(), written);
    for wrong in [
        json!({ "backoff": "linear" }),
        json!({ "backoff": [5] }),
        json!({ "only": [200] }),
        json!({ "only": [-1] }),
        json!({ "only": ["tls"] }),
        json!({ "max_attempts": -1 }),
        json!({ "retries": 3 }),
    ] {
        assert!(serde_json::from_value::<Spec>(wrong.clone()).is_err(), "{wrong}");
    }
    let schema = serde_json::to_value(schemars::schema_for!(Spec)).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    assert!(validator.is_valid(&written) && !validator.is_valid(&json!({ "backoff": "linear" })));
}

#[test]
fn defaults_are_those_of_the_contract() {
    let left_out = policy(json!({}));
    let written =
        json!({ "max_attempts": 8, "backoff": "exponential", "initial_delay": "1s", "max_delay": "10m" });
    assert_eq!(left_out, policy(written));
    assert_eq!(left_out.next(8, SECOND, None, &mut rng()), Next::GiveUp);
    assert!(!left_out.is_last(7, SECOND * 1_000_000));
}

#[test]
fn what_makes_no_sense_is_refused() {
    assert_eq!(problems(json!({ "backoff": [] })), ["backoff"]);
    assert_eq!(
        problems(json!({ "backoff": ["1s"], "initial_delay": "1s", "max_delay": "1s" })),
        ["initial_delay", "max_delay"]
    );
    assert_eq!(problems(json!({ "backoff": "fixed", "max_delay": "1s" })), ["max_delay"]);
    assert_eq!(
        problems(json!({ "initial_delay": "0s", "max_attempts": 0, "give_up_after": "0s" })),
        ["initial_delay", "max_attempts", "give_up_after"]
    );
    assert_eq!(problems(json!({ "initial_delay": "1m", "max_delay": "1s" })), ["max_delay"]);
}

/// H13.
#[test]
fn ten_thousand_waits_lie_in_their_bounds_with_the_mean_near_half() {
    let policy = policy(json!({ "max_attempts": 100 }));
    let mut rng = rng();
    for (made, cap) in [(1, 1), (2, 2), (5, 16), (10, 512), (11, 600), (40, 600), (99, 600)] {
        let cap = SECOND * cap;
        let mut sum = Duration::ZERO;
        for _ in 0..10_000 {
            let wait = wait(&policy, made, None, &mut rng);
            assert!(wait <= cap, "{wait:?}");
            sum += wait;
        }
        let mean = (sum / 10_000).as_secs_f64() / cap.as_secs_f64();
        assert!((0.48..0.52).contains(&mean), "after {made}: {mean}");
    }
}

/// H13.
#[test]
fn a_list_gives_the_wait_before_each_attempt_and_their_number() {
    let policy = policy(json!({ "backoff": ["0s", "5s", "10s", "20s"] }));
    let mut rng = rng();
    assert_eq!(policy.max_attempts(), 4);
    assert_eq!(policy.before_first(&mut rng), None);
    for (made, written) in [(1, 5), (2, 10), (3, 20)] {
        let written = SECOND * written;
        let wait = wait(&policy, made, None, &mut rng);
        assert!(wait >= written && wait <= written + written / 10, "{wait:?}");
    }
    assert_eq!(policy.next(4, SECOND, None, &mut rng), Next::GiveUp);
}

#[test]
fn the_last_entry_repeats_and_without_jitter_waits_are_exact() {
    let policy = policy(json!({ "backoff": ["3s", "5s"], "max_attempts": 5, "jitter": false }));
    assert_eq!(policy.before_first(&mut rng()), Some(SECOND * 3));
    let waits: Vec<_> = (1..5).map(|made| wait(&policy, made, None, &mut rng())).collect();
    assert_eq!(waits, [SECOND * 5; 4]);
    let fixed = self::policy(json!({ "backoff": "fixed", "initial_delay": "2s", "jitter": false }));
    assert_eq!(wait(&fixed, 3, None, &mut rng()), SECOND * 2);
    let exponential = self::policy(json!({ "jitter": false }));
    assert_eq!(wait(&exponential, 4, None, &mut rng()), SECOND * 8);
}

/// H13.
#[test]
fn give_up_after_cuts_the_last_wait_and_the_earlier_end_wins() {
    let policy = policy(
        json!({ "backoff": "fixed", "initial_delay": "1m", "give_up_after": "90s", "max_attempts": 3 }),
    );
    let mut rng = rng();
    assert_eq!(policy.next(1, SECOND * 70, None, &mut rng), Next::Wait(SECOND * 20));
    assert_eq!(policy.next(2, SECOND * 90, None, &mut rng), Next::GiveUp);
    assert_eq!(policy.next(3, SECOND, None, &mut rng), Next::GiveUp);
    assert_eq!(policy.next(1, SECOND * 80, Some(SECOND * 3_000), &mut rng), Next::Wait(SECOND * 10));
    let first = SystemTime::UNIX_EPOCH + SECOND;
    assert_eq!(policy.give_up_at(first), Some(first + SECOND * 90));
}

/// H12.
#[test]
fn the_longer_of_retry_after_and_backoff_is_waited_and_it_is_capped() {
    let policy = policy(json!({ "backoff": "fixed", "initial_delay": "10s", "jitter": false }));
    let mut rng = rng();
    assert_eq!(wait(&policy, 1, Some(SECOND * 5), &mut rng), SECOND * 10);
    assert_eq!(wait(&policy, 1, Some(SECOND * 30), &mut rng), SECOND * 30);
    assert_eq!(wait(&policy, 1, Some(Duration::MAX), &mut rng), RETRY_AFTER_MAX);
    assert_eq!(wait(&policy, 1, Some(Duration::ZERO), &mut rng), SECOND * 10);
}

/// H12.
#[test]
fn a_thousand_waiters_do_not_return_together() {
    let policy = policy(json!({ "initial_delay": "1ms" }));
    let mut rng = rng();
    let mut waits: Vec<u128> =
        (0..1_000).map(|_| wait(&policy, 1, Some(SECOND * 30), &mut rng).as_millis()).collect();
    waits.sort_unstable();
    assert!(waits[0] >= 30_000 && waits[999] <= 33_000);
    let most = waits.iter().map(|at| waits.iter().filter(|other| **other / 10 == at / 10).count()).max();
    assert!(most.unwrap() < 20, "{most:?} return within the same 10 ms");
    let capped = wait(&policy, 1, Some(SECOND * 3_600), &mut rng);
    assert!(capped <= SECOND * 3_605, "at most 5 s are added");
}

fn failed(code: Code, class: Class, status: Option<u16>) -> Failure {
    let failure = Failure::new(code, class, "no");
    let Some(status) = status else { return failure };
    let answer =
        Answer { status, headers: Vec::new(), body: bytes::Bytes::new(), body_end: BodyEnd::Complete };
    failure.with_answer(answer)
}

#[test]
fn only_replaces_the_retry_rows() {
    let policy = policy(json!({ "only": [418, 503, "timeout"] }));
    let retry = Class::Retry { after: Some(SECOND) };
    let check = |code, class, status, expected| {
        assert_eq!(policy.apply_only(failed(code, class, status)).class, expected, "{code:?} {status:?}");
    };
    check(Code::Status, retry, Some(503), retry);
    check(Code::Status, retry, Some(500), Class::Rejected);
    check(Code::Status, Class::Rejected, Some(418), Class::Retry { after: None });
    check(Code::Status, Class::Rejected, Some(400), Class::Rejected);
    check(Code::Timeout, retry, None, retry);
    check(Code::Dns, retry, None, Class::Rejected);
    check(
        Code::Auth,
        Class::Hold(crate::outcome::HoldCause::Auth),
        Some(401),
        Class::Hold(crate::outcome::HoldCause::Auth),
    );
    check(Code::Status, retry, Some(200), retry);
    check(Code::Other, retry, None, retry);
    let server = self::policy(json!({ "only": ["5xx"] }));
    assert_eq!(server.apply_only(failed(Code::Status, retry, Some(500))).class, retry);
    assert_eq!(server.apply_only(failed(Code::Status, retry, Some(429))).class, Class::Rejected);
    assert_eq!(server.apply_only(failed(Code::Status, Class::Rejected, Some(501))).class, Class::Rejected);
    let none = self::policy(json!({}));
    assert_eq!(none.apply_only(failed(Code::Dns, retry, None)).class, retry);
}

proptest! {
    #[test]
    fn no_wait_is_longer_than_the_longest(
        made in 0u32..2_000, since in 0u64..100_000, after in prop::option::of(any::<u64>()), seed: u64,
        initial in 1u64..10_000, more in 0u64..100_000_000, form in 0u8..3, give_up in prop::option::of(1u64..100_000),
    ) {
        let ms = |millis| units::Duration(Duration::from_millis(millis));
        let spec = Spec {
            max_attempts: Some(1_000),
            backoff: Some(match form {
                0 => Backoff::Exponential,
                1 => Backoff::Fixed,
                _ => Backoff::List(vec![ms(initial), ms(more)]),
            }),
            initial_delay: (form < 2).then(|| ms(initial)),
            max_delay: (form == 0).then(|| ms(initial + more)),
            give_up_after: give_up.map(|s| units::Duration(SECOND * u32::try_from(s).unwrap())),
            ..Spec::default()
        };
        let policy = Policy::build(&spec, RETRY_AFTER_MAX).unwrap();
        let since = Duration::from_secs(since);
        let mut rng = fastrand::Rng::with_seed(seed);
        match policy.next(made, since, after.map(Duration::from_millis), &mut rng) {
            Next::Wait(wait) => {
                prop_assert!(!policy.is_last(made, since));
                prop_assert!(wait <= policy.longest_wait());
                if let Some(end) = spec.give_up_after {
                    prop_assert!(since + wait <= end.0);
                }
            }
            Next::GiveUp => prop_assert!(policy.is_last(made, since)),
        }
    }
}
