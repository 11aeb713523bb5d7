//! What the log knows of its idempotent and transactional producers.
//!
//! Invariants:
//! - The state is a function of the log: a snapshot and the batches after it give it again after a
//!   crash or a truncation.
//! - Of each producer the last five batches are remembered, as many as may be in flight: one of
//!   them sent again is a duplicate and gets the offset it got the first time.
//! - A producer's epoch only grows; what comes with a lower one is refused. With a new epoch the
//!   sequence begins at 0 again.
//! - A producer has at most one transaction in the partition: it begins with its first batch, and
//!   ends with a marker.

mod snapshot;
mod undecided;
mod verification;

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use super::error::AppendError;
use super::marker::{Marker, TxnOutcome};
use super::txn_index::AbortedTxn;
use super::types::AppendOrigin;
use crate::record::{BatchHeader, NO_PRODUCER_EPOCH, NO_SEQUENCE, NO_TIMESTAMP, add_sequence};

pub(crate) use undecided::Undecided;
pub(crate) use verification::Verifications;
pub use verification::{Verification, VerificationGuard};

/// How many batches of a producer are remembered.
const REMEMBERED: usize = 5;
/// No coordinator has written a marker yet.
const NO_COORDINATOR_EPOCH: i32 = -1;
/// From this version of transactions on a marker's epoch is above that of the records it ends.
const TRANSACTIONS_V2: i16 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchMeta {
    pub(crate) last_sequence: i32,
    pub(crate) last_offset: i64,
    pub(crate) offset_delta: i32,
    pub(crate) timestamp: i64,
}

impl BatchMeta {
    pub(crate) fn first_offset(&self) -> i64 {
        self.last_offset - i64::from(self.offset_delta)
    }

    fn first_sequence(&self) -> i32 {
        // Backwards, also across the wrap.
        (i64::from(self.last_sequence) - i64::from(self.offset_delta))
            .rem_euclid(i64::from(i32::MAX) + 1) as i32
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Producer {
    epoch: i16,
    /// Oldest first, at most [`REMEMBERED`].
    batches: Vec<BatchMeta>,
    last_timestamp: i64,
    coordinator_epoch: i32,
    /// The first offset of the transaction that is ongoing.
    transaction: Option<i64>,
}

impl Producer {
    /// With another epoch the sequences begin anew.
    fn move_to(&mut self, epoch: i16) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.batches.clear();
        }
    }

    fn remember(&mut self, meta: BatchMeta) {
        if self.batches.len() == REMEMBERED {
            self.batches.remove(0);
        } else if self.batches.capacity() == 0 {
            self.batches.reserve_exact(REMEMBERED);
        }
        self.batches.push(meta);
    }
}

/// What a partition knows of a producer, as `DescribeProducers` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerSnapshot {
    /// The producer.
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i16,
    /// The sequence of its last record, -1 when there is none of this epoch.
    pub last_sequence: i32,
    /// The offset of its last record, -1 when there is none of this epoch.
    pub last_offset: i64,
    /// The timestamp of its last batch or marker.
    pub last_timestamp: i64,
    /// The epoch of the coordinator that wrote the last marker, -1 when there is none.
    pub coordinator_epoch: i32,
    /// Where its ongoing transaction begins.
    pub current_txn_first_offset: Option<i64>,
}

/// A transaction that has records in a partition and has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OngoingTransaction {
    /// Whose it is.
    pub producer_id: i64,
    /// The producer's epoch.
    pub producer_epoch: i16,
    /// The offset of its first record.
    pub first_offset: i64,
    /// The timestamp of the producer's last batch.
    pub last_timestamp: i64,
}

/// Every producer of a partition.
#[derive(Debug, Default, Clone)]
pub(crate) struct Producers {
    by_id: HashMap<i64, Producer>,
    /// Not a function of the log: gone with a restart, and whoever waits then asks anew.
    verifications: Verifications,
}

