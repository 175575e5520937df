//! Bytes and schemas that nobody wrote in good faith: errors in bounded time and memory, without a panic (B-04).

use super::*;

fn fault(of: &Message, bytes: &[u8]) -> String {
    of.read(bytes).expect_err(of.name()).to_string()
}

const ALL: &str = r#"syntax = "proto3"; message A { int32 n = 1; string t = 2; A a = 3; repeated A list = 4; repeated fixed64 p = 5;
    repeated int32 v = 6; map<string, A> m = 7; bytes b = 8; double d = 9; bool flag = 10; google.protobuf.Any any = 11;
    sint32 s = 12; uint32 u = 13; E e = 14; google.protobuf.Value json = 15; }
    enum E { ZERO = 0; } import "google/protobuf/any.proto"; import "google/protobuf/struct.proto";"#;

#[test]
fn b_04_hostile_protobuf_is_an_error_with_its_reason() {
    let of = message(ALL);
    let long = [&[0x08][..], &[0xff; 10], &[0x01]].concat();
    let over = [&[0x08][..], &[0xff; 9], &[0x02]].concat();
    let cut = [&[0x08][..], &[0xff; 9]].concat();
    let wide = [&[0x08][..], &[0xff, 0xff, 0xff, 0xff, 0x0f]].concat();
    let lying = [&[0x2a][..], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], b"abc"].concat();
    for (bytes, expected) in [
        (&b"\x08"[..], "/n: the bytes end too early"),
        (&long, "/n: a number has more than 64 bits"),
        (&over, "/n: a number has more than 64 bits"),
        (&cut, "/n: the bytes end too early"),
        (&wide, "/n: it has more than the 32 bits of int32"),
        (b"\x60\xff\xff\xff\xff\x1f", "/s: it has more than the 32 bits of sint32"),
        (b"\x68\xff\xff\xff\xff\x1f", "/u: it has more than the 32 bits of uint32"),
        (b"\x70\x80\x80\x80\x80\x08", "/e: it has more than the 32 bits of enum E"),
        (b"\x00\x00", "the number of a field is out of range"),
        (b"\x02\x00", "the number of a field is out of range"),
        (&[0xf8, 0xff, 0xff, 0xff, 0x7f, 0], "the number of a field is out of range"),
        (&[0xff; 11], "a number has more than 64 bits"),
        (b"\x0e\x00", "there is no such type of bytes"),
        (b"\x0f\x00", "there is no such type of bytes"),
        (b"\x0c", "/n: expected int32, its bytes are of another type"),
        (b"\x1b\x1c", "/a: expected message A, its bytes are of another type"),
        (b"\xf3\x07", "a group does not end"),
        (b"\xf4\x07", "a group ends that has not begun"),
        (b"\xf3\x07\xfc\x07", "a group ends that has not begun"),
        (b"\x12\x02\xc3\x28", "/t: the text is not UTF-8"),
        (b"\x12\x05ab", "/t: the bytes end too early"),
        (&lying, "/p/0: the bytes end too early"),
        (b"\x2a\x09abcdefghi", "/p/1: the bytes end too early"),
        (b"\x32\x03\x01\x02\xff", "/v/2: the bytes end too early"),
        (b"\x3a\x08\x0a\x01k\x12\x03\x12\x01\xff", "/m/k/t: the text is not UTF-8"),
        (b"\x3a\x03\x0a\x01\xff", "/m/key: the text is not UTF-8"),
        (b"\x49\x00\x00\x00\x00\x00\x00\xf8\x7f", "/d: NaN and infinity have no form in JSON"),
        (b"\x5a\x07\x0a\x03x/A\x12\x00\x5a", "/any: the bytes end too early"),
        (b"\x5a\x09\x0a\x03x/A\x12\x02\x08\xff", "/any/n: the bytes end too early"),
        (b"\x7a\x09\x11\x00\x00\x00\x00\x00\x00\xf0\x7f", "/json: NaN and infinity have no form in JSON"),
    ] {
        let found = fault(&of, bytes);
        assert!(found.contains(expected), "{bytes:x?}: {found}");
    }
    assert!(of.read(b"\xf3\x07\x08\x01\xfb\x07\xfc\x07\xf4\x07").is_ok(), "a group of an unknown field");
}

/// A field's bytes behind its tag and length.
fn block(tag: u8, inside: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    super::super::wire::put_varint(&mut out, inside.len() as u64);
    out.extend_from_slice(inside);
    out
}

