//! Running a source: every record in the topic once and in order.
//!
//! Each record carries its number in the source as the header [`SEQUENCE_HEADER`], and the
//! position behind everything the log has acknowledged is committed, under the group
//! `connect-<name>`, as the metadata of an offset. After a crash the source is opened at
//! that position; what it then gives again is passed over where the partition's newest
//! record has a number as high. That needs one thing: a record goes to the same partition
//! each time, so the partition is a function of its key, or of its number where it has none.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use thalweg_log::client::{
    Client, ClientError, ConsumerConfig, OffsetAndMetadata, Producer, ProducerConfig,
    ProducerRecord, TopicPartition, partition_for_key,
};
use tokio::sync::watch;

use super::handle::told_to_stop;
use super::life::{Status, Work, enter, start};
use super::{ConnectorHandle, ConnectorState, group_of};
use crate::{ConnectorError, Position, SourceConnector, SourcePoll, SourceRecord};

/// The header with the record's number in its source, eight bytes, big-endian.
pub const SEQUENCE_HEADER: &str = "thalweg.source.sequence";

/// How long records go on before their position is committed.
const COMMIT_INTERVAL: Duration = Duration::from_millis(500);
/// How long to wait when the source has nothing.
const IDLE_WAIT: Duration = Duration::from_millis(100);
/// Records without a key go to one partition in stretches of this many.
const STRETCH: u64 = 1000;

/// A source and the topic it fills.
pub struct SourceTask {
    /// Unique among the connectors of a cluster; names its positions.
    pub name: String,
    /// The topic, which must exist.
    pub topic: String,
    /// The source.
    pub connector: Box<dyn SourceConnector>,
}

/// Starts a source on the current tokio runtime.
///
/// # Panics
/// Outside of a tokio runtime.
pub fn run_source(client: Client, task: SourceTask) -> ConnectorHandle {
    let runner = SourceRunner {
        client,
        topic: task.topic.into(),
        name: task.name.clone(),
        connector: task.connector,
    };
    start(task.name, runner)
}

/// Its helpers take `&mut self` because a connector need not be `Sync`.
struct SourceRunner {
    client: Client,
    name: String,
    topic: Arc<str>,
    connector: Box<dyn SourceConnector>,
}

impl Work for SourceRunner {
    /// From finding the position to the end, a stop or a failure.
    async fn work(
        &mut self,
        status: &Status,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<ConnectorState, ConnectorError> {
        let group = group_of(&self.name);
        let place = TopicPartition::new(self.topic.clone(), 0);
        let position = self.committed(&group, &place).await?;
        self.connector.open(position.as_ref()).await?;
        let written = self.last_written().await?;
        let producer = self.client.producer(ProducerConfig {
            linger_ms: Duration::from_millis(2),
            batch_size: 256 * 1024,
            ..ProducerConfig::default()
        })?;
        let mut open: Option<Position> = None;
        let mut committed_at = Instant::now();
        loop {
            let polled = tokio::select! {
                polled = self.connector.poll() => polled,
                () = told_to_stop(stop) => {
                    self.commit(&producer, &group, &place, &mut open).await?;
                    return Ok(ConnectorState::Stopped);
                }
            };
            let polled = match polled {
                Ok(polled) => polled,
                Err(error) => {
                    // What came before the fault is kept; the fault is what is told.
                    self.commit(&producer, &group, &place, &mut open).await?;
                    return Err(error);
                }
            };
            match polled {
                SourcePoll::Records {
                    records,
                    position,
                    skipped,
                } => {
                    let count = self.write(&producer, records, &written).await?;
                    open = Some(position);
                    let progress = self.connector.progress();
                    status.send_modify(|status| {
                        status.state = ConnectorState::Running;
                        status.records += count;
                        status.skipped += skipped;
                        status.set_progress(progress);
                    });
                    if committed_at.elapsed() >= COMMIT_INTERVAL {
                        self.commit(&producer, &group, &place, &mut open).await?;
                        committed_at = Instant::now();
                    }
                }
                SourcePoll::Idle => {
                    self.commit(&producer, &group, &place, &mut open).await?;
                    committed_at = Instant::now();
                    enter(status, ConnectorState::Idle);
                    tokio::select! {
                        () = tokio::time::sleep(IDLE_WAIT) => {}
                        () = told_to_stop(stop) => {}
                    }
                }
                SourcePoll::End => {
                    self.commit(&producer, &group, &place, &mut open).await?;
                    producer.close().await?;
                    return Ok(ConnectorState::Finished);
                }
            }
        }
    }
}

impl SourceRunner {
    async fn committed(
        &mut self,
        group: &str,
        place: &TopicPartition,
    ) -> Result<Option<Position>, ConnectorError> {
        let offsets = self
            .client
            .admin()
            .group_offsets(group, Some(std::slice::from_ref(place)))
            .await?;
        let Some(committed) = offsets.get(place).filter(|o| !o.metadata.is_empty()) else {
            return Ok(None);
        };
        serde_json::from_str(&committed.metadata)
            .map(Some)
            .map_err(|error| ConnectorError::Task {
                name: self.name.clone(),
                what: format!("its committed position cannot be read: {error}"),
            })
    }

