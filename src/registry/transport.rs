//! How a registry is asked. Who carries requests (HTTP, the same process) is put in from above.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// The largest answer that is read: a schema and its JSON wrapping.
pub const MAX_REPLY: usize = 4 << 20;

/// What stays as it is in a segment of a path.
const SEGMENT: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Adds, looks up or compares.
    Post,
    /// Sets.
    Put,
    /// Takes away.
    Delete,
}

/// A request.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// What is done.
    pub method: Method,
    /// The path below the registry's URL, percent-encoded, with its query.
    pub path: String,
    /// JSON.
    pub body: Option<Bytes>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// JSON, at most [`MAX_REPLY`] bytes.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unanswered {
    /// One sentence without secrets.
    Not(String),
    /// There is one, of more than [`MAX_REPLY`] bytes.
    TooLong,
}

/// Carries requests to a registry. Each ends within a time of its own.
pub trait Transport: Send + Sync + std::fmt::Debug {
    /// Asks and hears the answer, of whatever status.
    fn ask(&self, request: Request) -> BoxFuture<'_, Result<Reply, Unanswered>>;

    /// Which registry it is, for people: a URL without secrets, or `embedded`.
    fn shown(&self) -> String;
}

/// One segment of a path, percent-encoded.
pub fn segment(text: &str) -> String {
    utf8_percent_encode(text, &SEGMENT).to_string()
}
