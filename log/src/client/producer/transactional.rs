//! What an application does with a transactional producer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::transaction::{Machine, Transactions};
use super::{Counted, Producer};
use crate::client::core::after;
use crate::client::{ClientError, GroupMetadata, OffsetAndMetadata, TopicPartition};

/// # Transactions
///
/// A producer with `transactional.id` writes to several partitions, and commits a group's
/// offsets, all or nothing. Consumers with `isolation.level=read_committed` see it when it
/// has committed.
///
/// ```no_run
/// # use thalweg_log::client::*;
/// # async fn run(client: Client, mut consumer: Consumer) -> Result<(), ClientError> {
/// let producer = client.producer(ProducerConfig {
///     transactional_id: Some("copy-0".into()),
///     ..ProducerConfig::default()
/// })?;
/// producer.init_transactions().await?;
/// loop {
///     let records = consumer.poll_records(std::time::Duration::from_secs(1)).await?;
///     producer.begin_transaction()?;
///     let mut offsets = std::collections::BTreeMap::new();
///     for of_partition in records {
///         let next = OffsetAndMetadata::new(of_partition.next_offset);
///         offsets.insert(of_partition.topic_partition.clone(), next);
///         for record in of_partition {
///             let copy = ProducerRecord::new("copy").value(record?.value.unwrap_or_default());
///             drop(producer.send(copy).await?);
///         }
///     }
///     let group = consumer.group_metadata()?;
///     producer.send_offsets_to_transaction(offsets, &group).await?;
///     match producer.commit_transaction().await {
///         Err(error) if error.is_abortable() => producer.abort_transaction().await?,
///         other => other?,
///     }
/// }
/// # }
/// ```
///
/// | error | what it means | what to do |
/// |---|---|---|
/// | [`is_abortable`](ClientError::is_abortable) | this transaction cannot commit | `abort_transaction`, then go on |
/// | [`is_outcome_unknown`](ClientError::is_outcome_unknown) | it may have ended or not | the same call again |
/// | [`is_fenced`](ClientError::is_fenced), [`is_fatal`](ClientError::is_fatal) | nothing more can be done | close the producer |
impl Producer {
    /// Makes the producer ready for transactions: fences an earlier producer with the same
    /// id, and ends its open transaction. To be called once, before everything else; an
    /// error that is retriable allows another call.
    pub async fn init_transactions(&self) -> Result<(), ClientError> {
        let transactions = self.transactions("init_transactions")?;
        let _turn = transactions.operation.lock().await;
        transactions.initialize(self.transaction_deadline()).await
    }

    /// Begins a transaction. Nothing is asked of a broker.
    pub fn begin_transaction(&self) -> Result<(), ClientError> {
        let transactions = self.transactions("begin_transaction")?;
        // What failed before was told, or belongs to a transaction that was aborted.
        let _ = self.inner.accumulator.take_failures();
        transactions.begin()
    }

    /// Commits `offsets` for a group as part of the transaction. `group` comes from
    /// [`Consumer::group_metadata`](crate::client::Consumer::group_metadata), so that a
    /// member that is no longer in the group is refused.
    ///
    /// A future that is dropped before it is done leaves a transaction that can only abort.
    pub async fn send_offsets_to_transaction(
        &self,
        offsets: BTreeMap<TopicPartition, OffsetAndMetadata>,
        group: &GroupMetadata,
    ) -> Result<(), ClientError> {
        let transactions = self.transactions("send_offsets_to_transaction")?;
        let _turn = transactions.operation.lock().await;
        if offsets.is_empty() {
            return Ok(());
        }
        transactions
            .send_offsets(&offsets, group, self.transaction_deadline())
            .await
    }

    /// Sends what was handed over, waits for all results, and commits. If a record could
    /// not be delivered, the transaction is not committed and the error
    /// [`is_abortable`](ClientError::is_abortable).
    ///
    /// An error that [`is_outcome_unknown`](ClientError::is_outcome_unknown) came after the
    /// request to commit had gone out; so may a future that is dropped. Another call finds
    /// out.
    pub async fn commit_transaction(&self) -> Result<(), ClientError> {
        let transactions = self.transactions("commit_transaction")?;
        let _turn = transactions.operation.lock().await;
        let deadline = self.transaction_deadline();
        transactions.with(Machine::start_commit)?;
        self.settle().await;
        if let Err(failure) = self.inner.accumulator.take_failures() {
            let error = match failure {
                ClientError::DeliveriesFailed { first, .. } => *first,
                other => other,
            };
            return Err(transactions.batch_failed(&error));
        }
        // A failure without a record of its own.
        transactions.with(Machine::start_commit)?;
        transactions.end(true, deadline).await
    }

    /// Drops what has not been sent, waits for what is on its way, and aborts the
    /// transaction.
    pub async fn abort_transaction(&self) -> Result<(), ClientError> {
        let transactions = self.transactions("abort_transaction")?;
        let _turn = transactions.operation.lock().await;
        self.abort(transactions).await
    }

    async fn abort(&self, transactions: &Transactions) -> Result<(), ClientError> {
        let deadline = self.transaction_deadline();
        transactions.with(Machine::start_abort)?;
        self.settle().await;
        let _ = self.inner.accumulator.take_failures();
        transactions.end(false, deadline).await
    }

    /// Aborts what is open, for [`close`](Self::close).
    pub(super) async fn abort_if_open(&self) {
        let Some(transactions) = &self.inner.accumulator.transactions else {
            return;
        };
        let _turn = transactions.operation.lock().await;
        if transactions.with(|machine| machine.is_open())
            && let Err(error) = self.abort(transactions).await
        {
            tracing::debug!(%error, "the open transaction was not aborted; it will time out");
        }
    }

    /// Waits until everything that was handed over has a result.
    async fn settle(&self) {
        let accumulator = &self.inner.accumulator;
        let _flushing = Counted::new(&accumulator.flushing);
        accumulator.wake.notify_one();
        for result in accumulator.incomplete() {
            result.done().await;
        }
    }

    fn transactions(&self, what: &str) -> Result<&Arc<Transactions>, ClientError> {
        let accumulator = &self.inner.accumulator;
        if accumulator.is_closed() {
            return Err(ClientError::Closed("producer"));
        }
        accumulator.transactions.as_ref().ok_or_else(|| {
            ClientError::IllegalState(format!(
                "{what} needs `transactional.id` in the producer's configuration"
            ))
        })
    }

    fn transaction_deadline(&self) -> Instant {
        after(self.inner.accumulator.config.max_block_ms)
    }
}
