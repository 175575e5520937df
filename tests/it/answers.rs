//! The response table of the contract, from end to end: one process, one record for each kind of answer or of its lack
//! (H08, H09, H10, H12, K8, F-60).

use std::collections::HashMap;
use std::fmt::Write;
use std::time::Duration;

use crate::support::kafka::shared;
use crate::support::ledger::Dead;
use crate::support::raw::{Act, Asked, Raw, Then};
use crate::support::run::{Run, until};
use crate::support::weir::{Site, Watched};

/// What becomes of a record.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    /// Delivered after so many requests.
    Delivered(usize),
    /// Dead-lettered: reason, code, status where there was an answer, and requests.
    Dead(&'static str, &'static str, Option<u16>, usize),
}

use End::{Dead as DeadLetter, Delivered};

/// One record: its answers (the last repeats; `OK` follows where `once`), and what is to become of it.
struct Row {
    name: String,
    act: Act,
    once: bool,
    end: End,
}

const ATTEMPTS: usize = 3;

/// Statuses and what the contract says of them, in its own words; 101 ends HTTP on its connection, so it goes alone.
const OK: &[(u16, u16)] = &[(200, 299)];
const RETRY: &[(u16, u16)] = &[
    (404, 404),
    (408, 409),
    (421, 421),
    (423, 423),
    (425, 425),
    (429, 429),
    (500, 500),
    (502, 504),
    (506, 599),
];
const REFUSED: &[(u16, u16)] = &[
    (400, 400),
    (402, 402),
    (405, 406),
    (411, 420),
    (422, 422),
    (424, 424),
    (426, 428),
    (430, 499),
    (501, 501),
    (505, 505),
];
const HOLDS: &[(u16, &str)] = &[
    (300, "redirect"),
    (301, "redirect"),
    (302, "redirect"),
    (303, "redirect"),
    (304, "redirect"),
    (307, "redirect"),
    (308, "redirect"),
    (399, "redirect"),
    (401, "auth"),
    (403, "auth"),
    (407, "auth"),
    (410, "gone"),
];

fn answer(status: u16, more: &str) -> Act {
    // These have no body by definition, and no length.
    let length = if matches!(status, 101 | 204 | 304) { "" } else { "content-length: 0\r\n" };
    raw(&format!("HTTP/1.1 {status} As Told\r\n{length}{more}\r\n"), Then::Keep)
}

fn raw(text: &str, then: Then) -> Act {
    Act { bytes: text.as_bytes().to_vec(), then }
}

fn statuses<'a>(ranges: &'a [(u16, u16)]) -> impl Iterator<Item = u16> + 'a {
    ranges.iter().flat_map(|(first, last)| *first..=*last)
}

fn row(name: &str, act: Act, once: bool, end: End) -> Row {
    Row { name: name.to_owned(), act, once, end }
}

fn refused(status: u16) -> End {
    DeadLetter("rejected", "status", Some(status), 1)
}

fn exhausted(code: &'static str, status: Option<u16>) -> End {
    DeadLetter("exhausted", code, status, ATTEMPTS)
}

/// Complete answers.
fn answers() -> Vec<Row> {
    let mut rows = Vec::new();
    let mut add = |name: &str, act: Act, once: bool, end: End| {
        rows.push(row(name, act, once, end));
    };
    for status in statuses(OK) {
        add(&format!("status-{status}"), answer(status, ""), false, Delivered(1));
    }
    for status in statuses(RETRY) {
        add(&format!("status-{status}"), answer(status, ""), true, Delivered(2));
    }
    for status in statuses(REFUSED) {
        add(&format!("status-{status}"), answer(status, ""), false, refused(status));
    }
    add("status-101", answer(101, "upgrade: x\r\nconnection: upgrade\r\n"), false, refused(101));
    let early =
        raw("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", Then::Keep);
    add("early-hints", early, false, Delivered(1));
    let lone = raw("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n", Then::Close);
    add("lone-103", lone, false, refused(103));
    let lone = raw("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n", Then::Close);
    add("lone-102", lone, false, refused(102));
    let abort = answer(500, "webhook-delivery: abort-message\r\n");
    add("abort", abort, false, DeadLetter("rejected", "aborted", Some(500), 1));

    add("always-500", answer(500, ""), false, exhausted("status", Some(500)));
    add("always-404", answer(404, ""), false, exhausted("status", Some(404)));
    for (name, value) in [
        ("after-2", "2"),
        ("after-absurd", "99999999999999999999"),
        ("after-negative", "-5"),
        ("after-garbage", "soon"),
        ("after-past", "Wed, 21 Oct 2015 07:28:00 GMT"),
        ("after-too-long", "86400"),
    ] {
        add(name, answer(503, &format!("retry-after: {value}\r\n")), true, Delivered(2));
    }

    rows
}

