//! Chunks as bytes, for repartition topics.
//!
//! A record's value is one Arrow IPC record batch message: the length of its metadata,
//! the metadata, the body. The schema is not in it: both ends know it from the plan, and a
//! header names it by a fingerprint, so that a reader of another plan stops instead of
//! reading nonsense. Row operations travel as one more column. The header also carries the
//! value's CRC-32C, and metadata and buffer bounds are verified before anything is read:
//! Arrow trusts offsets within a buffer, so damage must be found before it sees them.

use super::{Chunk, ChunkError, RowOp};
use crate::task::Header;
use arrow::array::{AsArray, RecordBatch, UInt8Array};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt8Type};
use arrow::error::ArrowError;
use arrow::ipc::reader::read_record_batch;
use arrow::ipc::writer::{
    CompressionContext, DictionaryTracker, IpcDataGenerator, IpcWriteOptions,
};
use arrow::ipc::{MessageHeader, MetadataVersion, root_as_message};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::Arc;

/// The header that names the layout of a chunk.
pub const CHUNK_HEADER: &str = "thalweg.chunk";

const VERSION: u8 = 1;
const OPS: u8 = 1;
const ALIGNMENT: usize = 8;

/// A chunk that cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum IpcError {
    /// No header, or not one of ours.
    #[error(
        "a record of a repartition topic has no `{CHUNK_HEADER}` header; something else writes to this topic"
    )]
    NoHeader,
    /// A header of another release.
    #[error("a chunk of version {0} cannot be read by this release, which knows version {VERSION}")]
    Version(u8),
    /// The schema is not the one of the plan.
    #[error(
        "a chunk has schema {found:016x}, but the plan reads {expected:016x}; the topic belongs to another plan"
    )]
    Schema {
        /// In the record.
        found: u64,
        /// In the plan.
        expected: u64,
    },
    /// Bytes that no encoder wrote.
    #[error("a chunk is malformed: {0}")]
    Malformed(String),
    /// One row that is too large for a record.
    #[error(
        "a row takes {bytes} bytes, more than the {max} that a record of the repartition topic may have; raise max.message.bytes"
    )]
    TooLarge {
        /// Bytes of the row.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// Arrow refused.
    #[error(transparent)]
    Arrow(#[from] ArrowError),
    /// The operations contradict each other.
    #[error(transparent)]
    Chunk(#[from] ChunkError),
}

/// Encodes and decodes the chunks of one schema.
#[derive(Debug, Clone)]
pub struct ChunkCodec {
    schema: SchemaRef,
    with_ops: SchemaRef,
    fingerprint: u64,
}

impl ChunkCodec {
    /// A codec for chunks of these columns.
    #[must_use]
    pub fn new(schema: SchemaRef) -> Self {
        // Names and nullability may change with a plan's wording; what matters is the layout.
        let fields: Vec<_> = schema
            .fields()
            .iter()
            .map(|f| Field::new(f.name(), f.data_type().clone(), true))
            .collect();
        let mut with_ops = fields.clone();
        with_ops.push(Field::new("_op", DataType::UInt8, true));
        Self {
            fingerprint: fingerprint(&schema),
            schema: Arc::new(Schema::new(fields)),
            with_ops: Arc::new(Schema::new(with_ops)),
        }
    }

    /// The columns of decoded chunks: those of the plan, all nullable.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Encodes `chunk` as one or more values of at most `max_bytes`, each with its header.
    pub fn encode(
        &self,
        chunk: &Chunk,
        max_bytes: usize,
        mut emit: impl FnMut(Bytes, Header),
    ) -> Result<(), IpcError> {
        let mut pending = vec![chunk.clone()];
        while let Some(chunk) = pending.pop() {
            if chunk.is_empty() {
                continue;
            }
            // Slices would carry the whole of their buffers' metadata but only their rows:
            // cheap to guess, so do not encode what cannot fit.
            let bytes = self.encode_one(&chunk)?;
            if bytes.len() <= max_bytes {
                let header = self.header(chunk.ops().is_some(), &bytes);
                emit(bytes, header);
                continue;
            }
            let pieces = bytes.len().div_ceil(max_bytes.max(1)).max(2);
            let (head, tail) = chunk.split(chunk.num_rows() / pieces);
            if tail.is_empty() {
                return Err(IpcError::TooLarge {
                    bytes: bytes.len(),
                    max: max_bytes,
                });
            }
            pending.push(tail);
            pending.push(head);
        }
        Ok(())
    }

    fn encode_one(&self, chunk: &Chunk) -> Result<Bytes, IpcError> {
        let mut columns = chunk.batch().columns().to_vec();
        let schema = match chunk.ops() {
            None => &self.schema,
            Some(ops) => {
                columns.push(Arc::new(
                    ops.iter().map(|op| Some(*op as u8)).collect::<UInt8Array>(),
                ));
                &self.with_ops
            }
        };
        let batch = RecordBatch::try_new(schema.clone(), columns)?;
        let options = IpcWriteOptions::try_new(ALIGNMENT, false, MetadataVersion::V5)?;
        let (_, data) = IpcDataGenerator::default().encode(
            &batch,
            &mut DictionaryTracker::new(false),
            &options,
            &mut CompressionContext::default(),
        )?;
        let metadata = data.ipc_message.len().next_multiple_of(ALIGNMENT);
        let mut out = Vec::with_capacity(ALIGNMENT + metadata + data.arrow_data.len());
        out.extend_from_slice(&(data.ipc_message.len() as u64).to_le_bytes());
        out.extend_from_slice(&data.ipc_message);
        out.resize(ALIGNMENT + metadata, 0);
        out.extend_from_slice(&data.arrow_data);
        Ok(out.into())
    }

    fn header(&self, ops: bool, value: &[u8]) -> Header {
        let mut layout = vec![VERSION, if ops { OPS } else { 0 }];
        layout.extend_from_slice(&self.fingerprint.to_be_bytes());
        layout.extend_from_slice(&crc32c::crc32c(value).to_be_bytes());
        Header {
            key: Bytes::from_static(CHUNK_HEADER.as_bytes()),
            value: Some(layout.into()),
        }
    }

    /// Decodes a value by its record's headers.
    pub fn decode(&self, value: &Bytes, headers: &[Header]) -> Result<Chunk, IpcError> {
        let header = headers
            .iter()
            .find(|h| h.key == CHUNK_HEADER.as_bytes())
            .and_then(|h| h.value.as_deref())
            .ok_or(IpcError::NoHeader)?;
        let (version, rest) = header.split_first().ok_or(IpcError::NoHeader)?;
        if *version != VERSION {
            return Err(IpcError::Version(*version));
        }
        let (flags, rest) = rest.split_first().ok_or(IpcError::NoHeader)?;
        let (id, crc) = rest.split_first_chunk().ok_or(IpcError::NoHeader)?;
        let found = u64::from_be_bytes(*id);
        if found != self.fingerprint {
            return Err(IpcError::Schema {
                found,
                expected: self.fingerprint,
            });
        }
        if crc != crc32c::crc32c(value).to_be_bytes() {
            return Err(IpcError::Malformed("its CRC-32C does not match".to_owned()));
        }
        let has_ops = flags & OPS != 0;
        let schema = if has_ops {
            &self.with_ops
        } else {
            &self.schema
        };
        let batch = decode_batch(value, schema)?;
        if !has_ops {
            return Ok(batch.into());
        }
        let (ops, columns) = batch
            .columns()
            .split_last()
            .ok_or_else(|| IpcError::Malformed("no columns".to_owned()))?;
        let ops = ops
            .as_primitive::<UInt8Type>()
            .iter()
            .map(|op| op.and_then(RowOp::from_u8))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| IpcError::Malformed("an unknown row operation".to_owned()))?;
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(ops.len()));
        let batch =
            RecordBatch::try_new_with_options(self.schema.clone(), columns.to_vec(), &options)?;
        Ok(Chunk::with_ops(batch, ops)?)
    }
}

