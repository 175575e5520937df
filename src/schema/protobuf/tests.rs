//! Round trips and equality with `prost-reflect` by property, faults with their places, messages with forms of their own,
//! hostile bytes and schemas (B-04), comparison and printing.

mod arbitrary;
mod comparing;
mod hostile;
mod printing;

use bytes::Bytes;
use proptest::prelude::*;
use prost_reflect::prost::Message as _;
use prost_reflect::{DynamicMessage, SerializeOptions};
use vrl::value::Value;

use super::*;
use crate::event::json;
use crate::schema::json::Document;
use crate::schema::shape::{Use, tests::holds};

fn document(path: &str, text: &str) -> Document {
    Document { path: path.to_owned(), text: text.to_owned() }
}

fn schema(text: &str) -> Schema {
    Schema::parse(&document("a.proto", text), &[]).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn message(text: &str) -> Message {
    schema(text).message(None).unwrap()
}

/// A value as JSON text.
fn said(value: &Value) -> String {
    String::from_utf8(json::to_bytes(value, 1 << 20).unwrap().to_vec()).unwrap()
}

fn value(text: &str) -> Value {
    json::parse(text.as_bytes()).unwrap()
}

fn member<'a>(of: &'a Value, key: &str) -> Option<&'a Value> {
    of.as_object()?.get(key)
}

/// The bytes of a value, and what is read of them.
fn there_and_back(of: &Message, text: &str) -> String {
    let bytes = of.write(&value(text), 1 << 20).unwrap_or_else(|fault| panic!("{fault}: {text}"));
    said(&of.read(&bytes).unwrap())
}

/// Their message of the same bytes.
fn theirs(of: &Message, bytes: &[u8]) -> Option<DynamicMessage> {
    let described = of.schema().file().parent_pool().get_message_by_name(of.name()).unwrap();
    DynamicMessage::decode(described, bytes).ok()
}

/// Their JSON of a message, with the names of the text and numbers as numbers.
fn their_json(message: &DynamicMessage) -> serde_json::Value {
    let mut out = serde_json::Serializer::new(Vec::new());
    let options = SerializeOptions::new().stringify_64_bit_integers(false).use_proto_field_name(true);
    message.serialize_with_options(&mut out, &options.skip_default_fields(false)).unwrap();
    plain(serde_json::from_slice(&out.into_inner()).unwrap())
}

/// With whole numbers as integers, which a `Value` has as floats there.
fn plain(json: serde_json::Value) -> serde_json::Value {
    match json {
        serde_json::Value::Number(number) => {
            let whole = number.as_f64().and_then(crate::schema::number::whole);
            match whole.filter(|whole| whole.unsigned_abs() <= 1 << 53) {
                Some(whole) if !number.is_i64() => whole.into(),
                _ => number.into(),
            }
        }
        serde_json::Value::Array(list) => list.into_iter().map(plain).collect(),
        serde_json::Value::Object(map) => map.into_iter().map(|(key, value)| (key, plain(value))).collect(),
        other => other,
    }
}

fn our_json(value: &Value) -> serde_json::Value {
    plain(serde_json::from_str(&said(value)).unwrap())
}

fn floats(of: &serde_json::Value) -> Vec<Option<f32>> {
    let float = |number: &serde_json::Value| number.to_string().parse().ok();
    of.as_array().map_or_else(|| vec![float(of)], |list| list.iter().map(float).collect())
}

/// Where two texts differ first.
fn difference(ours: &serde_json::Value, theirs: &serde_json::Value, path: &str) -> Option<String> {
    match (ours, theirs) {
        (serde_json::Value::Object(one), serde_json::Value::Object(other)) => {
            let keys = one.keys().chain(other.keys());
            let null = serde_json::Value::Null;
            let mut inner = keys.map(|key| {
                difference(
                    one.get(key).unwrap_or(&null),
                    other.get(key).unwrap_or(&null),
                    &format!("{path}/{key}"),
                )
            });
            inner.find_map(|found| found)
        }
        // Of two texts of a float that are as short and as near they take the other one.
        _ if path.contains("float") && floats(ours) == floats(theirs) => None,
        _ if ours == theirs => None,
        _ => Some(format!("{path}: {ours} is not {theirs}")),
    }
}

