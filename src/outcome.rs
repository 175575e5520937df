//! What can become of a record: outcomes, verdicts, failures, and the table of codes. Only words and data; who decides
//! is `deliver` (one attempt) and `flow` (one record).

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;

/// What became of a record. Made once, never turned back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The handler accepted it and every publish was acknowledged.
    Delivered,
    /// The pipeline file says that this record is not wanted.
    Filtered(Filter),
    /// The DLQ acknowledged it.
    DeadLettered(Reason, Code),
    /// `on_invalid: discard` of the file; counted.
    Discarded(Code),
}

impl Outcome {
    /// The word used in metrics, logs and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Delivered => "delivered",
            Outcome::Filtered(_) => "filtered",
            Outcome::DeadLettered(..) => "dead_lettered",
            Outcome::Discarded(_) => "discarded",
        }
    }
}

/// Why a record was filtered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Filter {
    /// A `filter` transform was false.
    Condition,
    /// A null value, under `on_tombstone: skip`.
    Tombstone,
    /// `split` found an empty list: nothing to deliver.
    Empty,
    /// `dedupe` had seen its id.
    Duplicate,
}

/// Why a record was dead-lettered. The numbers are those of the commit metadata (http-contract section 13).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Reason {
    /// The record itself cannot be processed.
    Invalid = 0,
    /// The receiver refused it.
    Rejected = 1,
    /// Every attempt that the retry policy allows has failed.
    Exhausted = 2,
    /// It follows a dead-lettered record of its key under `park_key`.
    Parked = 3,
}

impl Reason {
    /// The word of `weir-reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Invalid => "invalid",
            Reason::Rejected => "rejected",
            Reason::Exhausted => "exhausted",
            Reason::Parked => "parked",
        }
    }

    /// The reason of a number in the commit metadata; `None` where there is no such number.
    pub fn from_number(number: u8) -> Option<Reason> {
        [Reason::Invalid, Reason::Rejected, Reason::Exhausted, Reason::Parked]
            .get(usize::from(number))
            .copied()
    }
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal, $word:literal;)+) => {
        /// What went wrong, finely. The numbers are those of the commit metadata (http-contract section 13) and are
        /// only ever added to at the end.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Code { $($(#[doc = $doc])+ $name = $number,)+ }

        impl Code {
            /// Every code, by number.
            pub const ALL: &'static [Code] = &[$(Code::$name,)+];

            /// The word of `weir-code`, metrics and logs.
            pub fn as_str(self) -> &'static str { match self { $(Code::$name => $word,)+ } }
        }
    };
}

codes! {
    /// None of the others.
    Other = 0, "other";
    /// The bytes do not decode by the source's format.
    Decode = 1, "decode";
    /// The value does not validate against its schema.
    Schema = 2, "schema";
    /// The schema id is unknown to the registry.
    UnknownSchema = 3, "unknown_schema";
    /// A transform failed on this value.
    Transform = 4, "transform";
    /// A plugin trapped, ran out of time or memory, or answered nonsense.
    Plugin = 5, "plugin";
    /// A template could not be rendered from this record, or rendered what may not be sent.
    Template = 6, "template";
    /// The body, or the record to produce, is over its limit.
    TooLarge = 7, "too_large";
    /// A null value, under `on_tombstone: dlq`.
    Tombstone = 8, "tombstone";
    /// The handler's answer cannot become the event that `publish` asks for.
    Answer = 9, "answer";
    /// A 2xx status outside `accept`.
    UnexpectedStatus = 10, "unexpected_status";
    /// A status that is a failure.
    Status = 11, "status";
    /// The host name did not resolve.
    Dns = 12, "dns";
    /// The connection was refused or could not be made.
    Connect = 13, "connect";
    /// The connection broke after the request had begun.
    Reset = 14, "reset";
    /// A time limit ran out.
    Timeout = 15, "timeout";
    /// The answer is not HTTP.
    Protocol = 16, "protocol";
    /// 401, 403 or 407.
    Auth = 17, "auth";
    /// A 3xx: the URL in the file is wrong.
    Redirect = 18, "redirect";
    /// 410: the receiver wants no more.
    Gone = 19, "gone";
    /// A certificate, host name or handshake fault.
    Tls = 20, "tls";
    /// The address is refused by `egress`.
    BlockedAddress = 21, "blocked_address";
    /// The receiver's `webhook-delivery: abort-message`.
    Aborted = 22, "aborted";
    /// The receiver's `webhook-delivery: disable`.
    Disabled = 23, "disabled";
    /// The process did not survive two attempts at this record.
    Crashed = 24, "crashed";
    /// What is published does not fit its schema, where no handler has answered.
    Output = 25, "output";
    /// The source has `verify`, and no key of it has signed the record as it is.
    Signature = 26, "signature";
}