impl Producers {
    /// Whether a batch may be appended: `Some` when it is there already.
    ///
    /// A coordinator's batches carry no sequences of their own: only the epoch and the
    /// transaction count.
    pub(crate) fn check(
        &self,
        batch: &BatchHeader,
        origin: AppendOrigin,
        verification: Verification,
    ) -> Result<Option<BatchMeta>, AppendError> {
        if !batch.has_producer_id() {
            return Ok(None);
        }
        let known = self.by_id.get(&batch.producer_id);
        let client = origin == AppendOrigin::Client;
        if client
            && let Some(known) = known
            && known.epoch == batch.producer_epoch
        {
            let seen = known.batches.iter().find(|seen| {
                seen.first_sequence() == batch.base_sequence
                    && seen.last_sequence == batch.last_sequence()
            });
            if let Some(seen) = seen {
                return Ok(Some(*seen));
            }
        }
        if let Some(known) = known
            && batch.producer_epoch < known.epoch
        {
            return Err(AppendError::InvalidProducerEpoch {
                producer_id: batch.producer_id,
                epoch: batch.producer_epoch,
                current: known.epoch,
            });
        }
        if batch.is_transactional() {
            self.check_verified(batch, known, verification)?;
        } else if let Some(first_offset) = known.and_then(|known| known.transaction) {
            return Err(AppendError::TransactionOngoing {
                producer_id: batch.producer_id,
                first_offset,
            });
        }
        if client {
            let any = known.is_some_and(|known| !known.batches.is_empty());
            self.verifications
                .check_sequence(batch.producer_id, batch.base_sequence, any)?;
            // A producer that is not known may start anywhere: its state may have expired.
            if let Some(known) = known {
                check_sequence(batch, known)?;
            }
        }
        Ok(None)
    }

    fn check_verified(
        &self,
        batch: &BatchHeader,
        known: Option<&Producer>,
        verification: Verification,
    ) -> Result<(), AppendError> {
        let ongoing = known.is_some_and(|known| {
            known.transaction.is_some() && known.epoch == batch.producer_epoch
        });
        let verified = match verification {
            Verification::Off => true,
            Verification::Required(None) => false,
            Verification::Required(Some(guard)) => {
                self.verifications.holds(batch.producer_id, guard)
            }
        };
        if ongoing || verified {
            return Ok(());
        }
        Err(AppendError::TransactionNotVerified {
            producer_id: batch.producer_id,
            epoch: batch.producer_epoch,
        })
    }

    /// Whether a coordinator may write this marker: it must not be a zombie's, nor end a later
    /// transaction than the one it means.
    pub(crate) fn check_marker(
        &self,
        marker: &Marker,
        transaction_version: i16,
    ) -> Result<(), AppendError> {
        let Some(known) = self.by_id.get(&marker.producer_id) else {
            return Ok(());
        };
        let stale = if transaction_version >= TRANSACTIONS_V2 {
            marker.producer_epoch <= known.epoch
        } else {
            marker.producer_epoch < known.epoch
        };
        // The same marker once more, after its transaction has ended: it changes nothing. And an
        // epoch that is used up cannot be bumped any more.
        let again = marker.producer_epoch == known.epoch
            && (known.transaction.is_none() || marker.producer_epoch == i16::MAX);
        if stale && !(transaction_version >= TRANSACTIONS_V2 && again) {
            return Err(AppendError::InvalidProducerEpoch {
                producer_id: marker.producer_id,
                epoch: marker.producer_epoch,
                current: known.epoch,
            });
        }
        if marker.coordinator_epoch < known.coordinator_epoch {
            return Err(AppendError::CoordinatorFenced {
                producer_id: marker.producer_id,
                epoch: marker.coordinator_epoch,
                current: known.coordinator_epoch,
            });
        }
        Ok(())
    }

    /// Remembers a batch of records that is in the log.
    pub(crate) fn update(&mut self, batch: &BatchHeader, undecided: &mut Undecided) {
        if !batch.has_producer_id() || batch.is_control() {
            return;
        }
        let producer = self.entry(batch.producer_id, batch.producer_epoch);
        producer.move_to(batch.producer_epoch);
        producer.remember(BatchMeta {
            last_sequence: batch.last_sequence(),
            last_offset: batch.last_offset(),
            offset_delta: batch.last_offset_delta,
            timestamp: batch.max_timestamp,
        });
        producer.last_timestamp = batch.max_timestamp;
        if batch.is_transactional() {
            if producer.transaction.is_none() {
                producer.transaction = Some(batch.base_offset);
                undecided.began(batch.base_offset, batch.producer_id);
            }
            self.verifications.end(batch.producer_id);
        }
    }

