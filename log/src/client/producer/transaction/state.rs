//! The states of a transactional producer.
//!
//! A plain state machine, without I/O. Invariants: records and offsets are taken in only
//! between `begin` and the end of a transaction; after a failure nothing of the
//! transaction is sent any more but its abort; once the request to commit may have reached
//! the coordinator, the transaction can no longer be aborted, only asked about again; a
//! fatal error is never left.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::partition::Identity;
use crate::client::{ClientError, TopicPartition};
use crate::wire::ErrorCode;

/// What the producer may do.
#[derive(Debug, Clone)]
pub(crate) enum Phase {
    /// `init_transactions` has not succeeded yet.
    Uninitialized,
    /// Between transactions.
    Ready,
    /// Records and offsets are taken in.
    InTransaction,
    /// What was taken in is sent, then the transaction commits.
    Committing,
    /// What was not sent is dropped, then the transaction aborts.
    Aborting,
    /// Only an abort helps.
    AbortRequired(ClientError),
    /// Nothing helps.
    Fatal(ClientError),
}

/// What kind of failure an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Severity {
    /// Another producer has taken over.
    Fenced,
    /// The producer cannot go on.
    Fatal,
    /// The transaction cannot commit.
    Abortable,
}

/// How the protocol goes on when a transaction is to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Nothing was added to it: no request is needed.
    Empty,
    /// Ask the coordinator to end it.
    Ask {
        identity: Identity,
        version2: bool,
        /// Whether the coordinator has certainly heard of the transaction.
        confirmed: bool,
    },
    /// The coordinator has forgotten the producer id: only a new one helps.
    NewIdentity,
}

/// The state of a transactional producer.
#[derive(Debug)]
pub(crate) struct Machine {
    transactional_id: Arc<str>,
    phase: Phase,
    identity: Option<Identity>,
    /// Transactions as of KIP-890: partitions are added by being written to, and every end
    /// bumps the epoch.
    version2: bool,
    /// Partitions that the coordinator knows to be in the transaction (version 1), or that
    /// were written to (version 2).
    added: BTreeSet<TopicPartition>,
    /// To be added before they may be written to (version 1).
    wanted: BTreeSet<TopicPartition>,
    /// A request to add partitions is on its way.
    adding: bool,
    /// The coordinator may have heard of the transaction.
    started: bool,
    /// It certainly has.
    confirmed: bool,
    /// The request to end the transaction may have reached the coordinator.
    end_sent: bool,
    /// The sequences are broken: the next transaction needs another epoch.
    bump: bool,
    /// The coordinator does not know the producer id any more.
    forgotten: bool,
}

impl Machine {
    pub(crate) fn new(transactional_id: Arc<str>) -> Self {
        Self {
            transactional_id,
            phase: Phase::Uninitialized,
            identity: None,
            version2: false,
            added: BTreeSet::new(),
            wanted: BTreeSet::new(),
            adding: false,
            started: false,
            confirmed: false,
            end_sent: false,
            bump: false,
            forgotten: false,
        }
    }

    pub(crate) fn phase(&self) -> &Phase {
        &self.phase
    }

    pub(crate) fn identity(&self) -> Option<Identity> {
        self.identity
    }

    pub(crate) fn is_version2(&self) -> bool {
        self.version2
    }

    pub(crate) fn is_adding(&self) -> bool {
        self.adding
    }

    /// Whether the epoch must be bumped by the coordinator before the next transaction.
    pub(crate) fn needs_bump(&self) -> bool {
        self.forgotten || (self.bump && !self.version2)
    }

    /// Why nothing of the transaction is sent any more, if so.
    pub(crate) fn dropping(&self) -> Option<ClientError> {
        match &self.phase {
            Phase::Aborting => Some(ClientError::TransactionAborted),
            Phase::AbortRequired(error) | Phase::Fatal(error) => Some(error.clone()),
            _ => None,
        }
    }

    /// Whether batches may be sent.
    pub(crate) fn sends(&self) -> bool {
        matches!(self.phase, Phase::InTransaction | Phase::Committing)
    }

    /// Whether there is a transaction that has not ended.
    pub(crate) fn is_open(&self) -> bool {
        matches!(
            self.phase,
            Phase::InTransaction | Phase::Committing | Phase::Aborting | Phase::AbortRequired(_)
        )
    }

    fn illegal(&self, what: &str, why: &str) -> ClientError {
        ClientError::IllegalState(format!(
            "cannot {what} with transactional id {}: {why}",
            self.transactional_id
        ))
    }

    /// The error of a call that does not fit the phase.
    pub(crate) fn refusal(&self, what: &str) -> ClientError {
        match &self.phase {
            Phase::Fatal(error) | Phase::AbortRequired(error) => error.clone(),
            Phase::Uninitialized => {
                self.illegal(what, "call init_transactions first and wait for it")
            }
            Phase::Ready => {
                self.illegal(what, "no transaction is open; call begin_transaction first")
            }
            Phase::InTransaction => self.illegal(what, "a transaction is open"),
            Phase::Committing => self.illegal(
                what,
                "the transaction is committing; call commit_transaction again until it has an outcome",
            ),
            Phase::Aborting => self.illegal(
                what,
                "the transaction is aborting; call abort_transaction again until it is done",
            ),
        }
    }

    /// The coordinator has given an identity.
    pub(crate) fn initialized(&mut self, identity: Identity, version2: bool) {
        if matches!(self.phase, Phase::Fatal(_)) {
            return;
        }
        self.identity = Some(identity);
        self.version2 = version2;
        self.clear();
        self.phase = Phase::Ready;
    }

