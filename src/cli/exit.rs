//! Exit codes. 1 is "the answer is no", 2 "you called me wrongly", and what is about the world takes a number of sysexits.

use std::fmt;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Yes: done, and nothing to complain of.
    Yes = 0,
    /// No: findings, numbers that do not add up.
    No = 1,
    /// Wrong use: an unknown flag, a missing argument.
    Usage = 2,
    /// Kafka, an address or a server cannot be reached.
    Unreachable = 69,
    /// A bug of ours; stderr says where the details lie.
    Bug = 70,
    /// Time ran out: a stop that was not clean within its grace.
    TimedOut = 75,
    /// Not allowed.
    NotAllowed = 77,
    /// The configuration is bad: a restart mends nothing.
    BadConfig = 78,
    /// The second Ctrl-C: stopped at once.
    Interrupted = 130,
}

impl Exit {
    /// Every code with its meaning, as the help prints them.
    pub const HELP: &'static str = "\
Exit codes: 0 yes   1 no (findings, numbers that do not add up)   2 wrong use
            69 unreachable   70 a bug   75 timed out   77 not allowed
            78 bad configuration   130 stopped at once";
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> std::process::ExitCode {
        std::process::ExitCode::from(exit as u8)
    }
}

/// Why a command could not do its work. Printed in one place, in `cli::main`.
#[derive(Debug)]
pub struct CliError {
    /// How the program ends.
    pub exit: Exit,
    /// One sentence: action first, lower case, no full stop, no secrets.
    pub message: String,
}

impl CliError {
    /// An error of this kind.
    pub fn new(exit: Exit, message: impl Into<String>) -> CliError {
        CliError { exit, message: message.into() }
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CliError {}

impl From<std::io::Error> for CliError {
    /// Writing results failed: a closed pipe, a full disk.
    fn from(error: std::io::Error) -> CliError {
        CliError::new(Exit::Unreachable, format!("writing results: {error}"))
    }
}

impl From<crate::api::ApiError> for CliError {
    fn from(error: crate::api::ApiError) -> CliError {
        let exit = match error {
            crate::api::ApiError::PublicWithoutAuth(_) => Exit::BadConfig,
            crate::api::ApiError::Bind { .. } => Exit::Unreachable,
        };
        CliError::new(exit, error.to_string())
    }
}

impl From<crate::telemetry::logs::LogsError> for CliError {
    fn from(error: crate::telemetry::logs::LogsError) -> CliError {
        CliError::new(Exit::BadConfig, error.to_string())
    }
}
