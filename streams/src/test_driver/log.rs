//! The log of the test driver: topics as lists of records.

use std::collections::{BTreeMap, VecDeque};
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

#[derive(Debug, Default)]
struct Partition {
    records: VecDeque<InputRecord>,
    /// The offset of the first record that is still here.
    start: i64,
    /// The offset of the next record that the test reads.
    read: i64,
}

impl Partition {
    fn end(&self) -> i64 {
        self.start + i64::try_from(self.records.len()).unwrap_or(0)
    }

    /// The records from `offset` on.
    fn from(&self, offset: i64) -> impl ExactSizeIterator<Item = &InputRecord> {
        let skip = usize::try_from(offset.saturating_sub(self.start)).unwrap_or(0);
        self.records.range(skip.min(self.records.len())..)
    }
}

#[derive(Debug)]
struct Topic {
    name: Arc<str>,
    partitions: Vec<Partition>,
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
            partitions: std::iter::repeat_with(Partition::default)
                .take(count)
                .collect(),
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
        let place = topic.partitions.get_mut(usize::try_from(partition).ok()?)?;
        place.records.push_back(InputRecord {
            topic: Arc::clone(&topic.name),
            partition,
            offset: place.end(),
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

    fn partition(&self, topic: &str, partition: i32) -> Option<&Partition> {
        let topic = self.topics.get(topic)?;
        topic.partitions.get(usize::try_from(partition).ok()?)
    }

    /// The offset behind the last record of a partition.
    pub(super) fn end(&self, topic: &str, partition: i32) -> i64 {
        self.partition(topic, partition).map_or(0, Partition::end)
    }

    /// Up to `limit` records of a partition from `offset` on.
    pub(super) fn from(
        &self,
        topic: &str,
        partition: i32,
        offset: i64,
        limit: usize,
    ) -> Vec<InputRecord> {
        let partition = self.partition(topic, partition);
        let records = partition.map(|partition| partition.from(offset).take(limit).cloned());
        records.map(Iterator::collect).unwrap_or_default()
    }

    /// Forgets the records of a partition below `offset`.
    pub(super) fn forget(&mut self, topic: &str, partition: i32, offset: i64) {
        let place = self
            .topics
            .get_mut(topic)
            .and_then(|topic| topic.partitions.get_mut(usize::try_from(partition).ok()?));
        if let Some(place) = place {
            while place.start < offset && place.records.pop_front().is_some() {
                place.start += 1;
            }
        }
    }

    /// What the test has not read of a topic yet.
    pub(super) fn read(&mut self, topic: &str) -> Vec<RawRecord> {
        let Some(topic) = self.topics.get_mut(topic) else {
            return Vec::new();
        };
        let mut unread = Vec::new();
        for partition in &mut topic.partitions {
            for record in partition.from(partition.read) {
                unread.push(RawRecord {
                    partition: record.partition,
                    key: record.key.clone(),
                    value: record.value.clone(),
                    headers: record.headers.clone(),
                    timestamp: record.timestamp,
                });
            }
            partition.read = partition.end();
        }
        unread
    }
}
