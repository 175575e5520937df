//! `weir check` on case folders: `tests/cases/check/NAME/` holds pipeline files, perhaps a weir.yaml, and `expected.txt`
//! with every finding. `UPDATE_EXPECT=1` writes the expectation anew; read the difference before committing it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use weir::cli::{check, export};
use weir::spec::diagnostic;
use weir::spec::span::Source;
use weir::spec::{files, runtime};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// A source whose name is the file's alone, so that the expectation does not depend on where the tree lies.
fn source(path: &Path) -> Result<Arc<Source>, String> {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let bytes = std::fs::read(path).unwrap();
    files::decode(&name, bytes).map_err(|finding| diagnostic::human(&finding, false) + "\n")
}

fn found(folder: &Path) -> String {
    let mut findings = Vec::new();
    let environment = BTreeMap::from([("HOSTNAME".to_owned(), "host".to_owned())]);
    let config = folder.join("weir.yaml");
    let settings = config.exists().then(|| source(&config).unwrap());
    let loaded = runtime::load(settings.as_ref(), &environment, &[], &mut findings).unwrap();
    let mut out = String::new();
    let mut sources = Vec::new();
    for file in files::pipelines_at(folder).unwrap().into_iter().filter(|file| *file != config) {
        match source(&file) {
            Ok(source) => sources.push(source),
            Err(said) => out.push_str(&said),
        }
    }
    for finding in check::check(&sources, &loaded, findings).findings {
        out.push_str(&diagnostic::human(&finding, false));
        out.push('\n');
    }
    out
}

#[test]
fn cases() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for entry in std::fs::read_dir(root().join("tests/cases/check")).unwrap() {
        let folder = entry.unwrap().path();
        let expectation = folder.join("expected.txt");
        let found = found(&folder);
        count += 1;
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(&expectation, &found).unwrap();
        } else if std::fs::read_to_string(&expectation).unwrap_or_default() != found {
            wrong.push(format!("{}:\n{found}", folder.display()));
        }
    }
    assert!(count > 10, "the case folders are gone");
    assert!(wrong.is_empty(), "UPDATE_EXPECT=1 writes these anew:\n{}", wrong.join("\n"));
}

/// The sample pipelines of the repository are right, by the checks and by the schema that editors use.
#[test]
fn samples_are_clean_and_the_schema_takes_them() {
    let schema = export::pipeline_schema();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let mut folders = vec![root().join("pipelines")];
    for entry in std::fs::read_dir(root().join("tests/cases/check")).unwrap() {
        let folder = entry.unwrap().path();
        if folder.file_name().unwrap().to_string_lossy().starts_with("clean-") {
            assert_eq!(
                std::fs::read_to_string(folder.join("expected.txt")).unwrap(),
                "",
                "{}",
                folder.display()
            );
            folders.push(folder);
        }
    }
    for folder in folders {
        let files = files::pipelines_at(&folder).unwrap();
        for file in files.into_iter().filter(|file| !file.ends_with("weir.yaml")) {
            let source = source(&file).unwrap();
            let mut findings = Vec::new();
            let mut document = weir::spec::tree::Document::parse(&source, &mut findings).unwrap();
            let value: serde_json::Value = weir::spec::tree::read(&mut document, &mut findings).unwrap();
            assert_eq!(findings, []);
            let errors: Vec<String> =
                validator.iter_errors(&value).map(|e| format!("{} at {}", e, e.instance_path())).collect();
            assert!(errors.is_empty(), "{}: {errors:?}", file.display());
        }
    }
    assert_eq!(schema["$schema"], "http://json-schema.org/draft-07/schema#");
    for wrong in [serde_json::json!({ "pipeline": "x", "retries": {} }), serde_json::json!({ "source": "t" })]
    {
        assert!(!validator.is_valid(&wrong), "{wrong}");
    }
}

/// What the program says of a path, in this form.
fn said(arguments: &[&str]) -> (Option<i32>, String) {
    let ran = std::process::Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(["check", "--color", "never"])
        .args(arguments)
        .current_dir(root())
        .env_remove("WEIR_CONFIG")
        .env("WEIR_SECRET_BILLING_TOKEN", "t")
        .env("WEIR_SECRET_BILLING_SIGNING", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
        .output()
        .unwrap();
    (ran.status.code(), String::from_utf8(ran.stdout).unwrap() + &String::from_utf8(ran.stderr).unwrap())
}

#[test]
fn findings_have_a_form_for_each_reader() {
    let folder = "tests/cases/check/trap-percent";
    let (code, github) = said(&[folder, "-o", "github"]);
    assert_eq!(code, Some(1), "{github}");
    assert!(
        github.starts_with("::error file=tests/cases/check/trap-percent/trap-percent.yaml,line=6,"),
        "{github}"
    );
    let (code, sarif) = said(&[folder, "-o", "sarif"]);
    let log: serde_json::Value = serde_json::from_str(&sarif).unwrap();
    let results = log["runs"][0]["results"].as_array().unwrap();
    assert_eq!((code, log["version"].as_str(), results.len()), (Some(1), Some("2.1.0"), 1));
    let rule = &log["runs"][0]["tool"]["driver"]["rules"][0];
    assert_eq!(rule["id"], results[0]["ruleId"]);
    assert!(rule["help"]["text"].as_str().is_some_and(|text| text.len() > 50), "{rule}");
}

/// Pipelines that stand in documents are checked like files, and ours are right.
#[test]
fn the_examples_of_documents_are_checked() {
    let (code, text) = said(&["README.md", "--deny-warnings"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(!text.starts_with("0 files"), "the README has an example: {text}");
    let folder = crate::support::run::Folder::new("check-md");
    let file = folder.path().join("guide.md");
    std::fs::write(&file, "# Guide\n\n```yaml\npipeline: a\nsource: t\nhandlr: x\n```\n").unwrap();
    let (code, text) = said(&[file.to_str().unwrap(), "-o", "short"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("guide.md:6:1: error[W0104]"), "the line of the document: {text}");
}
