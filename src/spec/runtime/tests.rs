//! The runtime file: what it takes, what it refuses, what it says.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::spec::diagnostic::{self, short};
use crate::spec::span::Source;
use crate::spec::tree::Path;

const FULL: &str = r#"
instance: weir-0
run: { labels: { tier: gold } }
listen: 127.0.0.1:7071
pipelines: ./flows
kafka:
  brokers: [kafka-1:9092, kafka-2:9092]
  tls: { ca: ca.pem }
  sasl: { mechanism: SCRAM-SHA-512, username: weir, password: "${secret:kafka_password}" }
  properties: { client.rack: eu-1a }
registry: { url: https://registry.internal, username: weir, password: "${secret:registry_password}" }
store: "postgres://weir:${secret:store_password}@db.internal/weir"
dedupe: redis://redis.internal:6379/0
vars: { billing_url: https://billing.internal, home: "${env:HOME_URL}" }
egress: { profile: internal }
auth:
  tokens:
    - { name: ci, role: viewer, token: "${secret:token_ci}" }
telemetry: { log: json, otlp: "http://otel-collector:4317", partition_metrics: false }
drain_deadline: 20s
limits: { memory: 64MiB, body: 1MiB, uncommitted: 5s, retention: { attempts: 7d, tracking: 30d, dead_letters: 90d } }
"#;

fn environment(more: &[(&str, &str)]) -> BTreeMap<String, String> {
    let fixed = [
        ("HOSTNAME", "host-1"),
        ("WEIR_SECRET_KAFKA_PASSWORD", "c4nary"),
        ("WEIR_SECRET_STORE_PASSWORD", "c4nary"),
        ("HOME_URL", "https://home"),
    ];
    fixed.iter().chain(more).map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

/// The text with a PEM file that is there in place of each `NAME.pem` of `tls`.
fn with_files(text: &str) -> String {
    let folder = std::env::temp_dir().join(format!("weir-runtime-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    ["ca.pem", "c.pem", "k.pem"].iter().fold(text.to_owned(), |text, name| {
        let file = folder.join(format!("of-{name}"));
        std::fs::write(&file, "-----BEGIN X-----\n").unwrap();
        text.replace(&format!(": {name}"), &format!(": {}", file.display()))
    })
}

fn loaded(text: &str, more: &[(&str, &str)], flags: &[Override]) -> (Option<Loaded>, String) {
    let source = Source::new("weir.yaml", with_files(text));
    let mut findings = Vec::new();
    let loaded = load(Some(&source), &environment(more), flags, &mut findings);
    diagnostic::sort(&mut findings);
    (loaded, findings.iter().map(short).collect())
}

#[test]
fn every_key_of_the_manual_is_read_and_secrets_do_not_print() {
    let (loaded, findings) = loaded(FULL, &[], &[]);
    assert_eq!(findings, "");
    let settings = loaded.unwrap().settings;
    assert_eq!(settings.instance, "weir-0");
    assert_eq!(settings.clusters["default"].brokers, ["kafka-1:9092", "kafka-2:9092"]);
    let property = |name: &str| settings.clusters["default"].properties.get(name).map(String::as_str);
    assert_eq!(property("security.protocol"), Some("sasl_ssl"));
    assert_eq!(property("sasl.password"), Some("c4nary"));
    assert_eq!(property("client.rack"), Some("eu-1a"));
    assert_eq!(
        (settings.drain_deadline, settings.shutdown_grace),
        (Duration::from_secs(20), Duration::from_secs(30))
    );
    assert_eq!((settings.memory, settings.log_json), (64 << 20, true));
    assert_eq!(settings.references.vars.get("home").map(String::as_str), Some("https://home"));
    assert!(!format!("{settings:?}").contains("c4nary"));
}

#[test]
fn what_is_not_built_yet_is_answered_where_it_is_written() {
    let text = "\
kafka: { brokers: [b:1], static_membership: true, create_topics: true }
outbox: { max_retries: 20 }
dashboard: { base_path: /weir }
";
    let (_, findings) = loaded(text, &[], &[]);
    for (line, word) in
        [(1, "static_membership: true"), (1, "create_topics: true"), (2, "outbox"), (3, "dashboard")]
    {
        let said = format!("`{word}` is not available yet");
        let answered =
            |found: &str| found.starts_with(&format!("weir.yaml:{line}:")) && found.contains(&said);
        assert!(findings.lines().any(answered), "{word} in\n{findings}");
    }
}

#[test]
fn no_file_is_all_defaults() {
    let mut findings = Vec::new();
    let loaded = load(None, &environment(&[]), &[], &mut findings).unwrap();
    assert_eq!(findings, []);
    assert_eq!(
        (loaded.settings.instance.as_str(), loaded.settings.listen.as_str()),
        ("host-1", "127.0.0.1:7070")
    );
    assert!(loaded.settings.clusters["default"].brokers.is_empty());
}

#[test]
fn flags_count_more_than_variables_and_these_more_than_the_file() {
    let variables = [
        ("WEIR_LISTEN", "0.0.0.0:1"),
        ("WEIR_KAFKA_BROKERS", "a:1, b:2"),
        ("WEIR_DRAIN_DEADLINE", "7s"),
        ("WEIR_VARS_BILLING_URL", "https://other"),
        ("WEIR_KAFKA_CREATE_TOPICS", "false"),
        ("WEIR_KAFKA_PROPERTIES_CLIENT_RACK", "b"),
        ("WEIR_KAFKA_CLUSTERS_ANALYTICS_BROKERS", "c:1"),
        ("WEIR_KAFKA_CLUSTERS_ANALYTICS_PROPERTIES_LINGER_MS", "7"),
        ("WEIR_EGRESS_ALLOW_HOSTS", "[x.example]"),
        ("WEIR_PORT_7070_TCP", "tcp://10.0.0.1"),
    ];
    let flag = Override::flag("--listen", Path::root().then("listen"), "127.0.0.1:2");
    let (loaded, findings) = loaded(FULL, &variables, &[flag]);
    assert_eq!(findings, "");
    let loaded = loaded.unwrap();
    assert_eq!(loaded.settings.listen, "127.0.0.1:2");
    assert_eq!(loaded.settings.clusters["default"].brokers, ["a:1", "b:2"]);
    assert_eq!(loaded.settings.drain_deadline, Duration::from_secs(7));
    assert_eq!(loaded.settings.references.vars["billing_url"], "https://other");
    assert_eq!(loaded.settings.clusters["default"].properties["client.rack"], "b");
    let analytics = &loaded.settings.clusters["analytics"];
    assert_eq!(
        (analytics.brokers.as_slice(), &analytics.properties["linger.ms"]),
        (&["c:1".to_owned()][..], &"7".to_owned())
    );
    assert_eq!(loaded.egress.allow_hosts, ["x.example"]);
}

#[test]
fn what_is_wrong_is_said_where_it_is_written() {
    let text = "\
lisen: x
kafka:
  brokers: k:1
  properties: { enable.auto.commit: true, group.id: x, max.poll.interval.ms: 5000, linger.ms: 5 }
  sasl: { mechanism: SCRAM-SHA-51, password: x }
pipelines: { git: { url: 'ext::sh', ref: -x, path: ../x, poll: 500ms, verify: {}, depth: 1 } }
vars: { a: '${secret:x}', b: '${env:NOPE}' }
";
    let variables = [("WEIR_DRAIN_DEADLINE", "soon"), ("WEIR_KAFKA_BROKER", "c4nary")];
    let (_, findings) = loaded(text, &variables, &[]);
    let expected = "\
WEIR_DRAIN_DEADLINE: error[W0106]: `soon` is not a duration; help: write a number and a unit, such as 250ms, 5s, 10m, 1h, 7d
WEIR_KAFKA_BROKER: warning[W0104]: the variable `WEIR_KAFKA_BROKER` sets nothing; help: did you mean `WEIR_KAFKA_BROKERS`?
weir.yaml:1:1: error[W0104]: unknown field `lisen`; help: did you mean `listen`?
weir.yaml:4:17: error[W0601]: `enable.auto.commit` is set by Weir itself; cause: what Weir promises about loss, order and duplicates rests on it; help: take it out
weir.yaml:4:43: error[W0601]: `group.id` is set by Weir itself; cause: what Weir promises about loss, order and duplicates rests on it; help: take it out
weir.yaml:4:56: error[W0601]: `max.poll.interval.ms` must be longer than `drain_deadline`; cause: Kafka would take the partitions away while they are drained; help: raise it above 10s, or lower `drain_deadline`
weir.yaml:5:22: error[W0106]: `SCRAM-SHA-51` is not known here; help: did you mean `SCRAM-SHA-512`?
weir.yaml:6:26: error[W0821]: this is no address of a repository that Weir follows; help: write https://host/path, ssh://user@host/path, git@host:path, or a path on this machine
weir.yaml:6:42: error[W0821]: `-x` is no name of a branch or a tag; help: name a branch or a tag: ref: main
weir.yaml:6:52: error[W0821]: `../x` is no folder of a repository; help: name a folder from the root of the repository: path: pipelines
weir.yaml:6:64: error[W0821]: a repository is asked once a second at most; help: write 1s or more
weir.yaml:6:71: error[W0821]: `verify` takes either `signers` or `keyring`; help: write verify: { signers: FILE } for keys of SSH, keyring for OpenPGP
weir.yaml:6:83: error[W0104]: unknown field `depth`; help: the fields are url, ref, path, poll, verify
weir.yaml:7:12: error[W0209]: a var may refer to `${env:NAME}` only; cause: vars are shown in plans and logs, secrets never are; help: write ${secret:NAME} where it is needed, in the pipeline
weir.yaml:7:30: error[W0201]: `${env:NOPE}` is not set; help: set the variable NOPE
";
    assert_eq!(findings, expected);
}

/// What is said of these keys of the block `kafka`, the secrets `password` and `pem` being there; and the properties.
fn signing_on(keys: &str) -> (String, BTreeMap<String, String>) {
    let text = format!("kafka:\n  brokers: b:1\n{keys}");
    let pem = ("WEIR_SECRET_PEM", "-----BEGIN PRIVATE KEY-----\nc4nary\n-----END PRIVATE KEY-----");
    let (loaded, findings) = loaded(&text, &[("WEIR_SECRET_PASSWORD", "c4nary"), pem], &[]);
    assert!(!findings.contains("c4nary"), "{findings}");
    (findings, loaded.unwrap().settings.clusters["default"].properties.clone())
}

#[test]
fn each_way_to_sign_on_is_what_librdkafka_calls_it() {
    let password = "password: '${secret:password}'";
    for (keys, expected) in [
        (format!("  sasl: {{ mechanism: SCRAM-SHA-256, username: u, {password} }}\n"), "sasl_plaintext SCRAM-SHA-256"),
        (format!("  tls: {{}}\n  sasl: {{ mechanism: PLAIN, username: u, {password} }}\n"), "sasl_ssl PLAIN"),
        (
            "  tls: { ca: ca.pem }\n  sasl:\n    mechanism: OAUTHBEARER\n    oauth2: { token_url: 'https://t/', client_id: c, \
             client_secret: '${secret:password}', scopes: [a] }\n"
                .to_owned(),
            "sasl_ssl OAUTHBEARER",
        ),
        ("  tls: { ca: ca.pem, cert: c.pem, key: k.pem }\n".to_owned(), "ssl"),
    ] {
        let (findings, properties) = signing_on(&keys);
        assert_eq!(findings, "", "{keys}");
        let property = |name| properties.get(name).map(String::as_str).unwrap_or_default();
        let said = format!("{} {}", property("security.protocol"), property("sasl.mechanism"));
        assert_eq!(said.trim(), expected);
    }
    let (_, files) =
        signing_on("  tls: { ca: ca.pem, cert: c.pem, key: k.pem, key_password: '${secret:password}' }\n");
    for (name, value) in [
        ("ssl.ca.location", "of-ca.pem"),
        ("ssl.certificate.location", "of-c.pem"),
        ("ssl.key.location", "of-k.pem"),
        ("ssl.key.password", "c4nary"),
    ] {
        let file = files.get(name).map(String::as_str).unwrap_or_default();
        assert!(file.rsplit('/').next() == Some(value) || file == value, "{name}: {file}");
    }
    let (_, system) = signing_on("  tls: {}\n");
    assert_eq!(system.get("ssl.ca.location").map(String::as_str), Some("probe"), "the system's authorities");
    let (_, texts) = signing_on("  tls: { cert: c.pem, key: '${secret:pem}' }\n");
    assert!(
        texts.get("ssl.key.pem").is_some_and(|key| key.starts_with("-----BEGIN ")),
        "the text of a secret"
    );
}

#[test]
fn each_cluster_signs_on_in_its_own_way() {
    let text = "\
kafka:
  brokers: a:1
  clusters:
    analytics:
      brokers: [b:1, b:2]
      tls: {}
      sasl: { mechanism: SCRAM-SHA-512, username: u, password: '${secret:password}' }
    tokens:
      brokers: c:1
      tls: {}
      sasl: { mechanism: OAUTHBEARER, oauth2: { token_url: 'https://t/', client_id: c, client_secret: '${secret:password}' } }
";
    let (loaded, findings) = loaded(text, &[("WEIR_SECRET_PASSWORD", "c4nary")], &[]);
    assert_eq!(findings, "");
    let loaded = loaded.unwrap();
    let protocol = |name: &str| loaded.settings.clusters[name].properties["security.protocol"].as_str();
    assert_eq!(
        [protocol("default"), protocol("analytics"), protocol("tokens")],
        ["plaintext", "sasl_ssl", "sasl_ssl"]
    );
    assert_eq!(loaded.settings.clusters["analytics"].brokers, ["b:1", "b:2"]);
    assert_eq!(loaded.settings.clusters["analytics"].properties["sasl.password"], "c4nary");
    assert_eq!(loaded.oauth2.keys().collect::<Vec<_>>(), ["tokens"]);
    assert!(!format!("{:?}", loaded.settings).contains("c4nary"));
}

#[test]
fn a_repository_to_follow_is_read_and_its_password_is_not_printed() {
    let of = |git: &str| {
        let variables = [("WEIR_SECRET_TOKEN", "c4nary")];
        let (loaded, findings) = loaded(&format!("pipelines: {{ git: {git} }}\n"), &variables, &[]);
        assert!(!format!("{loaded:?}{findings}").contains("c4nary"));
        (loaded.map(|loaded| loaded.settings), findings)
    };
    let (settings, findings) = of("{ url: 'https://w:${secret:token}@g.test/s/f.git' }");
    let settings = settings.unwrap();
    let followed = settings.followed.unwrap();
    assert_eq!((findings.as_str(), followed.shown.as_str()), ("", "https://g.test/s/f.git"));
    assert_eq!(followed.url.expose(), "https://w:c4nary@g.test/s/f.git");
    assert_eq!((followed.reference.as_str(), followed.path.as_str()), ("main", "."));
    assert_eq!((followed.poll, settings.pipelines.to_str()), (Duration::from_secs(30), Some(".")));
    for url in
        ["git@g.test:s/f.git", "ssh://git@g.test/f", "./flows.git", "/srv/flows.git", "file:///srv/f.git"]
    {
        assert_eq!(
            of(&format!("{{ url: '{url}', ref: release/1, path: pipelines, poll: 1s }}")).1,
            "",
            "{url}"
        );
    }
    for url in ["ext::sh -c x", "-oProxyCommand=x", "ftp://g.test/f", ""] {
        assert!(of(&format!("{{ url: '{url}' }}")).1.contains("error[W0821]"), "{url}");
    }
    let (_, findings) = of("{ url: 'https://w:open@g.test/f' }");
    assert!(findings.contains("credentials do not stand in the file"), "{findings}");
    let (_, findings) = of("{ url: /srv/f, verify: { signers: /gone } }");
    assert!(findings.contains("`/gone` is no file that can be read"), "{findings}");
    // A variable still names a folder.
    let text = "pipelines: { git: { url: /srv/f } }\n";
    let settings = loaded(text, &[("WEIR_PIPELINES", "flows")], &[]).0.unwrap().settings;
    assert_eq!((settings.pipelines.to_str(), settings.followed), (Some("flows"), None));
}

#[test]
fn a_variable_finds_the_cluster_whose_name_it_cannot_spell() {
    let text = "kafka: { clusters: { eu-west: { brokers: a:1 } } }\n";
    let variables =
        [("WEIR_KAFKA_CLUSTERS_EU_WEST_BROKERS", "b:1"), ("WEIR_KAFKA_CLUSTERS_NEW_BROKERS", "c:1")];
    let (loaded, findings) = loaded(text, &variables, &[]);
    assert_eq!(findings, "");
    let clusters = loaded.unwrap().settings.clusters;
    assert_eq!(clusters.keys().collect::<Vec<_>>(), ["default", "eu-west", "new"]);
    assert_eq!(clusters["eu-west"].brokers, ["b:1"]);
}

#[test]
fn what_is_wrong_with_a_cluster_is_said_where_it_is_written() {
    let text = "\
kafka:
  clusters:
    default: { brokers: a:1 }
    Big: { brokers: a:1 }
    empty: { brokers: [] }
    none: { tls: {} }
    bad: { brokers: a:1, properties: { sasl.password: x, security.protocol: ssl, acks: '1' }, static_membership: true }
";
    let (_, findings) = loaded(text, &[], &[]);
    let expected = "\
weir.yaml:3:5: error[W0106]: `default` is the cluster that `kafka` itself describes; help: give this one another name
weir.yaml:4:5: error[W0106]: `Big` is no name of a cluster; help: use 1 to 64 lower-case letters, digits, `_` and `-`
weir.yaml:5:14: error[W0106]: the cluster `empty` has no broker; help: name at least one: brokers: [kafka-1:9092]
weir.yaml:6:5: error[W0105]: `kafka.clusters.none` lacks the field `brokers`; help: add it: brokers: ..
weir.yaml:7:40: error[W0601]: `sasl.password` is set by Weir itself; cause: one place says how Weir signs on to Kafka; help: write kafka.clusters.bad.sasl.password instead
weir.yaml:7:58: error[W0601]: `security.protocol` is set by Weir itself; cause: one place says how Weir signs on to Kafka; help: write kafka.clusters.bad.tls or kafka.clusters.bad.sasl instead
weir.yaml:7:82: error[W0601]: `acks` is set by Weir itself; cause: what Weir promises about loss, order and duplicates rests on it; help: take it out
weir.yaml:7:95: error[W0104]: unknown field `static_membership`; help: `static_membership` is a field of `kafka`; here the fields are brokers, tls, sasl, properties
";
    assert_eq!(findings, expected);
}

#[test]
fn what_cannot_sign_on_is_said_where_it_is_written() {
    let (findings, _) = signing_on(
        "  tls: { key_password: open, cert: c.pem }
  sasl: { mechanism: SCRAM-SHA-512, username: u, oauth2: { token_url: t, client_id: c, client_secret: s } }
  properties: { sasl.password: x, security.protocol: ssl, request.required.acks: '1', ssl.cipher.suites: a }
",
    );
    let expected = "\
weir.yaml:3:24: error[W0602]: `key_password` means nothing without `key`; help: write both, or neither
weir.yaml:3:36: error[W0602]: `cert` means nothing without `key`; help: write both, or neither
weir.yaml:4:22: error[W0602]: SCRAM-SHA-512 needs `password`; help: add it: password: \"${secret:NAME}\"
weir.yaml:4:50: error[W0602]: SCRAM-SHA-512 has no use for `oauth2`; help: take it out
weir.yaml:5:17: error[W0601]: `sasl.password` is set by Weir itself; cause: one place says how Weir signs on to Kafka; help: write kafka.sasl.password instead
weir.yaml:5:35: error[W0601]: `security.protocol` is set by Weir itself; cause: one place says how Weir signs on to Kafka; help: write kafka.tls or kafka.sasl instead
weir.yaml:5:59: error[W0601]: `request.required.acks` is set by Weir itself; cause: what Weir promises about loss, order and duplicates rests on it; help: take it out
";
    assert_eq!(findings, expected);
    let (findings, _) =
        signing_on("  sasl: { mechanism: PLAIN, username: u, password: '${secret:password}' }\n");
    assert!(findings.starts_with("weir.yaml:3:22: warning[W0603]"), "{findings}");
    let (findings, _) = signing_on("  sasl: { mechanism: SCRAM-SHA-512, username: u, password: open }\n");
    let expected = "weir.yaml:3:60: error[W0602]: credentials do not stand in the file; cause: files are shared and kept in version control; help: write ${secret:NAME}\n";
    assert_eq!(findings, expected);
    let variable = [("WEIR_KAFKA_SASL_PASSWORD", "c4nary")];
    let (_, findings) =
        loaded("kafka: { brokers: b:1, sasl: { mechanism: SCRAM-SHA-512, username: u } }\n", &variable, &[]);
    assert_eq!(findings, "", "a variable may hold it");
}

/// A pipe that nobody writes to, a folder, a file that is not there or holds something else: said at once, and in its place.
#[test]
fn a_file_of_tls_that_cannot_be_read_is_said_and_not_waited_for() {
    let folder = std::env::temp_dir().join(format!("weir-tls-files-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(folder.join("pipe")).status().unwrap().success());
    std::fs::write(folder.join("text"), "no certificate").unwrap();
    std::fs::write(folder.join("large"), vec![b'-'; 1 << 21]).unwrap();
    for (name, why) in [
        ("pipe", "is no regular file"),
        ("", "is no regular file"),
        ("gone", "cannot be read: No such file or directory (os error 2)"),
        ("text", "is no PEM file"),
        ("large", "is larger than 1 MiB"),
    ] {
        let file = folder.join(name).display().to_string();
        for (key, column) in [("ca", 14), ("cert", 16)] {
            let (findings, _) = signing_on(&format!("  tls: {{ {key}: {file} }}\n"));
            let said = format!("weir.yaml:3:{column}: error[W0602]: `{file}` {why}; help: name a PEM file, ");
            assert!(findings.contains(&said), "{said}\n{findings}");
        }
        let (findings, _) =
            signing_on(&format!("  clusters: {{ b: {{ brokers: c:1, tls: {{ ca: {file} }} }} }}\n"));
        assert!(findings.starts_with("weir.yaml:3:") && findings.contains(why), "{findings}");
    }
    let (findings, _) = signing_on("  tls: { ca: '${secret:password}' }\n");
    assert!(findings.contains("error[W0602]: the secret is no PEM; help: "), "{findings}");
    std::fs::remove_dir_all(&folder).unwrap();
}
