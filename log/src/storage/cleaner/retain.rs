//! What of a batch stays, and the batch made anew from it.
//!
//! A record stays while it is the last of its key; one without a value (a tombstone) only until the
//! batch's delete horizon. The horizon is set when compaction first meets the tombstone (KIP-534),
//! so that whoever reads the log from its beginning has `delete.retention.ms` to see it. A batch
//! keeps its offsets, its producer and its sequences whatever is left of it; it stays without any
//! record where it is the last of a producer that may come back, or the last of the cleaned part.

use std::collections::HashMap;

use bytes::Bytes;

use super::super::txn_index::AbortedTxn;
use super::offset_map::OffsetMap;
use super::transactions::CleanedTransactions;
use crate::record::{
    BATCH_HEADER_SIZE, BatchBuilder, BatchHeader, Record, RecordBatch, RecordError,
};

/// The last that is known of a producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LastRecord {
    /// The offset of its last record; `None` when a marker is all there was.
    pub(crate) last_data_offset: Option<i64>,
    /// Its epoch.
    pub(crate) producer_epoch: i16,
}

/// What decides.
pub(crate) struct Rules<'a> {
    pub(crate) map: &'a OffsetMap,
    pub(crate) now: i64,
    pub(crate) delete_retention_ms: i64,
    /// The last record of every producer that is not forgotten.
    pub(crate) producers: &'a HashMap<i64, LastRecord>,
    /// Where the cleaned part ends.
    pub(crate) upper_bound: i64,
}

/// What becomes of a batch.
#[derive(Debug, Default)]
pub(crate) struct Retained {
    /// The header and what follows it; `None` when the batch goes.
    pub(crate) batch: Option<(BatchHeader, Bytes)>,
    pub(crate) records_read: u64,
    pub(crate) records_kept: u64,
    /// Records without a key, which a compacted topic cannot hold.
    pub(crate) without_key: u64,
    /// An aborted transaction that still has batches.
    pub(crate) aborted: Option<AbortedTxn>,
}

impl Rules<'_> {
    /// Decides over the next batch of the log.
    pub(crate) fn retain(
        &self,
        batch: &RecordBatch,
        transactions: &mut CleanedTransactions,
    ) -> Result<Retained, RecordError> {
        let mut result = Retained::default();
        let (may_go, discard) = if batch.is_control() {
            let (empty, aborted) = transactions.on_control(batch);
            result.aborted = aborted;
            let past = batch.delete_horizon().is_some_and(|at| at <= self.now);
            (empty, empty && past)
        } else {
            let aborted = transactions.on_data(batch);
            (aborted, aborted)
        };
        let keep_empty = self.is_last_of_producer(batch) || batch.next_offset() == self.upper_bound;
        if discard && !keep_empty {
            result.records_read = u64::try_from(batch.records_count).unwrap_or_default();
            return Ok(result);
        }
        let mut kept = Vec::new();
        let mut has_tombstone = false;
        for record in batch.records()? {
            let record = record?;
            result.records_read += 1;
            if discard {
                continue;
            }
            if !batch.is_control() && record.key.is_none() {
                result.without_key += 1;
            }
            if batch.is_control() || self.keeps(batch, &record) {
                has_tombstone |= record.value.is_none() && !batch.is_control();
                kept.push(record);
            }
        }
        result.records_kept = kept.len() as u64;
        if kept.is_empty() {
            result.batch = keep_empty.then(|| (batch.emptied(), Bytes::new()));
            return Ok(result);
        }
        let marker_of_nothing = batch.is_control() && may_go;
        let horizon = match batch.delete_horizon() {
            None if has_tombstone || marker_of_nothing => {
                Some(self.now.saturating_add(self.delete_retention_ms))
            }
            known => known,
        };
        let whole = result.records_kept == result.records_read;
        result.batch = Some(if whole && horizon == batch.delete_horizon() {
            (*batch.header(), batch.bytes().slice(BATCH_HEADER_SIZE..))
        } else {
            rebuild(batch, &kept, horizon)?
        });
        Ok(result)
    }

    fn keeps(&self, batch: &BatchHeader, record: &Record) -> bool {
        if record.offset > self.map.latest() {
            return true;
        }
        let Some(key) = &record.key else {
            return false;
        };
        let last = self.map.get(key).is_none_or(|last| record.offset >= last);
        last && (record.value.is_some() || batch.delete_horizon().is_none_or(|at| self.now < at))
    }

    fn is_last_of_producer(&self, batch: &BatchHeader) -> bool {
        let Some(last) = self
            .producers
            .get(&batch.producer_id)
            .filter(|_| batch.has_producer_id())
        else {
            return false;
        };
        match last.last_data_offset {
            Some(offset) => batch.last_offset() == offset,
            None => batch.is_control() && batch.producer_epoch == last.producer_epoch,
        }
    }
}

/// The batch with fewer records, or with a delete horizon.
fn rebuild(
    batch: &RecordBatch,
    records: &[Record],
    horizon: Option<i64>,
) -> Result<(BatchHeader, Bytes), RecordError> {
    let mut builder = BatchBuilder::new(batch.compression());
    builder
        .base_offset(batch.base_offset)
        .partition_leader_epoch(batch.partition_leader_epoch)
        .producer(batch.producer_id, batch.producer_epoch, batch.base_sequence)
        .transactional(batch.is_transactional())
        .control(batch.is_control())
        .timestamp_type(batch.timestamp_type())
        .delete_horizon(horizon)
        .last_offset(batch.last_offset());
    for record in records {
        builder.append_at(
            record.offset,
            record.timestamp,
            record.key.as_deref(),
            record.value.as_deref(),
            &record.headers,
        )?;
    }
    let built = RecordBatch::new(builder.build()?)?;
    Ok((*built.header(), built.bytes().slice(BATCH_HEADER_SIZE..)))
}
