//! Pull queries: relations as DataFusion reads them.
//!
//! A source is its whole topic, from its start to the end that it has when the query
//! begins, all partitions at a time. A view is what its job has committed. Of an upsert
//! source, and of a view whose job does not run here, the newest record of each key
//! counts.

use super::{Inner, formats, topics};
use crate::catalog::{Body, Relation, log_error};
use crate::error::{SqlError, SqlState};
use crate::plan::{ColumnSpec, OnBadRecord, RowFormat, arrow_schema};
use crate::planner::RelationReader;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use bytes::Bytes;
use datafusion::common::Result as DfResult;
use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use thalweg_log::client::{
    AutoOffsetReset, Client, ConsumerConfig, IsolationLevel, TopicPartition,
};
use thalweg_schema::RowDecoder;
use thalweg_state::KeyRange;
use thalweg_streams::runtime::ReadOnlyStore;
use tokio::sync::mpsc::Sender;

/// Rows decoded at a time.
const BATCH_ROWS: usize = 8192;

/// Reads the relations of an engine.
pub(super) struct Reader {
    inner: Arc<Inner>,
}

impl Reader {
    pub(super) fn new(inner: Arc<Inner>) -> Self {
        Self { inner }
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reader")
    }
}

/// Which rows, and how they are read.
#[derive(Debug, Clone)]
struct Rows {
    format: RowFormat,
    columns: Vec<ColumnSpec>,
    projection: Vec<usize>,
    schema: SchemaRef,
    on_error: OnBadRecord,
}

impl Rows {
    fn decoder(&self) -> Result<Box<dyn RowDecoder>, SqlError> {
        formats::decoder(&self.format, &self.columns, &self.projection)
    }

    /// The batch with the columns that were asked for; a decoder may know better than a
    /// declaration which of them have nulls.
    fn batch(&self, decoded: &RecordBatch) -> DfResult<RecordBatch> {
        let options =
            arrow::array::RecordBatchOptions::new().with_row_count(Some(decoded.num_rows()));
        Ok(RecordBatch::try_new_with_options(
            Arc::clone(&self.schema),
            decoded.columns().to_vec(),
            &options,
        )?)
    }
}

#[async_trait]
impl RelationReader for Reader {
    async fn scan(
        &self,
        relation: &Arc<Relation>,
        projection: Option<&Vec<usize>>,
        limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let (format, on_error, newest) = match &relation.body {
            Body::Source(source) => (source.format.clone(), source.on_error, source.is_upsert()),
            Body::View(_) => (RowFormat::View, OnBadRecord::Fail, true),
            Body::Sink(_) => {
                return Err(external(
                    SqlError::new(
                        SqlState::WrongObjectType,
                        format!("`{}` is a sink, which nothing can read", relation.name),
                    )
                    .hint("create a source over its topic"),
                ));
            }
        };
        let projection = match projection {
            Some(projection) => projection.clone(),
            None => (0..relation.visible_columns().len()).collect(),
        };
        let columns = relation.columns().to_vec();
        let wanted: Vec<ColumnSpec> = projection
            .iter()
            .filter_map(|index| columns.get(*index).cloned())
            .collect();
        let rows = Rows {
            schema: arrow_schema(&wanted),
            format,
            columns,
            projection,
            on_error,
        };
        let partitions = match self.inner.jobs.view_store(relation) {
            Some(store) => store_partitions(&store, &rows),
            None => self
                .topic_partitions(relation, &rows, newest)
                .await
                .map_err(external)?,
        };
        Ok(Arc::new(StreamingTableExec::try_new(
            Arc::clone(&rows.schema),
            partitions,
            None,
            [],
            false,
            limit,
        )?))
    }
}

impl Reader {
    async fn topic_partitions(
        &self,
        relation: &Relation,
        rows: &Rows,
        newest: bool,
    ) -> Result<Vec<Arc<dyn PartitionStream>>, SqlError> {
        let topic = [relation.topic()];
        let starts = topics::starts(&self.inner.client, &topic).await?;
        let ends = topics::ends(&self.inner.client, &topic).await?;
        Ok(ends
            .into_iter()
            .map(|(partition, end)| {
                let start = starts.get(&partition).copied().unwrap_or(0);
                let stream: Arc<dyn PartitionStream> = Arc::new(TopicPartitionStream {
                    client: self.inner.client.clone(),
                    partition,
                    start,
                    end,
                    rows: rows.clone(),
                    newest,
                });
                stream
            })
            .collect())
    }
}

fn external(error: SqlError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

fn store_partitions(store: &ReadOnlyStore, rows: &Rows) -> Vec<Arc<dyn PartitionStream>> {
    store
        .tasks()
        .filter_map(|task| {
            let reader = store.task(task)?.clone();
            let stream: Arc<dyn PartitionStream> = Arc::new(StoreStream {
                reader,
                rows: rows.clone(),
            });
            Some(stream)
        })
        .collect()
}

/// One task's part of a view.
struct StoreStream {
    reader: thalweg_state::CommittedReader,
    rows: Rows,
}

impl std::fmt::Debug for StoreStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("view")
    }
}

