//! Why a stage has paused itself, and what ends it. Several causes may hold at once; the stage runs when none does. The
//! breaker is a hold too, but has a clock of its own (`breaker`). Pure: `now` is an argument.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant, SystemTime};

use super::Now;
use crate::outcome::HoldCause;

/// The time between two probes.
const PROBE_EVERY: Duration = Duration::from_secs(30);
/// The first wait before what is owed to Kafka is tried again; it doubles up to [`PROBE_EVERY`].
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Within this time after a hold has ended, the record that raises it again is at fault itself.
const BLAME: Duration = Duration::from_secs(60);
/// After this time what no record meets any more counts as healed: longer than a record may wait for its delivery report.
const HEALED: Duration = Duration::from_secs(180);
/// How many records that have raised holds are remembered.
const RAISERS: usize = 1_024;

/// What a hold waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// A probe: the next waiting record of another key, or a request without a record (`probe: head | options`).
    Probe,
    /// The record that raised it makes its pass again.
    Again,
    /// What is owed to Kafka, or wanted of the registry, is tried again, soon at first.
    Owed,
    /// The record that raised it waits by itself; the stage goes on, and only says so.
    Record,
    /// The receiver's own word: as `Probe`, but only after a reload or `weir resume`.
    Word,
    /// A person acts, and says so: an offset reset.
    Person,
}

/// What ends a hold of this cause. The breaker is not of this file: it counts as `Person` here and is never raised.
pub fn remedy(cause: HoldCause) -> Remedy {
    match cause {
        HoldCause::Auth | HoldCause::Tls | HoldCause::Redirect | HoldCause::BlockedAddress => Remedy::Probe,
        HoldCause::NoDlq | HoldCause::Invalid => Remedy::Again,
        HoldCause::Kafka | HoldCause::TopicMissing | HoldCause::Registry => Remedy::Owed,
        HoldCause::Dlq => Remedy::Record,
        HoldCause::Gone | HoldCause::Disabled => Remedy::Word,
        HoldCause::OutOfRange | HoldCause::Breaker => Remedy::Person,
    }
}

/// One cause that holds the stage.
#[derive(Debug, Clone, PartialEq)]
pub struct Hold {
    /// Why.
    pub cause: HoldCause,
    /// One sentence.
    pub message: String,
    /// Since when.
    pub since: SystemTime,
    raised: Instant,
    raised_by: Record,
    next: Option<Instant>,
    wait: Duration,
    trying: bool,
}

/// A record as holds know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Record {
    /// The hash of its key (and partition); of a record without a key, of its position.
    pub key: u64,
    /// The hash of its position.
    pub position: u64,
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Send a probe for this cause: a waiting record, of another key than this where there is one.
    Probe(HoldCause, u64),
    /// Let the records that this cause holds make their pass again.
    Again(HoldCause),
}

impl Due {
    /// The cause.
    pub fn cause(self) -> HoldCause {
        match self {
            Due::Probe(cause, _) | Due::Again(cause) => cause,
        }
    }
}

/// All that holds one stage.
#[derive(Debug, Default)]
pub struct Holds {
    active: BTreeMap<HoldCause, Hold>,
    raisers: VecDeque<Raiser>,
    /// When a request without a record ended a hold, where no record was accepted since.
    passed: Option<Instant>,
}

#[derive(Debug)]
struct Raiser {
    record: Record,
    cause: HoldCause,
    /// When an accepted record of another key ended the hold, or was accepted after its end.
    ended: Option<Instant>,
    /// Whether a request without a record has ended the hold, and no record was accepted since.
    passed: bool,
}

impl Holds {
    /// Whether a record that raises this hold is itself at fault: it has raised it before, others were accepted and ended
    /// it, and that is less than a minute ago. Ask before the failure is judged.
    pub fn at_fault(&self, cause: HoldCause, record: Record, now: Instant) -> bool {
        self.raisers.iter().any(|raiser| {
            raiser.cause == cause
                && raiser.record == record
                && raiser.ended.is_some_and(|ended| now.saturating_duration_since(ended) < BLAME)
        })
    }

