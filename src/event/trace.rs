//! W3C Trace Context: what a record says of its trace, and the span of each attempt and each published record.

use std::fmt::Write as _;

use super::Event;

/// One trace, and the span that what is sent next is a child of.
///
/// Source: W3C Trace Context, version 00.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    /// The trace's id; never zero.
    pub trace_id: u128,
    /// The flags; bit 0 is *sampled*.
    pub flags: u8,
}

const SAMPLED: u8 = 1;

impl Trace {
    /// The trace of a record: that of its `traceparent` header, else one made of its position, so that every attempt and
    /// every stage that reads the record speaks of the same trace. A made one is sampled: a receiver that asks its
    /// parent goes on as it did without Weir.
    pub fn of(event: &Event) -> Trace {
        let given = event.header("traceparent").and_then(|value| Trace::parse(value));
        given.unwrap_or_else(|| {
            let origin = &event.origin;
            let topic = fnv1a(FNV_START, origin.topic.identity().as_bytes());
            let hash = fnv1a(fnv1a(topic, &origin.partition.to_be_bytes()), &origin.offset.to_be_bytes());
            Trace { trace_id: hash.max(1), flags: SAMPLED }
        })
    }

    /// Whether the record itself says which trace it is of. Where it does not, its `tracestate` is nobody's and stays behind.
    pub fn is_given(event: &Event) -> bool {
        event.header("traceparent").is_some_and(|value| Trace::parse(value).is_some())
    }

    /// Reads a `traceparent` value. `None` for what the standard calls invalid: another length, upper-case digits, a
    /// zero id, version `ff`. A later version is read by its first four fields.
    pub fn parse(value: &[u8]) -> Option<Trace> {
        let text = std::str::from_utf8(value).ok()?;
        let hex = |at: std::ops::Range<usize>| {
            let part = text.get(at)?;
            let lower = part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            if lower { u128::from_str_radix(part, 16).ok() } else { None }
        };
        let dashes = [2, 35, 52].iter().all(|at| text.as_bytes().get(*at) == Some(&b'-'));
        let (version, trace_id, span, flags) = (hex(0..2)?, hex(3..35)?, hex(36..52)?, hex(53..55)?);
        let ends = text.len() == 55 || (version > 0 && text.as_bytes().get(55) == Some(&b'-'));
        if !dashes || !ends || version == 0xff || trace_id == 0 || span == 0 {
            return None;
        }
        Some(Trace { trace_id, flags: u8::try_from(flags).ok()? & SAMPLED })
    }

    /// A `traceparent` with a new span: 55 characters.
    pub fn child(&self) -> String {
        let mut out = String::with_capacity(55);
        self.write_child(&mut out);
        out
    }

    /// The same, at the end of `out`.
    pub fn write_child(&self, out: &mut String) {
        let span = fastrand::u64(1..);
        // Writing to a string does not fail.
        write!(out, "00-{:032x}-{span:016x}-{:02x}", self.trace_id, self.flags).unwrap_or_default();
    }

    /// The trace's id as text: 32 characters.
    pub fn id(&self) -> String {
        format!("{:032x}", self.trace_id)
    }
}

const FNV_START: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
const FNV_PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;

fn fnv1a(start: u128, bytes: &[u8]) -> u128 {
    bytes.iter().fold(start, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(FNV_PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Body, Header, Origin, Topic};
    use bytes::Bytes;
    use proptest::prelude::*;
    use std::sync::Arc;

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn event(offset: i64, traceparent: Option<&'static str>) -> Event {
        let topic = Topic { cluster: String::new(), name: "t".into(), id: None };
        let header = |value| Header {
            name: Bytes::from_static(b"traceparent"),
            value: Some(Bytes::from_static(str::as_bytes(value))),
        };
        Event {
            origin: Origin { topic: Arc::new(topic), partition: 0, offset, timestamp: None },
            key: None,
            headers: traceparent.into_iter().map(header).collect(),
            body: Body::Raw(None),
            part: 0,
        }
    }

    #[test]
    fn a_record_continues_its_trace_with_a_new_span_each_time() {
        let trace = Trace::of(&event(1, Some(GIVEN)));
        let (first, second) = (trace.child(), trace.child());
        assert_ne!(first, second);
        for child in [first, second] {
            assert!(
                child.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-") && child.ends_with("-01"),
                "{child}"
            );
            assert!(!child.contains("00f067aa0ba902b7"));
            assert_eq!(Trace::parse(child.as_bytes()), Some(trace));
        }
        let not_sampled = Trace::parse(GIVEN.replace("-01", "-00").as_bytes()).unwrap();
        assert!(not_sampled.child().ends_with("-00"));
    }

    #[test]
    fn a_record_without_one_has_the_same_trace_each_time() {
        assert_eq!(Trace::of(&event(1, None)), Trace::of(&event(1, Some("rubbish"))));
        assert_ne!(Trace::of(&event(1, None)), Trace::of(&event(2, None)));
    }

    #[test]
    fn what_the_standard_calls_invalid_is_none() {
        let long = format!("{GIVEN}-more");
        for wrong in [
            "",
            "00",
            &long,
            &GIVEN.to_uppercase(),
            &GIVEN.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &GIVEN.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &GIVEN.replacen("00", "ff", 1),
            &GIVEN.replacen('-', "_", 1),
            "00-é4bf92f3577b34da6a3ce929d0e0e47-00f067aa0ba902b7-01",
        ] {
            assert_eq!(Trace::parse(wrong.as_bytes()), None, "{wrong}");
        }
        assert!(Trace::parse(long.replacen("00", "01", 1).as_bytes()).is_some());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            Trace::parse(&bytes);
        }
    }
}
