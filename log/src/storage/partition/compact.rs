//! What compaction needs of a log: what part may be cleaned, and putting cleaned segments in place.
//!
//! Appends go on meanwhile: only who takes segments away (`cutting`) waits for a swap, and a swap
//! for it. Readers that hold an old segment read on in its files, which stay open; a read that went
//! over segments while they were swapped looks again.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::MutexGuard;

use super::super::cleaner::{LastRecord, swap};
use super::super::error::StorageResult;
use super::super::files::sync_file;
use super::super::producers::Producers;
use super::super::segment::Segment;
use super::append::allowed_age;
use super::{PartitionLog, state};
use crate::record::NO_TIMESTAMP;

/// What part of a log may be cleaned.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Cleanable {
    /// Everything below was cleaned before.
    pub(crate) first_dirty: i64,
    /// Where the segments begin that must not be touched yet.
    pub(crate) first_uncleanable: i64,
    pub(crate) clean_bytes: u64,
    pub(crate) dirty_bytes: u64,
    /// `max.compaction.lag.ms` has passed for the oldest dirty record.
    pub(crate) overdue: bool,
}

impl Cleanable {
    /// The share of the log that is dirty.
    pub(crate) fn ratio(&self) -> f64 {
        match self.clean_bytes + self.dirty_bytes {
            0 => 0.0,
            total => self.dirty_bytes as f64 / total as f64,
        }
    }
}

impl PartitionLog {
    /// What may be cleaned: not the active segment, nothing from the last stable offset on, and no
    /// segment with a record younger than `min.compaction.lag.ms`.
    ///
    /// What was cleaned before is said by the checkpoint *and* by the segments; where they differ
    /// the lower counts, for a part that is passed over could let an old value outlive its
    /// tombstone.
    pub(crate) fn cleanable(&self, checkpoint: Option<i64>, now: i64) -> StorageResult<Cleanable> {
        self.check()?;
        let config = self.config();
        let segments: Vec<_> = self.segments.read().values().cloned().collect();
        let position = self.position();
        let start = position.log_start_offset;
        let mut first_dirty = checkpoint.unwrap_or(i64::MAX);
        for segment in &segments {
            if segment.base_offset() >= first_dirty {
                break;
            }
            let clean_to = segment.gaps()?.map_or(0, |gaps| gaps.clean_to());
            first_dirty = first_dirty.min(clean_to.max(segment.base_offset()));
        }
        first_dirty = first_dirty.clamp(start, position.log_end_offset);

        let lag = config.min_compaction_lag_ms;
        let mut cleanable = Cleanable {
            first_dirty,
            first_uncleanable: first_dirty,
            clean_bytes: 0,
            dirty_bytes: 0,
            overdue: false,
        };
        for (segment, next) in segments.iter().zip(segments.iter().skip(1)) {
            if next.base_offset() <= first_dirty {
                cleanable.clean_bytes += segment.size();
                cleanable.first_uncleanable = cleanable.first_uncleanable.max(next.base_offset());
                continue;
            }
            if next.base_offset() > position.last_stable_offset {
                break;
            }
            let stamps = segment.stamps()?;
            if lag > 0 && stamps.max > now.saturating_sub(lag) {
                break;
            }
            if stamps.first > NO_TIMESTAMP
                && stamps.first < now.saturating_sub(config.max_compaction_lag_ms)
            {
                cleanable.overdue = true;
            }
            cleanable.dirty_bytes += segment.size();
            cleanable.first_uncleanable = next.base_offset();
        }
        Ok(cleanable)
    }

    /// Begins a new segment where nobody appends any more that would, so that what was written last
    /// is compacted in its time, too.
    pub(crate) fn roll_when_idle(&self, now: i64) -> StorageResult<()> {
        let config = self.config();
        if !config.cleanup_compact {
            return Ok(());
        }
        let mut writer = self.lock_writer()?;
        let age = now.saturating_sub(writer.active.created_at());
        if writer.active.size() > 0 && age > allowed_age(&writer, &config) {
            self.roll(&mut writer, now)?;
        }
        Ok(())
    }

