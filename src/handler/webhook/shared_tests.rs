//! HTTP/2 against receivers on loopback: requests share a connection, and none is sent twice that may have been looked at.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use h2::server::SendResponse;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::Webhook;
use super::authorities::{Authority, Serve, authority, names};
use super::testing::{attempt, egress, event, webhook_by};
use crate::outcome::{BodyEnd, Class, Code, HoldCause};

type Tls = TlsStream<TcpStream>;

/// A receiver of HTTP/2 whose connections are served by number.
struct Receiver {
    port: u16,
    known: Authority,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
    _stop: DropGuard,
}

impl Receiver {
    async fn start<F>(serve: impl Fn(usize, Tls, Arc<AtomicUsize>) -> F + Send + Sync + 'static) -> Receiver
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Receiver::by(Serve { alpn: &["h2", "http/1.1"], ..Serve::new(names(&["hooks.test"]), None) }, serve)
            .await
    }

    async fn by<F>(
        tls: Serve<'_>,
        serve: impl Fn(usize, Tls, Arc<AtomicUsize>) -> F + Send + Sync + 'static,
    ) -> Receiver
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let known = authority("known");
        let acceptor = TlsAcceptor::from(Serve { issuer: Some(&known), ..tls }.config());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (connections, requests) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let counts = (Arc::clone(&connections), Arc::clone(&requests));
        tasks.clone().spawn(stop.clone().run_until_cancelled_owned({
            let stop = stop.clone();
            async move {
                loop {
                    let (tcp, _) = listener.accept().await.unwrap();
                    let Ok(stream) = acceptor.accept(tcp).await else { continue };
                    let number = counts.0.fetch_add(1, Ordering::SeqCst);
                    let serve = serve(number, stream, Arc::clone(&counts.1));
                    tasks.spawn(stop.clone().run_until_cancelled_owned(serve));
                }
            }
        }));
        Receiver { port, known, connections, requests, _stop: stop.drop_guard() }
    }

    fn handler(&self, keys: &Value) -> Webhook {
        let egress = egress(&json!({}), &[("hooks.test", &["127.0.0.1"])]).with_roots(self.known.roots());
        webhook_by(&format!("https://hooks.test:{}/v1?a=b", self.port), keys, egress)
    }

    /// Connections and requests so far.
    fn seen(&self) -> (usize, usize) {
        (self.connections.load(Ordering::SeqCst), self.requests.load(Ordering::SeqCst))
    }
}

/// Answers with what it got.
async fn echo(
    request: Request<Incoming>,
    requests: Arc<AtomicUsize>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    requests.fetch_add(1, Ordering::SeqCst);
    let said = format!(
        "{:?} {} {} host:{} length:{:?}",
        request.version(),
        request.method(),
        request.uri(),
        request.headers().contains_key("host"),
        request.headers().get("content-length"),
    );
    let body = request.into_body().collect().await.unwrap().to_bytes();
    Ok(Response::builder().header("said", said).body(Full::new(body)).unwrap())
}

/// hyper's server.
async fn hyper(stream: Tls, requests: Arc<AtomicUsize>) {
    let service = service_fn(move |request| echo(request, Arc::clone(&requests)));
    let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    builder.serve_connection(TokioIo::new(stream), service).await.unwrap_or_default();
}

/// Serves each request by its number on the connection.
async fn each<F>(stream: Tls, requests: Arc<AtomicUsize>, answer: impl Fn(usize, SendResponse<Bytes>) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let tasks = TaskTracker::new();
    let mut connection = h2::server::handshake(stream).await.unwrap();
    let mut number = 0;
    while let Some(Ok((_, respond))) = connection.accept().await {
        requests.fetch_add(1, Ordering::SeqCst);
        tasks.spawn(answer(number, respond));
        number += 1;
    }
}

fn ok(mut respond: SendResponse<Bytes>) {
    respond.send_response(Response::new(()), true).unwrap();
}

