//! Each rule by itself.

use super::failed::FAILED_KEYS;
use super::*;
use crate::telemetry::clock;

const SECOND: Duration = Duration::from_secs(1);

struct Bench {
    breaker: Breaker,
    now: Now,
}

impl Bench {
    fn new() -> Bench {
        let now = Now { mono: clock::now(), wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000) };
        Bench { breaker: Breaker::new(Some(Numbers::default()), 256), now }
    }

    fn pass(&mut self, time: Duration) {
        self.now.mono += time;
        self.now.wall += time;
    }

    fn seen(&self, key: u64, ended: Ended) -> Seen {
        let first_try = self.now.wall - Duration::from_millis(10);
        let (probe, last_attempt, restored, others_wait) = (false, false, false, true);
        Seen { key, ended, probe, last_attempt, first_try, restored, others_wait }
    }

    fn accept(&mut self, key: u64) -> Reaction {
        let seen = self.seen(key, Ended::Accepted);
        self.breaker.observe(&seen, self.now)
    }

    fn status(&mut self, key: u64, status: u16) -> Reaction {
        let seen = self.seen(key, answered(status, None));
        self.breaker.observe(&seen, self.now)
    }

    fn last(&mut self, key: u64, change: impl FnOnce(&mut Seen)) -> Reaction {
        let mut seen = Seen { last_attempt: true, ..self.seen(key, answered(500, None)) };
        change(&mut seen);
        self.breaker.observe(&seen, self.now)
    }

    fn probe(&mut self, key: u64, ended: Ended) -> Reaction {
        self.breaker.probe_started(self.now.mono);
        assert_eq!(self.breaker.probe([key], self.now.mono), None, "one probe at a time");
        let seen = Seen { probe: true, ..self.seen(key, ended) };
        self.breaker.observe(&seen, self.now)
    }

    fn is_open(&self) -> bool {
        self.breaker.state() != State::Closed
    }
}

fn answered(status: u16, after: Option<u64>) -> Ended {
    Ended::Retry { code: Code::Status, status: Some(status), after: after.map(Duration::from_secs) }
}

fn opened(rule: Rule) -> Option<Turn> {
    Some(Turn::Opened(rule))
}

#[test]
fn a_five_in_a_row_that_find_nobody_open_it() {
    for code in [Code::Dns, Code::Connect] {
        let mut bench = Bench::new();
        let ended = Ended::Retry { code, status: None, after: None };
        for n in 1..=5 {
            let seen = bench.seen(7, ended);
            let reaction = bench.breaker.observe(&seen, bench.now);
            assert_eq!(reaction.turned, if n == 5 { opened(Rule::InARow) } else { None });
        }
    }
    let mut bench = Bench::new();
    for status in [502, 503, 504, 502] {
        assert_eq!(bench.status(7, status).turned, None);
    }
    assert_eq!(bench.status(7, 500).turned, None, "500 is somebody: it breaks the row");
    for _ in 0..4 {
        bench.status(7, 503);
    }
    bench.accept(8);
    for n in 1..=5 {
        assert_eq!(bench.status(7, 503).turned.is_some(), n == 5);
    }
}

#[test]
fn b_seventy_percent_of_ten_attempts_of_three_keys_within_thirty_seconds_open_it() {
    let mut bench = Bench::new();
    for n in 0..9u64 {
        assert_eq!(bench.status(n % 3, 500).turned, None);
    }
    assert_eq!(bench.status(0, 500).turned, opened(Rule::Share));

    let mut two_keys = Bench::new();
    for n in 0..40u64 {
        assert_eq!(two_keys.status(n % 2, 500).turned, None);
    }

    let mut slow = Bench::new();
    for n in 0..40u64 {
        slow.pass(SECOND * 4);
        assert_eq!(slow.status(n % 3, 500).turned, None, "at most 8 within 30 s");
    }

    let mut mixed = Bench::new();
    for n in 0..200u64 {
        if n % 3 == 0 {
            mixed.accept(n)
        } else {
            mixed.status(n, 500)
        };
        assert!(!mixed.is_open(), "67 % is not 70 %");
    }
}

#[test]
fn c_the_last_attempt_opens_while_another_key_has_one_and_none_was_accepted_since_the_first() {
    let mut bench = Bench::new();
    bench.accept(1);
    bench.pass(SECOND);
    let reaction = bench.last(2, |_| ());
    assert_eq!(reaction, Reaction { standing: Standing::Kept, turned: opened(Rule::LastAttempt) });

    let mut alone = Bench::new();
    assert_eq!(alone.last(2, |seen| seen.others_wait = false), Reaction::default());

    let mut others = Bench::new();
    others.accept(1);
    assert_eq!(others.last(2, |seen| seen.first_try -= SECOND), Reaction::default());
}

