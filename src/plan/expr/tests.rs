//! What expressions and templates promise, through their public face.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use vrl::value::Value;

use super::*;
use crate::event::{Body, Event, Header, Origin, Topic, json};
use crate::outcome::{Answer, BodyEnd, Code};

fn event(key: &'static [u8], value: &str) -> Event {
    let topic = Topic { cluster: String::new(), name: "shop.orders".into(), id: None };
    let header = |name: &'static str, value: Option<&'static str>| Header {
        name: Bytes::from(name),
        value: value.map(Bytes::from),
    };
    Event {
        origin: Origin {
            topic: Arc::new(topic),
            partition: 3,
            offset: 9_007_199_254_740_993,
            timestamp: Some(0),
        },
        key: Some(Bytes::from_static(key)),
        headers: vec![header("tenant", Some("a")), header("none", None), header("tenant", Some("b"))],
        body: Body::Value(json::parse(value.as_bytes()).unwrap()),
        part: 0,
    }
}

fn answer(status: u16, content_type: &str, body: &'static [u8]) -> Answer {
    Answer {
        status,
        headers: vec![("content-type".into(), Bytes::copy_from_slice(content_type.as_bytes()))],
        body: Bytes::from_static(body),
        body_end: BodyEnd::Complete,
    }
}

fn text(value: &Value) -> String {
    String::from_utf8(json::to_bytes(value, 1 << 20).unwrap().to_vec()).unwrap()
}

fn eval(source: &str, event: &Event, around: Surroundings<'_>) -> String {
    text(&Expression::compile(source).unwrap().eval(&View::of(event, around)).unwrap())
}

/// The first finding of a condition: code, the marked text, message, help.
fn finding(source: &str) -> (&'static str, String, String, String) {
    let first = Predicate::compile(source).unwrap_err().remove(0);
    let marked = source.get(first.span).unwrap().to_owned();
    (first.code, marked, first.message, first.help.unwrap_or_default())
}