#[test]
fn b_04_depth_is_bounded_in_messages_lists_maps_groups_and_any() {
    let of = message(ALL);
    let nested = |tag: u8, count: usize| (0..count).fold(Vec::new(), |inner, _| block(tag, &inner));
    assert!(of.read(&nested(0x1a, 100)).is_ok());
    assert!(fault(&of, &nested(0x1a, 101)).contains("the value is deeper than 100 levels"));
    assert!(fault(&of, &nested(0x22, 101)).contains("deeper than 100 levels"));
    assert!(fault(&of, &nested(0x1a, 20_000)).contains("deeper than 100 levels"));
    let maps = (0..101).fold(Vec::new(), |inner, _| block(0x3a, &block(0x12, &inner)));
    assert!(fault(&of, &maps).contains("deeper than 100 levels"));
    let any = (0..101)
        .fold(Vec::new(), |inner, _| block(0x5a, &[&block(0x0a, b"x/A")[..], &block(0x12, &inner)].concat()));
    assert!(fault(&of, &any).contains("deeper than 100 levels"));
    let lists = (0..200).fold(Vec::new(), |inner, _| block(0x32, &block(0x0a, &inner)));
    assert!(fault(&of, &block(0x7a, &lists)).contains("deeper than 100 levels"));
    let groups = [b"\xf3\x07".repeat(101), b"\xf4\x07".repeat(101)].concat();
    assert!(fault(&of, &groups).contains("deeper than 100 levels"));
    let fits = [b"\xf3\x07".repeat(100), b"\xf4\x07".repeat(100)].concat();
    assert!(of.read(&fits).is_ok());
    let many = [b"\xf3\x07".repeat(500_000)].concat();
    assert!(fault(&of, &many).contains("deeper than 100 levels"));
    let open = |depth: usize| {
        (0..depth).fold(Value::Object([].into()), |inner, _| Value::Object([("a".into(), inner)].into()))
    };
    assert!(of.write(&open(99), 1 << 20).is_ok());
    assert!(of.write(&open(101), 1 << 20).unwrap_err().to_string().contains("deeper than 100 levels"));
}

