//! What can go wrong in a client, with the place and the way out in the message.

use std::sync::Arc;
use std::time::Duration;

use super::TopicPartition;
use crate::record::RecordError;
use crate::wire::{ErrorCode, WireError};

/// An error of the client. It is cheap to clone, because all records of a batch share it.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// A broker refused the request.
    #[error("{what}: {code:?} (code {}){}{}", code.code(), detail(message), advice(*code))]
    Broker {
        /// The broker's error code.
        code: ErrorCode,
        /// What was asked for, with topic, partition or group.
        what: String,
        /// What the broker added.
        message: Option<String>,
    },
    /// No answer came in time.
    #[error("{what}: no answer from {from} within {} ms; is it up and reachable?", after.as_millis())]
    Timeout {
        /// What was asked for.
        what: String,
        /// The broker that was asked.
        from: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// A connection could not be made, or broke.
    #[error("connection to {to}: {reason}")]
    Connection {
        /// The broker's address, or the list of addresses that were tried.
        to: String,
        /// What the system said.
        reason: String,
    },
    /// The broker does not support what the client needs.
    #[error("{to} does not support {what}; a newer broker is needed")]
    Unsupported {
        /// The broker.
        to: String,
        /// The request and its version.
        what: String,
    },
    /// A configuration key that does not exist.
    #[error("unknown {kind} configuration key `{key}`{}", suggestion(nearest))]
    UnknownConfig {
        /// Of which configuration.
        kind: String,
        /// The key.
        key: String,
        /// The nearest key that exists.
        nearest: Option<String>,
    },
    /// A configuration value that does not fit.
    #[error("configuration `{key}` = `{value}`: {reason}")]
    InvalidConfig {
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// What is expected.
        reason: String,
    },
    /// The producer's buffer has no room for the record right now.
    #[error(
        "the producer's buffer of {buffer_memory} bytes is full: wait for deliveries, or raise `buffer.memory`"
    )]
    BufferExhausted {
        /// `buffer.memory`.
        buffer_memory: usize,
    },
    /// A record can never be sent, because it is larger than allowed.
    #[error(
        "a record of {size} bytes for topic {topic} is larger than `max.request.size` = {limit}: raise it (and the topic's `max.message.bytes`), or send less"
    )]
    RecordTooLarge {
        /// The topic.
        topic: Arc<str>,
        /// The record's size in bytes.
        size: usize,
        /// `max.request.size`.
        limit: usize,
    },
    /// A record is larger than the broker takes, alone in its batch.
    #[error(
        "a record for {partition} was refused, in a batch of its own of {size} bytes: {}: raise the topic's `max.message.bytes`, compress, or send less",
        refusal(source)
    )]
    RecordRefused {
        /// Where the record should go.
        partition: TopicPartition,
        /// The size of the batch with nothing but this record.
        size: usize,
        /// What the broker said.
        source: Arc<ClientError>,
    },
    /// A partition was named that the topic does not have.
    #[error("topic {} has no partition {}; it has {partitions}", partition.topic, partition.partition)]
    NoSuchPartition {
        /// The partition that was asked for.
        partition: TopicPartition,
        /// How many the topic has.
        partitions: i32,
    },
    /// Deliveries failed since the last flush.
    #[error("{failed} records could not be delivered since the last flush; the first: {first}")]
    DeliveriesFailed {
        /// How many records.
        failed: u64,
        /// The error of the first.
        first: Box<ClientError>,
    },
    /// A record was not delivered within `delivery.timeout.ms`.
    #[error(
        "a record for {partition} was not delivered within `delivery.timeout.ms` = {} ms{}", after.as_millis(), last(last_error)
    )]
    DeliveryTimeout {
        /// Where the record should go.
        partition: TopicPartition,
        /// `delivery.timeout.ms`.
        after: Duration,
        /// The last error before it was given up.
        last_error: Option<Box<ClientError>>,
    },
    /// The transaction cannot commit: abort it, then the producer may go on with the next.
    #[error(
        "the transaction of {transactional_id} must be aborted (then the producer may go on): {source}"
    )]
    AbortRequired {
        /// `transactional.id`.
        transactional_id: Arc<str>,
        /// Why.
        source: Arc<ClientError>,
    },
    /// Another producer runs under the same transactional id, or the transaction was taken
    /// from this one (it lasted longer than `transaction.timeout.ms`). This one is done for.
    #[error(
        "the producer with transactional id {transactional_id} is fenced: another one has taken over, or its transaction timed out; close it and begin anew: {source}"
    )]
    ProducerFenced {
        /// `transactional.id`.
        transactional_id: Arc<str>,
        /// What the broker said.
        source: Arc<ClientError>,
    },
    /// The transactional producer cannot go on at all.
    #[error(
        "the producer with transactional id {transactional_id} cannot go on; close it: {source}"
    )]
    TransactionFatal {
        /// `transactional.id`.
        transactional_id: Arc<str>,
        /// Why.
        source: Arc<ClientError>,
    },
    /// The end of a transaction was asked for, but no answer came: it may have ended or not.
    #[error(
        "whether the transaction of {transactional_id} was {} is not known: call `{}` again to find out: {source}",
        if *commit { "committed" } else { "aborted" },
        if *commit { "commit_transaction" } else { "abort_transaction" }
    )]
    OutcomeUnknown {
        /// `transactional.id`.
        transactional_id: Arc<str>,
        /// Whether it was to commit (else to abort).
        commit: bool,
        /// Why there is no answer.
        source: Arc<ClientError>,
    },
    /// The record was dropped, because its transaction was aborted.
    #[error("the record was not sent, because its transaction was aborted")]
    TransactionAborted,
    /// The partition is not assigned to this consumer.
    #[error(
        "{partition} is not assigned to this consumer: subscribe to its topic or assign it first"
    )]
    NotAssigned {
        /// The partition.
        partition: TopicPartition,
    },
    /// There is no committed offset, and `auto.offset.reset` is `none`.
    #[error(
        "{partition} has no committed offset and `auto.offset.reset` is none: seek, or set earliest or latest"
    )]
    NoOffset {
        /// The partition.
        partition: TopicPartition,
    },
    /// The position lies outside the log, and `auto.offset.reset` is `none`.
    #[error(
        "offset {offset} of {partition} is outside its log and `auto.offset.reset` is none: seek, or set earliest or latest"
    )]
    OffsetOutOfRange {
        /// The partition.
        partition: TopicPartition,
        /// The position that the broker refused.
        offset: i64,
    },
    /// The new leader's log was truncated below the position, and `auto.offset.reset` is
    /// `none`: records that were read are gone.
    #[error(
        "the log of {partition} was truncated below offset {offset} when its leader changed{}: seek, or set `auto.offset.reset`",
        divergent.map(|at| format!(" (it differs from offset {at} on)")).unwrap_or_default()
    )]
    LogTruncation {
        /// The partition.
        partition: TopicPartition,
        /// The position.
        offset: i64,
        /// From where on the log differs from what was read, if the leader knows.
        divergent: Option<i64>,
    },
    /// Group functions need `group.id`.
    #[error("{what} needs `group.id` in the consumer's configuration")]
    NoGroup {
        /// The call.
        what: &'static str,
    },
    /// The call does not fit the state of the producer or consumer.
    #[error("{0}")]
    IllegalState(String),
    /// An assignor failed.
    #[error("partition assignor `{assignor}`: {reason}")]
    Assignor {
        /// Its name.
        assignor: String,
        /// What went wrong.
        reason: String,
    },
    /// The producer or consumer was closed.
    #[error("the {0} is closed")]
    Closed(&'static str),
    /// A broker's bytes could not be read, or a request could not be written.
    #[error("{what}: {source}")]
    Wire {
        /// Which request.
        what: String,
        /// The reason.
        source: Arc<WireError>,
    },
    /// A batch of records is damaged.
    #[error("records of {partition} at offset {offset}: {source}")]
    Records {
        /// The partition.
        partition: TopicPartition,
        /// The offset from which records were read.
        offset: i64,
        /// What is wrong with them.
        source: Arc<RecordError>,
    },
    /// An answer that the protocol does not allow.
    #[error("{what}: the broker's answer makes no sense: {reason}")]
    Protocol {
        /// Which request.
        what: String,
        /// What is wrong.
        reason: String,
    },
    /// No tokio runtime was given and none is current.
    #[error("no tokio runtime: call this inside one, or set `ClientConfig::runtime`")]
    NoRuntime,
}

