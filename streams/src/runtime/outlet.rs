//! What a worker sends with: one producer and, under exactly-once, the transaction around it.
//!
//! Invariant: under exactly-once whatever leaves the worker, records and input offsets alike,
//! belongs to the one open transaction, which begins with the first of them. It ends whole or
//! not at all: an error that leaves it without a certain end is
//! [`StreamsError::Transaction`], after which the worker rolls back to its last commit with
//! [`Outlet::renew`].

use super::config::ProcessingGuarantee;
use super::job::Job;
use super::threads::Background;
use crate::StreamsError;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};
use thalweg_log::client::{
    ClientError, Delivery, GroupMetadata, OffsetAndMetadata, Producer, ProducerConfig,
    ProducerRecord, ProducerTopic, RecordRef, TopicPartition,
};
use thalweg_log::wire::ErrorCode;
use tokio::runtime::Handle;

/// The pause between two attempts at something that did not work for now.
const PAUSE: Duration = Duration::from_millis(50);

/// A worker's producer.
pub(crate) struct Outlet {
    job: Arc<Job>,
    index: usize,
    /// Where the producer's sender runs.
    background: Arc<Background>,
    producer: Producer,
    topics: HashMap<Arc<str>, ProducerTopic>,
    /// Whether a transaction is open.
    open: bool,
}

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Everything sent since it began is committed.
    Committed,
    /// The group has gone on without this member; everything sent is aborted.
    Fenced,
}

impl Outlet {
    /// A producer for the worker `index`; under exactly-once it can send after
    /// [`begin`](Self::begin).
    pub(crate) fn new(
        job: Arc<Job>,
        index: usize,
        background: Arc<Background>,
    ) -> Result<Self, StreamsError> {
        let producer = producer(&job, index, &background)?;
        Ok(Self {
            job,
            index,
            background,
            producer,
            topics: HashMap::new(),
            open: false,
        })
    }

    /// Whether a transaction is open.
    pub(crate) fn is_open(&self) -> bool {
        self.open
    }

