//! What is printed is parsed to the same descriptor.

use prost_reflect::prost_types::FileDescriptorProto;

use super::*;

fn proto(of: &Schema) -> FileDescriptorProto {
    let mut proto = of.file().file_descriptor_proto().clone();
    proto.source_code_info = None;
    proto
}

#[track_caller]
fn check(text: &str) -> String {
    let of = schema(text);
    let printed = of.text();
    let again = schema(&printed);
    assert_eq!(proto(&again), proto(&of), "{printed}");
    if !printed.contains("params:") {
        // A map has no order in a descriptor.
        assert_eq!(again.descriptor(), of.descriptor(), "{printed}");
    }
    assert_eq!(again.text(), printed, "and the same text again");
    let described = Schema::parse(&document("a.proto", &of.descriptor()), &[]).unwrap();
    assert_eq!(described.text(), printed, "from a descriptor too");
    printed
}

#[test]
fn what_is_printed_is_the_same_schema() {
    let printed = check(
        r#"
        // A comment, which is lost.
        syntax = "proto3";
        package shop.v1;
        import "google/protobuf/timestamp.proto";
        import public "google/protobuf/struct.proto";
        import "confluent/meta.proto";
        option java_package = "a\"b\\c\n";
        option java_multiple_files = true;
        option optimize_for = CODE_SIZE;
        message Order {
            option deprecated = true;
            option (confluent.message_meta) = { doc: "it is kept" };
            reserved 100 to 110, 200, 500 to max;
            reserved "old", "older";
            message First { string a = 1; }
            string id = 1;
            map<string, Line> lines = 2;
            message Line { int64 cents = 1 [json_name = "Cents", deprecated = true]; enum Kind { A = 0; B = 1; } Kind kind = 2; }
            optional int32 count = 3;
            repeated sint64 tight = 4;
            repeated sint64 loose = 5 [packed = false];
            oneof how { string card = 6; .shop.v1.Order.Line cash = 7; google.protobuf.Timestamp at = 8; }
            map<int32, google.protobuf.Value> free = 9;
            message Last {}
            Level level = 10;
            uint64 big = 11 [jstype = JS_STRING];
            oneof other { bool flag = 12; }
        }
        enum Level { option allow_alias = true; NONE = 0; LOW = 1 [deprecated = true]; SAME = 1; MINUS = -5; reserved 7, 8 to 9, 100 to max; reserved "GONE"; }
        message message { int32 message = 1; }
        service Orders { option deprecated = true; rpc Get(Order) returns (stream Order); rpc Put(stream Order) returns (Order) { option idempotency_level = IDEMPOTENT; } }
        "#,
    );
    for line in [
        "syntax = \"proto3\";",
        "import public \"google/protobuf/struct.proto\";",
        "option java_package = \"a\\\"b\\\\c\\n\";",
        "  map<string, .shop.v1.Order.Line> lines = 2;",
        "    int64 cents = 1 [deprecated = true, json_name = \"Cents\"];",
        "  optional int32 count = 3;",
        "  oneof how {",
        "  reserved 500 to max;",
        "  reserved \"old\", \"older\";",
        "  LOW = 1 [deprecated = true];",
        "  rpc Get (.shop.v1.Order) returns (stream .shop.v1.Order);",
    ] {
        assert!(printed.lines().any(|printed| printed == line), "{line} is not in\n{printed}");
    }
}

