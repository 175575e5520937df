//! The written forms of durations, sizes and ratios: `250ms`, `64KiB`, `0.1%`. A value carries its unit, so a bare number
//! is refused.

use std::fmt;
use std::str::FromStr;
use std::time::Duration as StdDuration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A span of time as written: a number and a unit of `ms`, `s`, `m`, `h`, `d`; `0s` is nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Duration(pub StdDuration);

/// A number of bytes as written: a whole number and a unit of `B`, `KiB`, `MiB`, `GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Size(pub u64);

/// A share as written: a percentage from `0%` to `100%`. Kept as a fraction from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default)]
pub struct Ratio(pub f64);

const TIME_UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const SIZE_UNITS: [(&str, u64); 4] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("B", 1)];

fn split_unit(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    text.split_at(end)
}

impl FromStr for Duration {
    type Err = String;

    fn from_str(text: &str) -> Result<Duration, String> {
        let wrong = || {
            format!("`{text}` is not a duration; write a number and a unit, such as 250ms, 5s, 10m, 1h, 7d")
        };
        let (number, unit) = split_unit(text);
        let (_, factor) = TIME_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let millis = number.checked_mul(*factor).ok_or_else(wrong)?;
        Ok(Duration(StdDuration::from_millis(millis)))
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Size, String> {
        let wrong =
            || format!("`{text}` is not a size; write a whole number and a unit, such as 512B, 64KiB, 16MiB");
        let (number, unit) = split_unit(text);
        let (_, factor) = SIZE_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        let number: u64 = number.parse().map_err(|_| wrong())?;
        Ok(Size(number.checked_mul(*factor).ok_or_else(wrong)?))
    }
}

impl FromStr for Ratio {
    type Err = String;

    fn from_str(text: &str) -> Result<Ratio, String> {
        let wrong = || format!("`{text}` is not a ratio; write a percentage, such as 0.1% or 5%");
        let (number, unit) = split_unit(text);
        let number: f64 = number.parse().map_err(|_| wrong())?;
        if unit != "%" || !(0.0..=100.0).contains(&number) {
            return Err(wrong());
        }
        Ok(Ratio(number / 100.0))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        let (unit, factor) = TIME_UNITS
            .iter()
            .rev()
            .find(|(_, factor)| millis.is_multiple_of(u128::from(*factor)))
            .unwrap_or(&("ms", 1));
        if millis == 0 { f.write_str("0s") } else { write!(f, "{}{unit}", millis / u128::from(*factor)) }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) = [SIZE_UNITS[2], SIZE_UNITS[1], SIZE_UNITS[0]]
            .into_iter()
            .find(|(_, factor)| self.0 > 0 && self.0.is_multiple_of(*factor))
            .unwrap_or(("B", 1));
        write!(f, "{}{unit}", self.0 / factor)
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0 * 100.0)
    }
}

macro_rules! written {
    ($name:ident, $title:literal, $pattern:literal, $example:literal) => {
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $title.into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "pattern": $pattern, "examples": [$example] })
            }
        }
    };
}

written!(Duration, "Duration", "^[0-9]+(ms|s|m|h|d)$", "5s");
written!(Size, "Size", "^[0-9]+(B|KiB|MiB|GiB)$", "64KiB");
written!(Ratio, "Ratio", "^[0-9]+([.][0-9]+)?%$", "5%");

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_forms_of_the_grammar_are_read() {
        assert_eq!("250ms".parse::<Duration>().unwrap().0, StdDuration::from_millis(250));
        assert_eq!("7d".parse::<Duration>().unwrap().0, StdDuration::from_secs(604_800));
        assert_eq!("64KiB".parse::<Size>().unwrap().0, 65_536);
        assert!(("0.1%".parse::<Ratio>().unwrap().0 - 0.001).abs() < 1e-12);
        for wrong in ["5", "s", "", "5 s", "-1s", "1.5s", "1e3s", "99999999999999999999s", "5S"] {
            assert!(wrong.parse::<Duration>().is_err(), "{wrong}");
        }
        for wrong in ["64", "64kb", "KiB", "1.5MiB", "99999999999GiB99"] {
            assert!(wrong.parse::<Size>().is_err(), "{wrong}");
        }
        for wrong in ["5", "101%", "-1%", "%"] {
            assert!(wrong.parse::<Ratio>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(millis in 0u64..10_000_000_000, bytes in 0u64..1 << 50) {
            let duration = Duration(StdDuration::from_millis(millis));
            prop_assert_eq!(duration.to_string().parse::<Duration>().unwrap(), duration);
            let size = Size(bytes);
            prop_assert_eq!(size.to_string().parse::<Size>().unwrap(), size);
        }
    }
}
