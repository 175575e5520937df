//! The one place that reads a clock. The core takes `now` as an argument; shells ask here. Monotonic time is tokio's, so
//! that a test can pause it.

use std::time::{Duration, Instant, SystemTime};

/// Monotonic time. In a tokio test with paused time it stands still until it is advanced.
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Wall time.
#[expect(clippy::disallowed_methods, reason = "the one source of wall time")]
pub fn wall() -> SystemTime {
    SystemTime::now()
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
