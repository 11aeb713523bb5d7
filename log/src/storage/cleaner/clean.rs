//! Cleans one log: builds the map of its dirty part, then writes its segments anew, group by group.
//!
//! Invariant: what is written was read and checked (CRC, offsets, leader epochs): damage is never
//! copied into a segment that says it is whole.

use std::sync::Arc;

use super::super::error::StorageError;
use super::super::files::{CLEANED_SUFFIX, GAPS_SUFFIX, offset_file};
use super::super::gaps::Gaps;
use super::super::partition::{Cleanable, PartitionLog};
use super::super::scan::{ScanError, Scanner};
use super::super::segment::Segment;
use super::offset_map::OffsetMap;
use super::retain::Rules;
use super::swap;
use super::transactions::CleanedTransactions;
use crate::record::RecordBatch;

/// What a run has done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CompactionStats {
    /// The first offset that had not been cleaned.
    pub first_dirty: i64,
    /// Everything below is clean now.
    pub clean_to: i64,
    /// Bytes of batches read while cleaning.
    pub bytes_read: u64,
    /// Bytes of batches written.
    pub bytes_written: u64,
    /// Records read while cleaning.
    pub records_read: u64,
    /// Records that stay.
    pub records_kept: u64,
    /// Records without a key, which cannot stay.
    pub records_without_key: u64,
    /// Keys in the dirty part.
    pub keys: usize,
    /// Segments before.
    pub segments_before: usize,
    /// Segments after.
    pub segments_after: usize,
}

/// Why a run ended before its end.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// The log is cut off, closed, moved or deleted, or the cleaner is stopped: another time.
    Aborted,
    Failed(StorageError),
}

impl From<StorageError> for Stopped {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Closed { .. } => Self::Aborted,
            error => Self::Failed(error),
        }
    }
}

/// How a run goes about it.
pub(crate) struct Run<'a> {
    pub(crate) log: &'a PartitionLog,
    pub(crate) cleanable: Cleanable,
    pub(crate) map_bytes: usize,
    pub(crate) load_factor: f64,
    pub(crate) io_bytes: usize,
    pub(crate) now: i64,
    /// Whether to stop at once.
    pub(crate) stop: &'a dyn Fn() -> bool,
    /// Told how many bytes were read or written; may take its time.
    pub(crate) pace: &'a dyn Fn(u64),
}

/// A sealed segment and the offset at which the next begins.
type Source = (Arc<Segment>, i64);

