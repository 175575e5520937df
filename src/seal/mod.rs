//! What protects data on its way: fields that are encrypted, and events that are signed. Only the formats and their keys; which
//! fields and which records is said by `transform`, `publish` and `flow`. The formats are written down in docs/protection.md.

mod key;
mod ring;
mod envelope;
mod signature;
mod sign;
mod verify;

pub use envelope::{Bound, Place, Unopened, is_sealed, open, seal};
pub use ring::{KeyRing, ring};
pub use sign::{SignSpec, Signer};
pub use signature::HEADER;
pub use verify::{Unverified, Verifier, VerifySpec};

#[cfg(test)]
mod tests;
