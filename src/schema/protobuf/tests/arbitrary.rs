//! A schema that has every type in every place, and values of it.

use std::sync::LazyLock;

use proptest::prelude::*;
use vrl::value::{KeyString, ObjectMap, Value};

use super::super::{Message, Schema};
use super::document;
use crate::schema::number;

/// The types of numbers and texts.
const SCALARS: [&str; 16] = [
    "double", "float", "int32", "int64", "uint32", "uint64", "sint32", "sint64", "fixed32", "fixed64",
    "sfixed32", "sfixed64", "bool", "string", "bytes", "Level",
];

const REST: &str = r#"
    Sub sub = 200; repeated Sub subs = 201; map<string, Sub> by_text = 202; map<int64, bytes> by_number = 203;
    map<bool, Level> by_bool = 204; All inner = 205;
    oneof choice { string name = 210; Sub item = 211; int32 number = 212; google.protobuf.Value free = 213; }
    google.protobuf.Timestamp at = 220; repeated google.protobuf.Timestamp times = 221; google.protobuf.Duration took = 222;
    google.protobuf.Int64Value boxed = 223; google.protobuf.Struct extra = 224; google.protobuf.Any more = 225;"#;

static ALL: LazyLock<Message> = LazyLock::new(|| {
    let mut text = String::from("syntax = \"proto3\"; package test;\n");
    for name in ["timestamp", "duration", "struct", "wrappers", "any"] {
        text.push_str(&format!("import \"google/protobuf/{name}.proto\";\n"));
    }
    text.push_str(
        "enum Level { LOW = 0; HIGH = 1; MAD = -1; }\nmessage Sub { sint64 cents = 1; }\nmessage All {",
    );
    for (at, scalar) in SCALARS.iter().enumerate() {
        let number = at + 1;
        let name = scalar.to_lowercase();
        text.push_str(&format!(
            "{scalar} i_{name} = {number}; optional {scalar} o_{name} = {}; repeated {scalar} l_{name} = {}; repeated {scalar} u_{name} = {} [packed = {}];\n",
            number + 20, number + 40, number + 60, !matches!(*scalar, "string" | "bytes") && at % 2 == 0
        ));
        if matches!(*scalar, "string" | "bytes") {
            text = text.replace(" [packed = false]", "");
        }
    }
    text.push_str(REST);
    text.push_str("\n}");
    let schema =
        Schema::parse(&document("all.proto", &text), &[]).unwrap_or_else(|error| panic!("{error}: {text}"));
    schema.message(Some("All")).unwrap()
});

pub(super) fn message() -> Message {
    ALL.clone()
}

fn scalar(name: &str) -> BoxedStrategy<Value> {
    match name {
        "double" => any::<f64>()
            .prop_filter("finite", |n| n.is_finite())
            .prop_map(|n| number::of_double(n).unwrap())
            .boxed(),
        "float" => any::<f32>()
            .prop_filter("finite", |n| n.is_finite())
            .prop_map(|n| number::of_float(n).unwrap())
            .boxed(),
        "int32" | "sint32" | "sfixed32" => any::<i32>().prop_map(|n| Value::Integer(n.into())).boxed(),
        "uint32" | "fixed32" => any::<u32>().prop_map(|n| Value::Integer(n.into())).boxed(),
        "uint64" | "fixed64" => (0..=i64::MAX).prop_map(Value::Integer).boxed(),
        "int64" | "sint64" | "sfixed64" => any::<i64>().prop_map(Value::Integer).boxed(),
        "bool" => any::<bool>().prop_map(Value::Boolean).boxed(),
        "string" => ".{0,9}".prop_map(Value::from).boxed(),
        "bytes" => prop::collection::vec(any::<u8>(), 0..9)
            .prop_map(|bytes| Value::from(data_encoding::BASE64.encode(&bytes)))
            .boxed(),
        "Level" => prop_oneof![
            prop::sample::select(vec!["LOW", "HIGH", "MAD"]).prop_map(Value::from),
            (2..i32::MAX).prop_map(|n| Value::Integer(n.into())),
        ]
        .boxed(),
        other => panic!("{other}"),
    }
}

fn list(of: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    prop::collection::vec(of, 0..4).prop_map(Value::Array).boxed()
}

fn map(keys: BoxedStrategy<String>, of: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    let map = prop::collection::btree_map(keys.prop_map(KeyString::from), of, 0..3);
    map.prop_map(|map| Value::Object(map.into_iter().collect())).boxed()
}

