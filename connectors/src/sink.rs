//! The sink side of the connector trait.
//!
//! A sink is told where each partition stands together with the records, and says at the
//! next start where it itself stands: one that keeps its position with what it wrote (the
//! file sink) has every record once, one that cannot (standard output) at least once.

use async_trait::async_trait;
use bytes::Bytes;
use thalweg_log::client::TopicPartition;

use crate::ConnectorError;

/// A record on its way into a sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkRecord {
    /// Where it stands in the topic.
    pub partition: TopicPartition,
    /// Its offset.
    pub offset: i64,
    /// Milliseconds since the epoch.
    pub timestamp: i64,
    /// The key.
    pub key: Option<Bytes>,
    /// The value; `None` deletes the key.
    pub value: Option<Bytes>,
}

/// Something that is not a topic and can be written from one.
#[async_trait]
pub trait SinkConnector: Send {
    /// Opens the sink and says, for the partitions it knows, the next offset it wants.
    /// Partitions it does not name go on from the offset the log remembers.
    ///
    /// # Errors
    /// The sink cannot be reached or written.
    async fn open(&mut self) -> Result<Vec<(TopicPartition, i64)>, ConnectorError>;

    /// Takes records, in order within each partition.
    ///
    /// # Errors
    /// The sink cannot be written.
    async fn put(&mut self, records: &[SinkRecord]) -> Result<(), ConnectorError>;

    /// Makes all that was put durable, with the position.
    ///
    /// # Errors
    /// The sink cannot be written.
    async fn flush(&mut self) -> Result<(), ConnectorError>;
}
