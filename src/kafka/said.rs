//! What is said once and not again each time that it happens: a refusal repeats for as long as nobody mends it (B7).

use std::time::{Duration, Instant};

/// When the same is said again.
const AGAIN: Duration = Duration::from_secs(60);
/// How many words are remembered; the oldest go.
const KEPT: usize = 16;

/// The last words on one matter.
#[derive(Debug, Default)]
pub(super) struct Said(Vec<(String, Instant)>);

impl Said {
    /// Whether this is to be said: it was not, or that was long ago. How long it took each time is no part of it.
    pub(super) fn is_new(&mut self, words: &str, now: Instant) -> bool {
        let words = lasting(words);
        self.0.retain(|(_, at)| now.saturating_duration_since(*at) < AGAIN);
        if self.0.iter().any(|(said, _)| said == words) {
            return false;
        }
        if self.0.len() >= KEPT {
            self.0.remove(0);
        }
        self.0.push((words.to_owned(), now));
        true
    }

    /// The matter is settled: what happens next is new.
    pub(super) fn settled(&mut self) {
        self.0.clear();
    }
}

/// librdkafka's words without what differs each time.
pub(super) fn lasting(words: &str) -> &str {
    words.split(" (after ").next().unwrap_or(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::clock;

    #[test]
    fn the_same_is_said_once_a_minute_and_something_else_at_once() {
        let (mut said, now) = (Said::default(), clock::now());
        let after = |seconds| now + Duration::from_secs(seconds);
        assert!(said.is_new("no (after 12ms)", now));
        assert!(!said.is_new("no (after 13ms)", after(59)));
        assert!(said.is_new("other", after(59)));
        assert!(!said.is_new("no", after(59)), "in turns");
        assert!(said.is_new("no", after(60)), "long ago");
        said.settled();
        assert!(said.is_new("no", after(61)));
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let (mut said, now) = (Said::default(), clock::now());
        for number in 0..100 {
            assert!(said.is_new(&number.to_string(), now));
        }
        assert_eq!(said.0.len(), KEPT);
    }
}
