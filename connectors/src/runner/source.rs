//! Running a source: every record in the topic once and in order.
//!
//! Records and the position behind them are committed in one transaction. A crash between any
//! two steps leaves a transaction that the next start aborts, and the source goes on at the
//! last position that was committed; who reads with `read_committed` sees each record once.
//! The transactional id is the connector's, so that a second run of it shuts the first out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use thalweg_log::client::{
    Client, ClientError, Producer, ProducerConfig, ProducerRecord, partition_for_key,
};
use tokio::sync::watch;

use super::handle::told_to_stop;
use super::life::{Status, Work, enter, start};
use super::{ConnectorHandle, ConnectorState, id_of, positions};
use crate::{ConnectorError, Position, SourceConnector, SourcePoll, SourceRecord};

/// How long records go on before they are committed, and so become visible.
const COMMIT_INTERVAL: Duration = Duration::from_millis(100);
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
        let producer = self.client.producer(ProducerConfig {
            linger_ms: Duration::from_millis(2),
            batch_size: 256 * 1024,
            transactional_id: Some(id_of(&self.name)),
            ..ProducerConfig::default()
        })?;
        // First: what an earlier run has left open is aborted before its position counts.
        producer.init_transactions().await?;
        let position = positions::read(&self.client, &self.name).await?;
        self.connector.open(position.as_ref()).await?;
        let partitions = self.client.topic(&self.topic).await?.partitions.len();
        let mut open = Open::default();
        let mut committed_at = Instant::now();
        loop {
            let polled = tokio::select! {
                polled = self.connector.poll() => polled,
                () = told_to_stop(stop) => {
                    self.commit(&producer, &mut open, status).await?;
                    return Ok(ConnectorState::Stopped);
                }
            };
            let polled = match polled {
                Ok(polled) => polled,
                Err(error) => {
                    // What came before the fault is kept; the fault is what is told.
                    self.commit(&producer, &mut open, status).await?;
                    return Err(error);
                }
            };
            match polled {
                SourcePoll::Records {
                    records,
                    position,
                    skipped,
                } => {
                    if open.position.is_none() {
                        producer.begin_transaction()?;
                    }
                    open.records += self.write(&producer, records, partitions).await?;
                    open.skipped += skipped;
                    open.position = Some(position);
                    if committed_at.elapsed() >= COMMIT_INTERVAL {
                        self.commit(&producer, &mut open, status).await?;
                        committed_at = Instant::now();
                    }
                }
                SourcePoll::Idle => {
                    self.commit(&producer, &mut open, status).await?;
                    committed_at = Instant::now();
                    enter(status, ConnectorState::Idle);
                    tokio::select! {
                        () = tokio::time::sleep(IDLE_WAIT) => {}
                        () = told_to_stop(stop) => {}
                    }
                }
                SourcePoll::End => {
                    self.commit(&producer, &mut open, status).await?;
                    producer.close().await?;
                    return Ok(ConnectorState::Finished);
                }
            }
        }
    }
}

/// What the open transaction holds; there is one while there is a position.
#[derive(Default)]
struct Open {
    /// The position behind its records.
    position: Option<Position>,
    records: u64,
    skipped: u64,
}

impl SourceRunner {
    /// Ends the open transaction with the position behind its records, and counts them.
    async fn commit(
        &mut self,
        producer: &Producer,
        open: &mut Open,
        status: &Status,
    ) -> Result<(), ConnectorError> {
        let Open {
            position: Some(position),
            records,
            skipped,
        } = std::mem::take(open)
        else {
            return Ok(());
        };
        let record = positions::record(&self.name, &position)?;
        drop(producer.send(record).await?);
        producer.commit_transaction().await?;
        let progress = self.connector.progress();
        status.send_modify(|status| {
            status.state = ConnectorState::Running;
            status.records += records;
            status.skipped += skipped;
            status.set_progress(progress);
        });
        Ok(())
    }

    /// Writes the records and says how many they were.
    async fn write(
        &mut self,
        producer: &Producer,
        records: Vec<SourceRecord>,
        partitions: usize,
    ) -> Result<u64, ClientError> {
        let mut count = 0;
        for record in records {
            let mut out = ProducerRecord::new(self.topic.clone())
                .partition(partition_of(&record, partitions));
            out.key = record.key;
            out.value = record.value;
            out.timestamp = record.timestamp;
            // The result comes with the commit.
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