fn decode_batch(value: &Bytes, schema: &SchemaRef) -> Result<RecordBatch, IpcError> {
    let malformed = |what: &str| IpcError::Malformed(what.to_owned());
    let (length, rest) = value
        .split_first_chunk::<ALIGNMENT>()
        .ok_or_else(|| malformed("cut short"))?;
    let length = usize::try_from(u64::from_le_bytes(*length))
        .ok()
        .filter(|l| *l <= rest.len())
        .ok_or_else(|| malformed("metadata longer than the value"))?;
    let metadata = rest.get(..length).unwrap_or_default();
    let message =
        root_as_message(metadata).map_err(|e| IpcError::Malformed(format!("metadata: {e}")))?;
    if message.header_type() != MessageHeader::RecordBatch {
        return Err(malformed("not a record batch"));
    }
    let header = message
        .header_as_record_batch()
        .ok_or_else(|| malformed("no record batch"))?;
    let start = (ALIGNMENT + length.next_multiple_of(ALIGNMENT)).min(value.len());
    let body = Buffer::from(value.slice(start..));
    if header.compression().is_some() || header.length() < 0 {
        return Err(malformed("an unexpected batch header"));
    }
    for buffer in header.buffers().into_iter().flatten() {
        let end = buffer.offset().checked_add(buffer.length());
        let inside = buffer.offset() >= 0
            && buffer.length() >= 0
            && end
                .and_then(|e| usize::try_from(e).ok())
                .is_some_and(|e| e <= body.len());
        if !inside {
            return Err(malformed("a buffer outside the body"));
        }
    }
    let rows = header.length();
    for node in header.nodes().into_iter().flatten() {
        if node.length() < 0 || node.null_count() < 0 || node.null_count() > node.length() {
            return Err(malformed("a column with an impossible length"));
        }
        // A claim of more rows than bits in the body cannot be true of a column with data.
        if node.length() > rows.max(0) && schema.fields().iter().all(|f| !f.data_type().is_nested())
        {
            return Err(malformed("a column longer than its batch"));
        }
    }
    let most = (body.len() as u64).saturating_mul(8).max(64);
    if rows as u64 > most {
        return Err(malformed("more rows than the body can hold"));
    }
    let batch = read_record_batch(
        &body,
        header,
        schema.clone(),
        &HashMap::new(),
        None,
        &message.version(),
    )?;
    Ok(batch)
}

