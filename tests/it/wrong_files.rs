//! Files that are wrong in every way that a file can be: each command that reads files says so, in bounded time and memory,
//! and `weir fmt` leaves them as they are.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use proptest::prelude::*;
use serde_json::Value;
use weir::cli::check;
use weir::spec::span::Source;
use weir::spec::tree::Document;
use weir::spec::{diagnostic, files, layout, runtime};
use weir::telemetry::clock;

use crate::support::run::{Folder, root};

/// The largest file that Weir reads.
const MIB: usize = 1 << 20;
/// What a command may take, the debug build on a busy machine included. Without its bounds a bomb takes minutes, or all.
const SECONDS: u32 = 30;
const RSS_KIB: u64 = 192 * 1024;
const OUTPUT: usize = 512 * 1024;

const HEAD: &str = "pipeline: x\nsource: a\nhandler: log\n";

/// What a command did, and what it took.
#[derive(Debug)]
struct Ran {
    code: Option<i64>,
    kib: u64,
    output: String,
}

/// Runs a command under a time-out and measures its peak of memory: `wait4` tells it of a child, which the standard library
/// does not.
fn run(program: &Path, arguments: &[&str], folder: &Path, input: &Path, user: Option<u32>) -> Ran {
    const MEASURE: &str = "
import json, os, subprocess, sys, threading
child = subprocess.Popen(sys.argv[3:], stdin=open(sys.argv[2], 'rb'), stdout=open('out', 'wb'), stderr=open('err', 'wb'))
timer = threading.Timer(float(sys.argv[1]), child.kill)
timer.start()
_, status, usage = os.wait4(child.pid, 0)
timer.cancel()
print(json.dumps({'code': os.waitstatus_to_exitcode(status), 'kib': usage.ru_maxrss}))
";
    let aside = Folder::new(&format!("wrong-aside-{}", fastrand::u64(..)));
    fs::set_permissions(aside.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let mut command = Command::new("python3");
    command
        .args(["-c", MEASURE, &SECONDS.to_string()])
        .arg(input)
        .arg("env")
        .arg("-C")
        .arg(folder)
        .arg(program);
    command.args(arguments).current_dir(aside.path()).env_remove("WEIR_CONFIG").stderr(Stdio::inherit());
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    let measured = command.output().unwrap();
    let measured: Value = serde_json::from_slice(&measured.stdout).unwrap();
    let read = |name: &str| String::from_utf8_lossy(&fs::read(aside.path().join(name)).unwrap()).into_owned();
    Ran {
        code: measured["code"].as_i64(),
        kib: measured["kib"].as_u64().unwrap(),
        output: read("out") + &read("err"),
    }
}

fn weir(arguments: &[&str], folder: &Path) -> Ran {
    run(Path::new(env!("CARGO_BIN_EXE_weir")), arguments, folder, Path::new("/dev/null"), None)
}

/// Every command that reads pipelines, and its exit code where one of them is wrong.
const COMMANDS: [(&[&str], i64); 4] = [
    (&["check", "pipelines"], 1),
    (&["graph", "pipelines"], 1),
    (&["fmt", "pipelines"], 1),
    (&["run", "--pipelines", "pipelines"], 78),
];

/// Runs the commands over a folder with this one file. `says` is in what each says; `only` names the commands that find it,
/// where not all do: the others may find nothing, and end in time.
fn wrong(name: &str, says: &str, only: &[&str], make: impl FnOnce(&Path)) {
    let folder = Folder::new(&format!("wrong-{name}"));
    let pipelines = folder.path().join("pipelines");
    fs::create_dir_all(&pipelines).unwrap();
    let file = pipelines.join("x.yaml");
    make(&file);
    let regular = fs::symlink_metadata(&file).unwrap().is_file();
    let before = regular.then(|| fs::read(&file).unwrap());
    for (arguments, code) in COMMANDS {
        let command = arguments[0];
        let ran = weir(arguments, folder.path());
        let shown: String = ran.output.chars().take(2_000).collect();
        if only.is_empty() || only.contains(&command) {
            assert_eq!(ran.code, Some(code), "{name}: {command}: {shown}");
            assert!(ran.output.contains(says), "{name}: {command} does not say {says}: {shown}");
            assert!(ran.output.contains("x.yaml"), "{name}: {command} names no file: {shown}");
        } else {
            assert!([0, 1, 78].contains(&ran.code.unwrap()), "{name}: {command}: {:?} {shown}", ran.code);
        }
        assert!(ran.kib < RSS_KIB, "{name}: {command} took {} KiB", ran.kib);
        assert!(ran.output.len() < OUTPUT, "{name}: {command} says {} bytes", ran.output.len());
    }
    if only.is_empty() {
        assert_eq!(before, regular.then(|| fs::read(&file).unwrap()), "{name}: fmt has changed it");
    }
}

fn text(name: &str, says: &str, only: &[&str], bytes: impl AsRef<[u8]>) {
    wrong(name, says, only, |file| fs::write(file, bytes).unwrap());
}

/// As many units as fit into a file that is read.
fn full(head: &str, unit: &str, tail: &str) -> String {
    format!("{head}{}{tail}", unit.repeat((MIB - head.len() - tail.len()) / unit.len()))
}

/// Commands that look at values: `graph` draws what it can, `fmt` looks at YAML alone.
const VALUES: &[&str] = &["check", "run"];
const TYPED: &[&str] = &["check", "graph", "run"];

#[test]
fn bombs_of_yaml_end_in_an_error() {
    let laughs =
        ('b'..='j').zip('a'..='i').fold("a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned(), |text, (new, old)| {
            text + &format!("{new}: &{new} [{}]\n", vec![format!("*{old}"); 9].join(","))
        });
    text("laughs", "W0110", &[], laughs);
    let keys: String = (0..3_000).map(|n| format!("k{n}: 1,")).collect();
    text("merges", "W0110", &[], format!("a: &a {{{keys}}}\nb: {{<<: [{}]}}\n", "*a,".repeat(60)));
    text(
        "long-alias",
        "W0110",
        &[],
        format!("a: &a {}\nb: [{}]\n", "x".repeat(500_000), "*a,".repeat(1_000)),
    );
    text("self", "W0110", &[], "pipeline: &x [*x]\n");
    text("deep-list", "W0110", &[], "[".repeat(MIB));
    text("deep-map", "W0110", &[], "{a: ".repeat(MIB / 4));
    text("deep-items", "W0110", &[], "- ".repeat(MIB / 2));
    text("deep-block", "W0110", &[], (0..1_400).map(|n| " ".repeat(n) + "a:\n").collect::<String>());
    text("scalar-of-10-MB", "W0102", &[], format!("a: {}", "x".repeat(10 * MIB)));
    text("keys-of-10-MB", "W0102", &[], (0..1_000_000).map(|n| format!("k{n}: 1\n")).collect::<String>());
    text("keys-of-1-MiB", "W0110", &[], (0..110_000).map(|n| format!("k{n}:\n")).collect::<String>());
    text("one-key-of-1-MiB", "W0101", &[], format!("{HEAD}{}: 1\n", "k".repeat(MIB - 100)));
}

