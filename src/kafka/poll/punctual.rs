//! Whether the poll thread comes round in time: a consumer that does not poll for `max.poll.interval.ms` loses its partitions
//! (G8). Long before that somebody should know. A poll itself waits for a second at most: what lasts longer between two passes
//! is work that should not be there, or a process that stands still.

use std::time::{Duration, Instant};

use crate::kafka::options::{self, Cluster, ConsumerOptions};

/// librdkafka's default of `max.poll.interval.ms`.
const DEFAULT: Duration = Duration::from_secs(300);

/// When the thread last came round.
#[derive(Debug)]
pub(super) struct Punctual {
    /// `max.poll.interval.ms`.
    pub(super) limit: Duration,
    passed_at: Instant,
}

impl Punctual {
    /// With the limit that the client of these options has.
    pub(super) fn of(cluster: &Cluster, consumer: &ConsumerOptions, now: Instant) -> Punctual {
        let options = options::consumer(cluster, consumer);
        let millis = options.get("max.poll.interval.ms").and_then(|millis| millis.parse().ok());
        Punctual { limit: millis.map_or(DEFAULT, Duration::from_millis), passed_at: now }
    }

    /// A pass begins. How long ago the last one did, where that is half of what may be, or more.
    pub(super) fn late(&mut self, now: Instant) -> Option<Duration> {
        let since = now.saturating_duration_since(std::mem::replace(&mut self.passed_at, now));
        (since >= self.limit / 2).then_some(since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::clock;

    #[test]
    fn half_of_the_limit_is_late() {
        let mut cluster =
            Cluster { brokers: "127.0.0.1:1".into(), properties: Default::default(), tokens: None };
        let (consumer, now) = (ConsumerOptions::new("g", "c"), clock::now());
        assert_eq!(Punctual::of(&cluster, &consumer, now).limit, DEFAULT);
        cluster.properties.insert("max.poll.interval.ms".into(), "60000".into());
        let mut punctual = Punctual::of(&cluster, &consumer, now);
        let after = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(punctual.late(after(29)), None);
        assert_eq!(punctual.late(after(60)), Some(Duration::from_secs(31)));
        assert_eq!(punctual.late(after(61)), None, "once");
    }
}
