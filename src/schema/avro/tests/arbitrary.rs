//! Schemas with values of theirs, every type among them.

use proptest::prelude::*;
use serde_json::{Value as Json, json};
use vrl::value::{KeyString, ObjectMap, Value};

use crate::schema::avro::read;
use crate::schema::avro::types::{Decimal, FixedAs, IntAs, LongAs, Unit};

/// A schema and a value of it.
#[derive(Debug, Clone)]
pub(super) struct Written {
    pub(super) text: String,
    pub(super) value: Value,
}

pub(super) fn written() -> impl Strategy<Value = Written> {
    pair().prop_map(|(mut schema, value)| {
        name(&mut schema, &mut 0);
        Written { text: schema.to_string(), value }
    })
}

/// Gives each named type a name of its own.
fn name(schema: &mut Json, count: &mut usize) {
    match schema {
        Json::Array(list) => list.iter_mut().for_each(|one| name(one, count)),
        Json::Object(map) => {
            if map.get("name").is_some_and(|name| name == "?") {
                *count += 1;
                map.insert("name".to_owned(), json!(format!("T{count}")));
            }
            map.values_mut().for_each(|one| name(one, count));
        }
        _ => {}
    }
}

type Pair = (Json, Value);

fn pair() -> impl Strategy<Value = Pair> {
    leaf().prop_recursive(4, 40, 5, |inner| {
        let list = (inner.clone(), 0..4_usize).prop_map(|((schema, value), count)| {
            (json!({"type": "array", "items": schema}), Value::Array(vec![value; count]))
        });
        let map = (inner.clone(), prop::collection::btree_set("[a-f/~é]{1,3}", 0..4)).prop_map(
            |((schema, value), keys)| {
                let map = keys.into_iter().map(|key| (KeyString::from(key), value.clone())).collect();
                (json!({"type": "map", "values": schema}), Value::Object(map))
            },
        );
        let optional = (inner.clone(), any::<bool>(), any::<bool>())
            .prop_filter("no union in a union", |((schema, value), ..)| {
                !schema.is_array() && !matches!(value, Value::Null)
            })
            .prop_map(|((schema, value), there, first)| {
                let union = if first { json!(["null", schema]) } else { json!([schema, "null"]) };
                (union, if there { value } else { Value::Null })
            });
        let record = prop::collection::vec(inner, 0..5).prop_map(|fields| {
            let mut map = ObjectMap::new();
            let mut list = Vec::new();
            for (at, (schema, value)) in fields.into_iter().enumerate() {
                list.push(json!({"name": format!("f{at}"), "type": schema}));
                map.insert(KeyString::from(format!("f{at}")), value);
            }
            (json!({"type": "record", "name": "?", "fields": list}), Value::Object(map))
        });
        prop_oneof![list, map, optional, record]
    })
}

fn times() -> BoxedStrategy<Pair> {
    let day = 86_400_000_i64;
    // Within the years 0001 to 9999, where a timestamp has a text.
    let times = -62_135_596_800_000_i64..253_402_300_799_000;
    let longs = [
        ("timestamp-millis", LongAs::Timestamp(Unit::Millis), 1),
        ("local-timestamp-millis", LongAs::LocalTimestamp(Unit::Millis), 1),
        ("timestamp-micros", LongAs::Timestamp(Unit::Micros), 1_000),
        ("local-timestamp-micros", LongAs::LocalTimestamp(Unit::Micros), 1_000),
    ];
    let time = (prop::sample::select(longs.to_vec()), times).prop_map(|((logical, means, times), millis)| {
        (json!({"type": "long", "logicalType": logical}), read::long(millis * times, means).unwrap())
    });
    let nanos = (any::<i64>(), any::<bool>()).prop_map(|(nanos, local)| {
        let means = if local { LongAs::LocalTimestamp(Unit::Nanos) } else { LongAs::Timestamp(Unit::Nanos) };
        let logical = if local { "local-timestamp-nanos" } else { "timestamp-nanos" };
        (json!({"type": "long", "logicalType": logical}), read::long(nanos, means).unwrap())
    });
    prop_oneof![
        (-700_000..2_900_000_i32).prop_map(|days| {
            (json!({"type": "int", "logicalType": "date"}), read::int(days, IntAs::Date).unwrap())
        }),
        (0..day).prop_map(|millis| {
            let time = read::int(i32::try_from(millis).unwrap(), IntAs::TimeMillis).unwrap();
            (json!({"type": "int", "logicalType": "time-millis"}), time)
        }),
        (0..day * 1_000).prop_map(|micros| {
            (
                json!({"type": "long", "logicalType": "time-micros"}),
                read::long(micros, LongAs::TimeMicros).unwrap(),
            )
        }),
        time,
        nanos,
    ]
    .boxed()
}

