//! One batch as a checked view over its bytes, and the walk over several of them.

use bytes::{BufMut, Bytes, BytesMut};

use super::compression::DEFAULT_DECOMPRESSED_LIMIT;
use super::header::{BATCH_HEADER_SIZE, BATCH_OVERHEAD, BatchHeader};
use super::iter::Records;
use super::{Compression, RecordError};

/// A whole batch: its header has been checked against its bytes (length, counts, codec), its CRC
/// only where the constructor says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordBatch {
    header: BatchHeader,
    bytes: Bytes,
}

impl std::ops::Deref for RecordBatch {
    type Target = BatchHeader;

    fn deref(&self) -> &BatchHeader {
        &self.header
    }
}

impl RecordBatch {
    /// The batch at the beginning of the bytes; what follows it is ignored. The CRC is not
    /// checked.
    pub fn new(bytes: Bytes) -> Result<Self, RecordError> {
        let header = BatchHeader::parse(&bytes)?;
        let size = header.size();
        if bytes.len() < size {
            return Err(RecordError::Truncated {
                what: "batch",
                needed: size,
                available: bytes.len(),
            });
        }
        Ok(Self {
            header,
            bytes: bytes.slice(..size),
        })
    }

    /// As [`new`](Self::new), and the CRC is checked.
    pub fn checked(bytes: Bytes) -> Result<Self, RecordError> {
        let batch = Self::new(bytes)?;
        batch.verify()?;
        Ok(batch)
    }

    /// Checks the CRC.
    pub fn verify(&self) -> Result<(), RecordError> {
        let computed = self.header.compute_crc(self.payload());
        if computed != self.header.crc {
            return Err(RecordError::Crc {
                base_offset: self.header.base_offset,
                stored: self.header.crc,
                computed,
            });
        }
        Ok(())
    }

    /// The header.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The whole batch, header and all.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The records' bytes as they are, compressed or not.
    pub(crate) fn payload(&self) -> &[u8] {
        self.bytes.get(BATCH_HEADER_SIZE..).unwrap_or_default()
    }

    /// The records, decompressed to at most [`DEFAULT_DECOMPRESSED_LIMIT`] bytes.
    pub fn records(&self) -> Result<Records, RecordError> {
        self.records_within(DEFAULT_DECOMPRESSED_LIMIT)
    }

    /// The records, decompressed to at most so many bytes.
    pub fn records_within(&self, limit: usize) -> Result<Records, RecordError> {
        let payload = match self.header.compression() {
            Compression::None => self.bytes.slice(BATCH_HEADER_SIZE..),
            codec => codec.decompress(self.payload(), limit)?,
        };
        Ok(Records::new(&self.header, payload))
    }

    /// The same records under another producer identity and sequence, with a new CRC: what a
    /// producer resends after its epoch was bumped.
    pub fn with_producer(&self, producer_id: i64, producer_epoch: i16, base_sequence: i32) -> Self {
        let mut header = self.header;
        header.producer_id = producer_id;
        header.producer_epoch = producer_epoch;
        header.base_sequence = base_sequence;
        self.with_header(header)
    }

    /// The same records at another base offset and leader epoch. The CRC stays: it does not cover
    /// them.
    pub fn with_base_offset(&self, base_offset: i64, partition_leader_epoch: i32) -> Self {
        let mut header = self.header;
        header.base_offset = base_offset;
        header.partition_leader_epoch = partition_leader_epoch;
        self.with_header(header)
    }

    /// The same records under another codec.
    pub fn recompressed(&self, codec: Compression) -> Result<Self, RecordError> {
        self.recompressed_at(codec, None)
    }

    /// The same records under another codec, which tries so hard.
    pub fn recompressed_at(
        &self,
        codec: Compression,
        level: Option<i32>,
    ) -> Result<Self, RecordError> {
        let plain = match self.header.compression() {
            Compression::None => self.bytes.slice(BATCH_HEADER_SIZE..),
            from => from.decompress(self.payload(), DEFAULT_DECOMPRESSED_LIMIT)?,
        };
        let mut bytes = BytesMut::with_capacity(self.bytes.len());
        bytes.put_bytes(0, BATCH_HEADER_SIZE);
        let mut bytes = codec.compress(&plain, level, bytes)?;
        let mut header = self.header;
        header.set_compression(codec);
        header.batch_length =
            i32::try_from(bytes.len() - BATCH_OVERHEAD).map_err(|_| RecordError::TooLarge)?;
        header.crc = header.compute_crc(bytes.get(BATCH_HEADER_SIZE..).unwrap_or_default());
        for (to, from) in bytes.iter_mut().zip(header.encode()) {
            *to = from;
        }
        Ok(Self {
            header,
            bytes: bytes.freeze(),
        })
    }

    fn with_header(&self, mut header: BatchHeader) -> Self {
        header.crc = header.compute_crc(self.payload());
        let mut bytes = BytesMut::with_capacity(self.bytes.len());
        bytes.extend_from_slice(&header.encode());
        bytes.extend_from_slice(self.payload());
        Self {
            header,
            bytes: bytes.freeze(),
        }
    }
}

/// The batches in a byte string, one after the other, as a fetch returns them.
///
/// A batch that is cut short at the end is not an error: it ends the walk ([`Batches::rest`] says
/// how many bytes it had). The CRC is not checked; call [`RecordBatch::verify`].
pub fn batches(bytes: Bytes) -> Batches {
    Batches { bytes }
}

/// The walk over batches; see [`batches`].
#[derive(Debug, Clone)]
pub struct Batches {
    bytes: Bytes,
}

impl Batches {
    /// What has not been walked over yet; after the end, the batch that was cut short.
    pub fn rest(&self) -> &Bytes {
        &self.bytes
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        // A short tail may end before or after the magic; before it there is nothing to judge.
        if self.bytes.len() < BATCH_OVERHEAD {
            return None;
        }
        match RecordBatch::new(self.bytes.clone()) {
            Ok(batch) => {
                self.bytes = self.bytes.slice(batch.bytes.len()..);
                Some(Ok(batch))
            }
            Err(RecordError::Truncated { .. }) => None,
            Err(error) => {
                self.bytes = Bytes::new();
                Some(Err(error))
            }
        }
    }
}
