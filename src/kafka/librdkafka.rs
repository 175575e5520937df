//! What librdkafka says of itself, as lines of the log: by its syslog level, the same words once a minute, and in a minute no more
//! than a person reads. It prints no secrets: where it shows its settings, those are redacted.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::{Level, debug, error, info, warn};

use super::said::Said;
use crate::telemetry::clock;

const MINUTE: Duration = Duration::from_secs(60);
/// How many lines of one client are shown in a minute, however different; the rest is for whoever looks at level debug.
const SHOWN: u32 = 30;

/// A line, as it comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// Of syslog: 0 is the most urgent, 7 is debug.
    pub(crate) level: i32,
    /// A short name of what it is about.
    pub(crate) facility: String,
    pub(crate) message: String,
}

/// The lines of one client.
#[derive(Debug)]
pub(super) struct Lines {
    client: String,
    shown: Mutex<Shown>,
}

#[derive(Debug, Default)]
struct Shown {
    said: Said,
    /// When the first line of this minute was shown, and how many were since.
    minute: Option<(Instant, u32)>,
}

impl Lines {
    pub(super) fn new(client: &str) -> Lines {
        Lines { client: client.to_owned(), shown: Mutex::default() }
    }

    /// Writes a line of the log.
    pub(super) fn write(&self, level: i32, facility: &str, message: &str) {
        let shown = |mut shown: std::sync::MutexGuard<'_, Shown>| {
            let level = shown.level(level, message, clock::now());
            (level, level != Level::DEBUG && shown.is_full())
        };
        let (level, last) = shown(self.shown.lock().unwrap_or_else(PoisonError::into_inner));
        let client = &self.client;
        match level {
            Level::ERROR => error!(client, facility, "kafka client: {message}"),
            Level::WARN => warn!(client, facility, "kafka client: {message}"),
            Level::INFO => info!(client, facility, "kafka client: {message}"),
            _ => debug!(client, facility, "kafka client: {message}"),
        }
        if last {
            warn!(client, "the Kafka client says much: the rest of this minute at level debug");
        }
    }
}

impl Shown {
    /// What a line is shown as. An error of librdkafka is one that it mends itself, such as a broker that is away; what needs a
    /// person, Weir says. What it calls information is a connection that has come or gone.
    fn level(&mut self, syslog: i32, message: &str, now: Instant) -> Level {
        let level = match syslog {
            ..=2 => Level::ERROR,
            3 | 4 => Level::WARN,
            5 => Level::INFO,
            6.. => return Level::DEBUG,
        };
        self.minute.take_if(|(since, _)| now.saturating_duration_since(*since) >= MINUTE);
        if self.is_full() || !self.said.is_new(message, now) {
            return Level::DEBUG;
        }
        self.minute.get_or_insert((now, 0)).1 += 1;
        level
    }

    fn is_full(&self) -> bool {
        self.minute.is_some_and(|(_, lines)| lines >= SHOWN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_shown_by_its_level_once_a_minute() {
        let (mut shown, now) = (Shown::default(), clock::now());
        let expected = [
            Level::ERROR,
            Level::ERROR,
            Level::ERROR,
            Level::WARN,
            Level::WARN,
            Level::INFO,
            Level::DEBUG,
            Level::DEBUG,
        ];
        for (syslog, expected) in (0..).zip(expected) {
            assert_eq!(shown.level(syslog, &format!("level {syslog}"), now), expected, "{syslog}");
        }
        assert_eq!(shown.level(3, "gone (after 2ms in state UP)", now), Level::WARN);
        assert_eq!(shown.level(3, "gone (after 9ms in state UP)", now + MINUTE / 2), Level::DEBUG);
        assert_eq!(shown.level(3, "gone (after 5ms in state UP)", now + MINUTE), Level::WARN);
    }

    #[test]
    fn a_flood_is_bounded() {
        let (mut shown, now) = (Shown::default(), clock::now());
        let warnings = |shown: &mut Shown, now| {
            (0..1_000).filter(|line| shown.level(4, &line.to_string(), now) == Level::WARN).count()
        };
        assert_eq!(warnings(&mut shown, now), SHOWN as usize);
        assert_eq!(warnings(&mut shown, now + MINUTE / 2), 0);
        assert_eq!(warnings(&mut shown, now + MINUTE), SHOWN as usize);
    }
}
