//! The 61-byte header of a batch: fixed fields at fixed places, big-endian.
//!
//! The CRC-32C covers everything from the attributes to the end of the batch; base offset, length,
//! leader epoch and magic lie outside of it, so that a broker can fill them in without touching
//! the checksum.

use std::fmt;

use super::{Compression, RecordError};

/// Size of the header.
pub const BATCH_HEADER_SIZE: usize = 61;
/// Bytes before what `batch_length` counts: the base offset and the length itself.
pub const BATCH_OVERHEAD: usize = 12;
/// Where the bytes that the CRC covers begin.
pub(crate) const CRC_START: usize = 21;

/// No producer id: the batch is not idempotent.
pub const NO_PRODUCER_ID: i64 = -1;
/// No producer epoch.
pub const NO_PRODUCER_EPOCH: i16 = -1;
/// No sequence.
pub const NO_SEQUENCE: i32 = -1;
/// No timestamp.
pub const NO_TIMESTAMP: i64 = -1;
/// No leader epoch.
pub const NO_PARTITION_LEADER_EPOCH: i32 = -1;

const CODEC_MASK: i16 = 0x07;
const TIMESTAMP_TYPE: i16 = 0x08;
const TRANSACTIONAL: i16 = 0x10;
const CONTROL: i16 = 0x20;
const DELETE_HORIZON: i16 = 0x40;

/// Whose clock stamped the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TimestampType {
    /// The producer's.
    #[default]
    CreateTime,
    /// The broker's, at the append.
    LogAppendTime,
}

impl fmt::Display for TimestampType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CreateTime => "CreateTime",
            Self::LogAppendTime => "LogAppendTime",
        })
    }
}

/// The header of a batch, decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record.
    pub base_offset: i64,
    /// Bytes of the batch after this field.
    pub batch_length: i32,
    /// Epoch of the leader that appended the batch.
    pub partition_leader_epoch: i32,
    /// CRC-32C of everything from the attributes on.
    pub crc: u32,
    /// Codec and flags.
    pub attributes: i16,
    /// Last offset less the base offset.
    pub last_offset_delta: i32,
    /// What the records' timestamps are relative to (the delete horizon when that flag is set).
    pub base_timestamp: i64,
    /// The largest timestamp of the records.
    pub max_timestamp: i64,
    /// The idempotent producer's id, or -1.
    pub producer_id: i64,
    /// Its epoch, or -1.
    pub producer_epoch: i16,
    /// The sequence of the first record, or -1.
    pub base_sequence: i32,
    /// How many records the batch says it holds.
    pub records_count: i32,
}

fn field<const N: usize>(bytes: &[u8; BATCH_HEADER_SIZE], at: usize) -> [u8; N] {
    let mut out = [0; N];
    for (to, from) in out.iter_mut().zip(bytes.iter().skip(at)) {
        *to = *from;
    }
    out
}

