//! Rows to JSON objects.

use super::time::{put_date, put_time, put_timestamp};
use crate::operators::OperatorError;
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Decimal128Array, Float32Array,
    Float64Array, Int64Array, LargeStringArray, RecordBatch, StringArray, StringViewArray,
    UInt64Array,
};
use arrow::compute;
use arrow::datatypes::{DataType, Decimal128Type, DecimalType, SchemaRef, TimeUnit};
use bytes::Bytes;
use std::io::Write;
use thalweg_schema::{EncodeError, RowEncoder};

/// Whether rows may have a column of this type.
pub(super) fn supports(data_type: &DataType) -> bool {
    use DataType::{
        Binary, Boolean, Date32, Decimal128, Duration, Float32, Float64, LargeUtf8, Null, Time64,
        Timestamp, Utf8, Utf8View,
    };
    data_type.is_integer()
        || matches!(
            data_type,
            Null | Boolean
                | Float32
                | Float64
                | Utf8
                | LargeUtf8
                | Utf8View
                | Binary
                | Date32
                | Time64(_)
                | Timestamp(_, _)
                | Duration(_)
                | Decimal128(_, _)
        )
}

/// A column, ready to be written row by row.
enum Cells {
    Null,
    Boolean(BooleanArray),
    Int(Int64Array),
    UInt(UInt64Array),
    Float32(Float32Array),
    Float64(Float64Array),
    Utf8(StringArray),
    LargeUtf8(LargeStringArray),
    Utf8View(StringViewArray),
    Binary(BinaryArray),
    Date(Int64Array),
    Time(Int64Array, TimeUnit),
    Timestamp(Int64Array, TimeUnit, bool),
    Decimal(Decimal128Array),
}

impl Cells {
    fn new(array: &ArrayRef) -> Result<Self, OperatorError> {
        let ints = || -> Result<Int64Array, OperatorError> {
            Ok(compute::cast(array, &DataType::Int64)?
                .as_primitive()
                .clone())
        };
        Ok(match array.data_type() {
            DataType::Null => Self::Null,
            DataType::Boolean => Self::Boolean(array.as_boolean().clone()),
            DataType::UInt64 => Self::UInt(array.as_primitive().clone()),
            t if t.is_integer() => Self::Int(ints()?),
            DataType::Duration(_) => Self::Int(ints()?),
            DataType::Float32 => Self::Float32(array.as_primitive().clone()),
            DataType::Float64 => Self::Float64(array.as_primitive().clone()),
            DataType::Utf8 => Self::Utf8(array.as_string().clone()),
            DataType::LargeUtf8 => Self::LargeUtf8(array.as_string().clone()),
            DataType::Utf8View => Self::Utf8View(array.as_string_view().clone()),
            DataType::Binary => Self::Binary(array.as_binary().clone()),
            DataType::Date32 => {
                let days = compute::cast(array, &DataType::Int32)?;
                Self::Date(
                    compute::cast(&days, &DataType::Int64)?
                        .as_primitive()
                        .clone(),
                )
            }
            DataType::Time64(unit) => Self::Time(ints()?, *unit),
            DataType::Timestamp(unit, zone) => Self::Timestamp(ints()?, *unit, zone.is_some()),
            DataType::Decimal128(_, _) => Self::Decimal(array.as_primitive().clone()),
            other => return Err(OperatorError::UnsupportedColumn(other.clone())),
        })
    }

    fn array(&self) -> Option<&dyn Array> {
        Some(match self {
            Self::Null => return None,
            Self::Boolean(a) => a,
            Self::Int(a) | Self::Date(a) | Self::Time(a, _) | Self::Timestamp(a, _, _) => a,
            Self::UInt(a) => a,
            Self::Float32(a) => a,
            Self::Float64(a) => a,
            Self::Utf8(a) => a,
            Self::LargeUtf8(a) => a,
            Self::Utf8View(a) => a,
            Self::Binary(a) => a,
            Self::Decimal(a) => a,
        })
    }

    fn put(&self, row: usize, out: &mut Vec<u8>) {
        if self.array().is_none_or(|a| a.is_null(row)) {
            out.extend_from_slice(b"null");
            return;
        }
        match self {
            Self::Null => out.extend_from_slice(b"null"),
            Self::Boolean(a) => {
                out.extend_from_slice(if a.value(row) { b"true" } else { b"false" });
            }
            Self::Int(a) => put_display(a.value(row), out),
            Self::UInt(a) => put_display(a.value(row), out),
            Self::Float32(a) => put_float(a.value(row), a.value(row).is_finite(), out),
            Self::Float64(a) => put_float(a.value(row), a.value(row).is_finite(), out),
            Self::Utf8(a) => put_string(a.value(row), out),
            Self::LargeUtf8(a) => put_string(a.value(row), out),
            Self::Utf8View(a) => put_string(a.value(row), out),
            Self::Binary(a) => {
                out.push(b'"');
                for byte in a.value(row) {
                    out.extend_from_slice(&[hex(byte >> 4), hex(byte & 15)]);
                }
                out.push(b'"');
            }
            Self::Date(a) => quoted_or_number(a.value(row), out, put_date),
            Self::Time(a, unit) => {
                quoted_or_number(a.value(row), out, |v, out| put_time(v, *unit, out));
            }
            Self::Timestamp(a, unit, utc) => {
                quoted_or_number(a.value(row), out, |v, out| {
                    put_timestamp(v, *unit, *utc, out)
                });
            }
            Self::Decimal(a) => {
                let text = Decimal128Type::format_decimal(a.value(row), a.precision(), a.scale());
                out.extend_from_slice(text.as_bytes());
            }
        }
    }
}

