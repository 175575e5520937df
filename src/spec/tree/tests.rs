//! The tree over YAML: positions, traps and what the reader refuses.

use std::time::Duration;

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

use super::*;
use crate::spec::diagnostic::{self, human};

fn parse(text: &str) -> (Option<Document>, Vec<Diagnostic>) {
    let source = Source::new("a.yaml", text);
    let mut findings = Vec::new();
    let document = Document::parse(&source, &mut findings);
    (document, findings)
}

fn value_of(text: &str) -> Value {
    let (document, mut findings) = parse(text);
    let value = read(&mut document.unwrap(), &mut findings).unwrap();
    assert_eq!(findings, [], "{text}");
    value
}

fn codes(text: &str) -> Vec<&'static str> {
    let (document, mut findings) = parse(text);
    if let Some(mut document) = document {
        read::<Value>(&mut document, &mut findings);
    }
    diagnostic::sort(&mut findings);
    findings.iter().map(|finding| finding.code).collect()
}

#[test]
fn values_are_those_of_yaml_1_2() {
    let text =
        "a: NO\nb: on\nc: 12:30:00\nd: true\ne: 1e3\nf: -3\ng: '5'\nh: ~\ni: [x, {j: 1}]\nk: |\n  l\n   m\n";
    let expected = json!({ "a": "NO", "b": "on", "c": "12:30:00", "d": true, "e": 1000.0, "f": -3, "g": "5",
        "h": null, "i": ["x", { "j": 1 }], "k": "l\n m\n" });
    assert_eq!(value_of(text), expected);
    assert_eq!(value_of(""), json!({}));
    assert_eq!(value_of("# only a comment\n"), json!({}));
    assert_eq!(value_of("\u{feff}a: 1"), json!({ "a": 1 }));
}

#[test]
fn aliases_and_merge_keys_work_within_bounds() {
    assert_eq!(
        value_of("a: &x { b: 1 }\nc: { <<: *x, d: 2 }\n"),
        json!({ "a": { "b": 1 }, "c": { "d": 2, "b": 1 } })
    );
    assert_eq!(codes("a: &x .b\n"), ["W0108"]);
    assert_eq!(codes("a: &x [*x]\n"), ["W0110"]);
    let mut bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for (new, old) in ('b'..='j').zip('a'..='i') {
        bomb.push_str(&format!(
            "{new}: &{new} [*{old},*{old},*{old},*{old},*{old},*{old},*{old},*{old},*{old},*{old}]\n"
        ));
    }
    assert!(codes(&bomb).contains(&"W0110"));
    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(500_000), "*a, ".repeat(1000));
    assert_eq!(codes(&long), ["W0110"]);
}

#[test]
fn hostile_files_end_in_an_error_and_in_bounded_time() {
    let began = crate::telemetry::clock::now();
    for (text, code) in [
        ("[".repeat(10_000), "W0110"),
        ("{a: ".repeat(10_000), "W0110"),
        ((0..10_000).map(|n| " ".repeat(n % 200) + "a:\n").collect(), "W0110"),
        ((0..40_000).map(|n| format!("k{n}: 1\n")).collect::<String>() + "k7: 1\n", "W0103"),
        ("- ".repeat(10_000), "W0110"),
        (format!("a: {}", "x".repeat(10 << 20)), "W0102"),
        (format!("[{}]", "1,".repeat(400_000)), "W0110"),
        ("a: b\0c".to_owned(), "W0102"),
        ("a: !!python/object:os.system x".to_owned(), "W0109"),
        ("a: 1\n---\nb: 2\n".to_owned(), "W0113"),
        ("a: 1\na: 2\n".to_owned(), "W0103"),
        ("a: 017\n".to_owned(), "W0106"),
        ("a:\n\tb: 1\n".to_owned(), "W0101"),
        ("a: *nobody\n".to_owned(), "W0108"),
        ("? [a]\n: b\n".to_owned(), "W0106"),
        ("a: 'x".to_owned(), "W0101"),
    ] {
        let found = codes(&text);
        let head: String = text.chars().take(40).collect();
        assert!(found.contains(&code), "{head}: {found:?}, not {code}");
    }
    assert!(began.elapsed() < Duration::from_secs(60));
}

