//! Transactions, as the producer and its sender share them.
//!
//! What a call of the application does at the coordinator happens in that call's own
//! future; only partitions are added by the sender, when it meets them. What may be done
//! when is decided by [`Machine`] alone. Invariants: one call at a time speaks to the
//! coordinator; the end of a transaction is asked for only when nothing of it is on its
//! way any more; a call whose future was dropped leaves the machine as it was before the
//! call, or in a state from which the same call goes on.

mod requests;
mod state;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::ProducerConfig;
use super::partition::Identity;
use crate::client::coordinator::{Coordinated, Coordinator};
use crate::client::core::{Core, millis};
use crate::client::transport::{Call, Destination, Lane};
use crate::client::{ClientError, GroupMetadata, OffsetAndMetadata, TopicPartition};
use crate::wire::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, ApiVersionsRequest, EndTxnRequest,
    InitProducerIdRequest, TxnOffsetCommitRequest,
};
use crate::wire::{ErrorCode, Str};
pub(super) use state::Machine;
use state::{Ending, Phase, Severity};

/// The feature that says whether transactions are as of KIP-890.
const FEATURE: &str = "transaction.version";
/// The longest wait before something is tried again that another operation on the same
/// transaction holds up; that is a matter of the markers being written.
const CONCURRENT_PAUSE: Duration = Duration::from_millis(20);

/// The wait before attempt `attempt` (from 0) of something that the end of the last
/// transaction holds up: short at first.
pub(super) fn concurrent_pause(attempt: u32) -> Duration {
    Duration::from_millis(1 << attempt.min(10)).min(CONCURRENT_PAUSE)
}

/// The transactions of one producer.
#[derive(Debug)]
pub(super) struct Transactions {
    core: Arc<Core>,
    id: Arc<str>,
    timeout: Duration,
    /// Transactions of version 1 although the brokers have version 2, for tests.
    version1: bool,
    coordinator: Coordinator,
    group: Mutex<Option<Arc<Coordinator>>>,
    lane: Lane,
    machine: Mutex<Machine>,
    /// Whether records are taken in; follows the machine.
    open: AtomicBool,
    /// Told when partitions have been added.
    added: Notify,
    /// One call at a time.
    pub(super) operation: tokio::sync::Mutex<()>,
    /// Held while what a transaction leaves behind is dropped, so that the next one does not
    /// begin meanwhile and lose its records.
    sweeping: Mutex<()>,
}

impl Transactions {
    pub(super) fn new(core: Arc<Core>, config: &ProducerConfig) -> Option<Self> {
        let id: Arc<str> = Arc::from(config.transactional_id.as_deref()?);
        let key = id.to_string();
        Some(Self {
            coordinator: Coordinator::new(core.clone(), Coordinated::Transactions, key),
            group: Mutex::new(None),
            lane: Lane::fresh(),
            machine: Mutex::new(Machine::new(id.clone())),
            open: AtomicBool::new(false),
            added: Notify::new(),
            operation: tokio::sync::Mutex::new(()),
            sweeping: Mutex::new(()),
            timeout: config.transaction_timeout_ms,
            version1: config.transaction_version == Some(1),
            core,
            id,
        })
    }

    pub(super) fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// Looks at the machine or changes it.
    pub(super) fn with<R>(&self, act: impl FnOnce(&mut Machine) -> R) -> R {
        let mut machine = self.machine.lock();
        let result = act(&mut machine);
        let open = matches!(machine.phase(), Phase::InTransaction);
        self.open.store(open, Ordering::Release);
        result
    }

    /// Begins a transaction.
    pub(super) fn begin(&self) -> Result<(), ClientError> {
        let _swept = self.sweeping.lock();
        self.with(Machine::begin)
    }

    /// Lets `sweep` drop what waits, if it shall not be sent, and tells it why.
    pub(super) fn sweep(&self, sweep: impl FnOnce(&ClientError)) {
        let _sweeping = self.sweeping.lock();
        if let Some(why) = self.with(|machine| machine.dropping()) {
            sweep(&why);
        }
    }

