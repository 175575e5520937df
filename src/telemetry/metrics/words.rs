//! Label values that are lists of words: every one of them is known before the first event.

use crate::outcome::{Code, Reason};

macro_rules! words {
    ($(#[doc = $doc:literal])+ $name:ident { $($(#[doc = $variant_doc:literal])+ $variant:ident = $word:literal,)+ }) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[doc = $variant_doc])+ $variant,)+ }

        impl $name {
            /// Every word, in the order of the variants.
            pub const ALL: &'static [$name] = &[$($name::$variant,)+];

            /// The label's value.
            pub fn as_str(self) -> &'static str { match self { $($name::$variant => $word,)+ } }
        }
    };
}

words! {
    /// How one attempt of a handler ended: `result` of `weir_handler_attempts_total`.
    AttemptResult {
        /// Accepted.
        Ok = "ok",
        /// A 2xx outside of `accept`.
        Http2xx = "http_2xx",
        /// A redirect, which is never followed.
        Http3xx = "http_3xx",
        /// A 4xx but 429.
        Http4xx = "http_4xx",
        /// Too many requests.
        Http429 = "http_429",
        /// A 5xx.
        Http5xx = "http_5xx",
        /// The host name did not resolve.
        Dns = "dns",
        /// No connection.
        Connect = "connect",
        /// The connection broke.
        Reset = "reset",
        /// A time limit ran out.
        Timeout = "timeout",
        /// Not HTTP, or nothing of the others.
        Protocol = "protocol",
        /// A certificate or handshake fault.
        Tls = "tls",
        /// Refused by `egress`, never dialled.
        BlockedAddress = "blocked_address",
    }
}

impl AttemptResult {
    /// The result of an attempt that was not accepted, from its code and the status, where there was an answer.
    pub fn of_failure(code: Code, status: Option<u16>) -> AttemptResult {
        match (code, status) {
            (Code::Dns, _) => AttemptResult::Dns,
            (Code::Connect, _) => AttemptResult::Connect,
            (Code::Reset, _) => AttemptResult::Reset,
            (Code::Timeout, _) => AttemptResult::Timeout,
            (Code::Tls, _) => AttemptResult::Tls,
            (Code::BlockedAddress, _) => AttemptResult::BlockedAddress,
            (_, Some(429)) => AttemptResult::Http429,
            (_, Some(200..=299)) => AttemptResult::Http2xx,
            (_, Some(300..=399)) => AttemptResult::Http3xx,
            (_, Some(400..=499)) => AttemptResult::Http4xx,
            (_, Some(500..=599)) => AttemptResult::Http5xx,
            _ => AttemptResult::Protocol,
        }
    }
}

words! {
    /// What should not happen and is survived: `kind` of `weir_anomalies_total`.
    Anomaly {
        /// The metadata of a committed offset is foreign or corrupt, and counted as empty.
        MetadataUnreadable = "metadata_unreadable",
        /// Metadata would not fit: the waiting retries with the fewest attempts lost theirs.
        MetadataCut = "metadata_cut",
        /// A `Retry-After` that is past, negative, fractional or absurd.
        RetryAfterIgnored = "retry_after_ignored",
        /// A predicate of `rules` or `when` could not be evaluated, and did not match; or `priority` could not, or gave none of
        /// its four words, and the record counts as `normal`.
        RuleFailed = "rule_failed",
        /// The poll thread came round late.
        PollSlow = "poll_slow",
        /// A partition stayed paused for longer than anything explains.
        StuckPartition = "stuck_partition",
        /// A committed offset is outside of the log, or belongs to a deleted topic.
        OffsetsLost = "offsets_lost",
        /// The log was truncated behind a position already read.
        Truncated = "truncated",
        /// A failed ack in a stage without a handler: records of one key were produced again, in order.
        ProduceRepeated = "produce_repeated",
    }
}

words! {
    /// Why a transform failed: `kind` of `weir_transform_errors_total`.
    TransformErrorKind {
        /// The program ended with an error on this value.
        Eval = "eval",
        /// The value is not what the transform takes: another type, too large, too deep.
        Type = "type",
        /// A plugin trapped, ran out of time or memory, or answered nonsense.
        Plugin = "plugin",
    }
}

words! {
    /// Where memory is accounted: `pool` of `weir_memory_bytes`.
    Pool {
        /// Records read and not finished.
        Records = "records",
        /// Keys and values of records produced and not acknowledged.
        Producer = "producer",
        /// What librdkafka has fetched ahead. It has a limit; how much it is librdkafka tells in its statistics alone, and
        /// those are off.
        Fetch = "fetch",
    }
}

impl Pool {
    /// Whether it is known how much is in use.
    pub(super) fn is_weighed(self) -> bool {
        self != Pool::Fetch
    }
}

/// The pairs of reason and code that a dead letter can have: each is a series from the start.
pub(super) const DEAD_LETTER_PAIRS: &[(Reason, Code)] = &[
    (Reason::Invalid, Code::Decode),
    (Reason::Invalid, Code::Schema),
    (Reason::Invalid, Code::UnknownSchema),
    (Reason::Invalid, Code::Transform),
    (Reason::Invalid, Code::Plugin),
    (Reason::Invalid, Code::Template),
    (Reason::Invalid, Code::TooLarge),
    (Reason::Invalid, Code::Tombstone),
    (Reason::Invalid, Code::Answer),
    (Reason::Invalid, Code::Output),
    (Reason::Invalid, Code::Crashed),
    (Reason::Invalid, Code::Signature),
    (Reason::Rejected, Code::UnexpectedStatus),
    (Reason::Rejected, Code::Status),
    (Reason::Rejected, Code::Dns),
    (Reason::Rejected, Code::Connect),
    (Reason::Rejected, Code::Reset),
    (Reason::Rejected, Code::Timeout),
    (Reason::Rejected, Code::Protocol),
    (Reason::Rejected, Code::Auth),
    (Reason::Rejected, Code::Redirect),
    (Reason::Rejected, Code::Gone),
    (Reason::Rejected, Code::Aborted),
    (Reason::Exhausted, Code::Status),
    (Reason::Exhausted, Code::Dns),
    (Reason::Exhausted, Code::Connect),
    (Reason::Exhausted, Code::Reset),
    (Reason::Exhausted, Code::Timeout),
    (Reason::Exhausted, Code::Protocol),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_attempt_counts_under_what_went_wrong_first_and_the_status_second() {
        for (code, status, expected) in [
            (Code::Status, Some(503), "http_5xx"),
            (Code::Status, Some(429), "http_429"),
            (Code::Status, Some(422), "http_4xx"),
            (Code::Auth, Some(401), "http_4xx"),
            (Code::Redirect, Some(302), "http_3xx"),
            (Code::UnexpectedStatus, Some(204), "http_2xx"),
            (Code::Aborted, Some(500), "http_5xx"),
            (Code::Timeout, Some(200), "timeout"),
            (Code::Reset, None, "reset"),
            (Code::Protocol, None, "protocol"),
            (Code::Status, Some(103), "protocol"),
        ] {
            assert_eq!(AttemptResult::of_failure(code, status).as_str(), expected, "{code:?} {status:?}");
        }
    }
}