    /// Remembers a marker that is in the log at an offset. `Some` when it aborted a transaction
    /// that has records.
    pub(crate) fn update_marker(
        &mut self,
        marker: &Marker,
        offset: i64,
        timestamp: i64,
        undecided: &mut Undecided,
    ) -> Option<AbortedTxn> {
        let producer = self.entry(marker.producer_id, marker.producer_epoch);
        producer.move_to(marker.producer_epoch);
        producer.coordinator_epoch = marker.coordinator_epoch;
        producer.last_timestamp = timestamp;
        let first_offset = producer.transaction.take();
        self.verifications.end(marker.producer_id);
        let first_offset = first_offset?;
        let last_stable_offset = undecided.ended(first_offset, offset);
        (marker.outcome == TxnOutcome::Abort).then_some(AbortedTxn {
            producer_id: marker.producer_id,
            first_offset,
            last_offset: offset,
            last_stable_offset,
        })
    }

    fn entry(&mut self, id: i64, epoch: i16) -> &mut Producer {
        self.by_id.entry(id).or_insert_with(|| Producer {
            epoch,
            batches: Vec::new(),
            last_timestamp: NO_TIMESTAMP,
            coordinator_epoch: NO_COORDINATOR_EPOCH,
            transaction: None,
        })
    }

    /// The transactions that have not ended, as a reader of committed records must know them.
    pub(crate) fn undecided(&self) -> Undecided {
        let mut undecided = Undecided::default();
        for (id, producer) in &self.by_id {
            if let Some(first_offset) = producer.transaction {
                undecided.began(first_offset, *id);
            }
        }
        undecided
    }

    /// A producer's ongoing transaction, when it is of this epoch.
    pub(crate) fn ongoing(&self, id: i64, epoch: i16) -> Option<OngoingTransaction> {
        let producer = self.by_id.get(&id)?;
        let first_offset = producer.transaction?;
        (producer.epoch == epoch).then_some(OngoingTransaction {
            producer_id: id,
            producer_epoch: epoch,
            first_offset,
            last_timestamp: producer.last_timestamp,
        })
    }

    /// A guard for the first batch of a transaction; `None` when none is needed, as the
    /// transaction has records here already.
    pub(crate) fn start_verification(
        &mut self,
        id: i64,
        epoch: i16,
        base_sequence: i32,
        transactions_v2: bool,
        now: i64,
    ) -> Result<Option<VerificationGuard>, AppendError> {
        let current = self
            .by_id
            .get(&id)
            .map_or(NO_PRODUCER_EPOCH, |known| known.epoch);
        if epoch < current {
            return Err(AppendError::InvalidProducerEpoch {
                producer_id: id,
                epoch,
                current,
            });
        }
        if self.ongoing(id, epoch).is_some() {
            return Ok(None);
        }
        let guard = self
            .verifications
            .start(id, epoch, base_sequence, transactions_v2, now);
        Ok(Some(guard))
    }

    /// Forgets producers whose last batch is older than `expiration_ms`; not one whose transaction
    /// is ongoing.
    pub(crate) fn expire(&mut self, now: i64, expiration_ms: i64) {
        self.by_id.retain(|_, producer| {
            producer.transaction.is_some()
                || now.saturating_sub(producer.last_timestamp) < expiration_ms
        });
        self.verifications.expire(now, expiration_ms);
    }

    /// Everything, in the order of the ids.
    pub(crate) fn all(&self) -> Vec<ProducerSnapshot> {
        let mut all: Vec<_> = self
            .by_id
            .iter()
            .map(|(id, producer)| {
                let last = producer.batches.last();
                ProducerSnapshot {
                    producer_id: *id,
                    producer_epoch: producer.epoch,
                    last_sequence: last.map_or(NO_SEQUENCE, |last| last.last_sequence),
                    last_offset: last.map_or(-1, |last| last.last_offset),
                    last_timestamp: producer.last_timestamp,
                    coordinator_epoch: producer.coordinator_epoch,
                    current_txn_first_offset: producer.transaction,
                }
            })
            .collect();
        all.sort_unstable_by_key(|producer| producer.producer_id);
        all
    }
}

/// Whether the batch goes on where its producer left off.
fn check_sequence(batch: &BatchHeader, known: &Producer) -> Result<(), AppendError> {
    let expected = if batch.producer_epoch > known.epoch {
        0
    } else {
        // Of an epoch that only a marker has brought nothing has been sent yet.
        known
            .batches
            .last()
            .map_or(0, |last| add_sequence(last.last_sequence, 1))
    };
    if batch.base_sequence == expected {
        return Ok(());
    }
    Err(AppendError::OutOfOrderSequence {
        producer_id: batch.producer_id,
        sequence: batch.base_sequence,
        expected,
    })
}
