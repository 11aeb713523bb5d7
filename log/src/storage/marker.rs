//! The marker that ends a transaction in a partition: a control batch of one record, byte for byte
//! as Kafka writes it.
//!
//! The key says which end it is (version, type), the value by which coordinator (version, epoch);
//! the producer is in the header of the batch.

use bytes::{Buf, Bytes};

use crate::record::{BatchBuilder, BatchHeader, Compression, RecordError, Records};

const VERSION: i16 = 0;
const ABORT: i16 = 0;
const COMMIT: i16 = 1;

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TxnOutcome {
    /// Its records count.
    Commit,
    /// Its records are not for `read_committed` readers.
    Abort,
}

/// The end of a producer's transaction in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marker {
    /// Whose transaction it is.
    pub producer_id: i64,
    /// The producer's epoch; with transactions v2 one above that of the transaction's records.
    pub producer_epoch: i16,
    /// The leader epoch of the coordinator's partition of `__transaction_state`.
    pub coordinator_epoch: i32,
    /// How it ended.
    pub outcome: TxnOutcome,
}

impl Marker {
    /// The control batch.
    pub(crate) fn batch(&self, now: i64) -> Result<Bytes, RecordError> {
        let kind = match self.outcome {
            TxnOutcome::Abort => ABORT,
            TxnOutcome::Commit => COMMIT,
        };
        let mut key = [0; 4];
        put(&mut key, &[&VERSION.to_be_bytes(), &kind.to_be_bytes()]);
        let mut value = [0; 6];
        put(
            &mut value,
            &[
                &VERSION.to_be_bytes(),
                &self.coordinator_epoch.to_be_bytes(),
            ],
        );
        let mut builder = BatchBuilder::with_capacity(Compression::None, 32);
        builder
            .producer(
                self.producer_id,
                self.producer_epoch,
                crate::record::NO_SEQUENCE,
            )
            .transactional(true)
            .control(true);
        builder.append(now, Some(&key), Some(&value), &[])?;
        builder.build()
    }

    /// The marker in a control batch; `None` when it holds another control record, or when its
    /// record has been cleaned away with all of its transaction.
    pub(crate) fn read(header: &BatchHeader, body: Bytes) -> Result<Option<Self>, RecordError> {
        if !header.is_control() || !header.has_producer_id() {
            return Ok(None);
        }
        let mut records = Records::new(header, body);
        let Some(record) = records.next() else {
            return Ok(None);
        };
        let record = record?;
        let bad = RecordError::InvalidRecord("a transaction marker that cannot be understood");
        let (Some(mut key), Some(mut value)) = (record.key, record.value) else {
            return Err(bad);
        };
        // Later versions may say more.
        if key.len() < 4 || key.get_i16() < 0 {
            return Err(bad);
        }
        let outcome = match key.get_i16() {
            ABORT => TxnOutcome::Abort,
            COMMIT => TxnOutcome::Commit,
            _ => return Ok(None),
        };
        if value.len() < 6 || value.get_i16() < 0 {
            return Err(bad);
        }
        Ok(Some(Self {
            producer_id: header.producer_id,
            producer_epoch: header.producer_epoch,
            coordinator_epoch: value.get_i32(),
            outcome,
        }))
    }
}

fn put(out: &mut [u8], parts: &[&[u8]]) {
    for (to, from) in out.iter_mut().zip(parts.iter().copied().flatten()) {
        *to = *from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{BATCH_HEADER_SIZE, RecordBatch};

    fn marker() -> Marker {
        Marker {
            producer_id: 7,
            producer_epoch: 3,
            coordinator_epoch: 0x0102_0304,
            outcome: TxnOutcome::Commit,
        }
    }

    fn read(batch: &RecordBatch) -> Result<Option<Marker>, RecordError> {
        Marker::read(batch.header(), batch.bytes().slice(BATCH_HEADER_SIZE..))
    }

    #[test]
    fn markers_survive_the_round_trip() {
        for outcome in [TxnOutcome::Commit, TxnOutcome::Abort] {
            let marker = Marker {
                outcome,
                ..marker()
            };
            let batch = RecordBatch::checked(marker.batch(5).unwrap()).unwrap();
            assert!(batch.is_control() && batch.is_transactional());
            assert_eq!(batch.base_sequence, -1);
            assert_eq!(batch.max_timestamp, 5);
            assert_eq!(read(&batch).unwrap(), Some(marker));
        }
    }

    #[test]
    fn the_bytes_are_kafkas() {
        let batch = RecordBatch::checked(marker().batch(5).unwrap()).unwrap();
        let record = batch.records().unwrap().next().unwrap().unwrap();
        assert_eq!(record.key.as_deref(), Some(&[0, 0, 0, 1][..]));
        assert_eq!(record.value.as_deref(), Some(&[0, 0, 1, 2, 3, 4][..]));
    }

    #[test]
    fn other_control_records_are_no_markers() {
        let control = |key: &[u8], value: &[u8]| {
            let mut builder = BatchBuilder::new(Compression::None);
            builder.producer(7, 3, -1).control(true);
            builder.append(0, Some(key), Some(value), &[]).unwrap();
            read(&RecordBatch::checked(builder.build().unwrap()).unwrap())
        };
        assert_eq!(control(&[0, 0, 0, 2], &[]).unwrap(), None);
        // A later version with more to say.
        let later = control(&[0, 1, 0, 0, 9], &[0, 1, 0, 0, 0, 5, 9])
            .unwrap()
            .unwrap();
        assert_eq!(
            (later.coordinator_epoch, later.outcome),
            (5, TxnOutcome::Abort)
        );
        for (key, value) in [
            (&[0, 0, 0][..], &[0, 0, 0, 0, 0, 1][..]),
            (&[0, 0, 0, 1], &[0, 0, 0]),
            (&[255, 255, 0, 1], &[0, 0, 0, 0, 0, 1]),
            (&[0, 0, 0, 1], &[255, 255, 0, 0, 0, 1]),
        ] {
            assert!(control(key, value).is_err());
        }
    }
}
