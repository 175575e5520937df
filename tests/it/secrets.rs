//! Secrets that are planted to be found: they reach the receiver, and nothing that anybody reads (B-19).
//!
//! No panic is among it: none is known that a file, a record or an answer brings about, and a way into one that only tests have
//! would show itself. What one could print is narrow: the few assertions of the code are about its own numbers, and a text that
//! a secret went into prints as `***` (`reference::the_three_kinds_resolve_and_secrets_do_not_print`).

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use rdkafka::message::OwnedHeaders;
use tokio::process::Command;

use crate::dead_letters::send;
use crate::delivery::Stage;
use crate::support::kafka::{Kafka, shared};
use crate::support::ledger::{Arrival, Dead};
use crate::support::receiver::{Receiver, Reply, Seen, status};
use crate::support::run::{Run, until};
use crate::support::weir::{self, Site, Weir};

const SOON: Duration = Duration::from_secs(60);

/// Secrets by name. Each holds a word that stands nowhere else.
pub(crate) struct Planted {
    words: Vec<String>,
    pub(crate) secrets: BTreeMap<&'static str, String>,
}

/// What is planted where nothing else is said.
const NAMES: [&str; 8] = ["bearer", "header", "query", "password", "sasl", "broken", "unsigned", "sign"];

impl Planted {
    fn new(run: &Run) -> Planted {
        Planted::named(run, &NAMES)
    }