    /// Waits until everything written is acknowledged, then commits the position behind it.
    async fn commit(
        &mut self,
        producer: &Producer,
        group: &str,
        place: &TopicPartition,
        open: &mut Option<Position>,
    ) -> Result<(), ConnectorError> {
        let Some(position) = open.take() else {
            return Ok(());
        };
        producer.flush().await?;
        let metadata = serde_json::to_string(&position).map_err(|error| ConnectorError::Task {
            name: self.name.clone(),
            what: format!("its position cannot be written: {error}"),
        })?;
        let offset = OffsetAndMetadata {
            offset: i64::try_from(position.sequence).unwrap_or(i64::MAX),
            leader_epoch: None,
            metadata,
        };
        let offsets = BTreeMap::from([(place.clone(), offset)]);
        self.client
            .admin()
            .alter_group_offsets(group, &offsets)
            .await?;
        Ok(())
    }

    /// For each partition the number of its newest record, 0 where it has none.
    async fn last_written(&mut self) -> Result<Vec<u64>, ConnectorError> {
        let partitions = self.client.topic(&self.topic).await?.partitions.len();
        let mut written = vec![0; partitions];
        let mut consumer = self.client.consumer(ConsumerConfig::default())?;
        let all: Vec<TopicPartition> = (0..partitions)
            .map(|partition| TopicPartition::new(self.topic.clone(), partition as i32))
            .collect();
        let begins = consumer.beginning_offsets(&all).await?;
        let ends = consumer.end_offsets(&all).await?;
        let mut left: BTreeMap<TopicPartition, i64> = ends
            .into_iter()
            .filter(|(partition, end)| begins.get(partition).is_some_and(|begin| begin < end))
            .collect();
        consumer.assign(left.keys().cloned().collect())?;
        for (partition, end) in &left {
            consumer.seek(partition, end - 1)?;
        }
        while !left.is_empty() {
            for fetched in consumer.poll_records(Duration::from_secs(1)).await? {
                let partition = fetched.topic_partition.clone();
                let next = fetched.next_offset;
                for record in fetched {
                    let record = record?;
                    let sequence = record
                        .headers
                        .iter()
                        .rev()
                        .find(|header| header.key.as_ref() == SEQUENCE_HEADER.as_bytes())
                        .and_then(|header| header.value.as_deref())
                        .and_then(|value| value.try_into().ok())
                        .map(u64::from_be_bytes);
                    if let (Some(sequence), Some(slot)) = (
                        sequence,
                        usize::try_from(partition.partition)
                            .ok()
                            .and_then(|at| written.get_mut(at)),
                    ) {
                        *slot = (*slot).max(sequence);
                    }
                }
                if left.get(&partition).is_some_and(|end| next >= *end) {
                    left.remove(&partition);
                    consumer.pause(std::slice::from_ref(&partition))?;
                }
            }
        }
        consumer.close().await?;
        Ok(written)
    }

    /// Writes the records that are not in the topic yet and says how many they were.
    async fn write(
        &mut self,
        producer: &Producer,
        records: Vec<SourceRecord>,
        written: &[u64],
    ) -> Result<u64, ClientError> {
        let mut count = 0;
        for record in records {
            let partition = partition_of(&record, written.len());
            let known = usize::try_from(partition)
                .ok()
                .and_then(|at| written.get(at))
                .is_some_and(|last| record.sequence <= *last);
            if known {
                continue;
            }
            let mut out = ProducerRecord::new(self.topic.clone())
                .partition(partition)
                .header(
                    SEQUENCE_HEADER,
                    Some(Bytes::copy_from_slice(&record.sequence.to_be_bytes())),
                );
            out.key = record.key;
            out.value = record.value;
            out.timestamp = record.timestamp;
            // The result comes with the flush ahead of the commit.
            drop(producer.send(out).await?);
            count += 1;
        }
        Ok(count)
    }
}

fn partition_of(record: &SourceRecord, partitions: usize) -> i32 {
    let partitions = i32::try_from(partitions).unwrap_or(i32::MAX).max(1);
    match &record.key {
        Some(key) => partition_for_key(key, partitions),
        None => {
            let stretch = record.sequence / STRETCH % u64::from(partitions.unsigned_abs());
            i32::try_from(stretch).unwrap_or(0)
        }
    }
}
