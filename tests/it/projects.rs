//! From nothing to a tested pipeline: what `weir init`, `weir new` and `weir dev --test` give.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::support::weir::binary;

fn weir(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments).current_dir(folder).stdin(Stdio::null()).kill_on_drop(true);
    command
}

async fn said(folder: &Path, arguments: &[&str]) -> (i32, String) {
    let Output { status, stdout, stderr } = weir(folder, arguments).output().await.unwrap();
    (status.code().unwrap(), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
}

#[tokio::test]
async fn what_init_and_new_write_is_good_tested_and_in_form_and_nothing_is_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let (code, text) = said(path, &["init"]).await;
    assert!(code == 0 && text.contains("order-billing.test.yaml"), "{text}");
    for name in ["weir.yaml", "docker-compose.yml", ".weir/pipeline.schema.json", ".weir/test.schema.json"] {
        assert!(path.join(name).is_file(), "{name}");
    }
    let (code, text) = said(path, &["init"]).await;
    assert!(code == 1 && text.contains("is there already: nothing was written"), "{text}");
    let hook = ["new", "order-hook", "--topic", "a.b", "--url", "https://x.test/v1/{{ .id }}"];
    assert_eq!(said(path, &hook).await.0, 0);
    assert_eq!(said(path, &["new", "order-copy", "--template", "kafka"]).await.0, 0);
    assert_eq!(said(path, &["new", "Not A Name"]).await.0, 2);
    let (code, text) = said(path, &["check", "--deny-warnings"]).await;
    assert_eq!(code, 0, "{text}");
    let (code, text) = said(path, &["test"]).await;
    assert!(code == 0 && text.contains("10 tests, 10 passed"), "{text}");
    let (code, text) = said(path, &["fmt", "--check"]).await;
    assert_eq!(code, 0, "{text}");
}

/// Within seconds of a save the tests have run again, and say what it broke.
#[tokio::test]
async fn dev_runs_the_tests_again_when_a_file_is_saved() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    assert_eq!(said(path, &["init"]).await.0, 0);
    let mut dev = weir(path, &["dev", "--test", "--listen", "127.0.0.1:0"]);
    let mut dev = dev.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(dev.stdout.take().unwrap()).lines();
    let mut line_with = async |wanted: &str| {
        let find = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                if line.contains(wanted) {
                    return;
                }
            }
            panic!("it ended without `{wanted}`");
        };
        let found = tokio::time::timeout(Duration::from_secs(30), find).await;
        found.unwrap_or_else(|_| panic!("no line with `{wanted}` within 30 s"));
    };
    line_with("4 tests, 4 passed").await;
    let file = path.join("pipelines/order-billing.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("DRAFT", "SKETCH")).unwrap();
    line_with("4 tests, 3 passed, 1 failed").await;
    std::fs::write(&file, text).unwrap();
    line_with("4 tests, 4 passed").await;
    dev.kill().await.unwrap();
}
