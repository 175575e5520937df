//! `weir test` as a program: the repository's own tests pass, each kind of expectation can fail, and what is wrong with a file
//! is said.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::run::{Folder, root};

/// What the program says in a folder: exit code, results, and everything else.
fn weir(arguments: &[&str], folder: &Path) -> (Option<i32>, String, String) {
    let ran = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(["--color", "never"])
        .args(arguments)
        .current_dir(folder)
        .env_remove("WEIR_CONFIG")
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (ran.status.code(), text(ran.stdout), text(ran.stderr))
}

/// Real time differs from run to run.
fn without_time(text: &str) -> String {
    let seconds = regex::Regex::new(r"\d+\.\d\d s \(").unwrap();
    seconds.replace_all(text, "0.00 s (").into_owned()
}

#[test]
fn the_repositorys_own_tests_pass() {
    let (code, out, said) = weir(&["test", "-o", "json"], root());
    let told: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{said}"));
    let failed: Vec<&Value> =
        told["tests"].as_array().unwrap().iter().filter(|test| test["passed"] != true).collect();
    assert_eq!((code, failed.len(), said.as_str()), (Some(0), 0, ""), "{failed:#?}");
    assert_eq!(told["schema"], "weir.test/v1");
    let of_file = |file: &str| {
        let tests = told["tests"].as_array().unwrap().iter();
        tests.filter(|test| test["file"] == format!("pipelines/{file}.test.yaml")).count()
    };
    let counts = [
        "booking",
        "booking-cancellation",
        "order-billing",
        "order-invoices",
        "order-summary",
        "shop-events",
    ]
    .map(of_file);
    assert_eq!(counts, [4, 4, 7, 7, 3, 6]);
    assert_eq!(told["passed"], 31);
    assert!(told["virtual_seconds"].as_f64().unwrap() > 60.0, "minutes of waits in no time: {told}");
    assert!(told["seconds"].as_f64().unwrap() < 30.0, "{told}");
}

