//! Messages that have a form of their own in JSON: from the object of their fields to that form, and back.

use std::time::SystemTime;

use data_encoding::BASE64;
use vrl::value::{KeyString, ObjectMap, Value};

use super::read::Read;
use super::types::Known;
use crate::schema::{Fault, number};

/// The first second of the year 1 and the last one of 9999: there are no others in a `Timestamp`.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
/// The longest `Duration`, about ten thousand years.
const LONGEST: i64 = 315_576_000_000;

/// The key under which an `Any` says its type.
pub(super) const TYPE: &str = "@type";

/// The form of a message whose fields have been read.
pub(super) fn read(
    read: &mut Read<'_>,
    known: Known,
    mut fields: ObjectMap,
    depth: usize,
) -> Result<Value, Fault> {
    let int = |name: &str| fields.get(name).and_then(Value::as_integer).unwrap_or_default();
    match known {
        Known::Timestamp => {
            let (seconds, nanos) = (int("seconds"), int("nanos"));
            let nanos = i32::try_from(nanos).ok().filter(|nanos| (0..1_000_000_000).contains(nanos));
            let time = nanos.filter(|_| SECONDS.contains(&seconds));
            let time = time.and_then(|nanos| jiff::Timestamp::new(seconds, nanos).ok());
            let time = time.ok_or_else(|| Fault::new("a Timestamp is within the years 1 to 9999"))?;
            Ok(Value::Timestamp(SystemTime::from(time).into()))
        }
        Known::Duration => duration(int("seconds"), int("nanos")).map(Value::from),
        Known::Struct => Ok(fields.remove("fields").unwrap_or(Value::Null)),
        Known::ListValue => Ok(fields.remove("values").unwrap_or(Value::Null)),
        Known::Wrapper => Ok(fields.remove("value").unwrap_or(Value::Null)),
        Known::Value => Ok(match fields.into_values().next() {
            Some(Value::Float(float)) => {
                let float = float.into_inner();
                // Up to 2^53 a double is the integer that it says.
                let whole = number::whole(float).filter(|whole| whole.unsigned_abs() <= 1 << 53);
                whole.map_or_else(|| Value::from_f64_or_zero(float), Value::Integer)
            }
            other => other.unwrap_or(Value::Null),
        }),
        Known::Any => any(read, &fields, depth),
        Known::No => Ok(Value::Object(fields)),
    }
}

fn any(read: &mut Read<'_>, fields: &ObjectMap, depth: usize) -> Result<Value, Fault> {
    let text = |name: &str| fields.get(name).and_then(Value::to_str_lossy).unwrap_or_default();
    let (url, value) = (text("type_url"), text("value"));
    if url.is_empty() && value.is_empty() {
        return Ok(Value::Object(ObjectMap::new()));
    }
    let id = read.types.id(type_name(&url)).ok_or_else(|| no_type(&url))?;
    let bytes = BASE64.decode(value.as_bytes()).unwrap_or_default();
    let inner = read.message(id, &bytes, depth + 1)?;
    let mut map = match (read.types.message(id).known, inner) {
        (Known::No, Value::Object(map)) => map,
        (_, other) => ObjectMap::from([(KeyString::from("value"), other)]),
    };
    map.insert(KeyString::from(TYPE), Value::from(&*url));
    Ok(Value::Object(map))
}

/// The name of the message at the end of a type's URL.
pub(super) fn type_name(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or(url)
}

/// With its name, where that is one: what else a record may say of it is nobody's business.
pub(super) fn no_type(url: &str) -> Fault {
    let name = type_name(url);
    let is_name = (1..=100).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_'));
    let shown = if is_name { format!(" `{name}`") } else { String::new() };
    Fault::new(format!("the schema does not have the type{shown} of an Any"))
}