#[tokio::test]
async fn requests_share_one_connection_from_the_first_on() {
    let receiver = Receiver::start(|_, stream, requests| hyper(stream, requests)).await;
    let handler = receiver.handler(&json!({}));
    let large = vec![b'x'; 200_000];
    let events: Vec<_> = (0..16).map(|n| event(if n % 2 == 0 { b"{}" } else { &large }, &[])).collect();
    let answers = futures_util::future::join_all(events.iter().map(|event| attempt(&handler, event))).await;
    for (answer, sent) in answers.into_iter().zip(&events) {
        let answer = answer.unwrap();
        let crate::event::Body::Raw(Some(sent)) = &sent.body else { panic!() };
        let url = format!("https://hooks.test:{}/v1?a=b", receiver.port);
        let said = format!("HTTP/2.0 POST {url} host:false length:Some({:?})", sent.len().to_string());
        assert_eq!(answer.header("said"), Some(said.as_str()));
        let whole = sent.len() <= 65_536;
        assert_eq!(answer.body_end, if whole { BodyEnd::Complete } else { BodyEnd::TooLong });
        assert_eq!(answer.body, sent.slice(..sent.len().min(65_536)));
    }
    assert_eq!(receiver.seen(), (1, 16));
    assert_eq!(handler.wire.pool.resting(), 1);
    handler.wire.pool.tidy(crate::telemetry::clock::now() + super::client::MAX_REST);
    assert_eq!(handler.wire.pool.resting(), 0, "nobody has asked it for too long");
}

#[tokio::test]
async fn who_speaks_http_1_only_is_spoken_to_so() {
    for alpn in [&["http/1.1"][..], &[]] {
        let tls = Serve { alpn, ..Serve::new(names(&["hooks.test"]), None) };
        let receiver = Receiver::by(tls, |_, stream, requests| async move {
            let service = service_fn(move |request| echo(request, Arc::clone(&requests)));
            let builder = hyper::server::conn::http1::Builder::new();
            builder.serve_connection(TokioIo::new(stream), service).await.unwrap_or_default();
        })
        .await;
        let handler = receiver.handler(&json!({}));
        let event = event(b"{}", &[]);
        let answers = futures_util::future::join_all((0..4).map(|_| attempt(&handler, &event))).await;
        for answer in answers {
            let said = answer.unwrap().header("said").unwrap().to_owned();
            assert!(said.starts_with("HTTP/1.1 POST /v1?a=b host:true"), "{said}");
        }
        assert_eq!(receiver.seen(), (4, 4), "after the first none waits for another");
    }
}

#[tokio::test]
async fn a_request_that_is_refused_unread_is_sent_again_in_the_same_attempt() {
    let receiver = Receiver::start(|_, stream, requests| {
        each(stream, requests, |number, mut respond| async move {
            match number {
                0 => respond.send_reset(Reason::REFUSED_STREAM),
                _ => ok(respond),
            }
        })
    })
    .await;
    let handler = receiver.handler(&json!({}));
    attempt(&handler, &event(b"{}", &[])).await.unwrap();
    assert_eq!(receiver.seen(), (1, 2));

    let receiver = Receiver::start(|_, stream, requests| {
        each(stream, requests, |_, mut respond| async move { respond.send_reset(Reason::REFUSED_STREAM) })
    })
    .await;
    let failure = attempt(&receiver.handler(&json!({})), &event(b"{}", &[])).await.unwrap_err();
    assert_eq!((failure.code, failure.class), (Code::Reset, Class::Retry { after: None }));
    assert_eq!(receiver.seen(), (1, 3), "not for ever");
}

/// The frames up to the first request's head.
async fn read_head(stream: &mut Tls) {
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await.unwrap();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        stream.read_exact(&mut vec![0; length]).await.unwrap();
        if head[3] == 1 {
            return;
        }
    }
}

#[tokio::test]
async fn a_farewell_moves_the_requests_that_it_does_not_name_to_a_new_connection() {
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    // The last stream looked at: none.
    const GOAWAY: [u8; 17] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let receiver = Receiver::start(|number, mut stream, requests| async move {
        if number > 0 {
            return hyper(stream, requests).await;
        }
        stream.write_all(&SETTINGS).await.unwrap();
        read_head(&mut stream).await;
        stream.write_all(&GOAWAY).await.unwrap();
        stream.shutdown().await.unwrap();
    })
    .await;
    let handler = receiver.handler(&json!({}));
    attempt(&handler, &event(b"{}", &[])).await.unwrap();
    assert_eq!(receiver.seen(), (2, 1));
}

