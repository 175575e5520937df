//! The walk against what steps really make, and what is said of stages.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use vrl::value::Value;

use super::*;
use crate::codec::shape::tests::holds;
use crate::codec::{Avro, Wide};
use crate::event::{Body, Event, Origin as From, Topic, json};
use crate::plan::expr::Surroundings;
use crate::plugin::Plugins;
use crate::settings::References;
use crate::transform::{Context, Emit, Item, run};

const ORDER: &str = r#"{"type":"record","name":"Order","fields":[
    {"name":"id","type":"string"},
    {"name":"count","type":"long"},
    {"name":"paid","type":"boolean"},
    {"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}},
    {"name":"total","type":{"type":"record","name":"Money","fields":[{"name":"cents","type":"long"},{"name":"currency","type":"string"}]}},
    {"name":"customer","type":["null",{"type":"record","name":"Customer","fields":[{"name":"email","type":["null","string"]}]}]},
    {"name":"lines","type":{"type":"array","items":{"type":"record","name":"Line","fields":[{"name":"sku","type":"string"},{"name":"n","type":"int"}]}}},
    {"name":"labels","type":{"type":"map","values":"string"}}
]}"#;

const VALUES: [&str; 3] = [
    r#"{"id":"7","count":3,"paid":true,"at":0,"total":{"cents":5,"currency":"EUR"},"customer":{"email":"A@b"},"lines":[{"sku":"a","n":1},{"sku":"b","n":2}],"labels":{"x":"y"}}"#,
    r#"{"id":"x","count":0,"paid":false,"at":5,"total":{"cents":0,"currency":""},"customer":null,"lines":[{"sku":"a","n":1}],"labels":{}}"#,
    r#"{"id":"8","count":1,"paid":true,"at":9,"total":{"cents":1,"currency":"EUR"},"customer":{"email":null},"lines":[],"labels":{"id":"1"}}"#,
];

fn codec() -> Codec {
    Codec::Avro(Avro::new(ORDER.to_owned(), Vec::new()).unwrap())
}

/// As it is read, its times among it.
fn value(text: &str) -> Value {
    let codec = codec();
    let bytes = codec.encode(&json::parse(text.as_bytes()).unwrap(), "t", 1 << 20).unwrap();
    codec.decode(bytes.as_ref(), &[], Wide::Error).unwrap()
}

fn event(value: Value) -> Event {
    let topic = Topic { cluster: String::new(), name: "t".into(), id: None };
    let origin = From { topic: Arc::new(topic), partition: 0, offset: 0, timestamp: None };
    Event { origin, key: Some(Bytes::from("k")), headers: vec![], body: Body::Value(value), part: 0 }
}

fn plugins() -> Plugins {
    Plugins::new("plugins", BTreeMap::new())
}

fn references() -> References {
    References { secrets: BTreeMap::from([("k".into(), "0123456789abcdef".into())]), ..References::default() }
}

