//! What the log knows of its idempotent producers, and the snapshots of it.
//!
//! Of each producer the last five batches are remembered, as many as may be in flight: one of them
//! sent again is a duplicate and gets the offset it got the first time. The state is a function of
//! the log: a snapshot and the batches after it give it again after a crash.

use std::collections::HashMap;
use std::path::Path;

use bytes::{Buf, BufMut};

use crate::record::add_sequence;
use crate::record::{BatchHeader, NO_SEQUENCE};

use super::error::{AppendError, StorageError, StorageResult};
use super::files::write_atomically;

/// How many batches of a producer are remembered.
const REMEMBERED: usize = 5;
const SNAPSHOT_VERSION: i16 = 1;
const ENTRY_SIZE: usize = 8 + 2 + 4 + 8 + 4 + 8 + 4 + 8;

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
}

/// Every producer of a partition.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Producers {
    by_id: HashMap<i64, Producer>,
}

impl Producers {
    /// Whether a client's batch may be appended: `Some` when it is there already.
    pub(crate) fn check(&self, batch: &BatchHeader) -> Result<Option<BatchMeta>, AppendError> {
        if !batch.has_producer_id() {
            return Ok(None);
        }
        // A producer that is not known may start anywhere: its state may have expired.
        let Some(known) = self.by_id.get(&batch.producer_id) else {
            return Ok(None);
        };
        if batch.producer_epoch < known.epoch {
            return Err(AppendError::InvalidProducerEpoch {
                producer_id: batch.producer_id,
                epoch: batch.producer_epoch,
                current: known.epoch,
            });
        }
        let out_of_order = |expected| {
            Err(AppendError::OutOfOrderSequence {
                producer_id: batch.producer_id,
                sequence: batch.base_sequence,
                expected,
            })
        };
        if batch.producer_epoch > known.epoch {
            return if batch.base_sequence == 0 {
                Ok(None)
            } else {
                out_of_order(0)
            };
        }
        let duplicate = known.batches.iter().find(|seen| {
            seen.first_sequence() == batch.base_sequence
                && seen.last_sequence == batch.last_sequence()
        });
        if let Some(seen) = duplicate {
            return Ok(Some(*seen));
        }
        match known.batches.last() {
            Some(last) => {
                let expected = add_sequence(last.last_sequence, 1);
                if batch.base_sequence == expected {
                    Ok(None)
                } else {
                    out_of_order(expected)
                }
            }
            None => Ok(None),
        }
    }

    /// Remembers a batch that is in the log.
    pub(crate) fn update(&mut self, batch: &BatchHeader) {
        // Control batches carry no sequence.
        if !batch.has_producer_id() || batch.base_sequence == NO_SEQUENCE {
            return;
        }
        self.remember(
            batch.producer_id,
            batch.producer_epoch,
            BatchMeta {
                last_sequence: batch.last_sequence(),
                last_offset: batch.last_offset(),
                offset_delta: batch.last_offset_delta,
                timestamp: batch.max_timestamp,
            },
        );
    }

    fn remember(&mut self, id: i64, epoch: i16, meta: BatchMeta) {
        let producer = self.by_id.entry(id).or_insert_with(|| Producer {
            epoch,
            batches: Vec::with_capacity(REMEMBERED),
            last_timestamp: meta.timestamp,
        });
        if producer.epoch != epoch {
            producer.epoch = epoch;
            producer.batches.clear();
        }
        if producer.batches.len() == REMEMBERED {
            producer.batches.remove(0);
        }
        producer.batches.push(meta);
        producer.last_timestamp = meta.timestamp;
    }

    /// Forgets producers whose last batch is older than `expiration_ms`.
    pub(crate) fn expire(&mut self, now: i64, expiration_ms: i64) {
        self.by_id
            .retain(|_, producer| now.saturating_sub(producer.last_timestamp) < expiration_ms);
    }

    /// Writes a snapshot in Kafka's format. A producer has an entry for each remembered batch,
    /// oldest first: Kafka, which writes only the last, takes the last of them.
    pub(crate) fn write_snapshot(&self, path: &Path) -> StorageResult<()> {
        let mut ids: Vec<_> = self.by_id.iter().collect();
        ids.sort_unstable_by_key(|(id, _)| **id);
        let count: usize = ids.iter().map(|(_, producer)| producer.batches.len()).sum();
        let mut body = Vec::with_capacity(4 + count * ENTRY_SIZE);
        body.put_i32(i32::try_from(count).unwrap_or(i32::MAX));
        for (id, producer) in ids {
            for meta in &producer.batches {
                body.put_i64(*id);
                body.put_i16(producer.epoch);
                body.put_i32(meta.last_sequence);
                body.put_i64(meta.last_offset);
                body.put_i32(meta.offset_delta);
                body.put_i64(meta.timestamp);
                body.put_i32(-1);
                body.put_i64(-1);
            }
        }
        let mut bytes = Vec::with_capacity(6 + body.len());
        bytes.put_i16(SNAPSHOT_VERSION);
        bytes.put_u32(crc32c::crc32c(&body));
        bytes.extend_from_slice(&body);
        write_atomically(path, &bytes, false)
    }

