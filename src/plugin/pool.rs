//! The instances of a guest: as many as there are processors, each made when it is first missed. An instance does one call at
//! a time, and has an engine of its own: a time-out of Extism's ends every call under way on one engine.

use std::fmt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a call waits for an instance. Calls are short, and so few wait at once, that this is never reached.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Things that are lent one at a time.
pub(super) struct Pool<T> {
    most: usize,
    state: Mutex<State<T>>,
    given_back: Condvar,
}

struct State<T> {
    idle: Vec<T>,
    made: usize,
}

/// One that was lent. Given back when it is dropped.
pub(super) struct Lent<'a, T> {
    pool: &'a Pool<T>,
    item: Option<T>,
}

impl<T> Pool<T> {
    /// With the first one; never more than `most`.
    pub(super) fn new(first: T, most: usize) -> Pool<T> {
        let state = Mutex::new(State { idle: vec![first], made: 1 });
        Pool { most: most.max(1), state, given_back: Condvar::new() }
    }

    /// One that is idle.
    pub(super) fn idle(&self) -> Option<Lent<'_, T>> {
        let item = self.lock().idle.pop()?;
        Some(Lent { pool: self, item: Some(item) })
    }

    /// Another one, where there may be more; else the first that is given back. Blocks. `None` where none is for too long.
    pub(super) fn wait(&self, make: impl FnOnce() -> Option<T>) -> Option<Lent<'_, T>> {
        let mut state = self.lock();
        if state.idle.is_empty() && state.made < self.most {
            state.made += 1;
            drop(state);
            // It counts as made from the beginning on, and no more where that fails.
            let mut lent = Lent { pool: self, item: None };
            lent.item = make();
            if lent.item.is_some() {
                return Some(lent);
            }
            drop(lent);
            state = self.lock();
        }
        let wait = self.given_back.wait_timeout_while(state, PATIENCE, |state| state.idle.is_empty());
        let (mut state, _) = wait.unwrap_or_else(PoisonError::into_inner);
        let item = state.idle.pop()?;
        Some(Lent { pool: self, item: Some(item) })
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Lent<'_, T> {
    /// The thing itself, which is there as long as it is lent.
    pub(super) fn get(&mut self) -> Option<&mut T> {
        self.item.as_mut()
    }
}

impl<T> Drop for Lent<'_, T> {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        match self.item.take() {
            Some(item) => state.idle.push(item),
            None => state.made = state.made.saturating_sub(1),
        }
        drop(state);
        self.pool.given_back.notify_one();
    }
}

impl<T> fmt::Debug for Pool<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("most", &self.most).finish_non_exhaustive()
    }
}