    /// A record raises a hold, or raises it again. Gives `true` where the hold is new.
    pub fn raise(&mut self, cause: HoldCause, message: &str, record: Record, now: Now) -> bool {
        if matches!(remedy(cause), Remedy::Probe | Remedy::Word) {
            self.remember(cause, record);
        }
        if let Some(hold) = self.active.get_mut(&cause) {
            message.clone_into(&mut hold.message);
            hold.raised = now.mono;
            return false;
        }
        let (next, wait) = match remedy(cause) {
            Remedy::Probe | Remedy::Again => (Some(PROBE_EVERY), PROBE_EVERY),
            Remedy::Owed => (Some(FIRST_WAIT), FIRST_WAIT.saturating_mul(2)),
            Remedy::Word | Remedy::Person | Remedy::Record => (None, PROBE_EVERY),
        };
        let hold = Hold {
            cause,
            message: message.to_owned(),
            since: now.wall,
            raised: now.mono,
            raised_by: record,
            next: next.and_then(|wait| now.mono.checked_add(wait)),
            wait,
            trying: false,
        };
        self.active.insert(cause, hold);
        true
    }

    /// What is to be done now; the caller takes one and then calls [`Holds::started`].
    pub fn due(&self, now: Instant) -> impl Iterator<Item = Due> {
        let is_due = move |hold: &&Hold| !hold.trying && hold.next.is_some_and(|next| next <= now);
        self.active.values().filter(is_due).map(|hold| match remedy(hold.cause) {
            Remedy::Probe | Remedy::Word | Remedy::Person | Remedy::Record => {
                Due::Probe(hold.cause, hold.raised_by.key)
            }
            Remedy::Again | Remedy::Owed => Due::Again(hold.cause),
        })
    }

    /// When something is due next; `None` where nothing is until somebody acts.
    pub fn wake_at(&self) -> Option<Instant> {
        self.active.values().filter(|hold| !hold.trying).filter_map(|hold| hold.next).min()
    }

    /// What was due for this cause is on its way.
    pub fn started(&mut self, cause: HoldCause) {
        if let Some(hold) = self.active.get_mut(&cause) {
            hold.trying = true;
        }
    }

    /// What was on its way has ended without ending the hold: it failed, or was abandoned.
    pub fn failed(&mut self, cause: HoldCause, now: Instant) {
        if let Some(hold) = self.active.get_mut(&cause) {
            hold.tried(now);
        }
    }

    /// The handler has accepted a record: ends the holds of [`Remedy::Probe`] and
    /// [`Remedy::Word`] whose probe is on its way. One that was accepted without, by an attempt begun before the hold, says
    /// nothing: a token that expired meanwhile must not make the records that ran into it look guilty. Gives the causes
    /// ended.
    pub fn accepted(&mut self, now: Instant) -> Vec<HoldCause> {
        let ended: Vec<HoldCause> = self
            .active
            .values()
            .filter(|hold| match remedy(hold.cause) {
                Remedy::Probe | Remedy::Word => hold.trying,
                Remedy::Again | Remedy::Owed | Remedy::Person | Remedy::Record => false,
            })
            .map(|hold| hold.cause)
            .collect();
        for cause in &ended {
            self.active.remove(cause);
            for raiser in self.raisers.iter_mut().filter(|raiser| raiser.cause == *cause) {
                raiser.ended = Some(now);
            }
        }
        ended
    }

    /// A request without a record has passed: ends the hold; `true` where it did hold. Whether records are accepted shows
    /// only then: [`Holds::accepted_another`].
    pub fn passed(&mut self, cause: HoldCause, now: Instant) -> bool {
        for raiser in self.raisers.iter_mut().filter(|raiser| raiser.cause == cause) {
            raiser.passed = true;
            self.passed = Some(now);
        }
        self.end(cause)
    }

    /// A record was accepted that was no probe, by an attempt begun at this time: one begun before a request without a record
    /// has passed says nothing, as in [`Holds::accepted`]. Who raises a hold again that a request without a record has ended is at
    /// fault from now on.
    pub fn accepted_another(&mut self, begun: Instant, now: Instant) {
        if self.passed.take_if(|passed| begun >= *passed).is_some() {
            for raiser in self.raisers.iter_mut().filter(|raiser| raiser.passed) {
                (raiser.passed, raiser.ended) = (false, Some(now));
            }
        }
    }

    /// What this cause waited for has happened: the owed record was taken, the topic is there, the offset is set. Gives
    /// `true` where it did hold.
    pub fn end(&mut self, cause: HoldCause) -> bool {
        self.active.remove(&cause).is_some()
    }

    /// A reload or `weir resume`: every cause is tried at once, also the receiver's own word.
    pub fn resume(&mut self, now: Instant) {
        let by_itself = |hold: &&mut Hold| !matches!(remedy(hold.cause), Remedy::Person | Remedy::Record);
        for hold in self.active.values_mut().filter(by_itself) {
            hold.next = Some(now);
            hold.wait = if remedy(hold.cause) == Remedy::Owed { FIRST_WAIT } else { PROBE_EVERY };
        }
    }

    /// Whether the stage is held.
    pub fn is_held(&self) -> bool {
        self.active.keys().any(|cause| remedy(*cause) != Remedy::Record)
    }

