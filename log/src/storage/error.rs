//! What can go wrong in storage: typed, with the topic, partition, offset and file.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

use crate::record::RecordError;

/// The result of a storage operation.
pub type StorageResult<T> = Result<T, StorageError>;

/// Why a storage operation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// Another process has the data folder open.
    #[error(
        "the data folder {path} is in use by another process: stop it, or give this one a folder \
         of its own"
    )]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The data folder cannot be created or written.
    #[error(
        "the data folder {path} cannot be used: {source}; it must be a folder this user may write to"
    )]
    NotWritable {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file operation failed.
    #[error("{action} {path}: {source}")]
    Io {
        /// What was being done ("read", "write", …).
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no room on the disk. What was written of the append has been taken back.
    #[error(
        "no space left on the disk of {path}: nothing was appended; free some space and try again"
    )]
    DiskFull {
        /// The file that could not grow.
        path: PathBuf,
    },
    /// The log directory is offline after an I/O error: its files are not touched any more.
    #[error(
        "the log directory {path} is offline since an error ({reason}); repair the disk and restart"
    )]
    Offline {
        /// The directory.
        path: PathBuf,
        /// The error that took it offline.
        reason: String,
    },
    /// Bytes on disk are not what was written.
    #[error(
        "{topic}-{partition} is corrupt at offset {offset}: {reason} ({file}, byte {position})"
    )]
    Corrupt {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The offset at which (or after which) reading failed.
        offset: i64,
        /// The file.
        file: PathBuf,
        /// Where in the file.
        position: u64,
        /// What is wrong.
        reason: String,
    },
    /// A file of the data folder (not of records) cannot be understood.
    #[error("the file {path} cannot be read: {reason}")]
    BadFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The data folder belongs to another cluster or node.
    #[error(
        "the data folder {path} belongs to {found}, but this node is {expected}: give it the right folder"
    )]
    WrongOwner {
        /// The folder.
        path: PathBuf,
        /// Who the folder says it belongs to.
        found: String,
        /// Who this node is.
        expected: String,
    },
    /// The offset is not in the log.
    #[error(
        "{topic}-{partition}: the offset {offset} is not in the log, which has {log_start_offset} to {log_end_offset}"
    )]
    OffsetOutOfRange {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The offset that was asked for.
        offset: i64,
        /// The first offset.
        log_start_offset: i64,
        /// The offset after the last.
        log_end_offset: i64,
    },
    /// The partition exists already, with another topic id.
    #[error(
        "{topic}-{partition} exists with the topic id {found}, not {expected}: the topic was deleted and created again"
    )]
    TopicIdMismatch {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The id in `partition.metadata`.
        found: uuid::Uuid,
        /// The id that was given.
        expected: uuid::Uuid,
    },
    /// The topic name would not make a folder name.
    #[error(
        "the topic name {0:?} is not legal: 1 to 249 letters, digits, '.', '_' and '-', and not '.' or '..'"
    )]
    IllegalTopicName(String),
    /// The partition's log could not be opened when its folder was.
    #[error("{topic}-{partition} is offline: {source}")]
    Failed {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// Why.
        source: std::sync::Arc<StorageError>,
    },
    /// The log is closed or deleted.
    #[error("{topic}-{partition} is closed")]
    Closed {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
    },
}

impl StorageError {
    /// Wraps an I/O error with what was being done, telling a full disk apart.
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        if matches!(
            source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        ) {
            return Self::DiskFull {
                path: path.to_path_buf(),
            };
        }
        Self::Io {
            action,
            path: path.to_path_buf(),
            source,
        }
    }
}

/// A record for which its batch was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedRecord {
    /// Its place in the batch.
    pub index: i32,
    /// What is wrong with it.
    pub reason: Cow<'static, str>,
}

/// The first few of what may be many.
fn refused(records: &[RejectedRecord]) -> String {
    const SHOWN: usize = 3;
    let mut text = format!("{} record(s) of the batch are refused", records.len());
    for (n, record) in records.iter().take(SHOWN).enumerate() {
        let separator = if n == 0 { ": " } else { "; " };
        text.push_str(&format!(
            "{separator}record {}: {}",
            record.index, record.reason
        ));
    }
    if records.len() > SHOWN {
        text.push_str("; …");
    }
    text
}

