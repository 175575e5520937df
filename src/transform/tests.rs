//! Every transform through its written form: examples, what is refused, and that no value makes one panic.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use proptest::prelude::*;
use vrl::value::Value;

use super::*;
use crate::event::{Origin, Topic, json};
use crate::settings::References;

fn references() -> References {
    References {
        secrets: BTreeMap::from([
            ("k".into(), "0123456789abcdef".into()),
            ("short".into(), "0123".into()),
            ("orders_keys".into(), "2026-11:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=".into()),
        ]),
        ..References::default()
    }
}

fn item(yaml: &str) -> Item {
    crate::spec::from_yaml(yaml).unwrap()
}

fn built(yaml: &str) -> Result<Step, Vec<crate::plan::expr::TreeFinding>> {
    let (references, plugins) = (references(), Plugins::new("plugins", BTreeMap::new()));
    item(yaml).build(0, &Context { references: &references, plugins: &plugins })
}

fn step(yaml: &str) -> Step {
    built(yaml).unwrap()
}

fn event(value: Value) -> Event {
    let topic = Topic { cluster: String::new(), name: "t".into(), id: None };
    let origin = Origin { topic: Arc::new(topic), partition: 0, offset: 0, timestamp: None };
    Event { origin, key: Some(Bytes::from("k")), headers: vec![], body: Body::Value(value), part: 0 }
}

fn parsed(text: &str) -> Value {
    json::parse(text.as_bytes()).unwrap()
}

fn texts(emit: Emit) -> Vec<String> {
    let events = match emit {
        Emit::One(event) => vec![event],
        Emit::Many(events) => events,
        Emit::Filtered(_) => vec![],
    };
    let text = |event: Event| match event.body {
        Body::Value(value) => String::from_utf8(json::to_bytes(&value, 1 << 20).unwrap().to_vec()).unwrap(),
        Body::Raw(_) => panic!("a raw body"),
    };
    events.into_iter().map(text).collect()
}

fn check(yaml: &str, input: &str, expected: &[&str]) {
    let emit = run(&[step(yaml)], event(parsed(input)), Surroundings::default()).unwrap();
    let expected: Vec<_> = expected.iter().flat_map(|text| texts(Emit::One(event(parsed(text))))).collect();
    assert_eq!(texts(emit), expected, "{yaml}");
}

fn fails(yaml: &str, input: &str) -> String {
    run(&[step(yaml)], event(parsed(input)), Surroundings::default()).unwrap_err().failure.message
}

/// The first finding: where, on the key or not, code.
fn refused(yaml: &str) -> (String, bool, &'static str) {
    let first = built(yaml).unwrap_err().remove(0);
    (first.path.join("/"), first.on_key, first.finding.code)
}

#[test]
fn every_example_does_what_it_shows() {
    for example in EXAMPLES {
        let expected: Vec<_> = example.output.lines().collect();
        check(example.yaml, example.input, &expected);
    }
}

#[test]
fn an_item_is_one_transform() {
    let with = item("{ name: paid, when: .a == 1, filter: .b == 2 }");
    assert_eq!(
        (with.name.as_deref(), with.when.as_deref(), with.kind.as_str()),
        (Some("paid"), Some(".a == 1"), "filter")
    );
    let back: Item = serde_json::from_value(serde_json::to_value(&with).unwrap()).unwrap();
    assert_eq!(back, with);
    for (yaml, what) in [
        ("filtr: .a", "unknown field `filtr`"),
        ("{ filter: .a, remap: .b }", "one transform"),
        ("name: x", "needs a transform"),
        ("redact: { field: [.a] }", "unknown field `field`"),
    ] {
        let error = crate::spec::from_yaml::<Item>(yaml).unwrap_err();
        assert!(error.contains(what), "{yaml}: {error}");
    }
    let schema = schemars::schema_for!(Item);
    let validator = jsonschema::validator_for(schema.as_value()).unwrap();
    for example in EXAMPLES {
        let value: serde_json::Value = crate::spec::from_yaml(example.yaml).unwrap();
        assert!(validator.is_valid(&value), "{}", example.yaml);
    }
    assert!(!validator.is_valid(&serde_json::json!({ "filter": ".a", "remap": ".b" })));
}

