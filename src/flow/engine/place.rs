//! One partition's place on the board, and the process's one right to work on a suspect record.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::event::Rank;
use crate::flow::{Epoch, Now, Tracker, Work};
use crate::kafka::Partition;

/// One partition, for as long as the process lives: a place is never used for another one, so that a late completion
/// always finds its own.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) partition: Partition,
    /// Stage and partition: who holds the lone right.
    pub(super) name: Arc<str>,
    pub(super) tracker: Option<Tracker>,
    pub(super) epoch: Epoch,
    /// Tasks of ended assignments that are still at work (G16).
    pub(super) orphans: usize,
    /// Whether records wait for room in its tracker.
    pub(super) refused: bool,
    pub(super) cancelled: CancellationToken,
    /// When it was last said that its metadata is cut.
    pub(super) cut_said: Option<Instant>,
    /// When a commit of it was last accepted, or it had nothing to commit.
    pub(super) accepted_at: Instant,
    /// Since when the assignment goes on; 60 s of it forgive earlier crashes (O18).
    pub(super) since: Instant,
}

/// The right to work on a suspect record: one in the process (K10). Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Lone(Arc<Mutex<Option<Arc<str>>>>);

impl Lone {
    fn with<T>(&self, act: impl FnOnce(&mut Option<Arc<str>>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether `who` holds it, or gets it now.
    pub(super) fn try_hold(&self, who: &Arc<str>) -> bool {
        self.with(|holder| holder.get_or_insert_with(|| Arc::clone(who)) == who)
    }

    /// Whether nobody else holds it.
    fn is_free_for(&self, who: &Arc<str>) -> bool {
        self.with(|holder| holder.as_ref().is_none_or(|holder| holder == who))
    }

    pub(super) fn release(&self, who: &Arc<str>) {
        self.with(|holder| {
            if holder.as_ref() == Some(who) {
                *holder = None;
            }
        });
    }
}

impl Place {
    /// Takes a record. In a suspect partition only with the process's one right to do so.
    pub(super) fn take(&mut self, now: Now, lone: &Lone) -> Option<Work> {
        let tracker = self.tracker.as_mut()?;
        if !tracker.is_suspect() {
            return tracker.take(now);
        }
        if !lone.try_hold(&self.name) {
            return None;
        }
        let work = tracker.take(now);
        self.settle_lone(lone);
        work
    }

    /// How urgent the record is that could be taken next.
    pub(super) fn next_rank(&mut self, now: Instant) -> Option<Rank> {
        self.tracker.as_mut()?.next_rank(now)
    }

    /// As `take`, for the record at this offset.
    pub(super) fn take_at(&mut self, offset: i64, now: Now, lone: &Lone) -> Option<Work> {
        if self.tracker.as_ref().is_some_and(Tracker::is_suspect) {
            return self.take(now, lone);
        }
        self.tracker.as_mut()?.take_at(offset, now)
    }

    /// Whether a record of it would be given out now, could one be taken.
    pub(super) fn gives(&self, now: Instant, uncommitted: Duration, lone: &Lone) -> bool {
        let Some(tracker) = &self.tracker else { return false };
        let may = !tracker.is_suspect() || lone.is_free_for(&self.name);
        may && tracker.gives() && !self.is_stalled(now, uncommitted)
    }

    /// Whether it stands still because no commit of it was accepted for too long (O11).
    pub(super) fn is_stalled(&self, now: Instant, uncommitted: Duration) -> bool {
        let late = now.saturating_duration_since(self.accepted_at) > uncommitted;
        late && self.tracker.as_ref().is_some_and(|tracker| tracker.counts().uncommitted)
    }

    /// Gives the right back where no lone record is chosen or at work.
    pub(super) fn settle_lone(&self, lone: &Lone) {
        if !self.tracker.as_ref().is_some_and(Tracker::lone) {
            lone.release(&self.name);
        }
    }
}