/// No answer.
fn faults() -> Vec<Row> {
    let long = format!("x-long: {}\r\n", "x".repeat(40 << 10));
    let faults = [
        ("close", raw("", Then::Close), "reset"),
        ("reset", raw("", Then::Reset), "reset"),
        // What comes before the answer is not the answer, unless the connection ends in good order with it.
        ("early-hints-reset", raw("HTTP/1.1 103 Early Hints\r\n\r\n", Then::Reset), "reset"),
        ("early-hints-silence", raw("HTTP/1.1 103 Early Hints\r\n\r\n", Then::Hang), "timeout"),
        ("half-head", raw("HTTP/1.1 200 OK\r\nconte", Then::Close), "reset"),
        ("half-head-reset", raw("HTTP/1.1 200 OK\r\nconte", Then::Reset), "reset"),
        ("silence", raw("", Then::Hang), "timeout"),
        ("half-head-silence", raw("HTTP/1.1 200 OK\r\nconte", Then::Hang), "timeout"),
        ("ssh", raw("SSH-2.0-OpenSSH_9.6\r\n", Then::Close), "protocol"),
        ("zeros", Act { bytes: vec![0; 64], then: Then::Close }, "protocol"),
        ("bad-status", raw("HTTP/1.1 2x0 OK\r\n\r\n", Then::Close), "protocol"),
        (
            "two-lengths",
            raw("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", Then::Close),
            "protocol",
        ),
        ("long-head", raw(&format!("HTTP/1.1 200 OK\r\n{long}\r\n"), Then::Close), "protocol"),
    ];
    let mut rows = Vec::new();
    for (name, act, code) in faults {
        rows.push(row(&format!("{name}-once"), act.clone(), true, Delivered(2)));
        rows.push(row(&format!("{name}-always"), act, false, exhausted(code, None)));
    }
    rows
}

