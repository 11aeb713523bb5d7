//! What can be wrong with a record batch.

/// Why bytes are not a record batch, or why a batch could not be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The bytes end before the batch or the record does.
    #[error("the {what} ends early: {needed} bytes are needed and {available} are there")]
    Truncated {
        /// What was being read.
        what: &'static str,
        /// Bytes needed.
        needed: usize,
        /// Bytes there.
        available: usize,
    },
    /// The batch is of the formats before Kafka 0.11.
    #[error(
        "the message format v{magic} is not supported: only record batches (v2) are, which every \
         client since Kafka 0.11 writes"
    )]
    OldMagic {
        /// The magic byte.
        magic: i8,
    },
    /// The magic byte is none that exists.
    #[error("the magic byte {magic} is not one of a record batch (2)")]
    UnknownMagic {
        /// The magic byte.
        magic: i8,
    },
    /// The CRC-32C in the header is not that of the bytes.
    #[error(
        "the batch at offset {base_offset} is corrupt: its CRC-32C is {computed:#010x} but the \
         header says {stored:#010x}"
    )]
    Crc {
        /// The base offset that the header claims.
        base_offset: i64,
        /// The CRC in the header.
        stored: u32,
        /// The CRC of the bytes.
        computed: u32,
    },
    /// A field has a value it cannot have.
    #[error("the batch at offset {base_offset} is invalid: {reason}")]
    Invalid {
        /// The base offset that the header claims.
        base_offset: i64,
        /// What is wrong.
        reason: String,
    },
    /// A record inside the batch cannot be read.
    #[error("a record of the batch is invalid: {0}")]
    InvalidRecord(&'static str),
    /// The compression codec is none that exists.
    #[error("the compression codec {0} does not exist (0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd)")]
    UnknownCompression(i16),
    /// Compressed bytes could not be read, or bytes not be compressed.
    #[error("{codec}: {reason}")]
    Compression {
        /// The codec.
        codec: super::Compression,
        /// What the codec said.
        reason: String,
    },
    /// The records are larger, decompressed, than the reader allows.
    #[error(
        "the records exceed {limit} bytes when decompressed ({codec}); raise the limit to read them"
    )]
    DecompressedTooLarge {
        /// The codec.
        codec: super::Compression,
        /// The limit that was given.
        limit: usize,
    },
    /// The batch would be larger than the format can say.
    #[error("a record batch holds at most 2^31 - 1 bytes and records")]
    TooLarge,
    /// A batch without records was to be built.
    #[error("a record batch needs at least one record")]
    Empty,
}