/// A file may be wrong at each of its bytes, and each mistake costs a look at its line, which may be all of the file.
#[test]
fn files_full_of_mistakes_end_in_time() {
    text("tags", "W0109", &[], full(&format!("{HEAD}labels: ["), "!a,", "]\n"));
    text("twice", "W0103", &[], full(&format!("{HEAD}labels: {{"), "a: 1, ", "}\n"));
    text("twice-lines", "W0103", &[], full(HEAD, "a: 1\n", ""));
    text("anchors", "W0108", &[], format!("{HEAD}labels: [{}]\n", "&a a,".repeat(40_000)));
    text("not-yaml", "W0108", &[], full(HEAD, "k: %x\n", ""));
    text("torn", "W0112", &[], full(&format!("{HEAD}labels: ["), "a\"b, c\", ", "]\n"));
    text("odd-keys", "W0110", &[], full(&format!("{HEAD}labels: {{"), "[a]: b, ", "}\n"));
    text("unknown", "W0104", TYPED, (0..40_000).map(|n| format!("k{n}: 1\n")).collect::<String>());
    let unset = (0..30_000).map(|n| format!("  k{n}: ${{var:x{n}}}\n")).collect::<String>();
    text("unset", "W0201", VALUES, format!("{HEAD}labels:\n{unset}"));
    text("unset-line", "W0201", VALUES, full(&format!("{HEAD}description: \""), "${var:x} ", "\"\n"));
    text("not-closed", "W0209", VALUES, full(&format!("{HEAD}description: \""), "${", "\"\n"));
    let set = format!("{HEAD}transforms:\n  - set: {{ .a: \"");
    text("templates", "W0309", VALUES, full(&set, "{{ x }}", "\" }\n"));
    let names = "pipeline: x\nhandler: log\nsource: { topics: [";
    text("topics", "W0203", VALUES, format!("{names}{}] }}\n", "a b,".repeat(90_000)));
    let stages =
        (0..5_000).map(|n| format!("  s{n}: {{ source: a{n}, publish: {{ topic: a{} }} }}\n", n + 1));
    text(
        "stages",
        "a file has at most 500 stages",
        TYPED,
        format!("pipeline: x\nstages:\n{}", stages.collect::<String>()),
    );
}