/// Items of `transforms` that write, remove, move and change paths, for certain and perhaps.
const STEPS: [&str; 46] = [
    "set: { .id: '{{ .total.cents }}', .new.a: [1, '{{ .id }}'] }",
    "set: { .total: null }",
    "set: { .customer.name: 'n {{ .id }}' }",
    "set: { '.lines[0].sku': x }",
    "set: { .labels.z: 1 }",
    "set: { .id.deep: true }",
    "{ when: .paid == true, set: { .total.cents: text, .more: { a: 1 } } }",
    "remove: [.total.cents, .labels.x, '.lines[0]']",
    "remove: [.customer.email]",
    "{ when: .count == 3, remove: [.id, .total] }",
    "rename: { .id: .total.id, .total.currency: .id }",
    "rename: { .customer.email: .email, .none: .nothing }",
    "{ when: .paid == false, rename: { .lines: .parts } }",
    "rename: { .total.cents: .lines.cents }",
    "cast: { .count: string, .total.cents: float }",
    "cast: { .id: int }",
    "cast: { .at: string }",
    "{ when: .paid == true, cast: { .count: string } }",
    "redact: { fields: [.customer, .total.cents] }",
    "redact: { fields: [.lines], hash: { key: '${secret:k}' } }",
    "split: .lines",
    "split: { path: .parts }",
    "flatten: { path: .total, separator: _ }",
    "flatten: {}",
    "remap: '.a = .b'",
    "remap: '.a = .id; del(.id)'",
    "remap: 'if .paid == true { del(.id) } else { .x.y = .total }'",
    "remap: '. = { \"id\": .id, \"n\": .total.cents, \"l\": length!(.lines) }'",
    "remap: 'if .paid == true { . = { \"only\": .id } }'",
    "remap: '.total.cents = string!(.id)'",
    "remap: '.n = int(.id) ?? del(.count)'",
    "remap: '.n, .err = int(.id)'",
    "remap: '.n = to_int(.id) ?? null'",
    "remap: '.total = object(.total) ?? {}; .total |= { \"vat\": 1 }'",
    "remap: '. = merge(object!(.), { \"m\": .id })'",
    "remap: 'for_each(array!(.lines)) -> |i, x| { .last = .prev; .prev = x; .i = i }'",
    "remap: 'for_each(array!(.lines)) -> |_i, _x| { .c = .b; .b = .a; .a = .id }'",
    "remap: '.lines = map_values(array!(.lines)) -> |x| { x.sku }'",
    "remap: 'x = .total; x.z = 1; .x = x'",
    "remap: 'if .paid == true { return . }; del(.total)'",
    "remap: '.deep = (.a = .id)'",
    "remap: '.t = [.id, 1, { \"a\": .total }]; .u = .t[2].a'",
    "remap: '.z = .customer.email || \"none\"'",
    "remap: '.lines[1].sku = 5'",
    "remap: 'del(.total.cents); del(.lines[0])'",
    "remap: '.e = downcase(string!(.id)); .f = now(); .g = !bool!(.paid); .h = exists(.id) && .paid == true'",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// What is said to be nowhere is nowhere: whatever the steps make of a value has the shape that they are said to make.
    #[test]
    fn what_steps_make_has_the_shape_that_they_are_said_to_make(
        picked in prop::collection::vec(0..STEPS.len(), 1..6),
        start in prop::sample::select(VALUES.to_vec()),
    ) {
        let codec = codec();
        let mut walk = Walk::new(&codec, false);
        let mut events = vec![event(value(start))];
        let mut so_far = Vec::new();
        for at in picked {
            let yaml = STEPS[at];
            so_far.push(yaml);
            let item: Item = crate::spec::from_yaml(yaml).unwrap();
            let Ok(step) = item.build(0, &Context { references: &references(), plugins: &plugins() }) else { continue };
            walk.step(&item, &Path::root());
            let mut next = Vec::new();
            for event in events {
                // A record that fails here goes no further.
                match run(std::slice::from_ref(&step), event, Surroundings::default()) {
                    Ok(Emit::One(event)) => next.push(event),
                    Ok(Emit::Many(parts)) => next.extend(parts),
                    Ok(Emit::Filtered(_)) | Err(_) => {}
                }
            }
            events = next;
            for event in &events {
                let Body::Value(value) = &event.body else { panic!("a raw body") };
                prop_assert_eq!(holds(&walk.shape, value), Ok(()), "{:#?}: {}", so_far, value);
            }
        }
    }
}

#[test]
fn every_step_of_the_property_is_one() {
    let mut built = 0;
    for yaml in STEPS {
        let item: Item = crate::spec::from_yaml(yaml).unwrap_or_else(|found| panic!("{yaml}: {found:?}"));
        let step = [item
            .build(0, &Context { references: &references(), plugins: &plugins() })
            .unwrap_or_else(|found| panic!("{yaml}: {found:?}"))];
        let ran = VALUES.iter().any(|text| run(&step, event(value(text)), Surroundings::default()).is_ok());
        built += usize::from(ran);
    }
    assert!(built > 40, "{built}");
}

