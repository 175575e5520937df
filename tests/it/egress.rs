//! Where a webhook may not go it does not go, however the address is written, and whatever a record says (B-12, B-13, H3,
//! H4, H9).

use std::time::Duration;

use crate::support::canary::Canary;
use crate::support::kafka::shared;
use crate::support::receiver::{Receiver, Reply, Seen, status};
use crate::support::run::{Run, until};
use crate::support::weir::{Site, Watched};

/// 127.0.0.0 to 127.0.0.7 and ::1 stand for a network that is not to be reached; the receiver is in another one.
const EGRESS: &str = "egress: { deny_cidrs: [127.0.0.0/29, \"::1/128\"] }\n";
const ALLOWED: &str = "127.0.0.9";

/// Addresses of that network.
const DENIED: [&str; 17] = [
    "127.0.0.2",
    "2130706434",
    "0x7f000002",
    "0x7f.0.0.2",
    "0177.0.0.2",
    "017700000002",
    "127.2",
    "127.0.2",
    "[::ffff:127.0.0.2]",
    "[::ffff:7f00:2]",
    "[::127.0.0.2]",
    "[::1]",
    "localhost",
    "LOCALHOST",
    "127.0.0.2.",
    "%31%32%37.0.0.2",
    "\u{ff11}27.0.0.2",
];
/// A name that some resolvers know and some do not.
const PERHAPS: &str = "localhost.";
/// Where a redirect points.
const REDIRECTS: [&str; 3] = ["127.0.0.2", "localhost", "2130706434"];

/// Redirects where the path says so, to the same port.
fn redirecting(seen: &Seen<'_>) -> Reply {
    match seen.arrival.target.strip_prefix("/hook/to/") {
        Some(host) => Reply {
            headers: vec![(
                "location",
                format!("http://{host}:{}/hook", port_of(seen.arrival.header("host"))),
            )],
            ..status(307)
        },
        None => status(200),
    }
}

/// Each has the receiver's port, so that only the address is wrong.
async fn canaries(port: u16) -> Vec<(&'static str, Canary)> {
    let mut canaries = Vec::new();
    for host in ["127.0.0.1", "127.0.0.2", "[::1]"] {
        let canary = Canary::listen(format!("{host}:{port}").parse().unwrap()).await;
        assert!(canary.is_some() || host == "[::1]", "no canary on {host}");
        canaries.extend(canary.map(|canary| (host, canary)));
    }
    canaries
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_denied_address_sees_no_connection_however_it_is_written() {
    let (run, kafka) = (Run::new("egress"), shared());
    let (topic, dlq) = (run.name.clone(), format!("{}.dlq", run.name));
    kafka.create(&topic, 1, &[]).await;
    kafka.create(&dlq, 1, &[]).await;
    let receiver = Receiver::start_at(&run, ALLOWED, |seen| redirecting(&seen)).await;
    let url = receiver.url();
    let port = port_of(Some(url.trim_start_matches("http://").trim_end_matches("/hook")));
    let canaries = canaries(port).await;
    let denied: Vec<(String, &str)> =
        DENIED.iter().enumerate().map(|(index, host)| (format!("{topic}-{index}"), *host)).collect();
    let redirects: Vec<(String, &str)> =
        REDIRECTS.iter().enumerate().map(|(index, host)| (format!("{topic}-to-{index}"), *host)).collect();
    let mut site = Site::new(&run, kafka).runtime(EGRESS);
    let write = |site: Site, name: &str, url: &str| {
        site.pipeline(name, &format!("source: {topic}\nhandler: \"{url}\"\ndlq: {dlq}\n"))
    };
    for (name, host) in &denied {
        site = write(site, name, &format!("http://{host}:{port}/hook"));
    }
    for (name, host) in &redirects {
        site = write(site, name, &format!("{url}/to/{host}"));
    }
    let (good, perhaps) = (format!("{topic}-good"), format!("{topic}-perhaps"));
    site = write(site, &good, &url);
    site = write(site, &perhaps, &format!("http://{PERHAPS}:{port}/hook"));
    let weir = site.start("one").await;
    kafka.write(&topic, &[("k", "{}")]);

    for (name, host) in &denied {
        held(&weir, name, "blocked_address", host).await;
    }
    for (name, host) in &redirects {
        held(&weir, name, "redirect", host).await;
    }
    let tried =
        || async { weir.metric("weir_handler_attempts_total", &[("pipeline", &perhaps)]).await > 0.0 };
    until("the name is tried", Duration::from_secs(15), tried).await;
    // The one that may be reached shows that the others could have been.
    let good = || async { receiver.arrivals().iter().any(|arrival| arrival.target == "/hook") };
    until("the allowed address sees its request", Duration::from_secs(15), good).await;
    assert_eq!(receiver.arrivals().len(), 1 + redirects.len());
    for (name, host) in &denied {
        let group = format!("weir.{name}");
        let watched = Watched { kafka, group: &group, topic: &topic, partitions: 1 };
        assert!(watched.committed(&run).await.iter().all(|sample| sample.offset == 0), "{host}");
    }
    assert!(kafka.read(&run, &dlq).is_empty(), "held, not dead-lettered");
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);

    // A name before the host is a fault of the file, found before anything runs.
    let site =
        write(site, &format!("{topic}-user"), &format!("http://{ALLOWED}:{port}@127.0.0.2:{port}/hook"));
    let (code, text) = site.check().await;
    assert!(code != 0 && text.contains("a URL with a user's name in it"), "{code}: {text}");
    for (host, canary) in &canaries {
        assert_eq!(canary.seen(), 0, "{host} saw a connection");
    }
}

