//! The ends of a plan: a view's store and topic, and sinks.
//!
//! Invariant of the view: under each stream key its store holds the newest row that has
//! come in, or nothing if that row has gone; the store's changelog is the view's topic.

use super::view::ViewRowEncoder;
use super::{OperatorError, nullable_schema};
use crate::plan::{ColumnSpec, MaterializeOp, RowFormat, SinkOp, SinkStyle};
use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use bytes::Bytes;
use std::sync::Arc;
use thalweg_schema::{CsvOptions, Format, RowEncoder};
use thalweg_state::StoreId;
use thalweg_streams::StreamsError;
use thalweg_streams::columnar::{
    Chunk, ColumnarNode, EncodedKeys, KeyCodec, KeyVersion, NodeName, Outputs, RowOp,
};
use thalweg_streams::task::{OutputRecord, TaskContext};

/// Keeps the rows of a view in its store.
pub struct Materialize {
    name: NodeName,
    op: MaterializeOp,
    store_name: String,
    store: StoreId,
    input: SchemaRef,
    key_codec: KeyCodec,
    encoder: ViewRowEncoder,
    keys: EncodedKeys,
    value: Vec<u8>,
}

/// The codec of the keys of a view with the key columns `key` of `columns`.
pub fn view_key_codec(columns: &[ColumnSpec], key: &[usize]) -> Result<KeyCodec, OperatorError> {
    let types = key
        .iter()
        .map(|k| {
            let column = columns.get(*k);
            let missing = OperatorError::NoColumn {
                column: *k,
                columns: columns.len(),
            };
            Ok(column.ok_or(missing)?.data_type.clone())
        })
        .collect::<Result<_, OperatorError>>()?;
    Ok(KeyCodec::new(KeyVersion::V1, types)?)
}

impl Materialize {
    /// The view of `op` over rows of `columns`, in the store named `store`.
    pub fn new(
        name: &str,
        op: MaterializeOp,
        columns: &[ColumnSpec],
        store: &str,
    ) -> Result<Self, StreamsError> {
        let name = NodeName::new(name);
        let input = nullable_schema(columns);
        Ok(Self {
            key_codec: view_key_codec(columns, &op.key).map_err(|e| name.error(e))?,
            encoder: ViewRowEncoder::new(&input).map_err(|e| name.error(e))?,
            name,
            op,
            store_name: store.to_owned(),
            store: StoreId(0),
            input,
            keys: EncodedKeys::default(),
            value: Vec::new(),
        })
    }

    fn apply(&mut self, chunk: &Chunk, cx: &mut TaskContext<'_>) -> Result<(), OperatorError> {
        let columns: Vec<ArrayRef> = self
            .op
            .key
            .iter()
            .map(|k| chunk.column(*k).cloned())
            .collect::<Result<_, _>>()?;
        self.key_codec
            .encode(&columns, chunk.num_rows(), &mut self.keys)?;
        let rows = self.encoder.rows(chunk.batch().columns())?;
        for row in 0..chunk.num_rows() {
            let key = self.keys.key(row);
            match chunk.op(row) {
                RowOp::Insert | RowOp::UpdateAfter => {
                    self.value.clear();
                    rows.put(row, &mut self.value);
                    cx.state().put(self.store, key, &self.value)?;
                }
                // The other half overwrites the row, unless its key has changed.
                RowOp::UpdateBefore if self.keys.key(row + 1) == key => {}
                RowOp::Delete | RowOp::UpdateBefore => cx.state().delete(self.store, key)?,
            }
        }
        Ok(())
    }
}

impl ColumnarNode for Materialize {
    fn inputs(&self) -> Vec<SchemaRef> {
        vec![self.input.clone()]
    }

    fn outputs(&self) -> Vec<SchemaRef> {
        Vec::new()
    }

    fn init(&mut self, cx: &mut TaskContext<'_>) -> Result<(), StreamsError> {
        self.store = cx.store(&self.store_name)?;
        Ok(())
    }

    fn process(
        &mut self,
        _port: usize,
        chunk: Chunk,
        cx: &mut TaskContext<'_>,
        _out: &mut Outputs,
    ) -> Result<(), StreamsError> {
        self.apply(&chunk, cx).map_err(|e| self.name.error(e))
    }
}

/// Encodes rows into a topic.
pub struct Sink {
    name: NodeName,
    op: SinkOp,
    sink: usize,
    input: SchemaRef,
    value_schema: SchemaRef,
    key: Option<Box<dyn RowEncoder>>,
    key_schema: SchemaRef,
    value: Box<dyn RowEncoder>,
}