impl PartitionStream for StoreStream {
    fn schema(&self) -> &SchemaRef {
        &self.rows.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut builder = RecordBatchReceiverStream::builder(Arc::clone(&self.rows.schema), 2);
        let sender = builder.tx();
        let reader = self.reader.clone();
        let rows = self.rows.clone();
        builder.spawn_blocking(move || {
            let mut decoder = rows.decoder().map_err(external)?;
            let mut values: Vec<Bytes> = Vec::new();
            let scan = reader
                .scan(KeyRange::all())
                .map_err(|error| external(SqlError::internal(error)))?;
            for entry in scan {
                let (_, value) = entry.map_err(|error| external(SqlError::internal(error)))?;
                values.push(value);
                if values.len() >= BATCH_ROWS {
                    let batch = decode(decoder.as_mut(), &rows, &values, |_| "the view".into())?;
                    values.clear();
                    if sender.blocking_send(Ok(batch)).is_err() {
                        return Ok(());
                    }
                }
            }
            if !values.is_empty() {
                let batch = decode(decoder.as_mut(), &rows, &values, |_| "the view".into())?;
                // Nobody reads any more: then it need not be read.
                let _ = sender.blocking_send(Ok(batch));
            }
            Ok(())
        });
        builder.build()
    }
}

fn decode(
    decoder: &mut dyn RowDecoder,
    rows: &Rows,
    values: &[Bytes],
    place: impl Fn(usize) -> String,
) -> DfResult<RecordBatch> {
    let messages: Vec<&[u8]> = values.iter().map(AsRef::as_ref).collect();
    let decoded = decoder.decode(&messages);
    if rows.on_error == OnBadRecord::Fail
        && let Some(bad) = decoded.errors.first()
    {
        return Err(external(
            SqlError::new(
                SqlState::DataException,
                format!("{} cannot be read: {}", place(bad.message), bad.error),
            )
            .hint("create the source WITH (on_error = 'skip') to leave such records out"),
        ));
    }
    rows.batch(&decoded.batch)
}

/// One partition of a topic, up to an end.
struct TopicPartitionStream {
    client: Client,
    partition: TopicPartition,
    start: i64,
    end: i64,
    rows: Rows,
    /// Only the newest record of each key counts.
    newest: bool,
}

impl std::fmt::Debug for TopicPartitionStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}..{}", self.partition, self.start, self.end)
    }
}

impl PartitionStream for TopicPartitionStream {
    fn schema(&self) -> &SchemaRef {
        &self.rows.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut builder = RecordBatchReceiverStream::builder(Arc::clone(&self.rows.schema), 2);
        let scan = TopicScan {
            client: self.client.clone(),
            partition: self.partition.clone(),
            start: self.start,
            end: self.end,
            rows: self.rows.clone(),
            newest: self.newest,
            sender: builder.tx(),
        };
        builder.spawn(scan.run());
        builder.build()
    }
}

struct TopicScan {
    client: Client,
    partition: TopicPartition,
    start: i64,
    end: i64,
    rows: Rows,
    newest: bool,
    sender: Sender<DfResult<RecordBatch>>,
}

impl TopicScan {
    async fn run(self) -> DfResult<()> {
        if self.start >= self.end {
            return Ok(());
        }
        let during = format!("read {}", self.partition);
        let failed = |error: thalweg_log::client::ClientError| external(log_error(&during, &error));
        let mut decoder = self.rows.decoder().map_err(external)?;
        let mut consumer = self
            .client
            .consumer(ConsumerConfig {
                enable_auto_commit: false,
                auto_offset_reset: AutoOffsetReset::Earliest,
                isolation_level: IsolationLevel::ReadCommitted,
                ..ConsumerConfig::default()
            })
            .map_err(failed)?;
        consumer
            .assign(vec![self.partition.clone()])
            .map_err(failed)?;
        consumer.seek(&self.partition, self.start).map_err(failed)?;

        let mut newest: HashMap<Bytes, (i64, Bytes)> = HashMap::new();
        let mut values: Vec<Bytes> = Vec::new();
        let mut offsets: Vec<i64> = Vec::new();
        let mut position = self.start;
        while position < self.end {
            for records in consumer
                .poll_records(Duration::from_secs(1))
                .await
                .map_err(failed)?
            {
                position = records.next_offset;
                for record in &records {
                    let record = record.map_err(failed)?;
                    if record.offset >= self.end {
                        break;
                    }
                    match (self.newest, record.key, record.value) {
                        (true, Some(key), Some(value)) => {
                            newest.insert(key, (record.offset, value));
                        }
                        (true, Some(key), None) => {
                            newest.remove(&key);
                        }
                        (true, None, _) | (false, _, None) => {}
                        (false, _, Some(value)) => {
                            values.push(value);
                            offsets.push(record.offset);
                        }
                    }
                    if values.len() >= BATCH_ROWS
                        && !self
                            .send(decoder.as_mut(), &mut values, &mut offsets)
                            .await?
                    {
                        return Ok(());
                    }
                }
            }
        }
        let mut rest: Vec<(i64, Bytes)> = newest.into_values().collect();
        rest.sort_unstable_by_key(|(offset, _)| *offset);
        for (offset, value) in rest {
            values.push(value);
            offsets.push(offset);
            if values.len() >= BATCH_ROWS
                && !self
                    .send(decoder.as_mut(), &mut values, &mut offsets)
                    .await?
            {
                return Ok(());
            }
        }
        if !values.is_empty() {
            self.send(decoder.as_mut(), &mut values, &mut offsets)
                .await?;
        }
        Ok(())
    }

    /// Gives back whether anybody still reads.
    async fn send(
        &self,
        decoder: &mut dyn RowDecoder,
        values: &mut Vec<Bytes>,
        offsets: &mut Vec<i64>,
    ) -> DfResult<bool> {
        let batch = decode(decoder, &self.rows, values, |message| {
            format!(
                "the record of {} at offset {}",
                self.partition,
                offsets.get(message).copied().unwrap_or(-1)
            )
        })?;
        values.clear();
        offsets.clear();
        Ok(self.sender.send(Ok(batch)).await.is_ok())
    }
}
