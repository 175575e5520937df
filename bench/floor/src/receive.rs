//! The receiver: hand-written HTTP/1.1, so that it takes as little of the machine as can be. Counts different events by
//! their `uid`, the first field of the body.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

struct Counts {
    delay: Duration,
    events: u64,
    /// A bit for each uid.
    seen: Vec<AtomicU64>,
    different: AtomicU64,
    requests: AtomicU64,
    first: Mutex<Option<Instant>>,
}

/// Serves until the process is ended.
pub async fn run(port: u16, delay: u64, events: u64) {
    let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("the port is free");
    println!("ready");
    let seen = (0..=events / 64).map(|_| AtomicU64::new(0)).collect();
    let counts = Arc::new(Counts {
        delay: Duration::from_millis(delay),
        events,
        seen,
        different: AtomicU64::new(0),
        requests: AtomicU64::new(0),
        first: Mutex::new(None),
    });
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        tokio::spawn(serve(stream, counts.clone()));
    }
}

async fn serve(mut stream: TcpStream, counts: Arc<Counts>) {
    let _ = stream.set_nodelay(true);
    let mut buffer = Vec::with_capacity(16 * 1024);
    loop {
        let whole = loop {
            if let Some((head, length)) = parse(&buffer)
                && buffer.len() >= head + length
            {
                counts.count(&buffer[head..head + length]);
                break head + length;
            }
            match stream.read_buf(&mut buffer).await {
                Ok(1..) => {}
                _ => return,
            }
        };
        buffer.drain(..whole);
        if !counts.delay.is_zero() {
            tokio::time::sleep(counts.delay).await;
        }
        if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.is_err() {
            return;
        }
    }
}

/// Where the head ends, and the body's length.
fn parse(buffer: &[u8]) -> Option<(usize, usize)> {
    let head = buffer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let mut length = 0;
    for line in buffer[..head].split(|byte| *byte == b'\n') {
        let name = b"content-length:";
        if line.len() > name.len() && line[..name.len()].eq_ignore_ascii_case(name) {
            length = digits(line[name.len()..].trim_ascii_start());
        }
    }
    Some((head, usize::try_from(length).ok()?))
}

fn digits(text: &[u8]) -> u64 {
    text.iter().take_while(|byte| byte.is_ascii_digit()).fold(0, |n, byte| n * 10 + u64::from(byte - b'0'))
}

impl Counts {
    fn count(&self, body: &[u8]) {
        if self.requests.fetch_add(1, Ordering::Relaxed) == 0 {
            *self.first.lock().expect("no panic") = Some(Instant::now());
        }
        let Some(rest) = body.strip_prefix(b"{\"uid\":") else { return };
        let uid = digits(rest);
        let Some(word) = self.seen.get(usize::try_from(uid / 64).unwrap_or(usize::MAX)) else { return };
        let bit = 1 << (uid % 64);
        if word.fetch_or(bit, Ordering::Relaxed) & bit == 0
            && self.different.fetch_add(1, Ordering::Relaxed) + 1 == self.events
        {
            let first = self.first.lock().expect("no panic").unwrap_or_else(Instant::now);
            let requests = self.requests.load(Ordering::Relaxed);
            println!("seconds {:.3} repeats {}", first.elapsed().as_secs_f64(), requests - self.events);
        }
    }
}
