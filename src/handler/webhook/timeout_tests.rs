//! Each limit of an attempt by itself: which step runs out, of what, and in which words.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::authorities::authority;
use super::testing::{Server, Step, attempt, egress, event, webhook_by};
use crate::outcome::{Class, Code};
use crate::telemetry::clock;

/// An address that takes no further connection: its backlog is full, so that a new one waits.
struct Full {
    address: SocketAddr,
    _listener: tokio::net::TcpListener,
    _waiting: Vec<TcpStream>,
}

impl Full {
    async fn new() -> Full {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut waiting = Vec::new();
        while let Ok(stream) = timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
            waiting.push(stream.unwrap());
        }
        assert!(waiting.len() < 10, "a backlog of one takes two or three");
        Full { address, _listener: listener, _waiting: waiting }
    }
}

/// Where an attempt stops and waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stall {
    /// The system's resolver answers nobody.
    Lookup,
    /// The receiver takes no connection.
    Connection,
    /// The proxy does not answer for the tunnel.
    Tunnel,
    /// The receiver says nothing in the handshake.
    Handshake,
    /// The receiver does not take the body.
    Body,
    /// The receiver does not answer.
    Answer,
}

/// What an attempt under these limits says, without what it was doing.
async fn said(stall: Stall, mut limits: Value) -> String {
    let (full, silent) = (Full::new().await, Server::start(vec![vec![Step::Hang]]).await);
    let known = authority("known");
    let names = [("here.test", &["127.0.0.1"][..])];
    let mut egress = egress(&json!({}), &names).with_roots(known.roots());
    let port = silent.address.port();
    let (full, here) = (full.address.port(), format!("here.test:{port}"));
    let url = match stall {
        Stall::Lookup => "http://unknown.test/".to_owned(),
        Stall::Connection => format!("http://here.test:{full}/"),
        Stall::Tunnel | Stall::Handshake => format!("https://{here}/"),
        Stall::Body | Stall::Answer => format!("http://{here}/"),
    };
    if stall == Stall::Lookup {
        egress = egress.without_lookups();
    }
    let keys = limits.as_object_mut().unwrap();
    if stall == Stall::Tunnel {
        keys.insert("proxy".to_owned(), format!("http://{here}").into());
    }
    keys.insert("max_body".to_owned(), "32MiB".into());
    // More than two sockets hold.
    let body = if stall == Stall::Body { vec![b'x'; 24 << 20] } else { b"{}".to_vec() };
    let handler = webhook_by(&url, &limits, egress);
    let start = clock::now();
    let failure = attempt(&handler, &event(&body, &[])).await.unwrap_err();
    assert_eq!((failure.code, failure.class), (Code::Timeout, Class::Retry { after: None }), "{failure:?}");
    let took = clock::now() - start;
    assert!((Duration::from_millis(60)..Duration::from_secs(5)).contains(&took), "{stall:?}: {took:?}");
    let (_, said) = failure.message.split_once(": ").unwrap();
    said.to_owned()
}

/// Limits of ten seconds, but for this one.
fn only(key: &str, limit: &str) -> Value {
    let mut limits = json!({ "timeout": "10s", "timeouts": { "dns": "10s", "connect": "10s", "tls": "10s", "first_byte": "10s" } });
    let block = if key == "timeout" { &mut limits } else { &mut limits["timeouts"] };
    block[key] = limit.into();
    limits
}

#[tokio::test]
async fn each_step_has_a_limit_of_its_own() {
    for (stall, key, phase) in [
        (Stall::Lookup, "dns", "dns"),
        (Stall::Connection, "connect", "connect"),
        (Stall::Tunnel, "connect", "connect"),
        (Stall::Handshake, "tls", "tls"),
        (Stall::Body, "first_byte", "write"),
        (Stall::Answer, "first_byte", "first_byte"),
    ] {
        let said = said(stall, only(key, "70ms")).await;
        assert_eq!(said, format!("no answer within 70ms ({phase})"), "{stall:?}");
    }
}

#[tokio::test]
async fn the_total_ends_each_step_and_says_in_which() {
    for (stall, phase) in [
        (Stall::Lookup, "dns"),
        (Stall::Connection, "connect"),
        (Stall::Tunnel, "connect"),
        (Stall::Handshake, "tls"),
        (Stall::Body, "write"),
        (Stall::Answer, "first_byte"),
    ] {
        let said = said(stall, only("timeout", "80ms")).await;
        assert_eq!(said, format!("no answer within 80ms ({phase})"), "{stall:?}");
    }
}
