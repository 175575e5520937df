//! Keeps what runs equal to what is wanted.

pub mod status;
