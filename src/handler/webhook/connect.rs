//! A new connection: resolve, judge every address, dial a vetted one, agree on TLS. Each step has its own limit, all of
//! them end at the deadline of the attempt.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::HeaderValue;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout_at;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::Host;

use super::classify::{Fault, Phase};
use super::proxy::Proxy;
use super::tls::Tls;
use crate::handler::egress::Egress;
use crate::telemetry::clock;

/// Where a connection goes: what a pool keeps apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Origin {
    /// Whether the scheme is `https`.
    pub(super) https: bool,
    /// The host as the URL standard writes it: lower case, IDNA.
    pub(super) host: Host,
    /// The port.
    pub(super) port: u16,
    /// Host and port, the port only where it is not the scheme's own: the value of the header `host`.
    pub(super) authority: HeaderValue,
}

impl Origin {
    /// `None` where the host cannot be a header.
    pub(super) fn new(https: bool, host: Host, port: u16) -> Option<Origin> {
        let usual = if https { 443 } else { 80 };
        let authority = if port == usual { host.to_string() } else { format!("{host}:{port}") };
        let authority = HeaderValue::try_from(authority).ok()?;
        Some(Origin { https, host, port, authority })
    }
}

/// The limits of the steps.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) dns: Duration,
    pub(super) connect: Duration,
    pub(super) tls: Duration,
    pub(super) first_byte: Duration,
    pub(super) total: Duration,
}

impl Limits {
    /// Runs a step until its own limit or the deadline of the attempt, whichever comes first. The fault names that one.
    pub(super) async fn within<T>(
        &self,
        (phase, limit): (Phase, Duration),
        deadline: Instant,
        step: impl Future<Output = T>,
    ) -> Result<T, Fault> {
        let (until, limit) = self.first(limit, deadline);
        timeout_at(until.into(), step).await.map_err(|_| Fault::Timeout(phase, limit))
    }

    /// When a step that begins now must be over, and the limit that says so.
    fn first(&self, limit: Duration, deadline: Instant) -> (Instant, Duration) {
        let own = clock::now() + limit;
        if own <= deadline { (own, limit) } else { (deadline, self.total) }
    }
}

/// What new connections are made by.
#[derive(Debug)]
pub(super) struct Ways {
    pub(super) egress: Arc<Egress>,
    pub(super) tls: Tls,
    pub(super) proxy: Option<Proxy>,
    pub(super) limits: Limits,
}

/// Connects to `origin`, or to the proxy for it. `deadline` is the attempt's own.
pub(super) async fn connect(ways: &Ways, origin: &Origin, deadline: Instant) -> Result<Metered, Fault> {
    let Ways { egress, tls, proxy, limits } = ways;
    let (host, port) = proxy.as_ref().map_or((&origin.host, origin.port), |proxy| (&proxy.host, proxy.port));
    let name = borrowed(host);
    let found = limits.within((Phase::Dns, limits.dns), deadline, egress.resolve(&name, port)).await?;
    let found = found.map_err(|error| Fault::Dns(error.to_string()))?;
    let vetted = vet(egress, host, origin.https, &found)?;
    let dialled = dial(&vetted, limits, deadline).await;
    let mut tcp = dialled.map_err(|fault| match (fault, proxy) {
        // Else the receiver would be blamed, which nobody has asked.
        (Fault::Connect(why), Some(_)) => Fault::Connect(format!("the proxy cannot be reached: {why}")),
        (fault, _) => fault,
    })?;
    // Small requests: waiting to fill a packet would only delay them. Without it they are late, not lost.
    tcp.set_nodelay(true).unwrap_or_default();
    let stream = if origin.https {
        if let Some(proxy) = proxy {
            tcp = limits
                .within((Phase::Connect, limits.connect), deadline, proxy.tunnel(tcp, origin))
                .await??;
        }
        let config = tls.config(egress).map_err(Fault::Tls)?;
        let host = borrowed(&origin.host);
        let tls = agree(config, &host, tcp);
        Stream::Tls(Box::new(limits.within((Phase::Tls, limits.tls), deadline, tls).await??))
    } else {
        Stream::Plain(tcp)
    };
    Ok(Metered { stream, traffic: Arc::default() })
}

fn borrowed(host: &Host) -> Host<&str> {
    match host {
        Host::Domain(name) => Host::Domain(name.as_str()),
        Host::Ipv4(ip) => Host::Ipv4(*ip),
        Host::Ipv6(ip) => Host::Ipv6(*ip),
    }
}