#[test]
fn what_is_wrong_is_placed() {
    for (yaml, path, on_key, code) in [
        ("filter: .a", "filter", false, "W0303"),
        ("{ when: .a, remap: .b = 1 }", "when", false, "W0303"),
        ("set: { a: 1 }", "set/a", true, "W0309"),
        ("set: { .a: { b: [\"{{ c }}\"] } }", "set/.a/b/0", false, "W0309"),
        ("set: { .a: \"${secret:nope}\" }", "set/.a", false, "W0201"),
        ("set: { \".a[100000]\": 1 }", "set/.a[100000]", true, "W0309"),
        ("remove: [.a, \"%key\"]", "remove/1", false, "W0304"),
        ("rename: { .a: b }", "rename/.a", false, "W0309"),
        ("redact: { fields: [a] }", "redact/fields/0", false, "W0309"),
        ("redact: { fields: [.a], hash: { key: \"${secret:short}\" } }", "redact/hash/key", false, "W0306"),
        (
            "redact: { fields: [.a], keep_last: 1, hash: { key: \"${secret:k}\" } }",
            "redact/hash",
            true,
            "W0306",
        ),
        ("encrypt: { fields: [.a], key: \"a:AAAA\" }", "encrypt/key", false, "W0312"),
        (
            "encrypt: { fields: [.a, .a.b], key: \"${secret:orders_keys}\" }",
            "encrypt/fields/1",
            false,
            "W0306",
        ),
        ("decrypt: { fields: [.a], key: \"${secret:short}\" }", "decrypt/key", false, "W0312"),
        ("split: a", "split/path", false, "W0309"),
        ("cast: { a: int }", "cast/a", true, "W0309"),
    ] {
        let found = refused(yaml);
        assert_eq!((found.0.as_str(), found.1, found.2), (path, on_key, code), "{yaml}");
    }
}