/// The head has decided; what follows it may be as bad as it likes.
fn bodies() -> Vec<Row> {
    let body = |status: u16, length: usize, sent: usize, then| {
        raw(&format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n\r\n{}", "b".repeat(sent)), then)
    };
    let chunks = raw("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", Then::Close);
    let encoded =
        raw("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\nabc", Then::Keep);
    vec![
        row("body-too-long", body(200, 300_000, 300_000, Then::Keep), false, Delivered(1)),
        row("body-stalls", body(200, 100, 10, Then::Hang), false, Delivered(1)),
        row("body-breaks-off", body(200, 100, 10, Then::Reset), false, Delivered(1)),
        row("body-too-long-422", body(422, 300_000, 300_000, Then::Keep), false, refused(422)),
        row("body-stalls-422", body(422, 100, 10, Then::Hang), false, refused(422)),
        row("body-stalls-500", body(500, 100, 10, Then::Hang), true, Delivered(2)),
        row("body-of-no-chunks", chunks, false, Delivered(1)),
        row("body-encoded", encoded, false, Delivered(1)),
    ]
}

/// `accept` is complete when given.
fn accepting() -> Vec<Row> {
    let unexpected = |status: u16| DeadLetter("rejected", "unexpected_status", Some(status), 1);
    let row =
        |status: u16, once, end| Row { name: format!("accept-{status}"), act: answer(status, ""), once, end };
    vec![
        row(202, false, Delivered(1)),
        row(402, false, Delivered(1)),
        row(200, false, unexpected(200)),
        row(204, false, unexpected(204)),
        row(299, false, unexpected(299)),
        row(400, false, DeadLetter("rejected", "status", Some(400), 1)),
        row(500, true, Delivered(2)),
    ]
}

/// The topics: of the table, of the stage with `accept`, of all stages that hold; and the DLQ of all.
struct Names {
    main: String,
    accept: String,
    held: String,
    dlq: String,
}

/// A stage of its own for an answer that holds it, or for a receiver that is not there: name, URL, cause or code.
type Apart = (String, String, &'static str);

/// They all read the one record of one topic.
fn holding(main: &str, address: std::net::SocketAddr) -> Vec<Apart> {
    let mut holds: Vec<Apart> = HOLDS
        .iter()
        .map(|(status, cause)| {
            (format!("{main}-{status}"), format!("http://{address}/hold/{status}"), *cause)
        })
        .collect();
    holds.push((format!("{main}-disable"), format!("http://{address}/hold/disable"), "disabled"));
    holds.push((format!("{main}-tls"), format!("https://{address}/hold/tls"), "tls"));
    holds
}

/// Nobody listens there; and a name that no resolver can be asked for.
fn nowhere(main: &str) -> Vec<Apart> {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let no_name = format!("http://{}.invalid/hook", "x".repeat(64));
    vec![
        (format!("{main}-refused"), format!("http://{closed}/hook"), "connect"),
        (format!("{main}-no-name"), no_name, "dns"),
    ]
}

fn site(run: &Run, names: &Names, raw: &Raw, apart: &[&Apart]) -> Site {
    let retry = format!(
        "    breaker: none\n    timeout: 1s\n    retry_after_max: 3s\nretry: {{ max_attempts: {ATTEMPTS}, backoff: fixed, \
         initial_delay: 100ms }}\ndlq: {}\n",
        names.dlq
    );
    let webhook = |topic: &str, url: &str, more: &str| {
        format!("source: {topic}\nhandler:\n  webhook:\n    url: {url}\n{more}{retry}")
    };
    let url = format!("http://{}/hook", raw.address);
    let mut site = Site::new(run, shared())
        .pipeline(&names.main, &webhook(&names.main, &url, ""))
        .pipeline(&names.accept, &webhook(&names.accept, &url, "    accept: [202, 402]\n"));
    for (name, url, _) in apart {
        site = site.pipeline(name, &webhook(&names.held, url, ""));
    }
    site
}

fn script(rows: &[Row]) -> impl Fn(&Asked, usize) -> Act + Send + Sync + 'static {
    let acts: HashMap<String, (Act, bool)> =
        rows.iter().map(|row| (row.name.clone(), (row.act.clone(), row.once))).collect();
    move |asked, before| {
        let told = asked.target.strip_prefix("/hold/");
        if let Some(status) = told.and_then(|status| status.parse().ok()) {
            return answer(status, "location: /elsewhere\r\n");
        }
        match (told, acts.get(&asked.body)) {
            (Some(_), _) => answer(500, "webhook-delivery: disable\r\n"),
            (None, Some((act, once))) if !once || before == 0 => act.clone(),
            (None, _) => answer(202, ""),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_row_of_the_response_table_ends_as_the_contract_says() {
    let (run, kafka) = (Run::new("answers"), shared());
    let mut rows = [answers(), faults(), bodies()].into_iter().flatten().collect::<Vec<_>>();
    let main = rows.len();
    rows.extend(accepting());
    let raw = Raw::start(&run, script(&rows)).await;
    let topic = |suffix: &str| format!("{}{suffix}", run.name);
    let names = Names { main: topic(""), accept: topic("-accept"), held: topic("-held"), dlq: topic(".dlq") };
    for topic in [&names.main, &names.accept, &names.held, &names.dlq] {
        kafka.create(topic, 1, &[]).await;
    }
    let (holds, nowhere) = (holding(&names.main, raw.address), nowhere(&names.main));
    let apart: Vec<&Apart> = holds.iter().chain(&nowhere).collect();
    let weir = site(&run, &names, &raw, &apart).start("one").await;
    for (topic, rows) in [(&names.main, &rows[..main]), (&names.accept, &rows[main..])] {
        let records: Vec<(&str, &str)> =
            rows.iter().map(|row| (row.name.as_str(), row.name.as_str())).collect();
        kafka.write(topic, &records);
    }
    kafka.write(&names.held, &[("k", "held")]);

    let all = (rows.len() + nowhere.len()) as f64;
    let done = || async { weir.metric("weir_events_completed_total", &[]).await >= all };
    until("an outcome for each row", Duration::from_secs(60), done).await;
    for (name, _, cause) in &holds {
        let labels = [("pipeline", name.as_str()), ("cause", *cause)];
        let held = || async { weir.metric("weir_stage_held", &labels).await > 0.0 };
        until(&format!("{name} holds for {cause}"), Duration::from_secs(30), held).await;
    }
    let dead = kafka.read(&run, &names.dlq);
    let wrong = judge(&rows, &raw.asked(), &dead);
    assert!(wrong.is_empty(), "{wrong}");
    for (name, _, code) in &nowhere {
        let dead = dead.iter().find(|dead| dead.header("weir-pipeline") == Some(name)).unwrap();
        let told = ["weir-reason", "weir-code", "weir-attempts"].map(|header| dead.header(header));
        assert_eq!(told, [Some("exhausted"), Some(*code), Some("3")], "{name}");
    }
    let expected = rows.iter().filter(|row| matches!(row.end, DeadLetter(..))).count();
    assert_eq!(dead.len(), expected + nowhere.len(), "of those that hold there is none");
    kept(&run, &names, &holds, &raw.asked()).await;
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
}

/// What is held was asked for once, went nowhere else, and is not committed.
async fn kept(run: &Run, names: &Names, holds: &[Apart], asked: &[Asked]) {
    assert!(asked.iter().all(|asked| asked.target != "/elsewhere"), "a redirect was followed");
    for (name, url, _) in holds {
        let requests = asked.iter().filter(|asked| url.ends_with(&asked.target)).count();
        let expected = usize::from(url.starts_with("http:"));
        assert_eq!(requests, expected, "{name}: held after its first attempt");
        let group = format!("weir.{name}");
        let watched = Watched { kafka: shared(), group: &group, topic: &names.held, partitions: 1 };
        let committed = watched.committed(run).await;
        assert!(committed.iter().all(|sample| sample.offset == 0), "{name}: {committed:?}");
    }
}

/// Every row that ended otherwise, one line each.
fn judge(rows: &[Row], asked: &[Asked], dead: &[Dead]) -> String {
    let mut wrong = String::new();
    for row in rows {
        let times: Vec<Duration> =
            asked.iter().filter(|asked| asked.body == row.name).map(|asked| asked.at).collect();
        let letters: Vec<&Dead> =
            dead.iter().filter(|dead| dead.key.as_deref() == Some(row.name.as_bytes())).collect();
        let found = match letters[..] {
            [] => format!("{:?}", Delivered(times.len())),
            [letter] => {
                let header = |name| letter.header(name).unwrap_or_default().to_owned();
                let status: Option<u16> = letter.header("weir-status").and_then(|status| status.parse().ok());
                let attempts = header("weir-attempts");
                assert_eq!(attempts, times.len().to_string(), "{}: counted and seen", row.name);
                format!(
                    "Dead({:?}, {:?}, {status:?}, {attempts})",
                    header("weir-reason"),
                    header("weir-code")
                )
            }
            _ => format!("{} dead letters", letters.len()),
        };
        let expected = format!("{:?}", row.end);
        if found != expected {
            writeln!(wrong, "{}: wanted {expected}, found {found}", row.name).unwrap();
        }
        // The longer of the two waits; what is rubbish is ignored, and too long a one is cut.
        let (least, most) = match row.name.as_str() {
            "after-2" => (2.0, 5.0),
            "after-too-long" => (3.0, 6.0),
            name if name.starts_with("after-") => (0.1, 2.0),
            _ => continue,
        };
        let waited =
            times.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).next().unwrap_or_default();
        if !(least..most).contains(&waited) {
            writeln!(wrong, "{}: waited {waited} s", row.name).unwrap();
        }
    }
    wrong
}
