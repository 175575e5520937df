//! What holds for the tree itself: dependencies point one way, files stay small and say what they are for, invariants
//! name tests that exist, cited rules are written down, no path of somebody's machine, one place that sleeps.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::support::run::root;

/// Which of our modules a module may use besides itself and the leaves (`spec::span`, `plan::expr` .. count as leaves).
const LAYERS: &[(&str, &[&str])] = &[
    ("event", &[]),
    ("outcome", &[]),
    ("telemetry", &[]),
    ("settings", &[]),
    ("git", &["settings"]),
    ("store", &["settings"]),
    ("registry", &["settings", "store", "schema"]),
    ("schema", &[]),
    ("codec", &["registry", "schema"]),
    ("plugin", &["settings"]),
    ("seal", &["settings"]),
    ("transform", &["settings", "plugin", "seal"]),
    ("handler", &["settings"]),
    ("kafka", &["settings"]),
    ("track", &["settings", "store"]),
    ("publish", &["settings", "codec", "seal", "kafka", "track"]),
    ("deliver", &["settings", "handler", "codec", "publish", "kafka", "store"]),
    ("spec", &["settings", "codec", "seal", "transform", "handler", "deliver", "publish", "kafka"]),
    (
        "plan",
        &[
            "settings",
            "git",
            "spec",
            "registry",
            "codec",
            "plugin",
            "seal",
            "transform",
            "handler",
            "deliver",
            "publish",
            "kafka",
        ],
    ),
    ("flow", &["settings", "plan", "codec", "transform", "handler", "publish", "deliver", "track", "kafka"]),
    ("replay", &["settings", "flow", "plan", "publish", "deliver", "track", "store", "kafka"]),
    ("runtime", ALL_BELOW_RUNTIME),
    ("rehearsal", &["runtime"]),
    ("api", &["runtime", "rehearsal"]),
    ("cli", &["runtime", "rehearsal", "api"]),
    ("main", &["cli"]),
];

/// `rehearsal`, `api` and `cli` may use these as well.
const ALL_BELOW_RUNTIME: &[&str] = &[
    "settings",
    "git",
    "store",
    "registry",
    "schema",
    "codec",
    "plugin",
    "seal",
    "transform",
    "handler",
    "kafka",
    "track",
    "publish",
    "deliver",
    "spec",
    "plan",
    "flow",
    "replay",
];

const LEAVES: &[&str] = &[
    "event",
    "outcome",
    "telemetry",
    "spec::span",
    "spec::diagnostic",
    "spec::units",
    "spec::form",
    "plan::expr",
];

/// Files that the model test must be able to run by themselves: leaves only.
const PURE: &[&str] = &["src/flow/tracker", "src/flow/lanes", "src/flow/metadata"];

const MAX_LINES: usize = 600;

/// Files that may be longer, up to how long, and why.
const LONG: &[(&str, usize, &str)] = &[];

/// Where the runtime may wait for time to pass, and why.
const SLEEPERS: &[(&str, &str)] = &[
    ("src/flow/", "the lanes' driver waits for the next due retry"),
    ("src/runtime/dlq.rs", "tries to create a topic again while Kafka does not let it"),
    (
        "src/runtime/reload/mod.rs",
        "looks at the files every few seconds, where a file system tells of no change",
    ),
    ("src/runtime/follow.rs", "asks a followed repository every so often"),
    ("src/runtime/watch.rs", "looks at topics and stages every few seconds"),
    ("src/cli/receive/server.rs", "a scripted answer waits as the script says"),
    ("src/handler/webhook/mod.rs", "a request waits for its place where a rate is asked for"),
    (
        "src/handler/webhook/transport.rs",
        "a scripted answer takes as long as the script says, in virtual time",
    ),
    ("src/handler/webhook/client.rs", "the timer of an attempt's limits: it ends a wait and is none"),
    ("tests/it/support/run.rs", "the rig's one place"),
];

