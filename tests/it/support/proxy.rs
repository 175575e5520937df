//! A TCP proxy in this process, for faults of the network: one in front of a broker's second listener (which is
//! advertised as the proxy's port, so that clients come back to it), or in front of anything else.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::support::run::pause;

/// What it does to connections, those that are open included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Passes everything on.
    Up,
    /// Closes what is open, and each new connection at once.
    Down,
    /// Keeps connections open and passes nothing on.
    BlackHole,
    /// As `Down`, with a reset.
    Reset,
    /// Passes each piece on after this time.
    Delay(Duration),
    /// Closes a connection once so many bytes have gone either way since it was opened.
    CutAfter(usize),
}

/// A running proxy; it ends when dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    port: u16,
    mode: watch::Sender<Mode>,
    seen: Arc<Seen>,
    _tasks: JoinSet<()>,
}

/// What shows that a fault bit.
#[derive(Debug, Default)]
struct Seen {
    cut: AtomicUsize,
    held: AtomicUsize,
}

impl Proxy {
    /// Listens, in mode `Up`, in front of this port of loopback. The port may be told later than the proxy's own is known.
    pub(crate) async fn start(target: watch::Receiver<u16>) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (mode, modes) = watch::channel(Mode::Up);
        let seen = Arc::<Seen>::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, target, modes, seen.clone()));
        Proxy { port, mode, seen, _tasks: tasks }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// How many connections it has cut: the evidence that a fault bit.
    pub(crate) fn cut(&self) -> usize {
        self.seen.cut.load(Ordering::Relaxed)
    }

    /// How many pieces of data a black hole has held back: the evidence of that one.
    pub(crate) fn held(&self) -> usize {
        self.seen.held.load(Ordering::Relaxed)
    }
}

async fn accept(
    listener: TcpListener,
    target: watch::Receiver<u16>,
    modes: watch::Receiver<Mode>,
    seen: Arc<Seen>,
) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        let (port, modes, seen) = (*target.borrow(), modes.clone(), seen.clone());
        connections.spawn(async move {
            let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
            if !connection(client, server, modes, &seen).await {
                seen.cut.fetch_add(1, Ordering::Relaxed);
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

/// Serves one connection; false where it was cut.
async fn connection(
    client: TcpStream,
    server: TcpStream,
    mut modes: watch::Receiver<Mode>,
    seen: &Seen,
) -> bool {
    let passed = AtomicUsize::new(0);
    drop(client.set_nodelay(true));
    drop(server.set_nodelay(true));
    if *modes.borrow() == Mode::Reset {
        return reset(&client);
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let to_server = pump(from_client, to_server, modes.clone(), &passed, seen);
    let to_client = pump(from_server, to_client, modes.clone(), &passed, seen);
    let off = modes.wait_for(|mode| matches!(mode, Mode::Down | Mode::Reset));
    // The first end ends both ways: dropping the halves closes the connections.
    tokio::select! {
        biased;
        _ = off => false,
        whole = to_server => whole,
        whole = to_client => whole,
    }
}

fn reset(stream: &TcpStream) -> bool {
    drop(stream.set_zero_linger());
    false
}

/// Passes bytes one way until an end; false where the mode ended it.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut modes: watch::Receiver<Mode>,
    passed: &AtomicUsize,
    seen: &Seen,
) -> bool {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let Ok(length @ 1..) = from.read(&mut buffer).await else { return true };
        if *modes.borrow() == Mode::BlackHole {
            seen.held.fetch_add(1, Ordering::Relaxed);
        }
        if modes.wait_for(|mode| *mode != Mode::BlackHole).await.is_err() {
            return true;
        }
        let mode = *modes.borrow();
        if let Mode::Delay(time) = mode {
            pause(time).await;
        }
        let before = passed.fetch_add(length, Ordering::Relaxed);
        let room = if let Mode::CutAfter(bytes) = mode { bytes.saturating_sub(before) } else { length };
        if to.write_all(&buffer[..length.min(room)]).await.is_err() {
            return true;
        }
        if room < length {
            return false;
        }
    }
}

#[tokio::test]
async fn each_mode_bites() {
    let echo = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (_target, target) = watch::channel(echo.local_addr().unwrap().port());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut open = JoinSet::new();
        while let Ok((stream, _)) = echo.accept().await {
            open.spawn(async move {
                let (mut from, mut to) = stream.into_split();
                drop(tokio::io::copy(&mut from, &mut to).await);
            });
        }
    });
    let proxy = Proxy::start(target).await;
    assert_eq!(echoed(&proxy, 10).await, 10);
    proxy.set(Mode::Delay(Duration::from_millis(30)));
    let before = tokio::time::Instant::now();
    assert_eq!(echoed(&proxy, 10).await, 10);
    assert!(before.elapsed() >= Duration::from_millis(60));
    proxy.set(Mode::CutAfter(14));
    assert_eq!(echoed(&proxy, 10).await, 4);
    proxy.set(Mode::Down);
    assert_eq!(echoed(&proxy, 10).await, 0);
    proxy.set(Mode::Reset);
    assert_eq!(echoed(&proxy, 10).await, 0);
    proxy.set(Mode::BlackHole);
    let nothing = tokio::time::timeout(Duration::from_millis(100), echoed(&proxy, 10)).await;
    assert!(nothing.is_err(), "{nothing:?}");
    assert!(proxy.held() > 0);
    proxy.set(Mode::Up);
    assert_eq!(echoed(&proxy, 10).await, 10);
    assert!(proxy.cut() >= 3, "{}", proxy.cut());
}

/// How much of what is sent comes back before the end of the connection.
#[cfg(test)]
async fn echoed(proxy: &Proxy, length: usize) -> usize {
    let mut stream = TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap();
    if stream.write_all(&vec![7; length]).await.is_err() {
        return 0;
    }
    let mut back = vec![0; length];
    let mut got = 0;
    while got < length {
        match stream.read(&mut back[got..]).await {
            Ok(more @ 1..) => got += more,
            _ => break,
        }
    }
    got
}
