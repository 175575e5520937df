//! The webhook handler: one HTTP request per attempt, signed, with every limit of the contract.
//!
//! Source: http-contract.

mod spec;

pub use spec::{
    Auth, Batch, Breaker, BreakerNumbers, BreakerOff, CloudEvents, CloudEventsBlock, CloudEventsMode,
    Compress, Content, Method, Probe, Rule, Sign, Spec, Then, Timeouts, Tls,
};
