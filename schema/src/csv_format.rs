//! CSV records (RFC 4180), one a message, without a header line.

use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::csv::ReaderBuilder;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bytes::Bytes;

use crate::decode::{decode_all_or_each, project};
use crate::encode::split_at;
use crate::{CsvOptions, DecodeError, Decoded, EncodeError, FormatError, RowDecoder, RowEncoder};

/// Decodes CSV records with the columnar parser of arrow-csv. An empty field is NULL.
pub(crate) struct CsvDecoder {
    options: CsvOptions,
    /// The columns as they stand in a record.
    written: SchemaRef,
    /// Which of them are wanted, in order.
    projection: Option<Vec<usize>>,
    schema: SchemaRef,
}

impl CsvDecoder {
    pub(crate) fn new(
        options: &CsvOptions,
        schema: &SchemaRef,
        projection: Option<&[usize]>,
    ) -> Result<Self, FormatError> {
        refuse_nested(schema)?;
        Ok(Self {
            options: options.clone(),
            written: schema.clone(),
            projection: projection.map(<[usize]>::to_vec),
            schema: project(schema, projection),
        })
    }

    /// All messages through one parser; `None` if any of them is not one good row.
    fn decode_together(&self, messages: &[&[u8]]) -> Option<RecordBatch> {
        let rows = messages.len() + 1;
        let mut builder = ReaderBuilder::new(self.written.clone())
            .with_header(false)
            .with_delimiter(self.options.delimiter)
            .with_quote(self.options.quote)
            .with_batch_size(rows);
        if let Some(projection) = &self.projection {
            builder = builder.with_projection(projection.clone());
        }
        let mut decoder = builder.build_decoder();
        for (index, message) in messages.iter().enumerate() {
            if decoder.decode(message).ok()? != message.len() {
                return None;
            }
            // What already ends its line must not get a second end: that is a row less.
            if message.last() != Some(&b'\n') && decoder.decode(b"\n").ok()? != 1 {
                return None;
            }
            if rows - decoder.capacity() != index + 1 {
                return None;
            }
        }
        decoder.flush().ok()?
    }

    /// Says why a message is not a row.
    fn explain(&self, message: &[u8]) -> DecodeError {
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(self.options.delimiter)
            .quote(self.options.quote)
            .from_reader(message);
        let records: Vec<csv::ByteRecord> = match reader.byte_records().collect::<Result<_, _>>() {
            Ok(records) => records,
            Err(error) => {
                return DecodeError::Shape {
                    what: format!("not CSV: {error}"),
                };
            }
        };
        let [record] = records.as_slice() else {
            return DecodeError::Shape {
                what: format!("expected one CSV record, found {}", records.len()),
            };
        };
        let columns = self.written.fields().len();
        if record.len() != columns {
            return DecodeError::Shape {
                what: format!("expected {columns} fields, found {}", record.len()),
            };
        }
        for (at, field) in self.written.fields().iter().enumerate() {
            let text = record.get(at).unwrap_or_default();
            let alone = CsvDecoder {
                options: self.options.clone(),
                written: self.written.clone(),
                projection: Some(vec![at]),
                schema: Arc::new(Schema::new(vec![field.clone()])),
            };
            if alone.decode_together(&[message]).is_some() {
                continue;
            }
            let text = String::from_utf8_lossy(text);
            let what = if text.is_empty() {
                format!("empty, but {} is NOT NULL", field.data_type())
            } else {
                format!("expected {}, found {text:?}", field.data_type())
            };
            return DecodeError::Field {
                field: field.name().clone(),
                what,
            };
        }
        DecodeError::Syntax {
            format: "CSV",
            what: "an open quote".to_owned(),
            line: 1,
            column: message.len() + 1,
        }
    }
}

impl RowDecoder for CsvDecoder {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn decode(&mut self, messages: &[&[u8]]) -> Decoded {
        decode_all_or_each(
            &self.schema,
            messages,
            |messages| self.decode_together(messages),
            |message| {
                self.decode_together(&[message])
                    .ok_or_else(|| self.explain(message))
            },
        )
    }
}

fn refuse_nested(schema: &SchemaRef) -> Result<(), FormatError> {
    for field in schema.fields() {
        if field.data_type().is_nested() || matches!(field.data_type(), DataType::Binary) {
            return Err(FormatError::Column {
                format: "CSV",
                column: field.name().clone(),
                data_type: field.data_type().clone(),
                hint: "use TEXT for it, or ENCODE JSON",
            });
        }
    }
    Ok(())
}

/// Writes one CSV record a row; NULL is an empty field.
pub(crate) struct CsvEncoder {
    options: CsvOptions,
}

impl CsvEncoder {
    pub(crate) fn new(options: &CsvOptions, schema: &SchemaRef) -> Result<Self, FormatError> {
        refuse_nested(schema)?;
        Ok(Self {
            options: options.clone(),
        })
    }
}

impl RowEncoder for CsvEncoder {
    fn encode(&mut self, batch: &RecordBatch) -> Result<Vec<Bytes>, EncodeError> {
        let format = FormatOptions::default();
        let columns = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column.as_ref(), &format))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|source| EncodeError::Arrow {
                format: "CSV",
                source,
            })?;
        let mut writer = csv::WriterBuilder::new()
            .has_headers(false)
            .delimiter(self.options.delimiter)
            .quote(self.options.quote)
            .from_writer(Vec::new());
        let mut ends = Vec::with_capacity(batch.num_rows());
        let mut text = String::new();
        for row in 0..batch.num_rows() {
            for (column, formatter) in batch.columns().iter().zip(&columns) {
                text.clear();
                if column.is_valid(row) {
                    use std::fmt::Write as _;
                    write!(text, "{}", formatter.value(row)).map_err(|_| EncodeError::Arrow {
                        format: "CSV",
                        source: arrow::error::ArrowError::CastError(format!(
                            "row {row} has a value that cannot be printed"
                        )),
                    })?;
                }
                writer.write_field(&text)?;
            }
            writer.write_record(None::<&[u8]>)?;
            writer.flush().map_err(csv::Error::from)?;
            ends.push(writer.get_ref().len());
        }
        let buffer = writer
            .into_inner()
            .map_err(|error| csv::Error::from(error.into_error()))?;
        Ok(split_at(buffer, &ends, 1))
    }
}
