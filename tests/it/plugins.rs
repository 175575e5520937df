//! Plugins: the examples of `plugins/`, in Go and AssemblyScript, built and run; and hostile ones, which harm nothing but their
//! own record (B-07).

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rdkafka::message::OwnedHeaders;
use serde_json::{Value, json};

use crate::dead_letters::send;
use crate::delivery::Stage;
use crate::outage::resident;
use crate::support::load::Load;
use crate::support::receiver::status;
use crate::support::run::{root, until};

/// The folder of the built examples.
fn examples() -> PathBuf {
    let built = Command::new(root().join("scripts/plugins")).stdin(Stdio::null()).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    PathBuf::from(String::from_utf8(built.stdout).unwrap().trim())
}

/// A pipeline whose plugins lie in `folder`.
async fn scene(test: &str, folder: &Path, transforms: &str, source: &str) -> Stage {
    let mut stage = Stage::set(test, "", |_| status(200)).await;
    let yaml = format!(
        "source: {{ topic: {0}{source} }}\ntransforms:\n{transforms}handler: {1}\ndlq: {0}.dlq\n",
        stage.topic,
        stage.receiver.url()
    );
    stage.site =
        stage.site.runtime(&format!("plugins: {}\n", folder.display())).pipeline(&stage.topic, &yaml);
    stage
}