impl BatchHeader {
    /// Decodes and checks a header. What needs the rest of the batch (its CRC) is not checked.
    pub fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        // The magic comes first: older formats have other fields behind it.
        if let Some(&magic) = bytes.get(16) {
            match magic as i8 {
                2 => {}
                magic @ (0 | 1) => return Err(RecordError::OldMagic { magic }),
                magic => return Err(RecordError::UnknownMagic { magic }),
            }
        }
        let Some(head) = bytes.first_chunk::<BATCH_HEADER_SIZE>() else {
            return Err(RecordError::Truncated {
                what: "batch header",
                needed: BATCH_HEADER_SIZE,
                available: bytes.len(),
            });
        };
        let header = Self::decode(head);
        header.check()?;
        Ok(header)
    }

    /// Decodes a header of the present format and checks nothing: for what has to be known before it may be
    /// refused.
    pub(crate) fn peek(bytes: &[u8]) -> Option<Self> {
        let head = bytes.first_chunk::<BATCH_HEADER_SIZE>()?;
        (head[16] == 2).then(|| Self::decode(head))
    }

    fn decode(head: &[u8; BATCH_HEADER_SIZE]) -> Self {
        Self {
            base_offset: i64::from_be_bytes(field(head, 0)),
            batch_length: i32::from_be_bytes(field(head, 8)),
            partition_leader_epoch: i32::from_be_bytes(field(head, 12)),
            crc: u32::from_be_bytes(field(head, 17)),
            attributes: i16::from_be_bytes(field(head, 21)),
            last_offset_delta: i32::from_be_bytes(field(head, 23)),
            base_timestamp: i64::from_be_bytes(field(head, 27)),
            max_timestamp: i64::from_be_bytes(field(head, 35)),
            producer_id: i64::from_be_bytes(field(head, 43)),
            producer_epoch: i16::from_be_bytes(field(head, 51)),
            base_sequence: i32::from_be_bytes(field(head, 53)),
            records_count: i32::from_be_bytes(field(head, 57)),
        }
    }

    fn check(&self) -> Result<(), RecordError> {
        let invalid = |reason: String| {
            Err(RecordError::Invalid {
                base_offset: self.base_offset,
                reason,
            })
        };
        if self.batch_length < (BATCH_HEADER_SIZE - BATCH_OVERHEAD) as i32 {
            return invalid(format!("its length is {}", self.batch_length));
        }
        if self.base_offset < 0
            || self
                .base_offset
                .checked_add(i64::from(i32::MAX) + 1)
                .is_none()
        {
            return invalid(format!("its base offset is {}", self.base_offset));
        }
        if self.last_offset_delta < 0 {
            return invalid(format!(
                "its last offset delta is {}",
                self.last_offset_delta
            ));
        }
        if self.records_count < 0
            || i64::from(self.records_count) > i64::from(self.last_offset_delta) + 1
        {
            return invalid(format!(
                "it says it holds {} records in {} offsets",
                self.records_count,
                i64::from(self.last_offset_delta) + 1
            ));
        }
        Compression::from_attributes(self.attributes)?;
        Ok(())
    }

    /// The header's bytes.
    pub fn encode(&self) -> [u8; BATCH_HEADER_SIZE] {
        let mut out = [0; BATCH_HEADER_SIZE];
        let mut rest = out.as_mut_slice();
        let mut put = |bytes: &[u8]| bytes::BufMut::put_slice(&mut rest, bytes);
        put(&self.base_offset.to_be_bytes());
        put(&self.batch_length.to_be_bytes());
        put(&self.partition_leader_epoch.to_be_bytes());
        put(&[2]);
        put(&self.crc.to_be_bytes());
        put(&self.attributes.to_be_bytes());
        put(&self.last_offset_delta.to_be_bytes());
        put(&self.base_timestamp.to_be_bytes());
        put(&self.max_timestamp.to_be_bytes());
        put(&self.producer_id.to_be_bytes());
        put(&self.producer_epoch.to_be_bytes());
        put(&self.base_sequence.to_be_bytes());
        put(&self.records_count.to_be_bytes());
        out
    }

    /// The CRC-32C that a batch of this header and these records must have.
    pub fn compute_crc(&self, records: &[u8]) -> u32 {
        let head = self.encode();
        let covered = head.get(CRC_START..).unwrap_or_default();
        crc32c::crc32c_append(crc32c::crc32c(covered), records)
    }

    /// Size of the whole batch.
    pub fn size(&self) -> usize {
        BATCH_OVERHEAD + usize::try_from(self.batch_length).unwrap_or_default()
    }

    /// Offset of the last record.
    pub fn last_offset(&self) -> i64 {
        self.base_offset + i64::from(self.last_offset_delta)
    }

    /// The offset after the last record.
    pub fn next_offset(&self) -> i64 {
        self.last_offset() + 1
    }

    /// The codec of the records.
    pub fn compression(&self) -> Compression {
        Compression::from_attributes(self.attributes & CODEC_MASK).unwrap_or_default()
    }

    /// Whose clock stamped the records.
    pub fn timestamp_type(&self) -> TimestampType {
        if self.attributes & TIMESTAMP_TYPE == 0 {
            TimestampType::CreateTime
        } else {
            TimestampType::LogAppendTime
        }
    }

    /// The batch is part of a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    /// The batch holds a control record (a transaction marker, …), which is not for users.
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    /// When compaction may drop the batch's tombstones, once it has said so.
    pub fn delete_horizon(&self) -> Option<i64> {
        (self.attributes & DELETE_HORIZON != 0).then_some(self.base_timestamp)
    }

    /// The sequence of the last record, wrapping at `i32::MAX`; -1 when there are no sequences.
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence == NO_SEQUENCE {
            return NO_SEQUENCE;
        }
        add_sequence(self.base_sequence, self.last_offset_delta)
    }

    /// The batch carries a producer id.
    pub fn has_producer_id(&self) -> bool {
        self.producer_id > NO_PRODUCER_ID
    }

    /// Stamps the batch with the broker's clock, as `message.timestamp.type=LogAppendTime` asks.
    /// The CRC must be computed anew.
    pub fn set_log_append_time(&mut self, now: i64) {
        self.attributes |= TIMESTAMP_TYPE;
        self.max_timestamp = now;
    }

    /// The base timestamp is the delete horizon.
    pub(crate) fn set_delete_horizon(&mut self) {
        self.attributes |= DELETE_HORIZON;
    }

    /// The header of the same batch without its records, which still tells offsets, epochs and
    /// sequences.
    pub(crate) fn emptied(&self) -> Self {
        let mut header = *self;
        header.attributes &= !(CODEC_MASK | DELETE_HORIZON);
        header.base_timestamp = NO_TIMESTAMP;
        header.records_count = 0;
        header.batch_length = (BATCH_HEADER_SIZE - BATCH_OVERHEAD) as i32;
        header.crc = header.compute_crc(&[]);
        header
    }

    pub(crate) fn set_compression(&mut self, compression: Compression) {
        self.attributes = (self.attributes & !CODEC_MASK) | compression.id();
    }

    pub(crate) fn attributes(
        compression: Compression,
        timestamp_type: TimestampType,
        transactional: bool,
        control: bool,
    ) -> i16 {
        let mut attributes = compression.id();
        if timestamp_type == TimestampType::LogAppendTime {
            attributes |= TIMESTAMP_TYPE;
        }
        if transactional {
            attributes |= TRANSACTIONAL;
        }
        if control {
            attributes |= CONTROL;
        }
        attributes
    }
}

