//! Connections between two requests, by origin: those that rest, the last to come the first to go, and one that is shared.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::client::{Live, MAX_REST};
use super::connect::Origin;
use super::shared::Shared;

/// The connections of one handler. The handler is made anew when `egress` changes, so they never outlive its rules.
#[derive(Debug)]
pub(super) struct Pool {
    /// At most this many rest.
    max: usize,
    resting: Mutex<Resting>,
    /// Drive shared connections. Nobody waits for them: what is asked over one is waited for by whoever asks.
    drivers: TaskTracker,
    end: CancellationToken,
    _ends: DropGuard,
}

#[derive(Debug, Default)]
struct Resting {
    count: usize,
    by_origin: HashMap<Arc<Origin>, Known>,
}

/// What is known of an origin.
#[derive(Debug, Default)]
#[expect(clippy::vec_box, reason = "a connection is moved at each request; the box is made once")]
struct Known {
    lives: Vec<Box<Live>>,
    shared: Option<(Shared, Instant)>,
    /// The first to connect finds out whether the connection can be shared; meanwhile the others wait.
    first: Option<watch::Receiver<()>>,
    /// It speaks HTTP/1.1: there is nothing to wait for.
    single: bool,
}

/// How a request gets to its origin.
#[derive(Debug)]
pub(super) enum Way {
    /// Over one that rests.
    Resting(Box<Live>),
    /// Over one that is shared.
    Shared(Shared),
    /// Over a new one. Others wait for its kind until `First` is dropped.
    New(Option<First>),
    /// Ask again when this one is closed.
    Wait(watch::Receiver<()>),
}

/// Held by the first to connect to an origin.
#[derive(Debug)]
pub(super) struct First(#[expect(dead_code, reason = "its end is what is waited for")] watch::Sender<()>);

impl Pool {
    pub(super) fn new(max: usize) -> Pool {
        let end = CancellationToken::new();
        let ends = end.clone().drop_guard();
        Pool { max, resting: Mutex::default(), drivers: TaskTracker::new(), end, _ends: ends }
    }

    /// The way to an origin: over the connection that came last, if one has not rested for too long, or over the shared
    /// one. `waited`: it was told to wait before, and goes on now.
    pub(super) fn way(&self, origin: &Arc<Origin>, now: Instant, waited: bool) -> Way {
        let mut resting = self.lock();
        let Resting { count, by_origin } = &mut *resting;
        if let Some(known) = by_origin.get_mut(origin) {
            if let Some((shared, since)) = &mut known.shared {
                if !shared.is_gone() {
                    *since = now;
                    return Way::Shared(shared.clone());
                }
                known.shared = None;
            }
            if let Some(live) = known.lives.pop() {
                *count -= 1;
                // Below it are only older ones; `tidy` drops them.
                if now.saturating_duration_since(live.since) < MAX_REST {
                    return Way::Resting(live);
                }
            }
            if known.single || waited {
                return Way::New(None);
            }
            if let Some(first) = known.first.as_ref().filter(|first| first.has_changed().is_ok()) {
                return Way::Wait(first.clone());
            }
        }
        if !origin.https {
            return Way::New(None);
        }
        let (sender, receiver) = watch::channel(());
        by_origin.entry(Arc::clone(origin)).or_default().first = Some(receiver);
        Way::New(Some(First(sender)))
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
            Some(known) => known.lives.push(live),
            None => {
                let known = Known { lives: vec![live], single: true, ..Known::default() };
                resting.by_origin.insert(Arc::clone(origin), known);
            }
        }
    }

    /// A new connection to this origin is not shared.
    pub(super) fn single(&self, origin: &Arc<Origin>) {
        if let Some(known) = self.lock().by_origin.get_mut(origin) {
            known.single = true;
        }
    }

    /// Shares a new connection, unless one is shared already.
    pub(super) fn share(
        &self,
        origin: &Arc<Origin>,
        shared: &Shared,
        driver: impl Future<Output = ()> + Send + 'static,
        now: Instant,
    ) {
        self.drivers.spawn(self.end.clone().run_until_cancelled_owned(driver));
        let mut resting = self.lock();
        let known = resting.by_origin.entry(Arc::clone(origin)).or_default();
        known.single = false;
        if known.shared.as_mut().is_none_or(|(shared, _)| shared.is_gone()) {
            known.shared = Some((shared.clone(), now));
        }
    }

    /// Closes those that nobody has asked for too long, or that the peer has closed.
    pub(super) fn tidy(&self, now: Instant) {
        let is_fresh = |since: Instant| now.saturating_duration_since(since) < MAX_REST;
        let mut resting = self.lock();
        resting.by_origin.retain(|_, known| {
            known.lives.retain_mut(|live| is_fresh(live.since) && !live.is_closed());
            if known.shared.as_mut().is_some_and(|(shared, since)| !is_fresh(*since) || shared.is_gone()) {
                known.shared = None;
            }
            let waits = known.first.as_ref().is_some_and(|first| first.has_changed().is_ok());
            !known.lives.is_empty() || known.shared.is_some() || waits
        });
        resting.count = resting.by_origin.values().map(|known| known.lives.len()).sum();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Resting> {
        self.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connections that no request is using alone: those that rest, and the shared ones.
    #[cfg(test)]
    pub(super) fn resting(&self) -> usize {
        let resting = self.lock();
        resting.count + resting.by_origin.values().filter(|known| known.shared.is_some()).count()
    }
}
