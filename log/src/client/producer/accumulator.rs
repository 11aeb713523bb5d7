//! Records become batches here.
//!
//! Any thread appends; the one sender takes batches out. Invariants: records of a
//! partition leave in the order in which they were appended; the bytes of all records
//! that have no result yet never exceed `buffer.memory`; every batch that was taken in
//! gets a result.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use super::delivery::{BatchResult, Delivery, Pieces, Written};
use super::partitioner::{Sticky, partition_for_key};
use super::transaction::Transactions;
use super::{ProducerConfig, RecordRef};
use crate::client::{ClientError, TopicPartition};
use crate::record::{BATCH_HEADER_SIZE, BatchBuilder, Header, RecordError};

/// A batch that no more records go to, or that is about to be closed.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) builder: BatchBuilder,
    pub(super) result: Arc<BatchResult>,
    pub(super) id: u64,
    pub(super) created: Instant,
    /// What its records took of `buffer.memory`.
    pub(super) reserved: usize,
}

/// The batches of one partition that the sender has not taken yet.
#[derive(Debug)]
pub(super) struct PartitionQueue {
    pub(super) topic_partition: TopicPartition,
    state: Mutex<QueueState>,
}

#[derive(Debug, Default)]
struct QueueState {
    full: VecDeque<Batch>,
    open: Option<Batch>,
    /// Whether the sender knows that there is something here.
    announced: bool,
}

/// What the head of a queue says to the sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Head {
    Empty,
    /// A batch that should go now.
    Ready {
        created: Instant,
    },
    /// A batch that may still be waited for.
    Lingering {
        created: Instant,
    },
}

impl PartitionQueue {
    pub(super) fn head(&self) -> Head {
        let state = self.state.lock();
        match (state.full.front(), &state.open) {
            (Some(batch), _) => Head::Ready {
                created: batch.created,
            },
            (None, Some(batch)) => Head::Lingering {
                created: batch.created,
            },
            (None, None) => Head::Empty,
        }
    }

    /// The oldest batch, open or not.
    pub(super) fn take(&self) -> Option<Batch> {
        let mut state = self.state.lock();
        state.full.pop_front().or_else(|| state.open.take())
    }

    /// Whether the queue is empty; if so, the next record announces it again.
    pub(super) fn retire(&self) -> bool {
        let mut state = self.state.lock();
        let empty = state.full.is_empty() && state.open.is_none();
        if empty {
            state.announced = false;
        }
        empty
    }
}

/// A record that waits for its topic's metadata.
#[derive(Debug)]
struct Unresolved {
    partition: Option<i32>,
    timestamp: i64,
    key: Option<Bytes>,
    value: Option<Bytes>,
    headers: Vec<Header>,
    result: Arc<BatchResult>,
    id: u64,
    size: usize,
    created: Instant,
}

/// The queues of one topic.
#[derive(Debug)]
pub(super) struct TopicQueue {
    pub(super) name: Arc<str>,
    /// 0 as long as it is not known.
    partition_count: AtomicI32,
    partitions: RwLock<Vec<Arc<PartitionQueue>>>,
    unresolved: Mutex<Vec<Unresolved>>,
    sticky: Mutex<Sticky>,
}

impl TopicQueue {
    pub(super) fn partition_count(&self) -> i32 {
        self.partition_count.load(Ordering::Acquire)
    }

    pub(super) fn has_unresolved(&self) -> bool {
        !self.unresolved.lock().is_empty()
    }

    fn queue(&self, partition: i32) -> Option<Arc<PartitionQueue>> {
        self.partitions
            .read()
            .get(usize::try_from(partition).ok()?)
            .cloned()
    }
}

