//! Choosing a certain record: for the probes of a held stage.

use super::{Tracker, Work};
use crate::flow::open::State;
use crate::flow::position::Now;
use crate::outcome::Progress;

/// A record that could be taken, as a probe's choice sees it.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// The hash of its key.
    pub key: u64,
    /// Its offset.
    pub offset: i64,
    /// What is known of it; `None` where nobody has touched it.
    pub progress: Option<&'a Progress>,
}

impl Tracker {
    /// What could be taken now, or before its time: the heads of the lanes that are not at work.
    pub fn candidates(&self) -> impl Iterator<Item = Candidate<'_>> {
        self.open.iter().filter(|slot| slot.is_head() && slot.event.is_some()).map(|slot| Candidate {
            key: slot.key,
            offset: slot.offset,
            progress: slot.tried.as_ref().map(|tried| &tried.progress),
        })
    }

    /// The offsets of what is not finished.
    pub fn open_offsets(&self) -> impl Iterator<Item = i64> {
        self.open.iter().map(|slot| slot.offset)
    }

    /// Takes the candidate at this offset, also before its time. In a suspect partition as `take`.
    pub fn take_at(&mut self, offset: i64, now: Now) -> Option<Work> {
        if !self.gives() {
            return None;
        }
        if self.is_suspect() {
            return self.take(now);
        }
        if self.runs_ahead() {
            return None;
        }
        let id = self.queue.find(|id| self.open.get(id).is_some_and(|slot| slot.offset == offset))?;
        if self.state(id) == State::Waiting {
            self.waiting -= 1;
        }
        self.queue.retain(|other| other != id);
        self.start(id, false)
    }
}
