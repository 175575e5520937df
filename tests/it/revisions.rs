//! Older revisions held against the files, new ones that are watched, and pipelines that were renamed.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::delivery::Stage;
use crate::reload::{BOUND, becomes};
use crate::support::check;
use crate::support::ledger::Arrival;
use crate::support::load::Load;
use crate::support::receiver::status;
use crate::support::run::{pause, until};
use crate::support::weir::Weir;

/// The first 7 digits of the revision that a pipeline runs.
async fn revision(weir: &Weir, pipeline: &str) -> String {
    let (_, body) = weir.get(&format!("/api/pipelines/{pipeline}")).await.unwrap();
    let value: serde_json::Value = serde_json::from_str(&body).unwrap();
    value["revision"].as_str().unwrap().to_owned()
}

/// Produces until so many more were accepted, and gives the revisions that the newest of those were made under.
async fn newest(stage: &Stage, events: usize) -> HashSet<usize> {
    let before = stage.receiver.arrivals().len();
    stage.kafka.write(&stage.topic, &vec![("k", r#"{"n": 1}"#); events]);
    stage.receiver.wait_for(before + events, BOUND).await;
    stage.revisions().into_iter().skip(before).collect()
}

/// A rollback holds an older revision against its file, over a restart too, until the file says something else that can run or
/// somebody releases it; and none of that loses or repeats an event.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_holds_against_the_file_and_over_a_restart_until_it_changes_or_is_released() {
    let stage = Stage::set("pins", "", |_| status(200)).await;
    let name = stage.topic.clone();
    stage.write(1, "");
    let weir = stage.site.start("one").await;
    becomes(&weir, &name, "synced").await;
    let first = revision(&weir, &name).await;
    stage.write(2, "");
    until("the second", BOUND, || async { revision(&weir, &name).await != first }).await;
    assert_eq!(newest(&stage, 5).await, HashSet::from([2]));

    let (code, said) = weir.cli(&["rollback", &name, "--to", &first, "--reason", "totals wrong"]).await;
    assert!(code == 2 && said.contains("--yes"), "nobody can be asked: {code} {said}");
    let back = ["rollback", &name, "--to", &first, "--reason", "totals wrong", "--yes"];
    let (code, said) = weir.cli(&back).await;
    assert!(code == 0 && said.contains("swap"), "{code} {said}");
    becomes(&weir, &name, "pinned").await;
    assert_eq!(newest(&stage, 5).await, HashSet::from([1]));
    let (code, said) = weir.cli(&["status"]).await;
    assert!(code == 0 && said.contains("totals wrong"), "{said}");
    // The same rejected content again is no change, nor is a broken one; nor is a restart.
    stage.write(2, "");
    std::fs::write(stage.file(&name), "pipeline: [").unwrap();
    becomes(&weir, &name, "broken").await;
    assert_eq!(newest(&stage, 5).await, HashSet::from([1]));
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
    let weir = stage.site.start("one").await;
    becomes(&weir, &name, "broken").await;
    assert_eq!(newest(&stage, 5).await, HashSet::from([1]), "also started with a broken file");
    stage.write(2, "");
    becomes(&weir, &name, "pinned").await;
    assert_eq!(newest(&stage, 5).await, HashSet::from([1]));
    // Something new ends it.
    stage.write(3, "");
    becomes(&weir, &name, "synced").await;
    assert_eq!(newest(&stage, 5).await, HashSet::from([3]));

    // Held until it is released, whatever the file says.
    let (code, said) = weir.cli(&[&back[..], &["--until-release"]].concat()).await;
    assert_eq!(code, 0, "{said}");
    stage.write(4, "");
    assert_eq!(newest(&stage, 5).await, HashSet::from([1]));
    let (code, said) = weir.cli(&["release", &name, "--reason", "mended"]).await;
    assert!(code == 0 && said.contains("swap"), "{code} {said}");
    assert_eq!(newest(&stage, 5).await, HashSet::from([4]));
    let (code, _) = weir.cli(&["release", &name]).await;
    assert_eq!(code, 1, "it is not pinned");

    let (_, said) = weir.cli(&["history", &name]).await;
    for word in ["start", "change", "rollback", "totals wrong", "broken", "release", "mended"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    let (code, said) = weir.cli(&["history", &name, "--diff", &first, &revision(&weir, &name).await]).await;
    assert!(code == 1 && said.contains("/r4") && said.contains("handler.webhook.url"), "{code} {said}");
    let ids: HashSet<String> = stage.receiver.arrivals().into_iter().map(|one| one.webhook_id).collect();
    assert_eq!(ids.len(), stage.receiver.arrivals().len(), "nothing twice");
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

/// A revision that fails more than the file allows, and than the former one did, is replaced by that one; and it is said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_revision_that_fails_more_is_put_back_by_itself() {
    let stage =
        Stage::set("rollout", "", |seen| status(if seen.arrival.target.contains("/r2") { 500 } else { 200 }))
            .await;
    let name = stage.topic.clone();
    let more = "    breaker: none\nretry: { max_attempts: 50, initial_delay: 100ms, max_delay: 200ms }\nrollout: { watch: 20s, max_failure_ratio: 10% }\n";
    stage.write(1, more);
    let weir = stage.site.start("one").await;
    let commits = stage.commits();
    let load = Load { events: 3_000, keys: 100, size: 128, rate: Some(200) };
    let edits = async {
        stage.receiver.wait_for_accepted(300, BOUND).await;
        stage.write(2, more);
        becomes(&weir, &name, "pinned").await;
        let (_, said) = weir.cli(&["status", &name]).await;
        assert!(said.contains("pinned by rollout") && said.contains("10.0 % are allowed"), "{said}");
    };
    let (produced, ()) = tokio::join!(load.produce(&stage.run, stage.kafka, &name), edits);
    stage.receiver.wait_for_accepted(load.events, BOUND).await;
    check::all(&stage.ledgers(produced, commits).await);
    // The next good one is not held back.
    stage.write(3, more);
    becomes(&weir, &name, "synced").await;
    assert_eq!(newest(&stage, 5).await, HashSet::from([3]));
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

/// By event: the ids of its requests.
fn ids(arrivals: &[Arrival]) -> HashMap<String, HashSet<String>> {
    let mut ids: HashMap<String, HashSet<String>> = HashMap::new();
    for one in arrivals {
        ids.entry(one.event.clone()).or_default().insert(one.webhook_id.clone());
    }
    ids
}

/// A pipeline under a new name waits until somebody says what it is; with `was` it goes on where it was, with the same webhook
/// ids; as a new one it begins anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renamed_pipeline_waits_and_with_was_goes_on_where_it_was() {
    // The first requests fail, so that some records wait with an attempt made while the name changes.
    let stage =
        Stage::set("renamed", "", |seen| status(if seen.arrival.attempt < 3 { 503 } else { 200 })).await;
    let name = stage.topic.clone();
    let more =
        "    breaker: none\nretry: { max_attempts: 20, initial_delay: 1s, max_delay: 1s, jitter: false }\n";
    stage.write(1, more);
    let weir = stage.site.start("one").await;
    let commits = stage.commits();
    let load = Load { events: 200, keys: 50, size: 128, rate: None };
    let produced = load.produce(&stage.run, stage.kafka, &name).await;
    stage.receiver.wait_for(50, BOUND).await;
    let renamed = format!("{name}-2");
    let text = stage.text(1, more).replace(&format!("pipeline: {name}\n"), &format!("pipeline: {renamed}\n"));
    std::fs::write(stage.file(&renamed), &text).unwrap();
    std::fs::remove_file(stage.file(&name)).unwrap();
    becomes(&weir, &renamed, "renamed").await;
    becomes(&weir, &name, "not there").await;
    let before = stage.receiver.arrivals().len();
    pause(Duration::from_secs(1)).await;
    assert_eq!(stage.receiver.arrivals().len(), before, "nothing runs while it waits");
    let (code, said) = weir.cli(&["status", "--exit-code"]).await;
    assert!(code == 1 && said.contains(&format!("was: {name}")) && said.contains("--fresh"), "{code} {said}");

    std::fs::write(stage.file(&renamed), text.replace("\nsource:", &format!("\nwas: {name}\nsource:")))
        .unwrap();
    becomes(&weir, &renamed, "synced").await;
    stage.receiver.wait_for_accepted(load.events, BOUND).await;
    check::all(&stage.ledgers(produced, commits).await);
    let arrivals = stage.receiver.arrivals();
    assert!(ids(&arrivals).values().all(|ids| ids.len() == 1), "one id each, under both names");
    let again = arrivals.iter().filter(|one| one.attempt == 1).count();
    assert_eq!(again, load.events, "no attempt is forgotten");
    // A third name, and this time it is a new pipeline: it reads the topic from its beginning.
    let third = format!("{name}-3");
    let of_third = text.replace(&format!("pipeline: {renamed}\n"), &format!("pipeline: {third}\n"));
    std::fs::write(stage.file(&third), of_third).unwrap();
    std::fs::remove_file(stage.file(&renamed)).unwrap();
    becomes(&weir, &third, "renamed").await;
    let (_, said) = weir.cli(&["reload", "--fresh", &third]).await;
    assert!(said.contains("start"), "{said}");
    stage.receiver.wait_for(load.events * 6, BOUND).await;
    assert!(ids(&stage.receiver.arrivals()).values().all(|ids| ids.len() == 2), "ids of its own");
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

/// A plan says what files would do, and does nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_says_what_would_happen_and_nothing_does() {
    let stage = Stage::set("planned", "", |_| status(200)).await;
    let name = stage.topic.clone();
    stage.write(1, "max_in_flight: 8\n");
    let weir = stage.site.start("one").await;
    becomes(&weir, &name, "synced").await;
    let wanted = tempfile::tempdir().unwrap();
    let file = |name: &str| wanted.path().join(format!("{name}.yaml"));
    std::fs::write(file(&name), stage.text(1, "max_in_flight: 8\n")).unwrap();
    let folder = wanted.path().to_str().unwrap().to_owned();
    let (code, said) = weir.cli(&["plan", &folder, "--exit-code"]).await;
    assert!(code == 0 && said.contains("1 keep. Nothing was changed."), "{code} {said}");

    std::fs::write(file(&name), stage.text(1, "max_in_flight: 16\n")).unwrap();
    std::fs::write(file("added"), format!("pipeline: added\nsource: {name}\nhandler: log\n")).unwrap();
    let (code, said) = weir.cli(&["plan", &folder, "--exit-code"]).await;
    assert!(
        code == 1 && said.contains("1 swap, 1 start.") && said.contains("max_in_flight  8 -> 16"),
        "{code} {said}"
    );
    assert!(said.contains("No rebalance"), "{said}");
    let (code, said) = weir.cli(&["plan", &folder, "-o", "markdown"]).await;
    assert!(code == 0 && said.contains("| added | start |"), "{code} {said}");
    let (_, said) = weir.cli(&["plan", &folder, "-o", "json"]).await;
    let plan = said.lines().find(|line| line.starts_with('{')).unwrap();
    let plan: serde_json::Value = serde_json::from_str(plan).unwrap();
    assert_eq!((&plan["schema"], &plan["counts"]["swap"]), (&"weir.plan/v1".into(), &1.into()), "{plan}");

    // The newest records under both plans: 6 of 10 would be filtered, and 4 have another body. Nothing is sent.
    let records: Vec<String> = (0..10).map(|n| format!("{{\"n\": {n}}}")).collect();
    let records: Vec<(&str, &str)> = records.iter().map(|text| ("k", text.as_str())).collect();
    stage.kafka.write(&name, &records);
    stage.receiver.wait_for(10, BOUND).await;
    let steps =
        "transforms:\n  - filter: .n == 1 || .n == 3 || .n == 5 || .n == 7\n  - set: { .seen: true }\n";
    std::fs::write(file(&name), stage.text(1, steps)).unwrap();
    let (code, said) = weir.cli(&["plan", &folder, "--look-back", "1000"]).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("of the last 10 records, 0 fare the same, 10 would fare differently"), "{said}");
    assert_eq!(said.matches("delivered -> filtered").count(), 6, "{said}");
    assert_eq!(said.matches("request[0].body.seen").count(), 4, "{said}");
    assert_eq!(stage.receiver.arrivals().len(), 10, "nothing is sent for it");

    std::fs::write(file("added"), "pipeline: added\n").unwrap();
    std::fs::remove_file(file(&name)).unwrap();
    let (code, said) = weir.cli(&["plan", &folder]).await;
    assert!(code == 78 && said.contains("W0205") && said.contains("1 stop, 1 broken"), "{code} {said}");
    // Whoever may ask for a plan learns nothing of the environment by it.
    let asks = "pipeline: added\nsource: ${env:PATH}\nhandler: log\n";
    std::fs::write(file("added"), asks).unwrap();
    let (_, said) = weir.cli(&["plan", &folder, "-o", "json"]).await;
    assert!(!said.contains("/usr/bin"), "{said}");
    assert_eq!(weir.metric("weir_config_reloads_total", &[]).await, 1.0, "nothing was read for it");
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

/// Two commits are compared without an instance.
#[tokio::test]
async fn a_plan_against_a_commit_needs_no_instance() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let file = path.join("pipelines/a.yaml");
    std::fs::create_dir(path.join("pipelines")).unwrap();
    let git = |arguments: &[&str]| {
        let who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"];
        let done =
            std::process::Command::new("git").args(who).args(arguments).current_dir(path).output().unwrap();
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    };
    std::fs::write(&file, "pipeline: a\nsource: t\nhandler: log\n").unwrap();
    git(&["init", "-q"]);
    git(&["add", "."]);
    git(&["commit", "-qm", "first"]);
    let plan = async |more: &[&str]| {
        let arguments = [&["plan", "--against", "HEAD", "--exit-code"], more].concat();
        let mut command = tokio::process::Command::new(crate::support::weir::binary());
        let output = command.args(arguments).current_dir(path).output().await.unwrap();
        let text = [output.stderr, output.stdout].concat();
        (output.status.code().unwrap(), String::from_utf8_lossy(&text).into_owned())
    };
    assert_eq!(plan(&[]).await.0, 0);
    std::fs::write(&file, "pipeline: a\nsource: u\nhandler: log\n").unwrap();
    let (code, said) = plan(&[]).await;
    assert!(
        code == 1 && said.contains("1 restart") && said.contains("because of source.topics"),
        "{code} {said}"
    );
    let (code, said) = plan(&["-o", "markdown"]).await;
    assert!(code == 1 && said.contains("| a | restart |"), "{code} {said}");
    let (code, said) = plan(&["--server", "http://127.0.0.1:1"]).await;
    assert_eq!(code, 2, "{said}");
}
