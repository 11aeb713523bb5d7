//! What an error inside the broker is called on the wire.

use crate::controller::{QuorumError, Refusal};
use crate::record::RecordError;
use crate::storage::{AppendError, LogConfigError, StorageError};
use crate::wire::ErrorCode;

/// The code of a storage error.
pub(crate) fn storage(error: &StorageError) -> ErrorCode {
    match error {
        StorageError::OffsetOutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        StorageError::Closed { .. } => ErrorCode::NotLeaderOrFollower,
        StorageError::TopicIdMismatch { .. } => ErrorCode::InconsistentTopicId,
        StorageError::IllegalTopicName(_) => ErrorCode::InvalidTopicException,
        StorageError::Corrupt { .. } => ErrorCode::CorruptMessage,
        _ => ErrorCode::KafkaStorageError,
    }
}

/// The code of a refused append.
pub(crate) fn append(error: &AppendError) -> ErrorCode {
    match error {
        AppendError::Record(e) => record(e),
        AppendError::InvalidRecord(_) | AppendError::InvalidRecords(_) => ErrorCode::InvalidRecord,
        AppendError::MessageTooLarge { .. } => ErrorCode::MessageTooLarge,
        AppendError::RecordListTooLarge { .. } => ErrorCode::RecordListTooLarge,
        AppendError::InvalidTimestamps(_) => ErrorCode::InvalidTimestamp,
        AppendError::InvalidProducerEpoch { .. } => ErrorCode::InvalidProducerEpoch,
        AppendError::OutOfOrderSequence { .. } => ErrorCode::OutOfOrderSequenceNumber,
        AppendError::TransactionNotVerified { .. } | AppendError::TransactionOngoing { .. } => {
            ErrorCode::InvalidTxnState
        }
        AppendError::CoordinatorFenced { .. } => ErrorCode::TransactionCoordinatorFenced,
        AppendError::FencedLeaderEpoch { .. } => ErrorCode::FencedLeaderEpoch,
        AppendError::Storage(e) => storage(e),
        _ => ErrorCode::InvalidRecord,
    }
}

/// The code of bytes that are no good record batch: what may have happened on the way is told apart
/// from what the producer did.
fn record(error: &RecordError) -> ErrorCode {
    match error {
        RecordError::Crc { .. } => ErrorCode::CorruptMessage,
        RecordError::UnknownCompression(_) => ErrorCode::UnsupportedCompressionType,
        _ => ErrorCode::InvalidRecord,
    }
}

/// The code of a refused metadata command.
pub(crate) fn refusal(refusal: &Refusal) -> ErrorCode {
    match refusal {
        Refusal::TopicExists(_) => ErrorCode::TopicAlreadyExists,
        Refusal::UnknownTopicId(_) => ErrorCode::UnknownTopicId,
        Refusal::UnknownTopic(_) => ErrorCode::UnknownTopicOrPartition,
        Refusal::InvalidPartitions(_) => ErrorCode::InvalidPartitions,
        Refusal::InvalidAssignment(_) => ErrorCode::InvalidReplicaAssignment,
        Refusal::InvalidConfig(_) => ErrorCode::InvalidConfig,
        Refusal::InvalidRequest(_) => ErrorCode::InvalidRequest,
        Refusal::StaleBroker(_) => ErrorCode::StaleBrokerEpoch,
        Refusal::BrokerNotRegistered(_) => ErrorCode::BrokerIdNotRegistered,
    }
}

/// The code of a quorum that could not decide.
pub(crate) fn quorum(error: &QuorumError) -> ErrorCode {
    match error {
        QuorumError::NotLeader { .. } => ErrorCode::NotController,
        QuorumError::Stopped(_) | QuorumError::Storage(_) => ErrorCode::UnknownServerError,
    }
}

/// The code of a refused topic config.
pub(crate) fn topic_config(_: &LogConfigError) -> ErrorCode {
    ErrorCode::InvalidConfig
}
