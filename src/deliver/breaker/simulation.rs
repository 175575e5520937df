//! Retry policy, judge and breaker together, driving keys with records against a scripted receiver on a virtual clock.

use std::collections::{BTreeMap, VecDeque};

use super::*;
use crate::deliver::judge::{Failed, Judgement, OnInvalid, Policy, judge};
use crate::deliver::retry;
use crate::outcome::{Answer, BodyEnd, Failure, Progress};
use crate::spec::units;
use crate::telemetry::clock;
use bytes::Bytes;
use proptest::prelude::*;

const TICK: Duration = Duration::from_millis(100);

/// A stage: lanes by key, the first record of each is the one at work.
struct Stage {
    policy: Policy,
    breaker: Breaker,
    lanes: BTreeMap<u64, VecDeque<Waiting>>,
    now: Now,
    rng: fastrand::Rng,
    dead: u32,
    delivered: u32,
    opened: u32,
    requests: u32,
}

struct Waiting {
    number: u32,
    progress: Progress,
    due: Instant,
}

impl Stage {
    /// `records` for each of `keys` keys, three attempts a second apart.
    fn new(keys: u64, records: u32, seed: u64) -> Stage {
        let spec = retry::Spec {
            max_attempts: Some(3),
            backoff: Some(retry::Backoff::Fixed),
            initial_delay: Some(units::Duration(Duration::from_secs(1))),
            ..retry::Spec::default()
        };
        let retry = retry::Policy::build(&spec, retry::RETRY_AFTER_MAX).unwrap();
        let now = Now { mono: clock::now(), wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000) };
        let waiting = |number| Waiting { number, progress: Progress::FRESH, due: now.mono };
        Stage {
            policy: Policy { retry, dlq: true, on_invalid: OnInvalid::Dlq },
            breaker: Breaker::new(Some(Numbers::default()), 256),
            lanes: (0..keys).map(|key| (key, (0..records).map(waiting).collect())).collect(),
            now,
            rng: fastrand::Rng::with_seed(seed),
            dead: 0,
            delivered: 0,
            opened: 0,
            requests: 0,
        }
    }

    /// Runs for so many seconds; `receiver` gives the status for a key and a record.
    fn run(&mut self, seconds: u32, receiver: impl Fn(u64, u32) -> u16) {
        let end = self.now.mono + Duration::from_secs(1) * seconds;
        while self.now.mono < end {
            if self.breaker.state() == State::Closed {
                let due = |lane: &VecDeque<Waiting>| lane.front().is_some_and(|w| w.due <= self.now.mono);
                let keys: Vec<u64> = self.lanes.iter().filter(|(_, l)| due(l)).map(|(k, _)| *k).collect();
                let limit = self.breaker.limit(self.now.mono);
                for key in keys.into_iter().take(limit) {
                    self.attempt(key, false, &receiver);
                }
            } else {
                let waiting = self.lanes.iter().filter(|(_, lane)| !lane.is_empty()).map(|(key, _)| *key);
                if let Some(key) = self.breaker.probe(waiting, self.now.mono) {
                    self.breaker.probe_started(self.now.mono);
                    self.attempt(key, true, &receiver);
                }
            }
            self.now.mono += TICK;
            self.now.wall += TICK;
        }
    }

    fn attempt(&mut self, key: u64, probe: bool, receiver: &impl Fn(u64, u32) -> u16) {
        let Waiting { number, mut progress, .. } = self.lanes.get_mut(&key).unwrap().pop_front().unwrap();
        self.requests += 1;
        let others_wait = self.lanes.iter().any(|(other, lane)| *other != key && !lane.is_empty());
        progress.attempts += 1;
        let first_try = *progress.first_try.get_or_insert(self.now.wall);
        let since = self.now.wall.duration_since(first_try).unwrap();
        let status = receiver(key, number);
        let failure = failure(status);
        let last_attempt = self.policy.retry.is_last(progress.attempts, since);
        let restored = progress.restored;
        let ended = if status == 200 { Ended::Accepted } else { Ended::of(&failure) };
        let seen = Seen { key, ended, probe, last_attempt, first_try, restored, others_wait };
        let reaction = self.breaker.observe(&seen, self.now);
        self.opened += u32::from(matches!(reaction.turned, Some(Turn::Opened(_))));
        if status == 200 {
            self.delivered += 1;
            return;
        }
        let failed = Failed { progress, called: true, failure };
        let (progress, due) = match judge(&self.policy, failed, reaction.standing, self.now, &mut self.rng) {
            Judgement::Again { due, progress } => (progress, due),
            Judgement::Hold { progress, .. } => (progress, self.now.mono),
            Judgement::DeadLetter { .. } => {
                self.dead += 1;
                return;
            }
            Judgement::Discard(_) => unreachable!(),
        };
        self.lanes.get_mut(&key).unwrap().push_front(Waiting { number, progress, due });
    }

    /// A new process: the breaker is new, and what was tried is restored.
    fn restart(&mut self) {
        self.breaker = Breaker::new(Some(Numbers::default()), 256);
        for waiting in self.lanes.values_mut().flatten().filter(|w| w.progress.attempts > 0) {
            waiting.progress.restored = true;
        }
    }

    fn left(&self) -> usize {
        self.lanes.values().map(VecDeque::len).sum()
    }
}

