//! Webhooks through a proxy that is not ours (`proxy.py`). Neither receiver can be reached in another way: its address is one
//! that the guard refuses, and the proxy's is not.

use std::time::Duration;

use rdkafka::message::OwnedHeaders;

use crate::dead_letters::send;
use crate::delivery::Stage;
use crate::support::forward::ForwardProxy;
use crate::support::receiver::{Receiver, status};
use crate::support::run::until;
use crate::support::secured::Authority;
use crate::support::weir::Weir;

/// Where the receivers are; the proxy is in another network.
const EGRESS: &str = "egress: { deny_cidrs: [127.0.0.0/29] }\n";
const PROXY: &str = "127.0.0.9";
const SOON: Duration = Duration::from_secs(30);

async fn held(weir: &Weir, pipeline: &str, cause: &str) {
    let holds =
        || async { weir.metric("weir_stage_held", &[("pipeline", pipeline), ("cause", cause)]).await > 0.0 };
    until(&format!("{pipeline} holds for {cause}"), SOON, holds).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receivers_are_reached_through_a_proxy_that_knows_the_password_and_not_without() {
    let mut stage = Stage::set("proxy", "", |_| status(200)).await;
    let authority = Authority::new();
    let sealed = Receiver::sealed(&stage.run, &authority, |_| status(200)).await;
    let proxy = ForwardProxy::start(&stage.run, PROXY, 0, "weir:word-5c1e");
    let (topic, port) = (stage.topic.clone(), proxy.port());
    let block = |url: &str, more: &str| {
        let webhook = format!("{{ url: \"{url}\", tls: {{ ca: \"${{secret:ca}}\" }}{more} }}");
        format!("source: {topic}\ndlq: {topic}.dlq\nhandler: {{ webhook: {webhook} }}\n")
    };
    let by = |secret: &str| format!(", proxy: \"http://weir:${{secret:{secret}}}@{PROXY}:{port}\"");
    let name = |of: &str| format!("{topic}-{of}");
    let mut site = stage.site.runtime(EGRESS);
    for (secret, value) in [("ca", authority.pem.as_str()), ("right", "word-5c1e"), ("wrong", "word-0000")] {
        site = site.secret(secret, value);
    }
    for (of, receiver) in [("plain", &stage.receiver), ("sealed", &sealed)] {
        let url = receiver.url();
        site = site
            .pipeline(&name(of), &block(&url, &by("right")))
            .pipeline(&name(&format!("{of}-wrong")), &block(&url, &by("wrong")))
            .pipeline(&name(&format!("{of}-direct")), &block(&url, ""));
    }
    // The scene's own pipeline is one of those that have no proxy.
    stage.site = site.pipeline(&topic, &block(&stage.receiver.url(), ""));
    let weir = stage.site.start("one").await;
    send(&stage, Some(b"k"), Some(b"{}"), OwnedHeaders::new(), 0);

    for of in ["plain", "sealed"] {
        let delivered = [("pipeline", &*name(of)), ("outcome", "delivered")];
        let done = || async { weir.metric("weir_events_completed_total", &delivered).await >= 1.0 };
        until(&format!("{of} is delivered"), SOON, done).await;
        held(&weir, &name(&format!("{of}-wrong")), "auth").await;
        held(&weir, &name(&format!("{of}-direct")), "blocked_address").await;
    }
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
    for receiver in [&stage.receiver, &sealed] {
        let arrivals = receiver.arrivals();
        let [arrival] = arrivals.as_slice() else { panic!("{arrivals:?}") };
        assert_eq!((arrival.target.as_str(), &arrival.body[..]), ("/hook", &b"{}"[..]));
        assert_eq!(arrival.header("proxy-authorization"), None, "the receiver does not see it");
    }
    let log = proxy.stop();
    for line in [
        format!(" - POST 127.0.0.1:{}/hook - 200 ", stage.receiver.port()),
        format!(" - CONNECT 127.0.0.1:{} - ", sealed.port()),
    ] {
        assert_eq!(log.matches(&line).count(), 1, "{line}: {log}");
    }
    assert!(log.matches("ProxyAuthenticationFailed").count() >= 2, "both wrong ones have come so far: {log}");
    assert!(stage.kafka.read(&stage.run, &format!("{topic}.dlq")).is_empty(), "held, not dead-lettered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_is_down_is_named_and_its_records_wait_for_it() {
    let mut stage = Stage::set("proxy-down", "", |_| status(200)).await;
    let proxy = ForwardProxy::start(&stage.run, PROXY, 0, "");
    let port = proxy.port();
    drop(proxy);
    let yaml = format!(
        "source: {0}\ndlq: {0}.dlq\nhandler: {{ webhook: {{ url: \"{1}\", proxy: \"http://{PROXY}:{port}\" }} }}\n\
         retry: {{ max_attempts: 6, initial_delay: 50ms, max_delay: 100ms }}\n",
        stage.topic,
        stage.receiver.url()
    );
    stage.site = stage.site.runtime(EGRESS).pipeline(&stage.topic, &yaml);
    let weir = stage.site.start("one").await;
    send(&stage, Some(b"k"), Some(b"{}"), OwnedHeaders::new(), 0);
    weir.holds("breaker").await;
    assert!(weir.metric("weir_handler_attempts_total", &[("result", "connect")]).await >= 5.0);
    let why = "no connection: the proxy cannot be reached: connection refused";
    until("the reason", SOON, || async { weir.log().contains(why) }).await;
    assert_eq!(stage.receiver.arrivals().len(), 0);

    let proxy = ForwardProxy::start(&stage.run, PROXY, port, "");
    stage.watched().all_committed_within(&stage.run, &[(0, 1)].into(), 2 * SOON).await;
    assert_eq!(weir.stop(Duration::from_secs(15)).await, 0);
    let arrivals = stage.receiver.arrivals();
    let [arrival] = arrivals.as_slice() else { panic!("{arrivals:?}") };
    assert!(arrival.attempt >= 5, "{arrival:?}");
    let line = format!(" - POST 127.0.0.1:{}/hook - 200 ", stage.receiver.port());
    let log = proxy.stop();
    assert!(log.contains(&line), "{log}");
    assert!(stage.kafka.read(&stage.run, &format!("{}.dlq", stage.topic)).is_empty());
}
