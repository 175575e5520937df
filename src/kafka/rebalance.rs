//! What a poll thread is doing about its assignment: looking up new partitions, or draining revoked ones. Both last
//! longer than the event that asked for them (G3); polling and committing go on meanwhile.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::{Found, KafkaError, Partition};

/// How long the last commit of a revoke or stop may take before it is given up: allowed duplicates, never a hang.
pub(crate) const LAST_COMMIT: Duration = Duration::from_secs(5);

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
    pub(crate) answer: Option<mpsc::Receiver<Result<Vec<Found>, KafkaError>>>,
    pub(crate) again_at: Instant,
    /// Whether they are assigned already: their topic was made again, and no rebalance waits for an answer.
    pub(crate) assigned: bool,
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