/// All queues of a producer.
#[derive(Debug)]
pub(super) struct Accumulator {
    pub(super) config: ProducerConfig,
    /// Of a transactional producer.
    pub(super) transactions: Option<Arc<Transactions>>,
    topics: RwLock<HashMap<Arc<str>, Arc<TopicQueue>>>,
    used: AtomicUsize,
    /// Told when records leave the buffer.
    pub(super) room: Notify,
    /// How many `send`s wait for room: batches then go without lingering.
    pub(super) waiting: AtomicUsize,
    /// How many flushes wait: the same.
    pub(super) flushing: AtomicUsize,
    /// Wakes the sender.
    pub(super) wake: Notify,
    /// Queues that have become non-empty since the sender looked.
    announced: Mutex<Vec<Arc<PartitionQueue>>>,
    /// Topics that have become unresolved since the sender looked.
    unresolved: Mutex<Vec<Arc<TopicQueue>>>,
    incomplete: Mutex<BTreeMap<u64, Arc<BatchResult>>>,
    next_id: AtomicU64,
    failures: Mutex<Failures>,
    closed: AtomicBool,
}

#[derive(Debug, Default)]
struct Failures {
    failed: u64,
    first: Option<ClientError>,
}

impl Accumulator {
    pub(super) fn new(config: ProducerConfig, transactions: Option<Arc<Transactions>>) -> Self {
        Self {
            config,
            transactions,
            topics: RwLock::default(),
            used: AtomicUsize::new(0),
            room: Notify::new(),
            waiting: AtomicUsize::new(0),
            flushing: AtomicUsize::new(0),
            wake: Notify::new(),
            announced: Mutex::default(),
            unresolved: Mutex::default(),
            incomplete: Mutex::default(),
            next_id: AtomicU64::new(1),
            failures: Mutex::default(),
            closed: AtomicBool::new(false),
        }
    }

    /// No record is taken in from now on.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.room.notify_waiters();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Refuses records when the producer is closed or not in a transaction.
    pub(super) fn admit(&self) -> Result<(), ClientError> {
        if self.is_closed() {
            return Err(ClientError::Closed("producer"));
        }
        match &self.transactions {
            Some(transactions) => transactions.admit_record(),
            None => Ok(()),
        }
    }

    pub(super) fn topic(&self, name: &Arc<str>) -> Arc<TopicQueue> {
        if let Some(topic) = self.topics.read().get(name) {
            return topic.clone();
        }
        self.topics
            .write()
            .entry(name.clone())
            .or_insert_with(|| {
                Arc::new(TopicQueue {
                    name: name.clone(),
                    partition_count: AtomicI32::new(0),
                    partitions: RwLock::default(),
                    unresolved: Mutex::default(),
                    sticky: Mutex::new(Sticky::new(rand::random())),
                })
            })
            .clone()
    }

    pub(super) fn topics(&self) -> Vec<Arc<TopicQueue>> {
        self.topics.read().values().cloned().collect()
    }

    /// The bytes that the record takes of `buffer.memory`, if it can be sent at all.
    pub(super) fn size_of(
        &self,
        topic: &Arc<str>,
        record: &RecordRef<'_>,
    ) -> Result<usize, ClientError> {
        let size = BatchBuilder::record_size_upper_bound(record.key, record.value, record.headers);
        let limit = self.config.max_request_size.min(self.config.buffer_memory);
        if size.saturating_add(BATCH_HEADER_SIZE) > limit {
            return Err(ClientError::RecordTooLarge {
                topic: topic.clone(),
                size,
                limit,
            });
        }
        Ok(size)
    }

