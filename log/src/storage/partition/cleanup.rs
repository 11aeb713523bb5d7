//! What takes records away: retention, DeleteRecords, truncation.
//!
//! The log start offset moves before files go, so that no reader is shown what is about to vanish;
//! what a crash leaves in between is deleted after the next open.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::super::error::StorageResult;
use super::super::files::{remove_if_there, sync_dir};
use super::super::producers::{Producers, Undecided};
use super::super::scan::{ScanError, Scanner};
use super::super::segment::Segment;
use super::super::types::LogState;
use super::{PartitionLog, Writer, state};
use crate::record::NO_TIMESTAMP;

impl PartitionLog {
    /// Moves the log start offset up (DeleteRecords) to `before`, which is at most the high
    /// watermark; segments wholly below it are deleted. Returns the new log start offset.
    pub fn delete_records(&self, before: i64) -> StorageResult<i64> {
        let _cutting = self.cutting.lock();
        let mut writer = self.lock_writer()?;
        let position = self.position();
        if before > position.high_watermark || before < 0 {
            return Err(self.out_of_range(before, &position));
        }
        if before > position.log_start_offset {
            self.publish(|position| position.log_start_offset = before);
        }
        self.delete_below_start(&mut writer)?;
        Ok(self.log_start_offset())
    }

    /// Deletes segments that retention is done with: by time, by size, and below the log start
    /// offset. Returns how many. Compacted topics without `delete` keep theirs.
    pub fn apply_retention(&self, now: i64) -> StorageResult<usize> {
        let config = self.config();
        let _cutting = self.cutting.lock();
        let mut writer = self.lock_writer()?;
        let segments: Vec<_> = self.segments.read().values().cloned().collect();
        let position = self.position();
        let mut start = position.log_start_offset;
        let mut roll = false;
        if config.cleanup_delete {
            let total: u64 = segments.iter().map(|segment| segment.size()).sum();
            let limit = u64::try_from(config.retention_bytes).ok();
            let mut excess = limit.and_then(|limit| total.checked_sub(limit));
            for (n, segment) in segments.iter().enumerate() {
                let end = segments
                    .get(n + 1)
                    .map_or(writer.next_offset, |next| next.base_offset());
                let expired = config.retention_ms >= 0
                    && self
                        .newest(segment)?
                        .is_some_and(|t| now.saturating_sub(t) > config.retention_ms);
                let active = n + 1 == segments.len();
                let too_many = !active && excess.is_some_and(|excess| segment.size() <= excess);
                // One that compaction has emptied goes with the others.
                let nothing = active && segment.size() == 0;
                if end > position.high_watermark || nothing || !(expired || too_many) {
                    break;
                }
                excess = excess.map(|excess| excess.saturating_sub(segment.size()));
                start = start.max(end);
                roll = active;
            }
        }
        if roll {
            self.roll(&mut writer, now)?;
        }
        if start > position.log_start_offset {
            self.publish(|position| position.log_start_offset = start);
        }
        self.delete_below_start(&mut writer)
    }

    /// The largest timestamp of a segment; the file's time when its records have none.
    fn newest(&self, segment: &Segment) -> StorageResult<Option<i64>> {
        let stamps = segment.stamps()?;
        Ok(if !stamps.sound {
            // Nobody knows: it stays, and reads tell of the damage.
            None
        } else if stamps.max > NO_TIMESTAMP {
            Some(stamps.max)
        } else {
            segment.modified_at()
        })
    }

    /// Deletes the segments that lie wholly below the log start offset.
    pub(super) fn delete_below_start(&self, writer: &mut Writer) -> StorageResult<usize> {
        let start = self.log_start_offset();
        let mut deleted = 0;
        let delay = self.config().file_delete_delay_ms;
        loop {
            let first = {
                let mut segments = self.segments.write();
                let mut bases = segments.keys();
                match (bases.next().copied(), bases.next().copied()) {
                    (Some(first), Some(second)) if second <= start => segments.remove(&first),
                    _ => None,
                }
            };
            let Some(segment) = first else { break };
            segment.delete(delay)?;
            deleted += 1;
        }
        if deleted > 0 {
            let oldest = self.segments.read().keys().next().copied().unwrap_or(start);
            self.remove_snapshots(|offset| offset < oldest)?;
            let mut epochs = self.epochs.write();
            epochs.truncate_from_start(start.min(writer.next_offset));
            epochs.save()?;
        }
        Ok(deleted)
    }

    pub(super) fn remove_snapshots(&self, gone: impl Fn(i64) -> bool) -> StorageResult<()> {
        for offset in state::snapshots(&self.folder)? {
            if gone(offset) {
                remove_if_there(&self.snapshot_path(offset))?;
            }
        }
        Ok(())
    }

    /// Cuts the log off: `offset` is the next one appended. A batch that contains the offset goes
    /// as a whole. Below the log start everything goes. On disk when this returns.
    pub fn truncate_to(&self, offset: i64) -> StorageResult<()> {
        let _cutting = self.cutting.lock();
        let mut writer = self.lock_writer()?;
        let position = self.position();
        if offset >= position.log_end_offset {
            return Ok(());
        }
        let _flushing = self.flushing.lock();
        if offset < position.log_start_offset {
            return self.start_again(&mut writer, offset.max(0));
        }
        let result = self.cut(&mut writer, offset);
        self.fail_on(&result);
        result
    }

