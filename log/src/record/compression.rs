//! The codecs of record batches, with bounded decompression.
//!
//! A few compressed bytes can claim gigabytes: nothing is decompressed past the caller's limit,
//! and no claimed size is allocated before the bytes are there to back it.

use std::cell::RefCell;
use std::fmt;
use std::io::{Read, Write};
use std::str::FromStr;

use bytes::{BufMut, Bytes, BytesMut};
use zstd::zstd_safe;

use super::{RecordError, snappy};

/// How large the records of a batch may be, decompressed, where the caller does not say.
pub const DEFAULT_DECOMPRESSED_LIMIT: usize = 128 << 20;

/// A compression codec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Compression {
    /// The records as they are.
    #[default]
    None,
    /// gzip.
    Gzip,
    /// Snappy, in the framing of Java's snappy (xerial).
    Snappy,
    /// LZ4 frames.
    Lz4,
    /// Zstandard.
    Zstd,
}

impl Compression {
    /// All of them, in the order of their ids.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// Its id in a batch's attributes.
    pub fn id(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    /// Its name in configurations (`compression.type`).
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    pub(crate) fn from_attributes(attributes: i16) -> Result<Self, RecordError> {
        match attributes & 0x07 {
            0 => Ok(Self::None),
            1 => Ok(Self::Gzip),
            2 => Ok(Self::Snappy),
            3 => Ok(Self::Lz4),
            4 => Ok(Self::Zstd),
            other => Err(RecordError::UnknownCompression(other)),
        }
    }

    fn error(self, reason: impl fmt::Display) -> RecordError {
        RecordError::Compression {
            codec: self,
            reason: reason.to_string(),
        }
    }

    /// Appends the compressed bytes to `out`.
    pub(crate) fn compress(
        self,
        plain: &[u8],
        level: Option<i32>,
        mut out: BytesMut,
    ) -> Result<BytesMut, RecordError> {
        match self {
            Self::None => {
                out.extend_from_slice(plain);
                Ok(out)
            }
            Self::Gzip => {
                let level = match level.and_then(|level| u32::try_from(level).ok()) {
                    Some(level) => flate2::Compression::new(level.min(9)),
                    None => flate2::Compression::default(),
                };
                let mut encoder = flate2::write::GzEncoder::new(out.writer(), level);
                encoder.write_all(plain).map_err(|e| self.error(e))?;
                Ok(encoder.finish().map_err(|e| self.error(e))?.into_inner())
            }
            Self::Snappy => {
                snappy::compress(plain, &mut out)?;
                Ok(out)
            }
            Self::Lz4 => {
                // Independent blocks of 64 KiB: the only ones that Java's reader takes.
                let info = lz4_flex::frame::FrameInfo::new()
                    .block_mode(lz4_flex::frame::BlockMode::Independent)
                    .block_size(lz4_flex::frame::BlockSize::Max64KB);
                let mut encoder =
                    lz4_flex::frame::FrameEncoder::with_frame_info(info, out.writer());
                encoder.write_all(plain).map_err(|e| self.error(e))?;
                Ok(encoder.finish().map_err(|e| self.error(e))?.into_inner())
            }
            Self::Zstd => {
                let level = level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL);
                let compressed = ZSTD_COMPRESSOR.with_borrow_mut(|context| {
                    let mut compressed = Vec::with_capacity(zstd_safe::compress_bound(plain.len()));
                    context
                        .compress(&mut compressed, plain, level)
                        .map(|_| compressed)
                });
                out.extend_from_slice(
                    &compressed.map_err(|code| self.error(zstd_safe::get_error_name(code)))?,
                );
                Ok(out)
            }
        }
    }

    /// Decompresses to at most `limit` bytes.
    pub(crate) fn decompress(self, bytes: &[u8], limit: usize) -> Result<Bytes, RecordError> {
        let plain = match self {
            Self::None => Bytes::copy_from_slice(bytes),
            Self::Gzip => {
                self.read(flate2::read::MultiGzDecoder::new(bytes), bytes.len(), limit)?
            }
            Self::Snappy => snappy::decompress(bytes, limit)?,
            Self::Lz4 => self.read(
                lz4_flex::frame::FrameDecoder::new(bytes),
                bytes.len(),
                limit,
            )?,
            Self::Zstd => self.unzstd(bytes, limit)?,
        };
        if plain.len() > limit {
            return Err(RecordError::DecompressedTooLarge { codec: self, limit });
        }
        Ok(plain)
    }

