//! Sources that decode records into rows.
//!
//! [`RowSource`] reads a topic whose records are rows of their own; [`TableSource`] reads
//! one in which a later record replaces an earlier one of its key, and puts out what
//! changes. Invariants: every record taken from a run is in the chunk, or counted and
//! logged with its place, or fails the task with its place; the watermark that a source
//! observes is the greatest event time it has put out less the delay, and only raised
//! behind the rows it follows from.

use super::{Chunk, ColumnarSource, Outputs, RowOp};
use crate::StreamsError;
use crate::task::{InputRecord, Progress, Run, TaskContext};
use arrow::array::{
    ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch, TimestampMillisecondArray, UInt32Array,
};
use arrow::compute;
use arrow::datatypes::{
    DataType, Field, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use thalweg_schema::{DecodeError, RowDecoder};
use thalweg_state::StoreId;

/// A run is cut into chunks of about this many rows.
pub const CHUNK_ROWS: usize = 8192;
/// A chunk also ends behind this many bytes of messages.
const CHUNK_BYTES: usize = 8 << 20;

/// What a record carries beside its value, as a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metadata {
    /// The partition, `_partition INT`.
    Partition,
    /// The offset, `_offset BIGINT`.
    Offset,
    /// The record's timestamp, `_timestamp TIMESTAMP`.
    Timestamp,
}

impl Metadata {
    fn field(self) -> Field {
        match self {
            Self::Partition => Field::new("_partition", DataType::Int32, false),
            Self::Offset => Field::new("_offset", DataType::Int64, false),
            Self::Timestamp => Field::new(
                "_timestamp",
                DataType::Timestamp(TimeUnit::Millisecond, None),
                false,
            ),
        }
    }

    fn column(self, partition: i32, offsets: &[i64], timestamps: &[i64]) -> ArrayRef {
        match self {
            Self::Partition => Arc::new(Int32Array::from_value(partition, offsets.len())),
            Self::Offset => Arc::new(Int64Array::from(offsets.to_vec())),
            Self::Timestamp => Arc::new(TimestampMillisecondArray::from(timestamps.to_vec())),
        }
    }
}

/// Where a source finds event time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventTime {
    /// A timestamp column of the decoder.
    pub column: usize,
    /// How far rows may be out of order, in milliseconds.
    pub delay_ms: i64,
}

/// What happens to a record that cannot be decoded.
#[derive(Debug, Clone, Default)]
pub enum OnMalformed {
    /// The task fails, with topic, partition and offset.
    #[default]
    Fail,
    /// The record is left out, logged, and counted here and among the task's skipped
    /// records.
    Skip(Arc<AtomicU64>),
}

/// What the two row sources have in common.
pub struct RowSourceConfig {
    /// The index in the sub-topology's list of sources.
    pub source: usize,
    /// Bytes to columns, its projection pushed into it.
    pub decoder: Box<dyn RowDecoder>,
    /// The decoder's columns that are put out, in order: the event time may be needed here
    /// and nowhere else.
    pub output: Vec<usize>,
    /// The event time, if rows have one.
    pub event_time: Option<EventTime>,
    /// What to do with a record that cannot be decoded.
    pub on_malformed: OnMalformed,
}

impl std::fmt::Debug for RowSourceConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowSourceConfig")
            .field("source", &self.source)
            .field("event_time", &self.event_time)
            .field("on_malformed", &self.on_malformed)
            .finish_non_exhaustive()
    }
}

impl RowSourceConfig {
    /// Checks columns and gives the output's, `metadata` behind them.
    fn schema(&self, metadata: &[Metadata]) -> Result<SchemaRef, StreamsError> {
        let decoded = self.decoder.schema();
        let mut fields = Vec::new();
        for index in &self.output {
            let field = decoded.fields().get(*index).ok_or_else(|| {
                StreamsError::Topology(format!(
                    "a source puts out column {index} of {}",
                    decoded.fields().len()
                ))
            })?;
            fields.push(field.as_ref().clone());
        }
        fields.extend(metadata.iter().map(|m| m.field()));
        if let Some(time) = &self.event_time {
            let field = decoded.fields().get(time.column);
            if !matches!(
                field.map(|f| f.data_type()),
                Some(DataType::Timestamp(_, _))
            ) {
                return Err(StreamsError::Topology(format!(
                    "the event time must be a TIMESTAMP column, not {}",
                    field.map_or("a column that there is not".to_owned(), |f| format!(
                        "`{}` of type {}",
                        f.name(),
                        f.data_type()
                    ))
                )));
            }
        }
        Ok(Arc::new(Schema::new(fields)))
    }

    /// Raises the watermark by the rows of `decoded`.
    fn observe(&self, decoded: &RecordBatch, cx: &mut TaskContext<'_>) {
        let Some(time) = &self.event_time else { return };
        if let Some(newest) = decoded.columns().get(time.column).and_then(max_millis) {
            cx.observe_event_time(self.source, newest.saturating_sub(time.delay_ms));
        }
    }

