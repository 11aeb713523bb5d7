//! Fetched records, decoded as they are asked for.
//!
//! Invariant: an iterator shows every record of the partition from the position on which
//! it was fetched, in order, once: what a batch holds before that position, control
//! batches, and records of aborted transactions are left out.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use crate::client::{ClientError, TopicPartition};
use crate::record::{Header, RecordBatch, RecordError, Records, TimestampType};

/// A record with its place in the partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerRecord {
    /// Its offset.
    pub offset: i64,
    /// The epoch of the leader that wrote it; `None` if unknown.
    pub leader_epoch: Option<i32>,
    /// Its timestamp, in milliseconds since 1970.
    pub timestamp: i64,
    /// Who set the timestamp.
    pub timestamp_type: TimestampType,
    /// The key.
    pub key: Option<Bytes>,
    /// The value; `None` is a tombstone on a compacted topic.
    pub value: Option<Bytes>,
    /// The headers, in order, duplicates kept.
    pub headers: Vec<Header>,
}

/// What one `poll` brought of one partition.
#[derive(Debug, Clone)]
pub struct PartitionRecords {
    /// The partition.
    pub topic_partition: TopicPartition,
    /// The offset below which everything is replicated.
    pub high_watermark: i64,
    /// The offset below which no transaction is open; -1 if the broker does not tell.
    pub last_stable_offset: i64,
    /// The first offset that the log still has; -1 if the broker does not tell.
    pub log_start_offset: i64,
    /// The epoch of the leader that wrote the last batch; `None` if unknown.
    pub leader_epoch: Option<i32>,
    /// The position from which this was fetched.
    pub start_offset: i64,
    /// The position after it: what a commit of all of it commits. It may lie beyond the
    /// last record, where control batches or aborted records were left out.
    pub next_offset: i64,
    /// The batches that hold the records, their checksums verified. The first may begin
    /// before `start_offset`.
    pub batches: Vec<RecordBatch>,
}

impl PartitionRecords {
    /// The records, decoded one by one; ends after the first error.
    pub fn iter(&self) -> RecordIter {
        self.clone().into_iter()
    }

    /// Whether there is no record at all (positions may have moved nevertheless).
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// How many records the batches claim to hold, at most.
    pub fn count_hint(&self) -> usize {
        self.batches
            .iter()
            .map(|b| usize::try_from(b.records_count).unwrap_or(0))
            .sum()
    }

    /// How many bytes the batches have.
    pub fn bytes(&self) -> usize {
        self.batches.iter().map(|b| b.bytes().len()).sum()
    }
}

impl IntoIterator for PartitionRecords {
    type Item = Result<ConsumerRecord, ClientError>;
    type IntoIter = RecordIter;

    fn into_iter(self) -> RecordIter {
        RecordIter {
            topic_partition: self.topic_partition,
            batches: self.batches.into(),
            current: None,
            position: self.start_offset,
        }
    }
}

impl IntoIterator for &PartitionRecords {
    type Item = Result<ConsumerRecord, ClientError>;
    type IntoIter = RecordIter;

    fn into_iter(self) -> RecordIter {
        self.iter()
    }
}

/// A cursor over the records of [`PartitionRecords`]. It owns what it reads, so it can be
/// kept between polls and continued.
#[derive(Debug, Clone)]
pub struct RecordIter {
    topic_partition: TopicPartition,
    batches: VecDeque<RecordBatch>,
    current: Option<Current>,
    position: i64,
}

#[derive(Debug, Clone)]
struct Current {
    records: Records,
    leader_epoch: Option<i32>,
    timestamp_type: TimestampType,
    next_offset: i64,
}

impl RecordIter {
    /// The partition.
    pub fn topic_partition(&self) -> &TopicPartition {
        &self.topic_partition
    }

    /// The offset after the last record returned: what to commit when everything that was
    /// returned is done.
    pub fn position(&self) -> i64 {
        self.position
    }

    fn fail(&mut self, source: RecordError) -> ClientError {
        self.batches.clear();
        self.current = None;
        ClientError::Records {
            partition: self.topic_partition.clone(),
            offset: self.position,
            source: Arc::new(source),
        }
    }
}

impl Iterator for RecordIter {
    type Item = Result<ConsumerRecord, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(current) = &mut self.current {
                match current.records.next() {
                    Some(Ok(record)) => {
                        if record.offset < self.position {
                            continue;
                        }
                        self.position = record.offset + 1;
                        return Some(Ok(ConsumerRecord {
                            offset: record.offset,
                            leader_epoch: current.leader_epoch,
                            timestamp: record.timestamp,
                            timestamp_type: current.timestamp_type,
                            key: record.key,
                            value: record.value,
                            headers: record.headers,
                        }));
                    }
                    Some(Err(error)) => return Some(Err(self.fail(error))),
                    None => {
                        self.position = self.position.max(current.next_offset);
                        self.current = None;
                    }
                }
            }
            let batch = self.batches.pop_front()?;
            match batch.records() {
                Ok(records) => {
                    self.current = Some(Current {
                        records,
                        leader_epoch: Some(batch.partition_leader_epoch).filter(|e| *e >= 0),
                        timestamp_type: batch.timestamp_type(),
                        next_offset: batch.next_offset(),
                    });
                }
                Err(error) => return Some(Err(self.fail(error))),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{BatchBuilder, Compression};

    fn batch(base: i64, values: &[&str]) -> RecordBatch {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.base_offset(base).partition_leader_epoch(2);
        for value in values {
            builder
                .append(7, None, Some(value.as_bytes()), &[])
                .unwrap();
        }
        RecordBatch::new(builder.build().unwrap()).unwrap()
    }

    fn fetched(start_offset: i64, batches: Vec<RecordBatch>) -> PartitionRecords {
        PartitionRecords {
            topic_partition: TopicPartition::new("t", 0),
            high_watermark: 10,
            last_stable_offset: 10,
            log_start_offset: 0,
            leader_epoch: Some(2),
            start_offset,
            next_offset: batches.last().map_or(start_offset, |b| b.next_offset()),
            batches,
        }
    }

    #[test]
    fn starts_inside_a_batch() {
        let records = fetched(4, vec![batch(3, &["a", "b", "c"]), batch(6, &["d"])]);
        let mut iter = records.iter();
        assert_eq!(iter.position(), 4);
        let offsets: Vec<i64> = iter.by_ref().map(|r| r.unwrap().offset).collect();
        assert_eq!(offsets, [4, 5, 6]);
        assert_eq!(iter.position(), 7);
    }

    #[test]
    fn records_that_cannot_be_decoded_are_an_error_with_their_place_and_the_end() {
        let good = batch(0, &["a"]);
        let mut bytes = batch(1, &["b"]).bytes().to_vec();
        // The length of the record.
        bytes[61] = 0x7e;
        let bad = RecordBatch::new(Bytes::from(bytes)).unwrap();
        let mut iter = fetched(0, vec![good, bad, batch(2, &["c"])]).into_iter();
        assert_eq!(iter.next().unwrap().unwrap().offset, 0);
        let error = iter.next().unwrap().unwrap_err();
        assert!(error.to_string().contains("t-0 at offset 1"), "{error}");
        assert!(iter.next().is_none());
    }
}
