//! The producer: records in, batches out, a result for each record.
//!
//! Any thread appends records to the accumulator, which gathers them into batches by
//! partition; one background task, the sender, takes batches out and sends them to the
//! partitions' leaders. The two share nothing but the queues, so that what the sender
//! must keep in order (sequences, retries, requests on their way) needs no lock.

mod accumulator;
mod config;
mod delivery;
mod partition;
mod partitioner;
mod sender;
mod split;
#[cfg(test)]
mod tests;
mod transaction;
mod transactional;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use accumulator::{Accumulator, TopicQueue};
pub use config::{Acks, ProducerConfig};
pub use delivery::{Delivery, RecordMetadata};
pub use partitioner::{murmur2, partition_for_key};
use sender::Sender;
use transaction::Transactions;

use super::ClientError;
use super::core::{Core, after};
use crate::record::Header;

/// A record to send.
///
/// ```
/// use thalweg_log::client::ProducerRecord;
/// let record = ProducerRecord::new("clicks").key("user-7").value("42");
/// assert_eq!(record.partition, None); // chosen by the key
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerRecord {
    /// The topic. Keep one `Arc<str>` and clone it: that allocates nothing.
    pub topic: Arc<str>,
    /// The partition; `None` chooses by the key, or spreads records without a key.
    pub partition: Option<i32>,
    /// The key.
    pub key: Option<Bytes>,
    /// The value; `None` is a tombstone on a compacted topic.
    pub value: Option<Bytes>,
    /// The headers, in order; a name may come several times.
    pub headers: Vec<Header>,
    /// Milliseconds since 1970; `None` takes the time of `send`.
    pub timestamp: Option<i64>,
}

impl ProducerRecord {
    /// A record without key, value and headers.
    pub fn new(topic: impl Into<Arc<str>>) -> Self {
        Self {
            topic: topic.into(),
            partition: None,
            key: None,
            value: None,
            headers: Vec::new(),
            timestamp: None,
        }
    }

    /// With this key.
    #[must_use]
    pub fn key(mut self, key: impl Into<Bytes>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// With this value.
    #[must_use]
    pub fn value(mut self, value: impl Into<Bytes>) -> Self {
        self.value = Some(value.into());
        self
    }

    /// To this partition.
    #[must_use]
    pub fn partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// With this timestamp, in milliseconds since 1970.
    #[must_use]
    pub fn timestamp(mut self, timestamp: i64) -> Self {
        self.timestamp = Some(timestamp);
        self
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, key: impl Into<Bytes>, value: Option<impl Into<Bytes>>) -> Self {
        self.headers.push(Header::new(key, value));
        self
    }

    /// The record without its topic, borrowed.
    pub fn as_ref(&self) -> RecordRef<'_> {
        RecordRef {
            partition: self.partition,
            timestamp: self.timestamp.unwrap_or_else(now_millis),
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: &self.headers,
        }
    }
}

/// A record to enqueue, borrowed from wherever it lies: it is copied once, into its batch.
#[derive(Debug, Clone, Copy)]
pub struct RecordRef<'a> {
    /// The partition; `None` chooses by the key, or spreads records without a key.
    pub partition: Option<i32>,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value.
    pub value: Option<&'a [u8]>,
    /// The headers.
    pub headers: &'a [Header],
}

/// A topic that a producer has looked up already: the way to enqueue without a look-up
/// for each record. See [`Producer::topic`].
#[derive(Debug, Clone)]
pub struct ProducerTopic(Arc<TopicQueue>);

impl ProducerTopic {
    /// The topic's name.
    pub fn name(&self) -> &Arc<str> {
        &self.0.name
    }

    /// How many partitions the topic has; 0 as long as that is not known.
    pub fn partition_count(&self) -> i32 {
        self.0.partition_count()
    }
}

