//! The words for the state of a pipeline or a stage, the same in metrics, API, logs and on the terminal.

/// How a pipeline or a stage is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Health {
    /// A person or the file said so.
    Paused,
    /// Ended on purpose.
    Stopped,
    /// It works.
    Healthy,
    /// Not assigned yet.
    Starting,
    /// It works, but over its `slo` or with failures.
    Degraded,
    /// A stage holds, or has stopped on an error.
    Failing,
}

impl Health {
    /// Every state, the one that hides all others last: a pipeline is as well as the greatest of its stages.
    pub const ALL: &'static [Health] = &[
        Health::Paused,
        Health::Stopped,
        Health::Healthy,
        Health::Starting,
        Health::Degraded,
        Health::Failing,
    ];

    /// The word used everywhere.
    pub fn as_str(self) -> &'static str {
        match self {
            Health::Paused => "paused",
            Health::Stopped => "stopped",
            Health::Healthy => "healthy",
            Health::Starting => "starting",
            Health::Degraded => "degraded",
            Health::Failing => "failing",
        }
    }
}

impl std::fmt::Display for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