#[test]
fn several_syntax_errors_are_found_in_one_go() {
    let text = "a: %x\nb: 1\nc: \"x\" == y\nd:\n  - { u: ${v}/w }\n  - ok\ne: {{ .f }}\n";
    assert_eq!(codes(text), ["W0108", "W0108", "W0108", "W0108"]);
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Spec {
    name: String,
    #[serde(default)]
    count: u32,
    #[serde(default)]
    inner: Vec<Inner>,
    when: Option<String>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Inner {
    topic: String,
    kind: Option<Word>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    Alpha,
    Beta,
}

#[test]
fn every_finding_of_a_typed_file_comes_in_one_go() {
    let text = "nam: x\ncount: many\nwhen:\ninner:\n  - { topic: a, kind: alpa }\n  - { kind: beta }\n  - [1]\n  - { topic: [b] }\nfoo: 1\n";
    let (document, mut findings) = parse(text);
    assert!(read::<Spec>(&mut document.unwrap(), &mut findings).is_none());
    diagnostic::sort(&mut findings);
    let shown: String = findings.iter().map(diagnostic::short).collect();
    let expected = "\
a.yaml:1:1: error[W0104]: unknown field `nam`; help: did you mean `name`?
a.yaml:2:8: error[W0106]: `count` takes a whole number, not the text `many`; help: write digits alone, such as 8
a.yaml:3:1: error[W0107]: `when` has no value; cause: a key without a value is not the same as no key; help: give it a value (what belongs to it is indented further), or take the key out
a.yaml:5:23: error[W0106]: `alpa` is not known here; help: did you mean `alpha`?
a.yaml:6:7: error[W0105]: `inner[1]` lacks the field `topic`; help: add it: topic: ..
a.yaml:7:6: error[W0106]: `inner[2]` takes a mapping, not a list; help: write a block; its fields are topic, kind
a.yaml:8:7: error[W0106]: `inner[3].topic` takes a text, not a list; help: write one text, without brackets
a.yaml:9:1: error[W0104]: unknown field `foo`; help: the fields are name, count, inner, when
";
    assert_eq!(shown, expected);
    let (document, mut findings) = parse("name: 5\ninner: [{ topic: t, kind: beta }]\n");
    let read: Spec = read(&mut document.unwrap(), &mut findings).unwrap();
    assert_eq!((read.name.as_str(), read.inner.len(), findings.len()), ("5", 1, 0));
}

/// Every character of a scalar's text is found back in the file.
fn locates(text: &str, path: &Path) {
    let (document, findings) = parse(text);
    assert_eq!(findings, [], "{text}");
    let document = document.unwrap();
    let node = document.at(path).unwrap();
    let value = node.text().unwrap();
    for (at, c) in value.char_indices().filter(|(_, c)| !c.is_whitespace()) {
        let span = node.locate(&document.source, at..at + c.len_utf8());
        let found = document.source.slice(span);
        let escaped = found.starts_with('\\') || found.starts_with('\'');
        assert!(found.starts_with(c) || escaped, "{c:?} at {at} of {value:?}: found {found:?} in {text:?}");
    }
}

#[test]
fn a_place_in_a_text_is_a_place_in_the_file() {
    let path = Path::root().then("a");
    for text in [
        "a: plain é text\n",
        "a: 'it''s\n  b\n   \n\n  c'\n",
        "a: \"x\\\n   y\\n\\u00e9 \\x41 z\n   w\"\n",
        "a: |\n  .a = 1\n   .b = 2\n\n  .c = é\n",
        "a: |2-\n\n     .a = 1\n    .b\n",
        "a: |\r\n  one\r\n  two\r\n",
        "a: >\n  one\n  two\n\n  three\n",
        "a: one\n  two\n\n  three\nb: 1\n",
        "a: |+\n  one\n\n\n",
    ] {
        locates(text, &path);
    }
    let (document, _) = parse("steps:\n  - remap: |\n      .x = 1\n      .amount = int!(.totl)\n");
    let document = document.unwrap();
    let path = Path::root().then("steps").then(0).then("remap");
    let text = document.at(&path).unwrap().text().unwrap();
    let at = text.find(".totl").unwrap();
    let finding = Diagnostic::error("W0311", "m", document.label_in(&path, at..at + 5, "here"));
    let expected = "\
error[W0311]: m
  --> a.yaml:4:22
  |
4 |       .amount = int!(.totl)
  |                      ^^^^^ here
";
    assert_eq!(human(&finding, false), expected);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_the_reader_panic(text in "[-:{}\\[\\]\"'|>&*!%#,?@` a-c\n\t0-9~\\\\é<]{0,120}") {
        let (document, mut findings) = parse(&text);
        if let Some(mut document) = document {
            read::<Spec>(&mut document, &mut findings);
            read::<Value>(&mut document, &mut findings);
            visit(&document.root, &mut |node| {
                let length = node.text().map_or(0, str::len);
                for at in 0..=length {
                    let span = node.locate(&document.source, at..length);
                    prop_assert!(span.start <= span.end && span.end <= text.len() + 1);
                }
                Ok(())
            })?;
        }
        for finding in &findings {
            human(finding, true);
            diagnostic::short(finding);
            diagnostic::json(finding);
        }
    }

    #[test]
    fn any_text_can_be_written_and_read_back(text in "[^\u{0}-\u{1f}\u{7f}-\u{9f}\u{fffe}\u{ffff}]{0,60}") {
        let double = serde_json::to_string(&text).unwrap();
        prop_assert_eq!(value_of(&format!("a: {double}")), json!({ "a": text }));
        let single = format!("a: '{}'", text.replace('\'', "''"));
        prop_assert_eq!(value_of(&single), json!({ "a": text }));
    }
}

fn visit(
    node: &Node,
    each: &mut impl FnMut(&Node) -> Result<(), TestCaseError>,
) -> Result<(), TestCaseError> {
    each(node)?;
    node.items().iter().try_for_each(|item| visit(item, each))?;
    node.entries().iter().try_for_each(|entry| visit(&entry.value, each))
}
