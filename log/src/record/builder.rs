//! Builds a batch, one record after the other.

use bytes::{BufMut, Bytes, BytesMut};

use super::header::{
    BATCH_HEADER_SIZE, BATCH_OVERHEAD, BatchHeader, NO_PARTITION_LEADER_EPOCH, NO_PRODUCER_EPOCH,
    NO_PRODUCER_ID, NO_SEQUENCE, NO_TIMESTAMP, TimestampType,
};
use super::iter::Header;
use super::varint::{put_varint, put_varlong, varlong_size};
use super::{Compression, RecordError};

/// Builds a record batch. Records are encoded as they come, compressed at the end.
#[derive(Debug)]
pub struct BatchBuilder {
    compression: Compression,
    level: Option<i32>,
    /// Room for the header, then the records.
    buffer: BytesMut,
    header: BatchHeader,
    transactional: bool,
    control: bool,
    timestamp_type: TimestampType,
    /// How much smaller the records are expected to become.
    expected_ratio: f32,
    /// When compaction may drop the batch's tombstones.
    delete_horizon: Option<i64>,
    /// The last offset the batch stands for, though its record may be gone.
    last_offset: Option<i64>,
}

impl BatchBuilder {
    /// An empty batch at offset 0.
    pub fn new(compression: Compression) -> Self {
        Self::with_capacity(compression, 0)
    }

    /// An empty batch with room for so many bytes of records.
    pub fn with_capacity(compression: Compression, capacity: usize) -> Self {
        let mut buffer = BytesMut::with_capacity(BATCH_HEADER_SIZE + capacity);
        buffer.put_bytes(0, BATCH_HEADER_SIZE);
        Self {
            compression,
            level: None,
            buffer,
            header: BatchHeader {
                base_offset: 0,
                batch_length: 0,
                partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
                crc: 0,
                attributes: 0,
                last_offset_delta: -1,
                base_timestamp: NO_TIMESTAMP,
                max_timestamp: NO_TIMESTAMP,
                producer_id: NO_PRODUCER_ID,
                producer_epoch: NO_PRODUCER_EPOCH,
                base_sequence: NO_SEQUENCE,
                records_count: 0,
            },
            transactional: false,
            control: false,
            timestamp_type: TimestampType::CreateTime,
            expected_ratio: 1.0,
            delete_horizon: None,
            last_offset: None,
        }
    }

    /// The codec's level; its own default without.
    pub fn level(&mut self, level: Option<i32>) -> &mut Self {
        self.level = level;
        self
    }

    /// The producer's identity and the sequence of the first record.
    pub fn producer(&mut self, id: i64, epoch: i16, base_sequence: i32) -> &mut Self {
        self.header.producer_id = id;
        self.header.producer_epoch = epoch;
        self.header.base_sequence = base_sequence;
        self
    }

    /// The offset of the first record (brokers assign it; 0 from a producer).
    pub fn base_offset(&mut self, base_offset: i64) -> &mut Self {
        self.header.base_offset = base_offset;
        self
    }

    /// The epoch of the leader.
    pub fn partition_leader_epoch(&mut self, epoch: i32) -> &mut Self {
        self.header.partition_leader_epoch = epoch;
        self
    }

    /// Whether the batch is part of a transaction.
    pub fn transactional(&mut self, transactional: bool) -> &mut Self {
        self.transactional = transactional;
        self
    }

    /// Whether the batch holds a control record.
    pub fn control(&mut self, control: bool) -> &mut Self {
        self.control = control;
        self
    }

    /// Whose clock stamps the records. With the broker's, all have the largest timestamp.
    pub fn timestamp_type(&mut self, timestamp_type: TimestampType) -> &mut Self {
        self.timestamp_type = timestamp_type;
        self
    }

    /// How much smaller compression is expected to make the records (compressed size over plain
    /// size): what [`estimated_size`](Self::estimated_size) goes by.
    pub fn expected_ratio(&mut self, ratio: f32) -> &mut Self {
        self.expected_ratio = ratio.clamp(0.0, 2.0);
        self
    }

    /// When compaction may drop the batch's tombstones or its marker (KIP-534). To be set before
    /// the first record: the timestamps are relative to it.
    pub fn delete_horizon(&mut self, horizon: Option<i64>) -> &mut Self {
        self.delete_horizon = horizon;
        self
    }

    /// The last offset that the batch stands for, where compaction took the last record out: the
    /// producer's last sequence follows from it.
    pub fn last_offset(&mut self, offset: i64) -> &mut Self {
        self.last_offset = Some(offset);
        self
    }