/// What VRL's compiler would take for ever, or die of.
#[test]
fn bombs_of_vrl_end_in_an_error() {
    let filter = |name: &str, source: &str| {
        text(name, "W0310", VALUES, format!("{HEAD}transforms:\n  - remap: |\n      .x = {source}\n"));
    };
    filter("or", &vec![".a == 1"; 5_000].join(" || "));
    filter("sum", &vec!["1"; 16_000].join(" + "));
    filter("else", &("if .a == 1 { 1 }".to_owned() + &" else if .a == 1 { 1 }".repeat(2_800)));
    filter("closures", &("map_values([]) -> |a| { ".repeat(40) + "1" + &" }".repeat(40)));
    filter("brackets", &("[".repeat(5_000) + &"]".repeat(5_000)));
    filter("path", &(".a".repeat(30_000)));
    filter("inserts", &format!("\"{}\"", "{{ a }}".repeat(8_000)));
    filter("statements", &"1\n      .x = 2".repeat(4_000));
    filter("long", &format!("\"{}\"", "x".repeat(100_000)));
}

#[test]
fn what_is_no_utf_8_text_is_said() {
    text("latin-1", "the file is not UTF-8", &[], b"pipeline: caf\xe9\n");
    text(
        "random",
        "W0102",
        &[],
        (0..4_096).map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect::<Vec<_>>(),
    );
    let wide = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    text("utf-16", "the file is UTF-16", &[], wide(&format!("\u{feff}{HEAD}")));
    text("utf-16-without-mark", "control character (U+0000)", &[], wide(HEAD));
    text("nul", "control character (U+0000)", &[], "pipeline: x\0\n");
    text("escape", "control character (U+001B)", &[], "pipeline: \x1b[31mx\n");
    text("tab", "a tab where YAML takes spaces only", &[], "pipeline: x\nsource:\n\ttopic: a\n");
    text("nothing", "W0105", TYPED, "");
    text("bom", "W0104", TYPED, format!("\u{feff}{HEAD}hanlder: log\n"));
}

#[test]
fn words_that_tools_read_differently_are_said() {
    text("norway", "`paused` takes true or false, not the text `no`", TYPED, format!("{HEAD}paused: no\n"));
    text("octal", "a number with a leading zero", TYPED, format!("{HEAD}max_in_flight: 017\n"));
    text("hexadecimal", "hexadecimal and octal numbers", TYPED, format!("{HEAD}max_in_flight: 0x1F\n"));
    text("exponent", "`max_in_flight` takes a whole number", TYPED, format!("{HEAD}max_in_flight: 1e3\n"));
    text("tag", "W0109", &[], format!("{HEAD}labels: {{ a: !!python/object:os.system x }}\n"));
    text("twice-once", "W0103", &[], format!("{HEAD}source: b\n"));
    text("documents", "W0113", &[], format!("{HEAD}---\n{HEAD}"));
    text("reference-as-key", "W0104", TYPED, format!("{HEAD}\"${{env:HOME}}\": 1\n"));
    text("reference-as-name", "W0202", VALUES, "pipeline: ${env:HOME}\nsource: a\nhandler: log\n");
    text(
        "reference-in-filter",
        "W0207",
        VALUES,
        format!("{HEAD}transforms:\n  - filter: .a == \"${{env:HOME}}\"\n"),
    );
    text("reference-for-a-block", "W0106", TYPED, format!("{HEAD}retry: ${{env:HOME}}\n"));
    let outside = "pipeline: x\nsource: a\nhandler: { webhook: { url: https://a.internal/b, tls: { ca: ../../ca.pem } } }\n";
    text("outside", "is outside of the pipeline's folder", VALUES, outside);
}

