//! Where sources keep how far they are: the compacted topic `connect-offsets`, a record a
//! source, with its name as the key, as Kafka Connect has it.
//!
//! A group's offsets would expire while nobody reads, and a source that comes back after
//! that would give everything again; a compacted topic forgets nothing.

use std::time::Duration;

use bytes::Bytes;
use thalweg_log::client::{
    AutoOffsetReset, Client, ClientError, ConsumerConfig, IsolationLevel, NewTopic, OffsetSpec,
    ProducerConfig, ProducerRecord, TopicPartition,
};
use thalweg_log::wire::ErrorCode;

use crate::{ConnectorError, Position};

/// The topic of all sources' positions.
pub const POSITIONS_TOPIC: &str = "connect-offsets";

/// The last committed position of the source `name`. Makes the topic if there is none.
pub(super) async fn read(client: &Client, name: &str) -> Result<Option<Position>, ConnectorError> {
    create_topic(client).await?;
    let place = TopicPartition::new(POSITIONS_TOPIC, 0);
    let end = end_of(client, &place).await?;
    let mut consumer = client.consumer(ConsumerConfig {
        enable_auto_commit: false,
        auto_offset_reset: AutoOffsetReset::Earliest,
        isolation_level: IsolationLevel::ReadCommitted,
        ..ConsumerConfig::default()
    })?;
    consumer.assign(vec![place.clone()])?;
    consumer.seek_to_beginning(std::slice::from_ref(&place))?;
    let mut newest: Option<Bytes> = None;
    while consumer.position(&place).await? < end {
        for fetched in consumer.poll_records(Duration::from_secs(1)).await? {
            for record in fetched {
                let record = record?;
                if record.key.as_deref() == Some(name.as_bytes()) {
                    newest = record.value;
                }
            }
        }
    }
    consumer.close().await?;
    let Some(newest) = newest else {
        return Ok(None);
    };
    serde_json::from_slice(&newest)
        .map(Some)
        .map_err(|error| ConnectorError::Task {
            name: name.to_owned(),
            what: format!("its position in `{POSITIONS_TOPIC}` cannot be read: {error}"),
        })
}

/// The record that says where the source `name` is.
pub(super) fn record(name: &str, position: &Position) -> Result<ProducerRecord, ConnectorError> {
    let value = serde_json::to_vec(position).map_err(|error| ConnectorError::Task {
        name: name.to_owned(),
        what: format!("its position cannot be written: {error}"),
    })?;
    Ok(ProducerRecord::new(POSITIONS_TOPIC)
        .partition(0)
        .key(name.to_owned())
        .value(value))
}

/// Forgets how far the source `name` is: under that name it would begin again. For a source
/// that is gone for good and does not run.
///
/// # Errors
/// The topic of the positions cannot be written.
pub async fn forget_source(client: &Client, name: &str) -> Result<(), ConnectorError> {
    create_topic(client).await?;
    let producer = client.producer(ProducerConfig::default())?;
    let gone = ProducerRecord::new(POSITIONS_TOPIC)
        .partition(0)
        .key(name.to_owned());
    drop(producer.send(gone).await?);
    producer.close().await?;
    Ok(())
}

/// The end, open transactions included: the marker of one that has been committed may still
/// be on its way, and the read waits for it.
async fn end_of(client: &Client, place: &TopicPartition) -> Result<i64, ClientError> {
    let wanted = [(place.clone(), OffsetSpec::Latest)].into();
    let ends = client
        .admin()
        .list_offsets(wanted, IsolationLevel::ReadUncommitted)
        .await?;
    Ok(ends
        .get(place)
        .copied()
        .flatten()
        .map_or(0, |end| end.offset))
}

async fn create_topic(client: &Client) -> Result<(), ClientError> {
    let topic = NewTopic::new(POSITIONS_TOPIC)
        .partitions(1)
        .config("cleanup.policy", "compact")
        // A start reads it whole: small segments are compacted soon.
        .config("segment.bytes", (4 << 20).to_string());
    match client.admin().create_topic(topic).await {
        Ok(_) => Ok(()),
        Err(error) if error.code() == Some(ErrorCode::TopicAlreadyExists) => Ok(()),
        Err(error) => Err(error),
    }
}
