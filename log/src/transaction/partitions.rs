//! AddPartitionsToTxn and its likes: the transaction grows; with the first partition it begins.

use super::coordinator::{Coordinator, Write};
use super::types::{AddPartitions, Reply, Token, TransactionState};
use crate::wire::ErrorCode;

impl Coordinator {
    pub(super) fn on_add_partitions(&mut self, token: Token, add: AddPartitions) {
        if let Some(code) = self.try_add(token, add) {
            self.reply(token, Reply::Added(code));
        }
    }

    /// The answer, if there is nothing to write first.
    fn try_add(&mut self, token: Token, add: AddPartitions) -> Option<ErrorCode> {
        if add.transactional_id.is_empty() {
            return Some(ErrorCode::InvalidRequest);
        }
        let Some(transaction) = self.transactions.get(&add.transactional_id) else {
            return Some(ErrorCode::InvalidProducerIdMapping);
        };
        // First, as the producer may already use an id that is about to be the current one.
        if transaction.in_transition() {
            return Some(ErrorCode::ConcurrentTransactions);
        }
        let metadata = &transaction.metadata;
        if metadata.producer_id != add.producer_id {
            return Some(ErrorCode::InvalidProducerIdMapping);
        }
        if metadata.producer_epoch != add.producer_epoch {
            return Some(ErrorCode::ProducerFenced);
        }
        if metadata.state == TransactionState::Ongoing
            && metadata.partitions.is_superset(&add.partitions)
        {
            return Some(ErrorCode::None);
        }
        let next = metadata.with_partitions(&add.partitions, add.version, self.now);
        let id = add.transactional_id;
        self.persist(&id, next, Write::Added(id.clone(), token));
        None
    }
}
