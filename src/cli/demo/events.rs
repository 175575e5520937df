//! The demo's trickle: orders and bookings, the same for the same seed. Pure: who produces them waits in between.

use fastrand::Rng;
use serde_json::json;

/// One event to produce.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    /// The topic.
    pub(crate) topic: &'static str,
    /// The key.
    pub(crate) key: String,
    /// The value's bytes: JSON, but for a few that are broken on purpose.
    pub(crate) value: Vec<u8>,
    /// Headers by name.
    pub(crate) headers: Vec<(&'static str, String)>,
}

/// Topics that are written by the trickle or by a stage, with their partitions; and the dead-letter topics.
pub(crate) const TOPICS: [(&str, u32); 7] = [
    ("shop.orders.v1", 3),
    ("shop.orders.billing.dlq", 3),
    ("booking.requested", 3),
    ("booking.paid", 3),
    ("booking.declined", 3),
    ("booking.ticketed", 3),
    ("booking.dlq", 3),
];

/// Events without end.
#[derive(Debug)]
pub(crate) struct Events {
    rng: Rng,
    number: u32,
}

impl Events {
    pub(crate) fn new(seed: u64) -> Events {
        Events { rng: Rng::with_seed(seed), number: 0 }
    }

    fn order(&mut self) -> Sample {
        let customer = self.rng.u32(1..=12);
        let id = format!("o-{:05}", self.number);
        let status = match self.rng.u32(0..10) {
            0 => "PENDING",
            1 => "CANCELLED",
            _ => "PAID",
        };
        // The billing service knows no XBT and answers 422.
        let currency = if self.rng.u32(0..20) == 0 { "XBT" } else { "EUR" };
        let value = json!({
            "id": id,
            "status": status,
            "total": { "cents": self.rng.u32(500..50_000), "currency": currency },
            "customer": {
                "id": format!("c-{customer:02}"),
                "email": format!("Customer{customer:02}@Example.com"),
                "card": format!("4000 0000 0000 {:04}", self.rng.u32(0..10_000)),
            },
        });
        let mut value = value.to_string().into_bytes();
        if self.rng.u32(0..40) == 0 {
            // Somebody else's bug: cut in the middle, so that it is not JSON.
            value.truncate(value.len() / 2);
        }
        Sample { topic: "shop.orders.v1", key: format!("c-{customer:02}"), value, headers: self.headers() }
    }

    fn booking(&mut self) -> Sample {
        let id = format!("b-{:05}", self.number);
        let value = json!({
            "booking_id": id,
            "customer": format!("c-{:02}", self.rng.u32(1..=12)),
            "seat": format!("{}{}", self.rng.u32(1..=30), self.rng.choice(['A', 'B', 'C', 'D']).unwrap_or('A')),
            "total_amount": self.rng.u32(20..400),
        });
        let value = value.to_string().into_bytes();
        Sample { topic: "booking.requested", key: id, value, headers: self.headers() }
    }

    fn headers(&self) -> Vec<(&'static str, String)> {
        vec![("correlation-id", format!("demo-{:05}", self.number))]
    }
}

impl Iterator for Events {
    type Item = Sample;

    fn next(&mut self) -> Option<Sample> {
        self.number += 1;
        Some(if self.number.is_multiple_of(3) { self.booking() } else { self.order() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn the_same_seed_gives_the_same_events() {
        let first: Vec<Sample> = Events::new(7).take(200).collect();
        assert_eq!(first, Events::new(7).take(200).collect::<Vec<_>>());
        assert_ne!(first, Events::new(8).take(200).collect::<Vec<_>>());
    }

    #[test]
    fn a_short_demo_has_something_of_everything() {
        let events: Vec<Sample> = Events::new(1).take(240).collect();
        assert!(events.iter().all(|event| TOPICS.iter().any(|(topic, _)| *topic == event.topic)));
        let parsed: Vec<Option<Value>> =
            events.iter().map(|e| serde_json::from_slice(&e.value).ok()).collect();
        let count = |wanted: &dyn Fn(&Value) -> bool| parsed.iter().flatten().filter(|v| wanted(v)).count();
        assert_eq!(count(&|v| v["booking_id"].is_string()), 80);
        assert!(count(&|v| v["status"] == "PAID" && v["total"]["currency"] == "EUR") > 80);
        assert!(count(&|v| v["status"] == "PENDING") > 3);
        assert!(count(&|v| v["status"] == "PAID" && v["total"]["currency"] == "XBT") > 1);
        assert!(parsed.iter().filter(|value| value.is_none()).count() > 1);
    }
}
