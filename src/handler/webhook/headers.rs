//! The headers that a file asks for: literal and templated ones, and those copied from the record.
//!
//! Source: http-contract, section 2.

use std::fmt;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use indexmap::IndexMap;

use crate::event::{Event, Header};
use crate::handler::Problem;
use crate::outcome::{Code, Failure};
use crate::plan::expr::{Template, View};
use crate::settings::{ReferenceError, References};

/// One forwarded header is at most this long.
const MAX_FORWARDED: usize = 4 << 10;

const RESERVED: [&str; 12] = [
    "traceparent",
    "tracestate",
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "proxy",
];
const RESERVED_STARTS: [&str; 3] = ["webhook-", "weir-", "proxy-"];
/// Never taken from a record, whatever the pattern.
const NEVER_FORWARDED: [&str; 3] = ["authorization", "cookie", "set-cookie"];

/// Who asks: the value of `user-agent`.
pub(super) fn user_agent() -> HeaderValue {
    HeaderValue::from_static(concat!("weir/", env!("CARGO_PKG_VERSION")))
}

/// Whether Weir or HTTP itself writes this header.
fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name) || RESERVED_STARTS.iter().any(|start| name.starts_with(start))
}

/// A header name that a file may ask for.
pub(super) fn free_name(written: &str) -> Result<HeaderName, Problem> {
    let lower = written.to_ascii_lowercase();
    let Ok(name) = HeaderName::try_from(&lower) else {
        return Err(Problem::at("", format!("`{written}` is not a header name"))
            .help("names are literal: letters, digits and `-`"));
    };
    if is_reserved(&lower) {
        return Err(Problem::at("", format!("`{lower}` is written by Weir itself")).help("leave it out"));
    }
    Ok(name)
}

/// The headers that the file asks for. Prints names, never values.
#[derive(Default)]
pub(super) struct Headers {
    /// The same for every event.
    pub(super) literal: Vec<(HeaderName, HeaderValue)>,
    templated: Vec<(HeaderName, Template)>,
    forward: Vec<Forward>,
}

#[derive(Debug)]
enum Forward {
    Name(String),
    Start(String),
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let literal = self.literal.iter().map(|(name, _)| name);
        f.debug_list().entries(literal.chain(self.templated.iter().map(|(name, _)| name))).finish()
    }
}

impl Headers {
    /// Compiles `headers` and `forward_headers`. The paths of problems are inside of the webhook block.
    pub(super) fn compile(
        written: &IndexMap<String, String>,
        forward: &[String],
        references: &References,
    ) -> Result<Headers, Vec<Problem>> {
        let mut out = Headers::default();
        let mut problems = Vec::new();
        for (name, value) in written {
            if let Err(problem) = out.add(name, value, references) {
                problems.push(Problem { path: format!("headers.{name}"), ..problem });
            }
        }
        for (index, pattern) in forward.iter().enumerate() {
            match Forward::read(pattern) {
                Some(forward) => out.forward.push(forward),
                None => problems.push(
                    Problem::at(
                        format!("forward_headers.{index}"),
                        format!("`{pattern}` is not a header name"),
                    )
                    .help("write a name, or the beginning of names with `*` at the end, as in x-shop-*"),
                ),
            }
        }
        if problems.is_empty() { Ok(out) } else { Err(problems) }
    }

    /// The names that the file writes.
    pub(super) fn names(&self) -> impl Iterator<Item = &HeaderName> {
        let literal = self.literal.iter().map(|(name, _)| name);
        literal.chain(self.templated.iter().map(|(name, _)| name))
    }

