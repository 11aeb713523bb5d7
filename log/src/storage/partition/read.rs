//! Reading: whole batches, each checked, from the one that contains the offset asked for.
//!
//! A batch is held against its CRC; its base offset, which the CRC does not cover, against the
//! batch before it or the index entry that led to it, its leader epoch against the epoch cache.
//! Damage ends a read before it; a read that would have to begin with it is an error.

use std::ops::{Bound, Range};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::super::error::{StorageError, StorageResult};
use super::super::gaps::Holes;
use super::super::scan::{ScanError, Scanner};
use super::super::segment::Segment;
use super::super::types::{FetchData, FetchIsolation, LogPosition, TimestampOffset};
use super::PartitionLog;
use crate::record::{BatchHeader, NO_TIMESTAMP, RecordBatch};

/// What a read takes beyond what is wanted: a few index intervals.
const READ_AHEAD: usize = 12 * 1024;

/// Damage in a segment.
struct Damage {
    position: u64,
    reason: String,
}

enum Failure {
    Damage(Damage),
    Storage(StorageError),
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

impl From<ScanError> for Failure {
    fn from(error: ScanError) -> Self {
        match error {
            ScanError::Damaged { position, reason } => Self::Damage(Damage { position, reason }),
            ScanError::Storage(error) => Self::Storage(error),
        }
    }
}

enum Found {
    Records {
        records: Bytes,
        next_offset: i64,
    },
    /// All batches of the segment lie below the offset; the next segment begins here, when that
    /// is known.
    Beyond {
        end_offset: Option<i64>,
    },
}

#[derive(Clone, Copy)]
struct Wanted {
    offset: i64,
    /// Nothing at or above may be returned.
    limit: i64,
    max_bytes: usize,
    min_one: bool,
}

impl PartitionLog {
    /// Reads whole batches, the first of which contains `offset`, up to `max_bytes`; with
    /// `min_one` the first is returned even if it is larger. The end of the log reads as nothing.
    pub fn read(
        &self,
        offset: i64,
        max_bytes: usize,
        min_one: bool,
        isolation: FetchIsolation,
    ) -> StorageResult<FetchData> {
        loop {
            self.check()?;
            let truncations = self.truncations.load(Ordering::Acquire);
            let position = self.position();
            if offset < position.log_start_offset || offset > position.log_end_offset {
                return Err(self.out_of_range(offset, &position));
            }
            let limit = position.end(isolation);
            let wanted = Wanted {
                offset,
                limit,
                max_bytes,
                min_one,
            };
            let mut result = self.read_below(wanted, position);
            if isolation == FetchIsolation::TxnCommitted
                && let Ok(data) = &mut result
            {
                match self.aborted_transactions(offset, data.next_offset) {
                    Ok(aborted) => data.aborted = aborted,
                    Err(error) => result = Err(error),
                }
            }
            if result.is_err() {
                // It may have been closed, and its files be gone or elsewhere.
                self.check()?;
            }
            // The log may have been cut off, or its beginning deleted, while it was read.
            let moved = self.truncations.load(Ordering::Acquire) != truncations
                || (result.is_err() || isolation == FetchIsolation::TxnCommitted)
                    && offset < self.log_start_offset();
            if !moved {
                return result;
            }
        }
    }

    fn read_below(&self, wanted: Wanted, position: LogPosition) -> StorageResult<FetchData> {
        let nothing = FetchData {
            records: Bytes::new(),
            next_offset: wanted.offset,
            position,
            aborted: Vec::new(),
        };
        if wanted.offset >= wanted.limit {
            return Ok(nothing);
        }
        let mut segment = self.segment_of(wanted.offset);
        while let Some(current) = segment {
            match self.read_segment(&current, wanted) {
                Ok(Found::Records {
                    records,
                    next_offset,
                }) => {
                    return Ok(FetchData {
                        records,
                        next_offset,
                        position,
                        aborted: Vec::new(),
                    });
                }
                Ok(Found::Beyond { end_offset }) => {
                    segment = self.segment_after(current.base_offset());
                    let next = segment.as_ref().map(|s| s.base_offset());
                    if let Some(end_offset) = end_offset
                        && next != Some(end_offset)
                        && end_offset < wanted.limit
                    {
                        let reason = format!(
                            "the segment ends at offset {end_offset}, before {}",
                            next.unwrap_or(wanted.limit)
                        );
                        return Err(self.corrupt(&current, wanted.offset, current.size(), reason));
                    }
                }
                Err(Failure::Damage(Damage { position, reason })) => {
                    return Err(self.corrupt(&current, wanted.offset, position, reason));
                }
                Err(Failure::Storage(error)) => return Err(error),
            }
        }
        Ok(nothing)
    }

