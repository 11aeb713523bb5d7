//! One partition's log: segments in the order of their base offsets, of which the last is active.
//!
//! Invariants:
//! - Offsets have no gaps (but those that compaction leaves), and what is published in
//!   [`LogPosition`] was written before.
//! - There is one writer at a time: whoever holds `writer`. Readers take no lock but a short one on
//!   the list of segments.
//! - Nothing is served that was not checked: every batch of a read is held against its CRC, and
//!   what the CRC does not cover (base offset, leader epoch) against the offsets around it and the
//!   leader epoch cache. crc32c takes a small part of what copying the bytes takes.

mod aborted;
mod append;
mod cleanup;
mod compact;
mod flush;
mod locate;
mod open;
mod read;
mod state;
mod transactions;
mod validate;

pub use locate::Located;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, MutexGuard, RwLock};
use tokio::sync::watch;
use uuid::Uuid;

use super::config::LogConfig;
use super::dir::LogDir;
use super::epochs::EpochCache;
use super::error::{StorageError, StorageResult};
use super::files::{SNAPSHOT_SUFFIX, offset_file};
use super::producers::{Producers, Undecided};
use super::properties::write_topic_id;
use super::segment::Segment;
use super::types::{EpochEndOffset, LogPosition, LogState};

pub(crate) use compact::Cleanable;
pub(crate) use open::OpenLog;

/// One partition's log: shared as `Arc<PartitionLog>`; every method takes `&self` and may block on
/// the disk.
pub struct PartitionLog {
    topic: String,
    partition: i32,
    topic_id: RwLock<Uuid>,
    dir: Arc<LogDir>,
    folder: PathBuf,
    config: RwLock<Arc<LogConfig>>,
    segments: RwLock<BTreeMap<i64, Arc<Segment>>>,
    writer: Mutex<Writer>,
    epochs: RwLock<EpochCache>,
    position: watch::Sender<LogPosition>,
    /// What holds the last stable offset back. Changed by the writer before the offsets are
    /// published; locked after `position` where both are.
    undecided: Mutex<Undecided>,
    /// Everything below is on disk.
    flushed: AtomicI64,
    /// Held during a flush; who waits for it finds the work done.
    flushing: Mutex<()>,
    /// The group commit has been asked and has not come by yet.
    flush_asked: AtomicBool,
    /// A sealed segment waits to be flushed by the next [`tick`](super::LogManager::tick).
    flush_due: AtomicBool,
    /// Sealed segments of which not all is known to be on disk: the indexes were written last.
    unsynced: Mutex<Vec<Arc<Segment>>>,
    last_flush: AtomicI64,
    /// Grows when the log is cut off or segments are swapped, so that a reader knows to look again.
    truncations: AtomicU64,
    /// Held by who takes segments away or puts others in their place; taken before `writer`.
    cutting: Mutex<()>,
    /// Held while the log is compacted.
    cleaning: Mutex<()>,
    me: Weak<PartitionLog>,
}

/// What only the one writer touches.
struct Writer {
    active: Arc<Segment>,
    producers: Producers,
    next_offset: i64,
    /// What is taken off `segment.ms`, between 0 and 1 of `segment.jitter.ms`.
    jitter: f64,
}

impl std::fmt::Debug for PartitionLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PartitionLog")
            .field("topic", &self.topic)
            .field("partition", &self.partition)
            .field("position", &*self.position.borrow())
            .finish_non_exhaustive()
    }
}

impl PartitionLog {
    /// The topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The partition.
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// The topic id in `partition.metadata`; nil when it has none.
    pub fn topic_id(&self) -> Uuid {
        *self.topic_id.read()
    }

    /// Gives a log that has none its topic id.
    pub(crate) fn adopt_topic_id(&self, id: Uuid) -> StorageResult<()> {
        write_topic_id(&self.folder, id)?;
        *self.topic_id.write() = id;
        Ok(())
    }

    /// The folder of the log.
    pub fn folder(&self) -> &std::path::Path {
        &self.folder
    }

    pub(crate) fn dir(&self) -> &Arc<LogDir> {
        &self.dir
    }

    /// The settings.
    pub fn config(&self) -> Arc<LogConfig> {
        Arc::clone(&self.config.read())
    }

    /// Replaces the settings.
    pub fn update_config(&self, config: LogConfig) {
        *self.config.write() = Arc::new(config);
        self.publish(|_| {});
    }

    /// The offsets, as one consistent value.
    pub fn position(&self) -> LogPosition {
        *self.position.borrow()
    }

    /// To be told of every change of [`position`](Self::position).
    pub fn watch(&self) -> watch::Receiver<LogPosition> {
        self.position.subscribe()
    }

    /// The first offset that may be read.
    pub fn log_start_offset(&self) -> i64 {
        self.position.borrow().log_start_offset
    }

    /// The offset of the next record.
    pub fn log_end_offset(&self) -> i64 {
        self.position.borrow().log_end_offset
    }

    /// The offset below which everything is committed.
    pub fn high_watermark(&self) -> i64 {
        self.position.borrow().high_watermark
    }

    /// The offset below which no transaction is undecided.
    pub fn last_stable_offset(&self) -> i64 {
        self.position.borrow().last_stable_offset
    }

    /// The latest leader epoch in the log.
    pub fn latest_epoch(&self) -> Option<i32> {
        self.epochs.read().latest()
    }

