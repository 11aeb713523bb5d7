//! What a log tells of its transactions, and the markers that end them.
//!
//! A transaction begins with its producer's first transactional batch and is undecided until the
//! marker that ends it lies below the high watermark: the last stable offset stays before it.

use super::super::error::AppendError;
use super::super::marker::Marker;
use super::super::producers::{OngoingTransaction, ProducerSnapshot, VerificationGuard};
use super::super::types::AppendInfo;
use super::PartitionLog;
use crate::record::{BATCH_HEADER_SIZE, NO_TIMESTAMP, RecordBatch, TimestampType};

impl PartitionLog {
    /// Ends a producer's transaction: appends the marker. Where the producer has no transaction
    /// here, the marker only fences what is older than it.
    ///
    /// `transaction_version` is that of the transaction: from 2 on, the marker's epoch must be
    /// above that of the records, but for a marker that is written once more.
    pub fn append_marker(
        &self,
        marker: Marker,
        transaction_version: i16,
        leader_epoch: i32,
        now: i64,
    ) -> Result<AppendInfo, AppendError> {
        if marker.producer_id < 0 || marker.producer_epoch < 0 {
            return Err(AppendError::InvalidRecord(
                "a transaction marker needs a producer id and an epoch".to_owned(),
            ));
        }
        self.check()?;
        let config = self.config();
        let batch = RecordBatch::new(marker.batch(now)?)?;
        let stamp = config.message_timestamp_type == TimestampType::LogAppendTime;
        let body = batch.bytes().slice(BATCH_HEADER_SIZE..);
        let mut header = *batch.header();
        header.partition_leader_epoch = leader_epoch;
        if stamp {
            header.set_log_append_time(now);
            header.crc = header.compute_crc(&body);
        }
        let log_append_time = if stamp { now } else { NO_TIMESTAMP };

        let mut writer = self.lock_writer()?;
        self.check_epoch(leader_epoch)?;
        writer
            .producers
            .check_marker(&marker, transaction_version)?;
        header.base_offset = writer.next_offset;
        self.write(
            &mut writer,
            &[(header, body)],
            &config,
            now,
            log_append_time,
        )
    }

    /// The transaction that a producer has here, when it is of this epoch and has not ended.
    pub fn transaction_state(&self, producer_id: i64, epoch: i16) -> Option<OngoingTransaction> {
        self.writer.lock().producers.ongoing(producer_id, epoch)
    }

    /// Before the first batch of a transaction: a guard to append it with, once the coordinator
    /// has said that the transaction is ongoing. `None` when it has records here already, and
    /// needs no guard.
    ///
    /// `transactions_v2` says that the producer bumps its epoch with each transaction.
    pub fn start_verification(
        &self,
        producer_id: i64,
        epoch: i16,
        base_sequence: i32,
        transactions_v2: bool,
        now: i64,
    ) -> Result<Option<VerificationGuard>, AppendError> {
        let mut writer = self.lock_writer()?;
        writer
            .producers
            .start_verification(producer_id, epoch, base_sequence, transactions_v2, now)
    }

    /// Everything that is known of the producers, by their ids.
    pub fn producers(&self) -> Vec<ProducerSnapshot> {
        self.writer.lock().producers.all()
    }
}