    pub(super) fn segment_of(&self, offset: i64) -> Option<Arc<Segment>> {
        self.segments
            .read()
            .range(..=offset)
            .next_back()
            .map(|(_, s)| Arc::clone(s))
    }

    pub(super) fn segment_after(&self, base_offset: i64) -> Option<Arc<Segment>> {
        let after = (Bound::Excluded(base_offset), Bound::Unbounded);
        self.segments
            .read()
            .range(after)
            .next()
            .map(|(_, s)| Arc::clone(s))
    }

    fn read_segment(&self, segment: &Segment, wanted: Wanted) -> Result<Found, Failure> {
        let (start, indexed) = segment.lookup(wanted.offset);
        match self.read_from(segment, wanted, start, indexed) {
            // It may be the index that is damaged: look again without it.
            Err(Failure::Damage(damage)) if start > 0 => {
                let found = self.read_from(segment, wanted, 0, None);
                if found.is_ok() {
                    tracing::warn!(topic = self.topic, partition = self.partition,
                        file = %segment.path().display(), reason = damage.reason,
                        "an index is damaged, reading without it; a restart after deleting the \
                         .index file builds it anew");
                }
                found
            }
            found => found,
        }
    }

    fn read_from(
        &self,
        segment: &Segment,
        wanted: Wanted,
        start: u64,
        indexed: Option<i64>,
    ) -> Result<Found, Failure> {
        let size = segment.size();
        // Enough for what is wanted and what lies between the index entry and it.
        let ahead = wanted.max_bytes.saturating_add(READ_AHEAD);
        let mut scanner = Scanner::new(segment, start, size).reading_ahead(ahead);
        let holes = segment.holes()?;
        let mut chain = Chain {
            next: (start == 0).then_some(holes.after(segment.base_offset())),
            indexed,
            holes: &holes,
        };
        // Find the batch that contains the offset.
        let first = loop {
            let position = scanner.position();
            let Some(header) = scanner.peek()? else {
                return Ok(Found::Beyond {
                    end_offset: chain.next,
                });
            };
            chain
                .check(&header)
                .map_err(|reason| damage(position, reason))?;
            if header.last_offset() >= wanted.offset {
                break header;
            }
            scanner.skip(&header);
        };
        let begin = scanner.position();
        if first.last_offset() >= wanted.limit
            || (first.size() > wanted.max_bytes && !wanted.min_one)
        {
            // Not before it is known that the header can be believed.
            scanner.next_batch()?;
            return Ok(Found::Records {
                records: Bytes::new(),
                next_offset: wanted.offset,
            });
        }
        let left = usize::try_from(size - begin).unwrap_or(usize::MAX);
        let bytes = scanner.take(wanted.max_bytes.max(first.size()).min(left))?;
        // Take as many as there are whole and sound.
        let mut end = 0;
        let mut next_offset = wanted.offset;
        let mut chain = Chain {
            next: Some(first.base_offset),
            indexed: None,
            holes: &holes,
        };
        while let Ok(batch) = RecordBatch::new(bytes.slice(end..)) {
            if batch.last_offset() >= wanted.limit {
                break;
            }
            let sound = chain
                .check(&batch)
                .and_then(|()| batch.verify().map_err(|e| e.to_string()))
                .and_then(|()| self.check_batch_epoch(&batch));
            if let Err(reason) = sound {
                if end == 0 {
                    return Err(damage(begin, reason));
                }
                break;
            }
            end += batch.size();
            next_offset = batch.next_offset();
        }
        if end == 0 {
            // The header was whole a moment ago: the file is shorter than it was.
            return Err(damage(begin, "the batch is cut short".to_owned()));
        }
        segment.trusted().add(begin..begin + end as u64);
        Ok(Found::Records {
            records: bytes.slice(..end),
            next_offset,
        })
    }

