//! Kafka behind SASL, TLS and ACLs: who is let in works, who is not says why and goes on by itself once it is (B7, F-14).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;

use crate::delivery::ends;
use crate::support::check;
use crate::support::commits::Commits;
use crate::support::kafka::{Kafka, state};
use crate::support::ledger::{Fault, Ledgers};
use crate::support::load::Load;
use crate::support::receiver::{Receiver, Reply, status};
use crate::support::run::{Run, pause, say, until};
use crate::support::secured::{MUTUAL, PLAIN, SEALED, SIGNED, Secured, WORN, secured};
use crate::support::weir::{Site, Watched, Weir};

const SOON: Duration = Duration::from_secs(60);

/// A topic, its DLQ topic, a receiver, and a pipeline between them.
struct Scene {
    run: Run,
    receiver: Receiver,
    site: Site,
}

impl Scene {
    /// At this listener; how it signs on is for the test to say.
    async fn set(test: &str, broker: &'static Secured, listener: &str) -> Scene {
        let run = Run::new(test);
        broker.kafka.create(&run.name, 2, &[]).await;
        broker.kafka.create(&format!("{}.dlq", run.name), 2, &[]).await;
        let receiver = Receiver::start(&run, |_| status(200)).await;
        let yaml = format!(
            "source: {{ topic: {0}, start: earliest }}\nhandler: {1}\ndlq: {0}.dlq\n",
            run.name,
            receiver.url()
        );
        let site = Site::new(&run, &broker.kafka.at(listener)).pipeline(&run.name, &yaml);
        Scene { run, receiver, site }
    }

    fn signs_on(self, yaml: &str) -> Scene {
        Scene { site: self.site.signs_on(yaml), ..self }
    }

    fn secret(self, name: &str, value: &str) -> Scene {
        Scene { site: self.site.secret(name, value), ..self }
    }

