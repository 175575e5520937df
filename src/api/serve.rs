//! Serving a router on a bound socket: a bound on connections, a time limit for request heads, and a stop that ends within
//! its deadline.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How many connections are open at once; the next one waits in the system's queue.
const CONNECTIONS: usize = 256;
/// How long a client may take to send the head of a request, and how long a kept-alive connection may be idle.
const HEAD_LIMIT: Duration = Duration::from_secs(10);
/// How long to wait when the system can open no more sockets.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers requests until `stop`. Then no connection is accepted, those under way finish their request, and what is left
/// after `grace` is cut.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken, grace: Duration) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let connections = TaskTracker::new();
    let cut = CancellationToken::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            // Cancelling loses nothing: a permit is given back, and a connection that was not accepted stays in the queue.
            accepted = accept(&listener, &room) => accepted,
        };
        let Some((stream, permit)) = accepted else {
            if timeout(ACCEPT_PAUSE, stop.cancelled()).await.is_ok() {
                break;
            }
            continue;
        };
        let (router, stop, cut) = (router.clone(), stop.clone(), cut.clone());
        connections.spawn(async move {
            let _permit = permit;
            tokio::select! {
                biased;
                // Cutting is what this arm is for.
                () = cut.cancelled() => {}
                () = connection(stream, router, stop) => {}
            }
        });
    }
    connections.close();
    if timeout(grace, connections.wait()).await.is_err() {
        cut.cancel();
        connections.wait().await;
    }
}

/// The next connection, once there is room for it; `None` where the system refuses.
async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(room).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, permit)),
        Err(error) => {
            tracing::warn!(%error, "accepting a connection failed");
            None
        }
    }
}

/// Answers one connection's requests until it ends; after `stop` only the one under way.
async fn connection(stream: TcpStream, router: Router, stop: CancellationToken) {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_LIMIT);
    let served = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(served);
    let result = tokio::select! {
        biased;
        // The connection is not dropped here: it goes on below until its request is answered.
        () = stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
        result = served.as_mut() => result,
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended early");
    }
}
