//! AddPartitionsToTxn: partitions become part of a transaction, or are found to be.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::broker::core::{Context, Core};
use crate::transaction::{AddPartitions, TopicPartition};
use crate::wire::messages::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse,
    AddPartitionsToTxnResult, AddPartitionsToTxnTopicResult, AddPartitionsToTxnTransaction,
};
use crate::wire::{ErrorCode, Str};

/// From this version on clients know `PRODUCER_FENCED`.
const PRODUCER_FENCED: i16 = 2;

/// From this version on a request is about several transactions; brokers send it for clients of
/// transactions v2.
const BATCHED: i16 = 4;

pub(crate) async fn handle(
    core: &Arc<Core>,
    cx: &Context,
    request: AddPartitionsToTxnRequest,
) -> AddPartitionsToTxnResponse {
    if cx.version < BATCHED {
        let transaction = AddPartitionsToTxnTransaction {
            transactional_id: request.v3_and_below_transactional_id,
            producer_id: request.v3_and_below_producer_id,
            producer_epoch: request.v3_and_below_producer_epoch,
            topics: request.v3_and_below_topics,
            ..AddPartitionsToTxnTransaction::default()
        };
        let codes = add(core, cx, &transaction).await;
        return AddPartitionsToTxnResponse {
            results_by_topic_v3_and_below: by_topic(codes),
            ..AddPartitionsToTxnResponse::default()
        };
    }
    let mut results = Vec::with_capacity(request.transactions.len());
    for transaction in request.transactions {
        let codes = add(core, cx, &transaction).await;
        results.push(AddPartitionsToTxnResult {
            transactional_id: transaction.transactional_id,
            topic_results: by_topic(codes),
            ..AddPartitionsToTxnResult::default()
        });
    }
    AddPartitionsToTxnResponse {
        results_by_transaction: results,
        ..AddPartitionsToTxnResponse::default()
    }
}

async fn add(
    core: &Arc<Core>,
    cx: &Context,
    transaction: &AddPartitionsToTxnTransaction,
) -> BTreeMap<TopicPartition, ErrorCode> {
    let image = core.image();
    let mut codes = BTreeMap::new();
    for topic in &transaction.topics {
        let name = topic.name.detach();
        let known = image.topic(&name).map_or(0, |t| t.partitions.len());
        for partition in &topic.partitions {
            let code = match usize::try_from(*partition) {
                Ok(index) if index < known => ErrorCode::None,
                _ => ErrorCode::UnknownTopicOrPartition,
            };
            codes.insert((name.clone(), *partition), code);
        }
    }
    if codes.values().any(|code| code.is_error()) {
        // All or none.
        for code in codes.values_mut().filter(|code| code.is_none()) {
            *code = ErrorCode::OperationNotAttempted;
        }
        return codes;
    }
    let asked = AddPartitions {
        transactional_id: transaction.transactional_id.detach(),
        producer_id: transaction.producer_id,
        producer_epoch: transaction.producer_epoch,
        partitions: codes.into_keys().collect(),
        version: if cx.version < BATCHED { 0 } else { 2 },
    };
    if transaction.verify_only {
        return core.transactions.verify(core, &asked);
    }
    let partitions = asked.partitions.clone();
    let code = core.transactions.add_partitions(core, asked).await;
    let code = super::fenced(code, cx.version >= PRODUCER_FENCED);
    partitions.into_iter().map(|at| (at, code)).collect()
}

fn by_topic(codes: BTreeMap<TopicPartition, ErrorCode>) -> Vec<AddPartitionsToTxnTopicResult> {
    let mut topics: BTreeMap<Str, Vec<AddPartitionsToTxnPartitionResult>> = BTreeMap::new();
    for ((topic, partition_index), code) in codes {
        topics
            .entry(topic)
            .or_default()
            .push(AddPartitionsToTxnPartitionResult {
                partition_index,
                partition_error_code: code.code(),
                ..AddPartitionsToTxnPartitionResult::default()
            });
    }
    topics
        .into_iter()
        .map(
            |(name, results_by_partition)| AddPartitionsToTxnTopicResult {
                name,
                results_by_partition,
                ..AddPartitionsToTxnTopicResult::default()
            },
        )
        .collect()
}
