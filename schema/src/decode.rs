//! From messages to columns.
//!
//! A decoder takes many messages at once and either has each of them in the batch, in
//! order, or names it in the errors with its place: no message is lost in silence and no
//! bad message takes a good one with it. The way there is optimistic: all messages go
//! through the columnar parser together, and only if it stumbles are they parsed one by
//! one to find those at fault.

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;

/// Why a message could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are not of the format.
    #[error("not {format}: {what} at line {line}, column {column}")]
    Syntax {
        /// The format's name.
        format: &'static str,
        /// What is wrong.
        what: String,
        /// Line in the message, from 1.
        line: usize,
        /// Column in the line, from 1.
        column: usize,
    },
    /// The message is well formed but a field does not fit its column.
    #[error("field {field:?}: {what}")]
    Field {
        /// The column's name.
        field: String,
        /// What is wrong.
        what: String,
    },
    /// The message is well formed but does not have the shape of a row.
    #[error("{what}")]
    Shape {
        /// What is wrong.
        what: String,
    },
}

/// A message that is not in the batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageError {
    /// Its index in the slice that was decoded.
    pub message: usize,
    /// What is wrong with it.
    pub error: DecodeError,
}

/// What came of a slice of messages.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// The rows, in the order of the messages, one a good message.
    pub batch: RecordBatch,
    /// The messages that are not in the batch, in order; empty when all went well.
    pub errors: Vec<MessageError>,
}

impl Decoded {
    /// For each row of the batch, the index of the message it came from, out of `messages`.
    pub fn row_messages(&self, messages: usize) -> impl Iterator<Item = usize> + '_ {
        let mut errors = self.errors.iter().map(|error| error.message).peekable();
        (0..messages).filter(move |index| errors.next_if_eq(index).is_none())
    }
}

/// Turns message values into columns. Reusable; keeps nothing between two calls.
pub trait RowDecoder: Send {
    /// The columns that [`decode`](Self::decode) gives.
    fn schema(&self) -> &SchemaRef;

    /// Decodes one row a message.
    fn decode(&mut self, messages: &[&[u8]]) -> Decoded;
}

/// Decodes all together with `fast`, and if that does not succeed one by one with `slow`.
pub(crate) fn decode_all_or_each(
    schema: &SchemaRef,
    messages: &[&[u8]],
    fast: impl FnOnce(&[&[u8]]) -> Option<RecordBatch>,
    mut slow: impl FnMut(&[u8]) -> Result<RecordBatch, DecodeError>,
) -> Decoded {
    if messages.is_empty() {
        return Decoded {
            batch: RecordBatch::new_empty(schema.clone()),
            errors: Vec::new(),
        };
    }
    if let Some(batch) = fast(messages) {
        return Decoded {
            batch,
            errors: Vec::new(),
        };
    }
    let mut rows = Vec::with_capacity(messages.len());
    let mut good = Vec::with_capacity(messages.len());
    let mut errors = Vec::new();
    for (message, bytes) in messages.iter().enumerate() {
        match slow(bytes) {
            Ok(row) => {
                rows.push(row);
                good.push(message);
            }
            Err(error) => errors.push(MessageError { message, error }),
        }
    }
    match concat_batches(schema, &rows) {
        Ok(batch) => Decoded { batch, errors },
        // Too large for one batch (offsets of 32 bits overflow): say so for each row.
        Err(error) => {
            errors.extend(good.into_iter().map(|message| MessageError {
                message,
                error: DecodeError::Shape {
                    what: format!("the messages do not fit one batch: {error}"),
                },
            }));
            errors.sort_by_key(|error| error.message);
            Decoded {
                batch: RecordBatch::new_empty(schema.clone()),
                errors,
            }
        }
    }
}

/// The schema of the columns `projection`, in its order.
pub(crate) fn project(schema: &SchemaRef, projection: Option<&[usize]>) -> SchemaRef {
    match projection {
        None => schema.clone(),
        Some(indices) => {
            let fields: Vec<_> = indices
                .iter()
                .filter_map(|&index| schema.fields().get(index).cloned())
                .collect();
            std::sync::Arc::new(arrow::datatypes::Schema::new(fields))
        }
    }
}
