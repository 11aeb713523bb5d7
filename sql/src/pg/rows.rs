//! Rows of a query on their way to a client: batches as they come, encoded row by row
//! straight into what is sent, never more than one batch at a time.

use super::types::Formats;
use super::values::{self, EPOCH_DAYS, EPOCH_MICROS, Interval};
use crate::error::SqlError;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type,
    Int64Type, IntervalMonthDayNanoType, IntervalUnit, Schema, Time64MicrosecondType, TimeUnit,
    TimestampMicrosecondType,
};
use bytes::{BufMut, BytesMut};
use std::fmt::Write as _;
use std::sync::Arc;

/// Writes one value of a column.
type Write = Box<dyn Fn(usize, &mut BytesMut) + Send>;

struct Column {
    nulls: Option<NullBuffer>,
    write: Write,
}

/// A batch that is sent row by row.
pub(super) struct Rows {
    columns: Vec<Column>,
    next: usize,
    count: usize,
}

impl Rows {
    pub(super) fn new(batch: &RecordBatch, formats: &Formats) -> Result<Self, SqlError> {
        let columns = batch
            .columns()
            .iter()
            .enumerate()
            .map(|(index, array)| {
                Ok(Column {
                    // Also those of a column that has only nulls, or is a dictionary.
                    nulls: array.logical_nulls(),
                    write: writer(array, formats.is_binary(index))?,
                })
            })
            .collect::<Result<_, SqlError>>()?;
        Ok(Self {
            columns,
            next: 0,
            count: batch.num_rows(),
        })
    }

    /// Adds the next row; false if there is none.
    pub(super) fn write_next(&mut self, out: &mut BytesMut) -> bool {
        let row = self.next;
        if row >= self.count {
            return false;
        }
        self.next += 1;
        out.put_u8(b'D');
        with_length(out, true, |out| {
            out.put_i16(i16::try_from(self.columns.len()).unwrap_or(i16::MAX));
            for column in &self.columns {
                if column
                    .nulls
                    .as_ref()
                    .is_some_and(|nulls| nulls.is_null(row))
                {
                    out.put_i32(-1);
                } else {
                    with_length(out, false, |out| (column.write)(row, out));
                }
            }
        });
        true
    }
}

/// What is written, behind its length; a message counts its length too.
fn with_length(out: &mut BytesMut, message: bool, write: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_i32(0);
    write(out);
    let length = out.len() - start - if message { 0 } else { 4 };
    let length = i32::try_from(length).unwrap_or(i32::MAX);
    if let Some(place) = out.get_mut(start..start + 4) {
        place.copy_from_slice(&length.to_be_bytes());
    }
}

