//! Envelopes and signatures: what opens, what does not, and the words about it.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use proptest::prelude::*;
use vrl::value;
use vrl::value::Value;

use super::*;
use crate::event::json::arbitrary;
use crate::event::{Body, Event, Header, Origin, Outgoing, Topic};
use crate::settings::References;

const CARD: Bound<'_> = Bound { context: "orders", path: ".customer.card" };
const LIMIT: usize = 1 << 20;

fn line(id: &str, seed: u8) -> String {
    format!("{id}:{}", STANDARD.encode([seed; 32]))
}

fn references(secrets: &[(&str, &str)]) -> References {
    let secrets = secrets.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    References { secrets: secrets.collect(), ..References::default() }
}

fn ring_of(lines: &[String]) -> KeyRing {
    ring("${secret:keys}", &references(&[("keys", &lines.join("\n"))])).unwrap()
}

fn event(offset: i64, value: Option<&[u8]>) -> Event {
    let topic = Topic { cluster: String::new(), name: "orders".into(), id: None };
    Event {
        origin: Origin { topic: Arc::new(topic), partition: 0, offset, timestamp: None },
        key: None,
        headers: Vec::new(),
        body: Body::Raw(value.map(Bytes::copy_from_slice)),
        part: 0,
    }
}

fn sealed(ring: &KeyRing, value: &Value) -> String {
    seal(ring, CARD, Place(&event(7, None)), value, LIMIT).unwrap()
}

#[test]
fn every_json_value_comes_back_as_it_was_and_the_old_key_still_opens() {
    let old = ring_of(&[line("2025", 1)]);
    let new = ring_of(&[line("2026", 2), line("2025", 1)]);
    for value in [
        value!(1),
        Value::from_f64_or_zero(1.5),
        value!(true),
        value!("4111"),
        value!({ "a": [null, "b"] }),
        value!(""),
    ] {
        let text = sealed(&old, &value);
        assert!(text.starts_with("weir:1:2025:") && is_sealed(&text), "{text}");
        assert_eq!(open(&new, CARD, &text), Ok(value.clone()));
        let text = sealed(&new, &value);
        assert!(text.starts_with("weir:1:2026:"), "the first key encrypts");
        assert_eq!(open(&old, CARD, &text), Err(Unopened::UnknownKey("2026".to_owned())));
    }
}

#[test]
fn each_attempt_has_the_same_bytes_and_no_two_records_do() {
    let ring = ring_of(&[line("a", 1)]);
    let of = |offset| seal(&ring, CARD, Place(&event(offset, None)), &value!("4111"), LIMIT).unwrap();
    assert_eq!(of(7), of(7));
    assert_ne!(of(7), of(8));
    let part = Event { part: 1, ..event(7, None) };
    assert_ne!(of(7), seal(&ring, CARD, Place(&part), &value!("4111"), LIMIT).unwrap());
    assert!(seal(&ring, CARD, Place(&event(7, None)), &value!("4111"), 3).is_err(), "longer than it may be");
}

#[test]
fn what_was_changed_or_moved_does_not_open() {
    let ring = ring_of(&[line("a", 1)]);
    let text = sealed(&ring, &value!("4111"));
    let forged = Err(Unopened::Forged("a".to_owned()));
    assert_eq!(open(&ring, Bound { path: ".customer.iban", ..CARD }, &text), forged);
    assert_eq!(open(&ring, Bound { context: "other", ..CARD }, &text), forged);
    assert_eq!(open(&ring_of(&[line("a", 9)]), CARD, &text), forged, "another key of the same name");
    let start = "weir:1:a:".len();
    for at in start..text.len() {
        let mut bytes = text.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        assert!(open(&ring, CARD, &changed).is_err(), "{at}");
    }
    assert_eq!(open(&ring, CARD, "4111"), Err(Unopened::NoEnvelope));
    assert_eq!(open(&ring, CARD, "weir:2:a:AAAA"), Err(Unopened::Version));
    assert_eq!(open(&ring, CARD, "weir:1:a:AAAA"), Err(Unopened::NoEnvelope), "too short");
}

#[test]
fn a_ring_that_is_none_is_said_without_what_it_holds() {
    let canary = STANDARD.encode(*b"c4nary-c4nary-c4nary-c4nary-c4na");
    for (text, why) in [
        (String::new(), "the ring has no key"),
        (canary.clone(), "key 1 of the ring has no name"),
        (format!("a b:{canary}"), "key 1 of the ring has no name"),
        (format!("a:{canary}x"), "key 1 of the ring is not base64"),
        ("a:AAAA".to_owned(), "key 1 of the ring has not 32 bytes"),
        (format!("a:{canary}\na:{canary}"), "key 2 of the ring has the name of another one"),
    ] {
        let finding = ring("${secret:keys}", &references(&[("keys", &text)])).unwrap_err();
        let printed = format!("{finding:?}");
        assert!(printed.contains(why) && !printed.contains(&canary), "{printed}");
    }
    let finding = ring(&format!("a:{canary}"), &References::default()).unwrap_err();
    assert!(format!("{finding:?}").contains("a key does not stand in the file"));
    assert_eq!(format!("{:?}", ring_of(&[format!("a:{canary}")])), "KeyRing[\"a\"]");
}

