//! `priority`: which of the records that a stage holds is worked on first. Evaluated where records are taken in, once each.

use crate::codec::{Codec, Wide};
use crate::event::{Body, Event, Rank};
use crate::plan::expr::{Expression, Finding, Surroundings, View};

/// An expression that gives `critical`, `high`, `normal` or `low`.
#[derive(Debug)]
pub struct Priority {
    expression: Expression,
    codec: Codec,
    wide: Wide,
}

impl Priority {
    /// Compiles it. Fails with all findings.
    pub fn compile(source: &str, codec: Codec, wide: Wide) -> Result<Priority, Vec<Finding>> {
        Ok(Priority { expression: Expression::compile(source)?, codec, wide })
    }

    /// Whether it asks for the answer of a handler, which nobody has called yet.
    pub fn reads_response(&self) -> bool {
        self.expression.reads_response()
    }

    /// The rank of a record. `None` where it is none of the four, cannot be evaluated, or the value does not decode, also
    /// because its schema is not at hand yet: such a record counts as [`Rank::Normal`].
    /// So does one whose evaluation panics: it is looked at again where records are worked on, and fails there (K10).
    pub fn of(&self, event: &Event) -> Option<Rank> {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.evaluate(event))).ok()?
    }

    fn evaluate(&self, event: &Event) -> Option<Rank> {
        let decoded = match &event.body {
            Body::Raw(raw) if self.expression.looks_into_payload() => {
                let body = Body::Value(self.codec.decode(raw.as_ref(), &event.headers, self.wide).ok()?);
                Some(Event { body, ..event.clone() })
            }
            Body::Raw(_) | Body::Value(_) => None,
        };
        let view = View::of(decoded.as_ref().unwrap_or(event), Surroundings::default());
        Rank::read(&self.expression.eval(&view).ok()?.to_str_lossy()?)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::event::{Header, Origin, Topic};

    fn event(topic: &str, value: &[u8], header: &'static str) -> Event {
        let topic = Topic { cluster: String::new(), name: topic.into(), id: None };
        let header = Header { name: "priority".into(), value: Some(header.into()) };
        Event {
            origin: Origin { topic: Arc::new(topic), partition: 0, offset: 0, timestamp: None },
            key: None,
            headers: vec![header],
            body: Body::Raw(Some(Bytes::copy_from_slice(value))),
            part: 0,
        }
    }

    #[test]
    fn it_comes_of_the_payload_a_header_or_the_topic() {
        let priority = Priority::compile(".priority", Codec::Json, Wide::Error).unwrap();
        let of = |value: &str| priority.of(&event("t", value.as_bytes(), ""));
        for (word, rank) in
            [("critical", Rank::Critical), ("high", Rank::High), ("normal", Rank::Normal), ("low", Rank::Low)]
        {
            assert_eq!(of(&format!("{{\"priority\":\"{word}\"}}")), Some(rank));
        }
        for other in ["{\"priority\":\"URGENT\"}", "{\"priority\":1}", "{}", "not json", ""] {
            assert_eq!(of(other), None, "{other}");
        }
        let by_header = Priority::compile("%headers.priority", Codec::Json, Wide::Error).unwrap();
        assert_eq!(by_header.of(&event("t", b"not json", "low")), Some(Rank::Low));
        let by_topic = Priority::compile(
            "if starts_with(string!(%topic), \"pay\") { \"high\" } else { \"low\" }",
            Codec::Json,
            Wide::Error,
        );
        assert_eq!(by_topic.unwrap().of(&event("payments", b"", "")), Some(Rank::High));
        assert!(Rank::ALL.is_sorted());
    }

    /// It runs on the thread that polls, whose stack is small.
    #[test]
    fn the_deepest_record_is_ranked_on_the_stack_of_a_poll_thread() {
        let deep = format!("{}{}{}", "{\"a\":".repeat(126), "1", "}".repeat(126));
        let too_deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let ranked = move || {
            let text =
                format!("x = .{}\nif x == null {{ \"low\" }} else {{ \"high\" }}", ["a"; 60].join("."));
            let priority = Priority::compile(&text, Codec::Json, Wide::Error).unwrap();
            let of = |value: &str| priority.of(&event("t", value.as_bytes(), ""));
            (of(&deep), of(&too_deep), of(&"9".repeat(100_000)))
        };
        let thread = std::thread::Builder::new().stack_size(4 << 20).spawn(ranked).unwrap();
        let (deep, too_deep, _) = thread.join().unwrap();
        assert_eq!((deep, too_deep), (Some(Rank::High), None));
    }
}
