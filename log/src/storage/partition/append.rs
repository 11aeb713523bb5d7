//! Appending. What needs no lock is checked before it is taken; a refused append leaves no trace.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::super::config::LogConfig;
use super::super::error::AppendError;
use super::super::marker::Marker;
use super::super::producers::Verification;
use super::super::types::{AppendInfo, AppendOrigin};
use super::validate::{check_sizes, parse, validate};
use super::{PartitionLog, Writer};
use crate::record::{BATCH_HEADER_SIZE, BatchHeader, NO_TIMESTAMP, RecordError, TimestampType};

impl PartitionLog {
    /// Appends batches as the leader: checks them, gives them offsets, writes them.
    ///
    /// Where the topic wants its records on disk first (`flush.messages=1`), the flush has been
    /// asked for (group commit) and the high watermark follows it: wait for
    /// `high_watermark > info.last_offset` through [`watch`](Self::watch), or call
    /// [`flush_through`](Self::flush_through).
    ///
    /// A client's transactional batch is taken only when its producer has an ongoing transaction
    /// here; to begin one, see [`append_verified`](Self::append_verified).
    pub fn append(
        &self,
        records: Bytes,
        leader_epoch: i32,
        origin: AppendOrigin,
        now: i64,
    ) -> Result<AppendInfo, AppendError> {
        let verification = match origin {
            AppendOrigin::Client => Verification::Required(None),
            AppendOrigin::Coordinator => Verification::Off,
        };
        self.append_verified(records, leader_epoch, origin, now, verification)
    }

    /// As [`append`](Self::append), with the guard that
    /// [`start_verification`](Self::start_verification) gave: a transaction may begin.
    pub fn append_verified(
        &self,
        records: Bytes,
        leader_epoch: i32,
        origin: AppendOrigin,
        now: i64,
        verification: Verification,
    ) -> Result<AppendInfo, AppendError> {
        self.check()?;
        let config = self.config();
        let mut batches = parse(records)?;
        validate(&batches, &config, origin, now)?;
        if let Some(codec) = config.codec() {
            let mut changed = false;
            for batch in &mut batches {
                if batch.compression() != codec && !batch.is_control() {
                    *batch = batch.recompressed_at(codec, config.codec_level(codec))?;
                    changed = true;
                }
            }
            if changed {
                check_sizes(&batches, &config, origin)?;
            }
        }
        let stamp = config.message_timestamp_type == TimestampType::LogAppendTime;

        let mut writer = self.lock_writer()?;
        self.check_epoch(leader_epoch)?;
        for batch in &batches {
            let Some(seen) = writer.producers.check(batch, origin, verification)? else {
                continue;
            };
            return Ok(AppendInfo {
                first_offset: seen.first_offset(),
                last_offset: seen.last_offset,
                log_append_time: if stamp { seen.timestamp } else { NO_TIMESTAMP },
                log_start_offset: self.log_start_offset(),
                max_timestamp: seen.timestamp,
                size: 0,
                duplicate: true,
                marker: false,
            });
        }
        let mut next = writer.next_offset;
        let ready: Vec<_> = batches
            .iter()
            .map(|batch| {
                let mut header = *batch.header();
                header.base_offset = next;
                header.partition_leader_epoch = leader_epoch;
                let body = batch.bytes().slice(BATCH_HEADER_SIZE..);
                if stamp {
                    header.set_log_append_time(now);
                    header.crc = header.compute_crc(&body);
                }
                next = header.next_offset();
                (header, body)
            })
            .collect();
        self.write(
            &mut writer,
            &ready,
            &config,
            now,
            if stamp { now } else { NO_TIMESTAMP },
        )
    }

    /// Appends batches that have their offsets and epochs, as a follower does: they must go on
    /// where the log ends.
    pub fn append_as_follower(&self, records: Bytes, now: i64) -> Result<AppendInfo, AppendError> {
        self.check()?;
        let config = self.config();
        let batches = parse(records)?;
        let mut writer = self.lock_writer()?;
        let mut next = writer.next_offset;
        let mut ready = Vec::with_capacity(batches.len());
        for batch in &batches {
            // A leader's log that is or was compacted has gaps, and so has its copy.
            if batch.base_offset < next {
                return Err(AppendError::OffsetGap {
                    base_offset: batch.base_offset,
                    log_end_offset: next,
                });
            }
            self.check_epoch(batch.partition_leader_epoch)?;
            next = batch.next_offset();
            ready.push((*batch.header(), batch.bytes().slice(BATCH_HEADER_SIZE..)));
        }
        self.write(&mut writer, &ready, &config, now, NO_TIMESTAMP)
    }

    pub(super) fn check_epoch(&self, epoch: i32) -> Result<(), AppendError> {
        match self.latest_epoch() {
            Some(current) if epoch < current => {
                Err(AppendError::FencedLeaderEpoch { epoch, current })
            }
            _ => Ok(()),
        }
    }

