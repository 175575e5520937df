//! What a poll thread is doing about its assignment: looking up new partitions, or draining revoked ones. Both last
//! longer than the event that asked for them (G3); polling and committing go on meanwhile.

use std::collections::{HashSet, VecDeque};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::find::Looked;
use super::{KafkaError, Partition};

/// How long the last commit of a revoke or stop may take before it is given up: allowed duplicates, never a hang.
pub(crate) const LAST_COMMIT: Duration = Duration::from_secs(5);

/// What a rebalance asks of this consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ask {
    /// These come to it: to be looked up and assigned.
    Assign(Vec<Partition>),
    /// These go from it: to be drained and unassigned. `lost`: others may have them already.
    Revoke { partitions: Vec<Partition>, lost: bool },
}

/// What was asked and is not answered, in order, and what is set aside meanwhile.
///
/// librdkafka asks one thing at a time, but takes any assign or unassign for the answer: also that of partitions which are
/// set aside, to be read from elsewhere. It then asks the next thing while the one before waits here. What must hold is
/// that the group never hears of partitions as free before they are drained (G3); it does with the answer to the
/// assignment that follows a revocation. So:
///
/// - one ask is begun only when the one before is answered;
/// - partitions are set aside, and come back, only when nothing is asked and nothing was left to poll since the time
///   before: what that has answered unseen has been seen by then.
#[derive(Debug, Default)]
pub(crate) struct Asks {
    asks: VecDeque<Ask>,
    begun: bool,
    /// Ours, but not assigned while they are looked up anew, or do not exist.
    aside: HashSet<Partition>,
    /// Whether the queue was found empty since partitions were last set aside or came back.
    seen_all: bool,
}

/// What librdkafka is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// These are assigned.
    Assign(Vec<Partition>),
    /// These are not any more; it may be none.
    Unassign(Vec<Partition>),
}

impl Asks {
    /// Something is asked.
    pub(crate) fn push(&mut self, ask: Ask) {
        self.asks.push_back(ask);
    }

    /// What is to be worked on next, once; `None` while something is.
    pub(crate) fn begin(&mut self) -> Option<Ask> {
        if self.begun {
            return None;
        }
        let next = self.asks.front().cloned();
        self.begun = next.is_some();
        next
    }

    /// The answer to what has been worked on; `None` where nothing is asked.
    pub(crate) fn answer(&mut self) -> Option<Answer> {
        self.begun = false;
        Some(match self.asks.pop_front()? {
            Ask::Assign(partitions) => Answer::Assign(partitions),
            Ask::Revoke { mut partitions, .. } => {
                partitions.retain(|partition| !self.aside.remove(partition));
                Answer::Unassign(partitions)
            }
        })
    }

    /// How many are not answered.
    pub(crate) fn len(&self) -> usize {
        self.asks.len()
    }

    /// Sets partitions aside. Gives those that are to be unassigned for it.
    pub(crate) fn set_aside(&mut self, partitions: &[Partition]) -> Vec<Partition> {
        let new: Vec<Partition> =
            partitions.iter().filter(|partition| self.aside.insert((*partition).clone())).cloned().collect();
        self.seen_all &= new.is_empty();
        new
    }

    /// What is set aside.
    pub(crate) fn aside(&self) -> impl Iterator<Item = &Partition> {
        self.aside.iter()
    }

    /// These of what is asked for are not there: they are not assigned with the others, and count as set aside.
    pub(crate) fn not_there(&mut self, partitions: &[Partition]) {
        self.aside.extend(partitions.iter().cloned());
    }

    /// There was nothing to poll.
    pub(crate) fn polled_nothing(&mut self) {
        self.seen_all = true;
    }

    /// Whether partitions may be set aside, or come back.
    pub(crate) fn is_quiet(&self) -> bool {
        self.seen_all && self.asks.is_empty()
    }

    /// These are assigned again.
    pub(crate) fn returned(&mut self, partitions: &[Partition]) {
        self.seen_all = false;
        for partition in partitions {
            self.aside.remove(partition);
        }
    }
}

/// The state.
#[derive(Debug)]
pub(crate) enum Rebalance {
    /// Nothing is under way.
    Steady,
    /// New partitions are being looked up on a thread of their own.
    Finding(Finding),
    /// Revoked partitions are ending.
    Draining(Draining),
}

/// A look-up under way, or waiting to be tried again.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) partitions: Vec<Partition>,
    pub(crate) answer: Option<mpsc::Receiver<Result<Looked, KafkaError>>>,
    pub(crate) again_at: Instant,
    /// Whether they are set aside: their topic was made again, or was not there, or what was to be read is not.
    pub(crate) again: bool,
}

/// A drain under way.
#[derive(Debug)]
pub(crate) struct Draining {
    pub(crate) partitions: Vec<Partition>,
    pub(crate) deadline: Instant,
    pub(crate) step: DrainStep,
    /// Whether these end because the thread stops, and not because the group wants them elsewhere.
    pub(crate) stopping: bool,
}

/// How far a drain is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DrainStep {
    /// Tasks are at work.
    Working,
    /// All has ended or the deadline has passed; an earlier commit is still outstanding.
    Closing,
    /// The last commit is outstanding; given up then.
    LastCommit(Instant),
    /// Nothing is left but to give the partitions back.
    Done,
}

impl Draining {
    /// What comes next: `drained`: no task is at work; `covered`: Kafka has accepted a commit of all there is to commit.
    pub(crate) fn next(&self, drained: bool, covered: bool, now: Instant) -> DrainStep {
        match self.step {
            DrainStep::Working if drained || now >= self.deadline => DrainStep::Closing,
            DrainStep::LastCommit(until) if covered || now >= until => DrainStep::Done,
            step => step,
        }
    }
}

#[cfg(test)]
mod model;

#[cfg(test)]
mod tests {
    use super::*;

    fn draining(step: DrainStep, deadline: Instant) -> Draining {
        Draining { partitions: Vec::new(), deadline, step, stopping: false }
    }

    #[test]
    fn a_drain_waits_for_its_tasks_but_not_past_its_deadline() {
        let now = crate::telemetry::clock::now();
        let later = now + Duration::from_secs(10);
        let working = draining(DrainStep::Working, later);
        assert_eq!(working.next(false, false, now), DrainStep::Working);
        assert_eq!(working.next(true, false, now), DrainStep::Closing);
        assert_eq!(working.next(false, false, later), DrainStep::Closing);
    }

    #[test]
    fn the_last_commit_is_awaited_but_not_for_ever() {
        let now = crate::telemetry::clock::now();
        let until = now + LAST_COMMIT;
        let last = draining(DrainStep::LastCommit(until), now);
        assert_eq!(last.next(true, false, now), DrainStep::LastCommit(until));
        assert_eq!(last.next(true, true, now), DrainStep::Done);
        assert_eq!(last.next(true, false, until), DrainStep::Done);
    }
}