#[test]
fn d_the_second_record_in_a_row_is_kept() {
    let mut bench = Bench::new();
    assert_eq!(bench.last(1, |seen| seen.others_wait = false), Reaction::default());
    let second = bench.last(1, |seen| seen.others_wait = false);
    assert_eq!(second, Reaction { standing: Standing::Kept, turned: opened(Rule::SecondInARow) });

    let mut between = Bench::new();
    between.last(1, |seen| seen.others_wait = false);
    between.accept(1);
    assert_eq!(between.last(1, |seen| seen.others_wait = false), Reaction::default());
}

#[test]
fn d_a_restored_record_is_not_exhausted_before_something_is_accepted_here() {
    let restored = |seen: &mut Seen| {
        (seen.restored, seen.others_wait) = (true, false);
        seen.first_try -= SECOND * 600;
    };
    let mut bench = Bench::new();
    let kept = Reaction { standing: Standing::Kept, turned: opened(Rule::SecondInARow) };
    assert_eq!(bench.last(1, restored), kept);
    let mut bench = Bench::new();
    bench.accept(2);
    assert_eq!(bench.last(1, restored), Reaction::default());
}

#[test]
fn a_last_attempt_is_kept_whatever_rule_opens_it_and_while_it_is_open() {
    let mut bench = Bench::new();
    for _ in 0..4 {
        bench.status(1, 503);
    }
    let alone = |seen: &mut Seen| (seen.ended, seen.others_wait) = (answered(503, None), false);
    assert_eq!(bench.last(1, alone), Reaction { standing: Standing::Kept, turned: opened(Rule::InARow) });
    assert_eq!(bench.last(2, alone).standing, Standing::Kept);
    assert_eq!(bench.status(3, 503).standing, Standing::Ordinary);
}

fn open_by_key_1() -> Bench {
    let mut bench = Bench::new();
    for _ in 0..5 {
        bench.status(1, 503);
    }
    assert!(bench.is_open());
    bench
}

#[test]
fn a_key_that_has_not_failed_is_probed_at_once_and_closes_it() {
    let mut bench = open_by_key_1();
    assert_eq!(bench.breaker.limit(bench.now.mono), 0);
    assert_eq!(bench.breaker.probe([1], bench.now.mono), None);
    assert_eq!(bench.breaker.probe([1, 2], bench.now.mono), Some(2));
    let reaction = bench.probe(2, Ended::Accepted);
    assert_eq!(reaction, Reaction { standing: Standing::Ordinary, turned: Some(Turn::Closed) });
    assert_eq!(bench.breaker.state(), State::Closed);
    let mut limits = Vec::new();
    for _ in 0..10 {
        limits.push(bench.breaker.limit(bench.now.mono));
        bench.pass(SECOND);
    }
    assert_eq!(limits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 256]);
}

#[test]
fn else_the_next_key_after_1_2_4_up_to_30_seconds() {
    let mut bench = open_by_key_1();
    bench.probe(2, answered(500, None));
    let mut waits = Vec::new();
    let mut keys = Vec::new();
    for _ in 0..8 {
        let mut waited = 0;
        let key = loop {
            if let Some(key) = bench.breaker.probe([1, 2], bench.now.mono) {
                break key;
            }
            bench.pass(SECOND);
            waited += 1;
        };
        assert_eq!(bench.probe(key, answered(500, None)).standing, Standing::Probe);
        waits.push(waited);
        keys.push(key);
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30, 30]);
    assert_eq!(keys, [1, 2, 1, 2, 1, 2, 1, 2]);
}

#[test]
fn probes_at_once_are_bounded() {
    let mut bench = open_by_key_1();
    let mut at_once = 0;
    while let Some(key) = bench.breaker.probe(100..1_000, bench.now.mono) {
        bench.probe(key, answered(500, None));
        at_once += 1;
    }
    assert_eq!(at_once, AT_ONCE);
    bench.pass(SECOND);
    assert_eq!(
        bench.breaker.probe([1, 500], bench.now.mono),
        Some(500),
        "still the key without a failure first"
    );
}

#[test]
fn an_abandoned_probe_makes_room_and_a_rejected_one_closes_nothing() {
    let mut bench = open_by_key_1();
    bench.pass(SECOND);
    bench.breaker.probe_started(bench.now.mono);
    assert_eq!(bench.breaker.probe([1], bench.now.mono), None);
    bench.breaker.probe_abandoned();
    assert_eq!(bench.breaker.probe([1], bench.now.mono), Some(1));
    bench.probe(1, Ended::Other);
    assert!(bench.is_open());
}

#[test]
fn intake_goes_on_until_three_keys_wait() {
    let bench = open_by_key_1();
    let takes: Vec<bool> = (0..5).map(|keys| bench.breaker.takes_in(keys)).collect();
    assert_eq!(takes, [true, true, true, false, false]);
    assert!(Bench::new().breaker.takes_in(10_000));
}