#[test]
fn options_of_extensions_are_printed() {
    let printed = check(
        r#"syntax = "proto3"; import "confluent/meta.proto"; message A {
           option (confluent.message_meta) = { params: { key: "b" value: "2" } params: { key: "a", value: "1" } }; }"#,
    );
    let part = r#"  option (confluent.message_meta) = { params: { key: "a" value: "1" } params: { key: "b" value: "2" } };"#;
    assert!(printed.lines().any(|line| line == part), "{part} is not in\n{printed}");
    let printed = check(
        r#"
        syntax = "proto3";
        package p;
        import "confluent/meta.proto";
        import "google/protobuf/descriptor.proto";
        option (confluent.file_meta) = { doc: "a {\"b\"}" };
        extend google.protobuf.FieldOptions {
            repeated int32 sizes = 50000; Kind kind = 50001; float ratio = 50002; bytes raw = 50003; All all = 50004; bool is = 50005;
        }
        enum Kind { option (confluent.enum_meta) = { tags: "x" }; NONE = 0; SOME = 1 [deprecated = true, (confluent.enum_value_meta).doc = "y"]; }
        message All { double d = 1; repeated int64 l = 2; All all = 3; map<int32, Kind> m = 4; oneof o { bool b = 5; Kind k = 6; } }
        message A {
            option (confluent.message_meta) = { doc: "m" };
            string a = 1 [(confluent.field_meta) = { tags: ["PII", "SECRET"], doc: "d" }];
            string b = 2 [(sizes) = 1, (sizes) = -2, (kind) = SOME, (ratio) = 1.5, (raw) = "\000\377", (is) = true];
            string c = 3 [(all) = { d: -1.5, l: [1, 2], all { all {} }, m: { key: 1 value: SOME }, k: SOME }];
            message Inner { string d = 1 [(p.kind) = SOME]; }
        }
        "#,
    );
    for part in [
        r#"option (confluent.file_meta) = { doc: "a {\"b\"}" };"#,
        r#"  option (confluent.message_meta) = { doc: "m" };"#,
        r#"  string a = 1 [(confluent.field_meta) = { doc: "d" tags: "PII" tags: "SECRET" }];"#,
        r#"  SOME = 1 [deprecated = true, (confluent.enum_value_meta) = { doc: "y" }];"#,
    ] {
        assert!(printed.lines().any(|line| line == part), "{part} is not in\n{printed}");
    }
}

#[test]
fn proto2_is_printed_too() {
    let printed = check(
        r#"
        package old;
        import "google/protobuf/descriptor.proto";
        message A {
            required string id = 1 [default = "a \"b\"\n\tü"];
            optional bytes raw = 2 [default = "\000\377\\x"];
            optional double ratio = 3 [default = -inf];
            optional float part = 4 [default = 1.5];
            optional E e = 5 [default = TWO];
            optional bool flag = 6 [default = true];
            repeated group Line = 7 { required int32 n = 1; repeated group Deep = 2 { optional A a = 1; } }
            oneof one { group Tail = 8 { optional int32 n = 1; } int32 other = 9; }
            repeated int32 tight = 10 [packed = true];
            optional int64 low = 11 [default = -9223372036854775808];
            message Between {}
            extensions 100 to 199, 1000 to max;
            extend A { optional string more = 100; }
        }
        enum E { ONE = 1; TWO = 2; }
        extend google.protobuf.FieldOptions { optional string note = 50000; repeated E es = 50001; }
        extend A { repeated group Far = 101 { optional int32 n = 1; } }
        "#,
    );
    assert!(printed.starts_with("syntax = \"proto2\";\n\npackage old;\n"), "{printed}");
    assert!(printed.contains("  repeated group Line = 7 {\n    required int32 n = 1;\n"), "{printed}");
    check("");
    check("syntax = \"proto3\";");
}

#[test]
fn what_everybody_has_is_printed_as_well() {
    for name in ["descriptor", "struct", "type", "api", "compiler/plugin"] {
        let import = format!("google/protobuf/{name}.proto");
        let importing = schema(&format!("import \"{import}\";"));
        let file = importing.file().parent_pool().get_file_by_name(&import).unwrap();
        let encoded = data_encoding::BASE64.encode(&file.file_descriptor_proto().encode_to_vec());
        let of = Schema::parse(&document("other.proto", &encoded), &[]);
        // The same names are there twice where it is among its own imports: those are what everybody has.
        let Ok(of) = of else { panic!("{name}: {of:?}") };
        let again = Schema::parse(&document("other.proto", &of.text()), &[]).unwrap();
        assert_eq!(proto(&again), proto(&of), "{}", of.text());
    }
}
