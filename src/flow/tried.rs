//! What is known of a record that was tried: in this process, and as an entry of the commit metadata.

use std::time::{Duration, Instant, SystemTime};

use super::metadata::{Phase, Retry};
use super::position::Now;
use super::room;
use crate::outcome::{Code, Owed, Progress, Reason};

/// What is known of a record that was tried or restored.
#[derive(Debug, Clone)]
pub(super) struct Tried {
    pub(super) progress: Progress,
    /// Not before; `None` is now.
    pub(super) due: Option<Instant>,
    /// Lone attempts of a suspect partition that had begun: 0, 1 or 2.
    pub(super) lone: u8,
    /// The bytes that the entry may take in the metadata.
    pub(super) weight: usize,
}

impl Tried {
    pub(super) fn fresh() -> Tried {
        Tried { progress: Progress::FRESH, due: None, lone: 0, weight: 0 }
    }

    /// Whether the metadata has an entry for it.
    fn counts(&self) -> bool {
        self.lone > 0 || self.progress.attempts > 0 || self.progress.owed != Owed::Attempt
    }

    pub(super) fn weigh(&self, due_in: Duration) -> usize {
        let dead_letter = matches!(self.progress.owed, Owed::DeadLetter { .. });
        if self.counts() { room::weight(self.progress.attempts, due_in, dead_letter) } else { 0 }
    }

    /// The entry of the metadata, if it has one.
    pub(super) fn entry(&self, offset: i64, now: Now) -> Option<Retry> {
        if !self.counts() {
            return None;
        }
        let progress = &self.progress;
        let phase = match (&progress.owed, self.lone) {
            (Owed::DeadLetter { reason, code, .. }, _) => Phase::DeadLetter(*reason, *code),
            (_, 1) => Phase::FirstLone,
            (_, 2..) => Phase::SecondLone,
            (Owed::Publish(_), 0) => Phase::Publish,
            (Owed::Attempt, 0) => Phase::Try,
        };
        let due = self.due.map_or(Duration::ZERO, |due| due.saturating_duration_since(now.mono));
        let tried_for = progress.first_try.and_then(|first| now.wall.duration_since(first).ok());
        Some(Retry {
            offset,
            // A lone attempt is counted before it begins: the process may not live to count it.
            attempts: progress.attempts.saturating_add(u32::from(self.lone > 0)),
            due_in: due.as_secs() + u64::from(due.subsec_nanos() > 0),
            tried_for: tried_for.unwrap_or_default().as_secs(),
            phase,
        })
    }

    /// What an entry of the metadata means in this process.
    pub(super) fn restored(retry: &Retry, clock: u64, max_wait: Duration, now: Now) -> Tried {
        let age = now.unix_seconds().saturating_sub(clock);
        let wait = Duration::from_secs(retry.due_in.saturating_sub(age)).min(max_wait);
        let first_try = Duration::from_secs(clock.saturating_sub(retry.tried_for));
        let dead_letter = |reason, code| Owed::DeadLetter { reason, code, failure: None };
        let owed = match retry.phase {
            Phase::DeadLetter(reason, code) => dead_letter(reason, code),
            Phase::SecondLone => dead_letter(Reason::Invalid, Code::Crashed),
            Phase::Try | Phase::Row | Phase::Publish | Phase::FirstLone => Owed::Attempt,
        };
        let progress = Progress {
            attempts: retry.attempts,
            first_try: SystemTime::UNIX_EPOCH.checked_add(first_try),
            owed,
            restored: true,
            parts: None,
            waited: true,
            acked: 0,
            alone: false,
        };
        let due = if wait.is_zero() { None } else { now.mono.checked_add(wait) };
        let lone = u8::from(retry.phase == Phase::FirstLone);
        let mut tried = Tried { progress, due, lone, weight: 0 };
        tried.weight = tried.weigh(max_wait);
        tried
    }
}
