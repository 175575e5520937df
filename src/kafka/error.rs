//! What Kafka said, as a value: the code decides, the text is for people.

use std::fmt;

use rdkafka::error::RDKafkaErrorCode;
use rdkafka_sys::rd_kafka_resp_err_t as Errno;

/// An error of a Kafka client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaError {
    /// librdkafka's code.
    pub code: RDKafkaErrorCode,
    /// librdkafka's text; no secrets.
    pub message: String,
    /// Whether the client is dead and must be made anew (G14).
    pub fatal: bool,
}

impl KafkaError {
    pub(crate) fn from_errno(errno: Errno, message: Option<String>) -> KafkaError {
        let code = RDKafkaErrorCode::from(errno);
        let message = message.filter(|m| !m.is_empty()).unwrap_or_else(|| code.to_string());
        KafkaError { code, message, fatal: false }
    }

    pub(crate) fn timed_out(what: &str) -> KafkaError {
        KafkaError {
            code: RDKafkaErrorCode::OperationTimedOut,
            message: format!("{what}: no answer in time"),
            fatal: false,
        }
    }

    /// Whether the record itself is too large for the topic or the client (D11).
    pub fn means_too_large(&self) -> bool {
        matches!(self.code, RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidMessageSize)
    }

    /// Whether the topic or partition does not exist.
    pub fn means_missing_topic(&self) -> bool {
        matches!(
            self.code,
            RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownPartition
        )
    }

    /// Whether the metadata of a commit is longer than the broker takes (O6).
    pub fn means_metadata_too_large(&self) -> bool {
        self.code == RDKafkaErrorCode::OffsetMetadataTooLarge
    }

    /// Whether a refused commit is the fault of one partition, not of the group: then others may be accepted.
    pub fn means_partition_at_fault(&self) -> bool {
        use RDKafkaErrorCode::{InvalidCommitOffsetSize, OffsetMetadataTooLarge, TopicAuthorizationFailed};
        self.means_missing_topic()
            || matches!(
                self.code,
                InvalidCommitOffsetSize | OffsetMetadataTooLarge | TopicAuthorizationFailed
            )
    }

    /// Whether Kafka does not let this client in, or not at something: credentials, certificates, rights (B7). Nothing that
    /// the client does ends that, and it goes on by itself when somebody has.
    pub fn means_refused(&self) -> bool {
        use RDKafkaErrorCode::{
            Authentication, ClusterAuthorizationFailed, DelegationTokenAuthorizationFailed,
            GroupAuthorizationFailed, SSL, SaslAuthenticationFailed, TopicAuthorizationFailed,
            TransactionalIdAuthorizationFailed,
        };
        matches!(
            self.code,
            Authentication
                | SSL
                | SaslAuthenticationFailed
                | TopicAuthorizationFailed
                | GroupAuthorizationFailed
                | ClusterAuthorizationFailed
                | TransactionalIdAuthorizationFailed
                | DelegationTokenAuthorizationFailed
        )
    }

    /// Whether no broker answered.
    pub fn means_unreachable(&self) -> bool {
        use RDKafkaErrorCode::{AllBrokersDown, BrokerTransportFailure, OperationTimedOut};
        matches!(self.code, AllBrokersDown | BrokerTransportFailure | OperationTimedOut)
    }

    /// Whether the fetch position is outside of the log (B2), or the log was truncated (B6).
    pub fn means_out_of_range(&self) -> bool {
        matches!(
            self.code,
            RDKafkaErrorCode::OffsetOutOfRange
                | RDKafkaErrorCode::AutoOffsetReset
                | RDKafkaErrorCode::LogTruncation
        )
    }
}

impl From<rdkafka::error::KafkaError> for KafkaError {
    fn from(error: rdkafka::error::KafkaError) -> KafkaError {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
        KafkaError { code, message: error.to_string(), fatal: false }
    }
}

impl fmt::Display for KafkaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for KafkaError {}
