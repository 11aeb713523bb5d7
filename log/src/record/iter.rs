//! Records, decoded one by one as they are asked for.
//!
//! Keys, values and headers are slices of the (decompressed) batch: nothing is copied. No count
//! or length is trusted beyond the bytes that are there.

use std::borrow::Cow;

use bytes::Bytes;

use super::RecordError;
use super::header::{BatchHeader, TimestampType};
use super::varint::Reader;

/// A header of a record: a name and a value. A name may come several times; the order counts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Header {
    /// The name, by convention UTF-8.
    pub key: Bytes,
    /// The value; null and empty are different.
    pub value: Option<Bytes>,
}

impl Header {
    /// A header.
    pub fn new(key: impl Into<Bytes>, value: Option<impl Into<Bytes>>) -> Self {
        Self {
            key: key.into(),
            value: value.map(Into::into),
        }
    }

    /// The name as text.
    pub fn name(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.key)
    }
}

/// A record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its offset in the partition.
    pub offset: i64,
    /// Its timestamp, in milliseconds since the epoch.
    pub timestamp: i64,
    /// The key; null and empty are different.
    pub key: Option<Bytes>,
    /// The value; null and empty are different (null is a tombstone on a compacted topic).
    pub value: Option<Bytes>,
    /// The headers, in order, duplicates and all.
    pub headers: Vec<Header>,
}

impl Record {
    /// The last header of that name.
    pub fn header(&self, name: &str) -> Option<&Header> {
        self.headers
            .iter()
            .rev()
            .find(|header| header.key == name.as_bytes())
    }
}

/// The records of a batch. Ends after the first error.
#[derive(Debug, Clone)]
pub struct Records {
    bytes: Bytes,
    at: usize,
    left: i32,
    base_offset: i64,
    last_offset_delta: i32,
    base_timestamp: i64,
    /// With LogAppendTime all records have the batch's.
    log_append_time: Option<i64>,
}

impl Records {
    pub(crate) fn new(header: &BatchHeader, bytes: Bytes) -> Self {
        Self {
            bytes,
            at: 0,
            left: header.records_count,
            base_offset: header.base_offset,
            last_offset_delta: header.last_offset_delta,
            base_timestamp: header.base_timestamp,
            log_append_time: (header.timestamp_type() == TimestampType::LogAppendTime)
                .then_some(header.max_timestamp),
        }
    }

    /// The size of the records, decompressed.
    pub fn decompressed_size(&self) -> usize {
        self.bytes.len()
    }

    /// The next record, and where it ends.
    fn read(&self) -> Result<(Record, usize), RecordError> {
        let bytes = &self.bytes;
        let mut outer = Reader::new(bytes, self.at);
        let length = outer.varint("record length")?;
        let length = usize::try_from(length)
            .map_err(|_| RecordError::InvalidRecord("its length is negative"))?;
        let body = outer.skip(length, "record")?;
        let end = body.end;
        // Nothing of a record may come from beyond its own end.
        let mut reader = Reader::new(bytes.get(..end).unwrap_or_default(), body.start);
        reader.u8("record attributes")?;
        let timestamp_delta = reader.varlong("record timestamp")?;
        let offset_delta = reader.varint("record offset")?;
        if offset_delta < 0 || offset_delta > self.last_offset_delta {
            return Err(RecordError::InvalidRecord(
                "its offset lies outside of the batch",
            ));
        }
        let key = nullable(bytes, &mut reader, "record key")?;
        let value = nullable(bytes, &mut reader, "record value")?;
        let count = reader.varint("header count")?;
        let count = usize::try_from(count)
            .map_err(|_| RecordError::InvalidRecord("its header count is negative"))?;
        // A header takes two bytes at least.
        if count > reader.remaining() / 2 {
            return Err(RecordError::Truncated {
                what: "record headers",
                needed: count.saturating_mul(2),
                available: reader.remaining(),
            });
        }
        let mut headers = Vec::with_capacity(count);
        for _ in 0..count {
            let key = nullable(bytes, &mut reader, "header key")?
                .ok_or(RecordError::InvalidRecord("a header has no key"))?;
            let value = nullable(bytes, &mut reader, "header value")?;
            headers.push(Header { key, value });
        }
        if reader.position() != end {
            return Err(RecordError::InvalidRecord(
                "it is shorter than its length says",
            ));
        }
        let record = Record {
            offset: self.base_offset + i64::from(offset_delta),
            timestamp: self
                .log_append_time
                .unwrap_or_else(|| self.base_timestamp.wrapping_add(timestamp_delta)),
            key,
            value,
            headers,
        };
        Ok((record, end))
    }
}

fn nullable(
    bytes: &Bytes,
    reader: &mut Reader<'_>,
    what: &'static str,
) -> Result<Option<Bytes>, RecordError> {
    match reader.varint(what)? {
        -1 => Ok(None),
        0 => Ok(Some(Bytes::new())),
        length => {
            let length = usize::try_from(length)
                .map_err(|_| RecordError::InvalidRecord("a length is negative"))?;
            Ok(Some(bytes.slice(reader.skip(length, what)?)))
        }
    }
}

impl Iterator for Records {
    type Item = Result<Record, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left <= 0 {
            if self.at < self.bytes.len() && self.left == 0 {
                self.left = -1;
                return Some(Err(RecordError::InvalidRecord(
                    "the batch holds more bytes than its records",
                )));
            }
            return None;
        }
        match self.read() {
            Ok((record, end)) => {
                self.at = end;
                self.left -= 1;
                Some(Ok(record))
            }
            Err(error) => {
                self.left = -1;
                Some(Err(error))
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // A count is only a claim: it never sizes an allocation beyond the bytes there are.
        let upper = usize::try_from(self.left)
            .unwrap_or_default()
            .saturating_add(1);
        (
            0,
            Some(upper.min(self.bytes.len() - self.at.min(self.bytes.len()) + 1)),
        )
    }
}
