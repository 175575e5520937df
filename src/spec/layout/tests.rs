//! The standard form: what it looks like, that it keeps meaning and comments, and that it says no.

use proptest::prelude::*;

use super::*;
use crate::spec::diagnostic;

fn form(text: &str) -> Result<String, String> {
    layout(&Source::new("a.yaml", text)).map_err(|list| list.iter().map(diagnostic::short).collect())
}

#[test]
fn the_form_and_the_comments_in_it() {
    let text = "\u{feff}# a booking\npipeline:   booking\n\n\n\nsource:  {topic: 't',format:   json}   # where from\ntransforms:\n- filter: .a == \"x\"\n# the next\n-   set: { .b: [1,2] }\n- remap: |\n      .a = 1\n\n      .b = 2   # not YAML's\nhandler: log\n";
    let expected = "# a booking\npipeline: booking\n\nsource: { topic: \"t\", format: json } # where from\ntransforms:\n  - filter: .a == \"x\"\n  # the next\n  - set: { .b: [1, 2] }\n  - remap: |\n      .a = 1\n\n      .b = 2   # not YAML's\nhandler: log\n";
    assert_eq!(form(text).as_deref(), Ok(expected));
    assert_eq!(form(expected).as_deref(), Ok(expected));
}

#[test]
fn what_is_ignored_stays_as_it_is() {
    let text = "a:   1\n# weir-fmt-ignore\nb:   [1,\n   2]\nc:   3\n";
    assert_eq!(form(text).as_deref(), Ok("a: 1\n# weir-fmt-ignore\nb:   [1,\n   2]\nc: 3\n"));
}

#[test]
fn line_breaks_of_windows_are_kept() {
    assert_eq!(form("a:   1\r\nb: |\r\n   x\r\n   y\r\n").as_deref(), Ok("a: 1\r\nb: |\r\n  x\r\n  y\r\n"));
}

#[test]
fn a_file_without_a_value_has_a_form() {
    assert_eq!(form("").as_deref(), Ok(""));
    assert_eq!(form("\n \n").as_deref(), Ok(""));
    assert_eq!(form("# only a comment").as_deref(), Ok("# only a comment\n"));
}

#[test]
fn wrong_yaml_has_none_and_wrong_keys_have_one() {
    assert!(form("a: %x\n").unwrap_err().starts_with("a.yaml:1:4: error[W0108]"));
    assert!(form("a: 1\na: 2\n").unwrap_err().starts_with("a.yaml:2:1: error[W0103]"));
    assert!(form("when: !exists(.a)\n").unwrap_err().contains("W0109"));
    assert_eq!(form("retries:   8\n").as_deref(), Ok("retries: 8\n"));
}

/// Spaces at the end of an empty line of a `|` block are text, which the form would take away.
#[test]
fn a_form_that_means_something_else_is_none() {
    let said = form("a: 1\nb: |\n  x\n     \n  y\n").unwrap_err();
    assert!(said.starts_with("a.yaml:3:3: error[W0118]: the standard form"), "{said}");
    assert!(said.contains("take the spaces at the end of a line out"), "{said}");
    let ignored = "a: 1\n# weir-fmt-ignore\nb: |\n  x\n     \n  y\n";
    assert_eq!(form(ignored).as_deref(), Ok(ignored));
}

/// Values that have been trouble for formatters, one a line.
const SCALARS: &[&str] = &[
    "x",
    "5",
    "'5'",
    "\"5\"",
    "~",
    "null",
    "true",
    "'true'",
    "NO",
    "1e3",
    "0x1F",
    "'it''s'",
    "\"a 'b' \\\"c\\\"\"",
    "\"\\u00e9\\n\\t\"",
    "'a \"b\"'",
    ".a == \"x\"",
    "\"%a\"",
    "'%a'",
    "\"{{ .a }}\"",
    "${var:x}/{{ .a }}",
    "a#b",
    "'a # b'",
    "\"# x\"",
    "a:b",
    "'a: b'",
    "-x",
    "é ü 日本",
    "\"\"",
    "''",
    "[]",
    "{}",
    "\"x\\\\\"",
    "'\\d+'",
    "12:30:00",
    "?x",
    "'- x'",
];

fn scalar() -> impl Strategy<Value = String> {
    prop_oneof![
        proptest::sample::select(SCALARS).prop_map(str::to_owned),
        "[a-z]{1,30}( [a-z]{1,12}){0,12}",
        "[ -~]{0,20}".prop_map(|text| serde_json::to_string(&text).unwrap()),
        "[ -~]{0,20}".prop_map(|text| format!("'{}'", text.replace('\'', "''"))),
    ]
}

fn comment() -> impl Strategy<Value = String> {
    prop_oneof![4 => Just(String::new()), 1 => "#[ -~é]{0,20}"]
}