    pub(crate) fn named(run: &Run, names: &[&'static str]) -> Planted {
        let mut rng = run.rng(19);
        let mut planted = Planted { words: Vec::new(), secrets: BTreeMap::new() };
        for name in names.iter().copied() {
            let word: String = std::iter::repeat_with(|| rng.lowercase()).take(16).collect();
            let secret = match name {
                // What a header, a topic and a port cannot be.
                "broken" => format!("{word}\n/ {word}"),
                "unsigned" => format!("whsec_{word}!"),
                // 32 bytes, twice the word.
                "sign" => format!("whsec_{}", STANDARD.encode(word.repeat(2))),
                _ => format!("s-{word}-t"),
            };
            planted.words.push(word);
            planted.secrets.insert(name, secret);
        }
        planted
    }

    /// A secret that is not made of a word, and a part of it that is looked for.
    pub(crate) fn add(&mut self, name: &'static str, secret: String, part: &str) {
        assert!(part.len() >= 16 && secret.contains(part), "{part}");
        self.words.push(part.to_lowercase());
        self.secrets.insert(name, secret);
    }

    pub(crate) fn plant(&self, mut site: Site) -> Site {
        for (name, secret) in &self.secrets {
            site = site.secret(name, secret);
        }
        site
    }

    /// The secrets whose words a text has, as they are or in base64.
    pub(crate) fn found_in(&self, text: &str) -> Vec<String> {
        let lower = text.to_lowercase();
        let forms = |word: &str| {
            // Where the word begins in a group of three bytes is not known; its last group may have another's bytes.
            let from = |at: usize| STANDARD.encode(&word[at..at + (word.len() - at) / 3 * 3]);
            [from(0), from(1), from(2)]
        };
        let has =
            |word: &&String| lower.contains(*word) || forms(word).iter().any(|form| text.contains(form));
        self.words.iter().filter(has).cloned().collect()
    }

    /// The same of a dead letter: key, value, headers, and what is in base64 there.
    pub(crate) fn found_in_letter(&self, letter: &Dead) -> Vec<String> {
        let mut text = format!("{letter:?}");
        for (_, value) in &letter.headers {
            text.push_str(&String::from_utf8_lossy(value));
            text.push_str(&String::from_utf8_lossy(&STANDARD.decode(value).unwrap_or_default()));
        }
        text.push_str(&String::from_utf8_lossy(letter.value.as_deref().unwrap_or_default()));
        self.found_in(&text)
    }
}

#[test]
fn the_search_finds_what_is_there() {
    let planted = Planted::new(&Run::new("search"));
    for (name, secret) in &planted.secrets {
        for text in
            [secret.clone(), format!("x {} y", secret.to_uppercase()), STANDARD.encode(format!("ab{secret}"))]
        {
            // What is base64 already has its word in it, not itself.
            if *name == "sign" && text != *secret {
                continue;
            }
            assert_eq!(planted.found_in(&text).len(), 1, "{name}: {text}");
        }
        let letter = Dead { headers: vec![("h".into(), STANDARD.encode(secret).into())], ..Dead::default() };
        assert_eq!(planted.found_in_letter(&letter).len(), 1, "{name}");
    }
    assert!(planted.found_in("nothing").is_empty());
}

/// How a failing pipeline shows that it has come to its end.
enum End {
    Held(&'static str),
    /// By the code of its dead letter.
    Dead(&'static str),
}

/// A kind of failure: the pipeline's name, where its webhook goes, what else the webhook and the file say, how it ends.
struct Kind {
    name: &'static str,
    host: &'static str,
    webhook: &'static str,
    file: &'static str,
    end: End,
}

const fn kind(name: &'static str, end: End) -> Kind {
    Kind { name, host: "http://RECEIVER", webhook: "", file: "", end }
}

fn kinds() -> Vec<Kind> {
    let lookup = "transforms:\n  - filter: .never != true\n";
    vec![
        kind("auth", End::Held("auth")),
        kind("redirect", End::Held("redirect")),
        kind("gone", End::Held("gone")),
        Kind { host: "https://RECEIVER", ..kind("tls", End::Held("tls")) },
        Kind { host: "http://169.254.169.254", ..kind("blocked", End::Held("blocked_address")) },
        kind("rejects", End::Dead("status")),
        Kind { webhook: "    breaker: none\n", ..kind("fails", End::Dead("status")) },
        Kind {
            host: "http://127.0.0.1:1",
            webhook: "    breaker: none\n",
            ..kind("away", End::Dead("connect"))
        },
        Kind {
            host: "http://nowhere.invalid",
            webhook: "    breaker: none\n",
            ..kind("unknown", End::Dead("dns"))
        },
        Kind { webhook: "    breaker: none\n", ..kind("closes", End::Dead("reset")) },
        Kind { webhook: "    breaker: none\n    timeout: 300ms\n", ..kind("hangs", End::Dead("timeout")) },
        Kind { file: lookup, ..kind("undecoded", End::Dead("decode")) },
        // Its key is none that a header can carry.
        kind("template", End::Dead("template")),
        Kind { file: "publish: { topic: TOPIC.out }\n", ..kind("answer", End::Dead("answer")) },
    ]
}

/// What the receiver does: the pipeline's name is the topic's, which `weir-event` begins with.
fn failing(seen: &Seen<'_>) -> Reply {
    let topic = seen.arrival.event.split('/').next().unwrap_or_default();
    match topic.rsplit('.').next().unwrap_or_default() {
        "auth" => status(401),
        "redirect" => {
            Reply { headers: vec![("location", "http://127.0.0.1/elsewhere".into())], ..status(307) }
        }
        "gone" => status(410),
        "rejects" => status(422),
        "fails" => status(500),
        "closes" => status(0),
        "hangs" => Reply { hang: true, ..status(200) },
        _ => status(200),
    }
}

/// `pipelines/NAME-KIND.yaml` on its own topic and DLQ, with every secret that a webhook can have.
async fn failing_pipeline(site: Site, kafka: &Kafka, run: &Run, host: &str, kind: &Kind) -> Site {
    let topic = format!("{}.{}", run.name, kind.name);
    kafka.create(&topic, 1, &[]).await;
    kafka.create(&format!("{topic}.dlq"), 1, &[]).await;
    let (url, webhook) = (kind.host.replace("RECEIVER", host), kind.webhook);
    let yaml = format!(
        "source: {topic}\ndlq: {topic}.dlq\n\
         retry: {{ max_attempts: 3, backoff: fixed, initial_delay: 100ms }}\n\
         handler:\n  webhook:\n    url: \"{url}/hook?token=${{secret:query}}&of={{{{ %key }}}}\"\n    \
         headers: {{ x-key: \"${{secret:header}}\", x-mixed: \"${{secret:header}} {{{{ %key }}}}\" }}\n    \
         auth: {{ bearer: \"${{secret:bearer}}\" }}\n    sign: {{ secret: \"${{secret:sign}}\" }}\n{webhook}{}",
        kind.file.replace("TOPIC", &topic),
    );
    site.pipeline(&format!("{}-{}", run.name, kind.name), &yaml)
}

/// Files that cannot run because of what a secret holds: what is wrong with it is said without saying it.
fn broken_files(run: &Run) -> Vec<(String, String)> {
    let file = |handler: &str| format!("source: {}.none\nhandler:\n  webhook:\n    {handler}\n", run.name);
    let with = |more: &str| file(&format!("url: http://127.0.0.1/hook\n    {more}"));
    let texts = [
        file("url: \"${secret:broken}\""),
        file("url: \"http://127.0.0.1:${secret:query}/hook\""),
        file("url: \"http://u:${secret:query}@127.0.0.1/hook\""),
        file("url: \"http://127.0.0.1/hook#${secret:query}\""),
        file("url: \"ftp://127.0.0.1/${secret:query}\""),
        file("url: \"http://127.0.0.1/${secret:query}{{ .id }}/../{{ .id }}\""),
        with("headers: { x-key: \"${secret:broken}\" }"),
        with("auth: { bearer: \"${secret:broken}\" }"),
        with("auth: { basic: { username: \"${secret:query}:\", password: \"${secret:broken}\" } }"),
        with("sign: { secret: \"${secret:unsigned}\" }"),
        format!("source: {}.none\npublish: {{ topic: \"${{secret:broken}}\" }}\n", run.name),
        format!("source: {}.none\npublish: {{ topic: \"out ${{secret:query}}/{{{{ .id }}}}\" }}\n", run.name),
        "source: \"${secret:broken}\"\nhandler: http://127.0.0.1/hook\n".to_owned(),
        format!("source: {}.none\nhandler: log\ndlq: \"${{secret:broken}}\"\n", run.name),
        // Names that could be: a cluster's, a group's, and topics that go round.
        format!("source: {{ topic: {}.none, cluster: \"${{secret:query}}\" }}\nhandler: log\n", run.name),
        format!("source: {{ topic: {}.none, group: \"${{secret:query}}\" }}\nhandler: log\n", run.name),
        format!("source: {{ topic: {}.other, group: \"${{secret:query}}\" }}\nhandler: log\n", run.name),
        "source: \"${secret:query}\"\npublish: { topic: \"${secret:query}\" }\n".to_owned(),
        "source: \"${secret:header}\"\nhandler: log\ndlq: \"${secret:header}\"\n".to_owned(),
        "source: { pattern: \"${secret:header}.*\" }\npublish: { topic: \"a.${secret:header}\" }\n"
            .to_owned(),
        with("proxy: \"http://weir:${secret:broken}@127.0.0.1:x\""),
        with("proxy: \"${secret:query}\""),
        with("auth: { api_key: { header: x-key, value: \"${secret:broken}\" } }"),
        with(
            "auth: { oauth2: { token_url: \"http://127.0.0.1:${secret:query}\", client_id: \"${secret:broken}\", client_secret: \"${secret:query}\" } }",
        ),
        with("tls: { cert: \"${secret:query}\", key: \"${secret:broken}\" }"),
        format!(
            "source: {}.none\nhandler: log\ntransforms:\n  - remap: .a = \"${{secret:query}}\"\n",
            run.name
        ),
    ];
    let named = |(number, text): (usize, &String)| (format!("{}-broken-{number}", run.name), text.clone());
    texts.iter().enumerate().map(named).collect()
}

/// What a command writes about the site's pipelines, to both streams.
async fn writes(site: &Site, config: &str, command: &[&str]) -> String {
    let mut weir = Command::new(env!("CARGO_BIN_EXE_weir"));
    weir.args(command).arg("-vv").arg("--config").arg(site.path().join(config));
    let output = weir.current_dir(site.path()).stdin(Stdio::null()).output().await.unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// What `weir check` writes about the site's pipelines, in each of its forms.
pub(crate) async fn checked(site: &Site, config: &str) -> Vec<String> {
    let mut said = Vec::new();
    for form in ["json", "human", "short", "github", "sarif"] {
        said.push(writes(site, config, &["check", "-o", form]).await);
    }
    said
}

/// What the other commands write that read pipelines, in each of their forms. The last one changes the files.
pub(crate) async fn written(site: &Site, config: &str) -> Vec<String> {
    let mut said = Vec::new();
    for form in ["mermaid", "dot", "svg", "json"] {
        let drawn = writes(site, config, &["graph", "-o", form]).await;
        assert!(drawn.contains("127.0.0.1"), "it is drawn: {drawn}");
        said.push(drawn);
    }
    for command in [&["fmt", "--check"][..], &["fmt", "--check", "-o", "json"], &["fmt"]] {
        said.push(writes(site, config, command).await);
    }
    for entry in std::fs::read_dir(site.path().join("pipelines")).unwrap() {
        said.push(std::fs::read_to_string(entry.unwrap().path()).unwrap());
    }
    said
}

/// The signature that the receiver expects.
fn signature(secret: &str, arrival: &Arrival) -> String {
    let key = STANDARD.decode(secret.trim_start_matches("whsec_")).unwrap();
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&key).unwrap();
    let timestamp = arrival.header("webhook-timestamp").unwrap();
    for part in [arrival.webhook_id.as_bytes(), b".", timestamp.as_bytes(), b".", &arrival.body] {
        mac.update(part);
    }
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

/// What the instance answers at each of its addresses.
pub(crate) async fn answers(weir: &Weir) -> String {
    let mut all = String::new();
    for path in ["/api/health", "/metrics", "/readyz", "/livez"] {
        let (status, body) = weir.get(path).await.unwrap();
        assert_eq!(status, 200, "{path}");
        all.push_str(&body);
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn never_printed() {
    let (run, kafka) = (Run::new("secrets"), shared());
    let planted = Planted::new(&run);
    let receiver = Receiver::start(&run, |seen| failing(&seen)).await;
    let host = receiver.url().trim_start_matches("http://").trim_end_matches("/hook").to_owned();
    // Everything at debug, the HTTP and Kafka clients too.
    let mut site = planted.plant(Site::new(&run, kafka)).variable("WEIR_LOG", "debug");
    for kind in kinds() {
        site = failing_pipeline(site, kafka, &run, &host, &kind).await;
    }
    let broken = broken_files(&run);
    for (name, text) in &broken {
        site = site.pipeline(name, text);
    }
    let weir = site.start("one").await;
    let mut seen = answers(&weir).await;
    let mut stage = Stage { group: String::new(), topic: String::new(), run, kafka, receiver, site };
    for kind in kinds() {
        stage.topic = format!("{}.{}", stage.run.name, kind.name);
        let key: &[u8] = if kind.name == "template" { b"k\n" } else { b"k" };
        send(&stage, Some(key), Some(b"{ no JSON"), OwnedHeaders::new(), 0);
    }
    for kind in kinds() {
        let (topic, service) =
            (format!("{}.{}", stage.run.name, kind.name), format!("{}-{}", stage.run.name, kind.name));
        match kind.end {
            End::Held(cause) => {
                let labels = [("cause", cause), ("stage", service.as_str())];
                let held = async || weir.metric("weir_stage_held", &labels).await > 0.0;
                until(&format!("{service} held by {cause}"), SOON, held).await;
            }
            End::Dead(code) => {
                let dlq = format!("{topic}.dlq");
                let there = async || !kafka.read(&stage.run, &dlq).is_empty();
                until(&format!("a dead letter of {service}"), SOON, there).await;
                let letter = kafka.read(&stage.run, &dlq).remove(0);
                assert_eq!(letter.header("weir-code"), Some(code), "{service}");
                assert_eq!(planted.found_in_letter(&letter), [""; 0], "{service}: {letter:?}");
            }
        }
    }
    seen.push_str(&answers(&weir).await);
    assert_eq!(planted.found_in(&seen), [""; 0], "{seen}");

    let arrivals = stage.receiver.arrivals();
    assert!(arrivals.len() > 6, "{} requests", arrivals.len());
    for arrival in &arrivals {
        let secret = |name| planted.secrets[name].as_str();
        assert_eq!(arrival.target, format!("/hook?token={}&of=k", secret("query")));
        assert_eq!(arrival.header("x-key"), Some(secret("header")));
        assert_eq!(arrival.header("authorization"), Some(format!("Bearer {}", secret("bearer")).as_str()));
        let signed = signature(secret("sign"), arrival);
        assert_eq!(arrival.header("webhook-signature"), Some(signed.as_str()));
    }
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
    let log = std::fs::read_to_string(stage.site.path().join("one.log")).unwrap();
    assert!(log.contains(r#""level":"DEBUG""#) && log.contains("a pass failed"), "{log}");
    assert_eq!(planted.found_in(&log), [""; 0], "{log}");

    for said in checked(&stage.site, "one.yaml").await {
        for (name, _) in &broken {
            assert!(said.contains(&format!("{name}.yaml")), "{name} is in order?\n{said}");
        }
        assert_eq!(planted.found_in(&said), [""; 0], "{said}");
    }
    for said in written(&stage.site, "one.yaml").await {
        assert_eq!(planted.found_in(&said), [""; 0], "{said}");
    }
}

/// Kafka's own credentials, with a broker that does not take them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_for_kafka_are_never_printed() {
    let (run, kafka) = (Run::new("sasl-secret"), shared());
    let planted = Planted::new(&run);
    let site = planted.plant(Site::new(&run, kafka));
    let site = site.pipeline(&run.name, &format!("source: {}\nhandler: log\n", run.name));
    let (folder, log) = (site.path().display().to_string(), site.path().join("sasl.log"));
    let text = format!(
        "listen: 127.0.0.1:0\nsecrets: {{ files: {folder}/secrets }}\npipelines: {folder}/pipelines\n\
         kafka:\n  brokers: [\"{}\"]\n  \
         sasl: {{ mechanism: PLAIN, username: weir, password: \"${{secret:sasl}}\" }}\n  \
         properties: {{ debug: \"security,broker,conf\", ssl.keystore.password: \"${{secret:password}}\" }}\n",
        kafka.brokers()
    );
    std::fs::write(site.path().join("sasl.yaml"), text).unwrap();
    let out = std::fs::File::create(&log).unwrap();
    let mut weir =
        weir::command(&site.path().join("sasl.yaml"), site.path(), out).arg("-vv").spawn().unwrap();
    let written = || std::fs::read_to_string(&log).unwrap();
    until("a refused sign-on", SOON, async || written().contains("brokers are down")).await;
    // The consumer's own lines too, of its settings and of what it was refused.
    let client = format!("client=\"weir-{}\"", run.name);
    let says = |line: &str, what: &str| {
        line.contains("kafka client: ") && line.contains(&client) && line.contains(what)
    };
    for what in ["sasl.password = [redacted]", "SASL PLAIN mechanism handshake failed"] {
        let said = async || written().lines().any(|line| says(line, what));
        until(&format!("the consumer's line: {what}"), SOON, said).await;
    }
    weir.kill().await.unwrap();
    assert_eq!(planted.found_in(&written()), [""; 0], "{}", written());
    for said in checked(&site, "sasl.yaml").await {
        assert_eq!(planted.found_in(&said), [""; 0], "{said}");
    }
}
