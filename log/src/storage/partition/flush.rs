//! fsync: at most one at a time for a log, and who waits for one under way shares it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::MutexGuard;

use super::super::dir::Flush;
use super::super::error::StorageResult;
use super::super::segment::Segment;
use super::super::types::LogState;
use super::PartitionLog;

impl PartitionLog {
    /// Everything below this offset is on disk.
    pub fn flushed_offset(&self) -> i64 {
        self.flushed.load(Ordering::Acquire)
    }

    /// fsyncs everything appended so far.
    pub fn flush(&self) -> StorageResult<()> {
        self.flush_through(self.log_end_offset() - 1)
    }

    /// Returns once everything up to and with `offset` is on disk; joins a flush under way.
    ///
    /// An error takes the log directory offline: fsync is never tried again.
    pub fn flush_through(&self, offset: i64) -> StorageResult<()> {
        if self.flushed_offset() > offset {
            return Ok(());
        }
        let flushing = self.flushing.lock();
        if self.flushed_offset() > offset {
            return Ok(());
        }
        self.sync_all(&flushing)
    }

    /// Below this offset recovery need not look: all of it is on disk, indexes and all.
    pub(crate) fn recovery_point(&self) -> i64 {
        let flushed = self.flushed_offset();
        let unsynced = self.unsynced.lock();
        let first = unsynced.iter().map(|segment| segment.base_offset()).min();
        first.map_or(flushed, |first| first.min(flushed))
    }

    /// fsyncs everything there is, also the indexes of segments whose records are on disk already.
    pub(super) fn flush_whole(&self) -> StorageResult<()> {
        let flushing = self.flushing.lock();
        let unflushed = self.log_end_offset() > self.flushed_offset();
        if unflushed || !self.unsynced.lock().is_empty() {
            self.sync_all(&flushing)?;
        }
        Ok(())
    }

    fn sync_all(&self, _flushing: &MutexGuard<'_, ()>) -> StorageResult<()> {
        self.check()?;
        // What is sealed from here on waits for the next time.
        let sealed = self.unsynced.lock().clone();
        // What is published is written: all of it goes to disk with this flush.
        let end = self.log_end_offset();
        let flushed = self.flushed_offset();
        let segments: Vec<_> = {
            let segments = self.segments.read();
            let first = segments
                .range(..=flushed)
                .next_back()
                .map_or(flushed, |(base, _)| *base);
            let is_there = |segment: &&Arc<Segment>| {
                let found = segments.get(&segment.base_offset());
                found.is_some_and(|there| Arc::ptr_eq(there, segment))
            };
            let before = sealed.iter().filter(|s| s.base_offset() < first);
            let rest = segments.range(first..).map(|(_, segment)| segment);
            before.filter(is_there).chain(rest).cloned().collect()
        };
        // For want of space this may fail without harm: nothing was promised yet.
        self.epochs.write().sync()?;
        if let Err(error) = segments.iter().try_for_each(|segment| segment.sync()) {
            self.dir.fail(&error);
            self.set_state(LogState::Offline);
            return Err(error);
        }
        self.unsynced
            .lock()
            .retain(|segment| !sealed.iter().any(|done| Arc::ptr_eq(segment, done)));
        self.flushed.fetch_max(end, Ordering::AcqRel);
        self.publish(|_| {});
        Ok(())
    }

    /// Flushes when `flush.ms` has passed since there was something to flush, or when a segment
    /// was sealed: its pages leave memory, and recovery need not read it again.
    pub(crate) fn flush_if_due(&self, now: i64) -> StorageResult<()> {
        let config = self.config();
        let unflushed = self.log_end_offset() > self.flushed_offset();
        let last = self.last_flush.load(Ordering::Relaxed);
        let sealed = self.flush_due.swap(false, Ordering::AcqRel);
        if !unflushed || now.saturating_sub(last) >= config.flush_ms || sealed {
            self.last_flush.store(now, Ordering::Relaxed);
            self.flush_whole()?;
        }
        Ok(())
    }
}

impl Flush for PartitionLog {
    fn flush_in_group(&self) {
        // Before the flush: what is appended from now on asks again.
        self.flush_asked.store(false, Ordering::Release);
        // An error has taken the directory offline and told the waiters.
        if let Err(error) = self.flush() {
            tracing::error!(topic = self.topic, partition = self.partition, %error, "flush failed");
            self.set_state(LogState::Offline);
        }
    }
}