impl Run<'_> {
    /// Cleans; what it did, or why it stopped.
    pub(crate) fn run(&self) -> Result<CompactionStats, Stopped> {
        // A value must not go before the one that supersedes it, and an aborted record before its
        // marker, is on disk.
        self.log.flush()?;
        let mut changes = self.log.changes();
        let mut stats = CompactionStats {
            first_dirty: self.cleanable.first_dirty,
            ..CompactionStats::default()
        };
        let map = self.build_map()?;
        stats.keys = map.len();
        stats.clean_to = map.latest() + 1;
        let config = self.log.config();
        let sources = self.log.sealed_segments(stats.clean_to);
        stats.segments_before = sources.len();
        if let Some((_, upper)) = sources.last() {
            self.log.secure_producers(*upper)?;
        }
        let groups = group(
            sources,
            u64::from(config.segment_bytes),
            u64::from(config.segment_index_bytes),
        );
        let producers = self.log.last_records();
        let rules = Rules {
            map: &map,
            now: self.now,
            delete_retention_ms: config.delete_retention_ms,
            producers: &producers,
            upper_bound: self.cleanable.first_uncleanable,
        };
        let mut transactions = CleanedTransactions::default();
        for group in groups {
            let done = self.clean_group(&group, &rules, &mut transactions, &mut stats);
            let old: Vec<_> = group.into_iter().map(|(segment, _)| segment).collect();
            let placed =
                done.and_then(|()| Ok(self.log.replace_segments(&old, &mut changes, self.now)?));
            if !matches!(placed, Ok(true)) {
                if let Some(first) = old.first()
                    && self.log.check_alive().is_ok()
                    && let Err(error) = swap::discard(self.log.folder(), first.base_offset())
                {
                    // Left as it is, a restart could take it for what was decided.
                    self.log.dir().fail(&error);
                }
                placed?;
                return Err(Stopped::Aborted);
            }
            stats.segments_after += 1;
        }
        Ok(stats)
    }

    fn check(&self) -> Result<(), Stopped> {
        self.log.check_alive()?;
        if (self.stop)() {
            Err(Stopped::Aborted)
        } else {
            Ok(())
        }
    }

    /// Walks over the batches of a segment, each checked.
    fn walk(
        &self,
        source: &Source,
        from: i64,
        mut each: impl FnMut(&RecordBatch) -> Result<bool, Stopped>,
    ) -> Result<(), Stopped> {
        let (segment, upper) = source;
        let holes = segment.holes()?;
        let (start, _) = segment.lookup(from);
        let mut next = (start == 0).then(|| holes.after(segment.base_offset()));
        let mut scanner = Scanner::new(segment, start, segment.size()).reading_ahead(self.io_bytes);
        loop {
            self.check()?;
            let (position, batch) = match scanner.next_batch() {
                Ok(Some(found)) => found,
                Ok(None) => break,
                Err(ScanError::Storage(error)) => return Err(error.into()),
                Err(ScanError::Damaged { position, reason }) => {
                    return Err(self.damaged(segment, next, position, reason));
                }
            };
            if let Some(next) = next
                && !holes.allow(next, batch.base_offset)
            {
                let reason = format!(
                    "the batch says its offset is {}, but {next} is next",
                    batch.base_offset
                );
                return Err(self.damaged(segment, Some(next), position, reason));
            }
            // What lies below the log's start is nobody's to read, and its epochs are forgotten.
            if batch.last_offset() >= self.log.log_start_offset()
                && let Err(reason) = self.log.check_batch_epoch(&batch)
            {
                return Err(self.damaged(segment, next, position, reason));
            }
            next = Some(holes.after(batch.next_offset()));
            (self.pace)(batch.size() as u64);
            if !each(&batch)? {
                return Ok(());
            }
        }
        match next {
            Some(next) if !holes.allow(next, *upper) => {
                let reason = format!("the segment ends at offset {next}, before {upper}");
                Err(self.damaged(segment, Some(next), segment.size(), reason))
            }
            _ => Ok(()),
        }
    }

    fn damaged(
        &self,
        segment: &Segment,
        offset: Option<i64>,
        position: u64,
        reason: String,
    ) -> Stopped {
        let offset = offset.unwrap_or_else(|| segment.base_offset());
        Stopped::Failed(self.log.corrupt(segment, offset, position, reason))
    }

    fn bad_batch(&self, segment: &Segment, batch: &RecordBatch, reason: impl ToString) -> Stopped {
        self.damaged(segment, Some(batch.base_offset), 0, reason.to_string())
    }

    /// The last offset of each key of the dirty part, or of as much of it as the map can hold.
    fn build_map(&self) -> Result<OffsetMap, Stopped> {
        let Cleanable {
            first_dirty,
            first_uncleanable,
            ..
        } = self.cleanable;
        let expected = u64::try_from(first_uncleanable - first_dirty).unwrap_or(0);
        let mut map = OffsetMap::new(self.map_bytes, self.load_factor, expected);
        map.set_latest(first_dirty - 1);
        let mut transactions = CleanedTransactions::default();
        transactions.add(
            self.log
                .aborted_transactions(first_dirty, first_uncleanable)?,
        );
        for source in self.log.sealed_segments(first_uncleanable) {
            if source.1 <= first_dirty {
                continue;
            }
            let mut full = false;
            self.walk(&source, first_dirty, |batch| {
                if batch.is_control() {
                    transactions.on_control(batch);
                } else if !transactions.on_data(batch) && batch.last_offset() >= first_dirty {
                    let records = batch
                        .records()
                        .map_err(|e| self.bad_batch(&source.0, batch, e))?;
                    for record in records {
                        let record = record.map_err(|e| self.bad_batch(&source.0, batch, e))?;
                        if let Some(key) = &record.key
                            && record.offset >= first_dirty
                            && !map.put(key, record.offset)
                        {
                            full = true;
                            return Ok(false);
                        }
                    }
                }
                map.set_latest(batch.last_offset());
                Ok(true)
            })?;
            if full {
                break;
            }
            map.set_latest(source.1 - 1);
        }
        Ok(map)
    }

    /// Writes one segment for a group of them, on disk when this returns.
    fn clean_group(
        &self,
        group: &[Source],
        rules: &Rules<'_>,
        transactions: &mut CleanedTransactions,
        stats: &mut CompactionStats,
    ) -> Result<(), Stopped> {
        let (Some((first, _)), Some((last, upper))) = (group.first(), group.last()) else {
            return Ok(());
        };
        let (base, folder) = (first.base_offset(), self.log.folder());
        let cleaned = Segment::create_as(self.log.dir(), folder, base, CLEANED_SUFFIX, self.now)?;
        let interval = u64::from(self.log.config().index_interval_bytes);
        let mut gaps = Gaps::new(base);
        let (mut pending, mut bytes) = (Vec::new(), 0);
        for source in group {
            let aborted = self
                .log
                .aborted_transactions(source.0.base_offset(), source.1)?;
            transactions.add(aborted);
            self.walk(source, source.0.base_offset(), |batch| {
                let retained = rules
                    .retain(batch, transactions)
                    .map_err(|e| self.bad_batch(&source.0, batch, e))?;
                stats.bytes_read += batch.size() as u64;
                stats.records_read += retained.records_read;
                stats.records_kept += retained.records_kept;
                stats.records_without_key += retained.without_key;
                if let Some(aborted) = retained.aborted {
                    cleaned.aborted().push(aborted);
                }
                if let Some((header, body)) = retained.batch {
                    gaps.push(header.base_offset, header.next_offset());
                    bytes += header.size();
                    pending.push((header, body));
                }
                if bytes >= self.io_bytes {
                    cleaned.append(&pending, interval)?;
                    (self.pace)(bytes as u64);
                    stats.bytes_written += bytes as u64;
                    pending.clear();
                    bytes = 0;
                }
                Ok(true)
            })?;
        }
        if !pending.is_empty() {
            cleaned.append(&pending, interval)?;
            stats.bytes_written += bytes as u64;
        }
        gaps.skip_to(*upper);
        gaps.set_clean_to(stats.clean_to);
        cleaned.seal()?;
        if let Some(modified) = last.modified() {
            cleaned.set_modified(modified)?;
        }
        cleaned.sync()?;
        let list = offset_file(folder, base, &format!("{GAPS_SUFFIX}{CLEANED_SUFFIX}"));
        gaps.save(&list)?;
        Ok(())
    }
}

/// Puts small neighbours together, up to the size of a segment: what is left of many segments
/// would be many small ones otherwise.
fn group(sources: Vec<Source>, max_bytes: u64, max_index: u64) -> Vec<Vec<Source>> {
    let mut groups: Vec<Vec<Source>> = Vec::new();
    let mut sum = (0, (0, 0));
    for source in sources {
        let (size, (offsets, times)) = (source.0.size(), source.0.index_sizes());
        let fits = groups
            .last()
            .and_then(|group| group.first())
            .is_some_and(|first| {
                sum.0 + size <= max_bytes
                    && sum.1.0 + offsets <= max_index
                    && sum.1.1 + times <= max_index
                    && (size == 0 || source.1 - 1 - first.0.base_offset() <= i64::from(i32::MAX))
            });
        match groups.last_mut() {
            Some(group) if fits => {
                sum = (sum.0 + size, (sum.1.0 + offsets, sum.1.1 + times));
                group.push(source);
            }
            _ => {
                sum = (size, (offsets, times));
                groups.push(vec![source]);
            }
        }
    }
    groups
}
