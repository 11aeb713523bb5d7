//! The events that the streaming benchmarks count: JSON of about 100 bytes, keyed, in
//! event-time order within each partition.

use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use thalweg_log::client::{
    Client, ConsumerConfig, NewTopic, ProducerConfig, RecordRef, TopicPartition,
};

use crate::Options;

/// How many keys there are.
pub const KEYS: u64 = 1000;
/// The length of a window.
pub const WINDOW_MS: i64 = 60_000;
/// Event time between two events.
const STEP_MS: i64 = 10;
/// 24 November 2019, midnight.
const START_MS: i64 = 1_574_553_600_000;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its key.
    pub key: String,
    /// When it happened.
    pub time_ms: i64,
}

/// The `at`-th event.
pub fn event(at: u64) -> Event {
    // A fixed shuffle of the keys, so that neighbours differ.
    let key = at.wrapping_mul(2_654_435_761) % KEYS;
    Event {
        key: format!("key-{key:04}"),
        time_ms: START_MS + at as i64 * STEP_MS,
    }
}

/// The event as JSON.
pub fn json(event: &Event) -> String {
    format!(
        r#"{{"k":"{}","at":"{}","v":{},"note":"an event of the benchmark"}}"#,
        event.key,
        chrono::DateTime::from_timestamp_millis(event.time_ms)
            .unwrap_or_default()
            .format("%Y-%m-%dT%H:%M:%S%.3f"),
        event.time_ms % 97
    )
}

/// Writes all events to a new topic, and gives the bytes written.
pub async fn write(client: &Client, topic: &str, options: &Options) -> Result<u64> {
    client
        .admin()
        .create_topic(NewTopic::new(topic).partitions(options.partitions))
        .await?;
    let producer = client.producer(ProducerConfig {
        batch_size: 256 * 1024,
        linger_ms: Duration::from_millis(5),
        ..ProducerConfig::default()
    })?;
    let queue = producer.topic(topic).await?;
    let mut bytes = 0;
    for at in 0..options.records {
        let event = event(at);
        let value = json(&event);
        bytes += value.len() as u64;
        let record = thalweg_log::client::ProducerRecord::new(queue.name().clone())
            .key(Bytes::from(event.key))
            .value(Bytes::from(value))
            .timestamp(event.time_ms);
        let record: RecordRef<'_> = record.as_ref();
        while producer.enqueue(&queue, record).is_err() {
            producer.room(1 << 20).await?;
        }
    }
    producer.flush().await?;
    producer.close().await?;
    Ok(bytes)
}

/// All values of the topic, in memory.
pub async fn read(client: &Client, topic: &str, options: &Options) -> Result<Vec<(i64, Bytes)>> {
    let mut consumer = client.consumer(ConsumerConfig::default())?;
    let places: Vec<TopicPartition> = (0..options.partitions)
        .map(|partition| TopicPartition::new(topic, partition))
        .collect();
    consumer.assign(places.clone())?;
    consumer.seek_to_beginning(&places)?;
    let mut values = Vec::with_capacity(options.records as usize);
    while (values.len() as u64) < options.records {
        for fetched in consumer.poll_records(Duration::from_secs(10)).await? {
            for record in fetched {
                let record = record?;
                values.push((record.timestamp, record.value.unwrap_or_default()));
            }
        }
    }
    consumer.close().await?;
    Ok(values)
}
