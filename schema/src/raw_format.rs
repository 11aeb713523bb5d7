//! The whole value as one column, for topics whose messages are not rows.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use bytes::Bytes;

use crate::decode::decode_all_or_each;
use crate::{DecodeError, Decoded, EncodeError, FormatError, RowDecoder, RowEncoder};

fn check(schema: &SchemaRef) -> Result<(), FormatError> {
    let column = match schema.fields().as_ref() {
        [field] if matches!(field.data_type(), DataType::Utf8 | DataType::Binary) => return Ok(()),
        [] => {
            return Err(FormatError::Option {
                format: "RAW",
                what: "needs one column of type TEXT or BYTEA".to_owned(),
            });
        }
        [field] => field,
        [_, second, ..] => second,
    };
    Err(FormatError::Column {
        format: "RAW",
        column: column.name().clone(),
        data_type: column.data_type().clone(),
        hint: "RAW has exactly one column, of type TEXT or BYTEA",
    })
}

pub(crate) struct RawDecoder {
    schema: SchemaRef,
    text: bool,
    wanted: bool,
}

impl RawDecoder {
    pub(crate) fn new(
        schema: &SchemaRef,
        projection: Option<&[usize]>,
    ) -> Result<Self, FormatError> {
        check(schema)?;
        Ok(Self {
            text: matches!(schema.field(0).data_type(), DataType::Utf8),
            wanted: projection.is_none_or(|columns| !columns.is_empty()),
            schema: crate::decode::project(schema, projection),
        })
    }

    fn column(&self, messages: &[&[u8]]) -> Result<RecordBatch, ArrowError> {
        let column: ArrayRef = if !self.wanted {
            let options =
                arrow::array::RecordBatchOptions::new().with_row_count(Some(messages.len()));
            return RecordBatch::try_new_with_options(self.schema.clone(), vec![], &options);
        } else if self.text {
            let texts = messages
                .iter()
                .map(|message| std::str::from_utf8(message))
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| ArrowError::CastError(error.to_string()))?;
            Arc::new(StringArray::from(texts))
        } else {
            Arc::new(BinaryArray::from_iter_values(messages))
        };
        RecordBatch::try_new(self.schema.clone(), vec![column])
    }
}

impl RowDecoder for RawDecoder {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn decode(&mut self, messages: &[&[u8]]) -> Decoded {
        decode_all_or_each(
            &self.schema,
            messages,
            |messages| self.column(messages).ok(),
            |message| {
                self.column(&[message]).map_err(|error| DecodeError::Shape {
                    what: format!("not UTF-8 text: {error}; declare the column as BYTEA"),
                })
            },
        )
    }
}

pub(crate) struct RawEncoder;

impl RawEncoder {
    pub(crate) fn new(schema: &SchemaRef) -> Result<Self, FormatError> {
        check(schema)?;
        Ok(Self)
    }
}

impl RowEncoder for RawEncoder {
    fn encode(&mut self, batch: &RecordBatch) -> Result<Vec<Bytes>, EncodeError> {
        let column = batch.column(0);
        let value = |row: usize| {
            if column.is_null(row) {
                Bytes::new()
            } else if let Some(text) = column.as_string_opt::<i32>() {
                Bytes::copy_from_slice(text.value(row).as_bytes())
            } else if let Some(bytes) = column.as_binary_opt::<i32>() {
                Bytes::copy_from_slice(bytes.value(row))
            } else {
                Bytes::new()
            }
        };
        Ok((0..batch.num_rows()).map(value).collect())
    }
}
