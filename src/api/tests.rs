//! The surface over a real socket.

use super::*;
use crate::outcome::HoldCause;
use crate::runtime::reload::{Reloader, Waiting};
use crate::runtime::status::{Counts, Health, Hold, KafkaStatus, PipelineStatus, StageStatus, Sync};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::task::TaskTracker;

/// Nothing to look back at.
pub(super) fn nothing_past() -> Arc<look_back::Past> {
    let none = crate::spec::runtime::load(None, &BTreeMap::new(), &[], &mut Vec::new()).unwrap();
    Arc::new(look_back::Past::new(Arc::new(none), BTreeMap::new()))
}

struct Running {
    address: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
    report: Arc<Mutex<StatusReport>>,
    metrics: Arc<Metrics>,
}

async fn running(auth: bool) -> Running {
    let report = Arc::new(Mutex::new(StatusReport::default()));
    let metrics = Metrics::new();
    let shared = Arc::clone(&report);
    let surface = Surface {
        metrics: Arc::clone(&metrics),
        status: Arc::new(move || shared.lock().unwrap().clone()),
        auth,
        registry: None,
        reloader: Reloader::deaf(),
        history: History::default(),
        waiting: Waiting::default(),
        past: nothing_past(),
    };
    let api = build("127.0.0.1:0".parse().unwrap(), surface).await.unwrap();
    let (address, stop, tasks) = (api.address(), CancellationToken::new(), TaskTracker::new());
    tasks.spawn(api.run(stop.clone(), Duration::from_millis(200)));
    tasks.close();
    Running { address, stop, tasks, report, metrics }
}