pub(super) fn vet(
    egress: &Egress,
    host: &Host,
    https: bool,
    found: &[SocketAddr],
) -> Result<Vec<SocketAddr>, Fault> {
    let host = host.to_string();
    let mut refused = None;
    let mut vetted = Vec::with_capacity(found.len());
    for address in found {
        match egress.judge(&host, https, *address) {
            Ok(()) => vetted.push(*address),
            Err(refusal) => refused = refused.or(Some((address.ip(), refusal))),
        }
    }
    match refused {
        _ if !vetted.is_empty() => Ok(vetted),
        Some((ip, refusal)) => Err(Fault::Blocked(ip, refusal)),
        None => Err(Fault::Dns("the name has no address".to_owned())),
    }
}

/// Dials one address after the other. Each gets its share of the time that is left, so that a black hole among them
/// does not use up the time of the others.
async fn dial(vetted: &[SocketAddr], limits: &Limits, deadline: Instant) -> Result<TcpStream, Fault> {
    let (until, limit) = limits.first(limits.connect, deadline);
    let mut last = Fault::Timeout(Phase::Connect, limit);
    for (index, address) in vetted.iter().enumerate() {
        let now = clock::now();
        let left = u32::try_from(vetted.len() - index).unwrap_or(u32::MAX);
        let share = now + until.saturating_duration_since(now) / left;
        match timeout_at(share.into(), TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = Fault::Connect(io_words(&error)),
            Err(_) => last = Fault::Timeout(Phase::Connect, limit),
        }
    }
    Err(last)
}

async fn agree(
    config: Arc<ClientConfig>,
    host: &Host<&str>,
    tcp: TcpStream,
) -> Result<TlsStream<TcpStream>, Fault> {
    let name = match host {
        Host::Domain(name) => {
            let name = name.strip_suffix('.').unwrap_or(name);
            ServerName::try_from(name.to_owned()).map_err(|error| Fault::Tls(error.to_string()))?
        }
        Host::Ipv4(ip) => ServerName::from(std::net::IpAddr::V4(*ip)),
        Host::Ipv6(ip) => ServerName::from(std::net::IpAddr::V6(*ip)),
    };
    TlsConnector::from(config).connect(name, tcp).await.map_err(|error| {
        match tls_error(&error) {
            Some(fault) => Fault::Tls(fault.to_string()),
            // The peer went away in the handshake: as with a connection that cannot be made, trying again may help.
            None => Fault::Connect(format!("TLS was not finished: {}", io_words(&error))),
        }
    })
}

/// What TLS itself has to say in an I/O error.
fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// An I/O error in words, without the operating system's number.
fn io_words(error: &io::Error) -> String {
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or(&text);
    words.to_lowercase()
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection that counts the bytes written to it, so that a request that was never begun can be told.
#[derive(Debug)]
pub(super) struct Metered {
    stream: Stream,
    traffic: Arc<Traffic>,
}

/// What is known of a connection while it is in use.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    written: AtomicU64,
    /// The last four bytes read.
    last: AtomicU32,
    refusal: OnceLock<String>,
}

impl Traffic {
    /// Bytes written so far.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Whether what was read last ended a head: nothing of another one has come.
    pub(super) fn ends_a_head(&self) -> bool {
        self.last.load(Ordering::Relaxed) == u32::from_be_bytes(*b"\r\n\r\n")
    }

    fn read(&self, bytes: &[u8]) {
        let start = bytes.len().saturating_sub(4);
        let mut last = self.last.load(Ordering::Relaxed);
        for byte in bytes.get(start..).unwrap_or_default() {
            last = last << 8 | u32::from(*byte);
        }
        self.last.store(last, Ordering::Relaxed);
    }

    /// What the peer has against our certificate: in TLS 1.3 it says so after the handshake.
    pub(super) fn refusal(&self) -> Option<&str> {
        self.refusal.get().map(String::as_str)
    }
}

impl Metered {
    /// To be read while the connection is in use.
    pub(super) fn traffic(&self) -> Arc<Traffic> {
        Arc::clone(&self.traffic)
    }

    /// Whether HTTP/2 was agreed on.
    pub(super) fn is_h2(&self) -> bool {
        match &self.stream {
            Stream::Plain(_) => false,
            Stream::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
        }
    }

    fn count(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &result {
            self.traffic.written.fetch_add(u64::try_from(*bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
        result
    }

    fn hear(&self, result: Poll<io::Result<()>>) -> Poll<io::Result<()>> {
        if let Poll::Ready(Err(error)) = &result
            && let Some(refusal @ rustls::Error::AlertReceived(_)) = tls_error(error)
        {
            self.traffic.refusal.get_or_init(|| refusal.to_string());
        }
        result
    }
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        };
        self.traffic.read(buf.filled().get(before..).unwrap_or_default());
        self.hear(result)
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        };
        self.count(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        };
        self.count(result)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
