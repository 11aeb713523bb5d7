//! What the calls of storage take and return.

use bytes::Bytes;

use super::txn_index::AbortedTxn;

/// Who appends, which decides what is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendOrigin {
    /// A producer: exactly one batch, no control batch, sequences are checked.
    Client,
    /// The broker itself (coordinators, the controller): trusted, several batches allowed.
    Coordinator,
}

/// What was appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppendInfo {
    /// The offset of the first record; of a duplicate, the offset it got the first time.
    pub first_offset: i64,
    /// The offset of the last record.
    pub last_offset: i64,
    /// The time the broker stamped on the batch, or -1 where the producer's stamps are kept.
    pub log_append_time: i64,
    /// The log start offset at the time of the append.
    pub log_start_offset: i64,
    /// The largest timestamp of the records.
    pub max_timestamp: i64,
    /// Bytes written; 0 for a duplicate.
    pub size: usize,
    /// The batch was already in the log (a retry of an idempotent producer): nothing was written.
    pub duplicate: bool,
    /// A marker was written: the end of a transaction, with which the last stable offset may move
    /// by more than what was written.
    pub marker: bool,
}

/// What is the last thing a reader may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FetchIsolation {
    /// Everything in the log: what a follower reads.
    LogEnd,
    /// Everything below the high watermark: `read_uncommitted`.
    #[default]
    HighWatermark,
    /// Everything below the last stable offset: `read_committed`.
    TxnCommitted,
}

/// What was read: whole batches, each checked against its CRC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchData {
    /// Whole record batches, byte for byte as on disk; the first contains the offset asked for.
    /// Empty at the end of the log.
    pub records: Bytes,
    /// The offset to read from next.
    pub next_offset: i64,
    /// The log's offsets when it was read.
    pub position: LogPosition,
    /// Of a read of committed records: the aborted transactions that have records in it.
    pub aborted: Vec<AbortedTxn>,
}

/// The answer to a lookup by timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimestampOffset {
    /// The timestamp of the record found.
    pub timestamp: i64,
    /// Its offset.
    pub offset: i64,
    /// Its leader epoch, -1 when unknown.
    pub leader_epoch: i32,
}

/// Where a log stands. Published to waiters as one value, so that it is always consistent:
/// `log_start_offset <= last_stable_offset <= high_watermark <= log_end_offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogPosition {
    /// The first offset that may be read.
    pub log_start_offset: i64,
    /// The offset below which no transaction is undecided.
    pub last_stable_offset: i64,
    /// The offset below which everything is committed: safe on every replica that counts, and on
    /// disk where the topic says so (`flush.messages=1`).
    pub high_watermark: i64,
    /// The offset the next record gets.
    pub log_end_offset: i64,
    /// Whether the log can be used.
    pub state: LogState,
}

impl LogPosition {
    /// The offset before which a reader's sight ends.
    pub fn end(&self, isolation: FetchIsolation) -> i64 {
        match isolation {
            FetchIsolation::LogEnd => self.log_end_offset,
            FetchIsolation::HighWatermark => self.high_watermark,
            FetchIsolation::TxnCommitted => self.last_stable_offset,
        }
    }
}

/// Whether a log can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogState {
    /// It can.
    Online,
    /// Its log directory failed: nothing will be acknowledged any more.
    Offline,
    /// It was closed or deleted.
    Closed,
}

/// The end of a leader epoch, for truncation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochEndOffset {
    /// The largest epoch not above the one asked for; -1 when there is none.
    pub leader_epoch: i32,
    /// The offset after its last record; -1 when there is none.
    pub end_offset: i64,
}

impl EpochEndOffset {
    /// Nothing is known.
    pub const UNKNOWN: Self = Self {
        leader_epoch: -1,
        end_offset: -1,
    };
}
