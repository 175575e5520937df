//! Through a proxy on loopback: what it sees, and what it may say.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tokio::io::{AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::authorities::{Serve, authority, names};
use super::compile::compile;
use super::proxy::Proxy;
use super::testing::{
    OK, Server, Step, attempt, context, egress, event, header, read_request, references, serve, webhook_by,
};
use super::{Spec, Webhook};
use crate::outcome::{Class, Code, Failure, HoldCause};

/// A proxy that gives tunnels to this address, whatever they are asked for; what it was asked, and its port.
async fn tunnels(to: std::net::SocketAddr) -> (u16, tokio::sync::mpsc::Receiver<String>, DropGuard) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (asked, heard) = tokio::sync::mpsc::channel(16);
    let stop = CancellationToken::new();
    TaskTracker::new().spawn(stop.clone().run_until_cancelled_owned(async move {
        loop {
            let (mut tcp, _) = listener.accept().await.unwrap();
            let head = read_request(&mut tcp).await.unwrap();
            asked.send(String::from_utf8(head).unwrap()).await.unwrap();
            tcp.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
            let mut there = TcpStream::connect(to).await.unwrap();
            copy_bidirectional(&mut tcp, &mut there).await.ok();
        }
    }));
    (port, heard, stop.drop_guard())
}

fn through(url: &str, proxy: &str) -> Webhook {
    let egress = egress(&json!({}), &[("proxy.test", &["127.0.0.1"])]);
    webhook_by(url, &json!({ "proxy": proxy, "timeout": "2s" }), egress)
}

#[tokio::test]
async fn a_tunnel_carries_tls_to_the_receiver_and_the_proxy_resolves_its_name() {
    let known = authority("known");
    let acceptor = tokio_rustls::TlsAcceptor::from(Serve::new(names(&["hooks.test"]), Some(&known)).config());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, mut heard, _stop) = tunnels(listener.local_addr().unwrap()).await;
    let receive = async {
        let (tcp, _) = listener.accept().await.unwrap();
        let mut stream = acceptor.accept(tcp).await.unwrap();
        for _ in 0..2 {
            let request = String::from_utf8(read_request(&mut stream).await.unwrap()).unwrap();
            assert!(request.starts_with("POST /v1 HTTP/1.1\r\n"), "{request}");
            assert_eq!(header(&request, "host"), Some("hooks.test:8443"));
            assert_eq!(header(&request, "proxy-authorization"), None, "the receiver does not see it");
            stream.write_all(OK.as_bytes()).await.unwrap();
        }
    };
    // The receiver's name resolves nowhere here.
    let egress = egress(&json!({}), &[("proxy.test", &["127.0.0.1"])]).with_roots(known.roots());
    let proxy = format!("http://us%65r:${{secret:token}}@proxy.test:{port}");
    let handler = webhook_by("https://hooks.test:8443/v1", &json!({ "proxy": proxy }), egress);
    let event = event(b"{}", &[]);
    let ask = async {
        attempt(&handler, &event).await.unwrap();
        attempt(&handler, &event).await.unwrap();
    };
    tokio::join!(receive, ask);
    let head = heard.recv().await.unwrap();
    assert!(head.starts_with("CONNECT hooks.test:8443 HTTP/1.1\r\n"), "{head}");
    assert_eq!(header(&head, "proxy-authorization"), Some("Basic dXNlcjpjNG40cnk="));
    assert!(heard.try_recv().is_err(), "both requests went through one tunnel");
    assert!(!format!("{handler:?}").contains("c4n4ry"));
}

#[tokio::test]
async fn a_plain_receiver_is_asked_for_by_its_whole_url() {
    let server = Server::start(vec![serve(OK)]).await;
    let handler =
        through("http://hooks.test/v1/a?b=c", &format!("http://proxy.test:{}", server.address.port()));
    for _ in 0..2 {
        attempt(&handler, &event(b"{}", &[])).await.unwrap();
    }
    assert_eq!(server.connections(), 1);
    for request in server.requests() {
        let request = String::from_utf8(request).unwrap();
        assert!(request.starts_with("POST http://hooks.test/v1/a?b=c HTTP/1.1\r\n"), "{request}");
        assert_eq!(header(&request, "host"), Some("hooks.test"));
    }
}

/// One attempt at a receiver behind a proxy that plays this script; its failure.
async fn refused(script: Vec<Step>) -> Failure {
    let server = Server::start(vec![script]).await;
    let handler = through("https://hooks.test/v1", &format!("http://proxy.test:{}", server.address.port()));
    attempt(&handler, &event(b"{}", &[])).await.unwrap_err()
}

