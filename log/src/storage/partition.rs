//! One partition's log.

use bytes::Bytes;
use tokio::sync::watch;

use super::*;

/// One partition's log: shared as `Arc<PartitionLog>`, every method takes `&self` and may block on
/// the disk.
#[derive(Debug)]
pub struct PartitionLog {}

#[allow(unused_variables, clippy::todo)]
impl PartitionLog {
    /// The topic.
    pub fn topic(&self) -> &str {
        todo!()
    }
    /// The partition.
    pub fn partition(&self) -> i32 {
        todo!()
    }
    /// The topic id in `partition.metadata`.
    pub fn topic_id(&self) -> uuid::Uuid {
        todo!()
    }
    /// The settings.
    pub fn config(&self) -> std::sync::Arc<LogConfig> {
        todo!()
    }
    /// Replaces the settings.
    pub fn update_config(&self, config: LogConfig) {
        todo!()
    }

    /// Appends batches as the leader: checks them, gives them offsets, writes them.
    ///
    /// Where the topic wants its records on disk first (`flush.messages=1`), the flush has been
    /// asked for (group commit) and the high watermark follows it: wait for
    /// `position().high_watermark > info.last_offset` through [`watch`](Self::watch), or call
    /// [`flush_through`](Self::flush_through).
    pub fn append(
        &self,
        batches: Bytes,
        leader_epoch: i32,
        origin: AppendOrigin,
        now: i64,
    ) -> Result<AppendInfo, AppendError> {
        todo!()
    }
    /// Appends batches that have their offsets and epochs, as a follower does.
    pub fn append_as_follower(&self, batches: Bytes, now: i64) -> Result<AppendInfo, AppendError> {
        todo!()
    }

    /// Reads whole batches, the first of which contains `offset`. At least one batch when
    /// `min_one`, even if it exceeds `max_bytes`. Blocks on the disk at most.
    pub fn read(
        &self,
        offset: i64,
        max_bytes: usize,
        min_one: bool,
        isolation: FetchIsolation,
    ) -> StorageResult<FetchData> {
        todo!()
    }
    /// The first record with a timestamp not before the one given.
    pub fn offset_for_timestamp(&self, timestamp: i64) -> StorageResult<Option<TimestampOffset>> {
        todo!()
    }
    /// The record with the largest timestamp.
    pub fn max_timestamp(&self) -> StorageResult<Option<TimestampOffset>> {
        todo!()
    }

    /// The offsets, as one consistent value.
    pub fn position(&self) -> LogPosition {
        todo!()
    }
    /// To be told of every change of [`position`](Self::position).
    pub fn watch(&self) -> watch::Receiver<LogPosition> {
        todo!()
    }
    /// The first offset that may be read.
    pub fn log_start_offset(&self) -> i64 {
        todo!()
    }
    /// The offset of the next record.
    pub fn log_end_offset(&self) -> i64 {
        todo!()
    }
    /// The offset below which everything is committed.
    pub fn high_watermark(&self) -> i64 {
        todo!()
    }
    /// The offset below which no transaction is undecided.
    pub fn last_stable_offset(&self) -> i64 {
        todo!()
    }
    /// Everything below this offset is on disk.
    pub fn flushed_offset(&self) -> i64 {
        todo!()
    }

    /// Moves the log start offset up (DeleteRecords; `before` at most the high watermark); whole
    /// segments below it are deleted. Returns the new log start offset.
    pub fn delete_records(&self, before: i64) -> StorageResult<i64> {
        todo!()
    }
    /// Deletes segments that retention (time, size, log start offset) is done with. Returns how many.
    pub fn apply_retention(&self, now: i64) -> StorageResult<usize> {
        todo!()
    }
    /// Cuts the log off: `offset` is the next one appended.
    pub fn truncate_to(&self, offset: i64) -> StorageResult<()> {
        todo!()
    }
    /// Drops everything and starts again at `offset` (a snapshot was installed there).
    pub fn truncate_fully_and_start_at(&self, offset: i64) -> StorageResult<()> {
        todo!()
    }

    /// fsyncs everything appended so far.
    pub fn flush(&self) -> StorageResult<()> {
        todo!()
    }
    /// Returns once everything up to and with `offset` is on disk; joins a flush under way.
    pub fn flush_through(&self, offset: i64) -> StorageResult<()> {
        todo!()
    }

    /// The latest leader epoch in the log.
    pub fn latest_epoch(&self) -> Option<i32> {
        todo!()
    }
    /// Where `leader_epoch` (or the largest epoch below it) ends.
    pub fn end_offset_for_epoch(&self, leader_epoch: i32) -> EpochEndOffset {
        todo!()
    }
    /// The leader epoch of the record at `offset`.
    pub fn epoch_for_offset(&self, offset: i64) -> Option<i32> {
        todo!()
    }

    /// Bytes on disk.
    pub fn size(&self) -> u64 {
        todo!()
    }
}