proptest! {
    /// No path that a value has is one that its schema lacks, and what was read can be written.
    #[test]
    fn each_value_has_the_shape_of_its_schema(value in arbitrary::value()) {
        let of = arbitrary::message();
        let read = of.read(&of.write(&value, 1 << 20).unwrap()).unwrap();
        prop_assert_eq!(holds(&of.shape(Use::Read), &read), Ok(()), "{}", read);
        prop_assert_eq!(of.shape(Use::Read).misfit(&of.shape(Use::Write)), None);
    }

    /// A round trip of every type, and the same as `prost-reflect` makes of it.
    #[test]
    fn each_value_comes_back_and_theirs_is_the_same(value in arbitrary::value()) {
        let of = arbitrary::message();
        let bytes = of.write(&value, 1 << 20).map_err(|fault| TestCaseError::fail(format!("{fault}: {value}")))?;
        let back = of.read(&bytes).map_err(|fault| TestCaseError::fail(format!("{fault}: {value}")))?;
        prop_assert_eq!(&back, &value);
        let theirs = theirs(&of, &bytes).expect("theirs reads it");
        prop_assert_eq!(difference(&our_json(&value), &their_json(&theirs), ""), None);
        // Through JSON, as a webhook has it, and back.
        let through = json::parse(&json::to_bytes(&value, 1 << 20).unwrap()).unwrap();
        prop_assert_eq!(of.read(&of.write(&through, 1 << 20).unwrap()).unwrap(), value);
        // Written twice, it is one message, whose lists are twice as long.
        let twice = Bytes::from([&bytes[..], &bytes[..]].concat());
        if let Some(theirs) = self::theirs(&of, &twice) {
            prop_assert_eq!(difference(&our_json(&of.read(&twice).unwrap()), &their_json(&theirs), ""), None);
        }
    }
}

const ORDER: &str = r#"syntax = "proto3"; package shop;
    message Order {
        string id = 1; Money total = 2; repeated int32 items = 3; optional string note = 4; Level level = 5;
        oneof how { string card = 6; Money cash = 7; }
        map<int32, Money> by_day = 8; uint64 big = 9; bytes raw = 10; float weight = 11; repeated Money parts = 12;
        message Line { string sku = 1; map<string, int32> stock = 2; message Inner {} }
    }
    message Money { sint64 cents = 1; }
    enum Level { LOW = 0; HIGH = 1; }"#;

