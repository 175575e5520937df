//! The JSON form of a value, in both directions. What JSON cannot say exactly is an error here, never a changed value.
//!
//! Numbers. An integer is exact: what `i64` cannot hold is refused, because VRL has no wider integer and a float would be
//! another number. A number with a fraction or an exponent becomes the nearest `f64`, as in every JSON parser that has
//! one number type: `0.1` prints as `0.1` again, and a decimal of more than 17 digits comes out as the shortest text of
//! that `f64`. A record whose decimals must survive beyond that is left untouched (its bytes then go out as they came) or
//! carries them as strings.

use std::cell::Cell;
use std::fmt;
use std::io;

use bytes::Bytes;
use schemars::JsonSchema;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Error as _, SerializeMap, SerializeSeq};
use serde::{Deserialize, Serialize, Serializer};
use vrl::value::{KeyString, ObjectMap, Value};

/// Why bytes are not a value, or a value has no JSON form: one sentence, without the data itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct JsonError(String);

impl JsonError {
    /// The text is longer than it may be.
    pub(crate) fn too_long(limit: usize) -> JsonError {
        JsonError(format!("the JSON text is longer than {limit} bytes"))
    }
}

/// What becomes of an integer that no `i64` holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "WideIntegers")]
pub enum Wide {
    /// An error: it would be another number.
    #[default]
    Error,
    /// A text of its digits.
    Text,
}

/// The same as [`parse`]; `wide` says what becomes of an integer that no `i64` holds.
pub fn parse_with(bytes: &[u8], wide: Wide) -> Result<Value, JsonError> {
    match (parse(bytes), wide) {
        (Err(_), Wide::Text) => parse(&quoted(bytes)),
        (parsed, _) => parsed,
    }
}

/// Reads one JSON text: UTF-8, at most 128 levels deep, nothing after it but white space. Of a repeated key the last
/// value counts. `1e999` is out of range and an error.
pub fn parse(bytes: &[u8]) -> Result<Value, JsonError> {
    let big_float = Cell::new(false);
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Seed { big_float: &big_float }
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value))
        .map_err(|e| JsonError(e.to_string()))?;
    if big_float.get() && has_wide_integer(bytes) {
        return Err(JsonError(WIDE.to_owned()));
    }
    Ok(value)
}

/// Writes a value as compact JSON, keys sorted. Fails on what JSON cannot say (an infinite number, bytes that are not
/// UTF-8) and when the text would be longer than `limit` bytes.
pub fn to_bytes(value: &Value, limit: usize) -> Result<Bytes, JsonError> {
    let mut out = Limited { bytes: Vec::with_capacity(128.min(limit)), limit };
    serde_json::to_writer(&mut out, &Json(value)).map_err(|e| JsonError(e.to_string()))?;
    Ok(out.bytes.into())
}

const WIDE: &str = "an integer is outside of -2^63 .. 2^63-1 and would be rounded; send it as a string";

/// A value behind serde's `Serialize`, with the errors of [`to_bytes`].
#[derive(Debug)]
pub struct Json<'a>(pub &'a Value);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => serializer.serialize_str(text),
                Err(_) => Err(S::Error::custom(
                    "bytes that are not UTF-8 have no JSON form; encode_base64 makes text of them",
                )),
            },
            Value::Float(float) if float.is_infinite() => {
                Err(S::Error::custom("an infinite number has no JSON form"))
            }
            Value::Object(map) => {
                let mut out = serializer.serialize_map(Some(map.len()))?;
                for (key, value) in map {
                    out.serialize_entry(key.as_str(), &Json(value))?;
                }
                out.end()
            }
            Value::Array(list) => {
                let mut out = serializer.serialize_seq(Some(list.len()))?;
                for value in list {
                    out.serialize_element(&Json(value))?;
                }
                out.end()
            }
            Value::String(_)
            | Value::Regex(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Timestamp(_)
            | Value::Null => self.0.serialize(serializer),
        }
    }
}

struct Limited {
    bytes: Vec<u8>,
    limit: usize,
}

impl io::Write for Limited {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        if self.bytes.len().saturating_add(part.len()) > self.limit {
            return Err(io::Error::other(format!("the JSON text is longer than {} bytes", self.limit)));
        }
        self.bytes.extend_from_slice(part);
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads a value and notes whether a float of 2^63 or more was seen: only then the text is looked at again, to tell
/// `1e300` from an integer of 300 digits.
#[derive(Clone, Copy)]
struct Seed<'a> {
    big_float: &'a Cell<bool>,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Boolean(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        i64::try_from(value).map(Value::Integer).map_err(|_| E::custom(WIDE))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        if value.abs() >= 9.2e18 {
            self.big_float.set(true);
        }
        Ok(Value::from_f64_or_zero(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut out = Vec::new();
        while let Some(value) = list.next_element_seed(self)? {
            out.push(value);
        }
        Ok(Value::Array(out))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut out = ObjectMap::new();
        while let Some(key) = map.next_key::<String>()? {
            let value = map.next_value_seed(self)?;
            out.insert(KeyString::from(key), value);
        }
        Ok(Value::Object(out))
    }
}

/// Whether a valid JSON text has an integer literal (no fraction, no exponent) that does not fit an `i64`.
fn has_wide_integer(bytes: &[u8]) -> bool {
    !wide_integers(bytes).is_empty()
}

/// The same text with such literals as strings. What is no JSON stays none.
fn quoted(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 16);
    let mut done = 0;
    for place in wide_integers(bytes) {
        out.extend_from_slice(bytes.get(done..place.start).unwrap_or_default());
        out.push(b'"');
        out.extend_from_slice(bytes.get(place.clone()).unwrap_or_default());
        out.push(b'"');
        done = place.end;
    }
    out.extend_from_slice(bytes.get(done..).unwrap_or_default());
    out
}