/// Adds to a sequence, which goes on with 0 after `i32::MAX`.
pub(crate) fn add_sequence(sequence: i32, more: i32) -> i32 {
    sequence.wrapping_add(more) & i32::MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> BatchHeader {
        BatchHeader {
            base_offset: 7,
            batch_length: 49,
            partition_leader_epoch: 3,
            crc: 1,
            attributes: 0x58,
            last_offset_delta: 4,
            base_timestamp: 10,
            max_timestamp: 20,
            producer_id: 5,
            producer_epoch: 6,
            base_sequence: i32::MAX - 1,
            records_count: 5,
        }
    }

    #[test]
    fn header_survives_the_round_trip() {
        let header = header();
        let parsed = BatchHeader::parse(&header.encode()).unwrap();
        assert_eq!(parsed, header);
        assert_eq!(parsed.last_offset(), 11);
        assert!(parsed.is_transactional() && !parsed.is_control());
        assert_eq!(parsed.timestamp_type(), TimestampType::LogAppendTime);
        assert_eq!(parsed.delete_horizon(), Some(10));
        assert_eq!(parsed.last_sequence(), 2);
    }

    #[test]
    fn sequences_wrap_to_zero() {
        assert_eq!(add_sequence(i32::MAX, 1), 0);
        assert_eq!(add_sequence(i32::MAX - 1, 1), i32::MAX);
    }

    #[test]
    fn nonsense_is_refused() {
        for change in [
            |h: &mut BatchHeader| h.batch_length = 48,
            |h: &mut BatchHeader| h.batch_length = -1,
            |h: &mut BatchHeader| h.base_offset = -1,
            |h: &mut BatchHeader| h.base_offset = i64::MAX,
            |h: &mut BatchHeader| h.last_offset_delta = -1,
            |h: &mut BatchHeader| h.records_count = 6,
            |h: &mut BatchHeader| h.records_count = -1,
        ] {
            let mut header = header();
            change(&mut header);
            assert!(matches!(
                BatchHeader::parse(&header.encode()),
                Err(RecordError::Invalid { .. })
            ));
        }
        let mut header = header();
        header.attributes = 5;
        assert_eq!(
            BatchHeader::parse(&header.encode()),
            Err(RecordError::UnknownCompression(5))
        );
    }
}