#[test]
fn when_passes_an_event_on_untouched() {
    check("{ when: .a == 1, remap: .b = 2 }", r#"{"a": 1}"#, &[r#"{"a":1,"b":2}"#]);
    check("{ when: .a == 1, remap: .b = 2 }", r#"{"a": 3}"#, &[r#"{"a":3}"#]);
}

#[test]
fn set_and_rename_see_the_event_as_it_was() {
    check("set: { .a: \"{{ .b }}\", .b: \"{{ .a }}\" }", r#"{"a": 1, "b": 2}"#, &[r#"{"a":2,"b":1}"#]);
    check("rename: { .a: .b, .b: .a }", r#"{"a": 1, "b": 2}"#, &[r#"{"a":2,"b":1}"#]);
    check("set: { .k: \"{{ %key }}\", .s: \"${secret:k}\" }", "{}", &[r#"{"k":"k","s":"0123456789abcdef"}"#]);
    assert!(fails("set: { .a: \"{{ .no }}\" }", "{}").contains("`.no` is not in this record"));
}

#[test]
fn redact_masks_every_kind_of_value() {
    check(
        "redact: { fields: [.a] }",
        r#"{"a": ["x", 1, null, {"b": true}]}"#,
        &[r#"{"a":["***","***",null,{"b":"***"}]}"#],
    );
    check("redact: { fields: [.a], keep_last: 4 }", r#"{"a": "1234567"}"#, &[r#"{"a":"***"}"#]);
    // Computed with: openssl dgst -sha256 -hmac 0123456789abcdef
    check(
        "redact: { fields: [.a], hash: { key: \"${secret:k}\" } }",
        r#"{"a": "x"}"#,
        &[r#"{"a":"68f4d9c04881bab754f229e82dee00ccf8d9f6a7cf98125ac5e8254d6cd3cc3f"}"#],
    );
}

#[test]
fn a_failure_names_its_step_and_whose_fault_it_is() {
    let steps = ["remap: .b = int!(.a)", "{ when: exists(.a), cast: { .a: int } }"].map(step);
    let failed = |input| {
        let failed = run(&steps, event(parsed(input)), Surroundings::default()).unwrap_err();
        (failed.step, failed.kind)
    };
    assert_eq!(failed(r#"{"a": "x"}"#), (0, TransformErrorKind::Eval));
    let cast = step("cast: { .a: int }");
    let failed = run(&[cast], event(parsed(r#"{"a": "x"}"#)), Surroundings::default()).unwrap_err();
    assert_eq!((failed.step, failed.kind), (0, TransformErrorKind::Type));
    assert_eq!(steps[0].fails_by(), [TransformErrorKind::Eval]);
    assert_eq!(steps[1].fails_by(), [TransformErrorKind::Eval, TransformErrorKind::Type]);
}

#[test]
fn who_reads_the_id_says_so() {
    for (yaml, reads) in [
        ("remap: .b = %id", true),
        ("filter: '%id != \"x\"'", true),
        ("set: { .b: 'no. {{ %id }}' }", true),
        ("{ when: '%id == \"x\"', remove: [.a] }", true),
        ("remap: .b = .id", false),
        ("set: { .b: '{{ %key }}' }", false),
        ("remove: [.id]", false),
    ] {
        assert_eq!(step(yaml).reads_id(), reads, "{yaml}");
    }
}

#[test]
fn split_numbers_its_parts() {
    let parts = |steps: &[Step], input: &str| match run(steps, event(parsed(input)), Surroundings::default())
        .unwrap()
    {
        Emit::Many(events) => events.iter().map(|e| e.part).collect::<Vec<_>>(),
        Emit::One(_) | Emit::Filtered(_) => vec![],
    };
    assert_eq!(parts(&[step("split: .")], "[1, 2, 3]"), [0, 1, 2]);
    assert_eq!(parts(&[step("split: ."), step("filter: . != 2")], "[1, 2, 3]"), [0, 2]);
    assert_eq!(parts(&[step("split: ."), step("split: .")], "[[1, 2], [3]]"), [0, 1, 2]);
    let empty = run(&[step("split: .a")], event(parsed(r#"{"a": []}"#)), Surroundings::default()).unwrap();
    assert_eq!(empty, Emit::Filtered(Filter::Empty));
    assert!(fails("split: .a", "{}").contains("`.a` is nothing, not a list"));
    let bomb = format!(r#"{{"a": [{}1], "rest": [{}1]}}"#, "1,".repeat(2_000), "1,".repeat(2_000));
    assert!(fails("split: .a", &bomb).contains("too many"));
}

#[test]
fn flatten_counts_the_bytes_of_names() {
    let deep = format!("{}{}{}", format!(r#"{{"{}":"#, "k".repeat(10_000)).repeat(50), "1", "}".repeat(50));
    assert!(run(&[step("flatten: {}")], event(parsed(&deep)), Surroundings::default()).is_ok());
    let wide: String = (0..40).map(|i| format!(r#""{i}":1,"#)).collect();
    let bomb = format!(r#"{{"{}":{{{wide}"z":1}}}}"#, "k".repeat(500_000));
    assert!(fails("flatten: {}", &bomb).contains("names"));
}

/// Twelfth invariant: transforms do no I/O, keep no state, panic on no value.
mod no_panic {
    use super::*;

    static STEPS: LazyLock<Vec<Step>> = LazyLock::new(|| {
        let more = [
            "remap: '. = {\"a\": .a, \"b\": [.b, %key, %id]}'",
            "remap: '.a.b[3].c = string!(.a) + \"x\"'",
            "{ when: exists(.a), set: { \".a.b[-2].c\": \"{{ .a }}\", \".\": { x: \"{{ . }}\" } } }",
            "rename: { \".\": .a.b, \".a[1]\": \".\" }",
            "remove: [\".\", \".a[-1]\", .b.c]",
            "redact: { fields: [\".\", \".a[0]\"], keep_last: 255 }",
            "redact: { fields: [\".\"], hash: { key: \"${secret:k}\" } }",
            "split: .",
            "split: { path: \".a[0]\" }",
            "flatten: { path: .a, separator: \"\" }",
            "cast: { \".\": int, .a: float, .b: bool, .c: string, .d: timestamp }",
        ];
        EXAMPLES.iter().map(|example| example.yaml).chain(more).map(step).collect()
    });

    proptest! {
        #[test]
        fn no_panic_on_any_value(value in json::arbitrary::value()) {
            for step in STEPS.iter() {
                drop(step.apply(event(value.clone()), Surroundings::default()));
            }
            drop(run(&STEPS, event(value), Surroundings::default()));
        }
    }
}
