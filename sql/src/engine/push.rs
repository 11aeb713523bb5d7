//! Push queries: `SELECT … EMIT CHANGES` runs as a job of its own in memory, from the
//! beginning of its inputs, until the client goes. It joins no group, commits nothing
//! and makes no topics; state and exchanges live and die with it.

use super::session::{RowStream, planner};
use super::{Inner, topics};
use crate::catalog::log_error;
use crate::error::SqlError;
use crate::lower::{ChunkReceiver, LowerOptions, lower};
use crate::operators::nullable_schema;
use crate::parse::{Parsed, Select};
use crate::plan::{ColumnSpec, StreamPlan};
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use futures::StreamExt;
use std::sync::Arc;
use std::time::Duration;
use thalweg_log::client::{
    AutoOffsetReset, Client, ConsumerConfig, ConsumerRecord, IsolationLevel, TopicPartition,
};
use thalweg_streams::StreamsError;
use thalweg_streams::columnar::{Chunk, RowOp};
use thalweg_streams::test_driver::{RawRecord, TestDriverOptions, TopologyTestDriver};
use tokio::sync::mpsc;

/// What happened to the row.
const OP_COLUMN: &str = "op";

/// The columns of a push query: the operation, then those of the query.
pub(super) fn push_schema(plan: &StreamPlan) -> SchemaRef {
    let visible: Vec<ColumnSpec> = plan.columns.iter().take(plan.visible).cloned().collect();
    let mut fields = vec![Arc::new(Field::new(OP_COLUMN, DataType::Utf8, false))];
    fields.extend(nullable_schema(&visible).fields().iter().cloned());
    Arc::new(Schema::new(fields))
}

type Sent = Result<RecordBatch, SqlError>;

/// Starts the query.
pub(super) async fn push(
    inner: &Arc<Inner>,
    select: &Select,
    parsed: &Parsed,
) -> Result<RowStream, SqlError> {
    let plan = planner(inner).push(&select.query, parsed).await?;
    let schema = push_schema(&plan);
    let (sender, receiver) = mpsc::channel::<Sent>(16);
    let input_topics: Vec<String> = plan.input_topics().into_iter().map(str::to_owned).collect();
    let partitions = topics::starts(&inner.client, &input_topics).await?;
    let job = PushJob {
        plan,
        schema: Arc::clone(&schema),
        client: inner.client.clone(),
        partitions: partitions.into_iter().collect(),
        sender: sender.clone(),
    };
    let runtime = tokio::runtime::Handle::current();
    std::thread::Builder::new()
        .name("push-query".into())
        .spawn(move || {
            if let Err(error) = job.run(&runtime) {
                // Without a client there is nobody to tell.
                let _ = sender.blocking_send(Err(error));
            }
        })
        .map_err(SqlError::internal)?;
    Ok(RowStream {
        schema,
        batches: futures::stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|batch| (batch, receiver))
        })
        .boxed(),
        endless: true,
    })
}

struct PushJob {
    plan: StreamPlan,
    schema: SchemaRef,
    client: Client,
    partitions: Vec<(TopicPartition, i64)>,
    sender: mpsc::Sender<Sent>,
}

struct Receiver {
    schema: SchemaRef,
    sender: mpsc::Sender<Sent>,
}

impl ChunkReceiver for Receiver {
    fn receive(&self, chunk: Chunk) -> Result<(), StreamsError> {
        let batch =
            rows(&chunk, &self.schema).map_err(|error| StreamsError::node("push", error))?;
        // That the client has gone is seen by the loop that feeds the query.
        let _ = self.sender.blocking_send(Ok(batch));
        Ok(())
    }
}

/// The visible columns of a chunk, behind the operation of each row.
fn rows(chunk: &Chunk, schema: &SchemaRef) -> Result<RecordBatch, SqlError> {
    let ops: StringArray = (0..chunk.num_rows())
        .map(|row| {
            Some(match chunk.op(row) {
                RowOp::Insert => "insert",
                RowOp::Delete => "delete",
                RowOp::UpdateBefore => "update-before",
                RowOp::UpdateAfter => "update-after",
            })
        })
        .collect();
    let mut columns: Vec<ArrayRef> = vec![Arc::new(ops)];
    columns.extend(
        chunk
            .batch()
            .columns()
            .iter()
            .take(schema.fields().len() - 1)
            .cloned(),
    );
    RecordBatch::try_new(Arc::clone(schema), columns).map_err(SqlError::internal)
}

impl PushJob {
    fn run(self, runtime: &tokio::runtime::Handle) -> Result<(), SqlError> {
        let receiver = Receiver {
            schema: self.schema,
            sender: self.sender.clone(),
        };
        let options = LowerOptions {
            ephemeral: true,
            receiver: Some(Arc::new(receiver)),
            ..LowerOptions::default()
        };
        let topology = lower(&self.plan, &options).map_err(SqlError::internal)?;
        let mut driver_options = TestDriverOptions::new().application_id("push").ephemeral();
        let mut counts = std::collections::BTreeMap::new();
        for (partition, _) in &self.partitions {
            let count: &mut i32 = counts.entry(partition.topic.to_string()).or_insert(0);
            *count = (*count).max(partition.partition + 1);
        }
        for (topic, count) in counts {
            driver_options = driver_options.partitions(topic, count);
        }
        let driver = TopologyTestDriver::with_options(topology, driver_options)
            .map_err(SqlError::internal)?;
        driver.auto_commit(false);

        let failed = |error: thalweg_log::client::ClientError| {
            log_error("read the inputs of the query", &error)
        };
        let mut consumer = {
            let _entered = runtime.enter();
            self.client
                .consumer(ConsumerConfig {
                    enable_auto_commit: false,
                    auto_offset_reset: AutoOffsetReset::Earliest,
                    isolation_level: IsolationLevel::ReadCommitted,
                    ..ConsumerConfig::default()
                })
                .map_err(failed)?
        };
        consumer
            .assign(self.partitions.iter().map(|(p, _)| p.clone()).collect())
            .map_err(failed)?;
        for (partition, start) in &self.partitions {
            consumer.seek(partition, *start).map_err(failed)?;
        }
        while !self.sender.is_closed() {
            let fetched = runtime.block_on(async {
                tokio::select! {
                    fetched = consumer.poll_records(Duration::from_millis(500)) => fetched.map(Some),
                    () = self.sender.closed() => Ok(None),
                }
            });
            let Some(fetched) = fetched.map_err(failed)? else {
                break;
            };
            let mut any = false;
            for records in fetched {
                let partition = records.topic_partition.clone();
                for record in &records {
                    let record = record.map_err(failed)?;
                    any = true;
                    driver
                        .pipe_raw(&partition.topic, Some(partition.partition), raw(record))
                        .map_err(SqlError::internal)?;
                }
            }
            if any {
                driver.commit().map_err(SqlError::internal)?;
            }
        }
        Ok(())
    }
}

fn raw(record: ConsumerRecord) -> RawRecord {
    RawRecord {
        partition: 0,
        key: record.key,
        value: record.value,
        headers: record.headers,
        timestamp: record.timestamp,
    }
}