fn object(fields: Vec<(String, bool, BoxedStrategy<Value>)>) -> BoxedStrategy<Value> {
    let (names, values): (Vec<String>, Vec<_>) = fields
        .into_iter()
        .map(|(name, always, value)| {
            let value = if always {
                value.prop_map(Some).boxed()
            } else {
                prop::option::weighted(0.3, value).boxed()
            };
            (name, value)
        })
        .unzip();
    values
        .prop_map(move |values| {
            let named = names
                .iter()
                .zip(values)
                .filter_map(|(name, value)| Some((KeyString::from(name.clone()), value?)));
            Value::Object(named.collect::<ObjectMap>())
        })
        .boxed()
}

/// What a `google.protobuf.Value` holds: a number of it is a double, and a whole one is an integer.
fn free() -> BoxedStrategy<Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Boolean),
        (-(1_i64 << 53)..=1 << 53).prop_map(Value::Integer),
        (-1000..1000_i32).prop_map(|n| Value::from_f64_or_zero(f64::from(n) + 0.5)),
        ".{0,5}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![list(inner.clone().boxed()), map("[a-c/~é]{1,2}".boxed(), inner.boxed())]
    })
    .boxed()
}

fn timestamp() -> BoxedStrategy<Value> {
    let times = (-62_135_596_800_i64..=253_402_300_799, 0..1_000_000_000_i32);
    times
        .prop_map(|(seconds, nanos)| {
            let at = jiff::Timestamp::new(seconds, nanos).unwrap();
            Value::Timestamp(std::time::SystemTime::from(at).into())
        })
        .boxed()
}

fn fields(depth: usize) -> BoxedStrategy<Value> {
    let mut fields = Vec::new();
    for name in SCALARS {
        let lower = name.to_lowercase();
        fields.push((format!("i_{lower}"), true, scalar(name)));
        fields.push((format!("o_{lower}"), false, scalar(name)));
        fields.push((format!("l_{lower}"), true, list(scalar(name))));
        fields.push((format!("u_{lower}"), true, list(scalar(name))));
    }
    let sub = || object(vec![("cents".to_owned(), true, scalar("sint64"))]);
    let duration = prop::sample::select(vec!["0s", "-0.000001s", "7.250s", "-315576000000s", "1.000000001s"]);
    let any_of = (any::<bool>(), sub()).prop_map(|(is_sub, sub)| {
        let mut map = match sub {
            Value::Object(map) if is_sub => map,
            _ => ObjectMap::from([(KeyString::from("value"), Value::from("3s"))]),
        };
        let name = if is_sub {
            "type.googleapis.com/test.Sub"
        } else {
            "type.googleapis.com/google.protobuf.Duration"
        };
        map.insert("@type".into(), Value::from(name));
        Value::Object(map)
    });
    let key = any::<i64>().prop_map(|number| number.to_string()).boxed();
    let named = |name: &str, always, value| (name.to_owned(), always, value);
    fields.extend([
        named("sub", false, sub()),
        named("subs", true, list(sub())),
        named("by_text", true, map("[a-c/~é]{0,2}".boxed(), sub())),
        named("by_number", true, map(key, scalar("bytes"))),
        named("by_bool", true, map("true|false".boxed(), scalar("Level"))),
        named("at", false, timestamp()),
        named("times", true, list(timestamp())),
        named("took", false, duration.prop_map(Value::from).boxed()),
        named("boxed", false, scalar("int64")),
        named("extra", false, map("[a-c]{1,2}".boxed(), free())),
        named("more", false, any_of.boxed()),
    ]);
    if depth > 0 {
        fields.push(named("inner", false, self::fields(depth - 1)));
    }
    let choice = prop::option::of(prop_oneof![
        scalar("string").prop_map(|value| ("name", value)),
        sub().prop_map(|value| ("item", value)),
        scalar("int32").prop_map(|value| ("number", value)),
        free().prop_map(|value| ("free", value)),
    ]);
    let all = (object(fields), choice).prop_map(|(mut all, choice)| {
        if let (Value::Object(map), Some((name, value))) = (&mut all, choice) {
            map.insert(name.into(), value);
        }
        all
    });
    all.boxed()
}

pub(super) fn value() -> BoxedStrategy<Value> {
    fields(1)
}
