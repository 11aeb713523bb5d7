//! Zig-zag varints: at most 5 bytes for an `i32`, 10 for an `i64`.

use bytes::{BufMut, BytesMut};

use super::RecordError;

const TOO_LONG: RecordError = RecordError::InvalidRecord("a varint is longer than its type");

/// Reads bytes of a record without ever going past the end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    pub(crate) fn position(&self) -> usize {
        self.at
    }

    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8, RecordError> {
        let Some(&byte) = self.bytes.get(self.at) else {
            return Err(RecordError::Truncated {
                what,
                needed: 1,
                available: 0,
            });
        };
        self.at += 1;
        Ok(byte)
    }

    /// Skips `len` bytes and returns where they begin and end.
    pub(crate) fn skip(
        &mut self,
        len: usize,
        what: &'static str,
    ) -> Result<std::ops::Range<usize>, RecordError> {
        if len > self.remaining() {
            return Err(RecordError::Truncated {
                what,
                needed: len,
                available: self.remaining(),
            });
        }
        let start = self.at;
        self.at += len;
        Ok(start..self.at)
    }

    pub(crate) fn varint(&mut self, what: &'static str) -> Result<i32, RecordError> {
        // Most are one byte: lengths below 64, deltas of neighbours.
        let first = self.u8(what)?;
        if first < 0x80 {
            return Ok(i32::from(first >> 1) ^ -i32::from(first & 1));
        }
        let mut value = u32::from(first & 0x7f);
        for shift in [7, 14, 21, 28] {
            let byte = self.u8(what)?;
            if shift == 28 && byte > 0x0f {
                return Err(TOO_LONG);
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok((value >> 1) as i32 ^ -((value & 1) as i32));
            }
        }
        Err(TOO_LONG)
    }

    pub(crate) fn varlong(&mut self, what: &'static str) -> Result<i64, RecordError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8(what)?;
            if shift == 63 && byte > 1 {
                return Err(TOO_LONG);
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        Err(TOO_LONG)
    }
}

fn put_unsigned(out: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

pub(crate) fn put_varint(out: &mut BytesMut, value: i32) {
    put_unsigned(out, u64::from(((value << 1) ^ (value >> 31)) as u32));
}

pub(crate) fn put_varlong(out: &mut BytesMut, value: i64) {
    put_unsigned(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// How many bytes the varint of a value takes.
pub(crate) fn varlong_size(value: i64) -> usize {
    let zigzag = ((value << 1) ^ (value >> 63)) as u64;
    (64 - (zigzag | 1).leading_zeros() as usize).div_ceil(7)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn varints_survive(value: i32, long: i64) {
            let mut out = BytesMut::new();
            put_varint(&mut out, value);
            prop_assert_eq!(out.len(), varlong_size(value.into()));
            put_varlong(&mut out, long);
            let mut reader = Reader::new(&out, 0);
            prop_assert_eq!(reader.varint("").unwrap(), value);
            prop_assert_eq!(out.len() - reader.position(), varlong_size(long));
            prop_assert_eq!(reader.varlong("").unwrap(), long);
            prop_assert_eq!(reader.remaining(), 0);
        }

        #[test]
        fn random_bytes_do_not_panic(bytes: Vec<u8>) {
            let mut reader = Reader::new(&bytes, 0);
            while reader.remaining() > 0 && reader.varint("").is_ok() && reader.varlong("").is_ok() {}
        }
    }

    #[test]
    fn the_extremes() {
        for value in [i64::MIN, i64::MAX, 0, -1, 63, 64, -64, -65] {
            let mut out = BytesMut::new();
            put_varlong(&mut out, value);
            assert_eq!(Reader::new(&out, 0).varlong("").unwrap(), value);
        }
        // More bits than the type has.
        assert_eq!(
            Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x1f], 0).varint(""),
            Err(TOO_LONG)
        );
        assert_eq!(Reader::new(&[0xff; 11], 0).varlong(""), Err(TOO_LONG));
    }
}
