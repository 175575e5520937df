//! What an answer, or the lack of one, asks for: `rules`, and the table of the contract. Pure. `retry.only` is applied elsewhere.
//!
//! Source: http-contract, section 6.

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use http::StatusCode;

use super::retry_after::retry_after;
use super::rules::Ruled;
use super::spec::Then;
use crate::handler::guard::Refusal;
use crate::handler::{Notes, StatusRange};
use crate::outcome::{Answer, Class, Code, Failure, HoldCause};

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Fault {
    /// The name did not resolve.
    Dns(String),
    /// Every address of the host is refused.
    Blocked(IpAddr, Refusal),
    /// No connection could be made.
    Connect(String),
    /// A certificate, host name or handshake fault.
    Tls(String),
    /// A proxy refuses our credentials.
    Credentials(String),
    /// A limit ran out.
    Timeout(Phase, Duration),
    /// The connection broke after the request had begun.
    Reset(String),
    /// What came is not HTTP.
    Protocol(String),
}

/// Which step a limit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Resolving the name.
    Dns,
    /// Connecting.
    Connect,
    /// Agreeing on TLS.
    Tls,
    /// Sending the request.
    Write,
    /// Waiting for the head of the answer.
    FirstByte,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Dns => "dns",
            Phase::Connect => "connect",
            Phase::Tls => "tls",
            Phase::Write => "write",
            Phase::FirstByte => "first_byte",
        })
    }
}

/// The failure of a fault. `action` is what was being done: `posting to billing.internal`.
pub(super) fn fault(action: &str, fault: Fault) -> Failure {
    let retry = |code, why: &str, detail: Option<String>| {
        let failure = Failure::retry(code, format!("{action}: {why}"));
        Failure { detail, ..failure }
    };
    match fault {
        Fault::Dns(why) => retry(Code::Dns, "the host name did not resolve", Some(why)),
        Fault::Blocked(ip, refusal) => Failure::hold(
            Code::BlockedAddress,
            HoldCause::BlockedAddress,
            format!("{action}: its address {ip} is refused: {refusal}"),
        ),
        Fault::Connect(why) => retry(Code::Connect, &format!("no connection: {why}"), None),
        Fault::Tls(why) => Failure::hold(Code::Tls, HoldCause::Tls, format!("{action}: TLS failed: {why}")),
        Fault::Credentials(why) => Failure::hold(Code::Auth, HoldCause::Auth, format!("{action}: {why}")),
        Fault::Timeout(phase, limit) => {
            let limit = crate::spec::units::Duration(limit);
            retry(Code::Timeout, &format!("no answer within {limit} ({phase})"), None)
        }
        Fault::Reset(why) => retry(Code::Reset, "the connection broke before there was an answer", Some(why)),
        Fault::Protocol(why) => retry(Code::Protocol, "the answer is not valid HTTP", Some(why)),
    }
}

/// What decides over an answer, in this order: `rules`, `accept`, the `webhook-delivery` header, the table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deciding<'a> {
    /// What the first true rule says.
    pub(super) ruled: Option<Ruled>,
    /// `accept`.
    pub(super) accept: &'a [StatusRange],
    /// What a `Retry-After` date is measured from.
    pub(super) now: SystemTime,
    /// For what is noticed.
    pub(super) notes: &'a Notes,
}

/// Whether an answer accepts the event, and if not, what it asks for.
pub(super) fn answer(
    action: impl FnOnce() -> String,
    answer: Answer,
    by: Deciding<'_>,
) -> Result<Answer, Failure> {
    let status = answer.status;
    let accepted = match by.ruled {
        Some(ruled) => ruled.then == Then::Ok,
        None => by.accept.iter().any(|range| range.contains(status)),
    };
    if accepted {
        return Ok(answer);
    }
    let (code, class) = match (by.ruled, answer.header("webhook-delivery").map(str::trim)) {
        (Some(ruled), _) => of_rule(ruled.then, status),
        (None, Some("abort-message")) => (Code::Aborted, Class::Rejected),
        (None, Some("disable")) => (Code::Disabled, Class::Hold(HoldCause::Disabled)),
        (None, _) => of_status(status),
    };
    let class = match class {
        Class::Retry { .. } => Class::Retry { after: retry_after(&answer, by.now, by.notes) },
        Class::Invalid | Class::Rejected | Class::Hold(_) => class,
    };
    let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("");
    let mut message = format!("{}: {}", action(), format!("{status} {reason}").trim_end());
    if let Some(ruled) = by.ruled {
        message.push_str(&format!(" (by rules[{}])", ruled.index));
    }
    let failure = Failure { by_rule: by.ruled.is_some(), ..Failure::new(code, class, message) };
    Err(failure.with_answer(answer))
}

/// What a rule makes of a status. A hold has the table's cause where the table would hold too.
fn of_rule(then: Then, status: u16) -> (Code, Class) {
    let (code, class) = of_status(status);
    match then {
        // `ok` is no failure: the caller has accepted the answer.
        Then::Ok | Then::Retry => (Code::Status, Class::Retry { after: None }),
        Then::Dlq if code == Code::UnexpectedStatus => (code, Class::Rejected),
        Then::Dlq => (Code::Status, Class::Rejected),
        Then::Hold => match class {
            Class::Hold(_) => (code, class),
            Class::Invalid | Class::Rejected | Class::Retry { .. } => {
                (Code::Disabled, Class::Hold(HoldCause::Disabled))
            }
        },
    }
}