    /// Reads a snapshot.
    pub(crate) fn read_snapshot(path: &Path) -> StorageResult<Self> {
        let bytes = std::fs::read(path).map_err(|e| StorageError::io("read", path, e))?;
        let bad = |reason: &str| StorageError::BadFile {
            path: path.to_path_buf(),
            reason: reason.to_owned(),
        };
        let mut rest = bytes.as_slice();
        if rest.len() < 10 || rest.get_i16() != SNAPSHOT_VERSION {
            return Err(bad("it is not a producer snapshot of version 1"));
        }
        if rest.get_u32() != crc32c::crc32c(rest) {
            return Err(bad("its CRC-32C does not match"));
        }
        let count = usize::try_from(rest.get_i32()).unwrap_or(usize::MAX);
        if rest.len() / ENTRY_SIZE != count || rest.len() % ENTRY_SIZE != 0 {
            return Err(bad("its size does not match its count"));
        }
        let mut producers = Self::default();
        while rest.has_remaining() {
            let (id, epoch) = (rest.get_i64(), rest.get_i16());
            let meta = BatchMeta {
                last_sequence: rest.get_i32(),
                last_offset: rest.get_i64(),
                offset_delta: rest.get_i32(),
                timestamp: rest.get_i64(),
            };
            rest.advance(12);
            producers.remember(id, epoch, meta);
        }
        Ok(producers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{BatchBuilder, Compression, RecordBatch};

    fn batch(epoch: i16, sequence: i32, count: usize, offset: i64) -> BatchHeader {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.producer(9, epoch, sequence).base_offset(offset);
        for _ in 0..count {
            builder.append(5, None, None, &[]).unwrap();
        }
        *RecordBatch::new(builder.build().unwrap()).unwrap().header()
    }

    #[test]
    fn retries_get_their_first_offset() {
        let mut producers = Producers::default();
        for n in 0..7 {
            let next = batch(0, n * 2, 2, i64::from(n) * 10);
            assert_eq!(producers.check(&next).unwrap(), None);
            producers.update(&next);
        }
        for n in 2..7 {
            let seen = producers.check(&batch(0, n * 2, 2, 999)).unwrap().unwrap();
            assert_eq!(
                (seen.first_offset(), seen.last_offset),
                (i64::from(n) * 10, i64::from(n) * 10 + 1)
            );
        }
        // Older than the five that are remembered, a gap, and a batch cut otherwise.
        for (sequence, count) in [(2, 2), (15, 1), (12, 1), (13, 1)] {
            assert!(matches!(
                producers.check(&batch(0, sequence, count, 0)),
                Err(AppendError::OutOfOrderSequence { expected: 14, .. })
            ));
        }
    }

    #[test]
    fn epochs_fence() {
        let mut producers = Producers::default();
        producers.update(&batch(3, 0, 1, 0));
        assert!(matches!(
            producers.check(&batch(2, 1, 1, 0)),
            Err(AppendError::InvalidProducerEpoch { current: 3, .. })
        ));
        assert!(producers.check(&batch(4, 1, 1, 0)).is_err());
        assert_eq!(producers.check(&batch(4, 0, 1, 0)).unwrap(), None);
        producers.update(&batch(4, 0, 1, 1));
        assert!(producers.check(&batch(4, 0, 1, 1)).unwrap().is_some());
    }

    #[test]
    fn sequences_wrap() {
        let mut producers = Producers::default();
        let last = batch(0, i32::MAX - 1, 4, 100);
        assert_eq!(last.last_sequence(), 1);
        producers.update(&last);
        assert_eq!(producers.check(&last).unwrap().unwrap().first_offset(), 100);
        assert_eq!(producers.check(&batch(0, 2, 1, 0)).unwrap(), None);
    }

    #[test]
    fn snapshots_survive_and_damage_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("00000000000000000010.snapshot");
        let mut producers = Producers::default();
        for n in 0..3 {
            producers.update(&batch(1, n, 1, i64::from(n)));
        }
        producers.write_snapshot(&path).unwrap();
        assert_eq!(Producers::read_snapshot(&path).unwrap(), producers);
        let bytes = std::fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 4;
            std::fs::write(&path, &damaged).unwrap();
            assert!(Producers::read_snapshot(&path).is_err(), "byte {at}");
            std::fs::write(&path, &bytes[..at]).unwrap();
            assert!(Producers::read_snapshot(&path).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn idle_producers_are_forgotten() {
        let mut producers = Producers::default();
        producers.update(&batch(0, 0, 1, 0));
        producers.expire(1004, 1000);
        assert!(producers.check(&batch(0, 5, 1, 0)).is_err());
        producers.expire(1005, 1000);
        assert_eq!(producers.check(&batch(0, 5, 1, 0)).unwrap(), None);
    }
}