/// Where a JSON text has integer literals that do not fit an `i64`.
fn wide_integers(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut found = Vec::new();
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        rest = match first {
            b'"' => skip_string(after),
            b'-' | b'0'..=b'9' => {
                let end =
                    rest.iter().position(|b| !matches!(b, b'-' | b'+' | b'.' | b'0'..=b'9' | b'e' | b'E'));
                let (number, after) = rest.split_at(end.unwrap_or(rest.len()));
                let is_integer = !number.iter().any(|b| matches!(b, b'.' | b'e' | b'E'));
                let text = std::str::from_utf8(number).unwrap_or("");
                if is_integer && is_literal(number) && text.parse::<i64>().is_err() {
                    let start = bytes.len() - rest.len();
                    found.push(start..start + number.len());
                }
                after
            }
            _ => after,
        };
    }
    found
}

/// Whether digits are an integer as JSON writes it: no zero before others, one minus at most.
fn is_literal(number: &[u8]) -> bool {
    let digits = number.strip_prefix(b"-").unwrap_or(number);
    digits.first().is_some_and(|first| *first != b'0') && digits.iter().all(u8::is_ascii_digit)
}

fn skip_string(mut rest: &[u8]) -> &[u8] {
    loop {
        match rest {
            [b'"', after @ ..] => return after,
            [b'\\', _, after @ ..] | [_, after @ ..] => rest = after,
            [] => return rest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(value: &Value) -> String {
        String::from_utf8(to_bytes(value, usize::MAX).unwrap().to_vec()).unwrap()
    }

    #[test]
    fn integers_are_exact_or_refused() {
        for exact in ["9223372036854775807", "-9223372036854775808", "9007199254740993", "0"] {
            assert_eq!(text(&parse(exact.as_bytes()).unwrap()), exact);
        }
        for wide in [
            "9223372036854775808",
            "18446744073709551616",
            "-9223372036854775809",
            r#"{"\"a":[1e3,1e300,123456789012345678901234567890]}"#,
        ] {
            assert!(parse(wide.as_bytes()).unwrap_err().to_string().contains("rounded"), "{wide}");
        }
        assert_eq!(text(&parse(b"1e300").unwrap()), "1e+300");
        assert!(parse(br#"{"a": 1e30, "n": "123456789012345678901234567890"}"#).is_ok());
        assert!(parse(b"1e999").is_err());
    }

    #[test]
    fn a_wide_integer_is_a_text_where_that_is_wanted() {
        let parsed = |json: &str| parse_with(json.as_bytes(), Wide::Text).map(|value| text(&value));
        let wide =
            r#"{"a":18446744073709551615,"b":[-9223372036854775809,1,1e300],"c":"99999999999999999999"}"#;
        let read = r#"{"a":"18446744073709551615","b":["-9223372036854775809",1,1e+300],"c":"99999999999999999999"}"#;
        assert_eq!(parsed(wide).unwrap(), read);
        for wrong in
            ["{\"a\":18446744073709551615", "-", "--18446744073709551615", "018446744073709551615", "1 2"]
        {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn hostile_texts_are_errors() {
        let deep = format!("{}{}", "[".repeat(129), "]".repeat(129));
        let lone = "[".repeat(1_000_000);
        for wrong in ["", "nul", "{\"a\":1} x", "\u{feff}1", "NaN", "\"\\ud800\"", "01", &deep, &lone] {
            assert!(parse(wrong.as_bytes()).is_err());
        }
        assert!(parse(b"\"\xff\"").is_err());
        let fits = format!("{}{}", "[".repeat(126), "]".repeat(126));
        assert!(parse(fits.as_bytes()).is_ok());
        assert_eq!(text(&parse(br#"{"a":1,"a":2}"#).unwrap()), r#"{"a":2}"#);
    }

    #[test]
    fn what_json_cannot_say_is_an_error() {
        let bytes = Value::from(Bytes::from_static(b"\xff"));
        assert!(to_bytes(&bytes, 100).is_err());
        assert!(to_bytes(&Value::from_f64_or_zero(f64::INFINITY), 100).is_err());
        assert!(to_bytes(&Value::from("0123456789"), 11).unwrap_err().to_string().contains("longer than 11"));
        assert!(to_bytes(&Value::from("0123456789"), 12).is_ok());
    }

    proptest! {
        #[test]
        fn decode_of_encode_is_the_same_value(value in crate::event::json::arbitrary::value()) {
            prop_assert_eq!(parse(&to_bytes(&value, usize::MAX).unwrap()).unwrap(), value);
        }

        /// Fails without serde_json's `float_roundtrip`: its quick parser is off by one in the last place at times.
        #[test]
        fn a_float_is_the_nearest_of_its_text(number in any::<f64>().prop_filter("finite", |n| n.is_finite())) {
            let text = format!("{number:e}");
            let value = parse(text.as_bytes()).unwrap();
            prop_assert_eq!(value.as_float().unwrap().into_inner().to_bits(), number.to_bits());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            drop(parse(&bytes));
        }
    }
}

/// Values for property tests.
#[cfg(test)]
pub(crate) mod arbitrary {
    use super::*;
    use proptest::prelude::*;

    /// Any value that JSON can carry, four levels deep.
    pub(crate) fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-1_000_000i32..1_000_000).prop_map(|n| Value::from_f64_or_zero(f64::from(n) / 4.0 + 0.125)),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
                proptest::collection::btree_map("[a-e]", inner, 0..5)
                    .prop_map(|m| { Value::Object(m.into_iter().map(|(k, v)| (k.into(), v)).collect()) }),
            ]
        })
    }
}
