//! Numbers that stand for something else, as text and back: decimals, dates, times. Both ways exact, or a fault.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;

use super::types::{Decimal, Unit};
use crate::schema::Fault;

/// The longest unscaled number that is turned into text or back, in bytes and in digits: that takes the square of it.
const MAX_BYTES: usize = 256;
const MAX_DIGITS: usize = 600;

const EPOCH: Date = jiff::civil::date(1970, 1, 1);

pub(super) fn of_date(days: i32) -> Result<String, Fault> {
    let date = jiff::Span::new().try_days(days).and_then(|span| EPOCH.checked_add(span));
    date.map(|date| date.to_string()).map_err(|_| outside(&format!("{days} days since 1970")))
}

pub(super) fn date(text: &str) -> Result<i32, Fault> {
    let date: Date = text.parse().map_err(|_| Fault::new("expected a date such as 2026-11-21"))?;
    let days = EPOCH.until(date).map_err(|_| outside(text))?.get_days();
    Ok(days)
}

/// A time of day.
pub(super) fn of_time(count: i64, unit: Unit) -> Result<String, Fault> {
    let second = unit.in_a_second();
    let (seconds, rest) = (count.div_euclid(second), count.rem_euclid(second));
    if !(0..86_400).contains(&seconds) {
        return Err(Fault::new("a time of day is not below 24 hours"));
    }
    let (hour, minute) = (seconds / 3_600, seconds / 60 % 60);
    let digits = digits(unit);
    Ok(format!("{hour:02}:{minute:02}:{:02}.{rest:0digits$}", seconds % 60))
}

pub(super) fn time(text: &str, unit: Unit) -> Result<i64, Fault> {
    let time: Time = text.parse().map_err(|_| Fault::new("expected a time of day such as 09:41:02.118"))?;
    let seconds = i64::from(time.hour()) * 3_600 + i64::from(time.minute()) * 60 + i64::from(time.second());
    count(seconds, i64::from(time.subsec_nanosecond()), unit)
}

pub(super) fn of_timestamp(number: i64, unit: Unit) -> Result<Timestamp, Fault> {
    let second = unit.in_a_second();
    let nanos = i32::try_from(number.rem_euclid(second) * (1_000_000_000 / second)).unwrap_or(0);
    let time = Timestamp::new(number.div_euclid(second), nanos);
    time.map_err(|_| outside(&format!("{number} {}", word(unit))))
}

pub(super) fn timestamp(time: Timestamp, unit: Unit) -> Result<i64, Fault> {
    count(time.as_second(), i64::from(time.subsec_nanosecond()), unit)
}

pub(super) fn of_local(number: i64, unit: Unit) -> Result<String, Fault> {
    let time = of_timestamp(number, unit)?.to_zoned(TimeZone::UTC).datetime();
    let digits = digits(unit);
    Ok(format!("{time:.digits$}"))
}

pub(super) fn local(text: &str, unit: Unit) -> Result<i64, Fault> {
    let expected = || Fault::new("expected a local time such as 2026-11-21T09:41:02.118");
    let time: DateTime = text.parse().map_err(|_| expected())?;
    let zoned = time.to_zoned(TimeZone::UTC).map_err(|_| expected())?;
    timestamp(zoned.timestamp(), unit)
}

/// Seconds and nanoseconds of the same sign as a number of units; what it cannot hold is a fault.
fn count(seconds: i64, nanos: i64, unit: Unit) -> Result<i64, Fault> {
    let in_unit = 1_000_000_000 / unit.in_a_second();
    if nanos % in_unit != 0 {
        return Err(Fault::new(format!("the time has parts of a second that {} cannot hold", word(unit))));
    }
    let whole = seconds.checked_mul(unit.in_a_second()).and_then(|whole| whole.checked_add(nanos / in_unit));
    whole.ok_or_else(|| Fault::new(format!("{} do not reach this far", word(unit))))
}

fn digits(unit: Unit) -> usize {
    match unit {
        Unit::Millis => 3,
        Unit::Micros => 6,
        Unit::Nanos => 9,
    }
}