    fn add(&mut self, name: &str, value: &str, references: &References) -> Result<(), Problem> {
        let name = free_name(name)?;
        if self.writes(&name) {
            return Err(Problem::at("", format!("`{name}` is written twice")).help("keep one of them"));
        }
        let mut secret = NEVER_FORWARDED.contains(&name.as_str());
        let template = Template::parse(value).map_err(|findings| {
            let finding = findings.into_iter().next();
            let (message, help) = finding.map_or_else(Default::default, |f| (f.message, f.help));
            Problem { path: String::new(), message, help }
        })?;
        let template = template.resolve(|text| {
            let resolved = references.resolve(text)?;
            secret |= resolved.is_secret();
            Ok::<_, ReferenceError>(resolved.expose().to_owned())
        });
        let template = template.map_err(|error| Problem::at("", error.to_string()).help(error.help()))?;
        match template.as_literal() {
            Some(text) => {
                let mut value = header_value(Bytes::copy_from_slice(text.as_bytes())).ok_or_else(|| {
                    Problem::at(
                        "",
                        "the value has a character that a header cannot carry, such as a line break",
                    )
                    .help("use visible ASCII, spaces and tabs")
                })?;
                value.set_sensitive(secret);
                self.literal.push((name, value));
            }
            None => self.templated.push((name, template)),
        }
        Ok(())
    }

    /// Whether the file asks for this header.
    pub(super) fn writes(&self, name: &HeaderName) -> bool {
        let literal = self.literal.iter().map(|(name, _)| name);
        literal.chain(self.templated.iter().map(|(name, _)| name)).any(|written| written == name)
    }

    /// Hands every header that depends on the event to `add`. Fails with code `template` where a value cannot be a header.
    pub(super) fn render(
        &self,
        event: &Event,
        view: &View<'_>,
        mut add: impl FnMut(HeaderName, HeaderValue),
    ) -> Result<(), Failure> {
        for (name, template) in &self.templated {
            let text = template.render_text(view)?;
            let value = header_value(text.into()).ok_or_else(|| illegal(name.as_str()))?;
            add(name.clone(), value);
        }
        if self.forward.is_empty() {
            return Ok(());
        }
        for header in &event.headers {
            if let Some((name, value)) = self.forwarded(header)? {
                add(name, value);
            }
        }
        Ok(())
    }

    fn forwarded(&self, header: &Header) -> Result<Option<(HeaderName, HeaderValue)>, Failure> {
        let Some(value) = &header.value else { return Ok(None) };
        let lower = String::from_utf8_lossy(&header.name).to_ascii_lowercase();
        let listed = self.forward.iter().any(|forward| match forward {
            Forward::Name(name) => *name == lower,
            // It carries what others have put in, so it is never meant by chance.
            Forward::Start(start) => lower.starts_with(start.as_str()) && lower != "baggage",
        });
        if !listed || is_reserved(&lower) || NEVER_FORWARDED.contains(&lower.as_str()) {
            return Ok(None);
        }
        let name = HeaderName::from_bytes(&header.name).map_err(|_| {
            Failure::invalid(
                Code::Template,
                format!("the record's header {lower:?} is no name that HTTP can carry"),
            )
        })?;
        if value.len() > MAX_FORWARDED {
            let message = format!("the record's header `{name}` is over 4KiB");
            return Err(Failure::invalid(Code::TooLarge, message));
        }
        let value = header_value(value.clone()).ok_or_else(|| illegal(&lower))?;
        Ok(Some((name, value)))
    }

    /// Whether a template reads `%id`.
    pub(super) fn read_id(&self) -> bool {
        self.templated.iter().any(|(_, template)| template.reads_id())
    }

    /// Whether a template reads `.`.
    pub(super) fn look_into_payload(&self) -> bool {
        self.templated.iter().any(|(_, template)| template.looks_into_payload())
    }
}

fn illegal(name: &str) -> Failure {
    Failure::invalid(
        Code::Template,
        format!("the value of header `{name}` has a character that a header cannot carry"),
    )
}

/// A header's value of visible ASCII, spaces and tabs; `None` for all else.
pub(super) fn header_value(bytes: Bytes) -> Option<HeaderValue> {
    let legal = bytes.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~'));
    if legal { HeaderValue::from_maybe_shared(bytes).ok() } else { None }
}

impl Forward {
    fn read(pattern: &str) -> Option<Forward> {
        let lower = pattern.to_ascii_lowercase();
        match lower.strip_suffix('*') {
            Some("") => Some(Forward::Start(String::new())),
            Some(start) => HeaderName::try_from(start).ok().map(|_| Forward::Start(start.to_owned())),
            None => HeaderName::try_from(&lower).ok().map(|_| Forward::Name(lower)),
        }
    }
}