fn decimal() -> BoxedStrategy<Pair> {
    (prop::collection::vec(any::<u8>(), 1..20), 0..9_usize, any::<bool>()).prop_map(|(bytes, scale, fixed)| {
        // As many digits as so many bytes are sure to hold, and the number within them.
        let size = bytes.len();
        let precision = (size * 8 - 1) * 30_102 / 100_000;
        let (precision, scale) = (precision.max(1), scale.min(precision.max(1)));
        let is = Decimal { precision, scale };
        let number = read::fixed(&bytes[..size.min(7)], FixedAs::Decimal(is)).unwrap();
        let fits = super::super::text::decimal(&String::from_utf8_lossy(&number.coerce_to_bytes()), is).is_ok();
        let number = if fits { number } else { read::fixed(&[0], FixedAs::Decimal(is)).unwrap() };
        let decimal = json!({"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale});
        if fixed {
            let of = json!({"type": "fixed", "name": "?", "size": size, "logicalType": "decimal", "precision": precision, "scale": scale});
            return (of, number);
        }
        (decimal, number)
    })
    .boxed()
}

fn leaf() -> BoxedStrategy<Pair> {
    prop_oneof![
        Just((json!("null"), Value::Null)),
        any::<bool>().prop_map(|value| (json!("boolean"), Value::Boolean(value))),
        any::<i32>().prop_map(|number| (json!("int"), Value::Integer(number.into()))),
        any::<i64>().prop_map(|number| (json!("long"), Value::Integer(number))),
        any::<f32>()
            .prop_filter("finite", |n| n.is_finite())
            .prop_map(|n| (json!("float"), read::float(n).unwrap())),
        any::<f64>()
            .prop_filter("finite", |n| n.is_finite())
            .prop_map(|n| (json!("double"), read::double(n).unwrap())),
        prop::collection::vec(any::<u8>(), 0..9)
            .prop_map(|bytes| (json!("bytes"), read::fixed(&bytes, FixedAs::Bytes).unwrap())),
        ".{0,9}".prop_map(|text| (json!("string"), Value::from(text))),
        times(),
        decimal(),
        prop::sample::select(vec!["NEW", "PAID", "SENT"]).prop_map(|symbol| {
            (json!({"type": "enum", "name": "?", "symbols": ["NEW", "PAID", "SENT"]}), Value::from(symbol))
        }),
        any::<[u8; 16]>().prop_map(|bytes| {
            let of = json!({"type": "fixed", "name": "?", "size": 16, "logicalType": "uuid"});
            (of, read::fixed(&bytes, FixedAs::Uuid).unwrap())
        }),
        any::<[u8; 16]>().prop_map(|bytes| {
            (json!({"type": "string", "logicalType": "uuid"}), read::fixed(&bytes, FixedAs::Uuid).unwrap())
        }),
        any::<[u8; 12]>().prop_map(|bytes| {
            let of = json!({"type": "fixed", "name": "?", "size": 12, "logicalType": "duration"});
            (of, read::fixed(&bytes, FixedAs::Duration).unwrap())
        }),
        any::<[u8; 5]>().prop_map(|bytes| {
            (json!({"type": "fixed", "name": "?", "size": 5}), read::fixed(&bytes, FixedAs::Bytes).unwrap())
        }),
    ]
    .boxed()
}
