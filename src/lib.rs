//! Weir runs Kafka pipelines that are written as YAML files and kept in git.
//!
//! The modules in reading order. `flow` is where a record lives: start there.

pub mod settings;
pub mod git;
pub mod spec;
pub mod plan;
pub mod event;
pub mod outcome;
pub mod kafka;
pub mod flow;
pub mod schema;
pub mod store;
pub mod registry;
pub mod codec;
pub mod plugin;
pub mod seal;
pub mod transform;
pub mod handler;
pub mod deliver;
pub mod publish;
pub mod runtime;
pub mod rehearsal;
pub mod api;
pub mod cli;
pub mod telemetry;
