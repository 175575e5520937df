//! The runtime file `weir.yaml`, `WEIR_*` variables and flags, and what references resolve to. The only module that reads
//! the environment.

mod reference;

pub use reference::{ReferenceError, References, Resolved};