#[test]
fn what_is_no_file_is_said_at_once() {
    wrong("folder", "this is a folder, not a file", &[], |file| fs::create_dir(file).unwrap());
    wrong("pipe", "this is a named pipe, not a file", &[], |file| {
        assert!(Command::new("mkfifo").arg(file).status().unwrap().success());
    });
    wrong("socket", "this is a socket, not a file", &[], |file| {
        drop(std::os::unix::net::UnixListener::bind(file).unwrap());
    });
    wrong("zero", "this is a device, not a file", &[], |file| symlink("/dev/zero", file).unwrap());
    wrong("dangling", "cannot be followed: No such file", &[], |file| symlink("gone.yaml", file).unwrap());
    wrong("loop", "cannot be followed: Too many levels", &[], |file| symlink("x.yaml", file).unwrap());
    // It has the look of a file, and no first byte.
    wrong("memory", "cannot be", &[], |file| symlink("/proc/self/mem", file).unwrap());
}

/// B-16: no line of a file elsewhere is quoted, however the link is made.
#[test]
fn a_link_out_of_the_folder_is_not_followed() {
    let outside = Folder::new("wrong-outside");
    let secret = outside.path().join("secret.yaml");
    fs::write(&secret, "token: canary-5c1e\n").unwrap();
    let says = "this link cannot be followed: it leads out of its folder";
    wrong("out", says, &[], |file| symlink(&secret, file).unwrap());
    wrong("out-by-a-folder", says, &[], |file| {
        symlink(outside.path(), file.with_file_name("..data")).unwrap();
        symlink("..data/secret.yaml", file).unwrap();
    });
    wrong("up", says, &[], |file| {
        fs::write(file.parent().unwrap().with_file_name("beside.yaml"), HEAD).unwrap();
        symlink("../beside.yaml", file).unwrap();
    });
    let folder = Folder::new("wrong-named");
    symlink(&secret, folder.path().join("x.yaml")).unwrap();
    symlink(&secret, folder.path().join("x.md")).unwrap();
    for arguments in [&["check", "."][..], &["check", "x.yaml"], &["check", "x.md"], &["graph", "x.yaml"]] {
        let ran = weir(arguments, folder.path());
        assert_eq!(ran.code, Some(1), "{arguments:?}: {}", ran.output);
        assert!(ran.output.contains(says) && !ran.output.contains("canary"), "{arguments:?}: {}", ran.output);
    }
}

/// A volume of Kubernetes: links to links, all inside.
#[test]
fn links_inside_of_the_folder_are_followed() {
    let folder = Folder::new("wrong-mounted");
    let pipelines = folder.path().join("mounted");
    fs::create_dir_all(pipelines.join("..2026_11_30")).unwrap();
    fs::write(pipelines.join("..2026_11_30/x.yaml"), HEAD).unwrap();
    symlink("..2026_11_30", pipelines.join("..data")).unwrap();
    symlink("..data/x.yaml", pipelines.join("x.yaml")).unwrap();
    // The folder itself may be a link.
    symlink("mounted", folder.path().join("pipelines")).unwrap();
    for arguments in [&["check", "pipelines"][..], &["check", "pipelines/x.yaml"], &["graph", "pipelines"]] {
        let ran = weir(arguments, folder.path());
        assert_eq!(ran.code, Some(0), "{arguments:?}: {}", ran.output);
    }
    // Named from inside of the folder, a file has no folder in its name.
    let ran = weir(&["check", "x.yaml"], &pipelines);
    assert_eq!(ran.code, Some(0), "{}", ran.output);
}

