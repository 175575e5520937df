//! Each kind of credential that a webhook can have, with a receiver, an endpoint or a proxy that refuses what comes with it: it
//! gets there, and nowhere else (B-19).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::secrets::{Planted, answers, checked, written};
use crate::support::kafka::{Kafka, shared};
use crate::support::ledger::Arrival;
use crate::support::receiver::{Receiver, Reply, Seen, status};
use crate::support::run::{Run, until};
use crate::support::secured::Authority;
use crate::support::weir::{Site, Weir};

const SOON: Duration = Duration::from_secs(60);

/// A kind of credential, what its webhook says of it, and the cause that holds its stage; none where its record is
/// dead-lettered.
const KINDS: [(&str, &str, Option<&str>); 6] = [
    ("basic", "auth: { basic: { username: weir, password: \"${secret:basic}\" } }", Some("auth")),
    ("key", "auth: { api_key: { header: x-mine, value: \"${secret:key}\" } }", None),
    (
        "client",
        "auth: { oauth2: { token_url: \"BASE/refuses\", client_id: weir, client_secret: \"${secret:client}\" } }",
        Some("auth"),
    ),
    (
        "granted",
        "auth: { oauth2: { token_url: \"BASE/grants\", client_id: weir, client_secret: \"${secret:client}\" } }",
        None,
    ),
    ("proxy", "proxy: \"http://weir:${secret:proxy}@HOST\"", Some("auth")),
    ("tls", "tls: { ca: \"${secret:ca}\", cert: \"${secret:cert}\", key: \"${secret:private}\" }", None),
];

/// What the receiver, which is the token endpoint and the proxy as well, does with a request.
fn refusing(seen: &Seen<'_>, token: &str) -> Reply {
    let target = seen.arrival.target.as_str();
    match target.rsplit('/').next().unwrap_or_default() {
        _ if target.starts_with("http://") => status(407),
        "grants" => Reply { body: format!("{{\"access_token\":\"{token}\"}}").into(), ..status(200) },
        "basic" | "refuses" => status(401),
        _ => status(422),
    }
}

fn planted(run: &Run, authority: &Authority) -> Planted {
    let mut planted = Planted::named(run, &["basic", "key", "client", "granted", "proxy"]);
    let (certificate, private) = authority.certificate("weir", false);
    // What all keys of this kind begin with is no secret.
    let part = private.lines().nth(1).unwrap()[60..90].to_owned();
    planted.add("private", private, &part);
    planted.secrets.insert("cert", certificate);
    planted.secrets.insert("ca", authority.pem.clone());
    planted
}

/// Waits until the stage of a kind has come to its end; what its dead letter has of the secrets.
async fn ends(weir: &Weir, run: &Run, kafka: &Kafka, planted: &Planted, kind: &str, cause: Option<&str>) {
    let name = format!("{}-{kind}", run.name);
    let Some(cause) = cause else {
        let dlq = format!("{name}.dlq");
        until(&format!("a dead letter of {name}"), SOON, async || !kafka.read(run, &dlq).is_empty()).await;
        let letter = kafka.read(run, &dlq).remove(0);
        assert_eq!(letter.header("weir-code"), Some("status"), "{name}");
        assert_eq!(planted.found_in_letter(&letter), [""; 0], "{name}: {letter:?}");
        return;
    };
    let labels = [("cause", cause), ("stage", name.as_str())];
    let held = async || weir.metric("weir_stage_held", &labels).await > 0.0;
    until(&format!("{name} held by {cause}"), SOON, held).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_webhook_are_never_printed() {
    let (run, kafka, authority) = (Run::new("credentials"), shared(), Authority::new());
    let planted = planted(&run, &authority);
    let token = planted.secrets["granted"].clone();
    let receiver = Receiver::start(&run, move |seen| refusing(&seen, &token)).await;
    let sealed = Receiver::sealed(&run, &authority, |_| status(422)).await;
    let base = receiver.url().trim_end_matches("/hook").to_owned();
    let mut site = planted.plant(Site::new(&run, kafka)).variable("WEIR_LOG", "debug");
    for (kind, says, _) in KINDS {
        let (name, url) =
            (format!("{}-{kind}", run.name), if kind == "tls" { sealed.url() } else { receiver.url() });
        for end in ["", ".dlq"] {
            kafka.create(&format!("{name}{end}"), 1, &[]).await;
        }
        let says = says.replace("BASE", &base).replace("HOST", base.trim_start_matches("http://"));
        let yaml = format!(
            "source: {name}\ndlq: {name}.dlq\nhandler:\n  webhook:\n    url: {url}/{kind}\n    {says}\n"
        );
        site = site.pipeline(&name, &yaml);
    }
    // A key that is not its certificate's.
    let other = format!("{}-other", run.name);
    let says = "source: none\nhandler:\n  webhook: { url: \"https://127.0.0.1/x\", tls: { cert: \"${secret:ca}\", key: \"${secret:private}\" } }\n";
    site = site.pipeline(&other, says);
    let weir = site.start("one").await;
    for (kind, ..) in KINDS {
        kafka.write(&format!("{}-{kind}", run.name), &[("k", "{}")]);
    }
    for (kind, _, cause) in KINDS {
        ends(&weir, &run, kafka, &planted, kind, cause).await;
    }
    let seen = answers(&weir).await;
    assert_eq!(planted.found_in(&seen), [""; 0], "{seen}");
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
    arrived(&receiver.arrivals(), &planted);
    assert!(!sealed.arrivals().is_empty(), "with the key");

    let log = std::fs::read_to_string(site.path().join("one.log")).unwrap();
    assert!(log.contains(r#""level":"DEBUG""#), "{log}");
    assert_eq!(planted.found_in(&log), [""; 0], "{log}");
    for said in checked(&site, "one.yaml").await {
        assert!(said.contains("the key is not this certificate's"), "{said}");
        assert_eq!(planted.found_in(&said), [""; 0], "{said}");
    }
    for said in written(&site, "one.yaml").await {
        assert_eq!(planted.found_in(&said), [""; 0], "{said}");
    }
}

/// Each of them has been where it belongs.
fn arrived(arrivals: &[Arrival], planted: &Planted) {
    let secret = |name| planted.secrets[name].as_str();
    let basic = |name| format!("Basic {}", STANDARD.encode(format!("weir:{}", secret(name))));
    for (end, header, value) in [
        ("/basic", "authorization", basic("basic")),
        ("/key", "x-mine", secret("key").to_owned()),
        ("/refuses", "authorization", basic("client")),
        ("/granted", "authorization", format!("Bearer {}", secret("granted"))),
        ("/proxy", "proxy-authorization", basic("proxy")),
    ] {
        let there = arrivals.iter().find(|arrival| arrival.target.ends_with(end));
        let there = there.unwrap_or_else(|| panic!("no request to {end}"));
        assert_eq!(there.header(header), Some(value.as_str()), "{end}");
    }
}