/// Sends records. Cheap to clone; all clones are one producer. Share it between threads.
///
/// | call | waits for room | result |
/// |---|---|---|
/// | [`send`](Self::send) | yes | a [`Delivery`] for each record |
/// | [`try_send`](Self::try_send) | no | a [`Delivery`] for each record |
/// | [`enqueue`](Self::enqueue) | no | errors are told by the next [`flush`](Self::flush) |
#[derive(Debug, Clone)]
pub struct Producer {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    core: Arc<Core>,
    accumulator: Arc<Accumulator>,
    /// Dropped or set to tell the sender to stop.
    stop: watch::Sender<bool>,
    sender: Mutex<Option<JoinHandle<()>>>,
}

impl Producer {
    pub(crate) fn start(core: Arc<Core>, mut config: ProducerConfig) -> Result<Self, ClientError> {
        config.validate()?;
        // A batch must fit into a request.
        config.batch_size = config.batch_size.min(config.max_request_size);
        let transactions = Transactions::new(core.clone(), &config).map(Arc::new);
        let accumulator = Arc::new(Accumulator::new(config, transactions));
        let (stop, stopped) = watch::channel(false);
        let sender = Sender::new(core.clone(), accumulator.clone(), stopped);
        let task = core.runtime()?.spawn(sender.run());
        Ok(Self {
            inner: Arc::new(Inner {
                core,
                accumulator,
                stop,
                sender: Mutex::new(Some(task)),
            }),
        })
    }

    /// Hands a record over, waiting up to `max.block.ms` for the topic's metadata and for
    /// room in the buffer. The [`Delivery`] tells what became of it; it may be dropped.
    pub async fn send(&self, record: ProducerRecord) -> Result<Delivery, ClientError> {
        let accumulator = &self.inner.accumulator;
        accumulator.admit()?;
        let deadline = after(accumulator.config.max_block_ms);
        let topic = self.topic_by(&record.topic, deadline).await?;
        let reference = record.as_ref();
        if let Some(partition) = reference.partition {
            self.await_partition(&topic.0, partition).await?;
        }
        let size = accumulator.size_of(&record.topic, &reference)?;
        self.reserve(size, deadline).await?;
        accumulator.append(&topic.0, &reference, size)
    }

    /// Hands a record over at once, or returns [`ClientError::BufferExhausted`]. It may be
    /// called outside of a runtime.
    pub fn try_send(&self, record: &ProducerRecord) -> Result<Delivery, ClientError> {
        let topic = self.inner.accumulator.topic(&record.topic);
        self.append_now(&topic, &record.as_ref())
    }

    /// A topic to [`enqueue`](Self::enqueue) to. Waits for its metadata up to
    /// `max.block.ms`, so that a topic that does not exist is told here.
    pub async fn topic(&self, name: &str) -> Result<ProducerTopic, ClientError> {
        let deadline = after(self.inner.accumulator.config.max_block_ms);
        self.topic_by(&Arc::from(name), deadline).await
    }

    /// The fast way: hands a record over at once and without a result of its own; a
    /// delivery that fails is told by the next [`flush`](Self::flush). A full buffer is
    /// [`ClientError::BufferExhausted`]; [`room`](Self::room) waits for it to drain. It may
    /// be called outside of a runtime.
    pub fn enqueue(&self, topic: &ProducerTopic, record: RecordRef<'_>) -> Result<(), ClientError> {
        self.append_now(&topic.0, &record).map(drop)
    }

    /// Waits until `bytes` of the buffer are free, for at most `max.block.ms`.
    pub async fn room(&self, bytes: usize) -> Result<(), ClientError> {
        let accumulator = &self.inner.accumulator;
        let bytes = bytes.min(accumulator.config.buffer_memory);
        let deadline = after(accumulator.config.max_block_ms);
        self.wait_for_room(bytes, deadline, || {
            accumulator.used() + bytes <= accumulator.config.buffer_memory
        })
        .await
    }

    /// The bytes of all records whose result is not known yet.
    pub fn buffered_bytes(&self) -> usize {
        self.inner.accumulator.used()
    }