fn failure(status: u16) -> Failure {
    let answer = Answer { status, headers: Vec::new(), body: Bytes::new(), body_end: BodyEnd::Complete };
    Failure::retry(Code::Status, "no").with_answer(answer)
}

/// H16: many keys. The others go on, nothing opens, one dead letter.
#[test]
fn a_record_that_always_answers_500_is_dead_lettered_and_opens_nothing_while_others_succeed() {
    let mut stage = Stage::new(20, 50, 1);
    stage.run(30, |key, number| if key == 3 && number == 5 { 500 } else { 200 });
    assert_eq!((stage.dead, stage.delivered, stage.opened, stage.left()), (1, 999, 0, 0));
}

/// H16: one key.
#[test]
fn also_with_one_key() {
    let mut stage = Stage::new(1, 20, 1);
    stage.run(30, |_, number| if number == 0 || number == 5 { 500 } else { 200 });
    assert_eq!((stage.dead, stage.delivered, stage.opened, stage.left()), (2, 18, 0, 0));
}

/// L12: what the breaker and its limit remember of ten minutes of 429 is no more than of one; nobody is given up.
#[test]
fn ten_minutes_of_429_are_remembered_as_one_is() {
    let mut stage = Stage::new(2_000, 3, 1);
    stage.run(60, |_, _| 429);
    let (size, waiting) = (format!("{:?}", stage.breaker).len(), stage.left());
    stage.run(540, |_, _| 429);
    let later = format!("{:?}", stage.breaker).len();
    assert!(later <= size + size / 10, "{size} characters, then {later}");
    assert_eq!((stage.dead, stage.left()), (0, waiting));
}

/// A first key that fails from the start, with the other keys fine: opened at most for a moment.
#[test]
fn one_key_that_fails_alone_holds_up_no_other() {
    let mut stage = Stage::new(5, 10, 1);
    stage.run(60, |key, _| if key == 0 { 500 } else { 200 });
    assert_eq!(stage.delivered, 40);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// H36 and H15: an outage raises lag, not the DLQ; over restarts too.
    #[test]
    fn an_outage_dead_letters_at_most_one_record(
        keys in 1u64..6, status in prop::sample::select(vec![500u16, 502, 503, 429]), seed: u64,
        times in prop::collection::vec(1u32..90, 1..11),
    ) {
        let mut stage = Stage::new(keys, 5, seed);
        let total = u32::try_from(stage.left()).unwrap();
        for seconds in times {
            stage.run(seconds, |_, _| status);
            // With a second key rule (c) keeps even the first.
            prop_assert!(stage.dead <= u32::from(keys == 1), "{} dead letters", stage.dead);
            // A record that nobody has tried yet is not restored, and one of these may still be the first.
            if stage.lanes.values().any(|lane| lane.front().is_some_and(|w| w.progress.attempts > 0)) {
                stage.restart();
            }
        }
        stage.run(600, |_, _| 200);
        prop_assert_eq!((stage.delivered + stage.dead, stage.left()), (total, 0));
        prop_assert!(stage.dead <= 1);
    }

    /// A held stage asks seldom: after the keys that had not failed, at most every second, then less.
    #[test]
    fn an_outage_costs_few_requests(keys in 1u64..100, seed: u64) {
        let mut stage = Stage::new(keys, 3, seed);
        stage.run(600, |_, _| 503);
        prop_assert!(stage.requests < 100 + AT_ONCE + 40, "{} requests", stage.requests);
    }
}
