//! The coordinator of the transactions of one partition of `__transaction_state`.
//!
//! Invariants: every request is answered exactly once; what an answer promises is in the log first;
//! a transactional id goes through one transition at a time; a decided outcome is carried out to
//! the end, whatever fails in between, and nothing new begins under the id before; the same events
//! at the same times give the same actions.

use std::collections::{BTreeMap, BTreeSet};

use super::metadata::TransactionMetadata;
use super::records::TransactionRecord;
use super::types::{
    Action, AddPartitions, AllocationId, End, Event, Init, Markers, MarkersId, Reply, Token,
    TopicPartition, TransactionConfig, TransactionState, WriteId,
};
use crate::wire::{ErrorCode, Str};

/// Tombstones in one write.
const EXPIRED_AT_ONCE: usize = 500;

/// A transactional id with what is under way.
#[derive(Debug, Clone)]
pub(super) struct Transaction {
    /// What stands in the log.
    pub(super) metadata: TransactionMetadata,
    /// What is being written to the log.
    pub(super) pending: Option<TransactionMetadata>,
    /// While the outcome is prepared: the partitions that lack their marker.
    pub(super) unmarked: BTreeSet<TopicPartition>,
}

impl Transaction {
    /// Between two states: whoever asks now is to ask again.
    pub(super) fn in_transition(&self) -> bool {
        self.pending.is_some() || self.metadata.state.is_prepared()
    }
}

/// What is done when a write is made, or could not be.
#[derive(Debug, Clone)]
pub(super) enum Write {
    Initialized(Str, Token),
    Added(Str, Token),
    Prepared(Str, Waiting),
    Completed(Str),
    Expired(Vec<Str>),
}

/// A request, or a duty, that may need a producer id.
#[derive(Debug, Clone)]
pub(super) enum Request {
    Init(Token, Init),
    End(Token, End),
    /// A transaction took too long.
    TimedOut(Str),
}

/// Who waits for an outcome to be prepared.
#[derive(Debug, Clone, Copy)]
pub(super) enum Waiting {
    /// A client that ended its transaction, and the version it speaks.
    End(Token, i16),
    /// A producer that fences an older one; it will have to ask again.
    Init(Token),
    /// Nobody: the transaction took too long.
    Nobody,
}

/// The coordinator of the transactions of one partition of `__transaction_state`, sans-IO.
///
/// The caller hands in [`Event`]s with the time and carries out the [`Action`]s in their order.
/// Between events it calls [`next_deadline`](Self::next_deadline) and steps an [`Event::Tick`]
/// when that time has come.
///
/// ```
/// use thalweg_log::transaction::{Action, Coordinator, Event, Init, Reply, TransactionConfig};
///
/// let mut coordinator = Coordinator::new(TransactionConfig::default(), 0);
/// let init = Init { transactional_id: "t".into(), timeout_ms: 60_000, expected: None };
/// let actions = coordinator.step(Event::Init(1, init), 0);
/// let [Action::AllocateProducerId(id)] = actions[..] else { panic!("{actions:?}") };
/// let actions = coordinator.step(Event::Allocated(id, Ok(7)), 0);
/// let Action::Persist(write, _) = &actions[0] else { panic!("{actions:?}") };
/// let actions = coordinator.step(Event::Persisted(*write, Ok(())), 0);
/// assert!(actions.contains(&Action::Reply(1, Reply::Initialized(Ok((7, 0))))));
/// ```
#[derive(Debug, Clone)]
pub struct Coordinator {
    pub(super) config: TransactionConfig,
    epoch: i32,
    pub(super) now: i64,
    pub(super) transactions: BTreeMap<Str, Transaction>,
    writes: BTreeMap<WriteId, Write>,
    rounds: BTreeMap<MarkersId, Str>,
    allocations: BTreeMap<AllocationId, Request>,
    next_id: u64,
    retries: BTreeSet<(i64, Str)>,
    next_timeout_check: Option<i64>,
    next_expiry_check: Option<i64>,
    out: Vec<Action>,
}

impl Coordinator {
    /// A coordinator without transactions. `epoch` is the leader epoch of its partition: the
    /// markers carry it, so that those of an older coordinator are refused.
    pub fn new(config: TransactionConfig, epoch: i32) -> Self {
        Self {
            config,
            epoch,
            now: 0,
            transactions: BTreeMap::new(),
            writes: BTreeMap::new(),
            rounds: BTreeMap::new(),
            allocations: BTreeMap::new(),
            next_id: 0,
            retries: BTreeSet::new(),
            next_timeout_check: None,
            next_expiry_check: None,
            out: Vec::new(),
        }
    }

