//! DescribeTransactions: the state of transactional ids.

use crate::broker::core::Core;
use crate::transaction::TransactionMetadata;
use crate::wire::messages::{
    DescribeTransactionsRequest, DescribeTransactionsResponse, DescribedTransaction,
    DescribedTransactionTopic,
};
use crate::wire::{ErrorCode, Str};

pub(crate) fn handle(
    core: &Core,
    request: DescribeTransactionsRequest,
) -> DescribeTransactionsResponse {
    let describe = |id: Str| match core.transactions.describe(core, &id) {
        Ok(metadata) => described(id, metadata),
        Err(code) => DescribedTransaction {
            error_code: code.code(),
            transactional_id: id,
            ..DescribedTransaction::default()
        },
    };
    DescribeTransactionsResponse {
        transaction_states: request
            .transactional_ids
            .into_iter()
            .map(describe)
            .collect(),
        ..DescribeTransactionsResponse::default()
    }
}

fn described(id: Str, metadata: TransactionMetadata) -> DescribedTransaction {
    let mut topics: Vec<DescribedTransactionTopic> = Vec::new();
    // Ordered by topic: one run each.
    for (topic, partition) in metadata.partitions {
        match topics.last_mut() {
            Some(last) if last.topic == topic => last.partitions.push(partition),
            _ => topics.push(DescribedTransactionTopic {
                topic,
                partitions: vec![partition],
                ..DescribedTransactionTopic::default()
            }),
        }
    }
    DescribedTransaction {
        error_code: ErrorCode::None.code(),
        transactional_id: id,
        transaction_state: Str::from_static(metadata.state.name()),
        transaction_timeout_ms: metadata.timeout_ms,
        transaction_start_time_ms: metadata.start_ms,
        producer_id: metadata.producer_id,
        producer_epoch: metadata.producer_epoch,
        topics,
        ..DescribedTransaction::default()
    }
}
