//! A walk over the batches of a segment's file, by their headers.
//!
//! Small batches come out of one window of the file, of large ones only the header is read unless
//! the caller asks for the whole.

use bytes::Bytes;

use crate::record::{BATCH_HEADER_SIZE, BatchHeader, RecordBatch, RecordError};

use super::error::{StorageError, StorageResult};
use super::segment::Segment;

const WINDOW: usize = 64 * 1024;

/// Why a walk stopped.
#[derive(Debug)]
pub(crate) enum ScanError {
    /// There is no valid batch at this position.
    Damaged {
        position: u64,
        reason: String,
    },
    Storage(StorageError),
}

impl From<StorageError> for ScanError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

pub(crate) struct Scanner<'a> {
    segment: &'a Segment,
    position: u64,
    end: u64,
    window: Bytes,
    window_start: u64,
    /// How much is read at least.
    ahead: usize,
}

impl<'a> Scanner<'a> {
    /// Walks from a batch's position to `end`.
    pub(crate) fn new(segment: &'a Segment, position: u64, end: u64) -> Self {
        Self {
            segment,
            position,
            end,
            window: Bytes::new(),
            window_start: 0,
            ahead: WINDOW,
        }
    }

    /// Reads so many bytes at least each time.
    pub(crate) fn reading_ahead(mut self, bytes: usize) -> Self {
        self.ahead = bytes;
        self
    }

    /// Where the next batch begins.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    fn damaged<T>(&self, reason: impl ToString) -> Result<T, ScanError> {
        Err(ScanError::Damaged {
            position: self.position,
            reason: reason.to_string(),
        })
    }

    /// At least `len` bytes at the position, or as many as there are.
    fn bytes(&mut self, len: usize) -> StorageResult<Bytes> {
        let left = usize::try_from(self.end.saturating_sub(self.position)).unwrap_or(usize::MAX);
        let len = len.min(left);
        let skip = self
            .position
            .checked_sub(self.window_start)
            .map(|skip| skip as usize);
        match skip {
            Some(skip) if skip + len <= self.window.len() => Ok(self.window.slice(skip..)),
            _ => {
                self.window = self
                    .segment
                    .read_at(self.position, len.max(self.ahead.min(left)))?;
                self.window_start = self.position;
                Ok(self.window.clone())
            }
        }
    }

    /// The next header; the batch is known to fit into the file. Does not move on.
    pub(crate) fn peek(&mut self) -> Result<Option<BatchHeader>, ScanError> {
        if self.position >= self.end {
            return Ok(None);
        }
        let bytes = self.bytes(BATCH_HEADER_SIZE)?;
        let header = match BatchHeader::parse(&bytes) {
            Ok(header) => header,
            Err(e) => return self.damaged(e),
        };
        let size = header.size() as u64;
        if size > self.end - self.position {
            return self.damaged(RecordError::Truncated {
                what: "batch",
                needed: header.size(),
                available: (self.end - self.position) as usize,
            });
        }
        Ok(Some(header))
    }

    /// Goes to the batch after the one with this header.
    pub(crate) fn skip(&mut self, header: &BatchHeader) {
        self.position += header.size() as u64;
    }

    /// The bytes at the position, `len` of them; fewer when the file is shorter. Does not move on.
    pub(crate) fn take(&mut self, len: usize) -> StorageResult<Bytes> {
        let bytes = self.bytes(len)?;
        Ok(bytes.slice(..len.min(bytes.len())))
    }

    /// The next header, moving on.
    pub(crate) fn next_header(&mut self) -> Result<Option<(u64, BatchHeader)>, ScanError> {
        let position = self.position;
        let header = self.peek()?;
        if let Some(header) = &header {
            self.skip(header);
        }
        Ok(header.map(|header| (position, header)))
    }

    /// The next batch, its CRC checked, moving on.
    pub(crate) fn next_batch(&mut self) -> Result<Option<(u64, RecordBatch)>, ScanError> {
        let position = self.position;
        let Some(header) = self.peek()? else {
            return Ok(None);
        };
        let bytes = self.bytes(header.size())?;
        match RecordBatch::checked(bytes) {
            Ok(batch) => {
                self.skip(&header);
                Ok(Some((position, batch)))
            }
            Err(e) => self.damaged(e),
        }
    }
}
