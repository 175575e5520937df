//! Pipelines of a git repository that is followed: what is good is applied, what is broken, unsigned or away stops nothing.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::delivery::Stage;
use crate::support::check;
use crate::support::load::Load;
use crate::support::receiver::status;
use crate::support::run::until;
use crate::support::weir::Weir;

const BOUND: Duration = Duration::from_secs(30);

/// A bare repository, and a clone of it in which somebody works.
struct Repository {
    remote: PathBuf,
    work: PathBuf,
}

/// Runs git as Alice; what it says.
fn git(folder: &Path, arguments: &[&str]) -> String {
    let mut git = Command::new("git");
    git.arg("-C")
        .arg(folder)
        .args(["-c", "user.name=Alice", "-c", "user.email=alice@x.test"])
        .args(arguments);
    let output = git.output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

impl Repository {
    fn new(folder: &Path) -> Repository {
        let (remote, work) = (folder.join("remote.git"), folder.join("work"));
        git(folder, &["init", "--quiet", "--bare", "--initial-branch=main", "remote.git"]);
        git(folder, &["init", "--quiet", "--initial-branch=main", "work"]);
        std::fs::create_dir(work.join("pipelines")).unwrap();
        Repository { remote, work }
    }

    /// Commits a file and pushes it to where the remote lies; the commit's id.
    fn push_to(&self, remote: &Path, file: &str, text: &str, subject: &str) -> String {
        std::fs::write(self.work.join(file), text).unwrap();
        git(&self.work, &["add", "--all"]);
        git(&self.work, &["commit", "--quiet", "--message", subject]);
        git(&self.work, &["push", "--quiet", &remote.display().to_string(), "main"]);
        git(&self.work, &["rev-parse", "HEAD"])
    }

    fn push(&self, file: &str, text: &str, subject: &str) -> String {
        self.push_to(&self.remote, file, text, subject)
    }

    /// What weir.yaml says to follow it.
    fn followed(&self, more: &str) -> String {
        format!("{{ git: {{ url: {}, ref: main, path: pipelines, poll: 1s{more} }} }}", self.remote.display())
    }
}

/// The pipeline of a stage whose requests go to `/rN`.
fn pipeline(stage: &Stage, number: usize) -> String {
    let (topic, url) = (&stage.topic, stage.receiver.url());
    format!(
        "pipeline: {topic}\nsource: {topic}\ndlq: {topic}.dlq\nhandler: {{ webhook: {{ url: {url}/r{number} }} }}\n"
    )
}

/// The status of a pipeline.
async fn shown(weir: &Weir, pipeline: &str) -> Value {
    let (_, body) = weir.get(&format!("/api/pipelines/{pipeline}")).await.unwrap_or_default();
    serde_json::from_str(&body).unwrap_or_default()
}

/// Waits until a pipeline is at a commit, and its metric says so.
async fn is_at(weir: &Weir, pipeline: &str, commit: &str) {
    let is_there = || async {
        let shown = shown(weir, pipeline).await;
        shown["commit"]["id"] == commit && shown["sync"] == "synced"
    };
    until(&format!("{pipeline} at {commit}"), BOUND, is_there).await;
    let labels = [("pipeline", pipeline), ("commit", &commit[..7])];
    assert_eq!(weir.metric("weir_pipeline_info", &labels).await, 1.0);
}

async fn is_read(weir: &Weir, well: bool) {
    let expected = f64::from(u8::from(well));
    let is = || async { weir.metric("weir_config_last_reload_successful", &[]).await == expected };
    until(&format!("read well: {well}"), BOUND, is).await;
}

async fn broken(weir: &Weir) -> String {
    let (_, body) = weir.get("/api/pipelines").await.unwrap();
    serde_json::from_str::<Value>(&body).unwrap()["broken"].to_string()
}

/// Events go on.
async fn goes_on(stage: &Stage) {
    let accepted = stage.receiver.accepted();
    stage.receiver.wait_for_accepted(accepted + 100, BOUND).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_branch_is_followed_and_what_is_broken_or_away_stops_nothing() {
    let mut stage = Stage::set("git-follow", "", |_| status(200)).await;
    let repository = Repository::new(stage.site.path());
    let file = format!("pipelines/{}.yaml", stage.topic);
    let one = repository.push(&file, &pipeline(&stage, 1), "the first");
    stage.site = stage.site.pipelines_of(&repository.followed(""));
    let weir = stage.site.start("one").await;
    let commits = stage.commits();
    let load = Load { events: 8_000, keys: 100, size: 256, rate: Some(400) };
    let seen = |number: usize| {
        let path = format!("/r{number}");
        stage.receiver.arrivals().iter().any(|arrival| arrival.target.ends_with(&path))
    };
    let edits = async {
        stage.receiver.wait_for_accepted(100, BOUND).await;
        is_at(&weir, &stage.topic, &one).await;
        let commit = shown(&weir, &stage.topic).await["commit"].clone();
        assert_eq!(
            (&commit["author"], &commit["subject"]),
            (&"Alice".into(), &"the first".into()),
            "{commit}"
        );
        assert_eq!(commit["dirty"], false);

        let bad = repository.push(&file, "pipeline: [", "a mistake");
        is_read(&weir, false).await;
        let now = shown(&weir, &stage.topic).await;
        assert_eq!((&now["sync"], &now["commit"]["id"]), (&"broken".into(), &one.as_str().into()), "{now}");
        let said = broken(&weir).await;
        assert!(
            said.contains(&format!("{file}:1:")) && said.contains(&format!("(commit {})", &bad[..7])),
            "{said}"
        );
        let (ready, body) = weir.get("/readyz").await.unwrap();
        assert_eq!((ready, body.contains("\"ready\":true")), (200, true), "{body}");
        goes_on(&stage).await;

        let good = repository.push(&file, &pipeline(&stage, 2), "mended");
        is_at(&weir, &stage.topic, &good).await;
        is_read(&weir, true).await;
        until("the new plan", BOUND, || async { seen(2) }).await;
        // A commit that changes no pipeline is none of theirs.
        repository.push("README", "x", "elsewhere");
        let (answer, body) = weir.post("/api/reload").await.unwrap();
        assert_eq!((answer, body.contains("\"action\":\"keep\"")), (200, true), "{body}");
        is_at(&weir, &stage.topic, &good).await;

        let away = repository.remote.with_extension("away");
        std::fs::rename(&repository.remote, &away).unwrap();
        is_read(&weir, false).await;
        let said = broken(&weir).await;
        assert!(said.contains("does not appear to be a git repository"), "{said}");
        is_at(&weir, &stage.topic, &good).await;
        assert_eq!(weir.post("/api/reload").await.unwrap().0, 422);
        goes_on(&stage).await;
        let last = repository.push_to(&away, &file, &pipeline(&stage, 3), "while it was away");
        std::fs::rename(&away, &repository.remote).unwrap();
        is_at(&weir, &stage.topic, &last).await;
        is_read(&weir, true).await;
        until("the last plan", BOUND, || async { seen(3) }).await;
        std::fs::rename(&repository.remote, &away).unwrap();
        last
    };
    let (produced, last) = tokio::join!(load.produce(&stage.run, stage.kafka, &stage.topic), edits);
    stage.receiver.wait_for_accepted(load.events, Duration::from_secs(60)).await;
    check::all(&stage.ledgers(produced, commits).await);
    assert_eq!(stage.receiver.arrivals().len(), load.events, "nothing twice");
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);

    // Without the repository it starts with what it had; who never had it does not.
    let weir = stage.site.start("one").await;
    is_at(&weir, &stage.topic, &last).await;
    is_read(&weir, false).await;
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
    let mut other = stage.site.launch("two");
    assert_eq!(other.end(BOUND).await.code(), Some(69));
    assert!(other.log().contains("does not appear to be a git repository"), "{}", other.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_without_a_signature_that_counts_is_not_applied_and_dead_letters_say_theirs() {
    let mut stage = Stage::set("git-signed", "", |_| status(422)).await;
    let repository = Repository::new(stage.site.path());
    let key = stage.site.path().join("key");
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status();
    assert!(made.unwrap().success());
    for (name, value) in
        [("gpg.format", "ssh"), ("user.signingKey", key.to_str().unwrap()), ("commit.gpgSign", "true")]
    {
        git(&repository.work, &["config", name, value]);
    }
    let signers = stage.site.path().join("signers");
    let public = std::fs::read_to_string(key.with_extension("pub")).unwrap();
    std::fs::write(&signers, format!("alice@x.test {public}")).unwrap();
    let file = format!("pipelines/{}.yaml", stage.topic);
    let signed = repository.push(&file, &pipeline(&stage, 1), "signed");
    let verify = format!(", verify: {{ signers: {} }}", signers.display());
    stage.site = stage.site.pipelines_of(&repository.followed(&verify));
    let weir = stage.site.start("one").await;
    is_at(&weir, &stage.topic, &signed).await;

    git(&repository.work, &["config", "commit.gpgSign", "false"]);
    repository.push(&file, &pipeline(&stage, 2), "unsigned");
    is_read(&weir, false).await;
    let said = broken(&weir).await;
    assert!(said.contains("the commit has no signature"), "{said}");
    is_at(&weir, &stage.topic, &signed).await;
    stage.kafka.write(&stage.topic, &[("a", "{}")]);
    let dead =
        || async { weir.metric("weir_events_completed_total", &[("outcome", "dead_lettered")]).await == 1.0 };
    until("a dead letter", BOUND, dead).await;
    let letters = stage.kafka.read(&stage.run, &format!("{}.dlq", stage.topic));
    let commits: Vec<Option<&str>> = letters.iter().map(|letter| letter.header("weir-commit")).collect();
    assert_eq!(commits, [Some(signed.as_str())]);

    git(&repository.work, &["config", "commit.gpgSign", "true"]);
    let again = repository.push(&file, &pipeline(&stage, 3), "signed again");
    is_at(&weir, &stage.topic, &again).await;
    is_read(&weir, true).await;
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}
