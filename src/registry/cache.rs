//! What a registry does not know: remembered for seconds, so that neither a flood of bad records asks it each time nor an id
//! that comes a moment late is refused for good (S9).

use std::time::{Duration, Instant};

use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use super::words::Key;

/// How long the registry is not asked again.
const NOT_AGAIN: Duration = Duration::from_secs(2);
/// How long it is remembered since when it is not known.
const REMEMBERED: Duration = Duration::from_secs(120);
/// How many are remembered.
const MOST: u64 = 10_000;

/// Schemas that were asked for and are not there.
#[derive(Debug)]
pub(super) struct Unknown(Cache<Key, Miss>);

/// One of them.
#[derive(Debug, Clone)]
pub(super) struct Miss {
    /// Since when it is known not to be there.
    pub(super) since: Instant,
    asked: Instant,
    pub(super) message: String,
}

impl Unknown {
    pub(super) fn new() -> Unknown {
        Unknown({
            let lru = EvictionPolicy::lru();
            Cache::builder().max_capacity(MOST).time_to_idle(REMEMBERED).eviction_policy(lru).build()
        })
    }

    /// What is known of it; `None` where the registry is to be asked.
    pub(super) fn recent(&self, key: Key, now: Instant) -> Option<Miss> {
        self.0.get(&key).filter(|miss| now.saturating_duration_since(miss.asked) < NOT_AGAIN)
    }

    /// The registry has just said that it does not know it.
    pub(super) fn note(&self, key: Key, message: String, now: Instant) -> Miss {
        let since = self.0.get(&key).map_or(now, |miss| miss.since);
        let miss = Miss { since, asked: now, message };
        self.0.insert(key, miss.clone());
        miss
    }

    /// It is there now.
    pub(super) fn forget(&self, key: Key) {
        self.0.invalidate(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::clock;

    #[test]
    fn an_unknown_id_is_asked_for_again_after_seconds_and_keeps_its_beginning() {
        let (unknown, key, now) = (Unknown::new(), Key::Id(7), clock::now());
        assert!(unknown.recent(key, now).is_none());
        unknown.note(key, "no".to_owned(), now);
        assert!(unknown.recent(key, now + Duration::from_secs(1)).is_some());
        let later = now + Duration::from_secs(3);
        assert!(unknown.recent(key, later).is_none(), "it is asked for again");
        assert_eq!(unknown.note(key, "no".to_owned(), later).since, now);
        unknown.forget(key);
        assert_eq!(unknown.note(key, "no".to_owned(), later).since, later);
    }
}
