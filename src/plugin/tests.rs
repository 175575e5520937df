//! Guests in WebAssembly's text form: well-behaved ones, and one for each way of harming who runs it.
#![cfg(feature = "plugins")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;

/// What most guests import, and a memory.
const HEAD: &str = r#"
 (import "extism:host/env" "input_length" (func $input_length (result i64)))
 (import "extism:host/env" "input_load_u8" (func $input_load_u8 (param i64) (result i32)))
 (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
 (import "extism:host/env" "free" (func $free (param i64)))
 (import "extism:host/env" "length" (func $length (param i64) (result i64)))
 (import "extism:host/env" "load_u8" (func $load_u8 (param i64) (result i32)))
 (import "extism:host/env" "store_u8" (func $store_u8 (param i64 i32)))
 (import "extism:host/env" "store_u64" (func $store_u64 (param i64 i64)))
 (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
 (import "extism:host/env" "error_set" (func $error_set (param i64)))
 (import "extism:host/env" "config_get" (func $config_get (param i64) (result i64)))
 (import "extism:host/env" "log_info" (func $log_info (param i64)))
 (import "extism:host/env" "http_request" (func $http_request (param i64 i64) (result i64)))
 (import "extism:host/user" "weir_count" (func $count (param i64 i64)))
 (memory (export "memory") 1)
 ;; A block with these bytes of a data segment.
 (func $text (param $from i32) (param $n i64) (result i64) (local $i i64) (local $p i64)
   (local.set $p (call $alloc (local.get $n)))
   (block $done (loop $l
     (br_if $done (i64.ge_u (local.get $i) (local.get $n)))
     (call $store_u8 (i64.add (local.get $p) (local.get $i))
       (i32.load8_u (i32.add (local.get $from) (i32.wrap_i64 (local.get $i)))))
     (local.set $i (i64.add (local.get $i) (i64.const 1))) (br $l)))
   (local.get $p))
 (func $say (param $from i32) (param $n i64) (call $output_set (call $text (local.get $from) (local.get $n)) (local.get $n)))
 (func (export "echo") (result i32) (local $n i64) (local $i i64) (local $p i64)
   (local.set $n (call $input_length)) (local.set $p (call $alloc (local.get $n)))
   (block $done (loop $l
     (br_if $done (i64.ge_u (local.get $i) (local.get $n)))
     (call $store_u8 (i64.add (local.get $p) (local.get $i)) (call $input_load_u8 (local.get $i)))
     (local.set $i (i64.add (local.get $i) (i64.const 1))) (br $l)))
   (call $output_set (local.get $p) (local.get $n)) (i32.const 0))
"#;

fn module(body: &str) -> Vec<u8> {
    wat::parse_str(format!("(module {HEAD} {body})")).unwrap()
}

fn limits(timeout: u64) -> Limits {
    Limits { timeout: Duration::from_millis(timeout), memory: 4 << 20, max_output: 64 << 10 }
}

fn load(bytes: &[u8], function: &str, limits: Limits) -> Result<Arc<Guest>, Refused> {
    let config = BTreeMap::from([("colour".to_owned(), "blue".to_owned())]);
    let plugins = Plugins::new("plugins", BTreeMap::new());
    plugins.load_bytes(
        "guest.wasm",
        bytes,
        &Wanted { file: "guest.wasm", function, config, secrets: vec!["blue".to_owned()], limits },
    )
}

fn guest(body: &str, function: &str) -> Arc<Guest> {
    load(&module(body), function, limits(2_000)).unwrap()
}

fn refused(bytes: &[u8]) -> String {
    let Refused { message, help, .. } = load(bytes, "echo", limits(300)).unwrap_err();
    assert!(!help.is_empty());
    message
}

#[test]
fn a_guest_answers_and_what_it_wrote_before_is_gone() {
    let guest = guest("", "echo");
    for input in ["[]", "", "x", &"long ".repeat(10_000), r#"{"value":1}"#] {
        let answer = guest.call("echo", input.as_bytes());
        if input.is_empty() {
            assert_eq!(answer, Err(Fault::NoOutput));
        } else {
            assert_eq!(answer.unwrap().output, input.as_bytes());
        }
    }
}

#[test]
fn it_reads_its_configuration_counts_and_logs() {
    let guest = guest(
        r#"(data (i32.const 0) "colourmasked")
        (func (export "config") (result i32) (local $p i64)
          (local.set $p (call $config_get (call $text (i32.const 0) (i64.const 6))))
          (call $output_set (local.get $p) (call $length (local.get $p)))
          (call $count (call $text (i32.const 6) (i64.const 6)) (i64.const 2))
          (call $count (call $text (i32.const 6) (i64.const 6)) (i64.const 3))
          (call $log_info (call $text (i32.const 0) (i64.const 6)))
          (i32.const 0))
        (func (export "none") (result i32)
          (drop (call $config_get (call $text (i32.const 6) (i64.const 6)))) (i32.const 0))
        (func (export "tell") (result i32)
          (call $error_set (call $config_get (call $text (i32.const 0) (i64.const 6)))) (i32.const 1))
        (func (export "down") (result i32)
          (call $count (call $text (i32.const 6) (i64.const 6)) (i64.const -1)) (i32.const 0))
        (func (export "unnamed") (result i32) (call $count (i64.const 0) (i64.const 1)) (i32.const 0))"#,
        "config",
    );
    let called = guest.call("config", b"").unwrap();
    assert_eq!((called.output, called.counts), (b"blue".to_vec(), vec![("masked".to_owned(), 5)]));
    assert_eq!(guest.call("tell", b""), Err(Fault::Said("***".to_owned())), "a secret is not told");
    assert_eq!(guest.call("none", b""), Err(Fault::NoOutput));
    assert!(matches!(guest.call("down", b""), Err(Fault::Refused(said)) if said.contains("downwards")));
    assert!(
        matches!(guest.call("unnamed", b""), Err(Fault::Refused(said)) if said.contains("a name that is not"))
    );
}

/// Each of these fails in bounded time and memory, and the next call of the same guest is answered.
#[test]
fn what_a_guest_does_wrong_is_the_fault_of_one_call() {
    let guest = load(
        &module(
            r#"(data (i32.const 0) "no card")
        (func (export "loop") (result i32) (loop $l (br $l)) (i32.const 0))
        (func (export "fill") (result i32) (loop $l (memory.fill (i32.const 0) (i32.const 0) (i32.const 65536)) (br $l)) (i32.const 0))
        (func $deep (export "recursion") (result i32) (drop (call $deep)) (call $deep))
        (func (export "trap") (result i32) unreachable)
        (func (export "divide") (result i32) (i32.div_s (i32.const 1) (i32.const 0)))
        (func (export "grow") (result i32)
          (loop $l (br_if $l (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable)
        (func (export "four_gib") (result i32)
          (drop (call $alloc (i64.const 0x100000000))) (i32.const 0))
        (func (export "alloc") (result i32) (loop $l (drop (call $alloc (i64.const 100000))) (br $l)) (i32.const 0))
        (func (export "silent") (result i32) (i32.const 0))
        (func (export "seven") (result i32) (i32.const 7))
        (func (export "sorry") (result i32) (call $error_set (call $text (i32.const 0) (i64.const 7))) (i32.const 1))
        (func (export "elsewhere") (result i32) (call $output_set (i64.const 99999999) (i64.const 50)) (i32.const 0))
        (func (export "longer") (result i32) (call $output_set (call $alloc (i64.const 8)) (i64.const 4000000000)) (i32.const 0))
        (func (export "huge") (result i32) (call $output_set (call $alloc (i64.const 70000)) (i64.const 70000)) (i32.const 0))
        (func (export "wild") (result i32) (call $store_u8 (i64.const 0x7fffffffffff) (i32.const 1)) (i32.const 0))
        (func (export "network") (result i32) (drop (call $http_request (i64.const 0) (i64.const 0))) (i32.const 0))
        "#,
        ),
        "loop",
        limits(300),
    )
    .unwrap();
    let refused = |said: &str| Fault::Refused(said.to_owned());
    let expected = [
        ("loop", Fault::Timeout(Duration::from_millis(300))),
        ("fill", Fault::Timeout(Duration::from_millis(300))),
        ("recursion", Fault::Trap("call stack exhausted".to_owned())),
        ("trap", Fault::Trap("wasm `unreachable` instruction executed".to_owned())),
        ("divide", Fault::Trap("integer divide by zero".to_owned())),
        ("grow", Fault::Memory(4 << 20)),
        ("four_gib", Fault::Memory(4 << 20)),
        ("alloc", Fault::Memory(4 << 20)),
        ("silent", Fault::NoOutput),
        ("seven", Fault::Code(7)),
        ("sorry", Fault::Said("no card".to_owned())),
        ("elsewhere", refused("it names memory that is not its own")),
        ("longer", refused("it names memory that is not its own")),
        ("huge", Fault::TooLong(70_000, 64 << 10)),
        ("wild", refused("it names memory that is not its own")),
        ("network", refused("it asks for the network, which no plugin has")),
    ];
    for (function, fault) in expected {
        let began = now();
        assert_eq!(guest.call(function, b"{}"), Err(fault), "{function}");
        assert!(began.elapsed() < Duration::from_secs(20), "{function}: {:?}", began.elapsed());
        assert_eq!(guest.call("echo", b"{}").unwrap().output, b"{}", "after {function}");
    }
    assert_eq!(guest.call("echo", &vec![b'x'; 8 << 20]), Err(Fault::Memory(4 << 20)));
}

/// Extism's host reads the memory of its kernel by lengths that a guest can overwrite there: of a block in its header, of
/// the output at 57. Without the shim these end the process.
#[test]
fn a_guest_that_forges_lengths_reads_nothing_of_the_host() {
    let guest = guest(
        r#"(func (export "header") (result i32) (local $p i64)
          (local.set $p (call $alloc (i64.const 16)))
          (call $store_u64 (i64.sub (local.get $p) (i64.const 8)) (i64.const 0x7fffffff))
          (call $store_u64 (i64.sub (local.get $p) (i64.const 12)) (i64.const 0x7fffffff7fffff01))
          (call $error_set (local.get $p))
          (call $log_info (local.get $p))
          (i32.const 1))
        (func (export "output") (result i32)
          (call $store_u64 (i64.const 57) (i64.const 0x7fffffff))
          (call $store_u64 (i64.const 65) (i64.const 0x7fffffff))
          (i32.const 0))
        (func (export "free_chain") (result i32) (local $p i64)
          (local.set $p (call $alloc (i64.const 64)))
          (call $store_u64 (i64.sub (local.get $p) (i64.const 12)) (i64.const 0x7fffffff00000002))
          (call $free (local.get $p))
          (drop (call $config_get (call $alloc (i64.const 6))))
          (i32.const 0))"#,
        "header",
    );
    for function in ["header", "output", "free_chain"] {
        assert!(guest.call(function, b"{}").is_err(), "{function}");
        assert_eq!(guest.call("echo", b"[1]").unwrap().output, b"[1]", "after {function}");
    }
}

#[test]
fn what_a_guest_begins_with_has_the_same_limits() {
    let start = |body: &str| refused(&module(&format!("{body} (start $begin)")));
    let looping = start("(func $begin (loop $l (br $l)))");
    assert!(looping.contains("begins with fails: timeout"), "{looping}");
    let filling =
        start("(func $begin (loop $l (memory.fill (i32.const 0) (i32.const 0) (i32.const 65536)) (br $l)))");
    assert!(filling.contains("timeout"), "{filling}");
    let growing = start(
        "(func $begin (if (i32.eq (memory.grow (i32.const 60000)) (i32.const -1)) (then unreachable)))",
    );
    assert!(growing.contains("more memory") || growing.contains("unreachable"), "{growing}");
    let trapping = refused(&module(r#"(func (export "_initialize") unreachable)"#));
    assert!(trapping.contains("unreachable"), "{trapping}");
    // One that does no harm is run before the first call, and once.
    let body = r#"(global $n (mut i32) (i32.const 48)) (func $begin (global.set $n (i32.add (global.get $n) (i32.const 1))))
        (func (export "_initialize") (global.set $n (i32.add (global.get $n) (i32.const 2))))
        (start $begin)
        (func (export "n") (result i32) (i32.store8 (i32.const 0) (global.get $n)) (call $say (i32.const 0) (i64.const 1)) (i32.const 0))"#;
    let guest = guest(body, "n");
    assert_eq!(guest.call("n", b"").unwrap().output, b"3");
    assert_eq!(guest.call("n", b"").unwrap().output, b"3");
    assert!(!guest.about().functions.iter().any(|name| name.starts_with('_')), "{:?}", guest.about());
}

#[test]
fn what_cannot_be_bounded_is_refused() {
    let of = |text: &str| refused(&wat::parse_str(text).unwrap());
    let echo = r#"(func (export "echo") (result i32) (i32.const 0))"#;
    for (module, said) in [
        (format!("(module {echo} (memory 65))"), "begins with 4160 KiB of memory, and may have 4096 KiB"),
        (format!("(module {echo} (table 300000 funcref))"), "300000 entries"),
        (format!("(module {echo} (memory 1 1 shared))"), "not valid"),
        (format!("(module {echo} (memory i64 1))"), "not valid"),
        (format!("(module {echo} (memory 1) (memory 1))"), "not valid"),
        (format!("(module {echo} (type $a (array (mut i32))))"), "not valid"),
        (format!(r#"(module (import "env" "memory" (memory 1)) {echo})"#), "which is no function"),
        (
            format!(r#"(module (import "env" "nope" (func)) {echo})"#),
            "`nope` of `env`, which Weir does not have",
        ),
        (format!(r#"(module (import "weir:plugin/env" "alloc" (func)) {echo})"#), "which Weir does not have"),
        (format!(r#"(module (import "extism:host/env" "nope" (func)) {echo})"#), "nope"),
        (format!(r#"(module {echo} (func (export "_weir_start")))"#), "a name that is Weir's"),
        ("(module)".to_owned(), "has no function `echo`"),
        (r#"(module (func (export "echo") (param i32)))"#.to_owned(), "takes or gives other than"),
    ] {
        let found = of(&module);
        assert!(found.contains(said), "{module}: {found}");
    }
    assert!(refused(b"(module)").contains("no WebAssembly module"), "text is not read");
    assert!(refused(b"").contains("no WebAssembly module"));
    assert!(refused(b"\0asm\x01\0\0\0\x01").contains("not valid"));
    assert!(refused(b"\0asm\x0d\0\x01\0").contains("component"));
    let tables = guest(
        r#"(table 1 funcref)
        (func (export "grow") (result i32)
          (if (i32.ne (table.grow (ref.null func) (i32.const 100000000)) (i32.const -1)) (then unreachable))
          (call $say (i32.const 0) (i64.const 2)) (i32.const 0))"#,
        "grow",
    );
    assert_eq!(tables.call("grow", b"").unwrap().output, [0, 0]);
}

/// Calls of WASI that would wait, end the process, or open a file. `open` and `create` give WASI's error number.
fn guest_of_wasi(grant: Grant) -> Arc<Guest> {
    let text = r#"(module
        (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (import "wasi_snapshot_preview1" "path_open"
          (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
        (memory (export "memory") 1) (data (i32.const 0) "city.csv") (data (i32.const 8) "../x")
        (func (export "sleep") (result i32) (call $poll (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128)))
        (func (export "exit") (result i32) (call $exit (i32.const 0)) (i32.const 0))
        (func (export "open") (result i32)
          (call $open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 8) (i32.const 0)
            (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 64)))
        (func (export "out") (result i32)
          (call $open (i32.const 3) (i32.const 0) (i32.const 8) (i32.const 4) (i32.const 0)
            (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 64)))
        (func (export "write") (result i32)
          (call $open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 8) (i32.const 0)
            (i64.const 66) (i64.const 0) (i32.const 0) (i32.const 64)))
        (func (export "create") (result i32)
          (call $open (i32.const 3) (i32.const 0) (i32.const 1) (i32.const 6) (i32.const 1)
            (i64.const 66) (i64.const 0) (i32.const 0) (i32.const 64))))"#;
    let plugins = Plugins::new("plugins", BTreeMap::from([("geo.wasm".to_owned(), grant)]));
    let wanted = Wanted {
        file: "geo.wasm",
        function: "sleep",
        config: BTreeMap::new(),
        secrets: vec![],
        limits: limits(2_000),
    };
    plugins.load_bytes("geo.wasm", &wat::parse_str(text).unwrap(), &wanted).unwrap()
}

/// What a guest of WASI can do at most: know the time, and write into nothing.
#[test]
fn wasi_waits_for_nothing_opens_nothing_and_ends_nobody() {
    let guest = guest_of_wasi(Grant::default());
    assert!(matches!(guest.call("sleep", b""), Err(Fault::Refused(said)) if said.contains("it waits")));
    let exit = guest.call("exit", b"");
    assert!(matches!(exit, Err(Fault::Refused(said)) if said.contains("ended itself with the code 0")));
    for function in ["open", "create", "out"] {
        assert_eq!(guest.call(function, b""), Err(Fault::Code(8)), "{function}: there is no such folder");
    }
}

/// A folder that weir.yaml grants can be read, and no more.
#[test]
fn a_granted_folder_is_read_and_not_written() {
    let folder = std::env::temp_dir().join(format!("weir-plugin-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("city.csv"), "Ulm").unwrap();
    let guest = guest_of_wasi(Grant { files: BTreeMap::from([(folder.clone(), "/geo".to_owned())]) });
    assert_eq!(guest.call("open", b""), Err(Fault::NoOutput), "opened");
    for function in ["out", "write", "create"] {
        assert!(matches!(guest.call(function, b""), Err(Fault::Code(_))), "{function}");
    }
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
    std::fs::remove_dir_all(&folder).unwrap();
}

/// The calls of several threads at once: each gets its own answer, and a loop in one does not end the others.
#[test]
fn instances_do_not_disturb_each_other() {
    let guest = load(
        &module(r#"(func (export "loop") (result i32) (loop $l (br $l)) (i32.const 0))"#),
        "echo",
        limits(50),
    );
    let guest = guest.unwrap();
    std::thread::scope(|scope| {
        let looping = scope.spawn(|| {
            (0..5).all(|_| guest.call("loop", b"") == Err(Fault::Timeout(Duration::from_millis(50))))
        });
        let answered = (0..3).map(|thread| {
            let guest = &guest;
            scope.spawn(move || {
                (0..200).all(|call| {
                    let input = format!("[{thread},{call}]");
                    guest.call("echo", input.as_bytes()).is_ok_and(|called| called.output == input.as_bytes())
                })
            })
        });
        let answered: Vec<_> = answered.collect();
        assert!(answered.into_iter().all(|thread| thread.join().unwrap()));
        assert!(looping.join().unwrap());
    });
}

/// A guest that never frees is given a new instance instead of failing a record.
#[test]
fn memory_that_earlier_calls_have_left_is_no_fault_of_this_one() {
    let guest = guest(
        r#"(func (export "leak") (result i32)
          (if (i32.eq (memory.grow (i32.const 10)) (i32.const -1)) (then unreachable))
          (call $say (i32.const 0) (i64.const 2)) (i32.const 0))"#,
        "leak",
    );
    let failed = (0..50).filter(|_| guest.call("leak", b"").is_err()).count();
    assert_eq!(failed, 0);
}

#[test]
fn the_same_guest_is_loaded_once() {
    let bytes = module("");
    let plugins = Plugins::new("plugins", BTreeMap::new());
    let wanted = |limits| Wanted {
        file: "g.wasm",
        function: "echo",
        config: BTreeMap::new(),
        secrets: vec![],
        limits,
    };
    let first = plugins.load_bytes("g.wasm", &bytes, &wanted(limits(100))).unwrap();
    let second = plugins.load_bytes("g.wasm", &bytes, &wanted(limits(100))).unwrap();
    let third = plugins.load_bytes("g.wasm", &bytes, &wanted(limits(200))).unwrap();
    assert!(Arc::ptr_eq(&first, &second) && !Arc::ptr_eq(&first, &third));
}

fn now() -> Instant {
    crate::telemetry::clock::now()
}

proptest::proptest! {
    /// Whatever a file holds, it is refused or made a module that is still valid.
    #[test]
    fn no_bytes_make_the_fence_panic(changes in proptest::collection::vec((0usize..2_000, proptest::prelude::any::<u8>()), 0..4)) {
        let body = r#"(func $begin) (start $begin) (table 3 funcref) (func (export "_initialize"))"#;
        let mut bytes = module(body);
        let length = bytes.len();
        for (at, byte) in changes {
            bytes[at % length] = byte;
        }
        if let Ok(fenced) = fence::fence(&bytes, 64) {
            let valid = wasmparser::Validator::new().validate_all(&fenced.bytes);
            proptest::prop_assert!(valid.is_ok(), "{:?}", valid.err());
        }
    }
}