/// The table's row of a status that `accept` does not name.
fn of_status(status: u16) -> (Code, Class) {
    match status {
        200..=299 => (Code::UnexpectedStatus, Class::Rejected),
        300..=399 => (Code::Redirect, Class::Hold(HoldCause::Redirect)),
        401 | 403 | 407 => (Code::Auth, Class::Hold(HoldCause::Auth)),
        410 => (Code::Gone, Class::Hold(HoldCause::Gone)),
        404 | 408 | 409 | 421 | 423 | 425 | 429 => (Code::Status, Class::Retry { after: None }),
        501 | 505 => (Code::Status, Class::Rejected),
        // RFC 9110, section 15: a status of no known class is treated as a 5xx.
        500.. => (Code::Status, Class::Retry { after: None }),
        ..=499 => (Code::Status, Class::Rejected),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::BodyEnd;
    use bytes::Bytes;

    const DEFAULT: [StatusRange; 1] = [StatusRange { first: 200, last: 299 }];

    fn judge(accept: &[StatusRange], status: u16, headers: &[(&str, &str)]) -> Result<Answer, Failure> {
        let header =
            |(name, value): &(&str, &str)| ((*name).to_owned(), Bytes::copy_from_slice(value.as_bytes()));
        let headers = headers.iter().map(header).collect();
        let answer_in = Answer { status, headers, body: Bytes::new(), body_end: BodyEnd::Complete };
        let notes = Notes::default();
        let by = Deciding { ruled: None, accept, now: SystemTime::UNIX_EPOCH, notes: &notes };
        answer(|| "posting to billing.internal".to_owned(), answer_in, by)
    }

    /// The contract's table in its own words, apart from the code above.
    fn expected(status: u16) -> &'static str {
        match status {
            200..=299 => "ok",
            404 | 408 | 409 | 421 | 423 | 425 | 429 => "retry status",
            501 | 505 => "dlq status",
            500..=599 => "retry status",
            401 | 403 | 407 => "hold auth",
            300..=399 => "hold redirect",
            410 => "hold gone",
            _ => "dlq status",
        }
    }

    fn word(result: &Result<Answer, Failure>) -> String {
        match result {
            Ok(_) => "ok".into(),
            Err(failure) => {
                let class = match failure.class {
                    Class::Retry { .. } => "retry",
                    Class::Rejected => "dlq",
                    Class::Hold(cause) => {
                        assert_eq!(cause.as_str(), failure.code.as_str());
                        "hold"
                    }
                    Class::Invalid => "invalid",
                };
                format!("{class} {}", failure.code.as_str())
            }
        }
    }

    #[test]
    fn every_status_has_its_row() {
        for status in 100..=599 {
            let result = judge(&DEFAULT, status, &[]);
            assert_eq!(word(&result), expected(status), "{status}");
            if let Err(failure) = result {
                assert_eq!(failure.answer.unwrap().status, status);
                assert!(failure.message.starts_with(&format!("posting to billing.internal: {status}")));
            }
        }
        let gone = judge(&DEFAULT, 503, &[]).unwrap_err();
        assert_eq!(gone.message, "posting to billing.internal: 503 Service Unavailable");
    }

    #[test]
    fn accept_is_complete_when_given() {
        let accept = [StatusRange { first: 202, last: 202 }, StatusRange { first: 402, last: 402 }];
        assert_eq!(word(&judge(&accept, 202, &[])), "ok");
        assert_eq!(word(&judge(&accept, 402, &[])), "ok");
        assert_eq!(word(&judge(&accept, 200, &[])), "dlq unexpected_status");
    }

    #[test]
    fn the_receivers_word_counts_unless_it_accepts() {
        let (abort, disable) = ([("webhook-delivery", "abort-message")], [("webhook-delivery", "disable")]);
        assert_eq!(word(&judge(&DEFAULT, 500, &abort)), "dlq aborted");
        assert_eq!(word(&judge(&DEFAULT, 500, &disable)), "hold disabled");
        assert_eq!(word(&judge(&DEFAULT, 200, &disable)), "ok");
        assert_eq!(word(&judge(&DEFAULT, 500, &[("webhook-delivery", "later")])), "retry status");
    }

    #[test]
    fn retry_after_counts_on_every_retry_answer() {
        for status in [404, 429, 500, 503] {
            let failure = judge(&DEFAULT, status, &[("retry-after", "7")]).unwrap_err();
            assert_eq!(failure.class, Class::Retry { after: Some(Duration::from_secs(7)) });
        }
        let failure = judge(&DEFAULT, 503, &[("retry-after", "-7")]).unwrap_err();
        assert_eq!(failure.class, Class::Retry { after: None });
        assert_eq!(word(&judge(&DEFAULT, 400, &[("retry-after", "7")])), "dlq status");
    }

    #[test]
    fn every_fault_has_its_row() {
        let ip = IpAddr::from([10, 0, 0, 1]);
        for (given, expected) in [
            (Fault::Dns("nxdomain".into()), "retry dns"),
            (Fault::Connect("connection refused".into()), "retry connect"),
            (Fault::Reset("x".into()), "retry reset"),
            (Fault::Timeout(Phase::Tls, Duration::from_secs(5)), "retry timeout"),
            (Fault::Protocol("x".into()), "retry protocol"),
            (Fault::Tls("expired".into()), "hold tls"),
            (Fault::Blocked(ip, Refusal::Denied), "hold blocked_address"),
        ] {
            assert_eq!(word(&Err(fault("posting to x", given))), expected);
        }
    }
}
