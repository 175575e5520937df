//! `weir fmt` as a program: what it writes, what it leaves alone, and what it says.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use weir::spec::files;
use weir::spec::span::Source;
use weir::spec::tree::Document;

use crate::support::run::{Folder, root};

fn weir(arguments: &[&str], folder: &Path, input: &str) -> (Option<i32>, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(arguments)
        .current_dir(folder)
        .env_remove("WEIR_CONFIG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (out.status.code(), text(out.stdout), text(out.stderr))
}

const ROUGH: &str =
    "# what it is for\npipeline:   a\nsource:  {topic: 't'}   # where from\n\n\nhandler: log\n";
const FORM: &str = "# what it is for\npipeline: a\nsource: { topic: \"t\" } # where from\n\nhandler: log\n";

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn our_own_files_are_in_the_standard_form() {
    let (code, out, said) = weir(&["fmt", "--check", "pipelines", "weir.yaml"], root(), "");
    assert_eq!((code, out.as_str()), (Some(0), ""), "{said}");
    assert!(said.contains("7 files: 0 not in the standard form"), "{said}");
}

/// Every sample is formatted, is clean afterwards too, and means what it meant.
#[test]
fn every_clean_sample_means_the_same_afterwards() {
    let mut folders = vec![root().join("pipelines")];
    for entry in fs::read_dir(root().join("tests/cases/check")).unwrap() {
        let folder = entry.unwrap().path();
        if folder.file_name().unwrap().to_string_lossy().starts_with("clean-") {
            folders.push(folder);
        }
    }
    assert!(folders.len() > 3, "{folders:?}");
    let document = |path: &Path| {
        let mut findings = Vec::new();
        let source = Source::new("a.yaml", fs::read_to_string(path).unwrap());
        let document = Document::parse(&source, &mut findings).unwrap();
        assert_eq!(findings, []);
        document
    };
    let comments = |path: &Path| fs::read_to_string(path).unwrap().matches('#').count();
    for folder in folders {
        let work = Folder::new(&format!("fmt-{}", folder.file_name().unwrap().to_string_lossy()));
        let originals = files::pipelines_at(&folder).unwrap();
        let copy = |file: &Path| work.path().join(file.file_name().unwrap());
        for file in &originals {
            fs::copy(file, copy(file)).unwrap();
        }
        let (code, _, said) = weir(&["fmt", "."], work.path(), "");
        assert_eq!(code, Some(0), "{said}");
        let (code, out, _) = weir(&["fmt", "--check", "."], work.path(), "");
        assert_eq!((code, out.as_str()), (Some(0), ""));
        for file in &originals {
            let (before, after) = (document(file), document(&copy(file)));
            assert_eq!(before.root.first_difference(&after.root), None, "{}", file.display());
            assert_eq!(comments(file), comments(&copy(file)), "{}", file.display());
        }
    }
}

#[test]
fn files_are_written_whole_with_their_permissions_and_through_links() {
    let folder = Folder::new("fmt-write");
    let (files, elsewhere) = (folder.path().join("pipelines"), folder.path().join("pipelines/..data"));
    fs::create_dir_all(&elsewhere).unwrap();
    fs::write(files.join("a.yaml"), ROUGH).unwrap();
    fs::set_permissions(files.join("a.yaml"), fs::Permissions::from_mode(0o640)).unwrap();
    fs::write(elsewhere.join("real.yaml"), ROUGH).unwrap();
    fs::set_permissions(elsewhere.join("real.yaml"), fs::Permissions::from_mode(0o604)).unwrap();
    symlink("..data/real.yaml", files.join("link.yaml")).unwrap();
    fs::write(files.join("form.yaml"), FORM).unwrap();
    let as_it_was = fs::metadata(files.join("form.yaml")).unwrap();

    let (code, out, _) = weir(&["fmt", "--check"], folder.path(), "");
    assert_eq!((code, out.as_str()), (Some(1), "pipelines/a.yaml\npipelines/link.yaml\n"));
    assert_eq!(fs::read_to_string(files.join("a.yaml")).unwrap(), ROUGH, "--check writes nothing");

    let (code, out, said) = weir(&["fmt"], folder.path(), "");
    assert_eq!((code, out.as_str()), (Some(0), "pipelines/a.yaml\npipelines/link.yaml\n"), "{said}");
    assert!(said.contains("3 files: 2 formatted"), "{said}");
    assert_eq!(fs::read_to_string(files.join("a.yaml")).unwrap(), FORM);
    assert_eq!(mode(&files.join("a.yaml")), 0o640);
    assert!(files.join("link.yaml").is_symlink());
    assert_eq!(fs::read_to_string(elsewhere.join("real.yaml")).unwrap(), FORM);
    assert_eq!(mode(&elsewhere.join("real.yaml")), 0o604);
    let now = fs::metadata(files.join("form.yaml")).unwrap();
    assert_eq!(now.modified().unwrap(), as_it_was.modified().unwrap(), "what has the form is not touched");
    assert_eq!(names(&files), ["..data", "a.yaml", "form.yaml", "link.yaml"], "nothing is left behind");
    assert_eq!(names(&elsewhere), ["real.yaml"]);
    assert_eq!(weir(&["fmt", "--check", "-q"], folder.path(), ""), (Some(0), String::new(), String::new()));
}

#[test]
fn what_cannot_be_formatted_is_left_alone_and_said() {
    let folder = Folder::new("fmt-alone");
    let path = |name: &str| folder.path().join(name);
    let spaces = "pipeline: spaces\ntransforms:\n  - remap: |\n      .a = 1\n         \n      .b   = 2\n";
    for (name, text) in [
        ("good.yaml", ROUGH),
        ("broken.yaml", "pipeline:   broken\nkey: %x\n"),
        ("locked.yaml", ROUGH),
        ("spaces.yaml", spaces),
    ] {
        fs::write(path(name), text).unwrap();
    }
    fs::set_permissions(path("locked.yaml"), fs::Permissions::from_mode(0o444)).unwrap();
    let (code, out, said) = weir(&["fmt", "."], folder.path(), "");
    assert_eq!((code, out.as_str()), (Some(1), "./good.yaml\n"), "{said}");
    for line in [
        "error[W0108]: `%` cannot begin a value that has no quotes\n  --> ./broken.yaml:2:6\n",
        "error[W0102]: the file is read-only\n  --> ./locked.yaml\n",
        "error[W0118]: the standard form of this file would not mean the same\n  --> ./spaces.yaml:4:7\n",
        "4 files: 1 formatted, 3 left alone\n",
    ] {
        assert!(said.contains(line), "{line}\n{said}");
    }
    assert_eq!(fs::read_to_string(path("good.yaml")).unwrap(), FORM, "the others are formatted all the same");
    assert_eq!(fs::read_to_string(path("broken.yaml")).unwrap(), "pipeline:   broken\nkey: %x\n");
    assert_eq!(fs::read_to_string(path("locked.yaml")).unwrap(), ROUGH);
    assert_eq!(fs::read_to_string(path("spaces.yaml")).unwrap(), spaces);
    let (code, out, _) = weir(&["fmt", ".", "-o", "json"], folder.path(), "");
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, report["files"].as_u64(), report["schema"].as_str()),
        (Some(1), Some(4), Some("weir.fmt/v1"))
    );
    let codes: Vec<&str> =
        report["findings"].as_array().unwrap().iter().map(|found| found["code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["W0108", "W0102", "W0118"]);
}

#[test]
fn standard_input_goes_out_in_the_standard_form() {
    let folder = Folder::new("fmt-stdin");
    let run = |arguments: &[&str], input: &str| weir(arguments, folder.path(), input);
    assert_eq!(run(&["fmt", "-"], ROUGH), (Some(0), FORM.to_owned(), String::new()));
    assert_eq!(run(&["fmt", "-", "--check"], ROUGH), (Some(1), "<stdin>\n".to_owned(), String::new()));
    assert_eq!(run(&["fmt", "-", "--check"], FORM), (Some(0), String::new(), String::new()));
    let (code, out, said) = run(&["fmt", "-"], "a: %x\n");
    assert_eq!((code, out.as_str()), (Some(1), ""), "{said}");
    assert!(said.contains("--> <stdin>:1:4"), "{said}");
}

#[test]
fn wrong_use_is_said() {
    let folder = Folder::new("fmt-use");
    fs::write(folder.path().join("guide.md"), "# Guide\n").unwrap();
    for (arguments, expected, said) in [
        (&["fmt", "guide.md"][..], 2, "only YAML files are formatted"),
        (&["fmt", "gone.yaml"], 2, "reading gone.yaml: No such file"),
        (&["fmt", "-", "a.yaml"], 2, "`-` stands alone"),
        (&["fmt", "-", "-o", "json"], 2, "`-` stands alone"),
        (&["fmt", ".", "-o", "sarif"], 2, "`weir fmt` does not print sarif"),
        (&["fmt", "."], 1, "there is no pipeline file to format"),
    ] {
        let (code, out, err) = weir(arguments, folder.path(), "");
        assert_eq!((code, out.as_str()), (Some(expected), ""), "{arguments:?}: {err}");
        assert!(err.contains(said), "{arguments:?}: {err}");
    }
}
