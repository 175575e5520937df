//! Keys whose last attempt failed.

use std::collections::HashMap;

/// How many are remembered; the one that failed longest ago is forgotten first.
pub(super) const FAILED_KEYS: usize = 1_024;

/// Keys whose last attempt failed, by the order in which it did.
#[derive(Debug, Default)]
pub(super) struct FailedKeys {
    pub(super) order: HashMap<u64, u64>,
    last: u64,
}

impl FailedKeys {
    /// 0 of a key that has not failed; else the larger the later.
    pub(super) fn order(&self, key: u64) -> u64 {
        self.order.get(&key).copied().unwrap_or(0)
    }

    pub(super) fn insert(&mut self, key: u64) {
        self.last += 1;
        self.order.insert(key, self.last);
        if self.order.len() > FAILED_KEYS
            && let Some(oldest) = self.order.iter().min_by_key(|(_, order)| **order).map(|(key, _)| *key)
        {
            self.order.remove(&oldest);
        }
    }

    pub(super) fn remove(&mut self, key: u64) {
        self.order.remove(&key);
    }
}