impl ClientError {
    pub(crate) fn broker(code: ErrorCode, what: impl Into<String>) -> Self {
        ClientError::Broker {
            code,
            what: what.into(),
            message: None,
        }
    }

    pub(crate) fn broker_said(
        code: ErrorCode,
        what: impl Into<String>,
        message: Option<impl AsRef<str>>,
    ) -> Self {
        ClientError::Broker {
            code,
            what: what.into(),
            message: message.map(|m| m.as_ref().to_owned()),
        }
    }

    /// The broker's error code, if a broker refused.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            ClientError::Broker { code, .. } => Some(*code),
            ClientError::DeliveriesFailed { first, .. } => first.code(),
            ClientError::AbortRequired { source, .. }
            | ClientError::ProducerFenced { source, .. }
            | ClientError::TransactionFatal { source, .. }
            | ClientError::RecordRefused { source, .. }
            | ClientError::OutcomeUnknown { source, .. } => source.code(),
            _ => None,
        }
    }

    /// Whether another producer has taken this one's place: nothing it does counts any more.
    pub fn is_fenced(&self) -> bool {
        match self {
            ClientError::ProducerFenced { .. } => true,
            ClientError::DeliveriesFailed { first, .. } => first.is_fenced(),
            _ => false,
        }
    }

    /// Whether aborting the transaction is the way out, after which the producer may go on.
    pub fn is_abortable(&self) -> bool {
        match self {
            ClientError::AbortRequired { .. } | ClientError::TransactionAborted => true,
            ClientError::DeliveriesFailed { first, .. } => first.is_abortable(),
            _ => false,
        }
    }

    /// Whether a transactional producer can only be closed.
    pub fn is_fatal(&self) -> bool {
        match self {
            ClientError::ProducerFenced { .. }
            | ClientError::TransactionFatal { .. }
            | ClientError::Closed(_) => true,
            ClientError::DeliveriesFailed { first, .. } => first.is_fatal(),
            _ => false,
        }
    }

    /// Whether a transaction may have ended or not; the same call again finds out.
    pub fn is_outcome_unknown(&self) -> bool {
        matches!(self, ClientError::OutcomeUnknown { .. })
    }

    /// Whether the same call may succeed later without a change.
    pub fn is_retriable(&self) -> bool {
        match self {
            ClientError::Broker { code, .. } => code.is_retriable(),
            ClientError::Timeout { .. }
            | ClientError::Connection { .. }
            | ClientError::BufferExhausted { .. } => true,
            _ => false,
        }
    }
}

