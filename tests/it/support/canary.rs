//! A listener that nobody may connect to: it counts who does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Listens until it is dropped.
#[derive(Debug)]
pub(crate) struct Canary {
    seen: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Canary {
    /// Listens there; `None` where this machine has no such address.
    pub(crate) async fn listen(address: SocketAddr) -> Option<Canary> {
        let listener = TcpListener::bind(address).await.ok()?;
        let seen = Arc::new(AtomicUsize::new(0));
        let (count, mut tasks) = (seen.clone(), JoinSet::new());
        tasks.spawn(async move {
            while listener.accept().await.is_ok() {
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        Some(Canary { seen, _tasks: tasks })
    }

    /// How many connections there were.
    pub(crate) fn seen(&self) -> usize {
        self.seen.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn sees_a_connection() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let canary = Canary::listen(free).await.unwrap();
    assert_eq!(canary.seen(), 0);
    drop(tokio::net::TcpStream::connect(free).await.unwrap());
    crate::support::run::until("it is seen", std::time::Duration::from_secs(5), || async {
        canary.seen() == 1
    })
    .await;
}