/// A number for the layout of a schema, the same in every release: FNV-1a of its types.
fn fingerprint(schema: &Schema) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for field in schema.fields() {
        for byte in field.data_type().to_string().bytes().chain([0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use RowOp::{Delete, Insert, UpdateAfter, UpdateBefore};
    use arrow::array::{BooleanArray, Int64Array, StringArray};
    use proptest::prelude::*;

    fn chunk(rows: usize, ops: bool) -> Chunk {
        let ids: Int64Array = (0..rows as i64)
            .map(|i| (i % 7 != 3).then_some(i))
            .collect();
        let names: StringArray = (0..rows).map(|i| Some("x".repeat(i % 40))).collect();
        let flags: BooleanArray = (0..rows).map(|i| Some(i % 3 == 0)).collect();
        let schema = Arc::new(Schema::new(vec![
            Field::new("id", DataType::Int64, true),
            Field::new("name", DataType::Utf8, true),
            Field::new("flag", DataType::Boolean, true),
        ]));
        let batch = RecordBatch::try_new(
            schema,
            vec![Arc::new(ids), Arc::new(names), Arc::new(flags)],
        )
        .unwrap();
        if !ops {
            return batch.into();
        }
        let pattern = [Insert, UpdateBefore, UpdateAfter, Delete];
        let mut kinds: Vec<_> = (0..rows).map(|i| pattern[i % 4]).collect();
        if kinds.last() == Some(&UpdateBefore) {
            kinds[rows - 1] = Delete;
        }
        Chunk::with_ops(batch, kinds).unwrap()
    }

    fn encode(codec: &ChunkCodec, chunk: &Chunk, max: usize) -> Vec<(Bytes, Header)> {
        let mut out = Vec::new();
        codec
            .encode(chunk, max, |value, header| out.push((value, header)))
            .unwrap();
        out
    }

    #[test]
    fn chunks_come_back_whole_and_in_pieces() {
        for ops in [false, true] {
            let chunk = chunk(1000, ops);
            let codec = ChunkCodec::new(chunk.schema());
            for max in [1 << 20, 4000] {
                let values = encode(&codec, &chunk, max);
                assert!(values.iter().all(|(v, _)| v.len() <= max));
                assert_eq!(values.len() == 1, max > 100_000);
                let parts: Vec<_> = values
                    .into_iter()
                    .map(|(value, header)| codec.decode(&value, &[header]).unwrap())
                    .collect();
                let back = Chunk::concat(codec.schema(), &parts).unwrap();
                assert_eq!(back.batch().columns(), chunk.batch().columns());
                assert_eq!(back.ops(), chunk.ops());
            }
        }
    }

    #[test]
    fn a_row_too_large_is_an_error() {
        let chunk = chunk(3, true);
        let codec = ChunkCodec::new(chunk.schema());
        let error = codec.encode(&chunk, 64, |_, _| ()).unwrap_err();
        assert!(
            matches!(error, IpcError::TooLarge { max: 64, .. }),
            "{error}"
        );
    }

    #[test]
    fn another_schema_or_version_is_refused() {
        let chunk = chunk(3, false);
        let codec = ChunkCodec::new(chunk.schema());
        let (value, header) = encode(&codec, &chunk, 1 << 20).remove(0);
        let other = ChunkCodec::new(Arc::new(Schema::new(vec![Field::new(
            "id",
            DataType::Int32,
            true,
        )])));
        assert!(matches!(
            other.decode(&value, std::slice::from_ref(&header)),
            Err(IpcError::Schema { .. })
        ));
        assert!(matches!(codec.decode(&value, &[]), Err(IpcError::NoHeader)));
        let mut newer = header.value.unwrap().to_vec();
        newer[0] = 9;
        let newer = Header {
            key: header.key,
            value: Some(newer.into()),
        };
        assert!(matches!(
            codec.decode(&value, &[newer]),
            Err(IpcError::Version(9))
        ));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn a_damaged_value_is_refused(at in 0..2000usize, byte in any::<u8>(), cut in 0..2000usize) {
            let chunk = chunk(20, true);
            let codec = ChunkCodec::new(chunk.schema());
            let (value, header) = encode(&codec, &chunk, 1 << 20).remove(0);
            let mut damaged = value.to_vec();
            let length = damaged.len();
            let changed = damaged[at % length] != byte;
            damaged[at % length] = byte;
            let decoded = codec.decode(&Bytes::from(damaged.clone()), std::slice::from_ref(&header));
            prop_assert_eq!(decoded.is_err(), changed);
            damaged.truncate(cut % length);
            prop_assert!(codec.decode(&Bytes::from(damaged), &[header]).is_err());
        }
    }
}