    fn clear(&mut self) {
        self.added.clear();
        self.wanted.clear();
        self.started = false;
        self.confirmed = false;
        self.end_sent = false;
        self.bump = false;
        self.forgotten = false;
    }

    pub(crate) fn begin(&mut self) -> Result<(), ClientError> {
        match self.phase {
            Phase::Ready => {
                self.phase = Phase::InTransaction;
                Ok(())
            }
            _ => Err(self.refusal("begin a transaction")),
        }
    }

    /// Whether a batch for the partition may be sent now. If not, it is remembered that the
    /// partition is to be added.
    pub(crate) fn admits(&mut self, partition: &TopicPartition) -> bool {
        if !self.sends() {
            return false;
        }
        if self.added.contains(partition) {
            return true;
        }
        if self.version2 {
            // Writing to it adds it.
            self.added.insert(partition.clone());
            self.started = true;
            return true;
        }
        if !self.wanted.contains(partition) {
            self.wanted.insert(partition.clone());
        }
        false
    }

    /// The partitions to ask the coordinator to add, if it is time to ask.
    pub(crate) fn start_adding(&mut self) -> Option<(Identity, Vec<TopicPartition>)> {
        if self.adding || self.wanted.is_empty() || !self.sends() {
            return None;
        }
        let identity = self.identity?;
        self.adding = true;
        self.started = true;
        Some((identity, self.wanted.iter().cloned().collect()))
    }

    /// The answer to the request that [`start_adding`](Self::start_adding) began.
    pub(crate) fn finish_adding(&mut self, partitions: &[TopicPartition], done: bool) {
        self.adding = false;
        if done {
            self.confirmed = true;
            for partition in partitions {
                self.wanted.remove(partition);
                self.added.insert(partition.clone());
            }
        }
    }

    /// Offsets are about to be added.
    pub(crate) fn add_offsets(&mut self) -> Result<(Identity, bool), ClientError> {
        match (&self.phase, self.identity) {
            (Phase::InTransaction, Some(identity)) => {
                self.started = true;
                Ok((identity, self.version2))
            }
            _ => Err(self.refusal("send offsets to a transaction")),
        }
    }

    /// The coordinator has heard of the transaction.
    pub(crate) fn confirm(&mut self) {
        self.confirmed = true;
    }

    pub(crate) fn start_commit(&mut self) -> Result<(), ClientError> {
        match self.phase {
            Phase::InTransaction | Phase::Committing => {
                self.phase = Phase::Committing;
                Ok(())
            }
            _ => Err(self.refusal("commit a transaction")),
        }
    }

    pub(crate) fn start_abort(&mut self) -> Result<(), ClientError> {
        match &self.phase {
            Phase::Committing if self.end_sent => Err(self.refusal("abort a transaction")),
            Phase::InTransaction | Phase::Committing | Phase::Aborting => {
                self.phase = Phase::Aborting;
                Ok(())
            }
            Phase::AbortRequired(_) => {
                self.phase = Phase::Aborting;
                Ok(())
            }
            _ => Err(self.refusal("abort a transaction")),
        }
    }

    /// How to end the transaction: everything of it has a result.
    pub(crate) fn ending(&mut self) -> Ending {
        self.wanted.clear();
        let Some(identity) = self.identity.filter(|_| self.started) else {
            return Ending::Empty;
        };
        if self.forgotten {
            return Ending::NewIdentity;
        }
        Ending::Ask {
            identity,
            version2: self.version2,
            confirmed: self.confirmed,
        }
    }

    /// The request to end the transaction goes out.
    pub(crate) fn end_sent(&mut self) {
        self.end_sent = true;
    }

    /// The transaction has ended; `next` is the identity of the next one, if the
    /// coordinator gave one.
    pub(crate) fn ended(&mut self, next: Option<Identity>) {
        if matches!(self.phase, Phase::Fatal(_)) {
            return;
        }
        if let Some(next) = next {
            self.identity = Some(next);
        }
        if self.needs_bump() {
            // Not ready before the coordinator has given the next epoch.
            self.added.clear();
            self.started = false;
            self.end_sent = false;
            return;
        }
        self.clear();
        self.phase = Phase::Ready;
    }

    /// A batch or a request of the transaction has failed for good. Returns the error as
    /// the caller shall see it.
    pub(crate) fn failed(&mut self, severity: Severity, error: &ClientError) -> ClientError {
        let transactional_id = self.transactional_id.clone();
        let source = Arc::new(error.clone());
        match (&self.phase, severity) {
            (Phase::Fatal(known), _) => known.clone(),
            (_, Severity::Fenced) => {
                let error = ClientError::ProducerFenced {
                    transactional_id,
                    source,
                };
                self.phase = Phase::Fatal(error.clone());
                error
            }
            (_, Severity::Fatal) => {
                let error = ClientError::TransactionFatal {
                    transactional_id,
                    source,
                };
                self.phase = Phase::Fatal(error.clone());
                error
            }
            (Phase::AbortRequired(known), Severity::Abortable) => {
                let known = known.clone();
                self.remember(error);
                known
            }
            (_, Severity::Abortable) => {
                self.remember(error);
                let error = ClientError::AbortRequired {
                    transactional_id,
                    source,
                };
                if self.is_open() && !matches!(self.phase, Phase::Aborting) {
                    self.phase = Phase::AbortRequired(error.clone());
                    self.end_sent = false;
                }
                error
            }
        }
    }

    fn remember(&mut self, error: &ClientError) {
        self.forgotten |= error.code() == Some(ErrorCode::InvalidProducerIdMapping);
    }

    /// The brokers and this producer do not agree on the sequences of a partition.
    pub(crate) fn sequence_lost(&mut self) {
        self.bump = true;
    }
}