/// Why batches were not appended. Nothing of a refused append is in the log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// The bytes are not valid record batches (`CORRUPT_MESSAGE` for a bad CRC or header,
    /// `UNSUPPORTED_COMPRESSION_TYPE` for an unknown codec, else `INVALID_RECORD`).
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A record breaks a rule of the topic (`INVALID_RECORD`).
    #[error("invalid record: {0}")]
    InvalidRecord(String),
    /// The batch exceeds `max.message.bytes` (`MESSAGE_TOO_LARGE`).
    #[error("the batch of {size} bytes exceeds the topic's max.message.bytes of {limit}")]
    MessageTooLarge {
        /// The size of the batch.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// The batches exceed `segment.bytes` (`RECORD_LIST_TOO_LARGE`).
    #[error("the batches of {size} bytes exceed the topic's segment.bytes of {limit}")]
    RecordListTooLarge {
        /// The size of the batches.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// Records break a rule of the topic (`INVALID_RECORD`).
    #[error("{}", refused(.0))]
    InvalidRecords(Vec<RejectedRecord>),
    /// Timestamps are too far from the broker's clock (`INVALID_TIMESTAMP`).
    #[error("{}", refused(.0))]
    InvalidTimestamps(Vec<RejectedRecord>),
    /// The producer has been fenced by a newer epoch (`INVALID_PRODUCER_EPOCH`).
    #[error(
        "the producer {producer_id} has epoch {epoch}, but {current} was seen: a newer instance took over"
    )]
    InvalidProducerEpoch {
        /// The producer id.
        producer_id: i64,
        /// The epoch of the batch.
        epoch: i16,
        /// The epoch that the log has seen.
        current: i16,
    },
    /// A batch before this one is missing (`OUT_OF_ORDER_SEQUENCE_NUMBER`).
    #[error(
        "the producer {producer_id} sent the sequence {sequence}, but {expected} is next: a batch before it is missing"
    )]
    OutOfOrderSequence {
        /// The producer id.
        producer_id: i64,
        /// The first sequence of the batch.
        sequence: i32,
        /// The sequence that is next.
        expected: i32,
    },
    /// The batch would begin a transaction that its coordinator has not confirmed, or that has
    /// ended since it did (`INVALID_TXN_STATE`).
    #[error(
        "the batch of the producer {producer_id} (epoch {epoch}) is not part of an ongoing transaction: begin a new one"
    )]
    TransactionNotVerified {
        /// The producer id.
        producer_id: i64,
        /// The epoch of the batch.
        epoch: i16,
    },
    /// The batch is not transactional, but its producer's transaction is ongoing
    /// (`INVALID_TXN_STATE`).
    #[error(
        "the producer {producer_id} has a transaction since offset {first_offset}: its batches must belong to it until it ends"
    )]
    TransactionOngoing {
        /// The producer id.
        producer_id: i64,
        /// Where the transaction begins.
        first_offset: i64,
    },
    /// The marker comes from a coordinator that another has replaced
    /// (`TRANSACTION_COORDINATOR_FENCED`).
    #[error(
        "the coordinator of the producer {producer_id} has epoch {epoch}, but {current} was seen: another coordinator took over"
    )]
    CoordinatorFenced {
        /// The producer id.
        producer_id: i64,
        /// The coordinator epoch of the marker.
        epoch: i32,
        /// The coordinator epoch that the log has seen.
        current: i32,
    },
    /// The leader epoch is older than one the log has (`FENCED_LEADER_EPOCH`).
    #[error("the leader epoch {epoch} is older than {current}, which the log has")]
    FencedLeaderEpoch {
        /// The epoch of the append.
        epoch: i32,
        /// The latest epoch of the log.
        current: i32,
    },
    /// A follower's batch does not go on where the log ends.
    #[error("the batch has the base offset {base_offset}, but the log ends at {log_end_offset}")]
    OffsetGap {
        /// The base offset of the batch.
        base_offset: i64,
        /// The end of the log.
        log_end_offset: i64,
    },
    /// Storage failed (`KAFKA_STORAGE_ERROR`).
    #[error(transparent)]
    Storage(#[from] StorageError),
}
