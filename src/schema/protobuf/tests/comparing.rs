//! One case for each rule of comparison.

use super::*;

/// What is told of a change of messages in a file of proto3.
#[track_caller]
fn check(old: &str, new: &str, expected: &[&str]) {
    let read = |text: &str| schema(&format!("syntax = \"proto3\"; package p; {text}"));
    told(&read(old), &read(new), expected);
}

#[track_caller]
fn told(old: &Schema, new: &Schema, expected: &[&str]) {
    let found = mismatches(new, old);
    let found: Vec<String> = found.iter().map(|one| format!("{}: {}", one.path, one.why)).collect();
    assert_eq!(found, expected);
    assert_eq!(mismatches(old, old), [], "the same is compatible");
}

#[test]
fn messages_and_packages() {
    check("message A {}", "message A {} message B {}", &[]);
    check("message A {} message B {}", "message B {} message A {}", &[]);
    check("message A {} message B {}", "message A {}", &["/B: the message is gone"]);
    check("message A { message B {} }", "message A {}", &["/A.B: the message is gone"]);
    check("message A { map<string, string> m = 1; }", "message A {}", &[]);
    let (old, new) = (schema("package a;"), schema("package b;"));
    told(&old, &new, &[": the package changed from `a` to `b`"]);
}

#[test]
fn enums_come_go_and_change() {
    check("enum E { A = 0; B = 1; }", "", &[]);
    check("", "enum E { A = 0; B = 1; }", &[]);
    check("enum E { A = 0; B = 1; }", "enum E { X = 0; C = 2; }", &[]);
}

#[test]
fn fields_come_go_and_change_their_names() {
    check("message A { int32 a = 1; }", "message A { int32 a = 1; string b = 2; }", &[]);
    check("message A { int32 a = 1; string b = 2; }", "message A { int32 a = 1; }", &[]);
    check("message A { int32 a = 1; }", "message A { int32 b = 1; }", &[]);
}

#[test]
fn types_change_within_their_kin_alone() {
    let field = |of: &str| {
        format!("message A {{ {of} a = 1; }} message B {{}} message C {{}} enum E {{ ZERO = 0; }}")
    };
    let kin: [&[&str]; 8] = [
        &["int32", "int64", "uint32", "uint64", "bool", "E"],
        &["sint32", "sint64"],
        &["string", "bytes"],
        &["fixed32", "sfixed32"],
        &["fixed64", "sfixed64"],
        &["float"],
        &["double"],
        &["B"],
    ];
    let word = |of: &str| match of {
        "E" => "enum p.E".to_owned(),
        "B" => "message p.B".to_owned(),
        other => other.to_owned(),
    };
    for (at, old) in kin.iter().enumerate() {
        for (other, new) in kin.iter().enumerate() {
            let (old, new) = (old[0], new[new.len() - 1]);
            let told = format!("/A/a: the type changed from {} to {}", word(old), word(new));
            let expected: &[&str] = if at == other { &[] } else { &[&told] };
            check(&field(old), &field(new), expected);
        }
    }
    check(&field("B"), &field("C"), &["/A/a: the type changed from message p.B to message p.C"]);
}

#[test]
fn maps_are_compared_by_key_and_value() {
    let map = |of: &str| format!("message A {{ {of} m = 1; }}");
    check(&map("map<string, int32>"), &map("map<string, int64>"), &[]);
    check(
        &map("map<string, int32>"),
        &map("map<int32, int32>"),
        &["/A/m/key: the type changed from string to int32"],
    );
    check(
        &map("map<string, int32>"),
        &map("map<string, string>"),
        &["/A/m/value: the type changed from int32 to string"],
    );
    check(
        &map("map<string, int32>"),
        &map("repeated string"),
        &["/A/m: the type changed from map<string, int32> to string"],
    );
}

#[test]
fn lists_of_texts_and_messages_may_become_single() {
    let field = |of: &str| format!("message A {{ {of} a = 1; }} message B {{}}");
    for of in ["string", "bytes", "B"] {
        check(&field(of), &field(&format!("repeated {of}")), &[]);
        check(&field(&format!("repeated {of}")), &field(of), &[]);
    }
    check(&field("int32"), &field("repeated int32"), &["/A/a: a field of numbers became a list"]);
    check(&field("repeated int32"), &field("int32"), &["/A/a: a field of numbers became no list"]);
}

#[test]
fn required_fields_neither_come_nor_go() {
    let (with, without) = (schema("message A { required int32 a = 1; }"), schema("message A {}"));
    told(&without, &with, &["/A/a: a required field came"]);
    told(&with, &without, &["/A/a: a required field is gone"]);
}

#[test]
fn oneofs_come_go_and_take_members() {
    let both = "message A { oneof o { int32 a = 1; int32 b = 2; } }";
    check("message A {}", both, &[]);
    check(both, "message A {}", &[]);
    check(both, "message A { oneof o { int32 a = 1; int32 b = 2; int32 c = 3; } }", &[]);
    check(both, "message A { oneof o { int32 a = 1; } }", &["/A/b: a member of a oneof is gone"]);
    check(both, "message A { oneof o { int32 a = 1; } int32 b = 2; }", &[]);
    check(
        both,
        "message A { oneof n { int32 a = 1; string b = 2; } }",
        &["/A/b: the type changed from int32 to string"],
    );
    let alone = "message A { int32 a = 1; int32 b = 2; }";
    check(alone, "message A { oneof o { int32 a = 1; int32 c = 3; } int32 b = 2; }", &[]);
    check(alone, both, &["/A/o: several fields became members of one oneof"]);
    check(
        "message A { int32 a = 1; oneof o { int32 b = 2; } }",
        both,
        &["/A/o: a field became a member of a oneof that there was"],
    );
    check("message A { optional int32 a = 1; optional int32 b = 2; }", alone, &[]);
    check(alone, "message A { optional int32 a = 1; optional int32 b = 2; }", &[]);
}

#[test]
fn imports_are_compared_where_they_are_used() {
    let main = document(
        "a.proto",
        r#"syntax = "proto3"; package p; import "m.proto"; message A { q.M m = 1; A again = 2; }"#,
    );
    let import = |field: &str| {
        document("m.proto", &format!("syntax = \"proto3\"; package q; message M {{ {field} M more = 2; }}"))
    };
    let old = Schema::parse(&main, &[import("int32 n = 1;")]).unwrap();
    let same = Schema::parse(&main, &[import("int64 n = 1;")]).unwrap();
    let other = Schema::parse(&main, &[import("string n = 1;")]).unwrap();
    told(&old, &same, &[]);
    told(&old, &other, &["/M/n: the type changed from int32 to string"]);
}
