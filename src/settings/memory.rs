//! How many consumers `limits.memory` has room for (M9).

/// The least that a consumer may fetch ahead, in bytes.
pub const MIN_PREFETCH: u64 = 1 << 20;
/// A quarter of the memory is for what consumers fetch ahead.
pub const FOR_PREFETCH: u64 = 4;

/// How many consumers fit into so many bytes: one at least.
pub fn most_consumers(memory: u64) -> usize {
    usize::try_from(memory / FOR_PREFETCH / MIN_PREFETCH).unwrap_or(usize::MAX).max(1)
}

/// The least bytes into which so many consumers fit.
pub fn needed(consumers: usize) -> u64 {
    u64::try_from(consumers).unwrap_or(u64::MAX).saturating_mul(FOR_PREFETCH * MIN_PREFETCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_is_enough_and_a_byte_less_is_not() {
        for consumers in 2..200 {
            assert_eq!(most_consumers(needed(consumers)), consumers);
            assert_eq!(most_consumers(needed(consumers) - 1), consumers - 1);
        }
        assert_eq!(most_consumers(0), 1);
    }
}
