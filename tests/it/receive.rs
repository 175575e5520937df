//! `weir receive`: what its script says happens on the wire, each request is shown, and a pipeline can be tried on it.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::delivery::Stage;
use crate::support::load::Load;
use crate::support::receiver::status;
use crate::support::run::{Folder, Run};

const SOON: Duration = Duration::from_secs(20);
const SIGN: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A running receiver, and what it prints.
struct Receiving {
    child: Child,
    port: u16,
    lines: Lines<BufReader<ChildStdout>>,
    folder: Folder,
}

impl Receiving {
    async fn start(name: &str, script: &str) -> Receiving {
        Receiving::showing(name, script, "jsonl").await
    }

    async fn showing(name: &str, script: &str, form: &str) -> Receiving {
        let folder = Folder::new(name);
        let file = folder.path().join("script.yaml");
        std::fs::write(&file, script).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_weir"))
            .args(["receive", "--port", "0", "-o", form, "--script"])
            .arg(&file)
            .current_dir(folder.path())
            .env("WEIR_SECRET_SIGN", SIGN)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
        let first = timeout(SOON, said.next_line()).await.unwrap().unwrap().unwrap();
        let port = first.split("http://127.0.0.1:").nth(1).unwrap_or_else(|| panic!("{first}"));
        let port = port.split(';').next().unwrap().parse().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Receiving { child, port, lines, folder }
    }

    /// Sends a request; all that comes back until the connection ends, or how it ended.
    async fn post(&self, path: &str, headers: &str, body: &str) -> Result<String, std::io::ErrorKind> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let read = timeout(SOON, stream.read_to_string(&mut answer)).await.unwrap();
        read.map(|_| answer).map_err(|error| error.kind())
    }

    async fn line(&mut self) -> String {
        timeout(SOON, self.lines.next_line()).await.unwrap().unwrap().unwrap()
    }

    async fn next(&mut self) -> Value {
        serde_json::from_str(&self.line().await).unwrap()
    }

    async fn stop(mut self) {
        let pid = self.child.id().unwrap().to_string();
        assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let ended = timeout(SOON, self.child.wait()).await.unwrap().unwrap();
        assert_eq!(ended.code(), Some(0));
        drop(self.folder);
    }
}

const SCRIPT: &str = r#"
answers:
  - { on: { path: /twice, first: 2 }, status: 503, headers: { retry-after: "1" } }
  - { on: { contains: XBT }, status: 422, body: { error: unknown } }
  - { on: { path: /reset }, instead: reset }
  - { on: { path: /close }, instead: close }
  - { on: { path: /slow }, body: "0123456789", slow: 20B }
  - { on: { path: /late }, status: 202, after: 300ms }
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_answer_of_the_script_happens_on_the_wire_and_is_shown() {
    let run = Run::new("receive-script");
    let mut receiving = Receiving::start("receive-script", SCRIPT).await;
    for (number, wanted) in [(1, "503"), (2, "503"), (3, "200")] {
        let answer = receiving.post("/twice", "webhook-id: msg_a\r\n", "{}").await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {wanted} ")), "{answer}");
        assert_eq!(answer.contains("retry-after: 1"), wanted == "503");
        let shown = receiving.next().await;
        assert_eq!((&shown["answer"], &shown["request"]), (&wanted.into(), &number.into()), "{shown}");
    }
    let answer = receiving.post("/any", "authorization: Bearer c4n4ry\r\n", "an XBT").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 422 ") && answer.ends_with(r#"{"error":"unknown"}"#), "{answer}");
    let shown = receiving.next().await;
    assert_eq!((&shown["headers"]["authorization"], &shown["rule"]), (&"***".into(), &1.into()));
    assert_eq!((&shown["body"], &shown["signature"]), (&"an XBT".into(), &"unchecked".into()));

    assert_eq!(receiving.post("/reset", "", "").await, Err(std::io::ErrorKind::ConnectionReset));
    assert_eq!(receiving.next().await["answer"], "reset");
    assert_eq!(receiving.post("/close", "", "").await.as_deref(), Ok(""));
    assert_eq!(receiving.next().await["answer"], "close");
    let began = run.now();
    let answer = receiving.post("/slow", "", "").await.unwrap();
    assert!(answer.ends_with("0123456789"), "{answer}");
    assert!(run.now() - began >= Duration::from_millis(500), "ten bytes at twenty a second");
    let began = run.now();
    let answer = receiving.post("/late", "", "").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    assert!(run.now() - began >= Duration::from_millis(300), "it waits before it answers");
    receiving.stop().await;
}

