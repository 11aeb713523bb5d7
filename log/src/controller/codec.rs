//! Reading and writing the primitive values of metadata commands and snapshots.
//!
//! Integers are big-endian; counts and string lengths are `u32`. The invariant: a decoder never
//! trusts a length beyond the bytes that remain, and a value that does not end where its frame
//! ends is an error, so a torn or foreign record can never be taken for a whole one.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use uuid::Uuid;

/// Why stored metadata could not be read back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end inside a value.
    #[error("metadata record ends inside `{what}`: {needed} bytes needed, {left} left")]
    Short {
        /// The value being read.
        what: &'static str,
        /// Bytes the value needs.
        needed: usize,
        /// Bytes that are left.
        left: usize,
    },
    /// A value is outside of its domain.
    #[error("metadata record has an invalid `{what}`: {value}")]
    Invalid {
        /// The value being read.
        what: &'static str,
        /// What was found.
        value: String,
    },
    /// The record was written by a newer release.
    #[error(
        "metadata record has format version {found}, this release reads up to {supported}: \
         start the release that wrote it, or a newer one"
    )]
    Version {
        /// Version found.
        found: u8,
        /// Highest version this release reads.
        supported: u8,
    },
    /// Bytes are left after the last value.
    #[error("{0} unexpected bytes after the end of a metadata record")]
    Trailing(usize),
}

/// Appends primitive values to a buffer.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    buf: BytesMut,
}

impl Writer {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn u8(&mut self, v: u8) {
        self.buf.put_u8(v);
    }

    pub(crate) fn bool(&mut self, v: bool) {
        self.buf.put_u8(u8::from(v));
    }

    pub(crate) fn i8(&mut self, v: i8) {
        self.buf.put_i8(v);
    }

    pub(crate) fn u16(&mut self, v: u16) {
        self.buf.put_u16(v);
    }

    pub(crate) fn i32(&mut self, v: i32) {
        self.buf.put_i32(v);
    }

    pub(crate) fn i64(&mut self, v: i64) {
        self.buf.put_i64(v);
    }

    pub(crate) fn u64(&mut self, v: u64) {
        self.buf.put_u64(v);
    }

    pub(crate) fn count(&mut self, n: usize) {
        self.buf.put_u32(u32::try_from(n).unwrap_or(u32::MAX));
    }

    pub(crate) fn str(&mut self, s: &str) {
        self.count(s.len());
        self.buf.put_slice(s.as_bytes());
    }

    pub(crate) fn opt_str(&mut self, s: Option<&str>) {
        self.bool(s.is_some());
        if let Some(s) = s {
            self.str(s);
        }
    }

    pub(crate) fn bytes(&mut self, b: &[u8]) {
        self.count(b.len());
        self.buf.put_slice(b);
    }

    pub(crate) fn uuid(&mut self, id: Uuid) {
        self.buf.put_slice(id.as_bytes());
    }

    pub(crate) fn i32s(&mut self, values: &[i32]) {
        self.count(values.len());
        for v in values {
            self.i32(*v);
        }
    }

    pub(crate) fn finish(self) -> Bytes {
        self.buf.freeze()
    }
}

/// Reads primitive values, bounded by the bytes at hand.
#[derive(Debug)]
pub(crate) struct Reader {
    buf: Bytes,
}

impl Reader {
    pub(crate) fn new(buf: Bytes) -> Self {
        Self { buf }
    }

    fn need(&self, what: &'static str, needed: usize) -> Result<(), DecodeError> {
        let left = self.buf.len();
        if left < needed {
            Err(DecodeError::Short { what, needed, left })
        } else {
            Ok(())
        }
    }

    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        self.need(what, 1)?;
        Ok(self.buf.get_u8())
    }

    pub(crate) fn bool(&mut self, what: &'static str) -> Result<bool, DecodeError> {
        match self.u8(what)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(DecodeError::Invalid {
                what,
                value: other.to_string(),
            }),
        }
    }

    pub(crate) fn i8(&mut self, what: &'static str) -> Result<i8, DecodeError> {
        self.need(what, 1)?;
        Ok(self.buf.get_i8())
    }

    pub(crate) fn u16(&mut self, what: &'static str) -> Result<u16, DecodeError> {
        self.need(what, 2)?;
        Ok(self.buf.get_u16())
    }

    pub(crate) fn i32(&mut self, what: &'static str) -> Result<i32, DecodeError> {
        self.need(what, 4)?;
        Ok(self.buf.get_i32())
    }

    pub(crate) fn i64(&mut self, what: &'static str) -> Result<i64, DecodeError> {
        self.need(what, 8)?;
        Ok(self.buf.get_i64())
    }

    pub(crate) fn u64(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        self.need(what, 8)?;
        Ok(self.buf.get_u64())
    }

    /// A count of values that take at least `min_size` bytes each.
    pub(crate) fn count(
        &mut self,
        what: &'static str,
        min_size: usize,
    ) -> Result<usize, DecodeError> {
        self.need(what, 4)?;
        let n = usize::try_from(self.buf.get_u32()).map_err(|_| DecodeError::Invalid {
            what,
            value: "count".to_owned(),
        })?;
        self.need(what, n.saturating_mul(min_size))?;
        Ok(n)
    }

    pub(crate) fn str(&mut self, what: &'static str) -> Result<String, DecodeError> {
        let n = self.count(what, 1)?;
        let raw = self.buf.split_to(n);
        std::str::from_utf8(&raw)
            .map(str::to_owned)
            .map_err(|_| DecodeError::Invalid {
                what,
                value: "not UTF-8".to_owned(),
            })
    }

    pub(crate) fn opt_str(&mut self, what: &'static str) -> Result<Option<String>, DecodeError> {
        if self.bool(what)? {
            Ok(Some(self.str(what)?))
        } else {
            Ok(None)
        }
    }

    pub(crate) fn bytes(&mut self, what: &'static str) -> Result<Bytes, DecodeError> {
        let n = self.count(what, 1)?;
        Ok(self.buf.split_to(n))
    }

    pub(crate) fn uuid(&mut self, what: &'static str) -> Result<Uuid, DecodeError> {
        self.need(what, 16)?;
        let mut raw = [0u8; 16];
        self.buf.copy_to_slice(&mut raw);
        Ok(Uuid::from_bytes(raw))
    }

    pub(crate) fn i32s(&mut self, what: &'static str) -> Result<Vec<i32>, DecodeError> {
        let n = self.count(what, 4)?;
        (0..n).map(|_| self.i32(what)).collect()
    }

    pub(crate) fn end(&self) -> Result<(), DecodeError> {
        if self.buf.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::Trailing(self.buf.len()))
        }
    }
}