#[test]
fn half_of_the_answers_429_opens_until_the_latest_retry_after() {
    let mut bench = Bench::new();
    let mut turned = None;
    for n in 0..10u64 {
        let ended = if n % 2 == 0 { Ended::Accepted } else { answered(429, Some(20 + n)) };
        let seen = bench.seen(n, ended);
        turned = turned.or(bench.breaker.observe(&seen, bench.now).turned);
    }
    assert_eq!(turned, opened(Rule::Throttled));
    bench.pass(SECOND * 28);
    assert_eq!(bench.breaker.probe([50], bench.now.mono), None);
    bench.pass(SECOND);
    assert_eq!(bench.breaker.probe([50], bench.now.mono), Some(50));
}

#[test]
fn one_key_that_is_throttled_opens_nothing_by_that_rule() {
    let mut bench = Bench::new();
    for n in 0..100u64 {
        bench.pass(SECOND / 4);
        bench.accept(10 + n);
        let seen = bench.seen(1, answered(429, Some(60)));
        assert_eq!(bench.breaker.observe(&seen, bench.now).turned, None);
    }
}

#[test]
fn accepted_by_an_attempt_begun_before_makes_the_probe_due() {
    let mut bench = open_by_key_1();
    assert_eq!(bench.breaker.probe([1], bench.now.mono), None);
    assert_eq!(bench.accept(9).turned, None);
    assert_eq!(bench.breaker.probe([1], bench.now.mono), Some(1));
}

#[test]
fn probes_without_a_record_are_paced_and_close_it() {
    let mut bench = open_by_key_1();
    assert!(!bench.breaker.bare_probe_due(bench.now.mono));
    bench.pass(SECOND);
    assert!(bench.breaker.bare_probe_due(bench.now.mono));
    bench.breaker.probe_started(bench.now.mono);
    assert_eq!(bench.breaker.bare_probe_ended(false, bench.now), Reaction::default());
    bench.pass(SECOND);
    assert!(!bench.breaker.bare_probe_due(bench.now.mono));
    bench.pass(SECOND);
    bench.breaker.probe_started(bench.now.mono);
    assert_eq!(bench.breaker.bare_probe_ended(true, bench.now).turned, Some(Turn::Closed));
    assert_eq!(bench.breaker.bare_probe_ended(true, bench.now).turned, None, "it is closed");
}

/// Where somebody is there and no record is accepted, it opens again and again: each time for longer, until one is.
#[test]
fn what_only_probes_without_a_record_have_closed_stays_open_for_longer_each_time() {
    let mut bench = Bench::new();
    let open = |bench: &mut Bench| {
        let turns: Vec<_> = (0..5).map(|key| bench.status(key, 503).turned).collect();
        assert_eq!(turns[4], opened(Rule::InARow));
    };
    let waited = |bench: &mut Bench, passed: bool| {
        let mut waited = 0;
        while !bench.breaker.bare_probe_due(bench.now.mono) {
            bench.pass(SECOND);
            waited += 1;
        }
        bench.breaker.probe_started(bench.now.mono);
        bench.breaker.bare_probe_ended(passed, bench.now);
        assert_eq!(bench.is_open(), !passed);
        waited
    };
    let mut waits = Vec::new();
    for _ in 0..4 {
        open(&mut bench);
        waits.push(waited(&mut bench, true));
    }
    open(&mut bench);
    waits.extend([waited(&mut bench, false), waited(&mut bench, true)]);
    open(&mut bench);
    waits.push(waited(&mut bench, true));
    assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
    bench.accept(9);
    open(&mut bench);
    assert_eq!(waited(&mut bench, true), 1, "a record was accepted");
    open(&mut bench);
    bench.breaker.reload(Some(Numbers::default()), 256);
    assert_eq!(waited(&mut bench, true), 2, "what is open stays as it is");
    bench.breaker.reload(Some(Numbers::default()), 256);
    open(&mut bench);
    assert_eq!(waited(&mut bench, true), 1, "another file begins anew");
}

/// It says that somebody is there, and not that records are accepted: nothing is dead-lettered for it (rules c, d).
#[test]
fn a_probe_without_a_record_counts_as_no_accepted_one() {
    let mut bench = open_by_key_1();
    bench.pass(SECOND);
    bench.breaker.probe_started(bench.now.mono);
    bench.breaker.bare_probe_ended(true, bench.now);
    let reaction = bench.last(1, |seen| seen.others_wait = true);
    assert_eq!(reaction.standing, Standing::Kept);
    assert!(matches!(reaction.turned, Some(Turn::Opened(_))));
}

#[test]
fn breaker_none_never_opens() {
    let mut bench = Bench::new();
    bench.breaker = Breaker::new(None, 256);
    for n in 0..100u64 {
        bench.status(n, 503);
        assert_eq!(bench.last(n, |_| ()), Reaction::default());
    }
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut bench = Bench::new();
    bench.breaker = Breaker::new(None, 256);
    for n in 0..5_000u64 {
        bench.status(n, 500);
        bench.pass(SECOND / 100);
    }
    assert_eq!(bench.breaker.failed.order.len(), FAILED_KEYS);
}
