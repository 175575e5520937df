//! What stands between a stage's records and its handler: the breaker and the holds, as one thing that the engine asks.
//! Closed means that records are taken as usual; shut, that only a probe or an owed record is.

use std::collections::BTreeMap;
use std::time::{Instant, SystemTime};

use super::Now;
use super::breaker::{Breaker, Ended, Numbers, Seen, State, Turn};
use super::hold::{Due, Holds, Record, Remedy, remedy};
use super::judge::{Failed, Standing};
use super::retry;
use crate::outcome::{Class, HoldCause};

/// Why a record is taken though the stage is shut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Try {
    /// It probes for the breaker.
    Breaker,
    /// It probes for a hold, or it is what the hold waits for.
    Hold(HoldCause),
}

/// Which record to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pick {
    /// One of this key.
    Key(u64),
    /// One of another key than this, else any.
    OtherKey(u64),
    /// This record; where it is not there any more, the hold ends.
    Record(Record),
}

/// A change of state, for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turned {
    /// The stage holds now.
    Held(HoldCause, String),
    /// It does not any more for this cause.
    Ended(HoldCause),
}

/// When an attempt happened.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// When the record was tried first.
    pub first_try: SystemTime,
    /// When this attempt began.
    pub begun: Instant,
}

/// Breaker and holds of one stage.
#[derive(Debug)]
pub struct Gate {
    breaker: Breaker,
    /// Whether probes are requests without a record.
    bare: bool,
    holds: Holds,
    raisers: BTreeMap<HoldCause, Record>,
    opened: Option<(SystemTime, String)>,
}

impl Gate {
    /// A closed gate. `numbers`: `None` for `breaker: none`, or without a handler. `bare`: probes are requests without a
    /// record.
    pub fn new(numbers: Option<Numbers>, max_in_flight: usize, bare: bool) -> Gate {
        Gate {
            breaker: Breaker::new(numbers, max_in_flight),
            bare,
            holds: Holds::default(),
            raisers: BTreeMap::new(),
            opened: None,
        }
    }

    /// A reload: other numbers, and every hold is tried at once.
    pub fn reload(&mut self, numbers: Option<Numbers>, max_in_flight: usize, bare: bool, now: Instant) {
        self.breaker.reload(numbers, max_in_flight);
        self.bare = bare;
        self.holds.resume(now);
        if self.breaker.state() == State::Closed {
            self.opened = None;
        }
    }

    /// Whether records are not taken as usual.
    pub fn is_shut(&self) -> bool {
        self.holds.is_held() || self.breaker.state() != State::Closed
    }

    /// A DLQ took a record: what records waited for is over.
    pub fn dlq_took(&mut self) -> Option<Turned> {
        self.holds.end(HoldCause::Dlq).then_some(Turned::Ended(HoldCause::Dlq))
    }

    /// The registry has given what was wanted of it.
    pub fn registry_answered(&mut self) -> Option<Turned> {
        self.holds.end(HoldCause::Registry).then_some(Turned::Ended(HoldCause::Registry))
    }

    /// Ends what records waited for by themselves and none has met for long.
    pub fn forget_healed(&mut self, now: Instant) {
        self.holds.forget_healed(now);
    }

    /// Whether a hold may want to try the record at this position again.
    pub fn may_want(&self, position: u64) -> bool {
        self.raisers.values().any(|raiser| raiser.position == position)
    }

    /// How many records may be in flight while it is not shut.
    pub fn limit(&mut self, now: Instant) -> usize {
        self.breaker.limit(now)
    }

    /// While it is shut: the request without a record that is due. The caller then calls [`Gate::started`], and
    /// [`Gate::bare_ended`] when it has ended.
    pub fn bare_due(&self, now: Instant) -> Option<Try> {
        if !self.bare {
            return None;
        }
        let mut of_holds = self.holds.due(now).filter(|due| matches!(due, Due::Probe(..)));
        let of_hold = of_holds.next().map(|due| Try::Hold(due.cause()));
        let of_breaker = || !self.holds.is_held() && self.breaker.bare_probe_due(now);
        of_hold.or_else(|| of_breaker().then_some(Try::Breaker))
    }

    /// A request without a record has ended: whether it passed; `None` where it was abandoned.
    pub fn bare_ended(&mut self, tried: Try, passed: Option<bool>, now: Now) -> Option<Turned> {
        match (tried, passed) {
            (_, None) => self.ended(tried, false, now.mono),
            (Try::Hold(cause), Some(true)) => {
                self.holds.passed(cause, now.mono).then_some(Turned::Ended(cause))
            }
            (Try::Hold(_), Some(false)) => self.ended(tried, false, now.mono),
            (Try::Breaker, Some(passed)) => {
                let turned = self.breaker.bare_probe_ended(passed, now).turned;
                (turned == Some(Turn::Closed)).then(|| self.closed())
            }
        }
    }

    /// The breaker has closed.
    fn closed(&mut self) -> Turned {
        self.opened = None;
        Turned::Ended(HoldCause::Breaker)
    }

