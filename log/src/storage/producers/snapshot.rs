//! Snapshots of the producers' state (`.snapshot`), in Kafka's format.
//!
//! A file says what the producers' state was at the offset of its name: version, CRC-32C of what
//! follows, and entries of a fixed size. Kafka writes one entry a producer. Here a producer has one
//! for each batch that is remembered, oldest first, so that a retry is recognized after a restart
//! too; who reads the last of them, as Kafka does, finds what Kafka would have written.

use std::path::Path;

use bytes::{Buf, BufMut};

use super::super::error::{StorageError, StorageResult};
use super::super::files::write_atomically;
use super::{BatchMeta, Producer, Producers};
use crate::record::NO_SEQUENCE;

const VERSION: i16 = 1;
const ENTRY_SIZE: usize = 8 + 2 + 4 + 8 + 4 + 8 + 4 + 8;
/// A producer of which no batch is remembered, only a marker.
const NO_BATCH: BatchMeta = BatchMeta {
    last_sequence: NO_SEQUENCE,
    last_offset: -1,
    offset_delta: 0,
    timestamp: 0,
};

impl Producers {
    /// Writes a snapshot.
    pub(crate) fn write_snapshot(&self, path: &Path) -> StorageResult<()> {
        let mut ids: Vec<_> = self.by_id.iter().collect();
        ids.sort_unstable_by_key(|(id, _)| **id);
        let count: usize = ids.iter().map(|(_, p)| p.batches.len().max(1)).sum();
        let mut body = Vec::with_capacity(4 + count * ENTRY_SIZE);
        body.put_i32(i32::try_from(count).unwrap_or(i32::MAX));
        for (id, producer) in ids {
            let (last, before) = match producer.batches.split_last() {
                Some((last, before)) => (last, before),
                None => (&NO_BATCH, &[][..]),
            };
            for meta in before {
                put(&mut body, *id, producer, meta, meta.timestamp);
            }
            put(&mut body, *id, producer, last, producer.last_timestamp);
        }
        let mut bytes = Vec::with_capacity(6 + body.len());
        bytes.put_i16(VERSION);
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
        if rest.len() < 10 || rest.get_i16() != VERSION {
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
            let coordinator_epoch = rest.get_i32();
            let first_offset = rest.get_i64();
            let producer = producers.entry(id, epoch);
            producer.move_to(epoch);
            producer.last_timestamp = meta.timestamp;
            producer.coordinator_epoch = coordinator_epoch;
            producer.transaction = (first_offset >= 0).then_some(first_offset);
            if meta.last_offset >= 0 {
                producer.remember(meta);
            }
        }
        Ok(producers)
    }
}

fn put(out: &mut Vec<u8>, id: i64, producer: &Producer, meta: &BatchMeta, timestamp: i64) {
    out.put_i64(id);
    out.put_i16(producer.epoch);
    out.put_i32(meta.last_sequence);
    out.put_i64(meta.last_offset);
    out.put_i32(meta.offset_delta);
    out.put_i64(timestamp);
    out.put_i32(producer.coordinator_epoch);
    out.put_i64(producer.transaction.unwrap_or(-1));
}