/// A file that weir.yaml names for Kafka: librdkafka would wait for a pipe's other end.
#[test]
fn a_pipe_in_place_of_a_certificate_keeps_nobody_waiting() {
    let folder = Folder::new("wrong-certificate");
    fs::create_dir_all(folder.path().join("pipelines")).unwrap();
    fs::write(folder.path().join("pipelines/x.yaml"), HEAD).unwrap();
    let text = "kafka: { brokers: [\"127.0.0.1:1\"], tls: { ca: ca.pem } }\nlisten: 127.0.0.1:0\n";
    fs::write(folder.path().join("weir.yaml"), text).unwrap();
    assert!(Command::new("mkfifo").arg(folder.path().join("ca.pem")).status().unwrap().success());
    for command in ["check", "run"] {
        let ran = weir(&[command], folder.path());
        assert_eq!(ran.code, Some(78), "{command}: {}", ran.output);
        let says = ran.output.contains("W0602") && ran.output.contains("weir.yaml:1:47");
        assert!(says && ran.output.contains("`ca.pem` is no regular file"), "{command}: {}", ran.output);
    }
}

/// `-` and paths that are given themselves.
#[test]
fn an_endless_input_is_not_read_to_its_end() {
    let folder = Folder::new("wrong-endless");
    let program = Path::new(env!("CARGO_BIN_EXE_weir"));
    for command in ["check", "fmt"] {
        let ran = run(program, &[command, "-"], folder.path(), Path::new("/dev/zero"), None);
        assert_eq!(ran.code, Some(1), "{command}: {}", ran.output);
        assert!(ran.output.contains("larger than 1 MiB") && ran.kib < RSS_KIB, "{command}: {ran:?}");
    }
    for command in ["check", "fmt", "graph"] {
        let ran = weir(&[command, "/dev/zero"], folder.path());
        assert_eq!(ran.code, Some(1), "{command}: {}", ran.output);
        assert!(ran.output.contains("this is a device, not a file"), "{command}: {}", ran.output);
        let ran = weir(&[command, "gone.yaml"], folder.path());
        assert_eq!(ran.code, Some(2), "{command}: {}", ran.output);
    }
}

/// A file without permission, for a user that needs one: root reads everything.
#[test]
fn a_file_that_may_not_be_read_is_said() {
    let root = fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    let folder = Folder::new("wrong-permission");
    let pipelines = folder.path().join("pipelines");
    fs::create_dir_all(&pipelines).unwrap();
    fs::write(pipelines.join("x.yaml"), HEAD).unwrap();
    fs::set_permissions(pipelines.join("x.yaml"), fs::Permissions::from_mode(0o000)).unwrap();
    // The build's own folder may be closed to others.
    let program = folder.path().join("weir");
    let built = Path::new(env!("CARGO_BIN_EXE_weir"));
    if fs::hard_link(built, &program).is_err() {
        fs::copy(built, &program).unwrap();
    }
    for (arguments, code) in COMMANDS {
        let ran = run(&program, arguments, folder.path(), Path::new("/dev/null"), root.then_some(65_534));
        assert_eq!(ran.code, Some(code), "{arguments:?}: {}", ran.output);
        let said = "the file cannot be read: Permission denied";
        assert!(ran.output.contains(said) && ran.output.contains("x.yaml"), "{arguments:?}: {}", ran.output);
    }
}

