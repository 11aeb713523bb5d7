//! Typed ends of a topology under test.

use std::fmt;

use super::{RawRecord, TopologyTestDriver};
use crate::StreamsError;
use crate::serdes::{Serde, SerdeError};

/// Writes typed records to a topic of a test.
pub struct TestInputTopic<K, V> {
    driver: TopologyTestDriver,
    topic: String,
    key: Box<dyn Serde<K>>,
    value: Box<dyn Serde<V>>,
}

impl<K, V> fmt::Debug for TestInputTopic<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestInputTopic")
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}

impl<K, V> TestInputTopic<K, V> {
    pub(super) fn new(
        driver: TopologyTestDriver,
        topic: String,
        key: Box<dyn Serde<K>>,
        value: Box<dyn Serde<V>>,
    ) -> Self {
        Self {
            driver,
            topic,
            key,
            value,
        }
    }

    /// Appends a record where its key belongs.
    pub fn pipe(&self, key: &K, value: &V, timestamp: i64) -> Result<(), StreamsError> {
        self.pipe_to(None, key, value, timestamp)
    }

    /// Appends a record to a partition.
    pub fn pipe_to(
        &self,
        partition: Option<i32>,
        key: &K,
        value: &V,
        timestamp: i64,
    ) -> Result<(), StreamsError> {
        let failed = |part: &'static str| {
            let topic = self.topic.clone();
            move |error: SerdeError| StreamsError::Serialize {
                part,
                topic,
                cause: error.into(),
            }
        };
        let record = RawRecord {
            key: self.key.to_bytes(key).map_err(failed("key"))?,
            value: self.value.to_bytes(value).map_err(failed("value"))?,
            timestamp,
            ..RawRecord::default()
        };
        self.driver.pipe_raw(&self.topic, partition, record)
    }

    /// Appends the tombstone of a key.
    pub fn pipe_tombstone(&self, key: &K, timestamp: i64) -> Result<(), StreamsError> {
        let key = self
            .key
            .to_bytes(key)
            .map_err(|error| StreamsError::Serialize {
                part: "key",
                topic: self.topic.clone(),
                cause: error.into(),
            })?;
        let record = RawRecord {
            key,
            timestamp,
            ..RawRecord::default()
        };
        self.driver.pipe_raw(&self.topic, None, record)
    }
}

/// A typed record of a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestRecord<K, V> {
    /// The key.
    pub key: K,
    /// The value.
    pub value: V,
    /// The timestamp in milliseconds.
    pub timestamp: i64,
    /// The partition it was written to.
    pub partition: i32,
}

/// Reads typed records from a topic of a test.
pub struct TestOutputTopic<K, V> {
    driver: TopologyTestDriver,
    topic: String,
    key: Box<dyn Serde<K>>,
    value: Box<dyn Serde<V>>,
}

impl<K, V> fmt::Debug for TestOutputTopic<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestOutputTopic")
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}

impl<K, V> TestOutputTopic<K, V> {
    pub(super) fn new(
        driver: TopologyTestDriver,
        topic: String,
        key: Box<dyn Serde<K>>,
        value: Box<dyn Serde<V>>,
    ) -> Self {
        Self {
            driver,
            topic,
            key,
            value,
        }
    }

    /// The records that have not been read yet: each partition's in order, one partition
    /// after the other.
    pub fn read(&self) -> Result<Vec<TestRecord<K, V>>, StreamsError> {
        let failed = |part: &'static str, partition: i32| {
            let topic = self.topic.clone();
            move |error: SerdeError| StreamsError::Deserialize {
                part,
                topic,
                partition,
                offset: -1,
                cause: error.into(),
            }
        };
        let typed = |record: RawRecord| {
            Ok(TestRecord {
                key: self
                    .key
                    .deserialize_nullable(record.key.as_ref())
                    .map_err(failed("key", record.partition))?,
                value: self
                    .value
                    .deserialize_nullable(record.value.as_ref())
                    .map_err(failed("value", record.partition))?,
                timestamp: record.timestamp,
                partition: record.partition,
            })
        };
        self.driver
            .read_raw(&self.topic)
            .into_iter()
            .map(typed)
            .collect()
    }

    /// Keys and values of the records that have not been read yet.
    pub fn read_key_values(&self) -> Result<Vec<(K, V)>, StreamsError> {
        let records = self.read()?;
        Ok(records.into_iter().map(|r| (r.key, r.value)).collect())
    }
}
