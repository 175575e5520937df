//! What needs more than the library: the built binary, a real Kafka, a receiver of webhooks, and the tree itself.
//!
//! `support` is the rig: it brings things up, writes down what happened in ledgers, and judges them. The other modules
//! are the tests. `scripts/test` starts a Kafka for all of them; without it (`cargo it`) the rig starts its own.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall stop here, and say where")]
#![expect(clippy::indexing_slicing, reason = "test data has a known shape")]
#![expect(clippy::cast_possible_truncation, reason = "test data has known sizes")]

mod check;
mod demo;
mod fmt;
mod mistakes;
mod graph;
mod receive;
mod support;
mod rig;
mod delivery;
mod rehearsal;
mod reload;
mod git;
mod restarts;
mod revisions;
mod retries;
mod narrow;
mod shutdown;
mod dead_letters;
mod held;
mod json_schema;
mod kills;
mod contract;
mod crashes;
mod credentials;
mod patterns;
mod phases;
mod priority;
mod starts;
mod breaker;
mod links;
mod rebalance;
mod avro;
mod registry;
mod sealed;
mod projects;
mod protobuf;
#[cfg(feature = "plugins")]
mod plugins;
mod bad_input;
mod answers;
mod rules;
mod batches;
mod egress;
mod proxies;
mod tokens;
mod hosts;
mod signatures;
mod cloudevents;
mod clusters;
mod topics;
mod metrics;
mod identity;
mod order;
mod outage;
mod outputs;
mod chain;
mod lanes;
mod dlq_topic;
mod secrets;
mod security;
mod wrong_files;
mod tidy;
