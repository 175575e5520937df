//! Repositories for tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A repository with a folder `flows` of pipelines.
pub(crate) struct Repository(pub(crate) tempfile::TempDir);

impl Repository {
    pub(crate) fn new() -> Repository {
        let made = Repository(tempfile::tempdir().unwrap());
        made.git(&["init", "--quiet", "--initial-branch=main"]);
        fs::create_dir(made.flows()).unwrap();
        made
    }

    pub(crate) fn flows(&self) -> PathBuf {
        self.0.path().join("flows")
    }

    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        run(self.0.path(), arguments)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.flows().join(name), text).unwrap();
    }

    /// Writes a file and commits everything; the commit's id.
    pub(crate) fn commit(&self, name: &str, text: &str, subject: &str) -> String {
        self.write(name, text);
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message", subject]);
        self.git(&["rev-parse", "HEAD"])
    }
}

/// Runs git as Alice; what it says.
pub(crate) fn run(folder: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    command.arg("-C").arg(folder).args(["-c", "user.name=Alice", "-c", "user.email=alice@x.test"]);
    let output = command.args(["-c", "protocol.file.allow=always"]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