#[test]
fn what_surrounds_a_record_can_be_read() {
    let event = event(b"o-1", r#"{"id": "e-7", "a": {"b": [1, 2]}}"#);
    let around = Surroundings { attempts: 2, ..Surroundings::default() };
    for (source, expected) in [
        (".a.b[1]", "2"),
        ("%key", r#""o-1""#),
        ("%headers.tenant", r#""b""#),
        ("%headers.none", "null"),
        ("%headers.absent", "null"),
        ("exists(%headers.absent)", "false"),
        ("%headers", r#"{"none":null,"tenant":"b"}"#),
        ("%headers_all", r#"[["tenant","a"],["none",null],["tenant","b"]]"#),
        ("[%topic, %partition, %offset]", r#"["shop.orders",3,9007199254740993]"#),
        ("%timestamp", r#""1970-01-01T00:00:00Z""#),
        ("%id", r#""e-7""#),
        ("%attempts", "2"),
        ("%response", "null"),
        ("%response.status", "null"),
    ] {
        assert_eq!(eval(source, &event, around), expected, "{source}");
    }
}

#[test]
fn the_answer_can_be_read() {
    let event = event(b"", "null");
    let json = answer(402, "application/problem+json; charset=utf-8", br#"{"code": "no_funds"}"#);
    fn with(answer: &Answer) -> Surroundings<'_> {
        Surroundings { answer: Some(answer), ..Surroundings::default() }
    }
    assert_eq!(eval("%response.status == 402", &event, with(&json)), "true");
    assert_eq!(eval("%response.body.code", &event, with(&json)), r#""no_funds""#);
    assert_eq!(eval("%response.body", &event, with(&answer(200, "text/plain", b"{}"))), r#""{}""#);
    assert_eq!(eval("%response.body", &event, with(&answer(204, "", b""))), "null");
    let wrong = answer(200, "application/json", b"{");
    assert_eq!(eval("%response.body", &event, with(&wrong)), "null");
    assert!(answer_body(&wrong).is_err());
}

#[test]
fn a_condition_says_what_is_wrong_with_it() {
    for (source, code, marked, help) in [
        (".total.cents > 0", finding::FALLIBLE, ".total.cents > 0", "int!(.total.cents) > 0"),
        (".paid = true", finding::READ_ONLY, ".paid = true", "compare with `==`: .paid == true"),
        ("del(.a) == 1", finding::READ_ONLY, "del(.a)", "`remove`"),
        (" .test", finding::NOT_BOOLEAN, ".test", ".test == true, or bool!(.test)"),
        ("!.x", finding::NOT_BOOLEAN, "!.x", ".x == true"),
        (".a == 'x'", finding::SYNTAX, "'", "double quotes"),
        ("{{ .paid }}", finding::SYNTAX, "{{ .paid }}", ".paid == true"),
        ("%atempts > 3", finding::UNKNOWN_METADATA, "%atempts", "`%attempts`"),
        ("upcas(.a) == \"b\"", finding::UNKNOWN_NAME, "upcas", "`upcase`"),
        ("get_env_var!(\"A\") == \"b\"", finding::UNKNOWN_NAME, "get_env_var", "environment"),
        ("paid == true", finding::UNKNOWN_NAME, "paid", ".paid"),
        ("length(.a) == 1", finding::INVALID, ".a", "length!(..)"),
        (".u == \"${var:u}\"", finding::REFERENCE, "${var:u}", "set: {"),
        (".a ==\n", finding::SYNTAX, "", "one statement a line"),
    ] {
        let found = finding(source);
        assert_eq!((found.0, found.1.as_str()), (code, marked), "{source}: {}", found.2);
        assert!(found.3.contains(help), "{source}: {}", found.3);
    }
    for fine in
        ["%attempts > 3", "%response.status == 200", "exists(%response.body.error)", ".a == \"%nope\""]
    {
        Predicate::compile(fine).unwrap();
    }
}

#[test]
fn a_program_changes_the_value_and_nothing_else() {
    let program = Program::compile(".cents = int!(.total.cents)\n.key = %key\ndel(.total)").unwrap();
    let event = event(b"k", "null");
    let run =
        |value: &str| program.run(&event, json::parse(value.as_bytes()).unwrap(), Surroundings::default());
    assert_eq!(text(&run(r#"{"total": {"cents": 5}}"#).unwrap()), r#"{"cents":5,"key":"k"}"#);
    let failure = run(r#"{"total": {"cents": "5"}}"#).unwrap_err();
    assert_eq!(failure.code, Code::Transform);
    assert!(failure.message.contains("expected integer"), "{}", failure.message);
    assert_eq!(Program::compile("%key = 1").unwrap_err().remove(0).code, finding::READ_ONLY);
    assert_eq!(Program::compile("del(%key)").unwrap_err().remove(0).code, finding::READ_ONLY);
}

#[test]
fn bombs_are_stopped() {
    let event = event(b"", "null");
    let value = || {
        let list = Value::Array((0..5_000).map(Value::from).collect());
        let text = "ab".repeat(250_000);
        Value::Object([("l".into(), list), ("s".into(), text.into())].into())
    };
    let run = |source: &str| {
        let program = Program::compile(source).unwrap_or_else(|found| panic!("{source}: {found:?}"));
        program.run(&event, value(), Surroundings::default()).unwrap_err().message
    };
    let loops = "the loops of this program copy too much";
    for (source, what) in [
        (
            "n = 0\nfor_each(array!(.l)) -> |_i, _a| { for_each(array!(.l)) -> |_j, _b| { n = n + 1 } }",
            "steps",
        ),
        ("x = \"ab\"\nfor_each(array!(.l)) -> |_i, _a| { x = x + x }\n.x = x", "bytes of text"),
        ("x = \"\"\nfor_each(array!(.l)) -> |_i, _a| { x = x + string!(.s) }", loops),
        ("x = []\nfor_each(array!(.l)) -> |_i, _a| { x = [x] }\n.x = x", "nested deeper"),
        ("x = {}\nfor_each(array!(.l)) -> |_i, _a| { x.s = [x.s, x.s] }\n.x = x", "entries"),
        ("for_each(array!(.l)) -> |_i, _a| { .s = string!(.s) + string!(.s) }", "bytes of text"),
        (".x = map_values(array!(.l)) -> |_v| { array!(.l) }", loops),
        ("l = array!(.l)\n.x = map_values(l) -> |_v| { l }", loops),
        (".x = map_values(array!(.l)) -> |_v| { string!(.s) + \"x\" }", loops),
        (".x = replace!(.s, \"a\", string!(.s))", "replace would make"),
        (".x = replace!(.s, r'a', string!(.s))", "replace would make"),
    ] {
        let message = run(source);
        assert!(message.contains(what), "{source}: {message}");
    }
    let joined =
        Program::compile(".x = join!(map_values(array!(.l)) -> |_v| { \"a\" }, string!(.s))").unwrap();
    assert!(
        joined.run(&event, value(), Surroundings::default()).unwrap_err().message.contains("join would make")
    );
    let deep = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));
    assert_eq!(Program::compile(&deep).unwrap_err().remove(0).code, finding::TOO_LARGE);
    assert!(Program::compile(&format!(".a = \"{}\"", "x".repeat(MAX_SOURCE))).is_err());
}

#[test]
fn loops_of_every_shape_run() {
    let event = event(b"k", "null");
    for (source, expected) in [
        (".o = map_values(.o) -> |v| { to_string!(v) + \"x\" }", r#"{"l":[1,2],"o":{"a":"1x","b":"2x"}}"#),
        (".o = map_keys(.o) -> |k| {\n  upcase(k)\n}", r#"{"l":[1,2],"o":{"A":1,"B":2}}"#),
        (
            "s = 0\nfor_each(.l) -> |_i, v| { s = s + int!(v) # }\n}\n.s = s",
            r#"{"l":[1,2],"o":{"a":1,"b":2},"s":3}"#,
        ),
        (".l = filter(.l) -> |_i, v| { v != 1 }", r#"{"l":[2],"o":{"a":1,"b":2}}"#),
        (".x = join!([\"a\", \"b\"], \", \")\ndel(.o)", r#"{"l":[1,2],"x":"a, b"}"#),
        (".x = replace(\"aXbX\", \"X\", \"-\", count: 1)\ndel(.o)", r#"{"l":[1,2],"x":"a-bX"}"#),
        (".x = replace(\"a1b22\", r'(\\d+)', \"<$1>\")\ndel(.o)", r#"{"l":[1,2],"x":"a<1>b<22>"}"#),
        (".x = replace(\"abc\", \"\", \"-\")\ndel(.o)", r#"{"l":[1,2],"x":"-a-b-c-"}"#),
    ] {
        let source = source
            .replace("(.o)", "(object!(.o))")
            .replace("(.l)", "(array!(.l))")
            .replace("del(object!(.o))", "del(.o)")
            .replace("\\\\d", "\\d");
        let program = Program::compile(&source).unwrap_or_else(|found| panic!("{source}: {found:?}"));
        let value = json::parse(br#"{"o": {"a": 1, "b": 2}, "l": [1, 2]}"#).unwrap();
        assert_eq!(text(&program.run(&event, value, Surroundings::default()).unwrap()), expected, "{source}");
    }
    let any = Predicate::compile("length(filter(array!(.l)) -> |_i, v| { v == %key }) == 0").unwrap();
    let value = json::parse(br#"{"l": ["a"]}"#).unwrap();
    assert!(any.test(&View::new(&event, &value, Surroundings::default())).unwrap());
}

#[test]
fn only_what_looks_into_the_payload_says_so() {
    for (source, looks) in
        [("%key == \"a\"", false), ("%id == \"a\"", true), (".a == 1", true), ("true", false)]
    {
        assert_eq!(Predicate::compile(source).unwrap().looks_into_payload(), looks, "{source}");
    }
    assert!(Program::compile(".a = 1").unwrap().looks_into_payload());
    assert!(!Template::parse("{{ %key }}-{{ %topic }}").unwrap().looks_into_payload());
    assert!(Template::parse("{{ .a }}").unwrap().looks_into_payload());
    assert!(Template::parse("{{ %response.body.a }}").unwrap().reads_response());
}

#[test]
fn a_template_renders_text_values_and_bytes() {
    let event =
        event(b"\xff\x00", r#"{"n": 9007199254740993, "s": "a b", "o": {"k": 1}, "z": null, "f": 0.1}"#);
    let view = View::of(&event, Surroundings::default());
    let value = |source: &str| Template::parse(source).unwrap().render_value(&view).map(|v| text(&v));
    assert_eq!(value("{{ .n }}").unwrap(), "9007199254740993");
    assert_eq!(value("{{.o}}").unwrap(), r#"{"k":1}"#);
    assert_eq!(value("{{ .z }}").unwrap(), "null");
    assert_eq!(value("{{ .n }}-{{ .s }}-{{ .f }}").unwrap(), r#""9007199254740993-a b-0.1""#);
    assert_eq!(value(r#"{{ "{{" }} {{ .s }} }}"#).unwrap(), r#""{{ a b }}""#);
    for (source, what) in
        [("{{ .no }}", "not in this record"), ("x{{ .z }}", "null"), ("x{{ %key }}", "UTF-8")]
    {
        let failure = Template::parse(source).unwrap().render_value(&view).unwrap_err();
        assert_eq!(failure.code, Code::Template);
        assert!(failure.message.contains(what), "{}", failure.message);
    }
    let bytes = |source: &str| Template::parse(source).unwrap().render_bytes(&view).unwrap();
    assert_eq!(bytes("{{ %key }}").unwrap(), Bytes::from_static(b"\xff\x00"));
    assert_eq!(bytes("{{ .z }}"), None);
    assert_eq!(bytes("{{ .n }}").unwrap(), Bytes::from("9007199254740993"));
}

#[test]
fn a_template_says_what_is_wrong_with_it() {
    for (source, code, marked) in [
        ("a {{ .b", finding::TEMPLATE, "{{ .b"),
        ("{{ b }}", finding::PATH, "b"),
        ("{{ .a..b }}", finding::PATH, ".a..b"),
        ("{{ .a + .b }}", finding::PATH, ".a + .b"),
        ("{{ upcase(.a) }}", finding::PATH, "upcase(.a)"),
        ("{{ .a | upper }}", finding::PATH, ".a | upper"),
        ("x {{}}", finding::PATH, "}"),
        ("{{ %kex }}", finding::UNKNOWN_METADATA, "%kex"),
    ] {
        let found = Template::parse(source).unwrap_err().remove(0);
        assert_eq!((found.code, source.get(found.span).unwrap()), (code, marked), "{source}");
        assert!(found.help.is_some(), "{source}");
    }
    assert_eq!(Template::parse("{{ a }} {{ b }}").unwrap_err().len(), 2);
}

#[test]
fn a_url_takes_one_segment_or_one_query_value() {
    let event = event(b"", r#"{"s": "../a b?#%\\/é", "d": "..", "e": "", "o": {}, "n": 7}"#);
    let view = View::of(&event, Surroundings::default());
    let url = |source: &str| Template::parse(source).unwrap().render_url(&view).map_err(|f| f.message);
    assert_eq!(url("https://h/v1/{{ .s }}/x").unwrap(), "https://h/v1/..%2Fa%20b%3F%23%25%5C%2F%C3%A9/x");
    assert_eq!(
        url("https://h/v1/{{ .n }}?q={{ .s }}&e={{ .e }}").unwrap(),
        "https://h/v1/7?q=..%2Fa%20b%3F%23%25%5C%2F%C3%A9&e="
    );
    for refused in [
        "https://h/v1/{{ .d }}",
        "https://h/v1/{{ .e }}",
        "https://h/v1/{{ .o }}",
        "https://h/v1/?q={{ .o }}",
    ] {
        assert!(url(refused).is_err(), "{refused}");
    }
}

#[test]
fn a_tree_inserts_values_never_text() {
    let tree =
        serde_json::json!({ "id": "{{ .s }}", "list": [1, "{{ .n }}", "n-{{ .n }}"], "key": "${secret:k}" });
    let event = event(b"", r#"{"s": "\", \"admin\": true, \"x\": \"", "n": 7}"#);
    let view = View::of(&event, Surroundings::default());
    let template = ValueTemplate::parse(&tree).unwrap();
    let resolved = template.resolve::<()>(&mut |text| Ok(text.replace("${secret:k}", "{{ .n }}"))).unwrap();
    let json = resolved.render_json(&view, 1000).unwrap();
    assert_eq!(
        std::str::from_utf8(&json).unwrap(),
        r#"{"id":"\", \"admin\": true, \"x\": \"","key":"{{ .n }}","list":[1,7,"n-7"]}"#
    );
    assert!(resolved.render_json(&view, 20).is_err());
    let wrong =
        ValueTemplate::parse(&serde_json::json!({ "a": ["{{ b }}"], "c": 18_446_744_073_709_551_615_u64 }));
    let wrong = wrong.unwrap_err();
    assert_eq!(wrong.iter().map(|f| f.path.join("/")).collect::<Vec<_>>(), ["a/0", "c"]);
}

#[test]
fn secrets_do_not_print() {
    let template = Template::parse("Bearer ${secret:t} {{ .a }}").unwrap();
    let template = template.resolve::<()>(|text| Ok(text.replace("${secret:t}", "s3cr3t"))).unwrap();
    assert!(!format!("{template:?}").contains("s3cr3t"));
}

proptest! {
    #[test]
    fn no_text_makes_a_parser_panic(source in "[.%a-z{}\"() =!\\[\\]|$:é0-9]{0,40}") {
        drop(Template::parse(&source));
        drop(Predicate::compile(&source));
        drop(Program::compile(&source));
    }

    #[test]
    fn an_inserted_value_never_leaves_its_segment(text in ".{0,12}") {
        let value = Value::Object([("v".into(), Value::from(text))].into());
        let event = event(b"", "null");
        let view = View::new(&event, &value, Surroundings::default());
        if let Ok(url) = Template::parse("https://h.test/v1/{{ .v }}/end").unwrap().render_url(&view) {
            let parsed = url::Url::parse(&url).unwrap();
            prop_assert_eq!(parsed.host_str(), Some("h.test"));
            let segments: Vec<_> = parsed.path_segments().unwrap().collect();
            prop_assert_eq!((segments.len(), segments[0], segments[2]), (3, "v1", "end"));
            prop_assert!(parsed.query().is_none() && parsed.fragment().is_none());
        }
    }
}

#[test]
fn what_an_answer_does_not_have_is_named() {
    let findings =
        Predicate::compile_answered("%response.stats == 200 && %response.body.any == 1").unwrap_err();
    let said: Vec<_> = findings.iter().map(|f| (f.message.as_str(), f.help.as_deref())).collect();
    assert_eq!(said, [("`%response.stats` does not exist", Some("did you mean `%response.status`?"))]);
    Predicate::compile_answered("%response.status < 300 && exists(%response.headers.\"x-a\")").unwrap();
    // Before anybody has answered the status may be missing.
    Predicate::compile("%response.status < 300").unwrap_err();
}
