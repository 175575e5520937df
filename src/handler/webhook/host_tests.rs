//! What belongs to a host and to no handler: how fast and how many at once, and where its name leads.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::Spec;
use super::compile::compile;
use super::testing::{
    OK, Server, Step, attempt, context, egress, event, references, serve, webhook, webhook_by,
};
use crate::handler::Context;
use crate::outcome::Code;
use crate::telemetry::clock;

#[tokio::test]
async fn a_rate_is_shared_by_all_who_go_to_one_host() {
    let server = Server::start(vec![serve(OK)]).await;
    let egress = Arc::new(egress(&json!({}), &[]));
    let block = json!({ "url": server.url("/"), "rate": "20/s" });
    let spec: Spec = serde_json::from_value(block).unwrap();
    let context = Context { egress: Arc::clone(&egress), ..context(super::testing::egress(&json!({}), &[])) };
    let [one, other] = [(); 2].map(|()| compile(&spec, &context, &references()).unwrap());
    let (start, event) = (clock::now(), event(b"{}", &[]));
    let all = (0..6).map(|number| attempt(if number % 2 == 0 { &one } else { &other }, &event));
    assert!(futures_util::future::join_all(all).await.iter().all(Result::is_ok));
    let took = clock::now() - start;
    assert!(took >= Duration::from_millis(250), "six requests have five times 50 ms between them: {took:?}");
}

/// One handler says two at once, the other nothing: each connection is one of two.
#[tokio::test]
async fn the_requests_at_once_are_shared_by_all_who_go_to_one_host() {
    let server = Server::start(vec![serve(OK)]).await;
    let egress = Arc::new(egress(&json!({}), &[]));
    let [one, other] =
        [json!({ "url": server.url("/"), "concurrency": 2 }), json!({ "url": server.url("/") })].map(
            |block| {
                let context = Context {
                    egress: Arc::clone(&egress),
                    ..context(super::testing::egress(&json!({}), &[]))
                };
                compile(&serde_json::from_value(block).unwrap(), &context, &references()).unwrap()
            },
        );
    let event = event(b"{}", &[]);
    let all = (0..20).map(|number| attempt(if number % 2 == 0 { &one } else { &other }, &event));
    assert!(futures_util::future::join_all(all).await.iter().all(Result::is_ok));
    assert_eq!(one.wire.pool.resting() + other.wire.pool.resting(), 2);
}

#[tokio::test]
async fn a_receiver_may_ask_for_a_slower_pace() {
    let allowed = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nwebhook-allowed-rate: 600\r\n\r\n";
    let server = Server::start(vec![serve(allowed)]).await;
    let (handler, event) = (webhook(&server.url("/"), &json!({})), event(b"{}", &[]));
    let start = clock::now();
    for _ in 0..4 {
        attempt(&handler, &event).await.unwrap();
    }
    let took = clock::now() - start;
    assert!(took >= Duration::from_millis(200), "100 ms between two, from the second on: {took:?}");
}

/// H23: a name that answers otherwise the second time.
#[tokio::test]
async fn a_name_that_moves_to_a_refused_address_is_not_dialled_there() {
    let canary = Server::start_at("127.0.0.1:0", vec![serve(OK)]).await;
    let port = canary.address.port();
    let once = vec![Step::Read, Step::Write(OK.as_bytes().to_vec()), Step::Close];
    let vetted = Server::start_at(&format!("127.0.0.2:{port}"), vec![once]).await;
    let deny = json!({ "deny_cidrs": ["127.0.0.1/32"] });
    let egress = egress(&deny, &[("moves.test", &["127.0.0.2"])]);
    let handler = webhook_by(&format!("http://moves.test:{port}/"), &json!({}), egress);
    attempt(&handler, &event(b"{}", &[])).await.unwrap();
    vetted.closed(1).await;
    let names = &handler.wire.ways.egress.names;
    names.lock().unwrap().insert("moves.test".to_owned(), vec!["127.0.0.1".parse().unwrap()]);
    let failure = attempt(&handler, &event(b"{}", &[])).await.unwrap_err();
    assert_eq!(failure.code, Code::BlockedAddress, "{failure:?}");
    assert_eq!((canary.connections(), vetted.connections()), (0, 1));
}