    /// The error of a record that cannot be decoded, or its count.
    fn malformed(
        &self,
        run: &Run<'_>,
        offset: i64,
        error: DecodeError,
        cx: &mut TaskContext<'_>,
    ) -> Result<(), StreamsError> {
        match &self.on_malformed {
            OnMalformed::Fail => Err(StreamsError::Deserialize {
                part: "value",
                topic: run.topic().to_owned(),
                partition: run.partition(),
                offset,
                cause: error.into(),
            }),
            OnMalformed::Skip(count) => {
                count.fetch_add(1, Ordering::Relaxed);
                cx.skipped_record(1);
                tracing::warn!(
                    topic = run.topic(),
                    partition = run.partition(),
                    offset,
                    %error,
                    "skipped a record that cannot be decoded"
                );
                Ok(())
            }
        }
    }

    fn project(&self, decoded: &RecordBatch) -> Vec<ArrayRef> {
        self.output
            .iter()
            .filter_map(|i| decoded.columns().get(*i).cloned())
            .collect()
    }
}

/// The greatest value of a timestamp column in milliseconds, rounded down.
pub fn max_millis(column: &ArrayRef) -> Option<i64> {
    match column.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => {
            compute::max(column.as_primitive::<TimestampSecondType>())
                .map(|t| t.saturating_mul(1000))
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            compute::max(column.as_primitive::<TimestampMillisecondType>())
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            compute::max(column.as_primitive::<TimestampMicrosecondType>())
                .map(|t| t.div_euclid(1000))
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            compute::max(column.as_primitive::<TimestampNanosecondType>())
                .map(|t| t.div_euclid(1_000_000))
        }
        _ => None,
    }
}

/// Reads a topic whose records are rows of their own. Records without a value are no rows
/// and are passed over.
pub struct RowSource {
    config: RowSourceConfig,
    metadata: Vec<Metadata>,
    schema: SchemaRef,
    values: Vec<Bytes>,
    offsets: Vec<i64>,
    timestamps: Vec<i64>,
}

impl RowSource {
    /// A source that puts out the columns of `config`, then `metadata`.
    pub fn new(config: RowSourceConfig, metadata: Vec<Metadata>) -> Result<Self, StreamsError> {
        let schema = config.schema(&metadata)?;
        Ok(Self {
            config,
            metadata,
            schema,
            values: Vec::new(),
            offsets: Vec::new(),
            timestamps: Vec::new(),
        })
    }
}

impl ColumnarSource for RowSource {
    fn output(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn run(
        &mut self,
        run: &mut Run<'_>,
        cx: &mut TaskContext<'_>,
        out: &mut Outputs,
    ) -> Result<Progress, StreamsError> {
        self.values.clear();
        self.offsets.clear();
        self.timestamps.clear();
        let mut bytes = 0;
        let mut progress = Progress::More;
        while self.values.len() < CHUNK_ROWS && bytes < CHUNK_BYTES {
            let Some(record) = run.next(cx) else {
                progress = Progress::Done;
                break;
            };
            if let Some(value) = record.value {
                bytes += value.len();
                self.values.push(value);
                self.offsets.push(record.offset);
                self.timestamps.push(record.timestamp);
            }
        }
        if self.values.is_empty() {
            return Ok(progress);
        }
        let messages: Vec<&[u8]> = self.values.iter().map(|v| v.as_ref()).collect();
        let decoded = self.config.decoder.decode(&messages);
        if !decoded.errors.is_empty() {
            let rows: Vec<usize> = decoded.row_messages(messages.len()).collect();
            for error in decoded.errors {
                let offset = self.offsets.get(error.message).copied().unwrap_or(-1);
                self.config.malformed(run, offset, error.error, cx)?;
            }
            let keep = |all: &[i64]| rows.iter().filter_map(|m| all.get(*m).copied()).collect();
            self.offsets = keep(&self.offsets);
            self.timestamps = keep(&self.timestamps);
        }
        let mut columns = self.config.project(&decoded.batch);
        let place = |m: &Metadata| m.column(run.partition(), &self.offsets, &self.timestamps);
        columns.extend(self.metadata.iter().map(place));
        out.push(batch(&self.schema, columns, decoded.batch.num_rows())?.into());
        self.config.observe(&decoded.batch, cx);
        Ok(progress)
    }
}

fn batch(
    schema: &SchemaRef,
    columns: Vec<ArrayRef>,
    rows: usize,
) -> Result<RecordBatch, StreamsError> {
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options)
        .map_err(|e| StreamsError::node("source", e))
}

/// Reads a topic in which a later record replaces an earlier one of its key and a record
/// without a value deletes it. Keeps the newest raw value of each key in a store that
/// the topic itself backs, and puts out what a record changes.
pub struct TableSource {
    config: RowSourceConfig,
    schema: SchemaRef,
    store_name: String,
    store: Option<StoreId>,
}