    /// Takes over a record of the log, in its order, before [`Event::Loaded`].
    pub fn load(&mut self, record: TransactionRecord) {
        match record.metadata {
            Some(metadata) => {
                let transaction = Transaction {
                    metadata,
                    pending: None,
                    unmarked: BTreeSet::new(),
                };
                self.transactions
                    .insert(record.transactional_id, transaction);
            }
            None => {
                self.transactions.remove(&record.transactional_id);
            }
        }
    }

    /// Handles an event and says what is to be done, in order.
    pub fn step(&mut self, event: Event, now: i64) -> Vec<Action> {
        self.now = now;
        match event {
            Event::Loaded => self.on_loaded(),
            Event::Allocated(allocation, id) => self.on_allocated(allocation, id),
            Event::Persisted(write, result) => {
                if let Some(write) = self.writes.remove(&write) {
                    self.on_persisted(write, result);
                }
            }
            Event::Marked(round, results) => self.on_marked(round, results),
            Event::Tick => self.on_tick(),
            Event::Init(token, init) => self.on_init(token, init, None),
            Event::AddPartitions(token, add) => self.on_add_partitions(token, add),
            Event::End(token, end) => self.on_end(token, end, None),
        }
        std::mem::take(&mut self.out)
    }

    /// When the next [`Event::Tick`] is due.
    pub fn next_deadline(&self) -> Option<i64> {
        let retry = self.retries.first().map(|(at, _)| *at);
        if self.transactions.is_empty() {
            return retry;
        }
        let checks = [self.next_timeout_check, self.next_expiry_check];
        let checks = checks.into_iter().map(|at| at.unwrap_or(0));
        checks.chain(retry).min()
    }

    /// Whether a transactional id is not between two states, so that it makes sense to ask again.
    pub fn is_settled(&self, transactional_id: &str) -> bool {
        self.transactions
            .get(transactional_id)
            .is_none_or(|t| !t.in_transition())
    }

    /// A transactional id, as DescribeTransactions shows it: while its outcome is being carried
    /// out, with the partitions that still lack their marker.
    pub fn describe(&self, transactional_id: &str) -> Option<TransactionMetadata> {
        let transaction = self.transactions.get(transactional_id)?;
        let mut metadata = transaction.metadata.clone();
        if metadata.state.is_prepared() {
            metadata.partitions = transaction.unmarked.clone();
        }
        Some(metadata)
    }

    /// Every transactional id with what stands in the log of it.
    pub fn list(&self) -> impl Iterator<Item = (&Str, &TransactionMetadata)> {
        self.transactions.iter().map(|(id, t)| (id, &t.metadata))
    }

    /// Whether partitions belong to a producer's transaction; adds nothing.
    ///
    /// # Errors
    /// An [`ErrorCode`] for all of them if there is no such transaction.
    pub fn verify(
        &self,
        asked: &AddPartitions,
    ) -> Result<Vec<(TopicPartition, ErrorCode)>, ErrorCode> {
        if asked.transactional_id.is_empty() {
            return Err(ErrorCode::InvalidRequest);
        }
        let metadata = match self.transactions.get(&asked.transactional_id) {
            Some(transaction) => &transaction.metadata,
            None => return Err(ErrorCode::InvalidProducerIdMapping),
        };
        if metadata.producer_id != asked.producer_id {
            return Err(ErrorCode::InvalidProducerIdMapping);
        }
        if metadata.producer_epoch != asked.producer_epoch {
            return Err(ErrorCode::ProducerFenced);
        }
        if metadata.state.is_prepared() {
            return Err(ErrorCode::ConcurrentTransactions);
        }
        let code = |at: &TopicPartition| match metadata.partitions.contains(at) {
            true => ErrorCode::None,
            false => ErrorCode::TransactionAbortable,
        };
        let partitions = asked.partitions.iter();
        Ok(partitions.map(|at| (at.clone(), code(at))).collect())
    }

    pub(super) fn reply(&mut self, token: Token, reply: Reply) {
        self.out.push(Action::Reply(token, reply));
    }

    /// Asks for a producer id; the request is handled anew when there is one.
    pub(super) fn allocate(&mut self, request: Request) {
        let id = self.new_id();
        self.allocations.insert(id, request);
        self.out.push(Action::AllocateProducerId(id));
    }

    /// Writes the next state of a transactional id.
    pub(super) fn persist(&mut self, id: &Str, next: TransactionMetadata, then: Write) {
        let Some(transaction) = self.transactions.get_mut(id) else {
            return;
        };
        transaction.pending = Some(next.clone());
        let record = TransactionRecord {
            transactional_id: id.clone(),
            metadata: Some(next),
        };
        self.write(vec![record], then);
    }

