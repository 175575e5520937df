//! Bytes that nobody wrote by the schema: errors in bounded time and memory, without a panic (B-03).

use super::*;

const LIST: &str = r#"{"type":"record","name":"L","fields":[{"name":"next","type":["null","L"]}]}"#;

/// A long as Avro writes it.
fn long(number: i64) -> Vec<u8> {
    encode(&schema("\"long\""), &Value::Integer(number), 16).unwrap().to_vec()
}

fn fault(of: &str, bytes: &[u8]) -> String {
    let found = Reader::of(&schema(of)).read(&Bytes::copy_from_slice(bytes));
    found.expect_err(of).to_string()
}

#[test]
fn b_03_hostile_avro_is_an_error_with_its_reason() {
    let strings = r#"{"type":"array","items":"string"}"#;
    let nulls = r#"{"type":"array","items":"null"}"#;
    let map = r#"{"type":"map","values":"int"}"#;
    let two: Vec<u8> =
        [long(2), long(1), b"a".into(), long(1), long(1), b"a".into(), long(2), long(0)].concat();
    let deep = [vec![2_u8; 100], vec![0]].concat();
    let counted = |count: i64| [long(count), long(0)].concat();
    let of_minus: Vec<u8> = [long(-1), long(1), long(-1)].concat();
    for (of, bytes, expected) in [
        ("\"string\"", &b""[..], "the bytes end too early"),
        ("\"boolean\"", b"", "the bytes end too early"),
        ("\"boolean\"", b"\x02", "a boolean is 0 or 1"),
        (r#"["null","int"]"#, b"", "the bytes end too early"),
        (r#"["null","int"]"#, b"\x04", "there is no such branch of the union"),
        (r#"["null","int"]"#, b"\x01", "there is no such branch of the union"),
        (r#"{"type":"enum","name":"E","symbols":["A"]}"#, b"\x02", "there is no such symbol of the enum"),
        ("\"int\"", b"\x02\x00", "1 bytes are left over behind the value"),
        ("\"int\"", &long(1 << 40), "an int has more than 32 bits"),
        ("\"long\"", &[0xff; 10], "a number has more than 64 bits"),
        ("\"long\"", &[0xff; 9], "the bytes end too early"),
        ("\"string\"", &long(1 << 62), "the bytes end too early"),
        ("\"string\"", &long(-1), "a length is negative"),
        ("\"string\"", b"\x02\xff", "the text is not UTF-8"),
        ("\"bytes\"", &long(i64::MAX), "the bytes end too early"),
        (nulls, &counted(i64::MAX), "it has more values than its bytes can mean"),
        (nulls, &counted(i64::MIN), "a count is out of range"),
        (strings, &of_minus, "/0: a length is negative"),
        (map, &two, "/a: the map has this key twice"),
        ("\"double\"", &f64::NAN.to_le_bytes(), "NaN and infinity have no form in JSON"),
        ("\"float\"", &f32::INFINITY.to_le_bytes(), "NaN and infinity have no form in JSON"),
        (r#"{"type":"fixed","name":"F","size":3000000000}"#, b"abc", "the bytes end too early"),
        (r#"{"type":"long","logicalType":"timestamp-millis"}"#, &long(i64::MAX), "outside of the years"),
        (r#"{"type":"int","logicalType":"time-millis"}"#, &long(-1), "below 24 hours"),
        (LIST, &deep, "the value is deeper than 64 levels"),
        (r#"{"type":"record","name":"R","fields":[{"name":"r","type":"R"}]}"#, b"", "deeper than 64 levels"),
    ] {
        let found = fault(of, bytes);
        assert!(found.contains(expected), "{of} {bytes:?}: {found}");
    }
    let of = schema(r#"{"type":"bytes","logicalType":"decimal","precision":900,"scale":2}"#);
    let wide = [long(400), vec![1; 400]].concat();
    assert!(Reader::of(&of).read(&wide.into()).unwrap_err().to_string().contains("at most 256 bytes"));
    let fits: Vec<u8> = [vec![2_u8; 31], vec![0]].concat();
    assert!(Reader::of(&schema(LIST)).read(&fits.into()).is_ok());
}

/// A kilobyte that means gigabytes: arrays of nothing in arrays of nothing.
#[test]
fn b_03_no_small_datum_becomes_a_large_value() {
    let of = schema(r#"{"type":"array","items":{"type":"array","items":"null"}}"#);
    let inner = [long(250_000), long(0)].concat();
    let bytes = [long(200), inner.repeat(200), long(0)].concat();
    assert!(bytes.len() < 1_024);
    let found = Reader::of(&of).read(&bytes.into()).unwrap_err();
    assert_eq!(found.message(), "it has more values than its bytes can mean");
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(written in arbitrary::written(), bytes in prop::collection::vec(any::<u8>(), 0..80), at in any::<prop::sample::Index>(), byte: u8) {
        let schema = schema(&written.text);
        let reader = Reader::of(&schema);
        reader.read(&bytes.into()).ok();
        let mut datum = encode(&schema, &written.value, 1 << 20).unwrap().to_vec();
        if !datum.is_empty() {
            let at = at.index(datum.len());
            datum[at] = byte;
            reader.read(&datum.into()).ok();
        }
    }

    #[test]
    fn no_value_makes_writing_panic(written in arbitrary::written(), other in json::arbitrary::value()) {
        encode(&schema(&written.text), &other, 1 << 16).ok();
    }
}

/// A type that holds itself in several ways, as one for any JSON does: each value has many ways to be tried.
#[test]
fn a_value_of_nested_unions_is_written_in_bounded_time() {
    let any = schema(
        r#"{"type":"record","name":"Any","fields":[{"name":"v","type":["null","long","string",
            {"type":"array","items":"Any"},
            {"type":"record","name":"A","fields":[{"name":"a","type":"Any"}]},
            {"type":"record","name":"B","fields":[{"name":"a","type":"Any"}]}]}]}"#,
    );
    let nested =
        |leaf: &str, depth: usize| format!("{}{leaf}{}", r#"{"v":{"a":"#.repeat(depth), "}}".repeat(depth));
    let fits = value(&nested(r#"{"v":7}"#, 9));
    let datum = encode(&any, &fits, 1 << 20).unwrap();
    assert_eq!(Reader::of(&any).read(&datum).unwrap(), fits);
    let begun = crate::telemetry::clock::now();
    let wrong = encode(&any, &value(&nested(r#"{"v":true}"#, 20)), 1 << 20).unwrap_err();
    assert_eq!(wrong.message(), "it has too many values, or too many ways to be written");
    assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
}

/// A chain of types, each in a text of its own, and one inside of the other.
#[test]
fn a_long_chain_of_types_overflows_nothing() {
    let link = |at: usize| {
        format!(r#"{{"type":"record","name":"R{at}","fields":[{{"name":"r","type":"R{}"}}]}}"#, at + 1)
    };
    let chain = |length: usize| {
        let mut texts: Vec<String> = (1..length).map(link).collect();
        texts.push(format!(r#"{{"type":"record","name":"R{length}","fields":[]}}"#));
        texts.reverse();
        let references: Vec<&str> = texts.iter().map(String::as_str).collect();
        Schema::parse(&link(0), &references)
    };
    let longest = chain(200).unwrap();
    assert!(Reader::of(&longest).mismatches().is_empty());
    assert_eq!(chain(201).unwrap_err(), "a schema has at most 200 references");
    let deep = format!("{}\"int\"{}", r#"{"type":"array","items":"#.repeat(100), "}".repeat(100));
    assert!(Schema::parse(&deep, &[]).unwrap_err().contains("at most 64 levels"));
}