/// The bound bites: the same file would be read if it were a little smaller.
#[test]
fn large_files_that_are_right_are_read() {
    let folder = Folder::new("wrong-large");
    fs::create_dir_all(folder.path().join("pipelines")).unwrap();
    let labels: String = (0..30_000).map(|n| format!("  label-{n}: value # {n}\n")).collect();
    let text = format!("{HEAD}labels:\n{labels}");
    assert!(text.len() < MIB && text.len() > MIB * 3 / 4, "{}", text.len());
    fs::write(folder.path().join("pipelines/x.yaml"), text).unwrap();
    for arguments in [&["check", "pipelines"][..], &["graph", "pipelines"], &["fmt", "pipelines"]] {
        let ran = weir(arguments, folder.path());
        let shown: String = ran.output.chars().take(500).collect();
        assert_eq!(ran.code, Some(0), "{arguments:?}: {shown}");
        // The layout keeps a syntax tree of every character.
        assert!(ran.kib < 4 * RSS_KIB, "{arguments:?} took {} KiB", ran.kib);
    }
}

/// Right files, to be damaged.
fn samples() -> Vec<String> {
    let cases = fs::read_dir(root().join("tests/cases/check")).unwrap().map(|entry| entry.unwrap().path());
    let clean = |path: &std::path::PathBuf| path.file_name().unwrap().to_string_lossy().starts_with("clean-");
    let mut folders: Vec<_> = cases.filter(clean).collect();
    folders.push(root().join("pipelines"));
    folders.sort();
    let paths = folders.iter().flat_map(|folder| files::pipelines_at(folder).unwrap());
    paths.map(|path| fs::read_to_string(path).unwrap()).collect()
}

/// What is put in: the signs of YAML, VRL, templates and references.
const PIECES: &[&str] = &[
    " ", "\n", "\n  ", "\t", "\r\n", ":", ": ", "- ", "? ", "#", " #", "{", "}", "[", "]", ",", "\"", "'",
    "\\", "&a ", "*a", "!x ", "<<: *a", "|", ">", "|2", "%", "@", "`", "~", "null", "---\n", "...\n", "{{",
    "}}", "{{ .a }}", "${", "${var:x}", "$${", "!", "=", "==", "||", "(", ")", "->", "?? 1", "if ", "é",
    "\u{feff}", "\u{85}", "\u{2028}", "\u{0}", "0", "-1", "1e999", "5s", "100%",
];

fn damaged(text: &str, edits: &[(u16, u8, usize, u8)]) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for (at, kind, piece, length) in edits {
        let at = usize::from(*at) * (chars.len() + 1) / (usize::from(u16::MAX) + 1);
        let end = (at + usize::from(*length)).min(chars.len());
        match kind % 4 {
            0 => drop(chars.splice(at..at, PIECES[piece % PIECES.len()].chars())),
            1 => drop(chars.drain(at..end)),
            2 => {
                let again = chars[at..end].to_vec();
                chars.splice(at..at, again);
            }
            _ => chars[at..end].reverse(),
        }
    }
    chars.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is done to a right file, it is read, checked, compiled and laid out without a panic, in time, and each
    /// finding can be printed; its layout means what it means.
    #[test]
    fn no_damage_to_a_file_makes_a_command_panic(
        sample in 0usize..64,
        edits in proptest::collection::vec((any::<u16>(), any::<u8>(), any::<usize>(), 0u8..30), 1..6),
    ) {
        static SAMPLES: std::sync::LazyLock<Vec<String>> = std::sync::LazyLock::new(samples);
        let text = damaged(&SAMPLES[sample % SAMPLES.len()], &edits);
        let began = clock::now();
        let source = Source::new("order-billing.yaml", text.as_str());
        let loaded = runtime::load(None, &std::collections::BTreeMap::new(), &[], &mut Vec::new()).unwrap();
        for finding in check::check(std::slice::from_ref(&source), &loaded, Vec::new()).findings {
            let printed = diagnostic::human(&finding, true) + &diagnostic::short(&finding) + &diagnostic::github(&finding);
            prop_assert!(printed.contains(finding.code), "{printed}");
            diagnostic::json(&finding);
        }
        if let Ok(form) = layout::layout(&source) {
            let read = |text: &str| Document::parse(&Source::new("a.yaml", text), &mut Vec::new()).unwrap();
            prop_assert_eq!(read(&text).root.first_difference(&read(&form).root), None, "{:?} became {:?}", text, form);
        }
        prop_assert!(began.elapsed().as_secs() < 20, "{:?} for {text:?}", began.elapsed());
    }
}