    /// Takes room for a record, if there is any.
    pub(super) fn try_reserve(&self, size: usize) -> bool {
        let limit = self.config.buffer_memory;
        self.used
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
                used.checked_add(size).filter(|sum| *sum <= limit)
            })
            .is_ok()
    }

    fn release(&self, size: usize) {
        self.used.fetch_sub(size, Ordering::AcqRel);
        if self.waiting.load(Ordering::Acquire) > 0 {
            self.room.notify_waiters();
        }
    }

    /// The bytes of records without a result.
    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Acquire)
    }

    /// Appends a record for which `size` bytes were reserved. On an error they are
    /// released.
    pub(super) fn append(
        &self,
        topic: &Arc<TopicQueue>,
        record: &RecordRef<'_>,
        size: usize,
    ) -> Result<Delivery, ClientError> {
        let result = self
            .admit()
            .and_then(|()| self.append_reserved(topic, record, size));
        if result.is_err() {
            self.release(size);
        }
        result
    }

    fn append_reserved(
        &self,
        topic: &Arc<TopicQueue>,
        record: &RecordRef<'_>,
        size: usize,
    ) -> Result<Delivery, ClientError> {
        let count = topic.partition_count();
        if count == 0 {
            let mut unresolved = topic.unresolved.lock();
            // The sender sets the count under this lock.
            if topic.partition_count() == 0 {
                return Ok(self.append_unresolved(topic, &mut unresolved, record, size));
            }
        }
        self.append_to_partition(topic, topic.partition_count(), record, size)
    }

    fn append_unresolved(
        &self,
        topic: &Arc<TopicQueue>,
        unresolved: &mut Vec<Unresolved>,
        record: &RecordRef<'_>,
        size: usize,
    ) -> Delivery {
        let (id, result) = self.new_result();
        if unresolved.is_empty() {
            self.unresolved.lock().push(topic.clone());
        }
        unresolved.push(Unresolved {
            partition: record.partition,
            timestamp: record.timestamp,
            key: record.key.map(Bytes::copy_from_slice),
            value: record.value.map(Bytes::copy_from_slice),
            headers: record.headers.to_vec(),
            result: result.clone(),
            id,
            size,
            created: Instant::now(),
        });
        self.wake.notify_one();
        Delivery::new(result, 0)
    }

    fn append_to_partition(
        &self,
        topic: &TopicQueue,
        count: i32,
        record: &RecordRef<'_>,
        size: usize,
    ) -> Result<Delivery, ClientError> {
        let partition = match (record.partition, record.key) {
            (Some(partition), _) => partition,
            (None, Some(key)) => partition_for_key(key, count),
            (None, None) => topic
                .sticky
                .lock()
                .next(size, self.config.batch_size, count),
        };
        let queue = topic
            .queue(partition)
            .ok_or_else(|| ClientError::NoSuchPartition {
                partition: TopicPartition::new(topic.name.clone(), partition),
                partitions: count,
            })?;
        let (delivery, wake, announce) = {
            let mut state = queue.state.lock();
            let mut wake = false;
            let fits = |b: &Batch| b.builder.uncompressed_size() + size <= self.config.batch_size;
            if state.open.as_ref().is_some_and(|b| !fits(b)) {
                let closed = state.open.take();
                state.full.extend(closed);
                wake = true;
            }
            let config = &self.config;
            let batch = state.open.get_or_insert_with(|| {
                wake = true;
                let (id, result) = self.new_result();
                let capacity = config.batch_size.saturating_sub(BATCH_HEADER_SIZE);
                Batch {
                    builder: BatchBuilder::with_capacity(
                        config.compression_type,
                        capacity.max(size),
                    ),
                    result,
                    id,
                    created: Instant::now(),
                    reserved: 0,
                }
            });
            let index = u32::try_from(batch.builder.records_count()).unwrap_or(u32::MAX);
            batch
                .builder
                .append(record.timestamp, record.key, record.value, record.headers)
                .map_err(|source| records_error(&queue.topic_partition, source))?;
            batch.reserved += size;
            let delivery = Delivery::new(batch.result.clone(), index);
            let announce = !std::mem::replace(&mut state.announced, true);
            (delivery, wake, announce)
        };
        if announce {
            self.announced.lock().push(queue);
        }
        if wake {
            self.wake.notify_one();
        }
        Ok(delivery)
    }

    fn new_result(&self) -> (u64, Arc<BatchResult>) {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let result = Arc::new(BatchResult::default());
        self.incomplete.lock().insert(id, result.clone());
        (id, result)
    }

    /// Lets the results of its pieces, which begin at the records `firsts` after the first
    /// one, take the place of a batch's result. Returns them in order.
    pub(super) fn split(
        &self,
        id: u64,
        result: &BatchResult,
        firsts: &[u32],
    ) -> Vec<(u64, Arc<BatchResult>)> {
        let (first_id, first) = self.new_result();
        let mut pieces = vec![(first_id, first.clone())];
        pieces.extend(firsts.iter().map(|_| self.new_result()));
        let rest = (firsts.iter().copied())
            .zip(pieces.iter().skip(1).map(|(_, piece)| piece.clone()))
            .collect();
        result.split(Pieces { first, rest });
        self.incomplete.lock().remove(&id);
        pieces
    }

    /// Queues that have become non-empty since the last call.
    pub(super) fn take_announced(&self) -> Vec<Arc<PartitionQueue>> {
        std::mem::take(&mut *self.announced.lock())
    }

    /// Topics that have become unresolved since the last call.
    pub(super) fn take_unresolved(&self) -> Vec<Arc<TopicQueue>> {
        std::mem::take(&mut *self.unresolved.lock())
    }

    /// The number of partitions is known, or has grown: waiting records go on.
    pub(super) fn resolve(&self, topic: &TopicQueue, count: i32) {
        let mut unresolved = topic.unresolved.lock();
        {
            let mut partitions = topic.partitions.write();
            for partition in i32::try_from(partitions.len()).unwrap_or(i32::MAX)..count {
                partitions.push(Arc::new(PartitionQueue {
                    topic_partition: TopicPartition::new(topic.name.clone(), partition),
                    state: Mutex::default(),
                }));
            }
        }
        let known = i32::try_from(topic.partitions.read().len()).unwrap_or(i32::MAX);
        // A record that is appended concurrently waits for this lock as long as the count
        // is 0, so it cannot overtake those that wait.
        if topic.partition_count() != 0 {
            topic.partition_count.store(known, Ordering::Release);
            return;
        }
        let waiting = std::mem::take(&mut *unresolved);
        let mut failed = Vec::new();
        for record in waiting {
            let reference = RecordRef {
                partition: record.partition,
                timestamp: record.timestamp,
                key: record.key.as_deref(),
                value: record.value.as_deref(),
                headers: &record.headers,
            };
            match self.append_to_partition(topic, known, &reference, record.size) {
                Ok(delivery) => {
                    delivery.forward_to(record.result);
                    self.incomplete.lock().remove(&record.id);
                }
                Err(error) => failed.push((record, error)),
            }
        }
        topic.partition_count.store(known, Ordering::Release);
        drop(unresolved);
        for (record, error) in failed {
            self.finish(record.id, &record.result, record.size, 1, Err(error));
        }
    }

    /// Fails the records of a topic that does not resolve, if they are older than `before`.
    pub(super) fn fail_unresolved(
        &self,
        topic: &TopicQueue,
        before: Option<Instant>,
        error: &ClientError,
    ) {
        let expired: Vec<Unresolved> = {
            let mut unresolved = topic.unresolved.lock();
            let (expired, kept) = std::mem::take(&mut *unresolved)
                .into_iter()
                .partition(|r| before.is_none_or(|before| r.created <= before));
            *unresolved = kept;
            expired
        };
        for record in expired {
            self.finish(
                record.id,
                &record.result,
                record.size,
                1,
                Err(error.clone()),
            );
        }
    }

    /// Gives a batch its result and its room back.
    pub(super) fn finish(
        &self,
        id: u64,
        result: &BatchResult,
        reserved: usize,
        records: usize,
        mut outcome: Result<Written, ClientError>,
    ) {
        if let (Err(error), Some(transactions)) = (&mut outcome, &self.transactions) {
            *error = transactions.batch_failed(error);
        }
        if let Err(error) = &outcome {
            let mut failures = self.failures.lock();
            failures.failed += records as u64;
            failures.first.get_or_insert_with(|| error.clone());
        }
        // The room first: who waits for the result may send at once.
        self.release(reserved);
        result.complete(outcome);
        self.incomplete.lock().remove(&id);
    }

    /// Everything that has no result at this moment.
    pub(super) fn incomplete(&self) -> Vec<Arc<BatchResult>> {
        self.incomplete.lock().values().cloned().collect()
    }

    /// The failures since the last call, as an error.
    pub(super) fn take_failures(&self) -> Result<(), ClientError> {
        let failures = std::mem::take(&mut *self.failures.lock());
        match failures.first {
            None => Ok(()),
            Some(first) => Err(ClientError::DeliveriesFailed {
                failed: failures.failed,
                first: Box::new(first),
            }),
        }
    }
}

pub(super) fn records_error(partition: &TopicPartition, source: RecordError) -> ClientError {
    ClientError::Records {
        partition: partition.clone(),
        offset: -1,
        source: Arc::new(source),
    }
}