impl TableSource {
    /// A source whose newest records are kept in the store `store`.
    pub fn new(config: RowSourceConfig, store: &str) -> Result<Self, StreamsError> {
        let schema = config.schema(&[])?;
        Ok(Self {
            config,
            schema,
            store_name: store.to_owned(),
            store: None,
        })
    }
}

/// The values of a run, old and new, and what they mean for the relation.
#[derive(Default)]
struct Changes {
    messages: Vec<Bytes>,
    offsets: Vec<i64>,
    /// For each record that changes something: the message of the row before and after.
    changes: Vec<(Option<usize>, Option<usize>)>,
    bytes: usize,
    /// Values seen in this run, so that a value that stays is decoded once.
    newest: HashMap<Bytes, usize>,
}

impl Changes {
    fn push(&mut self, value: Bytes, offset: i64) -> usize {
        self.bytes += value.len();
        self.messages.push(value);
        self.offsets.push(offset);
        self.messages.len() - 1
    }
}

impl ColumnarSource for TableSource {
    fn output(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn init(&mut self, cx: &mut TaskContext<'_>) -> Result<(), StreamsError> {
        self.store = Some(cx.store(&self.store_name)?);
        Ok(())
    }

    fn run(
        &mut self,
        run: &mut Run<'_>,
        cx: &mut TaskContext<'_>,
        out: &mut Outputs,
    ) -> Result<Progress, StreamsError> {
        let store = match self.store {
            Some(store) => store,
            None => cx.store(&self.store_name)?,
        };
        let mut all = Changes::default();
        let mut progress = Progress::More;
        while all.messages.len() < CHUNK_ROWS && all.bytes < CHUNK_BYTES {
            let Some(record) = run.next(cx) else {
                progress = Progress::Done;
                break;
            };
            self.take(record, store, run, cx, &mut all)?;
        }
        if all.messages.is_empty() {
            return Ok(progress);
        }
        let messages: Vec<&[u8]> = all.messages.iter().map(|v| v.as_ref()).collect();
        let decoded = self.config.decoder.decode(&messages);
        // Where each message is in the batch, if it could be decoded.
        let mut row_of: Vec<Option<u32>> = vec![None; messages.len()];
        for (row, message) in (0u32..).zip(decoded.row_messages(messages.len())) {
            if let Some(slot) = row_of.get_mut(message) {
                *slot = Some(row);
            }
        }
        for error in decoded.errors {
            let offset = all.offsets.get(error.message).copied().unwrap_or(-1);
            // A bad record that is already in the store was reported when it came.
            if offset >= 0 {
                self.config.malformed(run, offset, error.error, cx)?;
            }
        }
        let row = |message: Option<usize>| message.and_then(|m| row_of.get(m).copied().flatten());
        let mut rows = Vec::new();
        let mut ops = Vec::new();
        for (before, after) in &all.changes {
            // A record that cannot be decoded stands for no row, here and after a restart.
            match (row(*before), row(*after)) {
                (Some(before), Some(after)) => {
                    rows.extend([before, after]);
                    ops.extend([RowOp::UpdateBefore, RowOp::UpdateAfter]);
                }
                (Some(before), None) => {
                    rows.push(before);
                    ops.push(RowOp::Delete);
                }
                (None, Some(after)) => {
                    rows.push(after);
                    ops.push(RowOp::Insert);
                }
                (None, None) => {}
            }
        }
        let columns = self.config.project(&decoded.batch);
        let columns = batch(&self.schema, columns, decoded.batch.num_rows())?;
        let columns = compute::take_record_batch(&columns, &UInt32Array::from(rows))
            .map_err(|e| StreamsError::node("source", e))?;
        out.push(Chunk::with_ops(columns, ops)?);
        self.config.observe(&decoded.batch, cx);
        Ok(progress)
    }
}

impl TableSource {
    fn take(
        &self,
        record: InputRecord,
        store: StoreId,
        run: &Run<'_>,
        cx: &mut TaskContext<'_>,
        all: &mut Changes,
    ) -> Result<(), StreamsError> {
        let Some(key) = record.key else {
            let error = DecodeError::Shape {
                what: "a record of a table must have a key; this one has none".to_owned(),
            };
            return self.config.malformed(run, record.offset, error, cx);
        };
        let before = cx.state().get(store, &key)?;
        if before == record.value {
            return Ok(());
        }
        let before = match (all.newest.get(&key), before) {
            (Some(message), Some(_)) => Some(*message),
            (_, Some(value)) => Some(all.push(value, -1)),
            (_, None) => None,
        };
        let after = match record.value {
            Some(value) => {
                cx.state().put(store, &key, &value)?;
                let message = all.push(value, record.offset);
                all.newest.insert(key, message);
                Some(message)
            }
            None => {
                cx.state().delete(store, &key)?;
                all.newest.remove(&key);
                None
            }
        };
        all.changes.push((before, after));
        Ok(())
    }
}