#[tokio::test]
async fn what_a_proxy_refuses_is_told_from_what_the_receiver_does() {
    let says = |text: &str| vec![Step::Read, Step::Write(text.as_bytes().to_vec()), Step::Hang];
    let credentials = refused(says("HTTP/1.1 407 Who\r\ncontent-length: 0\r\n\r\n")).await;
    assert_eq!((credentials.code, &credentials.class), (Code::Auth, &Class::Hold(HoldCause::Auth)));
    assert!(credentials.message.contains("the proxy refuses the credentials"), "{credentials:?}");
    let busy = refused(says("HTTP/1.1 503 Busy\r\ncontent-length: 9\r\n\r\n")).await;
    assert_eq!((busy.code, &busy.class), (Code::Connect, &Class::Retry { after: None }));
    assert!(busy.message.contains("the proxy gave no tunnel: it answered 503"), "{busy:?}");
    for (script, code) in [
        (says("SSH-2.0\r\n\r\n"), Code::Connect),
        (says("HTTP/1.1 200 OK\r\n\r\nhello"), Code::Protocol),
        (vec![Step::Read, Step::Reset], Code::Connect),
        (vec![Step::Read, Step::Hang], Code::Timeout),
    ] {
        let failure = refused(script).await;
        assert_eq!(failure.code, code, "{failure:?}");
        // The attempt's own 2 s, and not the 5 s that the step might have had.
        assert!(code != Code::Timeout || failure.message.contains("within 2s (connect)"), "{failure:?}");
    }
}

/// The guard judges what is dialled: the proxy, and not the receiver.
#[tokio::test]
async fn the_guard_is_for_the_proxys_address() {
    let server = Server::start(vec![serve(OK)]).await;
    let egress = egress(&json!({ "deny_cidrs": ["127.0.0.0/8"] }), &[("proxy.test", &["127.0.0.1"])]);
    let proxy = format!("http://proxy.test:{}", server.address.port());
    let handler = webhook_by("http://203.0.113.7/v1", &json!({ "proxy": proxy }), egress);
    let failure = attempt(&handler, &event(b"{}", &[])).await.unwrap_err();
    assert_eq!(failure.class, Class::Hold(HoldCause::BlockedAddress), "{failure:?}");
    assert_eq!(server.connections(), 0);
    let handler = through("http://169.254.169.254/v1", &proxy);
    attempt(&handler, &event(b"{}", &[])).await.unwrap();
}

/// A secret is taken as it is, whatever a URL would make of it.
#[test]
fn what_a_reference_stands_for_is_taken_as_it_is() {
    let mut references = references();
    references.secrets.insert("odd".to_owned(), "p%41/ss?#@:".to_owned());
    references.secrets.insert("whole".to_owned(), "http://us%65r:p%41@proxy.test:3128".to_owned());
    for (written, pair) in
        [("http://user:${secret:odd}@proxy.test:3128", "user:p%41/ss?#@:"), ("${secret:whole}", "user:pA")]
    {
        let proxy = Proxy::compile(written, &references).unwrap();
        let expected = format!("Basic {}", STANDARD.encode(pair));
        assert_eq!((proxy.credentials.unwrap().to_str().unwrap(), proxy.port), (expected.as_str(), 3128));
    }
}

#[test]
fn what_is_no_proxy_is_refused_where_it_is_written() {
    for (proxy, message) in [
        ("proxy:3128", "its scheme is not http"),
        ("https://proxy.test", "its scheme is not http"),
        ("socks5://proxy.test", "its scheme is not http"),
        ("http://proxy.test/path", "it has a path"),
        ("http://{{ .host }}:3128", "it is not a URL"),
        ("http://user:password@proxy.test", "credentials do not stand in the file"),
        ("http://${secret:token}:plain@proxy.test", "credentials do not stand in the file"),
        ("http://us%3Aer:${secret:token}@proxy.test", "has a `:`"),
        ("${var:nope}", "nope"),
    ] {
        let block = json!({ "url": "https://h.test/v1", "proxy": proxy });
        let spec: Spec = serde_json::from_value(block).unwrap();
        let problems = compile(&spec, &context(egress(&json!({}), &[])), &references()).unwrap_err();
        let [problem] = problems.as_slice() else { panic!("{problems:?}") };
        assert_eq!(problem.path, "webhook.proxy");
        assert!(problem.message.contains(message), "{proxy}: {problem:?}");
        assert!(!problem.message.contains("c4n4ry"));
    }
}