fn port_of(authority: Option<&str>) -> u16 {
    authority.unwrap().rsplit_once(':').unwrap().1.parse().unwrap()
}

async fn held(weir: &crate::support::weir::Weir, pipeline: &str, cause: &str, host: &str) {
    let holds =
        || async { weir.metric("weir_stage_held", &[("pipeline", pipeline), ("cause", cause)]).await > 0.0 };
    until(&format!("{host} holds for {cause}"), Duration::from_secs(20), holds).await;
}

/// What records bring along, and as what it is to arrive; none: the record is invalid, and nothing is sent for it.
const IDS: [(&str, Option<&str>); 14] = [
    ("plain", Some("plain")),
    ("../../admin", Some("..%2F..%2Fadmin")),
    ("..", None),
    (".", None),
    ("", None),
    ("%2e%2e", Some("%252e%252e")),
    ("%2e%2e/%2e%2e", Some("%252e%252e%2F%252e%252e")),
    ("..\\..\\admin", Some("..%5C..%5Cadmin")),
    ("/etc/passwd", Some("%2Fetc%2Fpasswd")),
    ("//127.0.0.2/x", Some("%2F%2F127.0.0.2%2Fx")),
    ("@127.0.0.2", Some("@127.0.0.2")),
    ("a?b=c#d", Some("a%3Fb=c%23d")),
    ("a\0b\r\nx: y", Some("a%00b%0D%0Ax:%20y")),
    ("127.0.0.2", Some("127.0.0.2")),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_leaves_neither_its_path_segment_nor_the_hosts_that_are_named() {
    let (run, kafka) = (Run::new("traversal"), shared());
    let (topic, dlq) = (run.name.clone(), format!("{}.dlq", run.name));
    kafka.create(&topic, 1, &[]).await;
    kafka.create(&dlq, 1, &[]).await;
    let receiver = Receiver::start_at(&run, ALLOWED, |_| status(200)).await;
    let port = port_of(Some(receiver.url().trim_start_matches("http://").trim_end_matches("/hook")));
    let canary = Canary::listen(format!("127.0.0.2:{port}").parse().unwrap()).await.unwrap();
    let hosts = format!("{topic}-hosts");
    let yaml = |url: &str| format!("source: {topic}\nhandler: \"{url}\"\ndlq: {dlq}\n");
    let site = Site::new(&run, kafka)
        .runtime("egress: { deny_cidrs: [127.0.0.0/29], allow_hosts: [named.invalid] }\n")
        .pipeline(&topic, &yaml(&format!("{}/{{{{ .id }}}}/end", receiver.url())))
        .pipeline(&hosts, &yaml(&format!("http://{{{{ .id }}}}:{port}/hook")));
    let weir = site.start("one").await;
    let records: Vec<(String, String)> = IDS
        .iter()
        .enumerate()
        .map(|(index, (id, _))| (index.to_string(), serde_json::json!({ "id": id }).to_string()))
        .collect();
    let records: Vec<(&str, &str)> = records.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    kafka.write(&topic, &records);
    let all = || async { weir.metric("weir_events_completed_total", &[]).await >= 2.0 * IDS.len() as f64 };
    until("an outcome for each", Duration::from_secs(30), all).await;

    let mut arrived: Vec<(String, String)> = receiver
        .arrivals()
        .iter()
        .map(|arrival| (arrival.event.rsplit('/').next().unwrap().to_owned(), arrival.target.clone()))
        .collect();
    arrived.sort_by_key(|(offset, _)| offset.parse::<usize>().unwrap());
    let expected: Vec<(String, String)> = IDS
        .iter()
        .enumerate()
        .filter_map(|(index, (_, sent))| Some((index.to_string(), format!("/hook/{}/end", (*sent)?))))
        .collect();
    assert_eq!(decoded(&arrived), decoded(&expected), "each is one segment, and nothing else");
    assert!(
        arrived
            .iter()
            .all(|(_, target)| target.matches('/').count() == 3 && !target.contains(['?', '#', '\\']))
    );
    let dead = kafka.read(&run, &dlq);
    for of in [&topic, &hosts] {
        let keys: Vec<&[u8]> = dead
            .iter()
            .filter(|dead| dead.header("weir-pipeline") == Some(of))
            .map(|dead| dead.key.as_deref().unwrap())
            .collect();
        let invalid = IDS.iter().filter(|(_, sent)| sent.is_none() || of == &hosts).count();
        assert_eq!(keys.len(), invalid, "{of}");
    }
    let told = |dead: &crate::support::ledger::Dead| {
        (dead.header("weir-reason").map(str::to_owned), dead.header("weir-code").map(str::to_owned))
    };
    let template = (Some("invalid".to_owned()), Some("template".to_owned()));
    assert!(
        dead.iter().all(|dead| told(dead) == template),
        "{:?}",
        dead.iter().map(told).collect::<Vec<_>>()
    );
    assert_eq!(canary.seen(), 0, "a record has chosen the host");
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

/// What a receiver would read: which characters are escaped beyond the needed ones does not matter.
fn decoded(targets: &[(String, String)]) -> Vec<(String, String)> {
    let decode = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    targets.iter().map(|(offset, target)| (offset.clone(), decode(target))).collect()
}