/// What is said of the items of `transforms`, behind an Avro source.
fn said(steps: &[&str]) -> Vec<String> {
    let codec = codec();
    let mut walk = Walk::new(&codec, false);
    for yaml in steps {
        let item: Item = crate::spec::from_yaml(yaml).unwrap_or_else(|found| panic!("{yaml}: {found:?}"));
        walk.step(&item, &Path::root());
    }
    let one = |seen: Seen| {
        let finding = seen.tree.finding;
        format!("{}: {}; {}", seen.tree.path.join("."), finding.message, finding.help.unwrap_or_default())
    };
    walk.found.into_iter().map(one).collect()
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn a_path_that_is_never_there_is_said_where_it_stands() {
    let no = "is not in the schema of the source";
    let gone = "is not in the value any more: a step before has taken it out";
    for (steps, expected) in [
        (
            vec![
                "filter: .total.cents == 1 && .labels.any == \"x\" && .lines[0].sku == \"a\" && %key == \"k\"",
            ],
            vec![],
        ),
        (
            vec!["filter: .total.cent == 1"],
            vec![format!("filter: `.total.cent` {no}; did you mean `.total.cents`?")],
        ),
        (
            vec!["filter: exists(.totl.cents)"],
            vec![format!("filter: `.totl` {no}; did you mean `.total.cents`?")],
        ),
        (
            vec!["{ when: .nothing == 1, remove: [.id] }"],
            vec![format!(
                "when: `.nothing` {no}; the value has `id`, `count`, `paid`, `at`, `total`, `customer`, `lines`, `labels`"
            )],
        ),
        (
            vec!["remap: '.id.x = 1; .y = .id.x; .z = .id.q'"],
            vec![format!("remap: `.id.q` {no}; `.id` has `x`")],
        ),
        (
            vec!["set: { .a: 'x {{ .id.x }}' }"],
            vec![format!("set..a: `.id.x` {no}; read `.id` as it is, or change it in a step before")],
        ),
        (
            vec!["redact: { fields: [.id, .custmer.email] }"],
            vec![format!("redact.fields.1: `.custmer` {no}; did you mean `.customer.email`?")],
        ),
        (vec!["rename: { .idd: .x }"], vec![format!("rename..idd: `.idd` {no}; did you mean `.id`?")]),
        (
            vec!["cast: { .lines.n: int }"],
            vec![format!(
                "cast..lines.n: `.lines.n` {no}; name an item, as in `.lines[0].n`, or `split` the list before"
            )],
        ),
        (
            vec!["remove: [.id]", "filter: .id == \"x\""],
            vec![format!(
                "filter: `.id` {gone}; the value has `count`, `paid`, `at`, `total`, `customer`, `lines`, `labels`"
            )],
        ),
        (vec!["{ when: .paid == true, remove: [.id] }", "filter: .id == \"x\""], vec![]),
        (
            vec!["split: .lines", "filter: .lines.sku == \"a\" && .lines[0] == 1"],
            vec![format!(
                "filter: `.lines[0]` {gone}; read `.lines` as it is, or change it in a step before"
            )],
        ),
        (
            vec!["split: .total"],
            vec!["split.path: `.total` is never a list; name a list, or take the step out".to_owned()],
        ),
        (
            vec!["flatten: { path: .id }"],
            vec!["flatten.path: `.id` is never an object; name an object, or take the step out".to_owned()],
        ),
        (vec!["flatten: {}", "filter: .anything.at.all == 1"], vec![]),
        (
            vec!["remap: '. = { \"n\": .total.cent }'", "filter: .m == 1"],
            vec![
                format!("remap: `.total.cent` {no}; did you mean `.total.cents`?"),
                format!("filter: `.m` {no}; the value has `n`"),
            ],
        ),
        (
            vec!["rename: { .total: .sum }", "filter: .sum.cents == 1", "filter: .total.cents == 1"],
            vec![format!(
                "filter: `.total` {gone}; the value has `id`, `count`, `paid`, `at`, `customer`, `lines`, `labels`, `sum`"
            )],
        ),
    ] {
        assert_eq!(said(&steps), expected, "{steps:?}");
    }
}

/// A file of a megabyte has room for many steps, and a schema for many types.
#[test]
fn many_steps_on_a_large_schema_take_no_time() {
    let fields: Vec<String> = (0..9_000).map(|at| format!(r#"{{"name":"f{at}","type":"string"}}"#)).collect();
    let text = format!(r#"{{"type":"record","name":"R","fields":[{}]}}"#, fields.join(","));
    let codec = Codec::Avro(Avro::new(text, Vec::new()).unwrap());
    let mut walk = Walk::new(&codec, false);
    let begun = crate::telemetry::clock::now();
    let perhaps: Item = crate::spec::from_yaml("{ when: .f1 == \"x\", set: { .a: '{{ .f2 }}' } }").unwrap();
    let program = format!("remap: |\n{}", "  if .f1 == \"x\" { .b = . }\n".repeat(300));
    let program: Item = crate::spec::from_yaml(&program).unwrap();
    let nests = format!("remap: |\n{}", "  .n = { \"in\": .n }\n".repeat(900));
    let nests: Item = crate::spec::from_yaml(&nests).unwrap();
    walk.step(&perhaps, &Path::root());
    walk.expression(&At::new(&Path::root(), &[]), ".nothing == 1");
    assert_eq!(walk.found.len(), 1);
    walk.step(&nests, &Path::root());
    walk.found.truncate(1);
    for _ in 0..100 {
        walk.step(&perhaps, &Path::root());
        walk.step(&program, &Path::root());
    }
    let small =
        Codec::Avro(Avro::new(r#"{"type":"record","name":"R","fields":[]}"#.to_owned(), Vec::new()).unwrap());
    let mut deep = Walk::new(&small, false);
    for _ in 0..100 {
        deep.step(&nests, &Path::root());
    }
    assert!(deep.shape.depth() < 200 && deep.found.len() == 1, "{}", deep.shape.depth());
    assert_eq!((walk.found.len(), &walk.shape), (1, &Shape::Anything));
    assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
}

/// A message that holds itself several times, and many fields; and as many texts that one may be.
#[test]
fn what_a_shape_takes_is_bounded_by_no_more_than_its_schema() {
    let fields: String = (0..1_000).map(|at| format!("string f{at} = {};", at + 10)).collect();
    let text = format!("syntax = \"proto3\"; message M {{ M a = 1; M b = 2; M c = 3; {fields} }}");
    let document = crate::codec::Document { path: "m.proto".to_owned(), text };
    let codec = Codec::Protobuf(crate::codec::Protobuf::new(document, Vec::new()).unwrap());
    assert!(codec.shape(Use::Read).nodes() < 100_000, "{}", codec.shape(Use::Read).nodes());
    let texts: Vec<serde_json::Value> =
        (0..5_000).map(|at| serde_json::json!({ "const": format!("c{at}") })).collect();
    let properties: serde_json::Map<String, serde_json::Value> =
        (0..500).map(|at| (format!("p{at}"), true.into())).collect();
    let mut schema = serde_json::json!({
        "type": "object", "additionalProperties": false,
        "properties": { "s": { "oneOf": texts }, "a": { "$ref": "#" }, "b": { "$ref": "#" }, "c": { "$ref": "#" } },
    });
    schema["properties"].as_object_mut().unwrap().extend(properties);
    let document = crate::codec::Document { path: "m.json".to_owned(), text: schema.to_string() };
    let codec = Codec::JsonSchema(crate::codec::JsonSchema::new(document, Vec::new()).unwrap());
    assert!(codec.shape(Use::Read).nodes() < 100_000, "{}", codec.shape(Use::Read).nodes());
    let begun = crate::telemetry::clock::now();
    let mut walk = Walk::new(&codec, false);
    let reads: Item = crate::spec::from_yaml(&format!("remap: |\n{}", "  .v = .s\n".repeat(300))).unwrap();
    walk.step(&reads, &Path::root());
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
}