    /// Where `leader_epoch` (or the largest epoch below it) ends.
    pub fn end_offset_for_epoch(&self, leader_epoch: i32) -> EpochEndOffset {
        let epochs = self.epochs.read();
        epochs.end_offset(leader_epoch, self.log_end_offset())
    }

    /// The leader epoch of the record at `offset`.
    pub fn epoch_for_offset(&self, offset: i64) -> Option<i32> {
        self.epochs.read().epoch_at(offset)
    }

    /// Bytes of batches on disk.
    pub fn size(&self) -> u64 {
        self.segments
            .read()
            .values()
            .map(|segment| segment.size())
            .sum()
    }

    /// How many segments there are.
    pub fn segment_count(&self) -> usize {
        self.segments.read().len()
    }

    /// Forgets producers that have been idle for so long, and have no transaction.
    pub fn expire_producers(&self, now: i64, expiration_ms: i64) {
        self.writer.lock().producers.expire(now, expiration_ms);
    }

    /// An error when the log is closed or its directory offline; tells the waiters.
    fn check(&self) -> StorageResult<()> {
        if let Err(error) = self.dir.check() {
            self.set_state(LogState::Offline);
            return Err(error);
        }
        if self.position.borrow().state == LogState::Closed {
            return Err(StorageError::Closed {
                topic: self.topic.clone(),
                partition: self.partition,
            });
        }
        Ok(())
    }

    /// The writer's lock, on a log that can be written.
    fn lock_writer(&self) -> StorageResult<MutexGuard<'_, Writer>> {
        let writer = self.writer.lock();
        self.check()?;
        Ok(writer)
    }

    /// Refuses everything from now on; what is under way has ended when this returns.
    pub(crate) fn shut(&self) {
        let _cutting = self.cutting.lock();
        let _writer = self.writer.lock();
        let _flushing = self.flushing.lock();
        self.set_state(LogState::Closed);
    }

    pub(crate) fn set_state(&self, state: LogState) {
        self.position.send_if_modified(|position| {
            let changed = position.state != state && position.state != LogState::Closed;
            if changed {
                position.state = state;
            }
            changed
        });
    }

    /// Publishes a change of the offsets and what follows from it.
    fn publish(&self, change: impl FnOnce(&mut LogPosition)) {
        let flush_before_ack = self.config.read().flush_before_ack();
        self.position.send_if_modified(|position| {
            let before = *position;
            change(position);
            // One replica: what it has is committed, once it is on disk where that is asked for.
            // The high watermark only goes back with the end of the log.
            let own = if flush_before_ack {
                self.flushed.load(Ordering::Acquire)
            } else {
                position.log_end_offset
            };
            position.high_watermark = own
                .max(position.high_watermark)
                .max(position.log_start_offset)
                .min(position.log_end_offset);
            // A marker counts once it is below the high watermark.
            let mut undecided = self.undecided.lock();
            undecided.replicated(position.high_watermark);
            position.last_stable_offset =
                undecided.first().map_or(position.high_watermark, |first| {
                    first.clamp(position.log_start_offset, position.high_watermark)
                });
            *position != before
        });
    }

    /// Damage on disk, as the error that says where.
    pub(crate) fn corrupt(
        &self,
        segment: &Segment,
        offset: i64,
        position: u64,
        reason: String,
    ) -> StorageError {
        StorageError::Corrupt {
            topic: self.topic.clone(),
            partition: self.partition,
            offset,
            file: segment.path().to_path_buf(),
            position,
            reason,
        }
    }

    fn out_of_range(&self, offset: i64, position: &LogPosition) -> StorageError {
        StorageError::OffsetOutOfRange {
            topic: self.topic.clone(),
            partition: self.partition,
            offset,
            log_start_offset: position.log_start_offset,
            log_end_offset: position.log_end_offset,
        }
    }

    fn snapshot_path(&self, offset: i64) -> PathBuf {
        offset_file(&self.folder, offset, SNAPSHOT_SUFFIX)
    }

    /// An empty segment that will be appended to.
    fn new_segment(&self, base_offset: i64, now: i64) -> StorageResult<Arc<Segment>> {
        let segment = Arc::new(Segment::create(&self.dir, &self.folder, base_offset, now)?);
        let config = self.config();
        if config.preallocate
            && let Err(error) = segment.preallocate(u64::from(config.segment_bytes))
        {
            let _ = segment.delete(0);
            return Err(error);
        }
        Ok(segment)
    }

    /// Begins a new segment at the end of the log. The producers' state is saved with it, so that
    /// recovery needs to read no further back.
    fn roll(&self, writer: &mut Writer, now: i64) -> StorageResult<()> {
        let base_offset = writer.next_offset;
        // In this order nothing has changed when one of them fails, for want of space.
        writer
            .producers
            .write_snapshot(&self.snapshot_path(base_offset))?;
        let segment = self.new_segment(base_offset, now)?;
        if let Err(error) = writer.active.seal() {
            let _ = segment.delete(0);
            return Err(error);
        }
        self.unsynced.lock().push(Arc::clone(&writer.active));
        self.segments
            .write()
            .insert(base_offset, Arc::clone(&segment));
        writer.active = segment;
        writer.jitter = rand::random();
        self.flush_due.store(true, Ordering::Release);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod txn_tests;