    fn write(&mut self, records: Vec<TransactionRecord>, then: Write) {
        let id = self.new_id();
        self.writes.insert(id, then);
        self.out.push(Action::Persist(id, records));
    }

    fn new_id(&mut self) -> u64 {
        self.next_id = self.next_id.wrapping_add(1);
        self.next_id
    }

    fn on_loaded(&mut self) {
        let prepared: Vec<Str> = self
            .transactions
            .iter()
            .filter(|(_, t)| t.metadata.state.is_prepared())
            .map(|(id, _)| id.clone())
            .collect();
        for id in prepared {
            self.carry_out(&id);
        }
    }

    fn on_allocated(&mut self, allocation: AllocationId, id: Result<i64, ErrorCode>) {
        let Some(request) = self.allocations.remove(&allocation) else {
            return;
        };
        match (id, request) {
            (Ok(id), Request::Init(token, init)) => self.on_init(token, init, Some(id)),
            (Ok(id), Request::End(token, end)) => self.on_end(token, end, Some(id)),
            (Ok(id), Request::TimedOut(timed_out)) => {
                if let Some(transaction) = self.transactions.get(&timed_out)
                    && !transaction.in_transition()
                    && transaction.metadata.is_timed_out(self.now)
                {
                    self.fence(&timed_out, Waiting::Nobody, Some(id));
                }
            }
            (Err(code), Request::Init(token, _)) => {
                self.reply(token, Reply::Initialized(Err(code)));
            }
            (Err(code), Request::End(token, _)) => self.reply(token, Reply::Ended(Err(code))),
            // It is looked at again.
            (Err(_), Request::TimedOut(_)) => {}
        }
    }

    fn on_persisted(&mut self, write: Write, result: Result<(), ErrorCode>) {
        match write {
            Write::Initialized(id, token) => {
                let reply = match (result, self.settle(&id, result)) {
                    (Ok(()), Some(now)) => Ok((now.producer_id, now.producer_epoch)),
                    (Ok(()), None) => Err(ErrorCode::NotCoordinator),
                    (Err(code), _) => Err(code),
                };
                self.reply(token, Reply::Initialized(reply));
                self.out.push(Action::Settled(id));
            }
            Write::Added(id, token) => {
                self.settle(&id, result);
                let code = result.err().unwrap_or(ErrorCode::None);
                self.reply(token, Reply::Added(code));
                self.out.push(Action::Settled(id));
            }
            Write::Prepared(id, waiting) => self.on_prepared(id, waiting, result),
            Write::Completed(id) => match result {
                Ok(()) => {
                    self.settle(&id, result);
                    self.out.push(Action::Settled(id));
                }
                Err(code) => {
                    tracing::warn!(transactional_id = %id, %code, "the completion of a transaction could not be written and is tried again");
                    self.settle(&id, result);
                    self.retry_later(id);
                }
            },
            Write::Expired(ids) => {
                for id in ids {
                    if result.is_ok() {
                        self.transactions.remove(&id);
                    } else if let Some(transaction) = self.transactions.get_mut(&id) {
                        transaction.pending = None;
                    }
                    self.out.push(Action::Settled(id));
                }
            }
        }
    }

    /// What was pending is so, or is not.
    fn settle(&mut self, id: &Str, result: Result<(), ErrorCode>) -> Option<&TransactionMetadata> {
        let transaction = self.transactions.get_mut(id)?;
        let pending = transaction.pending.take();
        if let (Ok(()), Some(next)) = (result, pending) {
            transaction.metadata = next;
        }
        Some(&transaction.metadata)
    }

    fn on_prepared(&mut self, id: Str, waiting: Waiting, result: Result<(), ErrorCode>) {
        let next = self.settle(&id, result).map(|prepared| {
            // What the client may go on with, as soon as the markers are written.
            let next = prepared.completed(0);
            (next.producer_id, next.producer_epoch)
        });
        match waiting {
            Waiting::End(token, version) => {
                let reply = match (result, next) {
                    (Ok(()), Some(next)) => Ok(super::end::answer(version, next)),
                    (Ok(()), None) => Err(ErrorCode::NotCoordinator),
                    (Err(code), _) => Err(code),
                };
                self.reply(token, Reply::Ended(reply));
            }
            Waiting::Init(token) => {
                let code = result.err().unwrap_or(ErrorCode::ConcurrentTransactions);
                self.reply(token, Reply::Initialized(Err(code)));
            }
            Waiting::Nobody => {
                tracing::info!(transactional_id = %id, ?result, "a transaction took too long and is aborted");
            }
        }
        match result {
            Ok(()) => self.carry_out(&id),
            Err(_) => self.out.push(Action::Settled(id)),
        }
    }