fn signer() -> Signer {
    let spec = SignSpec { key: "${secret:k}".to_owned(), id: "k1".to_owned() };
    let seed = format!("whsk_{}", STANDARD.encode([3; 32]));
    Signer::build(&spec, &references(&[("k", &seed)])).unwrap()
}

fn verifier() -> Verifier {
    let public = ed25519_dalek::SigningKey::from_bytes(&[3; 32]).verifying_key();
    let spec = VerifySpec { keys: vec![format!("k1:{}", STANDARD.encode(public.to_bytes()))] };
    Verifier::build(&spec, &References::default()).unwrap()
}

/// A record as it arrives that was written with these.
fn signed(key: Option<&[u8]>, value: Option<&[u8]>) -> Event {
    let header = Header { name: "ce_id".into(), value: Some("e-1".into()) };
    let mut record = Outgoing {
        topic: "orders".into(),
        partition: None,
        key: key.map(Bytes::copy_from_slice),
        value: value.map(Bytes::copy_from_slice),
        headers: vec![header],
        timestamp: None,
    };
    signer().sign(&mut record);
    Event { key: record.key, headers: record.headers, ..event(1, value) }
}

#[test]
fn a_signature_is_of_topic_key_value_event_id_and_schema_id() {
    let verifier = verifier();
    for (key, value) in [(None, None), (Some(&b""[..]), Some(&b""[..])), (Some(b"k"), Some(b"\xff{}"))] {
        assert_eq!(verifier.verify(&signed(key, value)), Ok(()));
    }
    let forged = Err(Unverified::Forged("k1".to_owned()));
    let good = signed(Some(b"k"), Some(b"v"));
    let changed = |change: &dyn Fn(&mut Event)| {
        let mut event = good.clone();
        change(&mut event);
        verifier.verify(&event)
    };
    assert_eq!(changed(&|event| event.key = None), forged);
    assert_eq!(changed(&|event| event.key = Some("kv".into())), forged);
    assert_eq!(changed(&|event| event.body = Body::Raw(Some("w".into()))), forged);
    assert_eq!(changed(&|event| event.body = Body::Raw(None)), forged);
    assert_eq!(changed(&|event| event.headers[0].value = Some("e-2".into())), forged);
    let schema = || Header { name: "__value_schema_id".into(), value: Some("\0\0\0\0\u{7}".into()) };
    assert_eq!(changed(&|event| event.headers.push(schema())), forged, "it says how the value is read");
    let other = Topic { cluster: String::new(), name: "refunds".into(), id: None };
    let other = Arc::new(other);
    assert_eq!(changed(&|event| event.origin.topic = Arc::clone(&other)), forged);
    assert_eq!(changed(&|event| event.origin.offset = 99), Ok(()), "Kafka gives it its place");
    assert_eq!(changed(&|event| event.headers.truncate(1)), Err(Unverified::Missing));
    let header = |text: &'static str| move |event: &mut Event| event.headers[1].value = Some(text.into());
    assert_eq!(changed(&header("v2,k1,AA")), Err(Unverified::Version));
    assert_eq!(changed(&header("v1,k1,AA")), Err(Unverified::Malformed));
    assert_eq!(changed(&header("hello")), Err(Unverified::Malformed));
    let none = format!("v1,k9,{}", STANDARD.encode([0; 64]));
    let unknown = changed(&|event| event.headers[1].value = Some(none.clone().into()));
    assert_eq!(unknown, Err(Unverified::UnknownKey("k9".to_owned())));
}

#[test]
fn public_keys_that_are_none_are_said() {
    let built =
        |key: &str| Verifier::build(&VerifySpec { keys: vec![key.to_owned()] }, &References::default());
    for (key, why) in [
        ("k1:whsk_AAAA", "this is a private key"),
        ("AAAA", "this key has no name"),
        ("k1:*", "this key is not base64"),
        ("k1:AAAA", "this key has not 32 bytes"),
    ] {
        assert!(format!("{:?}", built(key).unwrap_err()).contains(why), "{key}");
    }
    let weak = format!("k1:{}", STANDARD.encode([0; 32]));
    assert!(format!("{:?}", built(&weak).unwrap_err()).contains("no public key of ed25519"));
}

proptest! {
    #[test]
    fn any_value_opens_again_and_no_text_panics(value in arbitrary::value(), text in ".{0,80}", tail in "[A-Za-z0-9_-]{0,80}") {
        let ring = ring_of(&[line("a", 1)]);
        prop_assert_eq!(open(&ring, CARD, &sealed(&ring, &value)), Ok(value));
        open(&ring, CARD, &text).ok();
        let made_up = format!("weir:1:a:{tail}");
        prop_assert!(open(&ring, CARD, &made_up).is_err());
    }
}