    /// Takes over this worker's transactional id: whatever an earlier life of it has left
    /// open is aborted when this returns, and who still sends under it is fenced.
    pub(crate) async fn begin(&mut self) -> Result<(), StreamsError> {
        if !self.job.config.exactly_once() {
            return Ok(());
        }
        loop {
            match self.producer.init_transactions().await {
                Ok(()) => return Ok(()),
                Err(error) if error.is_retriable() && !self.job.is_stopping() => {
                    tracing::warn!(%error, "the transactional producer is not ready; trying again");
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => {
                    return Err(StreamsError::log(
                        "starting the transactional producer",
                        error,
                    ));
                }
            }
        }
    }

    /// Gives up the producer with all it has sent since the last commit, and takes over with
    /// a new one.
    pub(crate) async fn renew(&mut self) -> Result<(), StreamsError> {
        self.open = false;
        self.topics.clear();
        self.producer = producer(&self.job, self.index, &self.background)?;
        self.begin().await
    }

    /// A topic to [`enqueue`](Self::enqueue) to.
    pub(crate) async fn topic(&mut self, name: &Arc<str>) -> Result<ProducerTopic, StreamsError> {
        if let Some(topic) = self.topics.get(name) {
            return Ok(topic.clone());
        }
        let topic = self
            .producer
            .topic(name)
            .await
            .map_err(|e| StreamsError::log(format!("sending to `{name}`"), e))?;
        self.topics.insert(Arc::clone(name), topic.clone());
        Ok(topic)
    }

    /// Hands a record over, waiting for room.
    pub(crate) async fn enqueue(
        &mut self,
        topic: &ProducerTopic,
        record: RecordRef<'_>,
    ) -> Result<(), StreamsError> {
        self.open_transaction()?;
        loop {
            match self.producer.enqueue(topic, record) {
                Ok(()) => return Ok(()),
                Err(ClientError::BufferExhausted { .. }) => {
                    let bytes = record.key.map_or(0, <[u8]>::len)
                        + record.value.map_or(0, <[u8]>::len)
                        + 1024;
                    let room = self.producer.room(bytes).await;
                    room.map_err(|e| self.failed(format!("sending to `{}`", topic.name()), e))?;
                }
                Err(error) => {
                    return Err(self.failed(format!("sending to `{}`", topic.name()), error));
                }
            }
        }
    }

    /// Hands a record over whose offset matters.
    pub(crate) async fn send(&mut self, record: ProducerRecord) -> Result<Delivery, StreamsError> {
        self.open_transaction()?;
        let sent = self.producer.send(record).await;
        sent.map_err(|e| self.failed("sending a changelog", e))
    }

    /// Waits until everything that was handed over is acknowledged.
    pub(crate) async fn acknowledged(&self) -> Result<(), StreamsError> {
        let flushed = self.producer.flush().await;
        flushed.map_err(|e| self.failed("sending outputs and changelogs", e))
    }

    /// The result of a delivery.
    pub(crate) async fn delivered(&self, delivery: Delivery) -> Result<i64, StreamsError> {
        let delivered = delivery.await;
        let delivered = delivered.map_err(|e| self.failed("sending a changelog", e))?;
        Ok(delivered.offset)
    }

    /// Adds input offsets to the transaction, in the name of the group's member.
    pub(crate) async fn add_offsets(
        &mut self,
        offsets: BTreeMap<TopicPartition, OffsetAndMetadata>,
        group: &GroupMetadata,
    ) -> Result<Ended, StreamsError> {
        self.open_transaction()?;
        let added = self.producer.send_offsets_to_transaction(offsets, group);
        match added.await {
            Ok(()) => Ok(Ended::Committed),
            Err(error) if is_fenced_member(&error) => {
                tracing::warn!(%error, "the group has gone on without this thread");
                self.abort().await?;
                Ok(Ended::Fenced)
            }
            Err(error) => Err(self.failed("adding offsets to the transaction", error)),
        }
    }

    /// Ends the transaction. An answer that does not come is asked for again, because
    /// nothing may be done before it is known: the caches are neither applied nor dropped.
    pub(crate) async fn commit(&mut self) -> Result<(), StreamsError> {
        let begun = Instant::now();
        loop {
            match self.producer.commit_transaction().await {
                Ok(()) => {
                    self.open = false;
                    return Ok(());
                }
                Err(error)
                    if (error.is_outcome_unknown() || error.is_retriable())
                        && begun.elapsed() < self.job.config.transaction_timeout =>
                {
                    tracing::warn!(%error, "the end of a transaction is not known yet; asking again");
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(self.failed("committing", error)),
            }
        }
    }

    /// Aborts the open transaction, if there is one; where that cannot be done in order, a
    /// new producer does it.
    pub(crate) async fn abort(&mut self) -> Result<(), StreamsError> {
        if !std::mem::take(&mut self.open) {
            return Ok(());
        }
        match self.producer.abort_transaction().await {
            Ok(()) => Ok(()),
            Err(error) => {
                tracing::debug!(%error, "the transaction is aborted by a new producer");
                self.renew().await
            }
        }
    }

    /// Aborts what is open, sends the rest, and stops.
    pub(crate) async fn close(mut self) -> Result<(), StreamsError> {
        if std::mem::take(&mut self.open)
            && let Err(error) = self.producer.abort_transaction().await
        {
            tracing::debug!(%error, "an open transaction is left to its timeout");
        }
        let closed = self.producer.close().await;
        closed.map_err(|e| StreamsError::log("closing the producer", e))
    }

    fn open_transaction(&mut self) -> Result<(), StreamsError> {
        if self.open || !self.job.config.exactly_once() {
            return Ok(());
        }
        let begun = self.producer.begin_transaction();
        begun.map_err(|e| self.failed("beginning a transaction", e))?;
        self.open = true;
        Ok(())
    }

    /// An error of the producer: one that a new producer gets over, by going back to the last
    /// commit, or one that would come again.
    fn failed(&self, during: impl Into<String>, error: ClientError) -> StreamsError {
        if self.job.config.exactly_once() && is_passing(&error) {
            StreamsError::Transaction {
                during: during.into(),
                cause: Box::new(error),
            }
        } else {
            StreamsError::log(during, error)
        }
    }
}

fn producer(
    job: &Arc<Job>,
    index: usize,
    background: &Background,
) -> Result<Producer, StreamsError> {
    let config = &job.config;
    let _entered = background.handle().map(Handle::enter);
    let transactional = match config.processing_guarantee {
        ProcessingGuarantee::ExactlyOnce => Some(job.transactional_id(index)),
        ProcessingGuarantee::AtLeastOnce => None,
    };
    job.client
        .producer(ProducerConfig {
            batch_size: 128 << 10,
            linger_ms: Duration::from_millis(20),
            compression_type: config.compression,
            transactional_id: transactional,
            transaction_timeout_ms: config.transaction_timeout,
            ..ProducerConfig::default()
        })
        .map_err(|e| StreamsError::log("starting a stream thread", e))
}

/// Whether the group no longer counts this member in.
pub(crate) fn is_fenced_member(error: &ClientError) -> bool {
    matches!(
        error.code(),
        Some(
            ErrorCode::IllegalGeneration
                | ErrorCode::UnknownMemberId
                | ErrorCode::RebalanceInProgress
                | ErrorCode::StaleMemberEpoch
                | ErrorCode::FencedMemberEpoch
        )
    )
}

/// Whether the next transaction may succeed where this one has not: it was fenced, timed
/// out, or lost its broker. What a broker says of the records themselves it would say again.
fn is_passing(error: &ClientError) -> bool {
    match error {
        ClientError::DeliveriesFailed { first, .. } => is_passing(first),
        ClientError::AbortRequired { source, .. }
        | ClientError::TransactionFatal { source, .. } => is_passing(source),
        ClientError::ProducerFenced { .. }
        | ClientError::OutcomeUnknown { .. }
        | ClientError::TransactionAborted
        | ClientError::DeliveryTimeout { .. } => true,
        error => {
            error.is_retriable()
                || matches!(
                    error.code(),
                    Some(
                        ErrorCode::InvalidTxnState
                            | ErrorCode::InvalidProducerEpoch
                            | ErrorCode::InvalidProducerIdMapping
                            | ErrorCode::UnknownProducerId
                            | ErrorCode::OutOfOrderSequenceNumber
                            | ErrorCode::TransactionAbortable
                            | ErrorCode::TransactionCoordinatorFenced
                            | ErrorCode::ConcurrentTransactions
                    )
                )
        }
    }
}
