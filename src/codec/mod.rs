//! Bytes to values and back, by format.
