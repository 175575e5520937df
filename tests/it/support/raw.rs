//! A receiver below HTTP: a script says which bytes answer a request, and what becomes of the connection then. For
//! answers that no HTTP library would give.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::support::run::Run;

/// What follows the bytes of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// The next request may come.
    Keep,
    /// The connection is closed.
    Close,
    /// The connection is reset.
    Reset,
    /// Nothing, for ever.
    Hang,
}

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Act {
    pub(crate) bytes: Vec<u8>,
    pub(crate) then: Then,
}

/// One request, as the script and the test see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Since the start of the run.
    pub(crate) at: Duration,
    pub(crate) target: String,
    pub(crate) body: String,
}

type Script = dyn Fn(&Asked, usize) -> Act + Send + Sync;

/// A running receiver; it ends when dropped.
#[derive(Debug)]
pub(crate) struct Raw {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    _tasks: JoinSet<()>,
}

impl Raw {
    /// Listens on a port of loopback. The script gets a request, and how many there were before with this target and body.
    pub(crate) async fn start(
        run: &Run,
        script: impl Fn(&Asked, usize) -> Act + Send + Sync + 'static,
    ) -> Raw {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let (run, book, script): (_, _, Arc<Script>) = (run.clone(), asked.clone(), Arc::new(script));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                connections.spawn(serve(stream, run.clone(), book.clone(), script.clone()));
                while connections.try_join_next().is_some() {}
            }
        });
        Raw { address, asked, _tasks: tasks }
    }

    /// Every request until now.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

async fn serve(mut stream: TcpStream, run: Run, book: Arc<Mutex<Vec<Asked>>>, script: Arc<Script>) {
    let mut buffer = Vec::new();
    while let Some((target, body)) = read(&mut stream, &mut buffer).await {
        let asked = Asked { at: run.now(), target, body };
        let before = {
            let mut book = book.lock().unwrap();
            let before = book.iter().filter(|a| a.target == asked.target && a.body == asked.body).count();
            book.push(asked.clone());
            before
        };
        let act = script(&asked, before);
        if stream.write_all(&act.bytes).await.is_err() {
            return;
        }
        match act.then {
            Then::Keep => {}
            Then::Close => return,
            Then::Reset => return drop(stream.set_zero_linger()),
            Then::Hang => std::future::pending().await,
        }
    }
}

/// The target and the body of the next request; none where there is no more. Who speaks TLS is answered as servers do.
async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<(String, String)> {
    loop {
        let end = buffer.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(end) = end {
            let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
            });
            let all = end + 4 + length.unwrap_or(0);
            if buffer.len() >= all {
                let body = String::from_utf8_lossy(&buffer[end + 4..all]).into_owned();
                buffer.drain(..all);
                return Some((head.split(' ').nth(1)?.to_owned(), body));
            }
        }
        if buffer.first() == Some(&0x16) {
            drop(stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await);
            return None;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}
