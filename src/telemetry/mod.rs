//! Logs, metrics and the clock. Every metric's name exists once, here.

pub mod clock;
pub mod health;
pub mod logs;
pub mod metrics;

/// The version of this build.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The git commit of this build: `WEIR_COMMIT` when it was compiled; empty where that was not set.
pub const COMMIT: &str = match option_env!("WEIR_COMMIT") {
    Some(commit) => commit,
    None => "",
};