fn word(unit: Unit) -> &'static str {
    match unit {
        Unit::Millis => "milliseconds",
        Unit::Micros => "microseconds",
        Unit::Nanos => "nanoseconds",
    }
}

fn outside(what: &str) -> Fault {
    Fault::new(format!("{what} is outside of the years -9999 to 9999"))
}

/// The text of a number in two's complement, the highest byte first, of which the last `scale` digits are decimals.
pub(super) fn of_decimal(bytes: &[u8], scale: usize) -> Result<String, Fault> {
    if bytes.len() > MAX_BYTES || scale > MAX_DIGITS {
        return Err(Fault::new(format!("a decimal has at most {MAX_BYTES} bytes and {MAX_DIGITS} decimals")));
    }
    let negative = bytes.first().is_some_and(|first| first & 0x80 != 0);
    let mut digits = if bytes.len() <= 16 {
        let start: i128 = if negative { -1 } else { 0 };
        let number = bytes.iter().fold(start, |number, byte| (number << 8) | i128::from(*byte));
        number.unsigned_abs().to_string()
    } else {
        of_magnitude(if negative { negated(bytes) } else { bytes.to_vec() })
    };
    if digits.len() <= scale {
        digits.insert_str(0, &"0".repeat(scale + 1 - digits.len()));
    }
    if scale > 0 {
        digits.insert(digits.len() - scale, '.');
    }
    if negative {
        digits.insert(0, '-');
    }
    Ok(digits)
}

/// The decimal digits of a number without a sign.
fn of_magnitude(mut bytes: Vec<u8>) -> String {
    let mut parts = Vec::new();
    while bytes.iter().any(|byte| *byte != 0) {
        let mut rest = 0_u64;
        for byte in &mut bytes {
            let now = (rest << 8) | u64::from(*byte);
            *byte = u8::try_from(now / 1_000_000_000).unwrap_or(u8::MAX);
            rest = now % 1_000_000_000;
        }
        parts.push(rest);
    }
    let mut text = String::new();
    for part in parts.iter().rev() {
        text.push_str(&if text.is_empty() { part.to_string() } else { format!("{part:09}") });
    }
    if text.is_empty() { "0".to_owned() } else { text }
}

/// The negative of a number in two's complement.
fn negated(bytes: &[u8]) -> Vec<u8> {
    let mut carry = true;
    let mut out: Vec<u8> = bytes.iter().map(|byte| !byte).collect();
    for byte in out.iter_mut().rev() {
        if !carry {
            break;
        }
        (*byte, carry) = byte.overflowing_add(1);
    }
    out
}

