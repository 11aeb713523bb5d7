//! The state of one transactional id, and the states that may follow it.
//!
//! Invariant: the transitions here only compute what would be next; it becomes so when it is in the
//! log. From one state to the next the producer's epoch never shrinks, except to 0 under a new
//! producer id.

use std::collections::BTreeSet;

use super::types::{TopicPartition, TransactionState};
use crate::wire::ErrorCode;

/// No producer id.
pub(super) const NO_PRODUCER_ID: i64 = -1;

/// No epoch.
pub(super) const NO_EPOCH: i16 = -1;

/// From this version of transactions on the epoch is bumped with each end (KIP-890).
pub(super) const TRANSACTIONS_V2: i16 = 2;

/// The last epoch that a producer is given: one is kept to fence it with.
pub(super) const LAST_EPOCH: i16 = i16::MAX - 1;

/// What is known of a transactional id, and stands in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionMetadata {
    /// The producer's id.
    pub producer_id: i64,
    /// The producer id before the last transition.
    pub previous_producer_id: i64,
    /// The producer id that follows when the transaction is complete, where the epochs of this one
    /// are used up; else -1.
    pub next_producer_id: i64,
    /// The producer's epoch; -1 when there was no producer yet.
    pub producer_epoch: i16,
    /// The epoch before, for producers that ask again; -1 where there is none, and after a restart:
    /// it is not in the log.
    pub last_producer_epoch: i16,
    /// How long a transaction may take.
    pub timeout_ms: i32,
    /// Where it stands.
    pub state: TransactionState,
    /// The partitions of the transaction.
    pub partitions: BTreeSet<TopicPartition>,
    /// When the transaction began; -1 when there is none.
    pub start_ms: i64,
    /// When any of this changed last.
    pub last_update_ms: i64,
    /// The version of transactions with which it came into this state.
    pub client_version: i16,
}

impl TransactionMetadata {
    /// A transactional id that was never used.
    pub(super) fn new(producer_id: i64, timeout_ms: i32, now: i64) -> Self {
        Self {
            producer_id,
            previous_producer_id: NO_PRODUCER_ID,
            next_producer_id: NO_PRODUCER_ID,
            producer_epoch: NO_EPOCH,
            last_producer_epoch: NO_EPOCH,
            timeout_ms,
            state: TransactionState::Empty,
            partitions: BTreeSet::new(),
            start_ms: -1,
            last_update_ms: now,
            client_version: 0,
        }
    }

    /// Whether no producer may be given a higher epoch under this producer id.
    pub(super) fn is_exhausted(&self) -> bool {
        self.producer_epoch >= LAST_EPOCH
    }

    /// Whether the transaction has been open for too long. One without an end (two-phase commit)
    /// never is.
    pub(super) fn is_timed_out(&self, now: i64) -> bool {
        self.state == TransactionState::Ongoing
            && self.timeout_ms != i32::MAX
            && self.start_ms.saturating_add(i64::from(self.timeout_ms)) < now
    }

    /// Whether the transactional id was not used for so long that it may be forgotten.
    pub(super) fn is_expired(&self, now: i64, expiration_ms: i64) -> bool {
        self.state.is_idle() && self.last_update_ms <= now.saturating_sub(expiration_ms)
    }

    fn next(&self, state: TransactionState, now: i64) -> Self {
        Self {
            previous_producer_id: self.producer_id,
            state,
            last_update_ms: now,
            ..self.clone()
        }
    }

    /// Nothing is open, for a producer that begins or begins anew: it gets a higher epoch.
    ///
    /// A producer that says which epoch it has (KIP-360) gets the same answer when it asks again,
    /// and is fenced when another one has come.
    pub(super) fn bumped(
        &self,
        timeout_ms: i32,
        expected: Option<i16>,
        now: i64,
    ) -> Result<Self, ErrorCode> {
        let (epoch, last) = match expected {
            Some(asked_again)
                if asked_again != self.producer_epoch
                    && self.producer_epoch != NO_EPOCH
                    && asked_again == self.last_producer_epoch =>
            {
                (self.producer_epoch, self.last_producer_epoch)
            }
            None => (self.producer_epoch.saturating_add(1), NO_EPOCH),
            Some(epoch) if epoch == self.producer_epoch || self.producer_epoch == NO_EPOCH => {
                (self.producer_epoch.saturating_add(1), self.producer_epoch)
            }
            Some(_) => return Err(ErrorCode::ProducerFenced),
        };
        if epoch > LAST_EPOCH {
            return Err(ErrorCode::ProducerFenced);
        }
        Ok(Self {
            producer_epoch: epoch,
            last_producer_epoch: last,
            timeout_ms,
            partitions: BTreeSet::new(),
            start_ms: -1,
            ..self.next(TransactionState::Empty, now)
        })
    }

    /// As [`bumped`](Self::bumped), when the epochs are used up: a new producer id.
    pub(super) fn rotated(
        &self,
        producer_id: i64,
        timeout_ms: i32,
        keep_last: bool,
        now: i64,
    ) -> Self {
        Self {
            producer_id,
            producer_epoch: 0,
            last_producer_epoch: if keep_last {
                self.producer_epoch
            } else {
                NO_EPOCH
            },
            timeout_ms,
            partitions: BTreeSet::new(),
            start_ms: -1,
            ..self.next(TransactionState::Empty, now)
        }
    }

    /// The transaction has these partitions too; with the first it begins.
    pub(super) fn with_partitions(
        &self,
        more: &BTreeSet<TopicPartition>,
        version: i16,
        now: i64,
    ) -> Self {
        let mut next = Self {
            client_version: version,
            ..self.next(TransactionState::Ongoing, now)
        };
        if self.state.is_idle() {
            next.start_ms = now;
        }
        next.partitions.extend(more.iter().cloned());
        next
    }

    /// The outcome is decided. `fresh` is the producer id that follows if the epochs of this one are
    /// used up.
    pub(super) fn prepared(
        &self,
        commit: bool,
        version: i16,
        fresh: Option<i64>,
        now: i64,
    ) -> Self {
        let state = if commit {
            TransactionState::PrepareCommit
        } else {
            TransactionState::PrepareAbort
        };
        let mut next = Self {
            next_producer_id: fresh.unwrap_or(NO_PRODUCER_ID),
            client_version: version,
            ..self.next(state, now)
        };
        if version >= TRANSACTIONS_V2 {
            // The markers' epoch lies above that of every record of this transaction.
            next.producer_epoch = self.producer_epoch.saturating_add(1);
            next.last_producer_epoch = self.producer_epoch;
        }
        if self.state.is_idle() {
            // An abort of a transaction that never began here.
            next.start_ms = now;
        }
        next
    }

    /// Every partition has its marker.
    pub(super) fn completed(&self, now: i64) -> Self {
        let state = if self.state == TransactionState::PrepareCommit {
            TransactionState::CompleteCommit
        } else {
            TransactionState::CompleteAbort
        };
        let mut next = Self {
            next_producer_id: NO_PRODUCER_ID,
            partitions: BTreeSet::new(),
            ..self.next(state, now)
        };
        if self.client_version >= TRANSACTIONS_V2 && self.next_producer_id != NO_PRODUCER_ID {
            // The client sees the epoch before the last one followed by 0 of the new id.
            next.producer_id = self.next_producer_id;
            next.producer_epoch = 0;
        }
        next
    }

    /// The transactional id is forgotten.
    pub(super) fn dead(&self) -> Self {
        Self {
            partitions: BTreeSet::new(),
            ..self.next(TransactionState::Dead, self.last_update_ms)
        }
    }
}