    /// The outcome stands in the log: every partition is to have its marker.
    fn carry_out(&mut self, id: &Str) {
        if let Some(transaction) = self.transactions.get_mut(id) {
            transaction.unmarked = transaction.metadata.partitions.clone();
        }
        self.go_on(id);
    }

    /// The next step towards completion: markers where they are missing, else the last record.
    fn go_on(&mut self, id: &Str) {
        let Some(transaction) = self.transactions.get(id) else {
            return;
        };
        let metadata = &transaction.metadata;
        if !metadata.state.is_prepared() || transaction.pending.is_some() {
            return;
        }
        if transaction.unmarked.is_empty() {
            let next = metadata.completed(self.now);
            return self.persist(id, next, Write::Completed(id.clone()));
        }
        let markers = Markers {
            producer_id: metadata.producer_id,
            producer_epoch: metadata.producer_epoch,
            coordinator_epoch: self.epoch,
            commit: metadata.state == TransactionState::PrepareCommit,
            version: metadata.client_version,
            partitions: transaction.unmarked.iter().cloned().collect(),
        };
        let round = self.new_id();
        self.rounds.insert(round, id.clone());
        self.out.push(Action::WriteMarkers(round, markers));
    }

    fn on_marked(&mut self, round: MarkersId, results: Vec<(TopicPartition, ErrorCode)>) {
        let Some(id) = self.rounds.remove(&round) else {
            return;
        };
        let Some(transaction) = self.transactions.get_mut(&id) else {
            return;
        };
        for (at, code) in results {
            match code {
                ErrorCode::None => {
                    transaction.unmarked.remove(&at);
                }
                // The partition has seen a later epoch of the producer, which only gets one when
                // this transaction is over there.
                ErrorCode::InvalidProducerEpoch => {
                    tracing::warn!(transactional_id = %id, topic = %at.0, partition = at.1,
                        "the partition is past the transaction: its marker is left out");
                    transaction.unmarked.remove(&at);
                }
                code => {
                    tracing::info!(transactional_id = %id, topic = %at.0, partition = at.1, %code,
                        "a marker could not be written and is tried again");
                }
            }
        }
        if transaction.unmarked.is_empty() {
            self.go_on(&id);
        } else {
            self.retry_later(id);
        }
    }

    fn retry_later(&mut self, id: Str) {
        let at = self.now.saturating_add(self.config.retry_backoff_ms);
        self.retries.insert((at, id));
    }

    fn on_tick(&mut self) {
        while let Some((at, id)) = self.retries.pop_first() {
            if at > self.now {
                self.retries.insert((at, id));
                break;
            }
            self.go_on(&id);
        }
        if self.next_timeout_check.is_none_or(|at| at <= self.now) {
            let next = self.config.abort_timed_out_interval_ms;
            self.next_timeout_check = Some(self.now.saturating_add(next));
            self.abort_timed_out();
        }
        if self.next_expiry_check.is_none_or(|at| at <= self.now) {
            let next = self.config.remove_expired_interval_ms;
            self.next_expiry_check = Some(self.now.saturating_add(next));
            self.forget_expired();
        }
    }

    fn abort_timed_out(&mut self) {
        let timed_out: Vec<Str> = self
            .transactions
            .iter()
            .filter(|(_, t)| !t.in_transition() && t.metadata.is_timed_out(self.now))
            .map(|(id, _)| id.clone())
            .collect();
        for id in timed_out {
            if !self.fence(&id, Waiting::Nobody, None) {
                self.allocate(Request::TimedOut(id));
            }
        }
    }

    fn forget_expired(&mut self) {
        let (now, expiration) = (self.now, self.config.id_expiration_ms);
        let mut expired = Vec::new();
        for (id, transaction) in &mut self.transactions {
            if transaction.pending.is_none() && transaction.metadata.is_expired(now, expiration) {
                transaction.pending = Some(transaction.metadata.dead());
                expired.push(id.clone());
            }
        }
        for ids in expired.chunks(EXPIRED_AT_ONCE) {
            let tombstone = |id: &Str| TransactionRecord {
                transactional_id: id.clone(),
                metadata: None,
            };
            let records = ids.iter().map(tombstone).collect();
            self.write(records, Write::Expired(ids.to_vec()));
        }
    }
}