fn writer(array: &ArrayRef, binary: bool) -> Result<Write, SqlError> {
    let as_type = |data_type: &DataType| cast(array, data_type).map_err(SqlError::internal);
    Ok(match array.data_type() {
        DataType::Boolean => {
            let array = array.as_boolean().clone();
            if binary {
                Box::new(move |row, out| out.put_u8(u8::from(array.value(row))))
            } else {
                Box::new(move |row, out| out.put_u8(if array.value(row) { b't' } else { b'f' }))
            }
        }
        DataType::Int8 | DataType::UInt8 | DataType::Int16 => {
            let array = as_type(&DataType::Int16)?
                .as_primitive::<Int16Type>()
                .clone();
            if binary {
                Box::new(move |row, out| out.put_i16(array.value(row)))
            } else {
                display(move |row| array.value(row))
            }
        }
        DataType::Int32 | DataType::UInt16 => {
            let array = as_type(&DataType::Int32)?
                .as_primitive::<Int32Type>()
                .clone();
            if binary {
                Box::new(move |row, out| out.put_i32(array.value(row)))
            } else {
                display(move |row| array.value(row))
            }
        }
        DataType::Int64 | DataType::UInt32 => {
            let array = as_type(&DataType::Int64)?
                .as_primitive::<Int64Type>()
                .clone();
            if binary {
                Box::new(move |row, out| out.put_i64(array.value(row)))
            } else {
                display(move |row| array.value(row))
            }
        }
        DataType::Float16 | DataType::Float32 => {
            let array = as_type(&DataType::Float32)?
                .as_primitive::<Float32Type>()
                .clone();
            if binary {
                Box::new(move |row, out| out.put_f32(array.value(row)))
            } else {
                Box::new(move |row, out| values::float4(out, array.value(row)))
            }
        }
        DataType::Float64 => {
            let array = array.as_primitive::<Float64Type>().clone();
            if binary {
                Box::new(move |row, out| out.put_f64(array.value(row)))
            } else {
                Box::new(move |row, out| values::float8(out, array.value(row)))
            }
        }
        DataType::UInt64 => writer(&as_type(&DataType::Decimal128(20, 0))?, binary)?,
        DataType::Decimal128(_, scale) => {
            let scale = *scale;
            let array = array.as_primitive::<Decimal128Type>().clone();
            numeric(binary, move |row, out| {
                values::decimal(out, array.value(row), scale);
            })
        }
        DataType::Decimal256(..) => {
            let array = as_type(&DataType::Utf8)?.as_string::<i32>().clone();
            numeric(binary, move |row, out| {
                out.put_slice(array.value(row).as_bytes());
            })
        }
        DataType::Utf8 => {
            let array = array.as_string::<i32>().clone();
            Box::new(move |row, out| out.put_slice(array.value(row).as_bytes()))
        }
        DataType::Binary
        | DataType::LargeBinary
        | DataType::FixedSizeBinary(_)
        | DataType::BinaryView => {
            let array = as_type(&DataType::BinaryView)?.as_binary_view().clone();
            if binary {
                Box::new(move |row, out| out.put_slice(array.value(row)))
            } else {
                Box::new(move |row, out| values::bytea(out, array.value(row)))
            }
        }
        DataType::Date32 | DataType::Date64 => {
            let array = as_type(&DataType::Date32)?
                .as_primitive::<Date32Type>()
                .clone();
            if binary {
                Box::new(move |row, out| out.put_i32(array.value(row).saturating_sub(EPOCH_DAYS)))
            } else {
                Box::new(move |row, out| values::date(out, array.value(row)))
            }
        }
        DataType::Time32(_) | DataType::Time64(_) => {
            let array = as_type(&DataType::Time64(TimeUnit::Microsecond))?
                .as_primitive::<Time64MicrosecondType>()
                .clone();
            if binary {
                Box::new(move |row, out| out.put_i64(array.value(row)))
            } else {
                Box::new(move |row, out| values::time(out, array.value(row)))
            }
        }
        DataType::Timestamp(_, zone) => {
            let text = if zone.is_some() { "+00" } else { "" };
            let array = as_type(&DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))?
                .as_primitive::<TimestampMicrosecondType>()
                .clone();
            if binary {
                Box::new(move |row, out| {
                    out.put_i64(array.value(row).saturating_sub(EPOCH_MICROS));
                })
            } else {
                Box::new(move |row, out| values::timestamp(out, array.value(row), text))
            }
        }
        DataType::Interval(_) | DataType::Duration(_) => {
            let array = as_type(&DataType::Interval(IntervalUnit::MonthDayNano))?
                .as_primitive::<IntervalMonthDayNanoType>()
                .clone();
            Box::new(move |row, out| {
                let value = array.value(row);
                let interval = Interval {
                    months: value.months,
                    days: value.days,
                    micros: value.nanoseconds / 1000,
                };
                if binary {
                    interval.bytes(out);
                } else {
                    interval.text(out);
                }
            })
        }
        DataType::Dictionary(_, value) => writer(&as_type(value)?, binary)?,
        DataType::Null => Box::new(|_, _| {}),
        DataType::List(_)
        | DataType::LargeList(_)
        | DataType::FixedSizeList(..)
        | DataType::Struct(_)
        | DataType::Map(..) => {
            let lines = json(array)?;
            Box::new(move |row, out| {
                if let Some(line) = lines.get(row) {
                    out.put_slice(line.as_bytes());
                }
            })
        }
        _ => {
            let array = as_type(&DataType::Utf8)?.as_string::<i32>().clone();
            Box::new(move |row, out| out.put_slice(array.value(row).as_bytes()))
        }
    })
}

fn display<T: std::fmt::Display>(value: impl Fn(usize) -> T + Send + 'static) -> Write {
    Box::new(move |row, out| {
        // Writing to a buffer cannot fail.
        let _ = write!(out, "{}", value(row));
    })
}