impl Running {
    async fn ask(&self, head: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(format!("{head}\r\nconnection: close\r\n\r\n").as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let status = text.split(' ').nth(1).unwrap().parse().unwrap();
        (status, text.split_once("\r\n\r\n").unwrap().1.to_owned())
    }

    async fn get(&self, path: &str) -> (u16, String) {
        self.ask(&format!("GET {path} HTTP/1.1\r\nhost: localhost:1")).await
    }

    async fn json(&self, path: &str) -> (u16, Value) {
        let (status, body) = self.get(path).await;
        (status, serde_json::from_str(&body).unwrap())
    }
}

fn failing() -> StatusReport {
    let hold = Hold { cause: HoldCause::Breaker, message: "billing answers 503".into(), since: 1 };
    let stage = StageStatus {
        stage: "order-billing".into(),
        health: Health::Failing,
        holds: vec![hold],
        partitions: Vec::new(),
        in_flight: 0,
        retries_waiting: 3,
        counts: Counts::default(),
    };
    let pipeline = PipelineStatus {
        sync: Sync::Synced,
        why: None,
        pipeline: "order-billing".into(),
        revision: "5b1e20c".into(),
        commit: None,
        health: Health::Failing,
        stages: vec![stage],
    };
    StatusReport {
        files_read: true,
        clusters: BTreeMap::from([(
            "default".to_owned(),
            KafkaStatus { up: Some(false), cluster_id: "x".into(), nodes: 0 },
        )]),
        pipelines: vec![pipeline],
        ..StatusReport::default()
    }
}

#[tokio::test]
async fn ready_means_that_files_were_read_and_no_drain_runs_and_nothing_else() {
    let running = running(false).await;
    assert_eq!(running.get("/livez").await, (200, "ok\n".into()));
    assert_eq!(running.get("/readyz").await.0, 503, "before the files are read");
    *running.report.lock().unwrap() = failing();
    let (status, body) = running.json("/readyz").await;
    assert_eq!(status, 200, "a held stage and a Kafka outage: {body}");
    let stage = serde_json::json!({ "stage": "order-billing", "health": "failing", "holds": ["breaker"] });
    assert_eq!(body["stages"][0], stage);
    running.report.lock().unwrap().draining = true;
    assert_eq!(running.get("/readyz").await.0, 503);
    assert_eq!(running.get("/livez").await.0, 200);
}

#[tokio::test]
async fn health_names_the_components_and_keeps_them_to_itself_under_auth() {
    let open = running(false).await;
    assert_eq!(open.json("/api/health").await.1["status"], "ok");
    *open.report.lock().unwrap() = failing();
    let (status, body) = open.json("/api/health").await;
    assert_eq!((status, &body["status"], &body["service"]), (200, &"down".into(), &"weir".into()));
    assert_eq!(body["components"]["kafka"]["status"], "DOWN");
    assert_eq!(body["components"]["pipelines"]["order-billing"]["health"], "failing");
    let hold = &body["components"]["pipelines"]["order-billing"]["holds"][0];
    assert_eq!((&hold["stage"], &hold["cause"]), (&"order-billing".into(), &"breaker".into()), "{hold}");
    assert!(hold["message"].as_str().is_some_and(|message| !message.is_empty()), "{hold}");
    let set = |name: &str, up| {
        let cluster = KafkaStatus { up, cluster_id: name.to_uppercase(), nodes: 3 };
        open.report.lock().unwrap().clusters.insert(name.to_owned(), cluster);
    };
    set("default", Some(true));
    assert_eq!(open.json("/api/health").await.1["status"], "degraded", "the pipeline");
    open.report.lock().unwrap().pipelines.clear();
    for (other, status, kafka) in
        [(Some(true), "ok", "UP"), (Some(false), "degraded", "DOWN"), (None, "ok", "UNKNOWN")]
    {
        set("analytics", other);
        let body = open.json("/api/health").await.1;
        let component = &body["components"]["kafka"];
        assert_eq!((&body["status"], &component["status"]), (&status.into(), &kafka.into()), "{body}");
        assert_eq!(component["details"]["clusterId"], "DEFAULT");
        let its = &component["clusters"]["analytics"];
        assert_eq!(
            (&its["details"]["clusterId"], &its["details"]["nodeCount"]),
            (&"ANALYTICS".into(), &3.into())
        );
    }
    let closed = running(true).await;
    let body = closed.json("/api/health").await.1;
    assert!(body.get("components").is_none() && body["timestamp"].as_str().unwrap().ends_with('Z'), "{body}");
}

#[tokio::test]
async fn metrics_are_text_and_requests_count_under_their_route() {
    let running = running(false).await;
    running.get("/livez").await;
    running.get("/no/such/path").await;
    let (status, text) = running.get("/metrics").await;
    assert_eq!(status, 200);
    assert!(text.contains(r#"weir_http_requests_total{route="/livez",status="2xx"} 1"#), "{text}");
    assert!(text.contains(r#"weir_http_requests_total{route="none",status="4xx"} 1"#), "{text}");
    assert_eq!(text.contains("weir_build_info"), running.metrics.encode().contains("weir_build_info"));
}

#[tokio::test]
async fn what_is_not_there_is_a_problem_document() {
    let running = running(false).await;
    let (status, body) = running.json("/api/nothing").await;
    assert_eq!((status, &body["status"], &body["title"]), (404, &404.into(), &"Not Found".into()));
    assert_eq!(running.ask("POST /livez HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0").await.0, 405);
}

#[tokio::test]
async fn a_web_page_cannot_ask_a_loopback_surface() {
    let running = running(false).await;
    for (host, origin, expected) in [
        ("localhost:7070", None, 200),
        ("127.0.0.1:7070", Some("http://localhost:7070"), 200),
        ("[::1]:7070", None, 200),
        ("rebound.example:7070", None, 403),
        ("localhost:7070", Some("https://page.example"), 403),
        ("localhost:7070", Some("null"), 403),
        ("localhost.example", None, 403),
        ("", None, 403),
    ] {
        let origin = origin.map_or(String::new(), |origin| format!("\r\norigin: {origin}"));
        let head = format!("GET /livez HTTP/1.1\r\nhost: {host}{origin}");
        assert_eq!(running.ask(&head).await.0, expected, "{head}");
    }
}

#[tokio::test]
async fn a_public_address_without_auth_is_refused_before_binding() {
    let surface = Surface {
        metrics: Metrics::new(),
        status: Arc::new(StatusReport::default),
        auth: false,
        registry: None,
        reloader: Reloader::deaf(),
        history: History::default(),
        waiting: Waiting::default(),
        past: nothing_past(),
    };
    let refused = build("0.0.0.0:0".parse().unwrap(), surface).await.unwrap_err();
    assert!(matches!(refused, ApiError::PublicWithoutAuth(_)), "{refused}");
}

#[tokio::test]
async fn stop_cuts_a_connection_that_will_not_end() {
    let running = running(false).await;
    let mut slow = TcpStream::connect(running.address).await.unwrap();
    slow.write_all(b"GET /livez HTTP/1.1\r\nhost: loc").await.unwrap();
    // Asked and answered after it: the slow connection has been accepted by now.
    running.get("/livez").await;
    running.stop.cancel();
    tokio::time::timeout(Duration::from_secs(5), running.tasks.wait()).await.unwrap();
    assert!(TcpStream::connect(running.address).await.is_err(), "nobody listens any more");
}