fn hex(nibble: u8) -> u8 {
    if nibble < 10 {
        b'0' + nibble
    } else {
        b'a' + nibble - 10
    }
}

fn put_display(value: impl std::fmt::Display, out: &mut Vec<u8>) {
    // Writing to a vector cannot fail.
    let _ = write!(out, "{value}");
}

fn put_float(value: impl std::fmt::Debug, finite: bool, out: &mut Vec<u8>) {
    let at = out.len();
    if finite {
        let _ = write!(out, "{value:?}");
    } else {
        let _ = write!(out, "\"{value:?}\"");
    }
    debug_assert!(out.len() > at);
}

fn quoted_or_number(value: i64, out: &mut Vec<u8>, put: impl Fn(i64, &mut Vec<u8>) -> bool) {
    let at = out.len();
    out.push(b'"');
    if put(value, out) {
        out.push(b'"');
    } else {
        out.truncate(at);
        put_display(value, out);
    }
}

/// Appends a JSON string.
pub(super) fn put_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut clean = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0..0x20 => b"",
            _ => continue,
        };
        out.extend_from_slice(bytes.get(clean..at).unwrap_or_default());
        if escape.is_empty() {
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', hex(byte >> 4), hex(byte & 15)]);
        } else {
            out.extend_from_slice(escape);
        }
        clean = at + 1;
    }
    out.extend_from_slice(bytes.get(clean..).unwrap_or_default());
    out.push(b'"');
}

/// Writes rows of a view; see the module.
pub struct ViewRowEncoder {
    /// `{"name":` and `,"name":` for each column.
    labels: Vec<Vec<u8>>,
    types: Vec<DataType>,
}

impl ViewRowEncoder {
    /// An encoder of rows of `schema`.
    pub fn new(schema: &SchemaRef) -> Result<Self, OperatorError> {
        let mut labels = Vec::new();
        for (i, field) in schema.fields().iter().enumerate() {
            if !supports(field.data_type()) {
                return Err(OperatorError::UnsupportedColumn(field.data_type().clone()));
            }
            let mut label = vec![if i == 0 { b'{' } else { b',' }];
            put_string(field.name(), &mut label);
            label.push(b':');
            labels.push(label);
        }
        let types = schema
            .fields()
            .iter()
            .map(|f| f.data_type().clone())
            .collect();
        Ok(Self { labels, types })
    }

    /// Borrows `columns`, of the encoder's schema, for writing rows one at a time.
    pub fn rows(&self, columns: &[ArrayRef]) -> Result<ViewRows<'_>, OperatorError> {
        if columns.len() != self.labels.len() {
            return Err(OperatorError::NoColumn {
                column: self.labels.len().saturating_sub(1),
                columns: columns.len(),
            });
        }
        for (column, (array, expected)) in columns.iter().zip(&self.types).enumerate() {
            if array.data_type() != expected {
                return Err(OperatorError::ColumnType {
                    column,
                    found: array.data_type().clone(),
                    expected: "the type of the view's column",
                });
            }
        }
        let cells = columns.iter().map(Cells::new).collect::<Result<_, _>>()?;
        Ok(ViewRows {
            encoder: self,
            cells,
        })
    }
}

/// Columns whose rows are written one at a time.
pub struct ViewRows<'a> {
    encoder: &'a ViewRowEncoder,
    cells: Vec<Cells>,
}

impl ViewRows<'_> {
    /// Appends the JSON object of `row` to `out`.
    pub fn put(&self, row: usize, out: &mut Vec<u8>) {
        if self.cells.is_empty() {
            out.push(b'{');
        }
        for (label, cells) in self.encoder.labels.iter().zip(&self.cells) {
            out.extend_from_slice(label);
            cells.put(row, out);
        }
        out.push(b'}');
    }
}

impl RowEncoder for ViewRowEncoder {
    fn encode(&mut self, batch: &RecordBatch) -> Result<Vec<Bytes>, EncodeError> {
        let rows = self.rows(batch.columns()).map_err(|e| EncodeError::Arrow {
            format: "view",
            source: arrow::error::ArrowError::ExternalError(Box::new(e)),
        })?;
        let mut buffer = Vec::new();
        let mut ends = Vec::with_capacity(batch.num_rows());
        for row in 0..batch.num_rows() {
            rows.put(row, &mut buffer);
            ends.push(buffer.len());
        }
        let buffer = Bytes::from(buffer);
        let mut start = 0;
        Ok(ends
            .into_iter()
            .map(|end| {
                let message = buffer.slice(start..end);
                start = end;
                message
            })
            .collect())
    }
}
