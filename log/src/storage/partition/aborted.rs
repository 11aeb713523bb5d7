//! Which transactions were aborted, for readers of committed records.
//!
//! An index that comes from a file is checked before it is first used: by its checksum, or where it
//! has none, as Kafka's, against the log. One that fails is made anew from the log.

use std::sync::Arc;

use super::super::error::{StorageError, StorageResult};
use super::super::marker::{Marker, TxnOutcome};
use super::super::scan::{ScanError, Scanner};
use super::super::segment::Segment;
use super::super::txn_index::AbortedTxn;
use super::{PartitionLog, state};
use crate::record::{BATCH_HEADER_SIZE, BatchHeader};

impl PartitionLog {
    /// The aborted transactions that have records from `from` to before `to`, which must not lie
    /// above the last stable offset.
    pub fn aborted_transactions(&self, from: i64, to: i64) -> StorageResult<Vec<AbortedTxn>> {
        let mut found = Vec::new();
        if from >= to {
            return Ok(found);
        }
        // Their markers may come long after their records.
        for segment in self.segments_from(from) {
            self.check_aborted(&segment)?;
            if segment.aborted().collect(from, to, &mut found)? {
                break;
            }
        }
        Ok(found)
    }

    /// Holds a segment's index against the log, where that has not been done. Must come before
    /// anything is added to it.
    pub(super) fn check_aborted(&self, segment: &Segment) -> StorageResult<()> {
        let index = segment.aborted();
        if index.is_checked() {
            return Ok(());
        }
        let _one_at_a_time = index.lock();
        if index.is_checked() {
            return Ok(());
        }
        let sound = match index.all() {
            // Its checksum holds.
            Ok(_) if index.is_checked() => return Ok(()),
            Ok(entries) => {
                let mut sound = true;
                for entry in &entries {
                    sound &= self.is_aborted(segment, entry)?;
                }
                sound
            }
            Err(StorageError::BadFile { .. }) => false,
            Err(error) => return Err(error),
        };
        if !sound {
            tracing::warn!(
                topic = self.topic, partition = self.partition, file = %index.path().display(),
                "the index of aborted transactions is damaged: it is made anew from the log"
            );
            index.replace(self.find_aborted(segment)?);
        }
        index.set_checked();
        Ok(())
    }

    /// Whether the log says the same: there is the marker, and there the transaction began.
    fn is_aborted(&self, segment: &Segment, aborted: &AbortedTxn) -> StorageResult<bool> {
        let marker = self.marker_at(segment, aborted.last_offset)?;
        let ends = marker.is_some_and(|marker| {
            marker.producer_id == aborted.producer_id && marker.outcome == TxnOutcome::Abort
        });
        let own = |id| id == aborted.producer_id;
        // Nothing else was undecided then, or another producer's transaction.
        let stable = aborted.last_stable_offset;
        let stable = stable == aborted.last_offset + 1
            || (stable < aborted.last_offset && self.may_begin_at(stable, |id| !own(id))?);
        Ok(ends
            && stable
            && aborted.first_offset < aborted.last_offset
            && self.may_begin_at(aborted.first_offset, own)?)
    }

    /// Whether such a producer's transaction may have begun at an offset.
    fn may_begin_at(&self, offset: i64, producer: impl Fn(i64) -> bool) -> StorageResult<bool> {
        let Some(segment) = self.segment_of(offset) else {
            // Retention has taken it.
            return Ok(offset >= 0);
        };
        if self.config().cleanup_compact || segment.gaps()?.is_some() {
            // Compaction may have.
            return Ok(true);
        }
        let began = self.header_at(&segment, offset)?;
        Ok(began.is_some_and(|(_, header)| {
            header.is_transactional() && !header.is_control() && producer(header.producer_id)
        }))
    }

    fn marker_at(&self, segment: &Segment, offset: i64) -> StorageResult<Option<Marker>> {
        let Some((position, _)) = self.header_at(segment, offset)? else {
            return Ok(None);
        };
        let mut scanner = Scanner::new(segment, position, segment.size());
        match scanner.next_batch() {
            Ok(Some((_, batch))) => {
                let body = batch.bytes().slice(BATCH_HEADER_SIZE..);
                Ok(Marker::read(batch.header(), body).ok().flatten())
            }
            Ok(None) | Err(ScanError::Damaged { .. }) => Ok(None),
            Err(ScanError::Storage(error)) => Err(error),
        }
    }

    /// The batch that begins at an offset.
    fn header_at(
        &self,
        segment: &Segment,
        offset: i64,
    ) -> StorageResult<Option<(u64, BatchHeader)>> {
        let (start, _) = segment.lookup(offset);
        let mut scanner = Scanner::new(segment, start, segment.size()).reading_ahead(4096);
        loop {
            match scanner.next_header() {
                Ok(Some((_, header))) if header.last_offset() < offset => {}
                Ok(Some((position, header))) if header.base_offset == offset => {
                    return Ok(Some((position, header)));
                }
                Ok(_) | Err(ScanError::Damaged { .. }) => return Ok(None),
                Err(ScanError::Storage(error)) => return Err(error),
            }
        }
    }

    /// The aborted transactions of a segment, from the log.
    fn find_aborted(&self, segment: &Segment) -> StorageResult<Vec<AbortedTxn>> {
        let base = segment.base_offset();
        let (segments, end) = {
            let segments = self.segments.read();
            let upto: Vec<_> = segments
                .range(..=base)
                .map(|(_, s)| Arc::clone(s))
                .collect();
            let next = segments.range(base + 1..).next().map(|(next, _)| *next);
            (upto, next)
        };
        let end = end.unwrap_or_else(|| self.log_end_offset());
        let segments: Vec<_> = segments.iter().map(|s| &**s).collect();
        let mut state = state::replay(&self.folder, &segments, end, Some(base))?;
        Ok(state.aborted.remove(&base).unwrap_or_default())
    }
}