    fn cut(&self, writer: &mut Writer, offset: i64) -> StorageResult<()> {
        let mut later: Vec<_> = self
            .segments
            .read()
            .range(offset..)
            .map(|(_, s)| Arc::clone(s))
            .collect();
        // A segment that begins at the offset becomes the empty active one.
        let keep = later.first().filter(|s| s.base_offset() == offset).cloned();
        let active = match keep {
            Some(segment) => {
                later.remove(0);
                segment
            }
            None => {
                let segments = self.segments.read();
                let found = segments
                    .range(..offset)
                    .next_back()
                    .map(|(_, s)| Arc::clone(s));
                found.unwrap_or_else(|| Arc::clone(&writer.active))
            }
        };
        let (start, _) = active.lookup(offset);
        let mut scanner = Scanner::new(&active, start, active.size());
        let (at, end) = loop {
            let at = scanner.position();
            match scanner.peek() {
                Ok(Some(header)) if header.last_offset() >= offset => {
                    // In a compacted log the offset may lie before the batch, in a gap.
                    break (at, header.base_offset.min(offset));
                }
                Ok(Some(header)) => scanner.skip(&header),
                Ok(None) => break (at, offset),
                Err(ScanError::Damaged { position, reason }) => {
                    return Err(self.corrupt(&active, offset, position, reason));
                }
                Err(ScanError::Storage(error)) => return Err(error),
            }
        };
        if end < self.log_start_offset() {
            // Of the batch that the log starts in the middle of nothing is left.
            return self.start_again(writer, self.log_start_offset());
        }
        // Before anything goes: what comes instead is not on disk yet.
        self.dir
            .lower_recovery_point(&self.topic, self.partition, end)?;
        // What is left says which transactions are undecided again.
        let state = self.replay(end)?;
        // From here on readers see the new end; those that saw the old one look again.
        self.flushed.fetch_min(end, Ordering::AcqRel);
        self.publish(|position| {
            position.log_end_offset = end;
            *self.undecided.lock() = state.undecided;
        });
        self.truncations.fetch_add(1, Ordering::AcqRel);
        let delay = self.config().file_delete_delay_ms;
        for segment in later.iter().rev() {
            self.segments.write().remove(&segment.base_offset());
            segment.delete(delay)?;
        }
        active.activate()?;
        active.truncate(at, end)?;
        // The indexes in memory, over what is left.
        let interval = u64::from(self.config().index_interval_bytes);
        if let Err(ScanError::Storage(error)) = active.rebuild(interval, i64::MAX, |_| Ok(())) {
            return Err(error);
        }
        self.check_aborted(&active)?;
        active.aborted().truncate(end)?;
        active.sync()?;
        writer.active = active;
        writer.next_offset = end;
        self.epochs.write().truncate_from_end(end);
        self.epochs.write().sync()?;
        self.remove_snapshots(|snapshot| snapshot > end)?;
        // One that came back after a power cut would be taken for the new log's.
        sync_dir(&self.folder)?;
        writer.producers = state.producers;
        Ok(())
    }

    /// Drops everything and starts again at `offset` (a snapshot was installed there).
    pub fn truncate_fully_and_start_at(&self, offset: i64) -> StorageResult<()> {
        let _cutting = self.cutting.lock();
        let mut writer = self.lock_writer()?;
        let _flushing = self.flushing.lock();
        self.start_again(&mut writer, offset)
    }

    fn start_again(&self, writer: &mut Writer, offset: i64) -> StorageResult<()> {
        let start = self.log_start_offset();
        self.dir
            .lower_recovery_point(&self.topic, self.partition, offset.min(start))?;
        // A crash from here on finds a log start beyond the end of the log, and starts again there.
        self.dir
            .set_log_start(&self.topic, self.partition, offset)?;
        let result = self.replace_all(writer, offset);
        self.fail_on(&result);
        result
    }

    fn replace_all(&self, writer: &mut Writer, offset: i64) -> StorageResult<()> {
        self.flushed.store(offset, Ordering::Release);
        self.position.send_modify(|position| {
            position.log_start_offset = offset;
            position.log_end_offset = offset;
            position.high_watermark = offset;
            position.last_stable_offset = offset;
            *self.undecided.lock() = Undecided::default();
        });
        self.truncations.fetch_add(1, Ordering::AcqRel);
        let all: Vec<_> = std::mem::take(&mut *self.segments.write())
            .into_values()
            .collect();
        let delay = self.config().file_delete_delay_ms;
        for segment in all.iter().rev() {
            segment.delete(delay)?;
        }
        let segment = self.new_segment(offset, 0)?;
        segment.sync()?;
        self.segments.write().insert(offset, Arc::clone(&segment));
        writer.active = segment;
        writer.next_offset = offset;
        writer.producers = Producers::default();
        self.remove_snapshots(|_| true)?;
        self.epochs.write().clear();
        self.epochs.write().sync()?;
        Ok(())
    }

    /// A truncation that stopped half way leaves memory and disk apart: only a restart helps.
    fn fail_on(&self, result: &StorageResult<()>) {
        if let Err(error) = result {
            self.dir.fail(error);
            self.set_state(LogState::Offline);
        }
    }

    /// Flushes, writes what the next open needs, and refuses everything from then on.
    pub fn close(&self) -> StorageResult<()> {
        let writer = self.writer.lock();
        if self.position.borrow().state == LogState::Closed {
            return Ok(());
        }
        self.dir.check()?;
        let trimmed = writer.active.trim()?;
        self.flush_whole()?;
        if trimmed {
            writer.active.sync()?;
        }
        writer.active.save_indexes()?;
        // Without it readers of committed records would be shown aborted ones.
        writer.active.aborted().seal();
        writer.active.aborted().sync()?;
        sync_dir(&self.folder)?;
        let end = writer.next_offset;
        writer.producers.write_snapshot(&self.snapshot_path(end))?;
        self.epochs.write().sync()?;
        self.set_state(LogState::Closed);
        Ok(())
    }
}
