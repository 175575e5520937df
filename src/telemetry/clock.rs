//! The one place that reads a clock. The core takes `now` as an argument; shells ask here. Monotonic time is tokio's, so
//! that a test can pause it.

use std::time::{Instant, SystemTime};

/// Monotonic time. In a tokio test with paused time it stands still until it is advanced.
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Wall time.
#[expect(clippy::disallowed_methods, reason = "the one source of wall time")]
pub fn wall() -> SystemTime {
    SystemTime::now()
}