/// The encoder of rows of `schema` in a plan's format.
fn encoder(format: &RowFormat, schema: &SchemaRef) -> Result<Box<dyn RowEncoder>, OperatorError> {
    let csv = |delimiter: char| -> Result<CsvOptions, OperatorError> {
        let delimiter = u8::try_from(delimiter)
            .map_err(|_| OperatorError::State("a CSV delimiter that is not one byte"))?;
        Ok(CsvOptions {
            delimiter,
            ..CsvOptions::default()
        })
    };
    let format = match format {
        RowFormat::View => return Ok(Box::new(ViewRowEncoder::new(schema)?)),
        // Rows of sinks are JSON as views have it: exact in every type.
        RowFormat::Json => return Ok(Box::new(ViewRowEncoder::new(schema)?)),
        RowFormat::Csv { delimiter, .. } => Format::Csv(csv(*delimiter)?),
    };
    format
        .encoder(schema)
        .map_err(|e| OperatorError::Arrow(arrow::error::ArrowError::ExternalError(Box::new(e))))
}

impl Sink {
    /// The sink `op` over rows of `columns`, writing to the sub-topology's sink number `sink`.
    pub fn new(
        name: &str,
        op: SinkOp,
        columns: &[ColumnSpec],
        sink: usize,
    ) -> Result<Self, StreamsError> {
        let name = NodeName::new(name);
        let input = nullable_schema(columns);
        let project = |of: &[usize]| -> Result<SchemaRef, StreamsError> {
            let projected: Schema = input.project(of).map_err(|e| name.error(e))?;
            Ok(Arc::new(projected))
        };
        let (key_schema, value_schema) = (project(&op.key)?, project(&op.value)?);
        let key = if op.key.is_empty() {
            None
        } else {
            Some(encoder(&op.format, &key_schema).map_err(|e| name.error(e))?)
        };
        if key.is_none() && op.style == SinkStyle::Upsert {
            return Err(name.error("a sink that changes rows needs a key"));
        }
        let value = encoder(&op.format, &value_schema).map_err(|e| name.error(e))?;
        Ok(Self {
            name,
            op,
            sink,
            input,
            value_schema,
            key,
            key_schema,
            value,
        })
    }

    fn project(
        chunk: &Chunk,
        schema: &SchemaRef,
        columns: &[usize],
    ) -> Result<RecordBatch, OperatorError> {
        let columns = columns
            .iter()
            .map(|c| chunk.column(*c).cloned())
            .collect::<Result<_, _>>()?;
        Ok(RecordBatch::try_new(schema.clone(), columns)?)
    }

    fn apply(&mut self, chunk: &Chunk, cx: &mut TaskContext<'_>) -> Result<(), OperatorError> {
        if self.op.style == SinkStyle::Plain && chunk.ops().is_some() {
            return Err(OperatorError::UnexpectedRetraction);
        }
        let keys = match &mut self.key {
            Some(key) => key.encode(&Self::project(chunk, &self.key_schema, &self.op.key)?)?,
            None => Vec::new(),
        };
        let values =
            self.value
                .encode(&Self::project(chunk, &self.value_schema, &self.op.value)?)?;
        let times = self
            .op
            .timestamp
            .map(|c| millis(chunk.column(c)?))
            .transpose()?;
        let now = match cx.stream_time() {
            i64::MIN => cx.wall_clock(),
            time => time,
        };
        for (row, value) in values.into_iter().enumerate() {
            let key: Option<Bytes> = keys.get(row).cloned();
            let value = match chunk.op(row) {
                RowOp::Insert | RowOp::UpdateAfter => Some(value),
                RowOp::UpdateBefore if keys.get(row + 1) == key.as_ref() => continue,
                RowOp::Delete | RowOp::UpdateBefore => None,
            };
            let timestamp = times.as_ref().and_then(|t| t.get(row).copied().flatten());
            cx.send(
                self.sink,
                OutputRecord {
                    partition: None,
                    key,
                    value,
                    headers: Vec::new(),
                    timestamp: timestamp.unwrap_or(now),
                },
            );
        }
        Ok(())
    }
}

/// A timestamp column in milliseconds.
fn millis(column: &ArrayRef) -> Result<Vec<Option<i64>>, OperatorError> {
    use arrow::array::AsArray;
    use arrow::datatypes::{TimeUnit, TimestampMillisecondType};
    if !matches!(column.data_type(), DataType::Timestamp(_, _)) {
        return Err(OperatorError::ColumnType {
            column: 0,
            found: column.data_type().clone(),
            expected: "TIMESTAMP",
        });
    }
    let column = arrow::compute::cast(column, &DataType::Timestamp(TimeUnit::Millisecond, None))?;
    Ok(column
        .as_primitive::<TimestampMillisecondType>()
        .iter()
        .collect())
}

impl ColumnarNode for Sink {
    fn inputs(&self) -> Vec<SchemaRef> {
        vec![self.input.clone()]
    }

    fn outputs(&self) -> Vec<SchemaRef> {
        Vec::new()
    }

    fn process(
        &mut self,
        _port: usize,
        chunk: Chunk,
        cx: &mut TaskContext<'_>,
        _out: &mut Outputs,
    ) -> Result<(), StreamsError> {
        self.apply(&chunk, cx).map_err(|e| self.name.error(e))
    }
}