    /// While it is shut: what may be tried now. `waiting` gives the keys that could be.
    pub fn try_now(&self, waiting: impl IntoIterator<Item = u64>, now: Instant) -> Option<(Try, Pick)> {
        let of_record = |due: &Due| !self.bare || matches!(due, Due::Again(_));
        if let Some(due) = self.holds.due(now).find(of_record) {
            let cause = due.cause();
            let pick = match due {
                Due::Probe(_, key) => Pick::OtherKey(key),
                Due::Again(_) => Pick::Record(self.raisers.get(&cause).copied()?),
            };
            return Some((Try::Hold(cause), pick));
        }
        if self.bare || self.holds.is_held() {
            return None;
        }
        self.breaker.probe(waiting, now).map(|key| (Try::Breaker, Pick::Key(key)))
    }

    /// The try is on its way.
    pub fn started(&mut self, tried: Try, now: Instant) {
        match tried {
            Try::Breaker => self.breaker.probe_started(now),
            Try::Hold(cause) => self.holds.started(cause),
        }
    }

    /// What the hold waited for is not there any more.
    pub fn vanished(&mut self, tried: Try) -> Option<Turned> {
        match tried {
            Try::Breaker => None,
            Try::Hold(cause) => self.holds.end(cause).then_some(Turned::Ended(cause)),
        }
    }

    /// A pass of a try has ended; `done`: its record is finished. After `accepted` and `raise`.
    pub fn ended(&mut self, tried: Try, done: bool, now: Instant) -> Option<Turned> {
        match tried {
            Try::Breaker => {
                self.breaker.probe_abandoned();
                None
            }
            Try::Hold(cause) if done && matches!(remedy(cause), Remedy::Again | Remedy::Owed) => {
                self.holds.end(cause).then_some(Turned::Ended(cause))
            }
            Try::Hold(cause) => {
                self.holds.failed(cause, now);
                None
            }
        }
    }

    /// The handler has accepted a record.
    pub fn accepted(&mut self, key: u64, times: Times, probe: bool, now: Now) -> Vec<Turned> {
        let Times { first_try, begun } = times;
        let seen = Seen {
            key,
            ended: Ended::Accepted,
            probe,
            last_attempt: false,
            first_try,
            restored: false,
            others_wait: false,
        };
        let mut turned = Vec::new();
        if self.breaker.observe(&seen, now).turned == Some(Turn::Closed) {
            turned.push(self.closed());
        }
        if !probe {
            self.holds.accepted_another(begun, now.mono);
        } else if self.holds.is_held() {
            turned.extend(self.holds.accepted(now.mono).into_iter().map(Turned::Ended));
        }
        turned
    }

    /// An attempt has failed: how it is to be judged.
    pub fn failed(
        &mut self,
        failed: &Failed,
        record: Record,
        retry: &retry::Policy,
        tried: Option<Try>,
        others_wait: bool,
        now: Now,
    ) -> (Standing, Option<Turned>) {
        if !failed.called {
            return (Standing::Ordinary, None);
        }
        let failure = retry.apply_only(failed.failure.clone());
        if let Class::Hold(cause) = failure.class
            && self.holds.at_fault(cause, record, now.mono)
        {
            return (Standing::AtFault, None);
        }
        let progress = &failed.progress;
        let first_try = progress.first_try.unwrap_or(now.wall);
        let since = now.wall.duration_since(first_try).unwrap_or_default();
        let seen = Seen {
            key: record.key,
            ended: Ended::of(&failure),
            probe: tried == Some(Try::Breaker),
            last_attempt: retry.is_last(progress.attempts, since),
            first_try,
            restored: progress.restored,
            others_wait,
        };
        let reaction = self.breaker.observe(&seen, now);
        let turned = match reaction.turned {
            Some(Turn::Opened(rule)) => {
                let message = format!("{}; last: {}", rule.message(), failure.message);
                self.opened = Some((now.wall, message.clone()));
                Some(Turned::Held(HoldCause::Breaker, message))
            }
            Some(Turn::Closed) => Some(self.closed()),
            None => None,
        };
        (reaction.standing, turned)
    }

    /// A pass has ended in a hold.
    pub fn raise(&mut self, cause: HoldCause, message: &str, record: Record, now: Now) -> Option<Turned> {
        if cause == HoldCause::Breaker {
            return None;
        }
        self.raisers.insert(cause, record);
        let new = self.holds.raise(cause, message, record, now);
        new.then(|| Turned::Held(cause, message.to_owned()))
    }

    /// When something may be tried; `None` where nothing is shut, or nothing until somebody acts.
    pub fn wake_at(&self) -> Option<Instant> {
        let probe = match self.breaker.state() {
            State::Open { next_probe, .. } if !self.holds.is_held() => next_probe,
            State::Open { .. } | State::Closed => None,
        };
        [probe, self.holds.wake_at()].into_iter().flatten().min()
    }

    /// What holds the stage, since when, and one sentence each.
    pub fn held(&self) -> Vec<(HoldCause, SystemTime, String)> {
        let breaker = self.opened.clone().map(|(since, message)| (HoldCause::Breaker, since, message));
        let holds = self.holds.active().map(|hold| (hold.cause, hold.since, hold.message.clone()));
        breaker.into_iter().chain(holds).collect()
    }
}
