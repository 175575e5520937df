//! How fast requests may go to a host: one line for all stages of the process, in which each request has its place.
//!
//! Source: http-contract, sections 1 and 6 (`rate`, `WebHook-Allowed-Rate`).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use url::Host;

use super::connect::Origin;
use crate::handler::Rate;

/// The lines of all hosts.
#[derive(Debug, Default)]
pub(in crate::handler) struct Pace {
    hosts: Mutex<HashMap<(Host, u16), Line>>,
    /// Whether any receiver has ever asked for a pace: else a request without a `rate` looks at nothing.
    asked: AtomicBool,
}

#[derive(Debug)]
struct Line {
    /// When the next request may begin.
    next: Instant,
    /// The time between two requests that the receiver asks for.
    allowed: Option<Duration>,
}

/// The time between two requests of a rate.
pub(super) fn interval(rate: Rate) -> Duration {
    Duration::from_secs(rate.seconds.into()) / rate.count.max(1)
}

impl Pace {
    /// When a request may begin, where that is later than now; it has its place then. `own` is the time between two requests
    /// that the file asks for.
    pub(super) fn place(&self, origin: &Origin, own: Option<Duration>, now: Instant) -> Option<Instant> {
        if own.is_none() && !self.asked.load(Ordering::Relaxed) {
            return None;
        }
        let mut hosts = self.lock();
        let line = match hosts.get_mut(&key(origin)) {
            Some(line) => line,
            None => {
                own?;
                hosts.entry(key(origin)).or_insert(Line { next: now, allowed: None })
            }
        };
        let interval = own.into_iter().chain(line.allowed).max()?;
        let at = line.next.max(now);
        line.next = at + interval;
        (at > now).then_some(at)
    }

    /// What an answer says of the pace: requests in a minute, or `*` for as many as one likes. Rubbish says nothing.
    pub(super) fn hear(&self, origin: &Origin, said: &str, now: Instant) {
        let allowed = match said.trim() {
            "*" => None,
            number => match number.parse::<u32>() {
                Ok(per_minute @ 1..) => Some(Duration::from_secs(60) / per_minute),
                Ok(0) | Err(_) => return,
            },
        };
        if allowed.is_none() && !self.asked.load(Ordering::Relaxed) {
            return;
        }
        self.asked.store(true, Ordering::Relaxed);
        let mut hosts = self.lock();
        hosts.entry(key(origin)).or_insert(Line { next: now, allowed: None }).allowed = allowed;
    }

    /// Forgets the hosts that nobody has asked for in a while and that ask for nothing.
    pub(super) fn tidy(&self, now: Instant) {
        self.lock().retain(|_, line| line.allowed.is_some() || line.next + Duration::from_secs(60) > now);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(Host, u16), Line>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(origin: &Origin) -> (Host, u16) {
    (origin.host.clone(), origin.port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::clock;

    const TENTH: Duration = Duration::from_millis(100);

    fn origin(host: &str) -> Origin {
        Origin::new(false, Host::parse(host).unwrap(), 80).unwrap()
    }

    #[test]
    fn each_request_has_its_place_whoever_makes_it() {
        let (pace, now, a, b) = (Pace::default(), clock::now(), origin("a.test"), origin("b.test"));
        assert_eq!(pace.place(&a, Some(TENTH), now), None);
        assert_eq!(pace.place(&a, Some(TENTH), now), Some(now + TENTH));
        assert_eq!(
            pace.place(&a, Some(2 * TENTH), now),
            Some(now + 2 * TENTH),
            "another stage, another rate, one line"
        );
        assert_eq!(pace.place(&a, Some(TENTH), now), Some(now + 4 * TENTH));
        assert_eq!(pace.place(&b, Some(TENTH), now), None, "another host");
        assert_eq!(pace.place(&a, None, now), None, "who asks for no rate waits for none");
        let later = now + 100 * TENTH;
        assert_eq!(pace.place(&a, Some(TENTH), later), None);
        assert_eq!(pace.place(&a, Some(TENTH), later), Some(later + TENTH), "idle time is not saved up");
    }

    #[test]
    fn the_receiver_may_ask_for_less_and_take_it_back() {
        let (pace, now, a) = (Pace::default(), clock::now(), origin("a.test"));
        pace.hear(&a, "*", now);
        assert!(pace.lock().is_empty(), "what changes nothing costs nothing");
        pace.hear(&a, "60", now);
        assert_eq!(pace.place(&a, Some(TENTH), now), None);
        assert_eq!(pace.place(&a, Some(TENTH), now), Some(now + Duration::from_secs(1)));
        assert_eq!(pace.place(&a, None, now), Some(now + Duration::from_secs(2)), "also without a rate");
        for rubbish in ["", "0", "-1", "1.5", "many", "99999999999"] {
            pace.hear(&a, rubbish, now);
        }
        assert_eq!(pace.place(&a, None, now), Some(now + Duration::from_secs(3)));
        pace.hear(&a, " * ", now);
        assert_eq!(pace.place(&a, None, now), None);
        pace.tidy(now + Duration::from_secs(300));
        assert!(pace.lock().is_empty());
    }

    #[test]
    fn a_rate_is_a_time_between_two() {
        for (count, seconds, millis) in [(50, 1, 20), (600, 60, 100), (1000, 3600, 3600)] {
            assert_eq!(interval(Rate { count, seconds }), Duration::from_millis(millis));
        }
    }
}