/// Two bytes that stand for a thousand defaults, and many of them.
#[test]
fn b_04_no_small_message_becomes_a_large_value() {
    let fields: String = (1..=1_000).map(|number| format!("int64 f{number} = {number};")).collect();
    let of = message(&format!(
        "syntax = \"proto3\"; message A {{ repeated B list = 1; }} message B {{ {fields} }}"
    ));
    assert!(of.read(&b"\x0a\x00".repeat(15)).is_ok());
    let begun = crate::telemetry::clock::now();
    let found = fault(&of, &b"\x0a\x00".repeat(500_000));
    assert!(found.contains("it has more values than its bytes can mean"), "{found}");
    // One field in many pieces, each of which holds pieces.
    let of = message(ALL);
    let pieces = (0..60).fold(b"\x12\x01a".repeat(5_000), |inner, _| {
        let half = inner.len() / 2 / 3 * 3;
        if inner.len() > 100_000 {
            return inner;
        }
        [block(0x1a, &inner[..half]), block(0x1a, &inner[half..])].concat()
    });
    of.read(&pieces).ok();
    of.read(&b"\x1a\x00".repeat(300_000)).unwrap();
    assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_and_what_is_read_theirs_reads(
        value in arbitrary::value(), noise in prop::collection::vec(any::<u8>(), 0..80),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)
    ) {
        let of = arbitrary::message();
        of.read(&noise).ok();
        let mut bytes = of.write(&value, 1 << 20).unwrap().to_vec();
        for (at, byte) in changes {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        if of.read(&bytes).is_ok() {
            prop_assert!(theirs(&of, &bytes).is_some(), "ours takes no more than theirs");
        }
    }

    #[test]
    fn no_value_makes_writing_panic(other in json::arbitrary::value()) {
        arbitrary::message().write(&other, 1 << 16).ok();
    }

    /// Their builder may panic, which is a failure like another; what it takes can be used.
    #[test]
    fn no_descriptor_makes_parsing_end_the_process(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut bytes = data_encoding::BASE64.decode(schema(ORDER).descriptor().as_bytes()).unwrap();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let main = document("a.proto", &data_encoding::BASE64.encode(&bytes));
        if let Ok(of) = Schema::parse(&main, &[]) {
            mismatches(&of, &schema(ORDER));
            Schema::parse(&document("a.proto", &of.text()), &[]).ok();
            let message = of.message(None).unwrap();
            message.indexes();
            message.read(&bytes).ok();
            message.write(&value(r#"{"id":"a","total":{"cents":1}}"#), 100).ok();
        }
    }

    #[test]
    fn no_text_makes_parsing_panic(text in "[a-z{}<>\\[\\]()'\"\\\\/*#\n =;0-9]{0,60}") {
        for text in [text.clone(), format!("syntax = \"proto3\"; message A {{ {text} }}")] {
            Schema::parse(&document("a.proto", &text), &[]).ok();
        }
    }
}

#[test]
fn hostile_schemas_are_refused_in_bounded_time() {
    let begun = crate::telemetry::clock::now();
    let deep = |open: &str, count: usize| open.repeat(count);
    for (text, why) in [
        (deep("message A {", 90_000), "nested more than 64 levels deep"),
        (deep("message A { // }\n", 50_000), "nested more than 64 levels deep"),
        (deep("message A { # }\n", 50_000), "nested more than 64 levels deep"),
        (deep("message A { /* } */", 50_000), "nested more than 64 levels deep"),
        (deep("message A { option a = \"}\";", 30_000), "nested more than 64 levels deep"),
        (deep("message A { option a = '\\'}';", 30_000), "nested more than 64 levels deep"),
        (deep("message A { option a = { ) };", 30_000), "closes nothing"),
        (format!("option (a) = {}", deep("{ a ", 100_000)), "nested more than 64 levels deep"),
        (deep("/* ", 300_000), "a comment begins inside of a comment"),
        ("/* ".to_owned(), "a comment does not end"),
        ("option a = \"".to_owned(), "a text does not end on its line"),
        ("option a = \"\\q\";".to_owned(), "an escape that does not exist"),
        ("option a = \"\\u12\";".to_owned(), "an escape that does not exist"),
        (" ".repeat((1 << 20) + 1), "at most 1048576 bytes"),
        ((0..11_000).map(|at| format!("message A{at} {{}}")).collect(), "at most 10000 types"),
    ] {
        let error = Schema::parse(&document("a.proto", &text), &[]).unwrap_err();
        assert!(error.contains(why), "{}: {error}", &text[..text.len().min(60)]);
    }
    let fields: String = (1..20_000)
        .map(|at| format!("int32 a{at} = {at}[deprecated=true];\n"))
        .filter(|line| !line.contains(" 19"))
        .collect();
    let many = format!("syntax = \"proto3\"; message A {{ {fields} }}");
    let parsed = Schema::parse(&document("a.proto", &many), &[]);
    assert!(parsed.is_ok(), "{parsed:?}");
    let imports: Vec<Document> = (0..200)
        .map(|at| document(&format!("{at}.proto"), &format!("import \"{}.proto\";", at + 1)))
        .collect();
    let chain = document("a.proto", "import \"0.proto\";");
    assert!(Schema::parse(&chain, &imports).unwrap_err().contains("import '200.proto' not found"));
    let more: Vec<Document> = (0..201).map(|at| document(&format!("{at}.proto"), "")).collect();
    assert!(Schema::parse(&chain, &more).unwrap_err().contains("at most 200 imports"));
    let large: Vec<Document> =
        (0..5).map(|at| document(&format!("{at}.proto"), &" ".repeat(1 << 20))).collect();
    assert!(Schema::parse(&chain, &large).unwrap_err().contains("4194304 bytes"));
    assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
}

#[test]
fn hostile_descriptors_are_refused() {
    use prost_reflect::prost_types::{
        DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, EnumValueOptions,
        FieldDescriptorProto, FileDescriptorProto, FileOptions, UninterpretedOption,
    };
    let base64 = |proto: &FileDescriptorProto| data_encoding::BASE64.encode(&proto.encode_to_vec());
    let mut nested = DescriptorProto { name: Some("A".to_owned()), ..Default::default() };
    for _ in 0..70 {
        nested =
            DescriptorProto { name: Some("A".to_owned()), nested_type: vec![nested], ..Default::default() };
    }
    let deep = FileDescriptorProto { message_type: vec![nested], ..Default::default() };
    let field = FieldDescriptorProto {
        name: Some("f".to_owned()),
        number: Some(1),
        oneof_index: Some(7),
        r#type: Some(5),
        ..Default::default()
    };
    let oneof =
        DescriptorProto { name: Some("A".to_owned()), field: vec![field.clone()], ..Default::default() };
    let no_oneof = FileDescriptorProto { message_type: vec![oneof], ..Default::default() };
    let of_type = FieldDescriptorProto {
        oneof_index: None,
        r#type: Some(11),
        type_name: Some(".B".to_owned()),
        ..field
    };
    let no_type = DescriptorProto { name: Some("A".to_owned()), field: vec![of_type], ..Default::default() };
    let no_type = FileDescriptorProto { message_type: vec![no_type], ..Default::default() };
    for (proto, why) in [(&deep, "nested too deep"), (&no_oneof, ""), (&no_type, "'.B' is not defined")] {
        let error = Schema::parse(&document("a.proto", &base64(proto)), &[]).unwrap_err();
        assert!(error.contains(why), "{error}");
    }
    let option = UninterpretedOption { aggregate_value: Some("a {".repeat(100_000)), ..Default::default() };
    let options = FileOptions { uninterpreted_option: vec![option], ..Default::default() };
    let value =
        EnumValueOptions { uninterpreted_option: options.uninterpreted_option.clone(), ..Default::default() };
    let value =
        EnumValueDescriptorProto { name: Some("X".to_owned()), number: Some(0), options: Some(value) };
    let of = EnumDescriptorProto { name: Some("E".to_owned()), value: vec![value], ..Default::default() };
    let texts = FileDescriptorProto { options: Some(options), enum_type: vec![of], ..Default::default() };
    let parsed = Schema::parse(&document("a.proto", &base64(&texts)), &[]);
    assert!(parsed.is_ok(), "texts of options are dropped: {parsed:?}");
}
