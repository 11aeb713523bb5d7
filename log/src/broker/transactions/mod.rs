//! Runs the transaction coordinators: one for each partition of `__transaction_state`.
//!
//! Invariant: locks are taken in this order: a transaction coordinator's, a partition's, a group
//! coordinator's. A group coordinator never calls in here while it holds its own.

mod admission;
mod markers;
mod shard;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

pub(crate) use self::admission::{Admission, OffsetsOf, admit, admit_offsets};
pub(crate) use self::markers::write_markers;
use self::shard::Shard;
use super::core::Core;
use super::partition::Partition;
use super::replicas::TRANSACTIONS_TOPIC;
use super::shards::Shards;
use super::topics::{self, NewTopic, Refused};
use crate::config::Settings;
use crate::transaction::{
    AddPartitions, Coordinator, End, Event, Init, Reply, Token, TopicPartition, TransactionConfig,
    TransactionMetadata,
};
use crate::wire::{ErrorCode, Str};

/// How long a request waits here for a transaction that is between two states before its client is
/// told to come again: `add.partitions.to.txn.retry.backoff.max.ms` of Kafka, for all requests.
const SETTLE: Duration = Duration::from_millis(100);

/// How long to wait before a marker is tried again.
const RETRY_BACKOFF_MS: i64 = 100;

/// The transaction coordinators of this broker.
#[derive(Debug)]
pub(crate) struct Transactions {
    config: TransactionConfig,
    pub(super) shards: Shards<Coordinator>,
}

impl Transactions {
    pub(crate) fn new(settings: &Settings) -> Self {
        let settings = &settings.transactions;
        Self {
            config: TransactionConfig {
                max_timeout_ms: settings.max_timeout_ms,
                id_expiration_ms: i64::from(settings.id_expiration_ms),
                abort_timed_out_interval_ms: i64::from(settings.abort_timed_out_interval_ms),
                remove_expired_interval_ms: i64::from(settings.remove_expired_interval_ms),
                retry_backoff_ms: RETRY_BACKOFF_MS,
            },
            shards: Shards::new(),
        }
    }

    /// Creates `__transaction_state` if there is none yet.
    pub(crate) async fn ensure_topic(&self, core: &Core) -> Result<(), Refused> {
        if self.shards.is_loaded() {
            return Ok(());
        }
        let settings = &core.settings.transactions;
        let own = |key: &str, value: String| (key.to_owned(), Some(value));
        let topic = NewTopic {
            name: TRANSACTIONS_TOPIC.to_owned(),
            partitions: settings.topic_partitions,
            replication_factor: settings.topic_replication_factor,
            configs: vec![
                own("cleanup.policy", "compact".to_owned()),
                own("compression.type", "uncompressed".to_owned()),
                own("min.insync.replicas", settings.topic_min_isr.to_string()),
                own("segment.bytes", settings.topic_segment_bytes.to_string()),
                own("unclean.leader.election.enable", "false".to_owned()),
            ],
            ..NewTopic::default()
        };
        topics::create_if_missing(core, topic).await
    }

    /// New metadata are applied, and the group coordinators have seen them: loads the coordinators
    /// once their topic is there. Blocks on the disk.
    pub(crate) fn metadata_changed(&self, core: &Arc<Core>) {
        let new = |p: &Partition| Coordinator::new(self.config.clone(), p.leader_epoch());
        if let Some(shards) = self.shards.load(core, new) {
            for shard in shards.iter() {
                shard.step(core, Event::Loaded);
            }
            self.shards.publish(shards);
        }
    }

    /// The coordinator of a transactional id.
    fn shard(&self, core: &Core, id: &str) -> Result<Arc<Shard>, ErrorCode> {
        if !self.shards.is_loaded() && core.image().topic(TRANSACTIONS_TOPIC).is_some() {
            return Err(ErrorCode::CoordinatorLoadInProgress);
        }
        self.shards.of(id)
    }

    /// Steps a request and gives the answer. A transaction that is between two states is waited
    /// for a little: it mostly takes less time than a client would stay away.
    async fn ask(
        &self,
        core: &Arc<Core>,
        id: &Str,
        event: impl Fn(Token) -> Event,
    ) -> Result<Reply, ErrorCode> {
        let shard = self.shard(core, id)?;
        let deadline = Instant::now() + SETTLE;
        loop {
            let answer = shard.ask(core, &event);
            let reply = answer.await.map_err(|_| ErrorCode::NotCoordinator)?;
            if reply.error() != ErrorCode::ConcurrentTransactions
                || !shard.settled(id, deadline).await
            {
                return Ok(reply);
            }
        }
    }