/// Secrets that this process knows, in each place of a request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_known_secret_is_not_shown_wherever_it_stands() {
    for form in ["jsonl", "human"] {
        let mut receiving = Receiving::showing("receive-secret", "verify: \"${secret:sign}\"\n", form).await;
        let headers = format!("x-mine: {SIGN}\r\nwebhook-id: {SIGN}\r\n");
        receiving
            .post(&format!("/hook?token={SIGN}"), &headers, &format!("{{\"a\":\"{SIGN}\"}}"))
            .await
            .unwrap();
        let line = receiving.line().await;
        assert!(line.contains("/hook?token=***") && !line.contains(&SIGN[6..]), "{line}");
        receiving.stop().await;
    }
}

/// A pipeline of the real thing, signed, on a receiver that checks it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipeline_can_be_tried_on_it() {
    let script = "verify: \"${secret:sign}\"\nanswers:\n  - { on: { first: 1, chance: 50% }, status: 503 }\n";
    let mut receiving = Receiving::start("receive-pipeline", script).await;
    let mut stage = Stage::set("receive", "", |_| status(500)).await;
    let yaml = format!(
        "source: {0}\ndlq: {0}.dlq\nhandler:\n  webhook:\n    url: http://127.0.0.1:{1}/hook\n    compress: gzip\n    \
         sign: {{ secret: \"${{secret:sign}}\" }}\nretry: {{ max_attempts: 5, initial_delay: 50ms }}\n",
        stage.topic, receiving.port
    );
    stage.site = stage.site.pipeline(&stage.topic, &yaml).secret("sign", SIGN);
    let weir = stage.site.start("one").await;
    let load = Load { events: 50, keys: 50, size: 200, rate: None };
    let (_, acked) = load.produce(&stage.run, stage.kafka, &stage.topic).await;
    stage.watched().all_committed(&stage.run, &crate::delivery::ends(&acked)).await;
    assert_eq!(weir.metric("weir_events_completed_total", &[("outcome", "delivered")]).await, 50.0);
    let (mut accepted, mut refused) = (0, 0);
    while accepted < 50 {
        let shown = receiving.next().await;
        assert_eq!(shown["signature"], "ok", "{shown}");
        if shown["answer"] == "200" { accepted += 1 } else { refused += 1 }
    }
    assert!(refused > 5, "the script did refuse: {refused}");
    let answer = receiving.post("/hook", "webhook-id: a\r\nwebhook-signature: v1,x\r\n", "{}").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
    receiving.stop().await;
}

#[test]
fn a_script_with_mistakes_is_refused_with_their_places() {
    let folder = Folder::new("receive-wrong");
    let file = folder.path().join("script.yaml");
    std::fs::write(&file, "answers:\n  - { statuss: 500 }\nverify: plain\n").unwrap();
    let ran = std::process::Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(["receive", "--port", "0", "--script"])
        .arg(&file)
        .current_dir(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8(ran.stderr).unwrap();
    assert_eq!(ran.status.code(), Some(78), "{said}");
    assert!(said.contains("script.yaml:2:7") && said.contains("did you mean `status`?"), "{said}");
    assert!(said.contains("script.yaml:3:9") && said.contains("${secret:"), "{said}");
}
