//! InitProducerId: a producer begins under a transactional id, and fences whoever had it before.

use super::coordinator::{Coordinator, Request, Transaction, Waiting, Write};
use super::metadata::{LAST_EPOCH, NO_EPOCH, TRANSACTIONS_V2, TransactionMetadata};
use super::types::{Init, Reply, Token, TransactionState};
use crate::wire::{ErrorCode, Str};

impl Coordinator {
    pub(super) fn on_init(&mut self, token: Token, init: Init, fresh: Option<i64>) {
        if let Err(code) = self.try_init(token, init, fresh) {
            self.reply(token, Reply::Initialized(Err(code)));
        }
    }

    fn try_init(&mut self, token: Token, init: Init, fresh: Option<i64>) -> Result<(), ErrorCode> {
        if init.transactional_id.is_empty() {
            return Err(ErrorCode::InvalidRequest);
        }
        if init.timeout_ms <= 0 || init.timeout_ms > self.config.max_timeout_ms {
            return Err(ErrorCode::InvalidTransactionTimeout);
        }
        let now = self.now;
        let Some(transaction) = self.transactions.get(&init.transactional_id) else {
            let Some(producer_id) = fresh else {
                self.allocate(Request::Init(token, init));
                return Ok(());
            };
            let metadata = TransactionMetadata::new(producer_id, init.timeout_ms, now);
            let next = metadata.bumped(init.timeout_ms, init.expected.map(|e| e.1), now)?;
            let transaction = Transaction {
                metadata,
                pending: None,
                unmarked: Default::default(),
            };
            let id = init.transactional_id;
            self.transactions.insert(id.clone(), transaction);
            self.persist(&id, next, Write::Initialized(id.clone(), token));
            return Ok(());
        };
        if transaction.in_transition() {
            return Err(ErrorCode::ConcurrentTransactions);
        }
        let metadata = &transaction.metadata;
        if let Some((producer_id, epoch)) = init.expected
            && metadata.producer_epoch != NO_EPOCH
            && producer_id != metadata.producer_id
            && !(producer_id == metadata.previous_producer_id && epoch >= LAST_EPOCH)
        {
            return Err(ErrorCode::ProducerFenced);
        }
        if metadata.state == TransactionState::Ongoing {
            // The epoch that this costs is never told: the producer asks again when the older
            // transaction is over, and gets one of its own.
            if !self.fence(&init.transactional_id, Waiting::Init(token), fresh) {
                self.allocate(Request::Init(token, init));
            }
            return Ok(());
        }
        let expected = init.expected.map(|e| e.1);
        let next =
            if metadata.is_exhausted() && expected.is_none_or(|e| e == metadata.producer_epoch) {
                let Some(producer_id) = fresh else {
                    self.allocate(Request::Init(token, init));
                    return Ok(());
                };
                metadata.rotated(producer_id, init.timeout_ms, expected.is_some(), now)
            } else {
                metadata.bumped(init.timeout_ms, expected, now)?
            };
        let id = init.transactional_id;
        self.persist(&id, next, Write::Initialized(id.clone(), token));
        Ok(())
    }

    /// Aborts the ongoing transaction of an id under a higher epoch, so that its producer is
    /// fenced. Returns whether it could: where the epochs are used up it needs a fresh producer id.
    pub(super) fn fence(&mut self, id: &Str, waiting: Waiting, fresh: Option<i64>) -> bool {
        let Some(transaction) = self.transactions.get(id) else {
            return true;
        };
        let metadata = &transaction.metadata;
        if metadata.is_exhausted() && fresh.is_none() {
            return false;
        }
        let fresh = fresh.filter(|_| metadata.is_exhausted());
        // Whatever the producer speaks: the marker's epoch lies above that of its records.
        let next = metadata.prepared(false, TRANSACTIONS_V2, fresh, self.now);
        self.persist(id, next, Write::Prepared(id.clone(), waiting));
        true
    }
}