    /// The epoch of a batch lies outside of its CRC: hold it against the cache.
    pub(crate) fn check_batch_epoch(&self, batch: &BatchHeader) -> Result<(), String> {
        // By its end: the log may start in the middle of it.
        let known = self
            .epochs
            .read()
            .epoch_at(batch.last_offset())
            .unwrap_or(-1);
        if batch.partition_leader_epoch == known {
            return Ok(());
        }
        Err(format!(
            "the batch says its leader epoch is {}, but the epoch there is {known}",
            batch.partition_leader_epoch
        ))
    }

    /// The first record below the high watermark whose timestamp is not before the one given.
    pub fn offset_for_timestamp(&self, timestamp: i64) -> StorageResult<Option<TimestampOffset>> {
        self.offset_for_timestamp_within(timestamp, FetchIsolation::HighWatermark)
    }

    /// The first record that a reader may see whose timestamp is not before the one given.
    pub fn offset_for_timestamp_within(
        &self,
        timestamp: i64,
        isolation: FetchIsolation,
    ) -> StorageResult<Option<TimestampOffset>> {
        self.unmoved(|| self.find_timestamp(timestamp, isolation))
    }

    /// Looks again where the log was cut off, its beginning deleted or segments swapped meanwhile.
    fn unmoved<T>(&self, look: impl Fn() -> StorageResult<T>) -> StorageResult<T> {
        loop {
            self.check()?;
            let truncations = self.truncations.load(Ordering::Acquire);
            let start = self.log_start_offset();
            let found = look();
            let moved = self.truncations.load(Ordering::Acquire) != truncations
                || found.is_err() && self.log_start_offset() != start;
            if !moved {
                return found;
            }
        }
    }

