//! The catalog's log as a topic: statements are appended under their ids, and every node
//! folds the same records in the same order.

use super::state::{Change, EVENT_VERSION, Event};
use crate::error::{SqlError, SqlState};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::Duration;
use thalweg_log::client::{
    AutoOffsetReset, Client, ClientError, Consumer, ConsumerConfig, NewTopic, Producer,
    ProducerConfig, ProducerRecord, TopicPartition,
};

/// The topic.
pub const CATALOG_TOPIC: &str = "__thalweg_catalog";

/// Appends to the catalog's log.
pub(crate) struct CatalogWriter {
    producer: Producer,
}

/// Reads the catalog's log from its beginning.
pub(crate) struct CatalogReader {
    consumer: Consumer,
    partition: TopicPartition,
}

/// Makes the topic if it is not there, and opens both ends.
pub(crate) async fn open(client: &Client) -> Result<(CatalogWriter, CatalogReader), SqlError> {
    let topic = NewTopic::new(CATALOG_TOPIC)
        .partitions(1)
        .config("cleanup.policy", "delete")
        .config("retention.ms", "-1")
        .config("retention.bytes", "-1");
    crate::engine::topics::create(client, topic)
        .await
        .map_err(|error| log_error("create the catalog's topic", &error))?;
    let producer = client
        .producer(ProducerConfig {
            linger_ms: Duration::ZERO,
            ..ProducerConfig::default()
        })
        .map_err(|error| log_error("write the catalog", &error))?;
    let mut consumer = client
        .consumer(ConsumerConfig {
            enable_auto_commit: false,
            auto_offset_reset: AutoOffsetReset::Earliest,
            ..ConsumerConfig::default()
        })
        .map_err(|error| log_error("read the catalog", &error))?;
    let partition = TopicPartition::new(CATALOG_TOPIC, 0);
    consumer
        .assign(vec![partition.clone()])
        .map_err(|error| log_error("read the catalog", &error))?;
    consumer
        .seek(&partition, 0)
        .map_err(|error| log_error("read the catalog", &error))?;
    Ok((
        CatalogWriter { producer },
        CatalogReader {
            consumer,
            partition,
        },
    ))
}

impl CatalogWriter {
    /// Appends a statement; gives back its offset.
    pub(crate) async fn append(&self, id: &str, change: Change) -> Result<i64, SqlError> {
        let event = Event {
            version: EVENT_VERSION,
            id: id.to_owned(),
            issued_at: chrono::Utc::now().timestamp_millis(),
            change,
        };
        let value = serde_json::to_vec(&event).map_err(SqlError::internal)?;
        let record = ProducerRecord::new(CATALOG_TOPIC)
            .partition(0)
            .key(Bytes::copy_from_slice(id.as_bytes()))
            .value(Bytes::from(value));
        let written = async { self.producer.send(record).await?.await }
            .await
            .map_err(|error| log_error("write the catalog", &error))?;
        Ok(written.offset)
    }

    pub(crate) async fn close(&self) {
        // Every append has been waited for, so that nothing is left to fail here.
        let _ = self.producer.close().await;
    }
}

/// Statements with their offsets, and the position behind them.
pub(crate) struct Read {
    pub(crate) events: Vec<(i64, Event)>,
    pub(crate) position: i64,
}

impl CatalogReader {
    /// The position behind the last statement there is now.
    pub(crate) async fn end(&self) -> Result<i64, SqlError> {
        let ends: BTreeMap<TopicPartition, i64> = self
            .consumer
            .end_offsets(std::slice::from_ref(&self.partition))
            .await
            .map_err(|error| log_error("read the catalog", &error))?;
        Ok(ends.get(&self.partition).copied().unwrap_or(0))
    }

    /// The next statements; none if there are none for a while.
    pub(crate) async fn next(&mut self) -> Result<Read, SqlError> {
        let fetched = self
            .consumer
            .poll_records(Duration::from_secs(5))
            .await
            .map_err(|error| log_error("read the catalog", &error))?;
        let mut events = Vec::new();
        for records in fetched {
            for record in &records {
                let record = record.map_err(|error| log_error("read the catalog", &error))?;
                let Some(value) = record.value else { continue };
                let event: Event = serde_json::from_slice(&value).map_err(|error| {
                    SqlError::new(
                        SqlState::Internal,
                        format!(
                            "the catalog's record at offset {} of {CATALOG_TOPIC} cannot be read: {error}",
                            record.offset
                        ),
                    )
                    .hint("it was written by a newer version, or is damaged")
                })?;
                if event.version > EVENT_VERSION {
                    return Err(SqlError::new(
                        SqlState::Internal,
                        format!(
                            "the catalog holds statements of version {}, and this program reads up to {EVENT_VERSION}",
                            event.version
                        ),
                    )
                    .hint("run the newer version again"));
                }
                events.push((record.offset, event));
            }
        }
        let position = self
            .consumer
            .position(&self.partition)
            .await
            .map_err(|error| log_error("read the catalog", &error))?;
        Ok(Read { events, position })
    }
}

/// What the log said when we tried to do something.
pub(crate) fn log_error(what: &str, error: &ClientError) -> SqlError {
    SqlError::new(SqlState::Io, format!("cannot {what}: {error}"))
}