/// The shortest two's complement of a decimal text.
pub(super) fn decimal(text: &str, is: Decimal) -> Result<Vec<u8>, Fault> {
    let expected =
        || Fault::new(format!("expected a decimal text such as \"12.{}\"", "0".repeat(is.scale.clamp(1, 4))));
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(decimals) || digits.ends_with('.') {
        return Err(expected());
    }
    let kept = decimals.trim_end_matches('0');
    if kept.len() > is.scale {
        return Err(Fault::new(format!("it has more than {} decimals", is.scale)));
    }
    let whole = whole.trim_start_matches('0');
    if whole.len() + is.scale > is.precision.min(MAX_DIGITS)
        && !(whole.is_empty() && is.scale <= is.precision)
    {
        return Err(Fault::new(format!("it has more than {} digits", is.precision)));
    }
    let mut bytes = vec![0_u8];
    let padding = std::iter::repeat_n(b'0', is.scale - kept.len());
    for digit in whole.bytes().chain(kept.bytes()).chain(padding) {
        let mut carry = u32::from(digit - b'0');
        for byte in bytes.iter_mut().rev() {
            carry += u32::from(*byte) * 10;
            *byte = u8::try_from(carry & 0xff).unwrap_or(u8::MAX);
            carry >>= 8;
        }
        if carry > 0 {
            bytes.insert(0, u8::try_from(carry).unwrap_or(u8::MAX));
        }
    }
    if bytes.first().is_some_and(|first| first & 0x80 != 0) {
        bytes.insert(0, 0);
    }
    if negative {
        bytes = negated(&bytes);
        let spare = |bytes: &[u8]| matches!(bytes, [0xff, second, ..] if second & 0x80 != 0);
        while spare(&bytes) {
            bytes.remove(0);
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn decimals_are_exact_both_ways() {
        for (bytes, scale, text) in [
            (&[][..], 2, "0.00"),
            (&[0][..], 0, "0"),
            (&[0x0b, 0xc6, 0x14], 2, "7716.04"),
            (&[0xff], 2, "-0.01"),
            (&[0x80], 1, "-12.8"),
            (&[0, 0x80], 0, "128"),
            (&[0x7f; 16], 3, "169473963133173273960190490760135540.607"),
            (&[0x7f; 17], 0, "43385334562092358133808765634594698395519"),
        ] {
            let is = Decimal { precision: 60, scale };
            let found = of_decimal(bytes, scale).unwrap();
            assert_eq!(found, text);
            let back = decimal(&found, is).unwrap();
            assert_eq!(of_decimal(&back, scale).unwrap(), found);
            assert!(back.len() <= bytes.len().max(1), "the shortest: {back:?} of {bytes:?}");
        }
        let is = Decimal { precision: 5, scale: 2 };
        for (text, fault) in [
            ("123.456", "more than 2 decimals"),
            ("1234.5", "more than 5 digits"),
            ("", "expected a decimal"),
            ("1.", "expected a decimal"),
            ("1e3", "expected a decimal"),
            ("--1", "expected a decimal"),
        ] {
            assert!(decimal(text, is).unwrap_err().to_string().contains(fault), "{text}");
        }
        assert_eq!(decimal("123.4500", is).unwrap(), decimal("+0123.45", is).unwrap());
        assert!(of_decimal(&[1; 257], 0).is_err(), "bounded");
    }

    #[test]
    fn times_are_exact_or_refused() {
        assert_eq!(of_date(20_778).unwrap(), "2026-11-21");
        assert_eq!(of_time(34_862_118, Unit::Millis).unwrap(), "09:41:02.118");
        assert_eq!(of_local(-1, Unit::Micros).unwrap(), "1969-12-31T23:59:59.999999");
        for wrong in [of_time(-1, Unit::Millis), of_time(86_400_000, Unit::Millis), of_date(i32::MAX)] {
            assert!(wrong.is_err());
        }
        assert!(of_timestamp(i64::MAX, Unit::Millis).is_err());
        assert!(
            time("09:41:02.1185", Unit::Millis).unwrap_err().to_string().contains("milliseconds cannot hold")
        );
        assert!(
            timestamp("9999-12-30T22:00:00Z".parse().unwrap(), Unit::Nanos).is_err(),
            "it would overflow"
        );
    }

    proptest! {
        #[test]
        fn each_number_comes_back(number in any::<i64>(), wide in proptest::collection::vec(any::<u8>(), 1..40), scale in 0..30_usize) {
            for unit in [Unit::Millis, Unit::Micros, Unit::Nanos] {
                if let Ok(text) = of_local(number, unit) {
                    prop_assert_eq!(local(&text, unit).unwrap(), number);
                }
                if let Ok(time) = of_timestamp(number, unit) {
                    prop_assert_eq!(timestamp(time, unit).unwrap(), number);
                }
                let of_day = number.rem_euclid(86_400 * unit.in_a_second());
                prop_assert_eq!(time(&of_time(of_day, unit).unwrap(), unit).unwrap(), of_day);
            }
            let days = i32::try_from(number % 2_000_000).unwrap();
            prop_assert_eq!(date(&of_date(days).unwrap()).unwrap(), days);
            let text = of_decimal(&wide, scale).unwrap();
            let back = decimal(&text, Decimal { precision: 600, scale }).unwrap();
            prop_assert_eq!(of_decimal(&back, scale).unwrap(), text);
        }
    }
}
