//! What is said once and not again each time that it happens: a refusal repeats for as long as nobody mends it (B7).

use std::time::{Duration, Instant};

/// When the same is said again.
const AGAIN: Duration = Duration::from_secs(60);

/// The last words on one matter.
#[derive(Debug, Default)]
pub(super) struct Said(Option<(String, Instant)>);

impl Said {
    /// Whether this is to be said: it is not what was said last, or that was long ago.
    pub(super) fn is_new(&mut self, words: &str, now: Instant) -> bool {
        let fresh =
            |(said, at): &(String, Instant)| said == words && now.saturating_duration_since(*at) < AGAIN;
        if self.0.as_ref().is_some_and(fresh) {
            return false;
        }
        self.0 = Some((words.to_owned(), now));
        true
    }

    /// The matter is settled: what happens next is new.
    pub(super) fn settled(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::clock;

    #[test]
    fn the_same_is_said_once_a_minute_and_something_else_at_once() {
        let (mut said, now) = (Said::default(), clock::now());
        let after = |seconds| now + Duration::from_secs(seconds);
        assert!(said.is_new("no", now));
        assert!(!said.is_new("no", after(59)));
        assert!(said.is_new("no", after(60)), "long ago");
        assert!(said.is_new("other", after(61)));
        said.settled();
        assert!(said.is_new("other", after(62)));
    }
}
