//! The records that are open, by offset.