#[tokio::test]
async fn a_farewell_lets_what_is_under_way_end() {
    let receiver = Receiver::start(|_, stream, requests| async move {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let (_, respond) = connection.accept().await.unwrap().unwrap();
        requests.fetch_add(1, Ordering::SeqCst);
        connection.graceful_shutdown();
        // The farewell is on its way before the answer.
        let driven = tokio::time::timeout(Duration::from_millis(50), connection.accept()).await;
        assert!(driven.is_err(), "no other request comes over this connection");
        ok(respond);
        assert!(connection.accept().await.is_none());
    })
    .await;
    let handler = receiver.handler(&json!({}));
    for number in 1..=2 {
        attempt(&handler, &event(b"{}", &[])).await.unwrap();
        assert_eq!(receiver.seen(), (number, number));
    }
}

#[tokio::test]
async fn what_may_have_been_looked_at_is_not_sent_again() {
    let receiver = Receiver::start(|number, stream, requests| async move {
        if number > 0 {
            return hyper(stream, requests).await;
        }
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let accepted = connection.accept().await.unwrap().unwrap();
        requests.fetch_add(1, Ordering::SeqCst);
        drop(accepted);
    })
    .await;
    let handler = receiver.handler(&json!({}));
    let failure = attempt(&handler, &event(b"{}", &[])).await.unwrap_err();
    assert_eq!((failure.code, failure.class), (Code::Reset, Class::Retry { after: None }), "{failure:?}");
    assert_eq!(receiver.seen(), (1, 1));
    attempt(&handler, &event(b"{}", &[])).await.unwrap();
    assert_eq!(receiver.seen(), (2, 2), "the next attempt has a new connection");
}

#[tokio::test]
async fn the_limits_hold_and_a_connection_that_met_one_is_not_asked_again() {
    let receiver = Receiver::start(|_, stream, requests| {
        each(stream, requests, |_, respond| async move {
            std::future::pending::<()>().await;
            drop(respond);
        })
    })
    .await;
    let handler = receiver.handler(&json!({ "timeouts": { "first_byte": "100ms" } }));
    for connections in 1..=2 {
        let failure = attempt(&handler, &event(b"{}", &[])).await.unwrap_err();
        assert_eq!(failure.code, Code::Timeout);
        assert!(failure.message.ends_with("within 100ms (first_byte)"), "{failure:?}");
        assert_eq!(receiver.seen(), (connections, connections));
    }

    let receiver = Receiver::start(|_, stream, requests| {
        each(stream, requests, |_, mut respond| async move {
            let mut body = respond.send_response(Response::new(()), false).unwrap();
            body.send_data(Bytes::from_static(b"half"), false).unwrap();
            std::future::pending::<()>().await;
        })
    })
    .await;
    let handler = receiver.handler(&json!({ "timeout": "200ms" }));
    let answer = attempt(&handler, &event(b"{}", &[])).await.unwrap();
    assert_eq!((&answer.body[..], answer.body_end), (&b"half"[..], BodyEnd::BrokenOff));
    handler.wire.pool.tidy(crate::telemetry::clock::now());
    assert_eq!(handler.wire.pool.resting(), 0);
}

#[tokio::test]
async fn no_more_streams_are_opened_than_the_receiver_takes() {
    let receiver = Receiver::start(|_, stream, requests| async move {
        let service = service_fn(move |request| echo(request, Arc::clone(&requests)));
        let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        builder.max_concurrent_streams(2);
        builder.serve_connection(TokioIo::new(stream), service).await.unwrap_or_default();
    })
    .await;
    let handler = receiver.handler(&json!({}));
    let event = event(b"{}", &[]);
    let answers = futures_util::future::join_all((0..32).map(|_| attempt(&handler, &event))).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(receiver.seen(), (1, 32));
}

#[tokio::test]
async fn a_certificate_that_is_missed_holds_over_http_2_too() {
    let clients = authority("clients");
    let tls = Serve { alpn: &["h2"], clients: Some(&clients), ..Serve::new(names(&["hooks.test"]), None) };
    let receiver = Receiver::by(tls, |_, stream, requests| hyper(stream, requests)).await;
    let failure = attempt(&receiver.handler(&json!({})), &event(b"{}", &[])).await.unwrap_err();
    assert_eq!((failure.code, failure.class), (Code::Tls, Class::Hold(HoldCause::Tls)), "{failure:?}");
}