    fn find_timestamp(
        &self,
        timestamp: i64,
        isolation: FetchIsolation,
    ) -> StorageResult<Option<TimestampOffset>> {
        let position = self.position();
        let end = position.end(isolation);
        for segment in self.segments_from(position.log_start_offset) {
            let stamps = segment.stamps()?;
            if stamps.sound && stamps.max < timestamp {
                continue;
            }
            let before = segment.last_offset_before_time(timestamp);
            let found = self.first_record(&segment, before, &position, end, |t| t >= timestamp)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The first record with the largest timestamp below the high watermark.
    pub fn max_timestamp(&self) -> StorageResult<Option<TimestampOffset>> {
        self.max_timestamp_within(FetchIsolation::HighWatermark)
    }

    /// The first record with the largest timestamp of the log, when a reader may see it.
    pub fn max_timestamp_within(
        &self,
        isolation: FetchIsolation,
    ) -> StorageResult<Option<TimestampOffset>> {
        self.unmoved(|| self.find_max_timestamp(isolation))
    }

    fn find_max_timestamp(
        &self,
        isolation: FetchIsolation,
    ) -> StorageResult<Option<TimestampOffset>> {
        let position = self.position();
        let end = position.end(isolation);
        let mut best: Option<(i64, Arc<Segment>)> = None;
        for segment in self.segments_from(position.log_start_offset) {
            let stamps = segment.stamps()?;
            if !stamps.sound {
                // Where something is damaged, this is the error that says so.
                self.first_record(&segment, None, &position, end, |_| false)?;
            }
            let max = stamps.max;
            if max > best.as_ref().map_or(NO_TIMESTAMP, |(max, _)| *max) {
                best = Some((max, segment));
            }
        }
        let Some((max, segment)) = best else {
            return Ok(None);
        };
        let before = segment.last_offset_before_time(max);
        self.first_record(&segment, before, &position, end, |t| t >= max)
    }

    pub(super) fn segments_from(&self, offset: i64) -> Vec<Arc<Segment>> {
        let segments = self.segments.read();
        let first = segments
            .range(..=offset)
            .next_back()
            .map_or(offset, |(base, _)| *base);
        segments
            .range(first..)
            .map(|(_, segment)| Arc::clone(segment))
            .collect()
    }

    /// The first wanted record of a segment; up to and with the offset `before` there is none.
    fn first_record(
        &self,
        segment: &Segment,
        before: Option<i64>,
        position: &LogPosition,
        end: i64,
        wanted: impl Fn(i64) -> bool,
    ) -> StorageResult<Option<TimestampOffset>> {
        let visible = position.log_start_offset..end;
        let (start, indexed) = before.map_or((0, None), |offset| segment.lookup(offset));
        let found = match self.search(segment, start, indexed, &visible, &wanted) {
            // It may be the index that is damaged.
            Err(Failure::Damage(_)) if start > 0 => {
                self.search(segment, 0, None, &visible, &wanted)
            }
            found => found,
        };
        match found {
            Ok(found) => Ok(found),
            Err(Failure::Storage(error)) => Err(error),
            Err(Failure::Damage(Damage {
                position: at,
                reason,
            })) => Err(self.corrupt(segment, segment.base_offset(), at, reason)),
        }
    }

    /// Walks over the batches, each checked: one that is passed over for its timestamp must have it.
    fn search(
        &self,
        segment: &Segment,
        start: u64,
        indexed: Option<i64>,
        visible: &Range<i64>,
        wanted: &impl Fn(i64) -> bool,
    ) -> Result<Option<TimestampOffset>, Failure> {
        let holes = segment.holes()?;
        let mut chain = Chain {
            next: (start == 0).then_some(holes.after(segment.base_offset())),
            indexed,
            holes: &holes,
        };
        let mut scanner = Scanner::new(segment, start, segment.size());
        while let Some((at, batch)) = scanner.next_batch()? {
            chain.check(&batch).map_err(|reason| damage(at, reason))?;
            if batch.base_offset >= visible.end {
                return Ok(None);
            }
            if !wanted(batch.max_timestamp) || batch.last_offset() < visible.start {
                continue;
            }
            let records = batch.records().map_err(|e| damage(at, e.to_string()))?;
            for record in records {
                let record = record.map_err(|e| damage(at, e.to_string()))?;
                if record.offset >= visible.end {
                    return Ok(None);
                }
                if wanted(record.timestamp) && record.offset >= visible.start {
                    self.check_batch_epoch(&batch)
                        .map_err(|reason| damage(at, reason))?;
                    return Ok(Some(TimestampOffset {
                        timestamp: record.timestamp,
                        offset: record.offset,
                        leader_epoch: batch.partition_leader_epoch,
                    }));
                }
            }
        }
        Ok(None)
    }
}

fn damage(position: u64, reason: String) -> Failure {
    Failure::Damage(Damage { position, reason })
}

/// Batches follow one another by their offsets.
struct Chain<'a> {
    /// The base offset that the next batch must have; `None` when that is not known.
    next: Option<i64>,
    /// The last offset that the next batch must have: an index entry says so.
    indexed: Option<i64>,
    holes: &'a Holes,
}

impl Chain<'_> {
    fn check(&mut self, header: &BatchHeader) -> Result<(), String> {
        if let Some(last) = self.indexed.take()
            && last != header.last_offset()
        {
            return Err(format!(
                "the index expects a batch that ends with offset {last}, the batch there says {}",
                header.last_offset()
            ));
        }
        if let Some(next) = self.next
            && !self.holes.allow(next, header.base_offset)
        {
            return Err(format!(
                "the batch says its offset is {}, but {next} is next",
                header.base_offset
            ));
        }
        self.next = Some(self.holes.after(header.next_offset()));
        Ok(())
    }
}
