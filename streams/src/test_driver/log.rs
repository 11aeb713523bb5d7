//! The log of the test driver: topics as lists of records.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::task::{Header, InputRecord, partition_for_key};

/// A record as bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RawRecord {
    /// The partition it lies in; ignored when it is piped in.
    pub partition: i32,
    /// The key.
    pub key: Option<Bytes>,
    /// The value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Headers, in order.
    pub headers: Vec<Header>,
    /// The timestamp in milliseconds.
    pub timestamp: i64,
}

#[derive(Debug)]
struct Topic {
    name: Arc<str>,
    partitions: Vec<Vec<InputRecord>>,
    /// For each partition, how much the test has read.
    read: Vec<usize>,
    /// Where the next record without a key goes.
    next: i32,
}

/// All topics of a test.
#[derive(Debug, Default)]
pub(super) struct Log {
    topics: BTreeMap<String, Topic>,
}

impl Log {
    pub(super) fn create(&mut self, name: &str, partitions: i32) {
        let count = usize::try_from(partitions.max(1)).unwrap_or(1);
        self.topics.entry(name.to_owned()).or_insert_with(|| Topic {
            name: name.into(),
            partitions: vec![Vec::new(); count],
            read: vec![0; count],
            next: 0,
        });
    }

    /// Appends a record and returns its partition, or `None` if the topic does not have
    /// the one asked for.
    pub(super) fn append(
        &mut self,
        topic: &str,
        partition: Option<i32>,
        record: RawRecord,
    ) -> Option<i32> {
        let topic = self.topics.get_mut(topic)?;
        let count = i32::try_from(topic.partitions.len()).ok()?;
        let partition = match (partition, &record.key) {
            (Some(partition), _) => partition,
            (None, Some(key)) => partition_for_key(key, count),
            (None, None) => {
                let next = topic.next;
                topic.next = (next + 1) % count.max(1);
                next
            }
        };
        let records = topic.partitions.get_mut(usize::try_from(partition).ok()?)?;
        let offset = i64::try_from(records.len()).unwrap_or(i64::MAX);
        records.push(InputRecord {
            topic: Arc::clone(&topic.name),
            partition,
            offset,
            timestamp: record.timestamp,
            key: record.key,
            value: record.value,
            headers: record.headers,
        });
        Some(partition)
    }

    pub(super) fn partitions(&self, topic: &str) -> Option<i32> {
        i32::try_from(self.topics.get(topic)?.partitions.len()).ok()
    }

    /// The records of a partition from `offset` on.
    pub(super) fn from(&self, topic: &str, partition: i32, offset: i64) -> &[InputRecord] {
        let records = self.topics.get(topic).and_then(|topic| {
            topic
                .partitions
                .get(usize::try_from(partition).ok()?)?
                .get(usize::try_from(offset).ok()?..)
        });
        records.unwrap_or_default()
    }

    /// What the test has not read of a topic yet.
    pub(super) fn read(&mut self, topic: &str) -> Vec<RawRecord> {
        let Some(topic) = self.topics.get_mut(topic) else {
            return Vec::new();
        };
        let mut unread = Vec::new();
        for (records, read) in topic.partitions.iter().zip(&mut topic.read) {
            for record in records.iter().skip(*read) {
                unread.push(RawRecord {
                    partition: record.partition,
                    key: record.key.clone(),
                    value: record.value.clone(),
                    headers: record.headers.clone(),
                    timestamp: record.timestamp,
                });
            }
            *read = records.len();
        }
        unread
    }
}