    fn read(self, reader: impl Read, size: usize, limit: usize) -> Result<Bytes, RecordError> {
        let mut plain = Vec::with_capacity(size.saturating_mul(3).min(limit));
        reader
            .take((limit as u64).saturating_add(1))
            .read_to_end(&mut plain)
            .map_err(|e| self.error(e))?;
        Ok(plain.into())
    }

    fn reset(self, context: &mut zstd_safe::DCtx<'static>) -> Result<(), RecordError> {
        context
            .reset(zstd_safe::ResetDirective::SessionOnly)
            .map_err(|code| self.error(zstd_safe::get_error_name(code)))?;
        Ok(())
    }

    fn unzstd(self, bytes: &[u8], limit: usize) -> Result<Bytes, RecordError> {
        ZSTD_DECOMPRESSOR.with_borrow_mut(|context| {
            self.reset(context)?;
            // A frame that says how large it is, believably, goes in one step.
            let claimed = zstd_safe::get_frame_content_size(bytes).ok().flatten();
            let believable = bytes
                .len()
                .saturating_mul(64)
                .saturating_add(1 << 16)
                .min(limit);
            if let Some(size) = claimed.and_then(|size| usize::try_from(size).ok())
                && size <= believable
            {
                let mut plain = Vec::with_capacity(size.max(1));
                if context.decompress(&mut plain, bytes).is_ok() {
                    return Ok(plain.into());
                }
                self.reset(context)?;
            }
            let decoder = zstd::stream::read::Decoder::with_context(bytes, context);
            self.read(decoder, bytes.len(), limit)
        })
    }
}

thread_local! {
    // Creating a context costs more than compressing a small batch.
    static ZSTD_COMPRESSOR: RefCell<zstd_safe::CCtx<'static>> =
        RefCell::new(zstd_safe::CCtx::create());
    static ZSTD_DECOMPRESSOR: RefCell<zstd_safe::DCtx<'static>> =
        RefCell::new(zstd_safe::DCtx::create());
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Compression {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|codec| codec.name() == text)
            .ok_or_else(|| format!("{text:?} is not one of none, gzip, snappy, lz4, zstd"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMIT: usize = 1 << 20;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_codec_gives_back_what_it_got(
            words in prop::collection::vec("[a-d]{0,40}", 0..400), times in 1usize..20
        ) {
            let plain = words.concat().repeat(times).into_bytes();
            for codec in Compression::ALL {
                let packed = codec.compress(&plain, None, BytesMut::new()).unwrap();
                prop_assert_eq!(&codec.decompress(&packed, LIMIT).unwrap()[..], &plain[..]);
            }
        }

        #[test]
        fn garbage_is_an_error_or_bytes_but_never_a_panic(
            garbage in prop::collection::vec(any::<u8>(), 0..300), flip in 0usize..300, bit in 0u8..8
        ) {
            for codec in Compression::ALL {
                let _ = codec.decompress(&garbage, LIMIT);
                let mut packed = codec.compress(&garbage, None, BytesMut::new()).unwrap();
                if let Some(byte) = packed.get_mut(flip) {
                    *byte ^= 1 << bit;
                }
                let _ = codec.decompress(&packed, LIMIT);
            }
        }
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        let plain = vec![0u8; 8 << 20];
        for codec in Compression::ALL {
            let packed = codec.compress(&plain, None, BytesMut::new()).unwrap();
            assert_eq!(
                codec.decompress(&packed, LIMIT),
                Err(RecordError::DecompressedTooLarge {
                    codec,
                    limit: LIMIT
                }),
                "{codec}"
            );
            assert_eq!(
                codec.decompress(&packed, plain.len()).unwrap().len(),
                plain.len()
            );
        }
    }

    #[test]
    fn zstd_without_a_content_size_is_read() {
        let plain = b"no content size in the frame".repeat(1000);
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
        encoder.include_contentsize(false).unwrap();
        encoder.write_all(&plain).unwrap();
        let packed = encoder.finish().unwrap();
        assert_eq!(Compression::Zstd.decompress(&packed, LIMIT).unwrap(), plain);
    }

    #[test]
    fn names_and_ids() {
        for codec in Compression::ALL {
            assert_eq!(codec.name().parse::<Compression>().unwrap(), codec);
            assert_eq!(Compression::from_attributes(codec.id()).unwrap(), codec);
        }
        assert!("brotli".parse::<Compression>().is_err());
    }
}