    pub(super) fn write(
        &self,
        writer: &mut Writer,
        ready: &[(BatchHeader, Bytes)],
        config: &LogConfig,
        now: i64,
        log_append_time: i64,
    ) -> Result<AppendInfo, AppendError> {
        let (Some((first, _)), Some((last, _))) = (ready.first(), ready.last()) else {
            return Err(RecordError::Empty.into());
        };
        let size: usize = ready.iter().map(|(header, _)| header.size()).sum();
        let max_timestamp = ready
            .iter()
            .map(|(header, _)| header.max_timestamp)
            .max()
            .unwrap_or(NO_TIMESTAMP);
        if self.must_roll(writer, config, size, max_timestamp, last.last_offset(), now)? {
            self.roll(writer, now)?;
        }
        // Nothing is written that could not be read again.
        let markers = read_markers(ready)?;
        let interval = u64::from(config.index_interval_bytes);
        writer.active.expect_gaps(writer.next_offset, ready)?;
        if let Err(error) = writer.active.append(ready, interval) {
            // Tells the waiters when the directory went offline with it.
            self.check()?;
            return Err(error.into());
        }
        writer.next_offset = last.next_offset();
        let mut new_epoch = false;
        {
            let mut epochs = self.epochs.write();
            for (header, _) in ready {
                new_epoch |= epochs.assign(header.partition_leader_epoch, header.base_offset);
            }
            // The batches carry the epoch too: when the file cannot be written, recovery has it
            // from them.
            if new_epoch && let Err(error) = epochs.save() {
                tracing::warn!(topic = self.topic, partition = self.partition, %error,
                    "could not write the leader epochs");
            }
        }
        self.update_producers(writer, ready, &markers);
        let next = writer.next_offset;
        self.publish(|position| position.log_end_offset = next);
        let unflushed = next - self.flushed.load(Ordering::Acquire);
        if unflushed >= config.flush_messages {
            self.flush_soon();
        }
        Ok(AppendInfo {
            first_offset: first.base_offset,
            last_offset: last.last_offset(),
            log_append_time,
            log_start_offset: self.log_start_offset(),
            max_timestamp,
            size,
            duplicate: false,
            marker: !markers.is_empty(),
        })
    }

    /// Before the new end is published: a transaction that begins holds the last stable offset
    /// back, and one that was aborted is known to readers before they may pass it.
    fn update_producers(
        &self,
        writer: &mut Writer,
        ready: &[(BatchHeader, Bytes)],
        markers: &[(i64, Marker)],
    ) {
        let Writer {
            producers, active, ..
        } = writer;
        if !ready.iter().any(|(header, _)| header.has_producer_id()) {
            return;
        }
        let mut undecided = self.undecided.lock();
        for (header, _) in ready {
            let marker = markers.iter().find(|(at, _)| *at == header.base_offset);
            let Some((offset, marker)) = marker else {
                producers.update(header, &mut undecided);
                continue;
            };
            let stamp = header.max_timestamp;
            if let Some(aborted) = producers.update_marker(marker, *offset, stamp, &mut undecided) {
                active.aborted().push(aborted);
            }
        }
    }

    fn must_roll(
        &self,
        writer: &Writer,
        config: &LogConfig,
        size: usize,
        max_timestamp: i64,
        last_offset: i64,
        now: i64,
    ) -> Result<bool, AppendError> {
        let active = &writer.active;
        if active.size() == 0 {
            return Ok(false);
        }
        if active.size() + size as u64 > u64::from(config.segment_bytes)
            || active.is_full_for(last_offset, config.segment_index_bytes as usize)?
        {
            return Ok(true);
        }
        let allowed = allowed_age(writer, config);
        // By the records' time where they have one, so that a log that is filled with old records
        // (a mirror, a restore) is cut as it would have been then.
        let first = active.stamps()?.first;
        let age = if first > NO_TIMESTAMP && max_timestamp > NO_TIMESTAMP {
            max_timestamp.saturating_sub(first)
        } else {
            now.saturating_sub(active.created_at())
        };
        Ok(age > allowed)
    }

    /// Has the group commit flush this log.
    pub(super) fn flush_soon(&self) {
        if !self.flush_asked.swap(true, Ordering::AcqRel)
            && let Some(me) = self.me.upgrade()
        {
            let dir = Arc::clone(&self.dir);
            dir.flush_soon(me);
        }
    }
}

/// The transaction markers among the batches, by their offsets.
fn read_markers(ready: &[(BatchHeader, Bytes)]) -> Result<Vec<(i64, Marker)>, AppendError> {
    let mut markers = Vec::new();
    for (header, body) in ready.iter().filter(|(header, _)| header.is_control()) {
        if let Some(marker) = Marker::read(header, body.clone())? {
            markers.push((header.base_offset, marker));
        }
    }
    Ok(markers)
}

/// How old the active segment may get. Where compaction must come by in time, the segment must be
/// done with by then.
pub(super) fn allowed_age(writer: &Writer, config: &LogConfig) -> i64 {
    let age = if config.cleanup_compact {
        config.segment_ms.min(config.max_compaction_lag_ms)
    } else {
        config.segment_ms
    };
    let jitter = config.segment_jitter_ms.min(age) as f64 * writer.jitter;
    age.saturating_sub(jitter as i64)
}