fn numeric(binary: bool, text: impl Fn(usize, &mut BytesMut) + Send + 'static) -> Write {
    if !binary {
        return Box::new(text);
    }
    Box::new(move |row, out| {
        let mut written = BytesMut::new();
        text(row, &mut written);
        values::numeric_bytes(out, &String::from_utf8_lossy(&written));
    })
}

/// Nested values as JSON, one for each row.
fn json(array: &ArrayRef) -> Result<Vec<String>, SqlError> {
    const NAME: &str = "v";
    let schema = Arc::new(Schema::new(vec![arrow::datatypes::Field::new(
        NAME,
        array.data_type().clone(),
        true,
    )]));
    let batch =
        RecordBatch::try_new(schema, vec![Arc::clone(array)]).map_err(SqlError::internal)?;
    let mut writer = arrow::json::WriterBuilder::new()
        .with_explicit_nulls(true)
        .build::<_, arrow::json::writer::LineDelimited>(Vec::new());
    writer.write(&batch).map_err(SqlError::internal)?;
    writer.finish().map_err(SqlError::internal)?;
    let text = String::from_utf8(writer.into_inner()).map_err(SqlError::internal)?;
    Ok(text
        .lines()
        .map(|line| {
            let value = line.strip_prefix("{\"v\":").unwrap_or(line);
            value.strip_suffix('}').unwrap_or(value).to_owned()
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int32Array, Int64Array, ListArray, StringArray, UInt64Array};
    use bytes::Buf;

    fn values(array: ArrayRef, binary: bool) -> Vec<Option<Vec<u8>>> {
        let batch = RecordBatch::try_from_iter([("c", array)]).expect("a batch");
        let mut rows = Rows::new(&batch, &Formats::All(binary)).expect("rows");
        let mut out = BytesMut::new();
        let mut found = Vec::new();
        while rows.write_next(&mut out) {
            assert_eq!(out.get_u8(), b'D');
            assert_eq!(
                usize::try_from(out.get_i32()).expect("a length"),
                out.len() + 4
            );
            assert_eq!(out.get_i16(), 1);
            let length = out.get_i32();
            found.push(
                usize::try_from(length)
                    .ok()
                    .map(|n| out.split_to(n).to_vec()),
            );
            assert!(out.is_empty());
        }
        found
    }

    #[test]
    fn a_null_has_no_value() {
        let array: ArrayRef = Arc::new(Int64Array::from(vec![Some(-7), None]));
        assert_eq!(
            values(Arc::clone(&array), false),
            [Some(b"-7".to_vec()), None]
        );
        assert_eq!(
            values(array, true),
            [Some((-7i64).to_be_bytes().to_vec()), None]
        );
    }

    #[test]
    fn nested_values_are_json() {
        let lists = ListArray::from_iter_primitive::<Int32Type, _, _>([
            Some(vec![Some(1), None]),
            None,
            Some(vec![]),
        ]);
        assert_eq!(
            values(Arc::new(lists), false),
            [Some(b"[1,null]".to_vec()), None, Some(b"[]".to_vec())]
        );
        let point = arrow::array::StructArray::from(vec![
            (
                Arc::new(arrow::datatypes::Field::new("x", DataType::Int32, true)),
                Arc::new(Int32Array::from(vec![1])) as ArrayRef,
            ),
            (
                Arc::new(arrow::datatypes::Field::new("s", DataType::Utf8, true)),
                Arc::new(StringArray::from(vec!["a\"}\nb"])) as ArrayRef,
            ),
        ]);
        assert_eq!(
            values(Arc::new(point), false),
            [Some(br#"{"x":1,"s":"a\"}\nb"}"#.to_vec())]
        );
    }

    #[test]
    fn the_largest_unsigned_number_is_numeric() {
        let array: ArrayRef = Arc::new(UInt64Array::from(vec![u64::MAX]));
        assert_eq!(
            crate::pg::types::pg_type(array.data_type()),
            pgwire::api::Type::NUMERIC
        );
        assert_eq!(
            values(array, false),
            [Some(b"18446744073709551615".to_vec())]
        );
    }
}
