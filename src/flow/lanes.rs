//! Lanes: which record of a key is at work and which wait behind it.

/// Which records keep their order among each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Records of the same key. A null key has a lane of its own for each record; an empty key is a key.
    Key,
    /// All records of the partition.
    Partition,
    /// None.
    None,
}
