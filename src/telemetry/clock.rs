//! The one place that reads a clock. The core takes `now` as an argument; shells ask here. Monotonic time is tokio's, so
//! that a test can pause it; wall time follows it where somebody says so, so that `weir test` lives in a time of its own.

use std::cell::Cell;
use std::marker::PhantomData;
use std::time::{Duration, Instant, SystemTime};

thread_local! {
    /// From where on wall time follows monotonic time on this thread; `None`: it is the system's.
    static FOLLOWED: Cell<Option<Now>> = const { Cell::new(None) };
}

/// Monotonic time. In a tokio test with paused time it stands still until it is advanced.
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Wall time.
#[expect(clippy::disallowed_methods, reason = "the one source of wall time")]
pub fn wall() -> SystemTime {
    match FOLLOWED.get() {
        Some(begin) => begin.wall + now().saturating_duration_since(begin.mono),
        None => SystemTime::now(),
    }
}

/// Makes it `wall` now on this thread; from here on wall time follows monotonic time, until the guard is dropped.
#[must_use]
pub fn follow(wall: SystemTime) -> Following {
    let before = FOLLOWED.replace(Some(Now { mono: now(), wall }));
    Following { before, of_thread: PhantomData }
}

/// Wall time follows monotonic time for as long as this lives.
#[derive(Debug)]
pub struct Following {
    before: Option<Now>,
    /// It is of one thread.
    of_thread: PhantomData<*const ()>,
}

impl Drop for Following {
    fn drop(&mut self) {
        FOLLOWED.set(self.before);
    }
}

/// One moment on both clocks: monotonic time rules the waits, wall time is what is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Monotonic time.
    pub mono: Instant,
    /// Wall time.
    pub wall: SystemTime,
}

impl Now {
    /// Whole seconds since 1970; 0 for an earlier clock.
    pub fn unix_seconds(&self) -> u64 {
        self.wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
    }
}

/// Both clocks, read at once.
pub fn both() -> Now {
    Now { mono: now(), wall: wall() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn wall_time_follows_the_paused_clock_and_is_the_systems_again_afterwards() {
        let begin = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let following = follow(begin);
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(both().unix_seconds(), 1_005);
        drop(following);
        assert!(both().unix_seconds() > 1_700_000_000);
    }
}
