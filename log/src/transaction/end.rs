//! EndTxn: the outcome of a transaction is decided, once.
//!
//! With transactions v2 the epoch tells a request that is sent again from one for the next
//! transaction: the first carries the epoch before the current one. Before v2 it cannot be told,
//! and any request that agrees with the last outcome is taken for one sent again.
//!
//! One step beyond Kafka's coordinator: the epoch before the current one only means a request sent
//! again when the last transaction was ended under v2, which is what bumped the epoch. Else a
//! fenced v2 producer could, by aborting, be given the epoch of the v1 producer that fenced it.

use super::coordinator::{Coordinator, Request, Transaction, Waiting, Write};
use super::metadata::{LAST_EPOCH, NO_EPOCH, NO_PRODUCER_ID, TRANSACTIONS_V2};
use super::types::{End, Reply, Token, TransactionState};
use crate::wire::ErrorCode;

/// What to do with a request to end a transaction.
enum Decision {
    /// It is ended with this outcome already.
    Ended,
    /// Decide the outcome.
    Prepare,
}

/// What the client is told to go on with.
pub(super) fn answer(version: i16, next: (i64, i16)) -> (i64, i16) {
    if version >= TRANSACTIONS_V2 {
        next
    } else {
        (NO_PRODUCER_ID, NO_EPOCH)
    }
}

impl Coordinator {
    pub(super) fn on_end(&mut self, token: Token, end: End, fresh: Option<i64>) {
        if let Some(reply) = self.try_end(token, end, fresh) {
            self.reply(token, Reply::Ended(reply));
        }
    }

    /// The answer, if there is nothing to do first.
    fn try_end(
        &mut self,
        token: Token,
        end: End,
        fresh: Option<i64>,
    ) -> Option<Result<(i64, i16), ErrorCode>> {
        if end.transactional_id.is_empty() {
            return Some(Err(ErrorCode::InvalidRequest));
        }
        let Some(transaction) = self.transactions.get(&end.transactional_id) else {
            return Some(Err(ErrorCode::InvalidProducerIdMapping));
        };
        let v2 = end.version >= TRANSACTIONS_V2;
        let decided = if v2 {
            decide_v2(transaction, &end)
        } else {
            decide_v1(transaction, &end)
        };
        let metadata = &transaction.metadata;
        match decided {
            Err(code) => {
                if code == ErrorCode::InvalidTxnState {
                    tracing::warn!(transactional_id = %end.transactional_id, commit = end.commit,
                        state = metadata.state.name(), "the end of a transaction is refused");
                }
                return Some(Err(code));
            }
            Ok(Decision::Ended) => {
                let current = (metadata.producer_id, metadata.producer_epoch);
                return Some(Ok(answer(end.version, current)));
            }
            Ok(Decision::Prepare) => {}
        }
        if v2 && metadata.is_exhausted() && fresh.is_none() {
            self.allocate(Request::End(token, end));
            return None;
        }
        let fresh = fresh.filter(|_| v2 && metadata.is_exhausted());
        let next = metadata.prepared(end.commit, end.version, fresh, self.now);
        let waiting = Waiting::End(token, end.version);
        let id = end.transactional_id;
        self.persist(&id, next, Write::Prepared(id.clone(), waiting));
        None
    }
}

fn decide_v1(transaction: &Transaction, end: &End) -> Result<Decision, ErrorCode> {
    let metadata = &transaction.metadata;
    if metadata.producer_id != end.producer_id {
        return Err(ErrorCode::InvalidProducerIdMapping);
    }
    if metadata.producer_epoch != end.producer_epoch {
        return Err(ErrorCode::ProducerFenced);
    }
    if transaction.in_transition() {
        return Err(ErrorCode::ConcurrentTransactions);
    }
    match (metadata.state, end.commit) {
        (TransactionState::Ongoing, _) => Ok(Decision::Prepare),
        (TransactionState::CompleteCommit, true) | (TransactionState::CompleteAbort, false) => {
            Ok(Decision::Ended)
        }
        _ => Err(ErrorCode::InvalidTxnState),
    }
}

fn decide_v2(transaction: &Transaction, end: &End) -> Result<Decision, ErrorCode> {
    // First, as the producer may already use an id that is about to be the current one.
    if transaction.in_transition() {
        return Err(ErrorCode::ConcurrentTransactions);
    }
    let metadata = &transaction.metadata;
    // The epochs were used up with the transaction that is ended again: there is a new id.
    let again_rotated = metadata.previous_producer_id == end.producer_id
        && end.producer_epoch == LAST_EPOCH
        && metadata.producer_epoch == 0;
    let bumped = metadata.client_version >= TRANSACTIONS_V2;
    let again = again_rotated
        || bumped
            && i32::from(metadata.producer_epoch)
                == i32::from(end.producer_epoch).saturating_add(1);
    if metadata.producer_id != end.producer_id && !again_rotated {
        return Err(ErrorCode::InvalidProducerIdMapping);
    }
    let current = metadata.producer_epoch == end.producer_epoch;
    let complete = matches!(
        metadata.state,
        TransactionState::CompleteCommit | TransactionState::CompleteAbort
    );
    let repeated = again && complete;
    if !current && !repeated {
        return Err(ErrorCode::ProducerFenced);
    }
    match (metadata.state, end.commit) {
        (TransactionState::Ongoing, _) => Ok(Decision::Prepare),
        (TransactionState::CompleteCommit, true) | (TransactionState::CompleteAbort, false)
            if again =>
        {
            Ok(Decision::Ended)
        }
        // The client does not know whether a transaction began here: an abort is always right.
        (
            TransactionState::Empty
            | TransactionState::CompleteCommit
            | TransactionState::CompleteAbort,
            false,
        ) if !again => Ok(Decision::Prepare),
        _ => Err(ErrorCode::InvalidTxnState),
    }
}