    /// One record more arrives.
    async fn delivers(&self, kafka: &Kafka) {
        let before = self.receiver.arrivals().len();
        kafka.write(&self.run.name, &[("k", r#"{"id": 1}"#)]);
        until("a record is delivered", SOON, async || self.receiver.arrivals().len() > before).await;
    }
}

/// How a user signs on whose password is the secret `kafka`.
fn sasl(mechanism: &str, user: &str) -> String {
    format!("sasl: {{ mechanism: {mechanism}, username: {user}, password: \"${{secret:kafka}}\" }}")
}

/// What `/api/health` gives as reasons of the stage, one a line.
async fn reasons(weir: &Weir) -> String {
    let (_, body) = weir.get("/api/health").await.unwrap_or_default();
    let body: Value = serde_json::from_str(&body).unwrap_or_default();
    let pipelines = body["components"]["pipelines"].as_object().cloned().unwrap_or_default();
    let holds = pipelines.values().flat_map(|one| one["holds"].as_array().cloned().unwrap_or_default());
    let line = |hold: Value| {
        format!(
            "{}: {}\n",
            hold["cause"].as_str().unwrap_or_default(),
            hold["message"].as_str().unwrap_or_default()
        )
    };
    holds.map(line).collect()
}

/// Waits until the stage says so.
async fn says(weir: &Weir, cause: &str, words: &str) {
    let said = async || {
        let reasons = reasons(weir).await;
        reasons.lines().any(|line| line.starts_with(&format!("{cause}: ")) && line.contains(words))
    };
    until(&format!("the stage says `{words}`"), SOON, said).await;
    weir.holds(cause).await;
}

/// Waits until nothing holds the stage any more.
async fn is_free(weir: &Weir) {
    is_free_within(weir, SOON).await;
}

async fn is_free_within(weir: &Weir, bound: Duration) {
    let free = async || weir.metric("weir_stage_held", &[]).await == 0.0 && reasons(weir).await.is_empty();
    until("nothing holds the stage", bound, free).await;
}

/// How many lines it logs in this time.
async fn lines_in(site: &Site, time: Duration) -> usize {
    let log = site.path().join("one.log");
    let lines = || std::fs::read_to_string(&log).unwrap().lines().count();
    let before = lines();
    pause(time).await;
    lines() - before
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_the_broker_knows_is_let_in() {
    let broker = secured();
    let (user, password) = ("scram-user", "scram-word-77ab");
    broker.user(user, "SHA-256", password);
    broker.user(user, "SHA-512", password);
    for user in [user, PLAIN.0, "CN=mutual-user"] {
        broker.allow(user, "let-in");
    }
    let tls = format!("tls: {{ ca: {} }}", broker.ca());
    for (test, listener, mechanism, with_tls) in [
        ("let-in-256", SIGNED, "SCRAM-SHA-256", false),
        ("let-in-512", SIGNED, "SCRAM-SHA-512", false),
        ("let-in-plain", SIGNED, "PLAIN", false),
        ("let-in-sealed", SEALED, "SCRAM-SHA-512", true),
        ("let-in-sealed-plain", SEALED, "PLAIN", true),
    ] {
        let (user, password) = if mechanism == "PLAIN" { PLAIN } else { (user, password) };
        let mut scene = Scene::set(test, broker, listener).await.secret("kafka", password);
        scene = scene.signs_on(&sasl(mechanism, user));
        if with_tls {
            scene = scene.signs_on(&tls);
        }
        let weir = scene.site.start("one").await;
        scene.delivers(&broker.kafka).await;
        assert_eq!(weir.stop(Duration::from_secs(15)).await, 0, "{test}");
    }
    // By certificate: as a secret's text, as a file of the system.
    let (certificate, key) = broker.client("mutual-user", false);
    let scene =
        Scene::set("let-in-mutual", broker, MUTUAL).await.secret("key", &key).secret("cert", &certificate);
    let both =
        format!("tls: {{ ca: {}, cert: \"${{secret:cert}}\", key: \"${{secret:key}}\" }}", broker.ca());
    let scene = scene.signs_on(&both);
    let weir = scene.site.start("one").await;
    scene.delivers(&broker.kafka).await;
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_said_and_mended_by_itself() {
    let broker = secured();
    let user = "wrong-user";
    broker.user(user, "SHA-512", "another-word");
    broker.allow(user, "wrong-password");
    let scene = Scene::set("wrong-password", broker, SIGNED).await.secret("kafka", "weirs-word-51cd");
    let scene = scene.signs_on(&sasl("SCRAM-SHA-512", user));
    let weir = scene.site.start("one").await;
    says(&weir, "kafka", "Kafka does not let this user in").await;
    assert!(!reasons(&weir).await.contains("weirs-word"), "never the password");
    assert_eq!(weir.get("/readyz").await.unwrap().0, 200, "a restart would not mend it");
    let lines = lines_in(&scene.site, Duration::from_secs(15)).await;
    assert!(lines <= 15, "{lines} lines in 15 s:\n{}", weir.log());

    broker.user(user, "SHA-512", "weirs-word-51cd");
    scene.delivers(&broker.kafka).await;
    is_free(&weir).await;
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

/// What a user is denied for a while.
struct Denied<'a> {
    what: &'a [&'a str],
    cause: &'a str,
    says: &'a str,
}

/// ACLs are taken away and given back in the middle of the load: the topic's, the group's, the DLQ's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_that_are_taken_away_and_given_back_under_load_lose_nothing() {
    let broker = secured();
    let user = "rights-user";
    broker.user(user, "SHA-512", "rights-word");
    let scene = Scene::set("rights", broker, SIGNED).await.secret("kafka", "rights-word");
    let (topic, group) = (scene.run.name.clone(), format!("weir.{}", scene.run.name));
    let dlq = format!("{topic}.dlq");
    let (read, member, write) = (
        ["--operation", "Read", "--topic", &topic],
        ["--operation", "Read", "--group", &group],
        ["--operation", "Write", "--topic", &dlq],
    );
    for right in [&read, &member, &write] {
        broker.rule("--add", user, right);
    }
    let scene = scene.signs_on(&sasl("SCRAM-SHA-512", user));
    let Scene { run, receiver, site } = &scene;
    // One in twenty is refused for good, and goes to the DLQ.
    receiver.script(|seen| {
        let refused = seen.arrival.uid.is_some_and(|uid| uid % 20 == 0);
        status(if refused { 422 } else { 200 }).after(Duration::from_millis(5))
    });
    let watched = Watched { kafka: &broker.kafka, group: &group, topic: &topic, partitions: 2 };
    let commits = Commits::watch(&broker.kafka, run, &group, &topic, 2);
    let weir = site.start("one").await;
    let load = Load { events: 12_000, keys: 300, size: 256, rate: Some(150) };
    let faults = async {
        let mut faults = Vec::new();
        for denied in [
            Denied { what: &read, cause: "kafka", says: &format!("reading {topic} is not allowed") },
            Denied { what: &member, cause: "kafka", says: &format!("the group {group} is not allowed") },
            Denied { what: &write, cause: "dlq", says: "Topic authorization failed" },
        ] {
            let before = receiver.accepted();
            receiver.wait_for_accepted(before + 200, SOON).await;
            faults.extend(deny(broker, user, &denied, &weir, &watched, run).await);
            let given_back = run.now();
            receiver.wait_for_accepted(receiver.accepted() + 200, SOON).await;
            is_free(&weir).await;
            say(&format!("{}: free after {:?}", denied.says, run.now() - given_back));
        }
        faults
    };
    let ((intents, acked), faults) = tokio::join!(load.produce(run, &broker.kafka, &topic), faults);
    receiver.wait_for_accepted(acked.len() - acked.len().div_ceil(20), SOON * 2).await;
    watched.all_committed_within(run, &ends(&acked), SOON).await;
    let commits = tokio::task::spawn_blocking(|| commits.stop()).await.unwrap();
    let dead = broker.kafka.read(run, &dlq);
    let ledgers = Ledgers { intents, acked, arrivals: receiver.arrivals(), dead, commits, faults };
    check::all(&ledgers);
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

/// Takes a right away until the stage has said so for a while, and gives it back. A fault for each second of it, as work
/// goes on meanwhile.
async fn deny(
    broker: &'static Secured,
    user: &'static str,
    denied: &Denied<'_>,
    weir: &Weir,
    watched: &Watched<'_>,
    run: &Run,
) -> Vec<Fault> {
    change(broker, "--remove", user, denied.what).await;
    let mut faults = Vec::new();
    for _ in 0..8 {
        let committed = state(&watched.committed(run).await);
        pause(Duration::from_secs(1)).await;
        let evidence = reasons(weir).await;
        faults.push(Fault { at: run.now(), what: "right taken away", evidence, committed });
    }
    says(weir, denied.cause, denied.says).await;
    change(broker, "--add", user, denied.what).await;
    let committed = state(&watched.committed(run).await);
    faults.push(Fault { at: run.now(), what: "right given back", evidence: "added".into(), committed });
    faults
}

/// A rule is changed beside the load.
async fn change(broker: &'static Secured, change: &'static str, user: &'static str, what: &[&str]) {
    let what: Vec<String> = what.iter().map(|word| (*word).to_owned()).collect();
    let by = move || broker.rule(change, user, &what.iter().map(String::as_str).collect::<Vec<_>>());
    tokio::task::spawn_blocking(by).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_whose_certificate_has_expired_is_not_trusted_until_it_has_another() {
    let broker = secured();
    let user = "worn-user";
    broker.user(user, "SHA-512", "worn-word");
    broker.allow(user, "worn");
    let scene = Scene::set("worn", broker, WORN).await.secret("kafka", "worn-word");
    let scene =
        scene.signs_on(&sasl("SCRAM-SHA-512", user)).signs_on(&format!("tls: {{ ca: {} }}", broker.ca()));
    let weir = scene.site.start("one").await;
    says(&weir, "kafka", "certificate expired").await;
    let lines = lines_in(&scene.site, Duration::from_secs(10)).await;
    assert!(lines <= 10, "{lines} lines in 10 s:\n{}", weir.log());
    broker.renew();
    scene.delivers(&broker.kafka).await;
    is_free(&weir).await;
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

/// F-65: of an authority that nobody has named, and a client's own that has expired.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_fault_of_a_certificate_has_its_reason() {
    let broker = secured();
    let scene = Scene::set("unknown-authority", broker, SEALED).await.secret("kafka", "none");
    let scene = scene.signs_on("tls: {}").signs_on(&sasl("SCRAM-SHA-512", "nobody"));
    let weir = scene.site.start("one").await;
    says(&weir, "kafka", "TLS with Kafka fails: ").await;
    assert!(reasons(&weir).await.contains("could not be verified"), "{}", reasons(&weir).await);
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);

    let (certificate, key) = broker.client("expired-user", true);
    let scene = Scene::set("expired-client", broker, MUTUAL).await;
    let scene = scene.secret("key", &key).secret("cert", &certificate);
    let tls = format!("tls: {{ ca: {}, cert: \"${{secret:cert}}\", key: \"${{secret:key}}\" }}", broker.ca());
    let scene = scene.signs_on(&tls);
    let weir = scene.site.start("one").await;
    says(&weir, "kafka", "TLS with Kafka fails: ").await;
    assert!(reasons(&weir).await.contains("certificate"), "{}", reasons(&weir).await);
    let lines = lines_in(&scene.site, Duration::from_secs(10)).await;
    assert!(lines <= 10, "{lines} lines in 10 s:\n{}", weir.log());
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

/// F-65: whoever renews certificates writes the files anew, and restarts nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_whose_certificate_has_expired_goes_on_once_its_files_hold_another() {
    let broker = secured();
    broker.allow("CN=renewed-user", "renewed-client");
    let mut scene = Scene::set("renewed-client", broker, MUTUAL).await;
    let out = format!("{}.out", scene.run.name);
    broker.kafka.create(&out, 1, &[]).await;
    let (cert, key) = (scene.site.path().join("cert.pem"), scene.site.path().join("key.pem"));
    let write = |expired: bool| {
        let (certificate, its_key) = broker.client("renewed-user", expired);
        std::fs::write(&cert, certificate).unwrap();
        std::fs::write(&key, its_key).unwrap();
    };
    write(true);
    let tls = format!("tls: {{ ca: {}, cert: {}, key: {} }}", broker.ca(), cert.display(), key.display());
    let yaml = format!(
        "source: {{ topic: {0}, start: earliest }}\nhandler: {1}\npublish: {{ topic: {out}, value: {{ n: 1 }} }}\ndlq: {0}.dlq\n",
        scene.run.name,
        scene.receiver.url()
    );
    scene.site = scene.site.pipeline(&scene.run.name, &yaml);
    let scene = scene.signs_on(&tls);
    let weir = scene.site.start("one").await;
    says(&weir, "kafka", "TLS with Kafka fails: ").await;
    // A half of what is to come: no client can be made of it.
    std::fs::write(&cert, "-----BEGIN CERTIFICATE-----\n").unwrap();
    until("a new client was tried", SOON, async || weir.log().contains("no new one can be made")).await;
    write(false);
    scene.delivers(&broker.kafka).await;
    let published = async || !broker.kafka.read(&scene.run, &out).is_empty();
    until("what is published is there", SOON, published).await;
    is_free_within(&weir, Duration::from_secs(60)).await;
    let up = async || {
        let (_, body) = weir.get("/api/health").await.unwrap_or_default();
        body.contains(r#""status":"UP""#)
    };
    until("the cluster is up for the admin client too", SOON, up).await;
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

/// A token as the broker takes it: it is not signed, which this broker allows.
fn token(user: &str, lasts: u64) -> String {
    let now = weir::telemetry::clock::wall().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let claims = serde_json::json!({ "sub": user, "iat": now, "exp": now + lasts }).to_string();
    format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#), URL_SAFE_NO_PAD.encode(claims))
}

/// Refused by whoever makes tokens, then by the broker, then let in with tokens that last for seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_are_asked_for_again_before_they_end_and_after_each_refusal() {
    const LASTS: u64 = 12;
    let broker = secured();
    let user = "token-user";
    broker.allow(user, "tokens");
    let scene = Scene::set("tokens", broker, SIGNED).await.secret("client", "client-word-e07a");
    let makes = Receiver::start(&Run::new("token-endpoint"), |_| Reply {
        body: r#"{"error":"invalid_client"}"#.into(),
        ..status(401)
    })
    .await;
    let oauth2 = format!(
        "token_url: \"{}\", client_id: weir, client_secret: \"${{secret:client}}\", scopes: [kafka]",
        makes.url()
    );
    let scene = scene.signs_on(&format!("sasl: {{ mechanism: OAUTHBEARER, oauth2: {{ {oauth2} }} }}"));
    let weir = scene.site.start("one").await;
    says(&weir, "kafka", "401 Unauthorized (invalid_client)").await;
    let lines = lines_in(&scene.site, Duration::from_secs(10)).await;
    assert!(lines <= 10, "{lines} lines in 10 s:\n{}", weir.log());

    let grant = |token: String, lasts: u64| Reply {
        body: serde_json::json!({ "access_token": token, "expires_in": lasts }).to_string().into(),
        ..status(200)
    };
    makes.script(move |_| grant("no.token.".into(), 5));
    says(&weir, "kafka", "Kafka does not let this user in: sasl_plaintext://").await;

    makes.script(move |_| grant(token(user, LASTS), LASTS));
    scene.delivers(&broker.kafka).await;
    is_free(&weir).await;
    // Longer than a token lasts, and than the broker lets one sign-on last.
    let asked = makes.arrivals().len();
    makes.wait_for(asked + 3, SOON).await;
    scene.delivers(&broker.kafka).await;
    assert_eq!(reasons(&weir).await, "");

    let basic = format!("Basic {}", STANDARD.encode("weir:client-word-e07a"));
    for arrival in makes.arrivals() {
        assert_eq!(arrival.header("authorization"), Some(basic.as_str()));
        assert_eq!(arrival.body, "grant_type=client_credentials&scope=kafka");
    }
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
    let log = std::fs::read_to_string(scene.site.path().join("one.log")).unwrap();
    let claims = URL_SAFE_NO_PAD.encode(format!(r#"{{"sub":"{user}""#));
    for secret in ["client-word", "no.token.", claims.trim_end_matches('=')] {
        assert!(!log.contains(secret), "{secret} in\n{log}");
    }
}

/// Nothing is allowed at first, then the topic, then the group too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_right_that_is_missing_at_the_start_is_named_and_waited_for() {
    let broker = secured();
    let user = "late-user";
    broker.user(user, "SHA-256", "late-word");
    let scene = Scene::set("late", broker, SIGNED).await.secret("kafka", "late-word");
    let (topic, group) = (scene.run.name.clone(), format!("weir.{}", scene.run.name));
    let scene = scene.signs_on(&sasl("SCRAM-SHA-256", user));
    let weir = scene.site.start("one").await;
    says(&weir, "kafka", &format!("reading {topic} is not allowed")).await;
    assert!(reasons(&weir).await.lines().all(|line| !line.starts_with("topic_missing")), "not known");
    broker.rule("--add", user, &["--operation", "Read", "--topic", &topic]);
    says(&weir, "kafka", &format!("the group {group} is not allowed")).await;
    let lines = lines_in(&scene.site, Duration::from_secs(10)).await;
    assert!(lines <= 10, "{lines} lines in 10 s:\n{}", weir.log());
    broker.rule("--add", user, &["--operation", "Read", "--group", &group]);
    scene.delivers(&broker.kafka).await;
    is_free(&weir).await;
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

/// A user that may write nowhere does not even get a producer's id: librdkafka's client then fails for good (G14).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_output_that_may_not_be_written_holds_the_stage_until_it_may() {
    let broker = secured();
    let user = "writer-user";
    broker.user(user, "SHA-512", "writer-word");
    let scene = Scene::set("writer", broker, SIGNED).await.secret("kafka", "writer-word");
    let (topic, group) = (scene.run.name.clone(), format!("weir.{}", scene.run.name));
    let out = format!("{topic}.out");
    broker.kafka.create(&out, 1, &[]).await;
    broker.rule("--add", user, &["--operation", "Read", "--topic", &topic, "--group", &group]);
    let Scene { run, site, .. } = scene.signs_on(&sasl("SCRAM-SHA-512", user));
    let yaml = format!("source: {{ topic: {topic}, start: earliest }}\npublish: {{ topic: {out} }}\n");
    let site = site.pipeline(&topic, &yaml);
    let records: Vec<(String, String)> =
        (0..20).map(|number| (format!("k{}", number % 4), format!(r#"{{"id": {number}}}"#))).collect();
    let records: Vec<(&str, &str)> =
        records.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    broker.kafka.write(&topic, &records);
    let weir = site.start("one").await;
    says(&weir, "kafka", &format!("publishing to {out}: ")).await;
    assert!(reasons(&weir).await.contains("authorization failed"), "{}", reasons(&weir).await);
    let lines = lines_in(&site, Duration::from_secs(10)).await;
    assert!(lines <= 10, "{lines} lines in 10 s:\n{}", weir.log());
    broker.rule("--add", user, &["--operation", "Write", "--topic", &out]);
    // What is owed to Kafka is tried again each 30 s at last.
    is_free_within(&weir, SOON * 2).await;
    let written = async || broker.kafka.read(&run, &out).len() >= records.len();
    until("all is published", SOON, written).await;
    let values: Vec<_> =
        broker.kafka.read(&run, &out).into_iter().filter_map(|record| record.value).collect();
    for (_, value) in &records {
        assert!(values.iter().any(|written| written == value.as_bytes()), "{value} is lost");
    }
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}