fn duration(seconds: i64, nanos: i64) -> Result<String, Fault> {
    let same = seconds.signum() * nanos.signum() >= 0;
    if !same || seconds.abs() > LONGEST || nanos.abs() >= 1_000_000_000 {
        return Err(Fault::new("the seconds and nanoseconds of a Duration are out of range"));
    }
    let sign = if seconds < 0 || nanos < 0 { "-" } else { "" };
    let (seconds, nanos) = (seconds.abs(), nanos.abs());
    Ok(match nanos {
        0 => format!("{sign}{seconds}s"),
        _ if nanos % 1_000_000 == 0 => format!("{sign}{seconds}.{:03}s", nanos / 1_000_000),
        _ if nanos % 1_000 == 0 => format!("{sign}{seconds}.{:06}s", nanos / 1_000),
        _ => format!("{sign}{seconds}.{nanos:09}s"),
    })
}

/// The fields of a message of which this is the form; `None` where a form stands for itself.
pub(super) fn fields(known: Known, value: &Value) -> Result<ObjectMap, Fault> {
    let expected = |what: &str| Fault::new(format!("expected {what}, got {}", value.kind_str()));
    let one = |name: &str, value: Value| ObjectMap::from([(KeyString::from(name), value)]);
    let time = |(seconds, nanos): (i64, i64)| {
        let mut map = one("seconds", Value::Integer(seconds));
        map.insert(KeyString::from("nanos"), Value::Integer(nanos));
        map
    };
    match (known, value) {
        (Known::Timestamp, Value::Timestamp(at)) => {
            let at = jiff::Timestamp::try_from(SystemTime::from(*at));
            at.map_err(|_| expected("a Timestamp")).and_then(timestamp).map(time)
        }
        (Known::Timestamp, Value::String(text)) => {
            let at = String::from_utf8_lossy(text.as_bytes()).parse::<jiff::Timestamp>();
            at.map_err(|_| Fault::new("expected a time such as 2026-11-21T09:41:02.118Z"))
                .and_then(timestamp)
                .map(time)
        }
        (Known::Timestamp, _) => Err(expected("a Timestamp as text")),
        (Known::Duration, Value::String(text)) => of_duration(&String::from_utf8_lossy(text.as_bytes()))
            .map(time)
            .ok_or_else(|| Fault::new("expected a duration such as 1.500s")),
        (Known::Duration, _) => Err(expected("a Duration as text")),
        (Known::Struct, Value::Object(map)) => Ok(one("fields", Value::Object(map.clone()))),
        (Known::Struct, _) => Err(expected("an object")),
        (Known::ListValue, Value::Array(list)) => Ok(one("values", Value::Array(list.clone()))),
        (Known::ListValue, _) => Err(expected("an array")),
        (Known::Wrapper, Value::Null) => Err(expected("a value")),
        (Known::Wrapper, value) => Ok(one("value", value.clone())),
        (_, Value::Object(map)) if known != Known::Value => Ok(map.clone()),
        (_, value) => {
            let name = match value {
                Value::Null => "null_value",
                Value::Boolean(_) => "bool_value",
                Value::Integer(_) | Value::Float(_) => "number_value",
                Value::String(_) | Value::Timestamp(_) => "string_value",
                Value::Object(_) => "struct_value",
                Value::Array(_) => "list_value",
                Value::Bytes(_) | Value::Regex(_) => return Err(expected("a value of JSON")),
            };
            Ok(one(name, value.clone()))
        }
    }
}

fn timestamp(at: jiff::Timestamp) -> Result<(i64, i64), Fault> {
    let nanos = at.as_nanosecond();
    let seconds = i64::try_from(nanos.div_euclid(1_000_000_000)).unwrap_or(i64::MAX);
    let nanos = i64::try_from(nanos.rem_euclid(1_000_000_000)).unwrap_or_default();
    if !SECONDS.contains(&seconds) {
        return Err(Fault::new("a Timestamp is within the years 1 to 9999"));
    }
    Ok((seconds, nanos))
}

fn of_duration(text: &str) -> Option<(i64, i64)> {
    let number = text.strip_suffix('s')?;
    let (sign, number) = number.strip_prefix('-').map_or((1, number), |number| (-1, number));
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(part) || part.len() > 9 {
        return None;
    }
    let seconds: i64 = whole.parse().ok().filter(|seconds| *seconds <= LONGEST)?;
    let nanos: i64 = format!("{part:0<9}").parse().ok()?;
    Some((sign * seconds, sign * nanos))
}
