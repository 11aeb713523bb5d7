//! Record batches (Kafka's message format v2): the one format on disk, on the wire and in memory.
//!
//! A batch is a 61-byte header and its records, compressed together or not. Everything here works
//! on the bytes as they are: [`RecordBatch`] is a checked view over them, its records are decoded
//! one by one as they are asked for, and keys and values are slices of the batch. A broker only
//! ever looks at the header; the fields it fills in (base offset, leader epoch) lie outside of the
//! checksum.
//!
//! ```
//! use bytes::Bytes;
//! use thalweg_log::record::{BatchBuilder, Compression, RecordBatch};
//!
//! let mut builder = BatchBuilder::new(Compression::Lz4);
//! builder.append(1_000, Some(b"key"), Some(b"value"), &[]).unwrap();
//! let bytes: Bytes = builder.build().unwrap();
//!
//! let batch = RecordBatch::checked(bytes).unwrap();
//! let records: Vec<_> = batch.records().unwrap().collect::<Result<_, _>>().unwrap();
//! assert_eq!(records[0].value.as_deref(), Some(&b"value"[..]));
//! ```

mod batch;
mod builder;
mod compression;
mod error;
mod header;
mod iter;
mod snappy;
mod varint;

pub use ::crc32c::crc32c;
pub use batch::{Batches, RecordBatch, batches};
pub use builder::BatchBuilder;
pub use compression::{Compression, DEFAULT_DECOMPRESSED_LIMIT};
pub use error::RecordError;
pub use header::{
    BATCH_HEADER_SIZE, BATCH_OVERHEAD, BatchHeader, NO_PARTITION_LEADER_EPOCH, NO_PRODUCER_EPOCH,
    NO_PRODUCER_ID, NO_SEQUENCE, NO_TIMESTAMP, TimestampType,
};
pub use iter::{Header, Record, Records};

pub(crate) use header::add_sequence;
