//! Avro 1.12, "Schema Resolution", case by case: what a reader makes of what another schema has written, and what the
//! comparison of the two says.

use super::*;

/// Writer, reader, what is written, what is read; a fault begins with `!`.
struct Case(&'static str, &'static str, &'static str, &'static str);

const MONEY: &str = r#"{"type":"record","name":"M","fields":[{"name":"c","type":"long"}]}"#;

fn check(cases: &[Case], compatible: bool) {
    for Case(from, to, written, read) in cases {
        let (writer, reader) = (schema(from), schema(to));
        let datum = encode(&writer, &value(written), 1_000)
            .unwrap_or_else(|fault| panic!("{from} {written}: {fault}"));
        let resolved = Reader::new(&writer, &reader);
        let found = match resolved.read(&datum) {
            Ok(value) => said(&value),
            Err(fault) => format!("!{fault}"),
        };
        assert_eq!(&found, read, "{from} read as {to}");
        assert_eq!(
            resolved.mismatches().is_empty(),
            compatible,
            "{from} read as {to}: {:?}",
            resolved.mismatches()
        );
    }
}

#[test]
fn what_a_reader_takes_of_plain_types() {
    check(
        &[
            // Promotions.
            Case(r#""int""#, r#""long""#, "7", "7"),
            Case(r#""int""#, r#""float""#, "7", "7.0"),
            Case(r#""int""#, r#""double""#, "7", "7.0"),
            Case(r#""long""#, r#""float""#, "7", "7.0"),
            Case(r#""long""#, r#""double""#, "9007199254740992", "9007199254740992.0"),
            Case(r#""float""#, r#""double""#, "0.1", "0.1"),
            Case(r#""string""#, r#""bytes""#, r#""é""#, r#""w6k=""#),
            Case(r#""bytes""#, r#""string""#, r#""w6k=""#, r#""é""#),
            // What a number stands for does not matter.
            Case(r#"{"type":"int","logicalType":"date"}"#, r#""int""#, r#""1970-01-02""#, "1"),
            Case(r#"{"type":"int","logicalType":"date"}"#, r#""long""#, r#""1970-01-02""#, "1"),
            Case(
                r#""long""#,
                r#"{"type":"long","logicalType":"timestamp-millis"}"#,
                "1",
                r#""1970-01-01T00:00:00.001Z""#,
            ),
            Case(
                r#"{"type":"string","logicalType":"uuid"}"#,
                r#""string""#,
                r#""6ba7b810-9dad-11d1-80b4-00c04fd430c8""#,
                r#""6ba7b810-9dad-11d1-80b4-00c04fd430c8""#,
            ),
            Case(
                r#"{"type":"bytes","logicalType":"decimal","precision":4,"scale":2}"#,
                r#""bytes""#,
                r#""0.01""#,
                r#""AQ==""#,
            ),
            Case(
                r#"{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}"#,
                r#"{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}"#,
                r#""0.01""#,
                r#""0.01""#,
            ),
        ],
        true,
    );
}

#[test]
fn what_a_reader_takes_of_types_with_names() {
    check(
        &[
            // Records: by name, in any order; a field that is gone is read over, one that is new has its default.
            Case(
                r#"{"type":"record","name":"a.R","fields":[{"name":"x","type":"int"},{"name":"gone","type":{"type":"array","items":"string"}},{"name":"y","type":"string"}]}"#,
                r#"{"type":"record","name":"b.R","fields":[{"name":"y","type":"string"},{"name":"x","type":"long"},{"name":"z","type":["null","int"],"default":4}]}"#,
                r#"{"x":1,"gone":["a","b"],"y":"c"}"#,
                r#"{"x":1,"y":"c","z":4}"#,
            ),
            // Aliases of fields, records, enums.
            Case(
                r#"{"type":"record","name":"Old","fields":[{"name":"a","type":"int"}]}"#,
                r#"{"type":"record","name":"New","aliases":["Old"],"fields":[{"name":"b","aliases":["a"],"type":"int"}]}"#,
                r#"{"a":1}"#,
                r#"{"b":1}"#,
            ),
            Case(
                r#"{"type":"enum","name":"E","symbols":["A","B"]}"#,
                r#"{"type":"enum","name":"F","aliases":["E"],"symbols":["B","A"]}"#,
                r#""B""#,
                r#""B""#,
            ),
            Case(
                r#"{"type":"enum","name":"E","symbols":["A","B"]}"#,
                r#"{"type":"enum","name":"E","symbols":["A"],"default":"A"}"#,
                r#""B""#,
                r#""A""#,
            ),
        ],
        true,
    );
}

#[test]
fn what_a_reader_takes_of_types_of_types() {
    check(
        &[
            // Unions, on either side.
            Case(r#""int""#, r#"["null","int"]"#, "7", "7"),
            Case(r#""int""#, r#"["float","int"]"#, "7", "7"),
            Case(r#""int""#, r#"["null","double","long"]"#, "7", "7.0"),
            Case(r#"["int"]"#, r#""long""#, "7", "7"),
            Case(r#"["null","string"]"#, r#"["string","null"]"#, r#""x""#, r#""x""#),
            Case(
                r#"[{"type":"record","name":"A","fields":[{"name":"v","type":"int"}]},{"type":"record","name":"B","fields":[{"name":"v","type":"int"},{"name":"w","type":"int"}]}]"#,
                r#"[{"type":"record","name":"B","fields":[{"name":"v","type":"int"},{"name":"k","type":"string","default":"b"}]},{"type":"record","name":"A","fields":[{"name":"v","type":"int"},{"name":"k","type":"string","default":"a"}]}]"#,
                r#"{"v":1}"#,
                r#"{"k":"a","v":1}"#,
            ),
            // Arrays and maps by their items, and a type that is inside of itself.
            Case(r#"{"type":"array","items":"int"}"#, r#"{"type":"array","items":"long"}"#, "[1,2]", "[1,2]"),
            Case(
                r#"{"type":"map","values":"int"}"#,
                r#"{"type":"map","values":"double"}"#,
                r#"{"a":1}"#,
                r#"{"a":1.0}"#,
            ),
            Case(
                r#"{"type":"record","name":"L","fields":[{"name":"v","type":"int"},{"name":"n","type":["null","L"]}]}"#,
                r#"{"type":"record","name":"L","fields":[{"name":"n","type":["null","L"]},{"name":"v","type":"long"}]}"#,
                r#"{"v":1,"n":{"v":2,"n":null}}"#,
                r#"{"n":{"n":null,"v":2},"v":1}"#,
            ),
            // Defaults of each kind.
            Case(
                r#"{"type":"record","name":"R","fields":[]}"#,
                r#"{"type":"record","name":"R","fields":[
                    {"name":"b","type":"bytes","default":"\u00ff"},
                    {"name":"d","type":{"type":"bytes","logicalType":"decimal","precision":4,"scale":2},"default":"\u0001"},
                    {"name":"e","type":{"type":"enum","name":"E","symbols":["A"]},"default":"A"},
                    {"name":"f","type":{"type":"fixed","name":"F","size":2},"default":"\u00ff\u0000"},
                    {"name":"l","type":{"type":"array","items":"int"},"default":[1]},
                    {"name":"m","type":{"type":"map","values":"int"},"default":{"k":1}},
                    {"name":"n","type":["int","null"],"default":null},
                    {"name":"r","type":{"type":"record","name":"S","fields":[{"name":"x","type":"int","default":3}]},"default":{}},
                    {"name":"t","type":{"type":"long","logicalType":"timestamp-millis"},"default":0}]}"#,
                "{}",
                r#"{"b":"/w==","d":"0.01","e":"A","f":"/wA=","l":[1],"m":{"k":1},"n":null,"r":{"x":3},"t":"1970-01-01T00:00:00Z"}"#,
            ),
        ],
        true,
    );
}

#[test]
fn what_a_reader_refuses() {
    let renamed = r#"{"type":"record","name":"N","fields":[{"name":"c","type":"long"}]}"#;
    let more =
        r#"{"type":"record","name":"M","fields":[{"name":"c","type":"long"},{"name":"d","type":"int"}]}"#;
    check(
        &[
            Case(r#""long""#, r#""int""#, "7", "!expected int, got long"),
            Case(r#""double""#, r#""float""#, "7.5", "!expected float, got double"),
            Case(r#""string""#, r#""long""#, r#""7""#, "!expected long, got string"),
            Case(
                r#""string""#,
                r#"{"type":"enum","name":"E","symbols":["A"]}"#,
                r#""A""#,
                "!expected enum E, got string",
            ),
            Case(
                r#""bytes""#,
                r#"{"type":"fixed","name":"F","size":1}"#,
                r#""AQ==""#,
                "!expected fixed F of 1 bytes, got bytes",
            ),
            Case(
                r#"{"type":"fixed","name":"F","size":1}"#,
                r#"{"type":"fixed","name":"F","size":2}"#,
                r#""AQ==""#,
                "!expected fixed F of 2 bytes, got fixed F of 1 bytes",
            ),
            Case(
                r#"{"type":"fixed","name":"F","size":1}"#,
                r#"{"type":"fixed","name":"G","size":1}"#,
                r#""AQ==""#,
                "!expected fixed G of 1 bytes, got fixed F of 1 bytes",
            ),
            Case(MONEY, renamed, r#"{"c":1}"#, "!expected record N, got record M"),
            Case(
                MONEY,
                more,
                r#"{"c":1}"#,
                "!the field d: the writer does not have it, and it has no default",
            ),
            Case(r#"{"type":"map","values":"long"}"#, MONEY, r#"{"c":1}"#, "!expected record M, got map"),
            Case(r#"{"type":"array","items":"int"}"#, r#""bytes""#, "[1]", "!expected bytes, got array"),
            Case(r#"["null","string"]"#, r#""string""#, "null", "!expected string, got null"),
            Case(r#""boolean""#, r#"["null","int"]"#, "true", "!boolean is none of null, int"),
            Case(
                r#"{"type":"enum","name":"E","symbols":["A","B"]}"#,
                r#"{"type":"enum","name":"E","symbols":["A"]}"#,
                r#""B""#,
                "!enum E has no symbol B, and no default",
            ),
            Case(
                r#"{"type":"bytes","logicalType":"decimal","precision":4,"scale":2}"#,
                r#"{"type":"bytes","logicalType":"decimal","precision":4,"scale":1}"#,
                r#""0.01""#,
                "!expected decimal(4, 1), got decimal(4, 2)",
            ),
            Case(
                r#"{"type":"bytes","logicalType":"decimal","precision":4,"scale":2}"#,
                r#"{"type":"fixed","name":"D","size":4,"logicalType":"decimal","precision":4,"scale":2}"#,
                r#""0.01""#,
                "!expected fixed D of 4 bytes, got decimal(4, 2)",
            ),
            Case(
                r#"{"type":"string","logicalType":"uuid"}"#,
                r#"{"type":"fixed","name":"U","size":16,"logicalType":"uuid"}"#,
                r#""6ba7b810-9dad-11d1-80b4-00c04fd430c8""#,
                "!expected fixed U of 16 bytes, got uuid",
            ),
        ],
        false,
    );
}

/// What only some records have makes the schemas differ, and hurts those records alone.
#[test]
fn a_record_that_resolves_is_read_although_others_do_not() {
    let writer = schema(r#"["null","string"]"#);
    let reader = Reader::new(&writer, &schema(r#""string""#));
    assert_eq!(reader.mismatches().len(), 1);
    assert_eq!(reader.mismatches()[0].path, "|0");
    let datum = encode(&writer, &value(r#""x""#), 10).unwrap();
    assert_eq!(said(&reader.read(&datum).unwrap()), r#""x""#);
}

#[test]
fn a_promotion_that_would_round_is_an_error() {
    let writer = schema(r#""long""#);
    for (to, number, fits) in [
        (r#""double""#, 9_007_199_254_740_993, false),
        (r#""double""#, i64::MIN, true),
        (r#""float""#, 16_777_217, false),
        (r#""float""#, 16_777_216, true),
    ] {
        let datum = encode(&writer, &Value::Integer(number), 16).unwrap();
        let found = Reader::new(&writer, &schema(to)).read(&datum);
        assert_eq!(found.is_ok(), fits, "{number} as {to}: {found:?}");
    }
}

/// A mismatch below a type that is met again says its place once, and a name alone is not taken for the type.
#[test]
fn the_comparison_looks_behind_names() {
    let writer = schema(
        r#"{"type":"record","name":"R","fields":[{"name":"p","type":{"type":"record","name":"S","fields":[{"name":"x","type":"int"}]}},{"name":"q","type":"S"}]}"#,
    );
    let reader = schema(
        r#"{"type":"record","name":"R","fields":[{"name":"q","type":{"type":"record","name":"S","fields":[{"name":"x","type":"string"}]}}]}"#,
    );
    let resolved = Reader::new(&writer, &reader);
    let expected = Mismatch { path: "/q/x".to_owned(), why: "expected string, got int".to_owned() };
    assert_eq!(resolved.mismatches(), [expected]);
}
