//! Running a sink: a consumer of the group `connect-<name>` hands records over, flushes the
//! sink, and only then commits to the log.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use thalweg_log::client::{
    AutoOffsetReset, Client, Consumer, ConsumerConfig, IsolationLevel, OffsetAndMetadata,
    TopicPartition,
};
use tokio::sync::watch;

use super::handle::told_to_stop;
use super::life::{Status, Work, enter, start};
use super::{ConnectorHandle, ConnectorState, id_of};
use crate::{ConnectorError, SinkConnector, SinkRecord};

/// How long records go on before the sink is flushed.
const COMMIT_INTERVAL: Duration = Duration::from_millis(500);
/// How long to wait for records.
const POLL: Duration = Duration::from_millis(200);

/// A sink and the topic it is filled from.
pub struct SinkTask {
    /// Unique among the connectors of a cluster; names its group.
    pub name: String,
    /// The topic.
    pub topic: String,
    /// The sink.
    pub connector: Box<dyn SinkConnector>,
}

/// Starts a sink on the current tokio runtime.
///
/// # Panics
/// Outside of a tokio runtime.
pub fn run_sink(client: Client, task: SinkTask) -> ConnectorHandle {
    start(task.name.clone(), SinkRunner { client, task })
}

struct SinkRunner {
    client: Client,
    task: SinkTask,
}

impl Work for SinkRunner {
    /// Moves records until told to stop.
    async fn work(
        &mut self,
        status: &Status,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<ConnectorState, ConnectorError> {
        let mut consumer = self.open().await?;
        let mut next: BTreeMap<TopicPartition, i64> = BTreeMap::new();
        let mut flushed_at = Instant::now();
        loop {
            let fetched = tokio::select! {
                fetched = consumer.poll_records(POLL) => fetched?,
                () = told_to_stop(stop) => {
                    self.flush(&mut consumer, &mut next).await?;
                    consumer.close().await?;
                    return Ok(ConnectorState::Stopped);
                }
            };
            let mut records = Vec::new();
            for partition in fetched {
                let place = partition.topic_partition.clone();
                let end = partition.next_offset;
                for record in partition {
                    let record = record?;
                    records.push(SinkRecord {
                        partition: place.clone(),
                        offset: record.offset,
                        timestamp: record.timestamp,
                        key: record.key,
                        value: record.value,
                    });
                }
                next.insert(place, end);
            }
            if records.is_empty() {
                self.flush(&mut consumer, &mut next).await?;
                enter(status, ConnectorState::Idle);
                continue;
            }
            self.task.connector.put(&records).await?;
            status.send_modify(|status| {
                status.state = ConnectorState::Running;
                status.records += records.len() as u64;
            });
            if flushed_at.elapsed() >= COMMIT_INTERVAL {
                self.flush(&mut consumer, &mut next).await?;
                flushed_at = Instant::now();
            }
        }
    }
}

impl SinkRunner {
    /// Opens the sink, and a consumer of all partitions where the sink wants to go on.
    async fn open(&mut self) -> Result<Consumer, ConnectorError> {
        let wanted: BTreeMap<TopicPartition, i64> =
            self.task.connector.open().await?.into_iter().collect();
        let mut consumer = self.client.consumer(ConsumerConfig {
            group_id: Some(id_of(&self.task.name)),
            enable_auto_commit: false,
            auto_offset_reset: AutoOffsetReset::Earliest,
            isolation_level: IsolationLevel::ReadCommitted,
            ..ConsumerConfig::default()
        })?;
        let partitions = self.client.topic(&self.task.topic).await?.partitions.len();
        let all: Vec<TopicPartition> = (0..partitions)
            .map(|partition| TopicPartition::new(self.task.topic.as_str(), partition as i32))
            .collect();
        consumer.assign(all.clone())?;
        for partition in &all {
            if let Some(offset) = wanted.get(partition) {
                consumer.seek(partition, *offset)?;
            }
        }
        Ok(consumer)
    }

    /// Makes the sink durable, then tells the log.
    async fn flush(
        &mut self,
        consumer: &mut Consumer,
        next: &mut BTreeMap<TopicPartition, i64>,
    ) -> Result<(), ConnectorError> {
        if next.is_empty() {
            return Ok(());
        }
        self.task.connector.flush().await?;
        let offsets: BTreeMap<TopicPartition, OffsetAndMetadata> = std::mem::take(next)
            .into_iter()
            .map(|(partition, offset)| (partition, offset.into()))
            .collect();
        consumer.commit(offsets).await?;
        Ok(())
    }
}
