//! From columns to messages, one a row.

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use bytes::Bytes;

/// Why a batch could not be encoded.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// Arrow could not write a value.
    #[error("cannot write rows as {format}: {source}")]
    Arrow {
        /// The format's name.
        format: &'static str,
        /// The cause.
        source: ArrowError,
    },
    /// The CSV writer refused a record.
    #[error("cannot write a row as CSV: {0}")]
    Csv(#[from] csv::Error),
    /// What was written does not split into as many messages as there are rows.
    #[error("{rows} rows became {messages} messages of {format}")]
    Count {
        /// The format's name.
        format: &'static str,
        /// Rows in the batch.
        rows: usize,
        /// Messages that came out.
        messages: usize,
    },
}

/// Turns the rows of a batch into messages.
pub trait RowEncoder: Send {
    /// One message a row, in order. They share one allocation.
    ///
    /// # Errors
    /// A value that the format cannot write.
    fn encode(&mut self, batch: &RecordBatch) -> Result<Vec<Bytes>, EncodeError>;
}

/// Cuts `buffer` at `ends` (ascending) into messages that share it.
pub(crate) fn split_at(buffer: Vec<u8>, ends: &[usize], terminator: usize) -> Vec<Bytes> {
    let buffer = Bytes::from(buffer);
    let mut start = 0;
    ends.iter()
        .map(|&end| {
            let message = buffer.slice(start..end.saturating_sub(terminator).max(start));
            start = end;
            message
        })
        .collect()
}
