//! Resolution by a table, round trips and equality with `apache-avro` by property, hostile bytes (B-03).

mod arbitrary;
mod hostile;
mod resolution;

use apache_avro::types::Value as Theirs;
use bytes::Bytes;
use data_encoding::BASE64;
use proptest::prelude::*;
use vrl::value::{KeyString, Value};

use super::types::{FixedAs, Type, TypeId};
use super::*;
use crate::event::json;
use crate::schema::shape::{Use, tests::holds};

fn schema(text: &str) -> Schema {
    Schema::parse(text, &[]).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// A value as JSON text.
fn said(value: &Value) -> String {
    String::from_utf8(json::to_bytes(value, 1 << 20).unwrap().to_vec()).unwrap()
}

fn value(text: &str) -> Value {
    json::parse(text.as_bytes()).unwrap()
}

/// What their reader makes of a datum, in our form.
fn plain(schema: &Schema, of: TypeId, theirs: &Theirs) -> Value {
    let text = |text: Result<String, crate::schema::Fault>| Value::from(text.unwrap());
    match (schema.get(of), theirs) {
        (_, Theirs::Null) => Value::Null,
        (_, Theirs::Boolean(value)) => Value::Boolean(*value),
        (Type::Int(means), Theirs::Int(n) | Theirs::Date(n) | Theirs::TimeMillis(n)) => {
            read::int(*n, *means).unwrap()
        }
        (
            Type::Long(means),
            Theirs::Long(n)
            | Theirs::TimeMicros(n)
            | Theirs::TimestampMillis(n)
            | Theirs::TimestampMicros(n)
            | Theirs::TimestampNanos(n)
            | Theirs::LocalTimestampMillis(n)
            | Theirs::LocalTimestampMicros(n)
            | Theirs::LocalTimestampNanos(n),
        ) => read::long(*n, *means).unwrap(),
        (_, Theirs::Float(n)) => read::float(*n).unwrap(),
        (_, Theirs::Double(n)) => read::double(*n).unwrap(),
        (_, Theirs::Bytes(bytes) | Theirs::Fixed(_, bytes)) => Value::from(BASE64.encode(bytes)),
        (Type::Bytes(Some(is)), Theirs::Decimal(decimal)) => {
            text(super::text::of_decimal(&Vec::try_from(decimal).unwrap(), is.scale))
        }
        (Type::Fixed(fixed), Theirs::Decimal(decimal)) => match fixed.means {
            FixedAs::Decimal(is) => text(super::text::of_decimal(&Vec::try_from(decimal).unwrap(), is.scale)),
            _ => panic!("{fixed:?}"),
        },
        (Type::Fixed(fixed), Theirs::Duration(duration)) => {
            read::fixed(&<[u8; 12]>::from(*duration), fixed.means).unwrap()
        }
        (_, Theirs::Uuid(uuid)) => Value::from(uuid.to_string()),
        (_, Theirs::String(text) | Theirs::Enum(_, text)) => Value::from(text.as_str()),
        (Type::Union(branches), Theirs::Union(at, inner)) => plain(schema, branches[*at as usize], inner),
        (Type::Array(items), Theirs::Array(list)) => {
            Value::Array(list.iter().map(|item| plain(schema, *items, item)).collect())
        }
        (Type::Map(values), Theirs::Map(map)) => Value::Object(
            map.iter()
                .map(|(key, value)| (KeyString::from(key.clone()), plain(schema, *values, value)))
                .collect(),
        ),
        (Type::Record(record), Theirs::Record(fields)) => Value::Object(
            record
                .fields
                .iter()
                .zip(fields)
                .map(|(field, (name, value))| (KeyString::from(name.clone()), plain(schema, field.of, value)))
                .collect(),
        ),
        (of, theirs) => panic!("{of:?}: {theirs:?}"),
    }
}

proptest! {
    /// No path that a value has is one that its schema lacks, and what was read can be written.
    #[test]
    fn each_value_has_the_shape_of_its_schema(written in arbitrary::written()) {
        let arbitrary::Written { text, value } = written;
        let shape = schema(&text).shape(Use::Read);
        prop_assert_eq!(holds(&shape, &value), Ok(()), "{} {}", text, value);
        prop_assert_eq!(shape.misfit(&schema(&text).shape(Use::Write)), None, "{}", text);
    }

    /// A round trip of every type, and the same as `apache-avro` makes of it.
    #[test]
    fn each_value_comes_back_and_theirs_is_the_same(written in arbitrary::written()) {
        let arbitrary::Written { text, value } = written;
        let schema = schema(&text);
        let datum = encode(&schema, &value, 1 << 20).map_err(|fault| TestCaseError::fail(format!("{fault}: {text} {value}")))?;
        let back = Reader::of(&schema).read(&datum).map_err(|fault| TestCaseError::fail(format!("{fault}: {text} {value}")))?;
        prop_assert_eq!(&back, &value, "{}", text);
        let theirs = apache_avro::Schema::parse_str(&text).unwrap();
        let reader = apache_avro::reader::datum::GenericDatumReader::builder(&theirs).build().unwrap();
        let mut rest = &datum[..];
        let read = reader.read_value(&mut rest).unwrap();
        prop_assert!(rest.is_empty());
        prop_assert_eq!(&plain(&schema, schema.root, &read), &value, "{}", text);
        // Through JSON, as a webhook has it, and back.
        let through = json::parse(&json::to_bytes(&value, 1 << 20).unwrap()).unwrap();
        let again = encode(&schema, &through, 1 << 20).map_err(|fault| TestCaseError::fail(format!("{fault}: {text} {through}")))?;
        prop_assert_eq!(Reader::of(&schema).read(&again).unwrap(), value);
        let cut = datum.slice(..datum.len().saturating_sub(1));
        prop_assert!(datum.is_empty() || Reader::of(&schema).read(&cut).is_err(), "a cut datum is none");
        let longer: Bytes = [&datum[..], &[0]].concat().into();
        prop_assert!(Reader::of(&schema).read(&longer).is_err(), "nothing may be left over");
    }
}

#[test]
fn what_does_not_fit_is_said_with_its_place() {
    let order = schema(
        r#"{"type":"record","name":"Order","fields":[
            {"name":"id","type":"string"},
            {"name":"total","type":{"type":"record","name":"Money","fields":[{"name":"cents","type":"long"}]}},
            {"name":"items","type":{"type":"array","items":"int"},"default":[]},
            {"name":"note","type":["null","string"],"default":null},
            {"name":"price","type":{"type":"bytes","logicalType":"decimal","precision":5,"scale":2},"default":""},
            {"name":"level","type":{"type":"enum","name":"Level","symbols":["LOW","HIGH"]},"default":"LOW"}]}"#,
    );
    for (text, fault) in [
        (r#"{"id":"a","total":{"cents":"many"}}"#, "/total/cents: expected long, got string"),
        (r#"{"id":"a","total":{"cents":1.5}}"#, "/total/cents: expected long, got a fraction"),
        (r#"{"id":"a","total":{}}"#, "/total/cents: expected long, it is missing"),
        (r#"{"id":7,"total":{"cents":1}}"#, "/id: expected string, got integer"),
        (
            r#"{"id":"a","total":{"cents":1},"items":[1,2147483648]}"#,
            "/items/1: it has more than the 32 bits of an int",
        ),
        (r#"{"id":"a","total":{"cents":1},"note":7}"#, "/note: expected string, got integer"),
        (r#"{"id":"a","total":{"cents":1},"nota":"x"}"#, "/nota: record Order has no such field"),
        (r#"{"id":"a","total":{"cents":1},"price":"1.999"}"#, "/price: it has more than 2 decimals"),
        (r#"{"id":"a","total":{"cents":1},"price":"1000.00"}"#, "/price: it has more than 5 digits"),
        (r#"{"id":"a","total":{"cents":1},"level":"MAD"}"#, "/level: enum Level has no such symbol"),
        (r#"[1]"#, "expected record Order, got array"),
    ] {
        let found = encode(&order, &value(text), 1 << 20).unwrap_err().to_string();
        assert_eq!(found, fault, "{text}");
    }
    let fits = encode(&order, &value(r#"{"id":"a","total":{"cents":9007199254740993}}"#), 1 << 20).unwrap();
    let expected = r#"{"id":"a","items":[],"level":"LOW","note":null,"price":"0.00","total":{"cents":9007199254740993}}"#;
    assert_eq!(said(&Reader::of(&order).read(&fits).unwrap()), expected, "defaults are written");
    assert!(encode(&order, &value(r#"{"id":"abcdefgh","total":{"cents":1}}"#), 8).is_err(), "bounded");
}

#[test]
fn a_union_takes_the_branch_that_a_value_looks_like() {
    let of = schema(
        r#"["null","double","long","string",{"type":"record","name":"A","fields":[{"name":"a","type":"int"}]},
            {"type":"record","name":"B","fields":[{"name":"b","type":"int"}]},{"type":"map","values":"int"}]"#,
    );
    for (text, branch) in [
        ("null", 0),
        ("1.5", 1),
        ("7", 2),
        ("\"x\"", 3),
        (r#"{"a":1}"#, 4),
        (r#"{"b":1}"#, 5),
        (r#"{"c":1}"#, 6),
    ] {
        let datum = encode(&of, &value(text), 100).unwrap();
        assert_eq!(datum[0], branch * 2, "{text}");
        assert_eq!(said(&Reader::of(&of).read(&datum).unwrap()), text);
    }
    let fault = encode(&of, &value("true"), 100).unwrap_err().to_string();
    assert_eq!(fault, "expected one of null, double, long, string, record A, record B, map; got boolean");
}

#[test]
fn schemas_that_are_wrong_or_ask_for_what_is_not_there_are_refused() {
    for (text, why) in [
        ("{", "not JSON"),
        (r#"{"type":"strng"}"#, "strng"),
        (r#"{"type":"record","name":"A","fields":[{"name":"a","type":"B"}]}"#, "B"),
        (
            r#"{"type":"record","name":"A","fields":[{"name":"a","type":{"type":"fixed","name":"F","size":1}},{"name":"b","type":{"type":"fixed","name":"F","size":2}}]}"#,
            "the type `F` is defined twice",
        ),
    ] {
        let error = Schema::parse(text, &[]).unwrap_err();
        assert!(error.contains(why), "{text}: {error}");
    }
    let reference = r#"{"type":"record","name":"shop.Money","fields":[{"name":"cents","type":"long"}]}"#;
    let main = r#"{"type":"record","name":"shop.Order","fields":[{"name":"total","type":"Money"}]}"#;
    let of = Schema::parse(main, &[reference]).unwrap();
    let datum = encode(&of, &value(r#"{"total":{"cents":5}}"#), 100).unwrap();
    assert_eq!(datum[..], [10]);
    assert!(Schema::parse(main, &[]).unwrap_err().contains("Money"));
    assert!(
        Schema::parse(r#"{"type":"int","logicalType":7}"#, &[]).is_ok(),
        "the specification says to ignore it"
    );
}