    /// The segments before `offset`, each with the offset at which the next one begins.
    pub(crate) fn sealed_segments(&self, offset: i64) -> Vec<(Arc<Segment>, i64)> {
        let segments = self.segments.read();
        segments
            .values()
            .zip(segments.keys().skip(1))
            .take_while(|(segment, _)| segment.base_offset() < offset)
            .map(|(segment, next)| (Arc::clone(segment), *next))
            .collect()
    }

    /// Held while the log is cleaned: who deletes or moves it waits until it is not.
    pub(crate) fn lock_cleaning(&self) -> MutexGuard<'_, ()> {
        self.cleaning.lock()
    }

    /// An error when the log is closed or offline: cleaning it makes no sense any more.
    pub(crate) fn check_alive(&self) -> StorageResult<()> {
        self.check()
    }

    /// Grows when segments were cut off or swapped.
    pub(crate) fn changes(&self) -> u64 {
        self.truncations.load(Ordering::Acquire)
    }

    /// The last record of every producer that is known.
    pub(crate) fn last_records(&self) -> HashMap<i64, LastRecord> {
        let producers = self.writer.lock().producers.all();
        producers
            .into_iter()
            .map(|producer| {
                let last = LastRecord {
                    last_data_offset: (producer.last_offset >= 0).then_some(producer.last_offset),
                    producer_epoch: producer.producer_epoch,
                };
                (producer.producer_id, last)
            })
            .collect()
    }

    /// Before everything below `offset` is cleaned: has a snapshot of the producers' state at or
    /// above it on disk, and removes those before it.
    ///
    /// From an older one the state could not be told any more: it may know a transaction whose
    /// marker compaction takes out, which would be undecided for ever.
    pub(crate) fn secure_producers(&self, offset: i64) -> StorageResult<()> {
        let _cutting = self.cutting.lock();
        self.check()?;
        let later = state::snapshots(&self.folder)?;
        let readable = later
            .into_iter()
            .filter(|at| *at >= offset)
            .map(|at| self.snapshot_path(at))
            .find(|path| Producers::read_snapshot(path).is_ok());
        let path = match readable {
            Some(path) => path,
            None => {
                let writer = self.lock_writer()?;
                let path = self.snapshot_path(writer.next_offset);
                writer.producers.write_snapshot(&path)?;
                path
            }
        };
        sync_file(&path)?;
        self.remove_snapshots(|at| at < offset)
    }

    /// Puts the cleaned segment with the base offset of `old`'s first in the place of `old`. All of
    /// its files are on disk under their `.cleaned` names. `false` when the log was cut off since
    /// `changes`, or one of them is gone: then nothing was done.
    pub(crate) fn replace_segments(
        &self,
        old: &[Arc<Segment>],
        changes: &mut u64,
        now: i64,
    ) -> StorageResult<bool> {
        let Some(base) = old.first().map(|first| first.base_offset()) else {
            return Ok(true);
        };
        let _cutting = self.cutting.lock();
        self.check()?;
        let present = |segment: &Arc<Segment>| {
            let segments = self.segments.read();
            let found = segments.get(&segment.base_offset());
            found.is_some_and(|there| Arc::ptr_eq(there, segment))
        };
        if self.changes() != *changes || !old.iter().all(present) {
            return Ok(false);
        }
        // Until it is decided, the old segments are as good as ever.
        swap::commit(&self.folder, base)?;
        let swapped = self.swap(base, old, changes, now);
        if let Err(error) = &swapped {
            self.dir.fail(error);
            self.check()?;
        }
        swapped.map(|()| true)
    }

    fn swap(
        &self,
        base: i64,
        old: &[Arc<Segment>],
        changes: &mut u64,
        now: i64,
    ) -> StorageResult<()> {
        for segment in old {
            segment.retire()?;
        }
        let bases: Vec<_> = old.iter().map(|segment| segment.base_offset()).collect();
        let delay = self.config().file_delete_delay_ms;
        swap::finish(&self.folder, base, &bases, Some((&*self.dir, delay)))?;
        let segment = Arc::new(Segment::open(&self.dir, &self.folder, base, now)?);
        {
            let mut segments = self.segments.write();
            for base in &bases {
                segments.remove(base);
            }
            segments.insert(base, segment);
            // Before the lock is given back: who finds the new segments sees that they are new.
            *changes = self.truncations.fetch_add(1, Ordering::AcqRel) + 1;
        }
        Ok(())
    }
}