    /// Ends what records wait for by themselves and none has met for long.
    pub fn forget_healed(&mut self, now: Instant) {
        self.active.retain(|cause, hold| {
            let recent = now.saturating_duration_since(hold.raised) < HEALED;
            remedy(*cause) != Remedy::Record || recent
        });
    }

    /// What holds, by cause.
    pub fn active(&self) -> impl Iterator<Item = &Hold> {
        self.active.values()
    }

    fn remember(&mut self, cause: HoldCause, record: Record) {
        if self.raisers.iter().any(|raiser| raiser.cause == cause && raiser.record == record) {
            return;
        }
        if self.raisers.len() == RAISERS {
            self.raisers.pop_front();
        }
        self.raisers.push_back(Raiser { record, cause, ended: None, passed: false });
    }
}

impl Hold {
    /// The next try waits as long as its cause asks for; one that waits for a person asks for none.
    fn tried(&mut self, now: Instant) {
        if !self.trying {
            return;
        }
        self.trying = false;
        self.next = match remedy(self.cause) {
            Remedy::Word | Remedy::Person | Remedy::Record => None,
            Remedy::Probe | Remedy::Again | Remedy::Owed => now.checked_add(self.wait),
        };
        self.wait = self.wait.saturating_mul(2).min(PROBE_EVERY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::clock;

    const SECOND: Duration = Duration::from_secs(1);
    const A: Record = Record { key: 1, position: 10 };
    const B: Record = Record { key: 2, position: 20 };

    fn start() -> Now {
        Now { mono: clock::now(), wall: SystemTime::UNIX_EPOCH }
    }

    fn after(now: Now, seconds: u32) -> Now {
        Now { mono: now.mono + SECOND * seconds, wall: now.wall + SECOND * seconds }
    }

    /// The seconds after `now` at which something is due, each time it fails.
    fn dues(holds: &mut Holds, now: Now, times: usize) -> Vec<u64> {
        let mut at = Vec::new();
        for _ in 0..times {
            let wake = holds.wake_at().unwrap();
            assert_eq!(holds.due(wake - Duration::from_millis(1)).next(), None);
            let cause = holds.due(wake).next().unwrap().cause();
            holds.started(cause);
            assert_eq!(holds.due(wake).next(), None, "one at a time");
            holds.failed(cause, wake);
            at.push(wake.duration_since(now.mono).as_secs());
        }
        at
    }

    #[test]
    fn a_probe_every_thirty_seconds_and_an_accepted_one_ends_it() {
        let (mut holds, now) = (Holds::default(), start());
        assert!(holds.raise(HoldCause::Auth, "401", A, now));
        assert!(!holds.raise(HoldCause::Auth, "403", B, now));
        assert_eq!(dues(&mut holds, now, 3), [30, 60, 90]);
        assert_eq!(holds.due(after(now, 120).mono).next(), Some(Due::Probe(HoldCause::Auth, A.key)));
        assert_eq!(holds.active().map(|hold| hold.message.as_str()).collect::<Vec<_>>(), ["403"]);
        assert_eq!(holds.accepted(after(now, 120).mono), [], "an attempt begun before does not end it");
        holds.started(HoldCause::Auth);
        assert_eq!(holds.accepted(after(now, 120).mono), [HoldCause::Auth]);
        assert!(!holds.is_held());
    }

    #[test]
    fn the_record_that_raises_it_again_within_a_minute_is_at_fault() {
        let (mut holds, now) = (Holds::default(), start());
        assert!(!holds.at_fault(HoldCause::Auth, A, now.mono));
        holds.raise(HoldCause::Auth, "403", A, now);
        holds.accepted(now.mono);
        assert!(!holds.at_fault(HoldCause::Auth, A, after(now, 1).mono), "nothing sent since was accepted");
        holds.started(HoldCause::Auth);
        holds.accepted(after(now, 30).mono);
        assert!(holds.at_fault(HoldCause::Auth, A, after(now, 31).mono));
        assert!(!holds.at_fault(HoldCause::Auth, B, after(now, 31).mono), "another record has not raised it");
        assert!(!holds.at_fault(HoldCause::Tls, A, after(now, 31).mono));
        assert!(!holds.at_fault(HoldCause::Auth, A, after(now, 90).mono), "a minute has passed");
    }

    #[test]
    fn a_request_without_a_record_ends_a_hold_and_blames_nobody_until_another_record_is_accepted() {
        let (mut holds, now) = (Holds::default(), start());
        holds.raise(HoldCause::Auth, "403", A, now);
        holds.started(HoldCause::Auth);
        assert!(holds.passed(HoldCause::Auth, after(now, 30).mono) && !holds.is_held());
        assert!(!holds.passed(HoldCause::Auth, after(now, 30).mono), "it does not hold any more");
        holds.accepted_another(after(now, 29).mono, after(now, 31).mono);
        assert!(!holds.at_fault(HoldCause::Auth, A, after(now, 31).mono));
        holds.raise(HoldCause::Auth, "403", A, after(now, 31));
        assert!(!holds.at_fault(HoldCause::Auth, A, after(now, 32).mono), "no record was accepted yet");
        holds.accepted_another(after(now, 32).mono, after(now, 33).mono);
        assert!(holds.at_fault(HoldCause::Auth, A, after(now, 34).mono));
        assert!(!holds.at_fault(HoldCause::Auth, B, after(now, 34).mono), "another record has not raised it");
    }

    #[test]
    fn gone_and_disabled_wait_for_a_word_of_ours() {
        for cause in [HoldCause::Gone, HoldCause::Disabled] {
            let (mut holds, now) = (Holds::default(), start());
            holds.raise(cause, "410", A, now);
            assert_eq!(holds.wake_at(), None);
            assert_eq!(holds.accepted(now.mono), [], "an attempt begun before does not end it");
            holds.resume(after(now, 5).mono);
            assert_eq!(holds.due(after(now, 5).mono).next(), Some(Due::Probe(cause, A.key)));
            holds.started(cause);
            holds.failed(cause, after(now, 6).mono);
            assert_eq!(holds.wake_at(), None);
            holds.resume(after(now, 7).mono);
            holds.started(cause);
            assert_eq!(holds.accepted(after(now, 8).mono), [cause]);
        }
    }

    #[test]
    fn what_is_owed_to_kafka_is_tried_after_1_2_up_to_30_seconds() {
        for cause in [HoldCause::Kafka, HoldCause::TopicMissing, HoldCause::Registry] {
            let (mut holds, now) = (Holds::default(), start());
            holds.raise(cause, "no", A, now);
            assert_eq!(dues(&mut holds, now, 7), [1, 3, 7, 15, 31, 61, 91]);
            assert_eq!(holds.accepted(now.mono), [], "the receiver cannot end it");
            assert!(holds.end(cause) && !holds.end(cause));
        }
    }

    /// Else one bad record behind a full DLQ would stop every good one (D2).
    #[test]
    fn a_dlq_that_fails_is_shown_and_stops_nothing() {
        let (mut holds, now) = (Holds::default(), start());
        assert!(holds.raise(HoldCause::Dlq, "no", A, now), "shown");
        assert!(!holds.is_held());
        assert_eq!((holds.wake_at(), holds.due(after(now, 3600).mono).next()), (None, None));
        assert!(!holds.raise(HoldCause::Dlq, "no", B, after(now, 100)), "shown already");
        holds.forget_healed(after(now, 200).mono);
        assert_eq!(holds.active().count(), 1, "somebody met it 100 s ago");
        holds.forget_healed(after(now, 300).mono);
        assert_eq!(holds.active().count(), 0);
    }

    #[test]
    fn a_record_without_a_dlq_makes_its_pass_again_every_thirty_seconds_and_after_a_reload() {
        for cause in [HoldCause::NoDlq, HoldCause::Invalid] {
            let (mut holds, now) = (Holds::default(), start());
            holds.raise(cause, "no", A, now);
            assert_eq!(dues(&mut holds, now, 3), [30, 60, 90]);
            holds.resume(after(now, 91).mono);
            assert_eq!(holds.due(after(now, 91).mono).next(), Some(Due::Again(cause)));
        }
    }

    #[test]
    fn several_causes_hold_and_each_has_its_end() {
        let (mut holds, now) = (Holds::default(), start());
        holds.raise(HoldCause::Auth, "401", A, now);
        holds.raise(HoldCause::Dlq, "no", B, now);
        holds.started(HoldCause::Auth);
        holds.accepted(now.mono);
        assert_eq!(holds.active().map(|hold| hold.cause).collect::<Vec<_>>(), [HoldCause::Dlq]);
        holds.raise(HoldCause::OutOfRange, "no", A, now);
        holds.end(HoldCause::Dlq);
        holds.resume(now.mono);
        assert_eq!((holds.wake_at(), holds.is_held()), (None, true));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut holds, now) = (Holds::default(), start());
        for position in 0..5_000 {
            holds.raise(HoldCause::Auth, "401", Record { key: position, position }, now);
        }
        assert_eq!((holds.raisers.len(), holds.active.len()), (RAISERS, 1));
    }
}