/// A value in flow form.
fn flow(depth: u32) -> BoxedStrategy<String> {
    scalar()
        .prop_filter("no expression with a comma or a bracket", |text| {
            text.starts_with(['"', '\'']) || !text.contains([',', '{', '}', '[', ']', '"', '#'])
        })
        .prop_recursive(depth, 12, 4, |inner| {
            let gap = proptest::sample::select(&["", " ", "   "][..]);
            let list = (gap.clone(), proptest::collection::vec(inner.clone(), 0..4))
                .prop_map(|(gap, items)| format!("[{gap}{}{gap}]", items.join(&format!(",{gap}"))));
            let map = (gap, proptest::collection::vec(inner, 0..4)).prop_map(|(gap, values)| {
                let entries: Vec<String> =
                    values.iter().enumerate().map(|(n, value)| format!("k{n}: {value}")).collect();
                format!("{{{gap}{}{gap}}}", entries.join(&format!(",{gap}")))
            });
            prop_oneof![list, map]
        })
        .boxed()
}

/// Lines of a block, without their indentation.
fn block(depth: u32) -> BoxedStrategy<Vec<String>> {
    let text = proptest::collection::vec("[ -~é]{0,40}", 1..5);
    let leaf = (prop_oneof![3 => flow(2), 1 => scalar()], comment()).prop_map(|(value, comment)| {
        vec![if comment.is_empty() { value } else { format!("{value}  {comment}") }]
    });
    let literal =
        (proptest::sample::select(&["|", "|-", "|+", ">", ">-"][..]), text).prop_map(|(head, lines)| {
            let lines = lines.into_iter().map(|line| format!("  x{line}"));
            std::iter::once(head.to_owned()).chain(lines).collect()
        });
    prop_oneof![5 => leaf, 1 => literal]
        .prop_recursive(depth, 20, 5, |inner| {
            let entry = (inner, comment(), 0..3usize, 1..4usize, any::<bool>());
            proptest::collection::vec(entry, 1..5).prop_map(|entries| {
                let list = entries.first().is_some_and(|entry| entry.4);
                let mut lines = Vec::new();
                for (n, (value, comment, blank, indent, _)) in entries.into_iter().enumerate() {
                    lines.extend(std::iter::repeat_n(String::new(), blank));
                    if !comment.is_empty() {
                        lines.push(comment);
                    }
                    put(&mut lines, &if list { "-".to_owned() } else { format!("k{n}:") }, &value, indent);
                }
                lines
            })
        })
        .boxed()
}

/// A value behind its key or dash: on the same line where it is one line or a block scalar, else below, indented.
fn put(lines: &mut Vec<String>, head: &str, value: &[String], indent: usize) {
    let below = |line: &String| if line.is_empty() { String::new() } else { " ".repeat(indent) + line };
    let first = value.first().cloned().unwrap_or_default();
    let nested = value.iter().any(|line| line.starts_with('-') && line.len() > 1 && !line.starts_with("-x"))
        || value.iter().any(|line| line.starts_with('k') && line.contains(':'))
        || value.iter().any(|line| line == "-" || line.starts_with('#') || line.is_empty());
    if nested && !first.starts_with(['|', '>']) {
        lines.push(head.to_owned());
        lines.extend(value.iter().map(below));
    } else {
        lines.push(format!("{head} {first}"));
        lines.extend(value.iter().skip(1).map(below));
    }
}

fn keeps_the_meaning(text: &str) -> Result<(), TestCaseError> {
    let read = |text: &str| {
        let mut findings = Vec::new();
        let document = Document::parse(&Source::new("a.yaml", text), &mut findings);
        document.filter(|_| findings.is_empty())
    };
    let Some(before) = read(text) else { return Ok(()) };
    match form(text) {
        Ok(form_of_it) => {
            let after = read(&form_of_it);
            prop_assert!(after.is_some(), "{:?} became {:?}", text, form_of_it);
            prop_assert_eq!(after.and_then(|after| before.root.first_difference(&after.root)), None);
            let words = |text: &str| comments(text).into_iter().map(|(_, c)| c).collect::<Vec<_>>();
            prop_assert_eq!(words(text), words(&form_of_it), "{:?} became {:?}", text, &form_of_it);
            prop_assert_eq!(form(&form_of_it), Ok(form_of_it));
        }
        Err(said) => prop_assert!(said.contains("W0118"), "{:?}: {}", text, said),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn the_form_of_a_form_is_itself_and_means_the_same(lines in block(3), crlf in proptest::bool::weighted(0.1)) {
        let text = lines.join(if crlf { "\r\n" } else { "\n" }) + "\n";
        keeps_the_meaning(&text)?;
    }

    #[test]
    fn no_text_is_changed_in_its_meaning(text in "[-:{}\\[\\]\"'|>&*!%#,?@` a-c\n0-9~\\\\é<]{0,80}") {
        keeps_the_meaning(&text)?;
    }
}

/// Most generated documents have a form.
#[test]
fn documents_have_a_form() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut read, mut laid_out) = (0, 0);
    for _ in 0..300 {
        let lines = block(3).new_tree(&mut runner).unwrap().current();
        let text = lines.join("\n") + "\n";
        let mut findings = Vec::new();
        if Document::parse(&Source::new("a.yaml", text.as_str()), &mut findings).is_some()
            && findings.is_empty()
        {
            read += 1;
            laid_out += usize::from(form(&text).is_ok());
        }
    }
    assert!(read > 200 && laid_out * 10 > read * 9, "{read} of 300 are YAML, {laid_out} have a form");
}