    /// Adds a record at the next offset.
    pub fn append(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header],
    ) -> Result<(), RecordError> {
        let delta = self
            .header
            .last_offset_delta
            .checked_add(1)
            .ok_or(RecordError::TooLarge)?;
        self.append_at_delta(delta, timestamp, key, value, headers)
    }

    /// Adds a record at an offset of its own, above those before it: offsets that compaction has
    /// emptied stay empty.
    pub fn append_at(
        &mut self,
        offset: i64,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header],
    ) -> Result<(), RecordError> {
        let delta = offset
            .checked_sub(self.header.base_offset)
            .and_then(|delta| i32::try_from(delta).ok())
            .filter(|delta| *delta > self.header.last_offset_delta)
            .ok_or(RecordError::InvalidRecord(
                "its offset is not above those before it",
            ))?;
        self.append_at_delta(delta, timestamp, key, value, headers)
    }

    fn append_at_delta(
        &mut self,
        offset_delta: i32,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header],
    ) -> Result<(), RecordError> {
        let first = self.header.records_count == 0;
        let base_timestamp = if first {
            self.delete_horizon.unwrap_or(timestamp)
        } else {
            self.header.base_timestamp
        };
        let timestamp_delta = timestamp.wrapping_sub(base_timestamp);
        let body = body_size(timestamp_delta, offset_delta, key, value, headers);
        let size = varlong_size(body as i64) + body;
        if self.buffer.len() + size > i32::MAX as usize || self.header.records_count == i32::MAX {
            return Err(RecordError::TooLarge);
        }
        let out = &mut self.buffer;
        out.reserve(size);
        put_varint(out, body as i32);
        out.put_u8(0);
        put_varlong(out, timestamp_delta);
        put_varint(out, offset_delta);
        put_nullable(out, key);
        put_nullable(out, value);
        put_varint(out, headers.len() as i32);
        for header in headers {
            put_nullable(out, Some(&header.key));
            put_nullable(out, header.value.as_deref());
        }
        self.header.base_timestamp = base_timestamp;
        self.header.max_timestamp = if first {
            timestamp
        } else {
            self.header.max_timestamp.max(timestamp)
        };
        self.header.last_offset_delta = offset_delta;
        self.header.records_count += 1;
        Ok(())
    }

    /// How many records there are.
    pub fn records_count(&self) -> usize {
        usize::try_from(self.header.records_count).unwrap_or_default()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.header.records_count == 0
    }

    /// The largest timestamp so far.
    pub fn max_timestamp(&self) -> i64 {
        self.header.max_timestamp
    }

    /// The size of the batch before compression.
    pub fn uncompressed_size(&self) -> usize {
        self.buffer.len()
    }

    /// The size that the batch is expected to have.
    pub fn estimated_size(&self) -> usize {
        if self.compression == Compression::None {
            return self.buffer.len();
        }
        let records = self.buffer.len() - BATCH_HEADER_SIZE;
        BATCH_HEADER_SIZE + (records as f32 * self.expected_ratio) as usize
    }

    /// The most that a record can add to a batch, before compression.
    pub fn record_size_upper_bound(
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header],
    ) -> usize {
        5 + body_size(i64::MIN, i32::MAX, key, value, headers)
    }

    /// The batch.
    pub fn build(self) -> Result<Bytes, RecordError> {
        if self.is_empty() {
            return Err(RecordError::Empty);
        }
        let mut out = self.buffer;
        if self.compression != Compression::None {
            let mut compressed = BytesMut::with_capacity(BATCH_HEADER_SIZE + out.len() / 2);
            compressed.put_bytes(0, BATCH_HEADER_SIZE);
            let plain = out.get(BATCH_HEADER_SIZE..).unwrap_or_default();
            out = self.compression.compress(plain, self.level, compressed)?;
        }
        let mut header = self.header;
        header.attributes = BatchHeader::attributes(
            self.compression,
            self.timestamp_type,
            self.transactional,
            self.control,
        );
        if self.delete_horizon.is_some() {
            header.set_delete_horizon();
        }
        if let Some(last) = self.last_offset {
            header.last_offset_delta = last
                .checked_sub(header.base_offset)
                .and_then(|delta| i32::try_from(delta).ok())
                .filter(|delta| *delta >= header.last_offset_delta)
                .ok_or(RecordError::InvalidRecord(
                    "its last offset lies before a record of it",
                ))?;
        }
        header.batch_length =
            i32::try_from(out.len() - BATCH_OVERHEAD).map_err(|_| RecordError::TooLarge)?;
        header.crc = header.compute_crc(out.get(BATCH_HEADER_SIZE..).unwrap_or_default());
        for (to, from) in out.iter_mut().zip(header.encode()) {
            *to = from;
        }
        Ok(out.freeze())
    }
}

fn put_nullable(out: &mut BytesMut, bytes: Option<&[u8]>) {
    match bytes {
        None => put_varint(out, -1),
        Some(bytes) => {
            put_varint(out, bytes.len() as i32);
            out.put_slice(bytes);
        }
    }
}

fn nullable_size(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| {
        varlong_size(bytes.len() as i64).saturating_add(bytes.len())
    })
}

/// Saturates instead of overflowing, so that a caller's check against `i32::MAX` holds.
fn body_size(
    timestamp_delta: i64,
    offset_delta: i32,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: &[Header],
) -> usize {
    let mut size = 1
        + varlong_size(timestamp_delta)
        + varlong_size(i64::from(offset_delta))
        + varlong_size(headers.len() as i64);
    size = size
        .saturating_add(nullable_size(key))
        .saturating_add(nullable_size(value));
    for header in headers {
        size = size
            .saturating_add(nullable_size(Some(&header.key)))
            .saturating_add(nullable_size(header.value.as_deref()));
    }
    size
}