fn detail(message: &Option<String>) -> String {
    message
        .as_ref()
        // What to do about it follows.
        .map(|m| format!(": {}", m.trim_end_matches('.')))
        .unwrap_or_default()
}

/// What the broker said, without the general advice about its code.
fn refusal(error: &ClientError) -> String {
    match error {
        ClientError::Broker { code, message, .. } => match message {
            Some(message) => format!("{code:?}: {message}"),
            None => format!("{code:?}"),
        },
        other => other.to_string(),
    }
}

fn suggestion(nearest: &Option<String>) -> String {
    nearest
        .as_ref()
        .map(|n| format!("; did you mean `{n}`?"))
        .unwrap_or_default()
}

fn last(error: &Option<Box<ClientError>>) -> String {
    error
        .as_ref()
        .map(|e| format!("; last error: {e}"))
        .unwrap_or_default()
}

/// What to do about the codes that users meet.
fn advice(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::UnknownTopicOrPartition => "; create the topic first, or check its name",
        ErrorCode::TopicAlreadyExists => "; choose another name, or use the topic that exists",
        ErrorCode::MessageTooLarge => {
            "; lower `batch.size`, compress, or raise the topic's `max.message.bytes`"
        }
        ErrorCode::RecordListTooLarge => "; lower `batch.size`",
        ErrorCode::FencedInstanceId => {
            "; another consumer runs with the same `group.instance.id`: give each its own"
        }
        ErrorCode::IllegalGeneration | ErrorCode::UnknownMemberId => {
            "; the group has gone on without this member: poll more often, or raise `max.poll.interval.ms`"
        }
        ErrorCode::InconsistentGroupProtocol => {
            "; all members of a group need a `partition.assignment.strategy` in common"
        }
        ErrorCode::NonEmptyGroup => "; stop the group's members first",
        ErrorCode::InvalidTopicException => {
            "; a name has 1 to 249 of the characters a-z A-Z 0-9 . _ -"
        }
        _ => "",
    }
}