#[test]
fn what_does_not_fit_is_said_with_its_place() {
    let order = message(ORDER);
    for (text, fault) in [
        (r#"{"total":{"cents":"many"}}"#, "/total/cents: expected sint64, got string"),
        (r#"{"total":{"cents":1.5}}"#, "/total/cents: expected sint64, got float, a fraction or too large"),
        (r#"{"id":7}"#, "/id: expected string, got integer"),
        (r#"{"items":[1,2147483648]}"#, "/items/1: the number is out of the range of int32"),
        (r#"{"items":[1,null]}"#, "/items/1: expected int32, got null"),
        (r#"{"items":1}"#, "/items: expected a list of int32, got integer"),
        (r#"{"parts":[{},{"cents":true}]}"#, "/parts/1/cents: expected sint64, got boolean"),
        (r#"{"nota":"x"}"#, "/nota: message shop.Order has no such field"),
        (r#"{"total":{"euro":1}}"#, "/total/euro: message shop.Money has no such field"),
        (r#"{"level":"MAD"}"#, "/level: enum shop.Level has no such name"),
        (r#"{"card":"a","cash":{}}"#, "/cash: of its oneof `card` is there too"),
        (r#"{"by_day":{"1":{},"x":{}}}"#, "/by_day/x: expected a key that is int32"),
        (r#"{"by_day":{"1":{"cents":[]}}}"#, "/by_day/1/cents: expected sint64, got array"),
        (r#"{"by_day":{},"byDay":{}}"#, "/by_day: it is there by both of its names"),
        (r#"{"big":-1}"#, "/big: the number is out of the range of uint64"),
        (r#"{"raw":"?"}"#, "/raw: expected bytes as text in base64"),
        (r#"{"weight":16777217}"#, "/weight: a float would round the number"),
        (r#"[1]"#, "expected message shop.Order, got array"),
    ] {
        assert_eq!(order.write(&value(text), 1 << 20).unwrap_err().to_string(), fault, "{text}");
    }
    assert!(order.write(&value(r#"{"id":"abcdefgh"}"#), 9).is_err(), "bounded");
    assert!(order.write(&value(r#"{"id":"abcdefgh"}"#), 10).is_ok());
    let found = order.read(b"\x12\x02\x08\x80").unwrap_err().to_string();
    assert_eq!(found, "/total/cents: the bytes end too early");
    assert_eq!(
        order.read(b"\x62\x00\x62\x02\x0d\x00").unwrap_err().to_string(),
        "/parts/1/cents: expected sint64, its bytes are of another type"
    );
}

#[test]
fn fields_have_defaults_or_are_left_out() {
    let order = message(ORDER);
    let empty = r#"{"big":0,"by_day":{},"id":"","items":[],"level":"LOW","parts":[],"raw":"","weight":0.0}"#;
    assert_eq!(said(&order.read(b"").unwrap()), empty);
    assert_eq!(order.write(&value(empty), 100).unwrap(), "", "defaults are no bytes");
    let set = r#"{"note":"","total":{},"card":"","level":7,"byDay":{"-3":{"cents":"-9007199254740993"}},"id":null}"#;
    let read = r#"{"big":0,"by_day":{"-3":{"cents":-9007199254740993}},"card":"","id":"","items":[],"level":7,"note":"","parts":[],"raw":"","total":{"cents":0},"weight":0.0}"#;
    assert_eq!(there_and_back(&order, set), read);
    // Two members of a oneof: the last one counts. A message in pieces is one.
    let cash = order.write(&value(r#"{"cash":{"cents":5}}"#), 100).unwrap();
    let card = order.write(&value(r#"{"card":"c"}"#), 100).unwrap();
    let both = order.read(&[&cash[..], &card[..]].concat()).unwrap();
    assert!(member(&both, "card").is_some() && member(&both, "cash").is_none(), "{both}");
    // Lists of numbers come packed or not, whatever the schema says.
    let items = |bytes: &[u8]| member(&order.read(bytes).unwrap(), "items").unwrap().to_string();
    assert_eq!(items(b"\x18\x01\x1a\x02\x02\x03\x18\x04"), "[1, 2, 3, 4]");
    // A number above what an integer holds can be written, of text, and is not read.
    let big = order.write(&value(r#"{"big":"18446744073709551615"}"#), 100).unwrap();
    let fault = order.read(&big).unwrap_err().to_string();
    assert_eq!(fault, "/big: it is above 9223372036854775807, and would be another number");
    let read = order.read_with(&big, crate::event::json::Wide::Text).unwrap();
    assert_eq!(member(&read, "big").unwrap().to_string(), "\"18446744073709551615\"");
    let unknown =
        [&b"\xf8\x07\x05\xfa\x07\x01x"[..], &order.write(&value(r#"{"id":"a"}"#), 100).unwrap()].concat();
    let known = order.read(&unknown).unwrap();
    assert_eq!(member(&known, "id"), Some(&Value::from("a")), "what the schema does not have is read over");
}

fn forms() -> Message {
    message(
        r#"syntax = "proto3"; package p; import "google/protobuf/timestamp.proto"; import "google/protobuf/duration.proto";
        import "google/protobuf/struct.proto"; import "google/protobuf/wrappers.proto"; import "google/protobuf/any.proto";
        import "google/protobuf/empty.proto"; import "confluent/type/decimal.proto"; import "confluent/meta.proto";
        message A {
            google.protobuf.Timestamp at = 1; google.protobuf.Duration took = 2; google.protobuf.Struct extra = 3;
            google.protobuf.Value any = 4; google.protobuf.ListValue list = 5; google.protobuf.Int64Value n = 6;
            google.protobuf.Any more = 7; google.protobuf.Empty empty = 8; google.protobuf.NullValue nil = 9;
            repeated google.protobuf.StringValue names = 10; confluent.type.Decimal price = 11;
            string marked = 12 [(confluent.field_meta) = { doc: "a { brace", tags: ["PII"] }];
        }"#,
    )
}

#[test]
fn messages_with_a_form_of_their_own_have_it() {
    let of = forms();
    let forms = |text: &str| {
        let read = there_and_back(&of, text);
        read.replace(r#""marked":"","#, "")
            .replace(r#""names":[],"#, "")
            .replace(r#""nil":null"#, "")
            .replace(",}", "}")
            .replace("{,", "{")
    };
    for text in [
        r#"{"at":"2026-11-21T09:41:02.118207003Z"}"#,
        r#"{"at":"0001-01-01T00:00:00Z"}"#,
        r#"{"took":"-1.500s"}"#,
        r#"{"took":"315576000000s"}"#,
        r#"{"extra":{"a":[1,1.5,null,{"b":"c"}],"d":true}}"#,
        r#"{"any":null}"#,
        r#"{"any":"text"}"#,
        r#"{"any":[9007199254740992,-3]}"#,
        r#"{"list":[1,[]]}"#,
        r#"{"n":9007199254740993}"#,
        r#"{"n":0}"#,
        r#"{"more":{}}"#,
        r#"{"more":{"@type":"type.googleapis.com/google.protobuf.Duration","value":"1s"}}"#,
        r#"{"empty":{}}"#,
        r#"{"price":{"precision":5,"scale":2,"value":"AQ=="}}"#,
    ] {
        assert_eq!(forms(text), text);
    }
    let more = r#"{"more":{"@type":"a/p.A","n":7}}"#;
    assert_eq!(forms(more), r#"{"more":{"@type":"a/p.A","n":7,}}"#.replace(",}", "}"));
    assert!(there_and_back(&of, r#"{"names":["a",""]}"#).contains(r#""names":["a",""]"#));
}

#[test]
fn what_is_no_such_form_is_said_with_its_place() {
    let of = forms();
    for (text, fault) in [
        (r#"{"at":"yesterday"}"#, "/at: expected a time such as 2026-11-21T09:41:02.118Z"),
        (r#"{"at":"-000001-01-01T00:00:00Z"}"#, "/at: a Timestamp is within the years 1 to 9999"),
        (r#"{"took":"1.5"}"#, "/took: expected a duration such as 1.500s"),
        (r#"{"took":"315576000001s"}"#, "/took: expected a duration such as 1.500s"),
        (r#"{"extra":[1]}"#, "/extra: expected an object, got array"),
        (r#"{"any":{"a":9007199254740993}}"#, "/any/a: a double would round the number"),
        (r#"{"n":"x"}"#, "/n: expected int64, got string"),
        (r#"{"more":{"a":1}}"#, "/more: expected @type, which says the type of an Any"),
        (r#"{"more":{"@type":"a/b.C"}}"#, "/more: the schema does not have the type `b.C` of an Any"),
        (r#"{"more":{"@type":"a/p.A","x":1}}"#, "/more/x: message p.A has no such field"),
        (r#"{"names":[null]}"#, "/names/0: expected a value, got null"),
    ] {
        assert_eq!(of.write(&value(text), 1 << 20).unwrap_err().to_string(), fault, "{text}");
    }
    for (bytes, fault) in [
        (&b"\x0a\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\x7f\x10"[..], "the bytes end too early"),
        (
            b"\x0a\x0a\x08\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
            "/at: a Timestamp is within the years 1 to 9999",
        ),
        (b"\x0a\x06\x10\x80\x94\xeb\xdc\x03", "/at: a Timestamp is within the years 1 to 9999"),
        (
            b"\x12\x0d\x08\x01\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            "the seconds and nanoseconds of a Duration",
        ),
        (b"\x3a\x05\x0a\x03a/b", "/more: the schema does not have the type `b` of an Any"),
        (b"\x3a\x05\x0a\x03a/\x0a", "/more: the schema does not have the type of an Any"),
    ] {
        let found = of.read(bytes).unwrap_err().to_string();
        assert!(found.contains(fault), "{bytes:?}: {found}");
    }
}

#[test]
fn proto2_has_required_fields_and_groups() {
    let of = message(
        r#"message A { required int64 id = 1; optional int32 n = 2 [default = 5]; repeated group Line = 3 { required string sku = 1; }
           optional group Tail = 4 { optional A deep = 1; } repeated int32 plain = 5; repeated int32 tight = 6 [packed = true];
           optional E e = 7; enum E { B = 3; C = 4; D = 4; option allow_alias = true; } extensions 100 to max; }"#,
    );
    let text = r#"{"id":1,"line":[{"sku":"a"},{"sku":"b"}],"plain":[1,2],"tail":{"deep":{"id":2,"line":[],"plain":[],"tight":[]}},"tight":[3]}"#;
    assert_eq!(there_and_back(&of, text), text);
    let bytes = of.write(&value(text), 1_000).unwrap();
    let theirs = theirs(&of, &bytes).unwrap();
    assert_eq!(theirs.encode_to_vec(), bytes, "byte for byte");
    assert_eq!(of.read(b"").unwrap_err().to_string(), "/id: expected int64, it is missing");
    let fault = of.write(&value(r#"{"id":1,"line":[{}]}"#), 100).unwrap_err();
    assert_eq!(fault.to_string(), "/line/0/sku: expected string, it is missing");
    let read = |json: &str| there_and_back(&of, json);
    assert!(read(r#"{"id":1,"e":"D"}"#).contains(r#""e":"C""#), "the first name of a number");
}

#[test]
fn a_message_is_found_by_name_and_by_places() {
    let of = schema(ORDER);
    assert_eq!(of.message(None).unwrap().name(), "shop.Order");
    for name in ["shop.Money", "Money", ".shop.Money"] {
        assert_eq!(of.message(Some(name)).unwrap().name(), "shop.Money");
    }
    let error = of.message(Some("Euro")).unwrap_err();
    assert_eq!(error, "it has no message `Euro`; it has shop.Order, shop.Money");
    assert!(of.message(Some("Order.ByDayEntry")).is_err());
    assert_eq!(schema("").message(None).unwrap_err(), "it has no message");
    // Where it came as a text entries of maps are not counted, where as a descriptor they are.
    let described = Schema::parse(&document("a.proto", &of.descriptor()), &[]).unwrap();
    for (schema, name, places) in [
        (&of, "Order", vec![0]),
        (&of, "Money", vec![1]),
        (&of, "Order.Line", vec![0, 0]),
        (&of, "Order.Line.Inner", vec![0, 0, 0]),
        (&described, "Order.Line", vec![0, 1]),
        (&described, "Order.Line.Inner", vec![0, 1, 1]),
    ] {
        let found = schema.message(Some(name)).unwrap();
        assert_eq!(found.indexes(), Some(places.clone()), "{name}");
        assert_eq!(schema.at(&places).unwrap().name(), found.name());
    }
    for places in [&[][..], &[2], &[0, 1], &[usize::MAX], &[0, 0, 0, 0]] {
        assert!(of.at(places).is_err(), "{places:?}");
    }
    assert!(described.at(&[0, 0]).unwrap_err().contains("the entry of a map"));
    let importing = r#"syntax = "proto3"; import "google/protobuf/timestamp.proto"; message A { google.protobuf.Timestamp at = 1; }"#;
    let imported = schema(importing).message(Some("google.protobuf.Timestamp")).unwrap();
    assert_eq!(imported.indexes(), None);
}

#[test]
fn indexes_on_the_wire() {
    for (places, bytes) in [
        (vec![0], &b"\x00"[..]),
        (vec![1], b"\x02\x02"),
        (vec![0, 0, 0], b"\x06\x00\x00\x00"),
        (vec![2, 1], b"\x04\x04\x02"),
        (vec![300], b"\x02\xd8\x04"),
    ] {
        assert_eq!(write_indexes(&places), bytes);
        let behind = [bytes, b"x"].concat();
        assert_eq!(read_indexes(&behind).unwrap(), (places, &b"x"[..]));
    }
    assert_eq!(read_indexes(b"\x02\x00y").unwrap(), (vec![0], &b"y"[..]), "written out");
    let deep = [&[34_u8][..], &[0; 40]].concat();
    for wrong in [
        &b""[..],
        b"\x80",
        b"\x01",
        b"\x02",
        b"\x02\x01",
        b"\x04\x00",
        &[0xff; 11],
        &deep,
        b"\xfe\xff\xff\xff\x0f\x00",
    ] {
        assert!(read_indexes(wrong).is_err(), "{wrong:?}");
    }
    let fits = [&[32_u8][..], &[0; 16]].concat();
    assert_eq!(read_indexes(&fits).unwrap().0.len(), 16);
}

#[test]
fn schemas_are_read_with_what_they_import() {
    let money = document(
        "shop/money.proto",
        r#"syntax = "proto3"; package shop; message Money { int64 cents = 1; }"#,
    );
    let main = document(
        "./shop/order.proto",
        r#"syntax = "proto3"; package shop; import "shop/money.proto"; import "google/protobuf/any.proto"; message Order { Money total = 1; }"#,
    );
    assert_eq!(imports(&main).unwrap(), ["shop/money.proto"]);
    let of = Schema::parse(&main, std::slice::from_ref(&money)).unwrap();
    assert_eq!(
        there_and_back(&of.message(None).unwrap(), r#"{"total":{"cents":5}}"#),
        r#"{"total":{"cents":5}}"#
    );
    // The same as Python's clients register it.
    let as_descriptor = |path: &str, of: &Schema| document(path, &of.descriptor());
    let imported = Schema::parse(&money, &[]).unwrap();
    let descriptors = (as_descriptor("order", &of), as_descriptor("shop/money.proto", &imported));
    let again = Schema::parse(&descriptors.0, &[descriptors.1]).unwrap();
    assert_eq!(again.name(), "order");
    assert_eq!(again.message(None).unwrap().name(), "shop.Order");
    assert_eq!(imports(&descriptors.0).unwrap(), ["shop/money.proto"]);
    for (text, why) in [
        ("message A { int32 a = 1 }", "a.proto:1:25: expected ';' or '[', but found '}'"),
        (r#"syntax = "proto3"; message A { B b = 1; }"#, "a.proto:1:32: name 'B' is not defined"),
        ("import \"b.proto\";", "import 'b.proto' not found"),
        ("import \"a.proto\";", "import cycle detected: a.proto -> a.proto"),
        ("edition = \"2023\";", "a.proto: editions are not known here"),
        ("import \"../b.proto\";", "a.proto: the import `../b.proto` is no path from the folder"),
        ("message A { repeated group b = 1 {} }", "a.proto:1:28: invalid group name"),
        ("message A {}\n}", "a.proto: line 2: this `}` closes nothing"),
        ("AAAA", "it is no descriptor"),
    ] {
        let error = Schema::parse(&document("a.proto", text), &[]).unwrap_err();
        assert!(error.contains(why), "{text}: {error}");
    }
}
