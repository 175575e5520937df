//! `Retry-After`: seconds or an HTTP date. What is past, negative, fractional or absurd counts as absent.
//!
//! Source: RFC 9110, section 10.2.3.

use std::time::{Duration, SystemTime};

use crate::handler::Notes;
use crate::outcome::Answer;
use crate::telemetry::metrics::Anomaly;

/// What is longer than this is absurd; `retry_after_max` caps what remains.
const ABSURD: Duration = Duration::from_secs(366 * 24 * 3600);

/// The wait that an answer asks for. One that counts as absent is noted.
pub(super) fn retry_after(answer: &Answer, now: SystemTime, notes: &Notes) -> Option<Duration> {
    let wait = read(answer.header("retry-after")?.trim(), now);
    if wait.is_none() {
        notes.add(Anomaly::RetryAfterIgnored);
    }
    wait
}

fn read(text: &str, now: SystemTime) -> Option<Duration> {
    let wait = if text.bytes().all(|b| b.is_ascii_digit()) {
        Duration::from_secs(text.parse().ok()?)
    } else {
        httpdate::parse_http_date(text).ok()?.duration_since(now).ok()?
    };
    (wait <= ABSURD).then_some(wait)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::BodyEnd;
    use bytes::Bytes;

    fn wait(text: &str) -> Option<u64> {
        let headers = vec![("retry-after".to_owned(), Bytes::copy_from_slice(text.as_bytes()))];
        let answer = Answer { status: 503, headers, body: Bytes::new(), body_end: BodyEnd::Complete };
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let notes = Notes::default();
        let wait = retry_after(&answer, now, &notes).map(|wait| wait.as_secs());
        let noted: Vec<Anomaly> = notes.iter().collect();
        assert_eq!(noted, if wait.is_some() { vec![] } else { vec![Anomaly::RetryAfterIgnored] });
        wait
    }

    #[test]
    fn seconds_and_dates_are_read() {
        assert_eq!(wait("0"), Some(0));
        assert_eq!(wait(" 120 "), Some(120));
        assert_eq!(wait("Sun, 06 Nov 1994 08:51:37 GMT"), Some(120));
        assert_eq!(wait("Sunday, 06-Nov-94 08:51:37 GMT"), Some(120));
    }

    #[test]
    fn rubbish_is_absent() {
        for rubbish in [
            "",
            "-5",
            "1.5",
            "soon",
            "1e9",
            "99999999999999999999999",
            "1000000000",
            "Sun, 06 Nov 1994 08:49:36 GMT",
            "Fri, 31 Dec 9999 23:59:59 GMT",
        ] {
            assert_eq!(wait(rubbish), None, "{rubbish}");
        }
    }
}