fn bodies(stage: &Stage) -> Vec<String> {
    let arrivals = stage.receiver.arrivals();
    arrivals.iter().map(|arrival| String::from_utf8(arrival.body.to_vec()).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_in_go_filters_and_masks_and_counts() {
    let transforms = "  - filter: { plugin: { file: mask.wasm, config: { fields: [card] }, timeout: 2s } }\n  \
                      - { name: mask, plugin: { file: mask.wasm, config: { fields: [card, iban], keep: 4 }, timeout: 2s } }\n";
    let stage = scene("plugin-go", &examples(), transforms, "").await;
    let orders = [
        r#"{"id":1,"card":"4111111111111111","n":9007199254740993}"#,
        r#"{"id":2}"#,
        r#"{"id":3,"card":"411","iban":"DE02120300000000202051"}"#,
    ];
    for order in orders {
        send(&stage, Some(b"k"), Some(order.as_bytes()), OwnedHeaders::new(), 0);
    }
    let weir = stage.site.start("one").await;
    stage.watched().all_committed_within(&stage.run, &[(0, 3)].into(), Duration::from_secs(60)).await;
    assert_eq!(
        bodies(&stage),
        [r#"{"card":"***1111","id":1,"n":9007199254740993}"#, r#"{"card":"***","iban":"***2051","id":3}"#,]
    );
    let labels = [("plugin", "mask.wasm"), ("name", "masked")];
    assert_eq!(weir.metric("weir_plugin_counter_total", &labels).await, 3.0);
    assert_eq!(weir.metric("weir_events_completed_total", &[("outcome", "filtered")]).await, 1.0);
    let labels = [("transform", "mask"), ("kind", "plugin")];
    assert_eq!(weir.metric("weir_transform_errors_total", &labels).await, 0.0);
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_in_assemblyscript_makes_none_one_or_several_events_of_a_record() {
    let transforms = "  - plugin: { file: split-lines.wasm, config: { skip_empty: true }, timeout: 2s }\n";
    let stage = scene("plugin-as", &examples(), transforms, ", format: text").await;
    for text in ["one", "", "two\nthree \"ü\"\\n\n\nfour"] {
        send(&stage, Some(b"k"), Some(text.as_bytes()), OwnedHeaders::new(), 0);
    }
    let weir = stage.site.start("one").await;
    stage.watched().all_committed_within(&stage.run, &[(0, 3)].into(), Duration::from_secs(60)).await;
    let texts: Vec<Value> = bodies(&stage).iter().map(|body| serde_json::from_str(body).unwrap()).collect();
    assert_eq!(texts, [json!("one"), json!("two"), json!("three \"ü\"\\n"), json!("four")]);
    let arrivals = stage.receiver.arrivals();
    let ids: std::collections::BTreeSet<&str> = arrivals.iter().map(|one| one.webhook_id.as_str()).collect();
    assert_eq!(ids.len(), 4, "each part has an id of its own");
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

/// One function for each way to harm.
const HOSTILE: &str = r#"(module
  (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
  (import "extism:host/env" "store_u64" (func $store_u64 (param i64 i64)))
  (import "extism:host/env" "error_set" (func $error_set (param i64)))
  (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
  (memory 1)
  (func (export "loop") (result i32) (loop $l (br $l)) (i32.const 0))
  (func (export "allocate") (result i32)
    (loop $l (br_if $l (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
    (drop (call $alloc (i64.const 0x100000000))) (i32.const 0))
  (func (export "trap") (result i32) unreachable)
  (func $deep (export "recurse") (result i32) (i32.add (call $deep) (call $deep)))
  (func (export "garbage") (result i32) (local $p i64)
    (local.set $p (call $alloc (i64.const 8)))
    (call $store_u64 (local.get $p) (i64.const 0x00ff7b5b22fe0a01))
    (call $output_set (local.get $p) (i64.const 8)) (i32.const 0))
  (func (export "lie") (result i32) (local $p i64)
    (local.set $p (call $alloc (i64.const 16)))
    (call $store_u64 (i64.sub (local.get $p) (i64.const 8)) (i64.const 0x7fffffff))
    (call $store_u64 (i64.const 57) (i64.const 0x7fffffff))
    (call $error_set (local.get $p)) (i32.const 1)))"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b_07_hostile_ones_harm_their_own_record_and_no_neighbour() {
    let ways = ["loop", "allocate", "trap", "recurse", "garbage", "lie"];
    let folder = Stage::set("plugin-folder", "", |_| status(200)).await.site.path().join("plugins");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("hostile.wasm"), wat::parse_str(HOSTILE).unwrap()).unwrap();
    let step = |way: &&str| {
        format!(
            "  - {{ when: '%key == \"{way}\"', plugin: {{ file: hostile.wasm, function: {way}, memory: 16MiB }} }}\n"
        )
    };
    let stage = scene("plugin-hostile", &folder, &ways.iter().map(step).collect::<String>(), "").await;
    let weir = stage.site.start("one").await;
    let before = resident(&weir);
    let rounds = 10;
    for round in 0..rounds {
        for (at, way) in ways.iter().enumerate() {
            let partition = i32::try_from(at % 6).unwrap();
            send(&stage, Some(way.as_bytes()), Some(b"{\"is\":\"hostile\"}"), OwnedHeaders::new(), partition);
            let neighbour = format!("{{\"n\":{}}}", round * ways.len() + at);
            send(&stage, Some(b"good"), Some(neighbour.as_bytes()), OwnedHeaders::new(), partition);
        }
    }
    let ends = (0..6).map(|partition| (partition, 2 * rounds as i64)).collect();
    stage.watched().all_committed_within(&stage.run, &ends, Duration::from_secs(60)).await;
    let after = resident(&weir);
    let mut arrived: Vec<u64> = bodies(&stage)
        .iter()
        .map(|body| serde_json::from_str::<Value>(body).unwrap()["n"].as_u64().unwrap())
        .collect();
    arrived.sort_unstable();
    assert_eq!(arrived, (0..(rounds * ways.len()) as u64).collect::<Vec<_>>());
    let dead = stage.kafka.read(&stage.run, &format!("{}.dlq", stage.topic));
    assert_eq!(dead.len(), rounds * ways.len());
    for (at, way) in ways.iter().enumerate() {
        let said = [
            "it ran longer than 100 ms",
            "it needs more memory than its 16384 KiB",
            "it trapped: wasm `unreachable` instruction executed",
            "it trapped: call stack exhausted",
            "its output is no JSON",
            "it names memory that is not its own",
        ][at];
        let of_it: Vec<_> = dead.iter().filter(|one| one.key.as_deref() == Some(way.as_bytes())).collect();
        assert_eq!(of_it.len(), rounds, "{way}");
        for letter in of_it {
            assert_eq!(letter.value.as_deref(), Some(&b"{\"is\":\"hostile\"}"[..]));
            assert_eq!(
                (letter.header("weir-reason"), letter.header("weir-code")),
                (Some("invalid"), Some("plugin"))
            );
            let error = letter.header("weir-error").unwrap();
            assert!(error.starts_with(&format!("plugin-{at}: hostile.wasm: {said}")), "{way}: {error}");
        }
    }
    assert!(after < before + (256 << 20), "memory grew from {before} to {after} bytes");
    assert!(!weir.log().contains("\"hostile\""), "no payload in the log");
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

/// A plugin that loops on every record has its own pipeline to hold up, and no other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_loops_on_every_record_holds_up_no_other_pipeline() {
    let other = Stage::set("plugin-other", "", |_| status(200)).await;
    let folder = other.site.path().join("plugins");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("hostile.wasm"), wat::parse_str(HOSTILE).unwrap()).unwrap();
    let transforms = "  - plugin: { file: hostile.wasm, function: loop, timeout: 500ms }\nmax_in_flight: 8\n";
    let mut stage = scene("plugin-loops", &folder, transforms, "").await;
    let yaml = format!("source: {0}\nhandler: {1}\ndlq: {0}.dlq\n", other.topic, other.receiver.url());
    stage.site = stage.site.pipeline(&other.topic, &yaml);
    let load = Load { events: 500, keys: 500, size: 64, rate: None };
    load.produce(&stage.run, stage.kafka, &stage.topic).await;
    let weir = stage.site.start("one").await;
    let begun = || async { weir.metric("weir_dead_letters_total", &[("code", "plugin")]).await > 0.0 };
    until("the first dead letter", Duration::from_secs(60), begun).await;
    // All of them would take the loops of minutes.
    load.produce(&other.run, other.kafka, &other.topic).await;
    other.receiver.wait_for(load.events, Duration::from_secs(20)).await;
    let dead = weir.metric("weir_dead_letters_total", &[("code", "plugin")]).await;
    assert!(dead < 400.0, "the loops had ended before: {dead}");
    // Of eight records in flight each ends within its time: so does the stop.
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

fn plugin_check(file: &Path, more: &[&str], event: &str) -> (i32, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(["plugin", "check", file.to_str().unwrap()])
        .args(more)
        .current_dir(file.parent().unwrap())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    use std::io::Write;
    // One that does not ask for the event has ended by then.
    drop(child.stdin.take().unwrap().write_all(event.as_bytes()));
    let out = child.wait_with_output().unwrap();
    let said = String::from_utf8(out.stdout).unwrap() + &String::from_utf8(out.stderr).unwrap();
    (out.status.code().unwrap(), said)
}

#[test]
fn check_says_what_a_plugin_is_and_what_it_answers() {
    let examples = examples();
    let event = r#"{"value":"a\nb","key":null,"headers":[]}"#;
    let (code, said) =
        plugin_check(&examples.join("split-lines.wasm"), &["--event", "-", "--timeout", "2s"], event);
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains("functions  transform") && said.contains("imports    extism:host/env (12)"),
        "{said}"
    );
    assert!(said.ends_with("[{\"value\":\"a\"},{\"value\":\"b\"}]\n"), "{said}");

    let arguments =
        ["-o", "json", "--function", "filter", "--set", "fields=card", "--event", "-", "--timeout", "5s"];
    let (code, said) = plugin_check(&examples.join("mask.wasm"), &arguments, r#"{"value":{"card":"4"}}"#);
    let document: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &document["call"]["output"], &document["wasi"]), (0, &json!("true"), &json!(true)));

    let (code, said) = plugin_check(&examples.join("split-lines.wasm"), &["--event", "-"], r#"{"value":1}"#);
    assert!(code == 1 && said.contains("transform failed: it says: the value is no text"), "{said}");
    let (code, said) = plugin_check(&examples.join("split-lines.wasm"), &["--function", "nope"], "");
    assert!(code == 1 && said.contains("has no function `nope`") && said.contains("help: "), "{said}");
    let (code, said) = plugin_check(&examples.join("nope.wasm"), &[], "");
    assert!(code == 2 && said.contains("cannot be read"), "{said}");
    let (code, said) = plugin_check(&root().join("Cargo.toml"), &[], "");
    assert!(code == 1 && said.contains("no WebAssembly module"), "{said}");
}

/// B-12, B-16: a plugin lies in its folder, and a link does not lead out of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b_16_a_plugin_outside_of_its_folder_is_not_read() {
    let outside = Stage::set("plugin-outside", "", |_| status(200)).await;
    let folder = outside.site.path().join("plugins");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(outside.site.path().join("real.wasm"), wat::parse_str(HOSTILE).unwrap()).unwrap();
    std::os::unix::fs::symlink("../real.wasm", folder.join("link.wasm")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", folder.join("zero.wasm")).unwrap();
    for (file, said) in [
        ("link.wasm", "is outside of its folder"),
        ("zero.wasm", "is outside of its folder"),
        ("../real.wasm", "is outside of its folder"),
        ("%2e%2e/real.wasm", "cannot be read"),
        ("..\\real.wasm", "cannot be read"),
    ] {
        let transforms = format!("  - plugin: {{ file: '{file}', function: trap }}\n");
        let stage = scene("plugin-outside", &folder, &transforms, "").await;
        let (code, output) = stage.site.check().await;
        assert!(code == 1 && output.contains("W0811") && output.contains(said), "{file}: {output}");
    }
}
