//! Connections that rest between two requests, by origin; the last to come is the first to go.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::client::{Live, MAX_REST};
use super::connect::Origin;

/// The connections of one handler. The handler is made anew when `egress` changes, so they never outlive its rules.
#[derive(Debug)]
pub(super) struct Pool {
    /// At most this many rest.
    max: usize,
    resting: Mutex<Resting>,
}

#[derive(Debug, Default)]
#[expect(clippy::vec_box, reason = "a connection is moved at each request; the box is made once")]
struct Resting {
    count: usize,
    by_origin: HashMap<Arc<Origin>, Vec<Box<Live>>>,
}

impl Pool {
    pub(super) fn new(max: usize) -> Pool {
        Pool { max, resting: Mutex::default() }
    }

    /// Takes the connection that came last, if one has not rested for too long.
    pub(super) fn take(&self, origin: &Origin, now: Instant) -> Option<Box<Live>> {
        let mut resting = self.lock();
        let lives = resting.by_origin.get_mut(origin)?;
        let live = lives.pop()?;
        // Below it are only older ones; `tidy` drops them.
        let fresh = now.saturating_duration_since(live.since) < MAX_REST;
        resting.count -= 1;
        drop(resting);
        fresh.then_some(live)
    }

    /// Lets a connection rest. Where there is no room, it is closed.
    pub(super) fn put(&self, origin: &Arc<Origin>, mut live: Box<Live>, now: Instant) {
        live.reused = true;
        live.since = now;
        let mut resting = self.lock();
        if resting.count >= self.max {
            return;
        }
        resting.count += 1;
        match resting.by_origin.get_mut(origin) {
            Some(lives) => lives.push(live),
            None => {
                resting.by_origin.insert(Arc::clone(origin), vec![live]);
            }
        }
    }

    /// Closes those that have rested for too long, or that the peer has closed.
    pub(super) fn tidy(&self, now: Instant) {
        let mut resting = self.lock();
        resting.by_origin.retain(|_, lives| {
            lives
                .retain_mut(|live| now.saturating_duration_since(live.since) < MAX_REST && !live.is_closed());
            !lives.is_empty()
        });
        resting.count = resting.by_origin.values().map(Vec::len).sum();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Resting> {
        self.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn resting(&self) -> usize {
        self.lock().count
    }
}
