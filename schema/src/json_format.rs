//! JSON objects, one a message.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::json::ReaderBuilder;
use arrow::json::reader::Decoder;
use arrow::json::writer::{LineDelimited, WriterBuilder};
use bytes::Bytes;

use crate::decode::{decode_all_or_each, project};
use crate::encode::split_at;
use crate::{DecodeError, Decoded, EncodeError, RowDecoder, RowEncoder};

/// Decodes JSON objects with the columnar parser of arrow-json, which skips fields that
/// are not asked for without building them.
pub(crate) struct JsonDecoder {
    schema: SchemaRef,
}

impl JsonDecoder {
    pub(crate) fn new(schema: &SchemaRef, projection: Option<&[usize]>) -> Self {
        Self {
            schema: project(schema, projection),
        }
    }
}

impl RowDecoder for JsonDecoder {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn decode(&mut self, messages: &[&[u8]]) -> Decoded {
        let schema = &self.schema;
        decode_all_or_each(
            schema,
            messages,
            |messages| decode_together(schema, messages),
            |message| decode_one(schema, message),
        )
    }
}

fn decoder(schema: &SchemaRef, rows: usize) -> Result<Decoder, ArrowError> {
    // One more than the rows, so that a second object in the last message is seen.
    ReaderBuilder::new(schema.clone())
        .with_batch_size(rows + 1)
        .build_decoder()
}

/// All messages through one parser; `None` if any of them is not one good row.
fn decode_together(schema: &SchemaRef, messages: &[&[u8]]) -> Option<RecordBatch> {
    let mut decoder = decoder(schema, messages.len()).ok()?;
    for (index, message) in messages.iter().enumerate() {
        let read = decoder.decode(message).ok()?;
        if read != message.len() || decoder.has_partial_record() || decoder.len() != index + 1 {
            return None;
        }
    }
    decoder.flush().ok()?
}

fn decode_one(schema: &SchemaRef, message: &[u8]) -> Result<RecordBatch, DecodeError> {
    if let Some(batch) = decode_together(schema, &[message]) {
        return Ok(batch);
    }
    Err(explain(schema, message))
}

/// Says why a message is not a row: bad JSON, not an object, or the first field at fault.
fn explain(schema: &SchemaRef, message: &[u8]) -> DecodeError {
    let value: serde_json::Value = match serde_json::from_slice(message) {
        Ok(value) => value,
        Err(error) => {
            return DecodeError::Syntax {
                format: "JSON",
                what: strip_place(&error.to_string()),
                line: error.line(),
                column: error.column(),
            };
        }
    };
    let serde_json::Value::Object(object) = value else {
        return DecodeError::Shape {
            what: format!("expected a JSON object, found {}", kind(&value)),
        };
    };
    for field in schema.fields() {
        let alone = Arc::new(Schema::new(vec![field.clone()]));
        if decode_together(&alone, &[message]).is_some() {
            continue;
        }
        let what = match object.get(field.name()) {
            None => format!("missing, but {} is NOT NULL", field.data_type()),
            Some(serde_json::Value::Null) => format!("null, but {} is NOT NULL", field.data_type()),
            Some(found) => format!(
                "expected {}, found {} {}",
                field.data_type(),
                kind(found),
                shorten(&found.to_string())
            ),
        };
        return DecodeError::Field {
            field: field.name().clone(),
            what,
        };
    }
    DecodeError::Shape {
        what: "the object does not fit the columns".to_owned(),
    }
}

/// serde_json ends its messages with the place, which the error carries in fields.
fn strip_place(message: &str) -> String {
    match message.rfind(" at line ") {
        Some(end) => message.get(..end).unwrap_or(message).to_owned(),
        None => message.to_owned(),
    }
}

fn kind(value: &serde_json::Value) -> &'static str {
    match value {
        serde_json::Value::Null => "null",
        serde_json::Value::Bool(_) => "boolean",
        serde_json::Value::Number(_) => "number",
        serde_json::Value::String(_) => "string",
        serde_json::Value::Array(_) => "array",
        serde_json::Value::Object(_) => "object",
    }
}

fn shorten(text: &str) -> String {
    const LONGEST: usize = 60;
    if text.chars().count() <= LONGEST {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(LONGEST).collect();
    short.push('…');
    short
}

/// Writes one JSON object a row, nulls included, so that a reader sees every column.
pub(crate) struct JsonEncoder;

impl JsonEncoder {
    pub(crate) fn new() -> Self {
        Self
    }
}

impl RowEncoder for JsonEncoder {
    fn encode(&mut self, batch: &RecordBatch) -> Result<Vec<Bytes>, EncodeError> {
        let failed = |source| EncodeError::Arrow {
            format: "JSON",
            source,
        };
        let mut writer = WriterBuilder::new()
            .with_explicit_nulls(true)
            .build::<_, LineDelimited>(Vec::new());
        writer.write(batch).map_err(failed)?;
        writer.finish().map_err(failed)?;
        let buffer = writer.into_inner();
        // A line end inside a JSON string is escaped, so that each one here ends a row.
        let ends: Vec<usize> = buffer
            .iter()
            .enumerate()
            .filter_map(|(at, &byte)| (byte == b'\n').then_some(at + 1))
            .collect();
        if ends.len() != batch.num_rows() {
            return Err(EncodeError::Count {
                format: "JSON",
                rows: batch.num_rows(),
                messages: ends.len(),
            });
        }
        Ok(split_at(buffer, &ends, 1))
    }
}