#[test]
fn layers() {
    let mut wrong = Vec::new();
    for (path, text) in sources("src") {
        if path.ends_with("tests.rs") {
            continue; // a test may look up
        }
        let module = module_of(&path);
        let leaves_only = LEAVES.iter().any(|leaf| in_module(&path, leaf)) || starts(&path, PURE);
        for used in crate_paths(&without_tests(&text)) {
            let leaf = LEAVES.iter().any(|leaf| used == *leaf || used.starts_with(&format!("{leaf}::")));
            let top = used.split("::").next().unwrap_or_default();
            let allowed = LAYERS.iter().find(|(name, _)| *name == module).map(|(_, allowed)| *allowed);
            let below = matches!(module, "rehearsal" | "api" | "cli") && ALL_BELOW_RUNTIME.contains(&top);
            let fine = match allowed {
                _ if leaf || top == module => true,
                _ if leaves_only => false,
                Some(allowed) => allowed.contains(&top) || below,
                None => module == "lib",
            };
            if !fine {
                wrong.push(format!("{}: {module} may not use crate::{used}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn layers_finds_a_path_that_points_up() {
    let text = "use crate::{event::Event, api};\nfn f() { crate::flow::x() }\n// crate::cli\n#[cfg(test)]\nmod tests { use crate::main; }\n";
    assert_eq!(crate_paths(&without_tests(text)), ["api", "event::Event", "flow::x"]);
}

#[test]
fn sizes() {
    let mut wrong = Vec::new();
    let mut long: BTreeSet<&str> = LONG.iter().map(|(path, ..)| *path).collect();
    for (path, text) in sources("src").into_iter().chain(sources("tests")) {
        let lines = text.lines().count();
        let name = path.to_str().unwrap();
        let limit = LONG.iter().find(|(long, ..)| *long == name).map_or(MAX_LINES, |(_, limit, _)| *limit);
        if lines > MAX_LINES {
            long.remove(name);
        }
        if lines > limit {
            wrong.push(format!("{name}: {lines} lines, over {limit}"));
        }
    }
    wrong.extend(long.iter().map(|path| format!("{path} is not long any more: take it off the list")));
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn each_file_says_what_it_is_for() {
    let files = sources("src").into_iter().chain(sources("tests"));
    let silent: Vec<PathBuf> =
        files.filter(|(_, text)| !text.starts_with("//! ")).map(|(path, _)| path).collect();
    assert!(silent.is_empty(), "without a first line of //!: {silent:#?}");
}

/// What is wrong with a table's rows, each of which ends with names of tests in back quotes. `may_be_empty`: whether a row may
/// name none.
fn unknown_tests(rows: &[&str], may_be_empty: impl Fn(&str) -> bool) -> Vec<String> {
    let tests = tests_by_name();
    let mut wrong = Vec::new();
    for row in rows {
        let cell = row.trim_end_matches([' ', '|']).rsplit('|').next().unwrap_or_default();
        let names: Vec<String> = cell.split('`').skip(1).step_by(2).flat_map(expand).collect();
        if names.is_empty() && !may_be_empty(row) {
            wrong.push(format!("names no test: {row}"));
        }
        for name in names {
            let file = root().join(&name).exists() && !name.contains("::");
            if !file && !exists(&tests, &name) {
                wrong.push(format!("there is no test {name}: {row}"));
            }
        }
    }
    wrong
}

#[test]
fn invariants_name_real_tests() {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    // Rows of the table of invariants: a number, a sentence, and the tests in back quotes.
    let section = text.lines().skip_while(|line| *line != "## Invariants").skip(1);
    let section = section.take_while(|line| !line.starts_with("## "));
    let numbered = |line: &&str| {
        line.strip_prefix("| ").is_some_and(|row| row.starts_with(|c: char| c.is_ascii_digit()))
    };
    let rows: Vec<&str> = section.filter(numbered).collect();
    assert!(!rows.is_empty(), "no invariants in ARCHITECTURE.md");
    let wrong = unknown_tests(&rows, |_| false);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn conformance_names_real_tests() {
    let text = std::fs::read_to_string(root().join("docs/conformance.md")).unwrap();
    let id = |row: &str| {
        row.strip_prefix("| ").and_then(|row| row.split(' ').next()).unwrap_or_default().to_owned()
    };
    let rows: Vec<&str> = text.lines().filter(|line| is_conformance(&id(line))).collect();
    let told: BTreeSet<String> = rows.iter().map(|row| id(row)).collect();
    let all = (1..=39).map(|n| format!("H{n:02}")).chain((1..=17).map(|n| format!("L{n:02}")));
    let missing: Vec<String> = all.filter(|id| !told.contains(id)).collect();
    assert_eq!(missing, Vec::<String>::new(), "without a row");
    let wrong = unknown_tests(&rows, |row| row.contains("| later: "));
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn is_conformance(id: &str) -> bool {
    id.trim_start_matches(['H', 'L', 'B', '-']).parse::<u8>().is_ok() && id.len() >= 3
}

#[test]
fn invariants_finds_names() {
    assert_eq!(expand("it::retries::{one, two}"), ["it::retries::one", "it::retries::two"]);
    let tests = tests_by_name();
    assert!(
        exists(&tests, "tidy::invariants_finds_names") && exists(&tests, "it::tidy::invariants_finds_names")
    );
    assert!(!exists(&tests, "tidy::no_such_test") && !exists(&tests, "elsewhere::invariants_finds_names"));
}

#[test]
fn cited_rules_are_written_down() {
    let rules = std::fs::read_to_string(root().join("docs/rules.md")).unwrap();
    let known: BTreeSet<&str> =
        rules.lines().filter_map(|line| line.strip_prefix("- **")?.split("**").next()).collect();
    let mut wrong = BTreeMap::new();
    for (path, text) in sources("src").into_iter().chain(sources("tests")) {
        for line in text.lines().filter_map(|line| Some(line.split_once("//")?.1)) {
            for word in line.split(|c: char| !c.is_ascii_alphanumeric() && c != '-') {
                if is_rule(word) && !known.contains(word) {
                    wrong.insert(word.to_owned(), path.clone());
                }
            }
        }
    }
    assert!(wrong.is_empty(), "cited, not in docs/rules.md: {wrong:#?}");
}

#[test]
fn seeds_of_failed_properties_are_run() {
    let folder = Path::new("proptest-regressions");
    let mut seeds = 0;
    for path in files(&root().join(folder), &|path| path.extension().is_some_and(|ext| ext == "txt")) {
        let text = std::fs::read_to_string(root().join(&path)).unwrap();
        // Where the test has moved, its seeds are not found any more, and nobody says so.
        let test = root().join("src").join(path.strip_prefix(folder).unwrap()).with_extension("rs");
        let source = std::fs::read_to_string(&test).unwrap_or_default();
        assert!(source.contains("proptest! {"), "{} has no property: move its seeds", test.display());
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let seed = line.strip_prefix("cc ").and_then(|line| line.split(' ').next()).unwrap_or_default();
            let whole = seed.len() == 64 && seed.bytes().all(|byte| byte.is_ascii_hexdigit());
            assert!(whole, "{}: not a seed: {line}", path.display());
            seeds += 1;
        }
    }
    assert!(seeds > 0, "the tracker has some");
}

#[test]
fn no_path_of_a_machine() {
    let paths = ["work", "root", "home"].map(|folder| format!("/{folder}/"));
    let mut wrong = Vec::new();
    for path in files(root(), &|_| true) {
        let Ok(text) = std::fs::read_to_string(root().join(&path)) else { continue };
        for (number, line) in text.lines().enumerate() {
            if paths.iter().any(|found| line.contains(found.as_str())) {
                wrong.push(format!("{}:{}: {line}", path.display(), number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn one_place_sleeps() {
    let calls = ["sleep(", "sleep_until(", "interval("].map(|call| format!("::{call}"));
    let mut wrong = Vec::new();
    for (path, text) in sources("src").into_iter().chain(sources("tests")) {
        let text = if path.starts_with("src") { without_tests(&text) } else { text };
        let sleeps = text.lines().any(|line| calls.iter().any(|call| line.contains(call.as_str())));
        if sleeps && !SLEEPERS.iter().any(|(allowed, _)| path.to_str().unwrap().starts_with(allowed)) {
            wrong.push(path);
        }
    }
    assert!(wrong.is_empty(), "these sleep: {wrong:#?}");
}

/// `O9`, `F-31`: the ids of docs/rules.md.
fn is_rule(word: &str) -> bool {
    let (letter, rest) = word.split_at(word.len().min(1));
    let digits = |text: &str| (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    match rest.strip_prefix('-') {
        Some(number) => "BF".contains(letter) && !letter.is_empty() && digits(number),
        // H10 and above are tests of the webhook contract.
        None if letter == "H" => rest.len() == 1 && digits(rest),
        None => {
            "OGMKDTSBXRPIL".contains(letter) && !letter.is_empty() && digits(rest) && !rest.starts_with('0')
        }
    }
}

/// `a::{b, c}` is `a::b` and `a::c`.
fn expand(name: &str) -> Vec<String> {
    match name.split_once('{') {
        Some((start, rest)) => {
            rest.trim_end_matches('}').split(',').map(|end| format!("{start}{}", end.trim())).collect()
        }
        None => vec![name.to_owned()],
    }
}

/// The names of all test functions, each with the path of its file.
fn tests_by_name() -> BTreeMap<String, Vec<String>> {
    let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (path, text) in sources("src").into_iter().chain(sources("tests")) {
        let mut attribute = false;
        let property = text.contains("proptest!");
        for line in text.lines().map(str::trim) {
            if line.starts_with("#[") {
                attribute |= line.contains("test");
                continue;
            }
            let Some(start) = line.find("fn ") else { continue };
            if attribute || property {
                let name: String =
                    line[start + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                names.entry(name).or_default().push(path.display().to_string());
            }
            attribute = false;
        }
    }
    names
}

/// Whether a test of the last part of the name is in a file whose path has the part before it.
fn exists(tests: &BTreeMap<String, Vec<String>>, name: &str) -> bool {
    let mut parts = name.rsplit("::");
    let (Some(function), Some(module)) = (parts.next(), parts.next()) else { return false };
    tests
        .get(function)
        .into_iter()
        .flatten()
        .any(|path| path.trim_end_matches(".rs").split('/').any(|part| part == module))
}

/// The paths after `crate::` in code, groups unfolded.
fn crate_paths(text: &str) -> Vec<String> {
    let code: String =
        text.lines().map(|line| format!("{}\n", line.split("//").next().unwrap_or_default())).collect();
    let mut found = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            Some(group) => {
                let mut depth = 0;
                let mut item = String::new();
                for c in group.chars() {
                    match c {
                        '}' if depth == 0 => break,
                        '{' => depth += 1,
                        '}' => depth -= 1,
                        ',' if depth == 0 => drop(found.insert(path(&std::mem::take(&mut item)))),
                        _ if depth == 0 => item.push(c),
                        _ => {}
                    }
                }
                found.insert(path(&item));
            }
            None => drop(found.insert(path(rest))),
        }
    }
    found.remove("");
    found.into_iter().collect()
}

/// The leading two parts of a path.
fn path(text: &str) -> String {
    let word: String = text.trim().chars().take_while(|c| c.is_alphanumeric() || "_:".contains(*c)).collect();
    word.split("::").filter(|part| !part.is_empty()).take(2).collect::<Vec<_>>().join("::")
}

/// Without the test modules at its end.
fn without_tests(text: &str) -> String {
    text.split("#[cfg(test)]\nmod ").next().unwrap_or_default().to_owned()
}

fn module_of(path: &Path) -> &str {
    let part = path.iter().nth(1).and_then(|part| part.to_str()).unwrap_or_default();
    part.trim_end_matches(".rs")
}

fn in_module(path: &Path, module: &str) -> bool {
    let place = format!("src/{}", module.replace("::", "/"));
    starts(path, &[&place])
}

fn starts(path: &Path, places: &[&str]) -> bool {
    let path = path.to_str().unwrap();
    places.iter().any(|place| path == format!("{place}.rs") || path.starts_with(&format!("{place}/")))
}

/// The Rust files of a folder, by path from the root; tests of `src` that lie in files of their own are left out.
fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let rust = |path: &Path| path.extension().is_some_and(|extension| extension == "rs");
    let found = files(&root().join(folder), &rust);
    found
        .into_iter()
        .map(|path| (path.clone(), std::fs::read_to_string(root().join(path)).unwrap()))
        .collect()
}

fn files(folder: &Path, wanted: &dyn Fn(&Path) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if path.is_symlink() || [".git", ".weir", "target"].contains(&name.as_str()) {
            continue;
        }
        if path.is_dir() {
            found.extend(files(&path, wanted));
        } else if wanted(&path) {
            found.push(path.strip_prefix(root()).unwrap().to_owned());
        }
    }
    found.sort();
    found
}