impl Code {
    /// The code of a number in the commit metadata; an unknown number is `Other`.
    pub fn from_number(number: u8) -> Code {
        Code::ALL.get(usize::from(number)).copied().unwrap_or(Code::Other)
    }
}

/// Why a stage has paused itself. The words are those of `weir_stage_held`, the API and the logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HoldCause {
    /// The handler's circuit breaker is open.
    Breaker,
    /// 401, 403 or 407.
    Auth,
    /// A TLS fault.
    Tls,
    /// A 3xx answer.
    Redirect,
    /// A 410 answer.
    Gone,
    /// An address that `egress` refuses.
    BlockedAddress,
    /// The receiver said `webhook-delivery: disable`.
    Disabled,
    /// A record would be dead-lettered and the stage has no `dlq`.
    NoDlq,
    /// The DLQ does not take records.
    Dlq,
    /// `on_invalid: pause`.
    Invalid,
    /// Kafka does not let the stage in or not at its topics or group, or takes no commits or no records of a `publish`.
    Kafka,
    /// The schema registry is away, or does not have what the pipeline file asks for.
    Registry,
    /// A source or `publish` topic does not exist.
    TopicMissing,
    /// The committed offset is outside of the log, or belongs to a deleted topic.
    OutOfRange,
}

impl HoldCause {
    /// Every cause.
    pub const ALL: &'static [HoldCause] = &[
        HoldCause::Breaker,
        HoldCause::Auth,
        HoldCause::Tls,
        HoldCause::Redirect,
        HoldCause::Gone,
        HoldCause::BlockedAddress,
        HoldCause::Disabled,
        HoldCause::NoDlq,
        HoldCause::Dlq,
        HoldCause::Invalid,
        HoldCause::Kafka,
        HoldCause::Registry,
        HoldCause::TopicMissing,
        HoldCause::OutOfRange,
    ];

    /// The word used everywhere.
    pub fn as_str(self) -> &'static str {
        match self {
            HoldCause::Breaker => "breaker",
            HoldCause::Auth => "auth",
            HoldCause::Tls => "tls",
            HoldCause::Redirect => "redirect",
            HoldCause::Gone => "gone",
            HoldCause::BlockedAddress => "blocked_address",
            HoldCause::Disabled => "disabled",
            HoldCause::NoDlq => "no_dlq",
            HoldCause::Dlq => "dlq",
            HoldCause::Invalid => "invalid",
            HoldCause::Kafka => "kafka",
            HoldCause::Registry => "registry",
            HoldCause::TopicMissing => "topic_missing",
            HoldCause::OutOfRange => "out_of_range",
        }
    }
}

/// What a failure asks for. Branch on this, never on text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The record is at fault: dead letter as `invalid`, at once.
    Invalid,
    /// The receiver refused this record for good: dead letter as `rejected`, at once.
    Rejected,
    /// Worth another attempt; `after` is the receiver's `Retry-After`, already parsed, not yet capped.
    Retry {
        /// The wait that the receiver asked for.
        after: Option<Duration>,
    },
    /// Not this record but the stage is at fault: pause it and say why.
    Hold(HoldCause),
}

/// Why something did not work, as a value.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// The fine code.
    pub code: Code,
    /// What it asks for.
    pub class: Class,
    /// One sentence for people outside: action first, lower case, no full stop, no secrets.
    pub message: String,
    /// What only logs may carry: the chain of causes. No secrets.
    pub detail: Option<String>,
    /// What the receiver answered, where it answered.
    pub answer: Option<Box<Answer>>,
    /// Whether one of the file's `rules` says so: then `retry.only` says nothing.
    pub by_rule: bool,
}

impl Failure {
    /// The record is at fault.
    pub fn invalid(code: Code, message: impl Into<String>) -> Failure {
        Failure::new(code, Class::Invalid, message)
    }

    /// Worth another attempt.
    pub fn retry(code: Code, message: impl Into<String>) -> Failure {
        Failure::new(code, Class::Retry { after: None }, message)
    }

    /// The stage is at fault.
    pub fn hold(code: Code, cause: HoldCause, message: impl Into<String>) -> Failure {
        Failure::new(code, Class::Hold(cause), message)
    }

    /// Any class.
    pub fn new(code: Code, class: Class, message: impl Into<String>) -> Failure {
        Failure { code, class, message: message.into(), detail: None, answer: None, by_rule: false }
    }

    /// The same with the chain of causes.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Failure {
        self.detail = Some(detail.into());
        self
    }

    /// The same with the answer that it came from.
    #[must_use]
    pub fn with_answer(mut self, answer: Answer) -> Failure {
        self.answer = Some(Box::new(answer));
        self
    }
}

