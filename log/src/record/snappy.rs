//! Snappy as Kafka writes it: blocks of 32 KiB behind a header, the framing of Java's snappy
//! (xerial). Some clients write one raw block without the framing, which is read too.

use bytes::{BufMut, Bytes, BytesMut};

use super::{Compression, RecordError};

const MAGIC: &[u8; 8] = b"\x82SNAPPY\0";
/// Magic, version, least compatible version.
const HEADER_SIZE: usize = 16;
const BLOCK_SIZE: usize = 32 * 1024;

fn error(reason: impl ToString) -> RecordError {
    RecordError::Compression {
        codec: Compression::Snappy,
        reason: reason.to_string(),
    }
}

pub(super) fn compress(plain: &[u8], out: &mut BytesMut) -> Result<(), RecordError> {
    out.put_slice(MAGIC);
    out.put_u32(1);
    out.put_u32(1);
    let mut encoder = snap::raw::Encoder::new();
    let mut block = vec![0; snap::raw::max_compress_len(BLOCK_SIZE.min(plain.len()))];
    for chunk in plain.chunks(BLOCK_SIZE) {
        let size = encoder.compress(chunk, &mut block).map_err(error)?;
        out.put_u32(size as u32);
        out.put_slice(block.get(..size).unwrap_or_default());
    }
    Ok(())
}

pub(super) fn decompress(bytes: &[u8], limit: usize) -> Result<Bytes, RecordError> {
    let mut plain = Vec::new();
    if !bytes.starts_with(MAGIC) {
        decompress_block(bytes, &mut plain, limit)?;
        return Ok(plain.into());
    }
    let mut rest = bytes
        .get(HEADER_SIZE..)
        .ok_or_else(|| error("the header is cut short"))?;
    while let Some((size, after)) = rest.split_first_chunk::<4>() {
        let size = u32::from_be_bytes(*size) as usize;
        let block = after.get(..size).ok_or_else(|| {
            error(format!(
                "a block of {size} bytes, of which {} are there",
                after.len()
            ))
        })?;
        decompress_block(block, &mut plain, limit)?;
        rest = after.get(size..).unwrap_or_default();
    }
    if !rest.is_empty() {
        return Err(error("the length of a block is cut short"));
    }
    Ok(plain.into())
}

fn decompress_block(block: &[u8], plain: &mut Vec<u8>, limit: usize) -> Result<(), RecordError> {
    let size = snap::raw::decompress_len(block).map_err(error)?;
    let start = plain.len();
    if size > limit.saturating_sub(start) {
        return Err(RecordError::DecompressedTooLarge {
            codec: Compression::Snappy,
            limit,
        });
    }
    // The best that snappy does is a copy of 64 bytes in 3; a larger claim is a lie, and is not
    // given memory.
    if size > block.len().saturating_mul(32) {
        return Err(error(format!("{} bytes claim to hold {size}", block.len())));
    }
    plain.resize(start + size, 0);
    let written = snap::raw::Decoder::new()
        .decompress(block, plain.get_mut(start..).unwrap_or_default())
        .map_err(error)?;
    plain.truncate(start + written);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_snappy_is_read() {
        let plain = b"a producer without the framing".repeat(10_000);
        let raw = snap::raw::Encoder::new().compress_vec(&plain).unwrap();
        assert_eq!(decompress(&raw, 1 << 20).unwrap(), plain);
    }

    #[test]
    fn cut_short_is_an_error() {
        let mut out = BytesMut::new();
        compress(&[7; 100_000], &mut out).unwrap();
        for len in [9, 17, 19, 25, out.len() - 1] {
            assert!(decompress(&out[..len], 1 << 20).is_err(), "{len}");
        }
    }

    #[test]
    fn a_lying_length_gets_no_memory() {
        // A varint that claims 100 MB, and nothing behind it.
        assert!(decompress(&[0x80, 0xc2, 0xd7, 0x2f, 0], 1 << 30).is_err());
    }
}