/// The folders of tests/cases/rehearsal, each with what is said of it.
#[test]
fn what_is_wrong_is_said_and_each_kind_of_expectation_fails() {
    let mut wrong = Vec::new();
    for (folder, expected) in [("caught", 1), ("wrong", 78), ("wrong-pipeline", 78), ("nothing", 1)] {
        let folder = root().join("tests/cases/rehearsal").join(folder);
        let (code, out, said) = weir(&["test", "."], &folder);
        assert_eq!(code, Some(expected), "{}: {out}{said}", folder.display());
        let text = without_time(&format!("{said}{out}"));
        let path = folder.join("expected.txt");
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            fs::write(&path, &text).unwrap();
        } else if fs::read_to_string(&path).unwrap_or_default() != text {
            wrong.push(format!("{}:\n{text}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "UPDATE_EXPECT=1 writes these anew:\n{}", wrong.join("\n"));
}

/// Registries, signatures, tokens, batches, rates, splits, holds: what the samples of the repository have not.
#[test]
fn what_production_does_a_test_does() {
    let folder = root().join("tests/cases/rehearsal/passes");
    let (code, out, said) = weir(&["test"], &folder);
    assert_eq!(code, Some(0), "{out}{said}");
    assert!(out.contains("18 tests, 18 passed, 0 failed"), "{out}");
}

/// None of the expectations of `caught` may be taken for true.
#[test]
fn no_wrong_expectation_passes() {
    let folder = root().join("tests/cases/rehearsal/caught");
    let (_, out, _) = weir(&["test", ".", "-o", "json"], &folder);
    let told: Value = serde_json::from_str(&out).unwrap();
    let passed: Vec<&str> = told["tests"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|test| test["passed"] == true)
        .filter_map(|test| test["name"].as_str())
        .collect();
    assert_eq!(passed, Vec::<&str>::new());
    assert_eq!(told["failed"], 26);
}

const PIPELINE: &str =
    "pipeline: a\nsource: t\nhandler: https://a.test/v1\nretry: { max_attempts: 2 }\ndlq: t.dlq\n";
const TESTS: &str = "# kept
pipeline: a
given: { key: k, value: { id: 1 } } # kept too
tests:
  - name: first
    replies: [503, 201]
    # this comment stays
    expect: { outcome: filtered, attempts: 2, waits: [5s], requests: [{ body: { id: 2 } }, { contains: { id: 3 } }] }
  - name: second
    replies: [422]
    expect:
      outcome: delivered # gone with what it was about
      dlq: { reason: exhausted, headers: { weir-status: \"400\" } }
";

#[test]
fn update_writes_what_failed_and_nothing_else() {
    let folder = Folder::new("rehearsal-update");
    fs::write(folder.path().join("a.yaml"), PIPELINE).unwrap();
    fs::write(folder.path().join("a.test.yaml"), TESTS).unwrap();
    assert_eq!(weir(&["test", "."], folder.path()).0, Some(1));
    let (code, out, said) = weir(&["test", ".", "--update"], folder.path());
    assert_eq!(code, Some(0), "{out}{said}");
    assert!(said.contains("updated ./a.test.yaml"), "{said}");
    let text = fs::read_to_string(folder.path().join("a.test.yaml")).unwrap();
    for line in [
        "# kept",
        "given: { key: k, value: { id: 1 } } # kept too",
        "    # this comment stays",
        "outcome: delivered, attempts: 2, waits: [1s], requests: [{ body: { id: 1 } }, { contains: { id: 1 } }]",
        "outcome: dead_lettered",
        "dlq: { reason: rejected, headers: { weir-status: \"422\" } }",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    let (code, _, said) = weir(&["test", ".", "--update"], folder.path());
    assert_eq!((code, said.as_str()), (Some(0), ""), "nothing is left to update");
    assert_eq!(fs::read_to_string(folder.path().join("a.test.yaml")).unwrap(), text);
}

#[test]
fn a_part_is_chosen_and_none_is_a_failure_unless_allowed() {
    let (code, out, said) = weir(&["test", "--filter", "invoice", "-o", "json"], root());
    let told: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{said}"));
    let names: Vec<&str> =
        told["tests"].as_array().unwrap().iter().filter_map(|test| test["name"].as_str()).collect();
    assert_eq!(code, Some(0), "{names:?}");
    assert!(names.contains(&"a paid order becomes one invoice") && names.len() < 31, "{names:?}");
    assert_eq!(told["coverage"], Value::Array(Vec::new()), "a part says nothing of the whole");
    let (code, _, said) = weir(&["test", "--filter", "no such test"], root());
    assert_eq!(code, Some(1));
    assert!(said.contains("no test has `no such test` in its name"), "{said}");
    assert_eq!(weir(&["test", "--filter", "no such test", "--allow-none"], root()).0, Some(0));
    assert_eq!(weir(&["test", "no-such-folder"], root()).0, Some(2));
    assert_eq!(weir(&["test", "-o", "sarif"], root()).0, Some(2));
}

#[test]
fn what_no_test_exercises_is_named() {
    let (_, out, _) = weir(&["test", "pipelines/booking.test.yaml"], root());
    assert!(
        out.contains("Never exercised: booking.payment retry; ") && out.contains("; and 1 more."),
        "{out}"
    );
    let (_, out, _) = weir(&["test", "pipelines/booking.test.yaml", "--coverage"], root());
    assert!(out.contains("NO   booking.notification dead letter"), "{out}");
    let (_, out, _) = weir(&["test", "pipelines/order-billing.yaml", "--coverage"], root());
    for line in [
        "yes  order-billing filter-0 keeps",
        "yes  order-billing filter-0 drops",
        "yes  order-billing give up after 8 attempts",
        "yes  order-billing dead letter",
    ] {
        assert!(out.contains(line), "{line}\n{out}");
    }
}

#[test]
fn junit_has_a_suite_for_each_file() {
    let folder = root().join("tests/cases/rehearsal/caught");
    let (code, out, _) = weir(&["test", ".", "-o", "junit"], &folder);
    assert_eq!(code, Some(1));
    assert!(out.starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?>"), "{out}");
    assert_eq!(out.matches("<testsuite ").count(), 2, "{out}");
    assert_eq!(out.matches("<failure ").count(), 26, "{out}");
    assert!(out.contains("waits: expected [1s, 30s], got [2s, 30s]"), "{out}");
}

#[test]
fn check_reads_tests_too_and_the_schema_takes_ours() {
    let (code, out, said) = weir(&["check", "pipelines"], root());
    assert_eq!(code, Some(0), "{out}{said}");
    assert!(out.contains("12 files checked"), "{out}{said}");
    let (code, out, _) = weir(&["check", "."], &root().join("tests/cases/rehearsal/wrong"));
    assert_eq!(code, Some(1));
    assert!(out.contains("W0213") && out.contains("W0104"), "{out}");

    let validator = jsonschema::validator_for(&weir::cli::export::test_schema()).unwrap();
    for file in weir::spec::files::tests_at(&root().join("pipelines")).unwrap() {
        let source = weir::spec::files::source(&file).unwrap();
        let mut findings = Vec::new();
        let mut document = weir::spec::tree::Document::parse(&source, &mut findings).unwrap();
        let value: Value = weir::spec::tree::read(&mut document, &mut findings).unwrap();
        let errors: Vec<String> =
            validator.iter_errors(&value).map(|e| format!("{e} at {}", e.instance_path())).collect();
        assert!(errors.is_empty(), "{}: {errors:?}", file.display());
    }
    assert!(
        !validator
            .is_valid(&serde_json::json!({ "pipeline": "a", "tests": [{ "name": "x", "expected": {} }] }))
    );
}

const ORDER: &str = r#"{
  "key": "o-1",
  "value": {
    "id": "o-1", "status": "PAID", "total": { "cents": 42, "currency": "EUR" },
    "customer": { "email": "A@b.c", "card": "41111111" }
  }
}"#;

#[test]
fn one_event_is_tried_step_by_step_and_kept_as_a_test() {
    let folder = Folder::new("rehearsal-try");
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("pipelines")).unwrap();
    fs::copy(root().join("pipelines/order-billing.yaml"), at("pipelines/order-billing.yaml")).unwrap();
    // Nobody listens there, and nobody is to.
    fs::write(at("weir.yaml"), "vars: { billing_url: http://127.0.0.1:9 }\n").unwrap();
    fs::write(at("event.json"), ORDER).unwrap();
    let tried = ["try", "order-billing", "--event", "event.json"];
    let (code, out, said) = weir(&tried, folder.path());
    assert_eq!(code, Some(0), "{out}{said}");
    for line in [
        "+ .amount_cents  42",
        "~ .customer.card  \"41111111\" -> \"***1111\"",
        "POST http://127.0.0.1:9/v1/invoices",
        "not sent: ",
    ] {
        assert!(out.contains(line), "{line}\n{out}");
    }
    let (code, out, _) = weir(&[&tried[..], &["--reply", "503,201", "-o", "json"]].concat(), folder.path());
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &told["schema"], &told["sent"]), (Some(0), &"weir.try/v1".into(), &false.into()));
    assert_eq!(told["requests"].as_array().unwrap().len(), 2);
    let outcome = &told["outcomes"][0];
    assert_eq!((&outcome["outcome"], &outcome["attempts"]), (&"delivered".into(), &2.into()));

    for name in ["first", "second"] {
        let save = ["--reply", "422", "--save-test", name];
        let (code, out, said) = weir(&[&tried[..], &save].concat(), folder.path());
        assert_eq!(code, Some(0), "{out}{said}");
        assert!(
            out.contains("dead-letters to shop.orders.billing.dlq") && said.contains("saved"),
            "{out}{said}"
        );
    }
    // The file lacks the variable, and that is said; with it both tests pass.
    let (code, _, said) = weir(&["test"], folder.path());
    assert_eq!(code, Some(78));
    assert!(said.contains("add `billing_url` to `vars` of order-billing.test.yaml"), "{said}");
    let text = fs::read_to_string(at("pipelines/order-billing.test.yaml")).unwrap();
    let text = text.replace("tests:", "vars: { billing_url: \"http://127.0.0.1:9\" }\ntests:");
    fs::write(at("pipelines/order-billing.test.yaml"), text).unwrap();
    let (code, out, said) = weir(&["test"], folder.path());
    assert_eq!(code, Some(0), "{out}{said}");
    assert!(out.contains("2 tests, 2 passed"), "{out}");
    assert_eq!(weir(&["try", "order-biling", "--event", "event.json"], folder.path()).0, Some(2));
}

/// A receiver that is really there sees the request.
#[test]
fn what_is_tried_is_sent_when_asked_for() {
    let folder = Folder::new("rehearsal-send");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let text = format!("pipeline: a\nsource: t\nhandler: http://{address}/v1\n");
    fs::write(folder.path().join("a.yaml"), text).unwrap();
    fs::write(folder.path().join("e.json"), r#"{ "id": 1 }"#).unwrap();
    let served = std::thread::Builder::new().spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
        let first = lines.next().unwrap();
        lines.by_ref().take_while(|line| !line.is_empty()).for_each(drop);
        stream.write_all(b"HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n").unwrap();
        first
    });
    let (code, out, said) = weir(&["try", "a.yaml", "--event", "e.json", "--send"], folder.path());
    assert_eq!(code, Some(0), "{out}{said}");
    assert!(out.contains("a: delivered, 1 attempts"), "{out}");
    assert_eq!(served.unwrap().join().unwrap(), "POST /v1 HTTP/1.1");
}

#[test]
fn no_secret_is_shown_by_a_trial() {
    let folder = Folder::new("rehearsal-secrets");
    let text = "pipeline: a
source: t
handler:
  webhook:
    url: https://a.test/v1?key=${secret:one}
    headers: { x-key: \"${secret:one}\" }
    body: { token: \"${secret:one}\", id: \"{{ .id }}\" }
";
    fs::write(folder.path().join("a.yaml"), text).unwrap();
    fs::write(folder.path().join("e.json"), r#"{ "id": 1 }"#).unwrap();
    for form in ["human", "json"] {
        let ran = Command::new(env!("CARGO_BIN_EXE_weir"))
            .args(["try", "a.yaml", "--event", "e.json", "-o", form])
            .current_dir(folder.path())
            .env_remove("WEIR_CONFIG")
            .env("WEIR_SECRET_ONE", "c4n4ry")
            .output()
            .unwrap();
        let said = format!("{ran:?}");
        assert_eq!(ran.status.code(), Some(0), "{said}");
        assert!(said.contains("/v1?key=***") && !said.contains("c4n4ry"), "{said}");
    }
}