/// How the body of an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyEnd {
    /// All of it is here.
    Complete,
    /// Longer than `max_response`: what is here is its beginning.
    TooLong,
    /// The connection broke or stalled in the body.
    BrokenOff,
    /// It has a content-encoding, which is never undone.
    Encoded,
}

/// What a handler answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The HTTP status; 200 for handlers that have none.
    pub status: u16,
    /// Headers by lower-case name, in order.
    pub headers: Vec<(String, Bytes)>,
    /// At most `max_response` bytes of the body.
    pub body: Bytes,
    /// How the body ended.
    pub body_end: BodyEnd,
}

impl Answer {
    /// The first value of a header, as text; `None` where absent or not UTF-8.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(n, _)| n == name)?;
        std::str::from_utf8(value).ok()
    }
}

/// What is known of a record that is not finished: carried from attempt to attempt, and through the commit metadata from
/// process to process.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// Attempts made so far.
    pub attempts: u32,
    /// When the first attempt began; `None` before it.
    pub first_try: Option<SystemTime>,
    /// What the next pass has to do.
    pub owed: Owed,
    /// Whether this was restored from the metadata of an earlier assignment (breaker rules (c) and (d)).
    pub restored: bool,
    /// How far a record is that was split; `None` where it was not, or no part has ended. Lost by a crash: then its parts
    /// are repeated, under the same ids.
    pub parts: Option<Box<Parts>>,
    /// Whether the wait before its first attempt is over, where the file asks for one. Forgotten by a restart: then it
    /// waits anew.
    pub waited: bool,
    /// Which of the records that it publishes Kafka has acknowledged while others are owed: a bit for each of the first 64,
    /// in order. Lost by a crash.
    pub acked: u64,
    /// Whether what it publishes is written in batches of its own, because a batch with it was too large.
    pub alone: bool,
}

fn bit(index: usize) -> u64 {
    u32::try_from(index).ok().and_then(|index| 1_u64.checked_shl(index)).unwrap_or(0)
}

/// How far a record is whose parts are delivered apart.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Parts {
    /// Parts below this one have ended.
    pub next: usize,
    /// Of these, the parts that failed for good.
    pub failed: Vec<u32>,
    /// Why the last of them failed.
    pub why: Option<(Reason, Code, Box<Failure>)>,
}

impl Progress {
    /// Whether Kafka has acknowledged the published record of this index.
    pub fn is_acked(&self, index: usize) -> bool {
        bit(index) & self.acked != 0
    }

    /// Kafka has acknowledged it.
    pub fn set_acked(&mut self, index: usize) {
        self.acked |= bit(index);
    }

    /// Of a record that nobody has touched.
    pub const FRESH: Progress = Progress {
        attempts: 0,
        first_try: None,
        owed: Owed::Attempt,
        restored: false,
        parts: None,
        waited: false,
        acked: 0,
        alone: false,
    };
}

/// What the next pass over a record has to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Owed {
    /// Everything: decode, transform, handler, publish. Phase 0 of the metadata.
    Attempt,
    /// The dead letter alone: it was decided, and the DLQ has not acknowledged it. Phase 1.
    DeadLetter {
        /// Why.
        reason: Reason,
        /// Why, finely.
        code: Code,
        /// The failure in full; `None` after a restart, when only reason and code are left.
        failure: Option<Box<Failure>>,
    },
    /// The publishes alone: the handler accepted, and Kafka has not taken all of them. Phase 3; after a restart the
    /// answer is gone and this is an attempt again.
    Publish(Box<Answer>),
}

/// What one pass over a record says.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// It is finished.
    Done(Outcome),
    /// Not before `due` again.
    Again {
        /// When the next pass may begin.
        due: Instant,
        /// What is known now.
        progress: Progress,
    },
    /// The stage pauses; the record stays where it is.
    Hold {
        /// Why the stage pauses.
        cause: HoldCause,
        /// One sentence.
        message: String,
        /// What is known now. An attempt that ended in a hold does not count.
        progress: Progress,
    },
    /// Nothing may be said: the assignment ended or the process stops. What was begun is indefinite, not delivered.
    Abandoned,
}

impl Verdict {
    /// The same of a record whose handler has answered, so that the publishes alone are owed; without an answer itself.
    #[must_use]
    pub fn owing(self, answer: Option<Answer>) -> Verdict {
        let Some(answer) = answer else { return self };
        let owing = |progress| Progress { owed: Owed::Publish(Box::new(answer)), ..progress };
        match self {
            Verdict::Again { due, progress } => Verdict::Again { due, progress: owing(progress) },
            Verdict::Hold { cause, message, progress } => {
                Verdict::Hold { cause, message, progress: owing(progress) }
            }
            other @ (Verdict::Done(_) | Verdict::Abandoned) => other,
        }
    }
}