    /// Refuses a record outside of a transaction; costs one load inside of one.
    pub(super) fn admit_record(&self) -> Result<(), ClientError> {
        if self.open.load(Ordering::Acquire) {
            return Ok(());
        }
        Err(self.with(|machine| machine.refusal("send a record")))
    }

    /// A batch has failed for good, and with it the transaction. Returns the error as the
    /// application shall see it.
    pub(super) fn batch_failed(&self, error: &ClientError) -> ClientError {
        if matches!(error, ClientError::TransactionAborted) || error.is_fatal() {
            return error.clone();
        }
        self.with(|machine| {
            if !machine.sends() {
                return machine.dropping().unwrap_or_else(|| error.clone());
            }
            machine.sequence_lost();
            machine.failed(requests::severity_of_batch(error), error)
        })
    }

    /// Runs `ask` until it succeeds, fails for good, or `deadline` would pass.
    async fn retry<T, F: Future<Output = Result<T, ClientError>>>(
        &self,
        deadline: Instant,
        mut ask: impl FnMut() -> F,
    ) -> Result<T, ClientError> {
        let mut attempt = 0;
        loop {
            let error = match ask().await {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            let wait = match error.code() {
                Some(ErrorCode::ConcurrentTransactions) => concurrent_pause(attempt),
                _ => self.core.backoff(attempt),
            };
            if !error.is_retriable() || Instant::now() + wait >= deadline {
                return Err(error);
            }
            tracing::debug!(%error, transactional_id = %self.id, "retrying");
            tokio::time::sleep(wait).await;
            attempt += 1;
        }
    }

    /// How long one request may take.
    fn request_timeout(&self) -> Duration {
        self.core.config.request_timeout_ms
    }

    /// Gets a producer id, or the next epoch of `known`. Fences who had it before.
    pub(super) async fn initialize(&self, deadline: Instant) -> Result<(), ClientError> {
        let known = self.with(|machine| match machine.phase() {
            Phase::Uninitialized => Ok(None),
            // After an abort: the next epoch is due.
            Phase::Aborting => Ok(machine.identity()),
            Phase::Fatal(error) => Err(error.clone()),
            _ => Err(ClientError::IllegalState(format!(
                "transactional id {} is initialized already",
                self.id
            ))),
        })?;
        let asked = self
            .retry(deadline, || async {
                let version2 = !self.version1 && self.finalized_version().await? >= 2;
                let request = requests::init_producer_id(&self.id, millis(self.timeout), known);
                let response = self
                    .coordinator
                    .ask::<InitProducerIdRequest>(
                        self.lane,
                        self.request_timeout(),
                        request,
                        |call| {
                            if known.is_some() {
                                call.at_least(3)
                            } else {
                                call
                            }
                        },
                        |response| self.check(response.error_code, "initialize the producer id"),
                    )
                    .await?;
                let identity = Identity {
                    id: response.producer_id,
                    epoch: response.producer_epoch,
                };
                Ok((identity, version2))
            })
            .await;
        match asked {
            Ok((identity, version2)) => {
                tracing::debug!(transactional_id = %self.id, ?identity, version2, "initialized");
                self.with(|machine| machine.initialized(identity, version2));
                Ok(())
            }
            Err(error) => Err(self.refused(error, Severity::Fatal)),
        }
    }

    /// The finalized `transaction.version` as the coordinator tells it.
    async fn finalized_version(&self) -> Result<i16, ClientError> {
        let broker = self.coordinator.find().await?;
        let request = ApiVersionsRequest {
            client_software_name: Str::from_static("thalweg"),
            client_software_version: Str::from_static(env!("CARGO_PKG_VERSION")),
            ..ApiVersionsRequest::default()
        };
        let call = Call::new(Destination::Broker(broker), request, self.request_timeout());
        let answered = self
            .core
            .exchange::<ApiVersionsRequest>(call.lane(self.lane))
            .await
            .inspect_err(|error| self.coordinator.forget_if(error))?;
        Ok(answered
            .finalized_features
            .iter()
            .find(|feature| feature.name == *FEATURE)
            .map_or(0, |feature| feature.max_version_level))
    }

    fn check(&self, code: i16, what: &str) -> Result<(), ClientError> {
        ErrorCode::from(code)
            .ok()
            .map_err(|code| ClientError::broker(code, format!("{what} of {}", self.id)))
    }

    /// What the refusal of a request means; one that may be retried leaves the machine as
    /// it is.
    fn refused(&self, error: ClientError, otherwise: Severity) -> ClientError {
        match requests::severity(&error, otherwise) {
            Some(severity) => self.with(|machine| machine.failed(severity, &error)),
            None => error,
        }
    }

    /// Hands the request to add partitions over, if there are any to add and none is on its
    /// way. The future is to be given to [`finish_adding`](Self::finish_adding).
    pub(super) fn start_adding(
        self: &Arc<Self>,
    ) -> Option<impl Future<Output = (Vec<TopicPartition>, Result<(), ClientError>)> + Send + use<>>
    {
        let (identity, partitions) = self.with(Machine::start_adding)?;
        let this = self.clone();
        Some(async move {
            let request = requests::add_partitions(&this.id, identity, &partitions);
            let answered = this
                .coordinator
                .ask::<AddPartitionsToTxnRequest>(
                    this.lane,
                    this.request_timeout(),
                    request,
                    // From version 4 on it is what brokers say to each other.
                    |call| call.at_most(3),
                    |response| {
                        this.check(response.error_code, "add partitions to the transaction")?;
                        requests::added(&this.id, response)
                    },
                )
                .await;
            (partitions, answered.map(drop))
        })
    }

    /// Takes the answer. `Err` is to be tried again after a pause.
    pub(super) fn finish_adding(
        &self,
        partitions: &[TopicPartition],
        result: Result<(), ClientError>,
    ) -> Result<(), ClientError> {
        self.with(|machine| machine.finish_adding(partitions, result.is_ok()));
        self.added.notify_waiters();
        match result {
            Err(error) if requests::severity(&error, Severity::Abortable).is_some() => {
                let error = self.refused(error, Severity::Abortable);
                tracing::debug!(%error, "partitions could not be added to the transaction");
                Ok(())
            }
            result => result,
        }
    }

    /// Waits until no request to add partitions is on its way.
    async fn settled(&self) {
        loop {
            let added = self.added.notified();
            tokio::pin!(added);
            added.as_mut().enable();
            if !self.with(|machine| machine.is_adding()) {
                return;
            }
            added.await;
        }
    }

    /// Adds offsets of a group to the transaction.
    pub(super) async fn send_offsets(
        &self,
        offsets: &BTreeMap<TopicPartition, OffsetAndMetadata>,
        group: &GroupMetadata,
        deadline: Instant,
    ) -> Result<(), ClientError> {
        let (identity, version2) = self.with(Machine::add_offsets)?;
        // Half added, they must not commit.
        let half = Half(self);
        let result = self
            .add_offsets(identity, version2, offsets, group, deadline)
            .await;
        std::mem::forget(half);
        result.map_err(|error| {
            let otherwise = Severity::Fatal;
            let severity = requests::severity(&error, otherwise).unwrap_or(Severity::Abortable);
            self.with(|machine| machine.failed(severity, &error))
        })
    }

    async fn add_offsets(
        &self,
        identity: Identity,
        version2: bool,
        offsets: &BTreeMap<TopicPartition, OffsetAndMetadata>,
        group: &GroupMetadata,
        deadline: Instant,
    ) -> Result<(), ClientError> {
        if !version2 {
            self.retry(deadline, || async {
                let request = requests::add_offsets(&self.id, identity, &group.group_id);
                self.coordinator
                    .ask::<AddOffsetsToTxnRequest>(
                        self.lane,
                        self.request_timeout(),
                        request,
                        |call| call,
                        |response| {
                            self.check(response.error_code, "add offsets to the transaction")
                        },
                    )
                    .await
            })
            .await?;
            self.with(Machine::confirm);
        }
        let coordinator = self.group_coordinator(&group.group_id);
        let grouped = group.generation_id >= 0 || !group.member_id.is_empty();
        let request = requests::offset_commit(&self.id, identity, offsets, group);
        self.retry(deadline, || async {
            coordinator
                .ask::<TxnOffsetCommitRequest>(
                    self.lane,
                    self.request_timeout(),
                    request.clone(),
                    |call| match (version2, grouped) {
                        (true, _) => call.at_least(5),
                        (false, true) => call.at_most(4).at_least(3),
                        (false, false) => call.at_most(4),
                    },
                    |response| requests::offsets_committed(&group.group_id, response),
                )
                .await
        })
        .await?;
        self.with(Machine::confirm);
        Ok(())
    }

    fn group_coordinator(&self, group_id: &str) -> Arc<Coordinator> {
        let mut group = self.group.lock();
        match &*group {
            Some(known) if known.key() == group_id => known.clone(),
            _ => {
                let new =
                    Coordinator::new(self.core.clone(), Coordinated::Group, group_id.to_owned());
                group.insert(Arc::new(new)).clone()
            }
        }
    }

    /// Ends the transaction, of which nothing is on its way any more, and gets ready for the
    /// next.
    pub(super) async fn end(&self, commit: bool, deadline: Instant) -> Result<(), ClientError> {
        self.settled().await;
        match self.with(Machine::ending) {
            Ending::Empty | Ending::NewIdentity => self.with(|machine| machine.ended(None)),
            Ending::Ask {
                identity,
                version2,
                confirmed,
            } => {
                let next = self
                    .ask_to_end(identity, version2, confirmed, commit, deadline)
                    .await?;
                self.with(|machine| machine.ended(next));
            }
        }
        if self.with(|machine| machine.needs_bump()) {
            self.initialize(deadline).await?;
        }
        Ok(())
    }

    /// Asks the coordinator to end the transaction; returns the next identity, if it tells.
    async fn ask_to_end(
        &self,
        identity: Identity,
        version2: bool,
        confirmed: bool,
        commit: bool,
        deadline: Instant,
    ) -> Result<Option<Identity>, ClientError> {
        let ended = self
            .retry(deadline, || async {
                self.coordinator.find().await?;
                self.with(Machine::end_sent);
                let request = requests::end(&self.id, identity, commit);
                self.coordinator
                    .ask::<EndTxnRequest>(
                        self.lane,
                        self.request_timeout(),
                        request,
                        |call| {
                            if version2 {
                                call.at_least(5)
                            } else {
                                call.at_most(4)
                            }
                        },
                        |response| self.check(response.error_code, "end the transaction"),
                    )
                    .await
            })
            .await;
        let error = match ended {
            Ok(response) => {
                return Ok((response.producer_id >= 0 && version2).then_some(Identity {
                    id: response.producer_id,
                    epoch: response.producer_epoch,
                }));
            }
            Err(error) => error,
        };
        let code = error.code();
        // The coordinator has never heard of it: there is nothing to abort.
        if !commit && !confirmed && !version2 && code == Some(ErrorCode::InvalidTxnState) {
            return Ok(None);
        }
        let Some(severity) = requests::severity(&error, Severity::Fatal) else {
            return Err(ClientError::OutcomeUnknown {
                transactional_id: self.id.clone(),
                commit,
                source: Arc::new(error),
            });
        };
        let error = self.with(|machine| machine.failed(severity, &error));
        if !commit && code == Some(ErrorCode::InvalidProducerIdMapping) {
            // It has forgotten the producer, and so has ended what was open.
            return Ok(None);
        }
        Err(error)
    }
}

impl Drop for Transactions {
    fn drop(&mut self) {
        self.core.transport.close_lane(self.lane);
    }
}

/// Told when the future that adds offsets is dropped before it is done.
struct Half<'a>(&'a Transactions);

impl Drop for Half<'_> {
    fn drop(&mut self) {
        let error = ClientError::IllegalState(
            "send_offsets_to_transaction was cancelled before it was done".to_owned(),
        );
        self.0
            .with(|machine| machine.failed(Severity::Abortable, &error));
    }
}