    /// Sends everything that was handed over before, and waits for the results. An error
    /// if any delivery failed since the last flush.
    pub async fn flush(&self) -> Result<(), ClientError> {
        let accumulator = &self.inner.accumulator;
        let _flushing = Counted::new(&accumulator.flushing);
        accumulator.wake.notify_one();
        for result in accumulator.incomplete() {
            result.done().await;
        }
        accumulator.take_failures()
    }

    /// Flushes and stops the sender; an open transaction is aborted. Later sends are
    /// [`ClientError::Closed`].
    pub async fn close(&self) -> Result<(), ClientError> {
        self.abort_if_open().await;
        self.inner.accumulator.close();
        let result = self.flush().await;
        let _ = self.inner.stop.send(true);
        let task = self.inner.sender.lock().take();
        if let Some(task) = task {
            let _ = task.await;
        }
        result
    }

    fn append_now(
        &self,
        topic: &Arc<TopicQueue>,
        record: &RecordRef<'_>,
    ) -> Result<Delivery, ClientError> {
        let accumulator = &self.inner.accumulator;
        let size = accumulator.size_of(&topic.name, record)?;
        if !accumulator.try_reserve(size) {
            if accumulator.is_closed() {
                return Err(ClientError::Closed("producer"));
            }
            accumulator.wake.notify_one();
            return Err(ClientError::BufferExhausted {
                buffer_memory: accumulator.config.buffer_memory,
            });
        }
        accumulator.append(topic, record, size)
    }

    async fn topic_by(
        &self,
        name: &Arc<str>,
        deadline: Instant,
    ) -> Result<ProducerTopic, ClientError> {
        let topic = self.inner.accumulator.topic(name);
        if topic.partition_count() == 0 {
            let info = self.inner.core.topic(name, true, deadline).await?;
            self.inner
                .accumulator
                .resolve(&topic, info.partition_count());
        }
        Ok(ProducerTopic(topic))
    }

    /// A partition that is not known may have been added lately: looks once.
    async fn await_partition(&self, topic: &TopicQueue, partition: i32) -> Result<(), ClientError> {
        if partition >= topic.partition_count() {
            let name = topic.name.clone();
            self.inner
                .core
                .refresh(std::slice::from_ref(&name), false)
                .await?;
            if let Some(info) = self.inner.core.metadata.topic(&name) {
                self.inner
                    .accumulator
                    .resolve(topic, info.partition_count());
            }
        }
        Ok(())
    }

    async fn reserve(&self, size: usize, deadline: Instant) -> Result<(), ClientError> {
        let accumulator = &self.inner.accumulator;
        if accumulator.try_reserve(size) {
            return Ok(());
        }
        self.wait_for_room(size, deadline, || accumulator.try_reserve(size))
            .await
    }

    async fn wait_for_room(
        &self,
        bytes: usize,
        deadline: Instant,
        mut take: impl FnMut() -> bool,
    ) -> Result<(), ClientError> {
        let accumulator = &self.inner.accumulator;
        let _waiting = Counted::new(&accumulator.waiting);
        loop {
            let told = accumulator.room.notified();
            tokio::pin!(told);
            told.as_mut().enable();
            if accumulator.is_closed() {
                return Err(ClientError::Closed("producer"));
            }
            if take() {
                return Ok(());
            }
            accumulator.wake.notify_one();
            tracing::trace!(bytes, "waiting for room in the producer's buffer");
            if tokio::time::timeout_at(deadline.into(), told)
                .await
                .is_err()
            {
                return Err(ClientError::BufferExhausted {
                    buffer_memory: accumulator.config.buffer_memory,
                });
            }
        }
    }
}

/// Counts one up as long as it lives, also when its future is dropped.
struct Counted<'a>(&'a std::sync::atomic::AtomicUsize);

impl<'a> Counted<'a> {
    fn new(count: &'a std::sync::atomic::AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn now_millis() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}