    /// Waits until a transactional id is not between two states. `false` if the time is up.
    async fn settled(&self, core: &Core, id: &Str, deadline: Instant) -> bool {
        match self.shard(core, id) {
            Ok(shard) => shard.settled(id, deadline).await,
            Err(_) => false,
        }
    }

    /// InitProducerId under a transactional id: producer id and epoch.
    pub(crate) async fn init(&self, core: &Arc<Core>, init: Init) -> Result<(i64, i16), ErrorCode> {
        let id = init.transactional_id.clone();
        let event = |token| Event::Init(token, init.clone());
        match self.ask(core, &id, event).await? {
            Reply::Initialized(result) => result,
            other => Err(unexpected(other)),
        }
    }

    /// AddPartitionsToTxn and its likes.
    pub(crate) async fn add_partitions(&self, core: &Arc<Core>, add: AddPartitions) -> ErrorCode {
        let id = add.transactional_id.clone();
        let event = |token| Event::AddPartitions(token, add.clone());
        match self.ask(core, &id, event).await {
            Ok(Reply::Added(code)) | Err(code) => code,
            Ok(other) => unexpected(other),
        }
    }

    /// EndTxn: producer id and epoch of the next transaction.
    pub(crate) async fn end(&self, core: &Arc<Core>, end: End) -> Result<(i64, i16), ErrorCode> {
        let id = end.transactional_id.clone();
        let event = |token| Event::End(token, end.clone());
        match self.ask(core, &id, event).await? {
            Reply::Ended(result) => result,
            other => Err(unexpected(other)),
        }
    }

    /// Whether partitions belong to a producer's transaction, as its coordinator knows it.
    pub(crate) fn verify(
        &self,
        core: &Core,
        asked: &AddPartitions,
    ) -> BTreeMap<TopicPartition, ErrorCode> {
        let verified = self
            .shard(core, &asked.transactional_id)
            .and_then(|shard| shard.with(|coordinator| coordinator.verify(asked)));
        match verified {
            Ok(partitions) => partitions.into_iter().collect(),
            Err(code) => all(asked, code),
        }
    }

    /// Adds partitions to a producer's transaction, or only asks whether they belong to it: what
    /// Produce and TxnOffsetCommit do before they append the first batch of a transaction. Waits
    /// for nothing but the log: an ended transaction whose markers are being written is
    /// `CONCURRENT_TRANSACTIONS`.
    pub(crate) async fn add_or_verify(
        &self,
        core: &Arc<Core>,
        asked: AddPartitions,
        verify_only: bool,
    ) -> BTreeMap<TopicPartition, ErrorCode> {
        if verify_only {
            return self.verify(core, &asked);
        }
        let shard = match self.shard(core, &asked.transactional_id) {
            Ok(shard) => shard,
            Err(code) => return all(&asked, code),
        };
        let answer = shard.ask(core, |token| Event::AddPartitions(token, asked.clone()));
        let code = match answer.await {
            Ok(Reply::Added(code)) => code,
            Ok(other) => unexpected(other),
            Err(_) => ErrorCode::NotCoordinator,
        };
        all(&asked, code)
    }

    /// A transactional id, as DescribeTransactions shows it.
    pub(crate) fn describe(&self, core: &Core, id: &Str) -> Result<TransactionMetadata, ErrorCode> {
        if id.is_empty() {
            return Err(ErrorCode::InvalidRequest);
        }
        self.shard(core, id)?
            .with(|coordinator| coordinator.describe(id))
            .ok_or(ErrorCode::TransactionalIdNotFound)
    }

    /// Looks at every transactional id.
    ///
    /// # Errors
    /// `COORDINATOR_NOT_AVAILABLE` if not all of them are known: whoever takes what is missing for
    /// what is not there would end transactions that go on.
    pub(crate) fn for_each(
        &self,
        mut look: impl FnMut(&Str, &TransactionMetadata),
    ) -> Result<(), ErrorCode> {
        let shards = self.shards.table();
        if !shards.is_whole() {
            return Err(ErrorCode::CoordinatorNotAvailable);
        }
        for shard in shards.iter() {
            shard.with(|coordinator| coordinator.list().for_each(|(id, t)| look(id, t)));
        }
        Ok(())
    }
}

fn all(asked: &AddPartitions, code: ErrorCode) -> BTreeMap<TopicPartition, ErrorCode> {
    let partitions = asked.partitions.iter();
    partitions.map(|at| (at.clone(), code)).collect()
}

fn unexpected(reply: Reply) -> ErrorCode {
    tracing::error!(
        ?reply,
        "the transaction coordinator gave another request's answer"
    );
    ErrorCode::UnknownServerError
}
