//! The requests of a transaction, and what their errors mean.

use std::collections::BTreeMap;

use super::super::partition::Identity;
use super::state::Severity;
use crate::client::{ClientError, GroupMetadata, OffsetAndMetadata, TopicPartition};
use crate::wire::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse,
    AddPartitionsToTxnTopic, EndTxnRequest, InitProducerIdRequest, TxnOffsetCommitRequest,
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic, TxnOffsetCommitResponse,
};
use crate::wire::{ErrorCode, Str};

/// What a coordinator's refusal means for the transaction; `None`: try again.
pub(super) fn severity(error: &ClientError, otherwise: Severity) -> Option<Severity> {
    if error.is_retriable() {
        return None;
    }
    let Some(code) = error.code() else {
        return Some(Severity::Fatal);
    };
    Some(match code {
        ErrorCode::InvalidProducerEpoch | ErrorCode::ProducerFenced => Severity::Fenced,
        ErrorCode::TransactionalIdAuthorizationFailed
        | ErrorCode::ClusterAuthorizationFailed
        | ErrorCode::InvalidTxnState
        | ErrorCode::UnsupportedForMessageFormat => Severity::Fatal,
        ErrorCode::TransactionAbortable
        | ErrorCode::UnknownProducerId
        | ErrorCode::InvalidProducerIdMapping
        | ErrorCode::TopicAuthorizationFailed
        | ErrorCode::GroupAuthorizationFailed
        | ErrorCode::OperationNotAttempted
        | ErrorCode::FencedInstanceId
        | ErrorCode::UnknownMemberId
        | ErrorCode::IllegalGeneration
        | ErrorCode::FencedMemberEpoch
        | ErrorCode::StaleMemberEpoch => Severity::Abortable,
        _ => otherwise,
    })
}

/// What a batch that failed for good means for its transaction. A broker that refuses an
/// old epoch does not say who has bumped it: the abort that follows finds out.
pub(super) fn severity_of_batch(error: &ClientError) -> Severity {
    match error {
        ClientError::Unsupported { .. } => Severity::Fatal,
        _ => match error.code() {
            Some(ErrorCode::ProducerFenced) => Severity::Fenced,
            Some(
                ErrorCode::TransactionalIdAuthorizationFailed
                | ErrorCode::ClusterAuthorizationFailed,
            ) => Severity::Fatal,
            _ => Severity::Abortable,
        },
    }
}

pub(super) fn init_producer_id(
    transactional_id: &str,
    timeout_ms: i32,
    known: Option<Identity>,
) -> InitProducerIdRequest {
    InitProducerIdRequest {
        transactional_id: Some(Str::from(transactional_id)),
        transaction_timeout_ms: timeout_ms,
        producer_id: known.map_or(-1, |i| i.id),
        producer_epoch: known.map_or(-1, |i| i.epoch),
        ..InitProducerIdRequest::default()
    }
}

pub(super) fn add_partitions(
    transactional_id: &str,
    identity: Identity,
    partitions: &[TopicPartition],
) -> AddPartitionsToTxnRequest {
    AddPartitionsToTxnRequest {
        v3_and_below_transactional_id: Str::from(transactional_id),
        v3_and_below_producer_id: identity.id,
        v3_and_below_producer_epoch: identity.epoch,
        v3_and_below_topics: partitions
            .chunk_by(|a, b| a.topic == b.topic)
            .filter_map(|chunk| {
                Some(AddPartitionsToTxnTopic {
                    name: Str::from(&*chunk.first()?.topic),
                    partitions: chunk.iter().map(|p| p.partition).collect(),
                    ..AddPartitionsToTxnTopic::default()
                })
            })
            .collect(),
        ..AddPartitionsToTxnRequest::default()
    }
}

/// The worst error of an answer: one that cannot be retried before one that can.
pub(super) fn added(
    transactional_id: &str,
    response: &AddPartitionsToTxnResponse,
) -> Result<(), ClientError> {
    let codes = response.results_by_topic_v3_and_below.iter().flat_map(|t| {
        t.results_by_partition.iter().map(|p| {
            (
                ErrorCode::from(p.partition_error_code),
                format!("{}-{}", t.name, p.partition_index),
            )
        })
    });
    let worst = codes
        .filter(|(code, _)| code.is_error())
        // Not attempted says nothing of the cause.
        .max_by_key(|(code, _)| {
            (
                !code.is_retriable(),
                *code != ErrorCode::OperationNotAttempted,
            )
        });
    match worst {
        None => Ok(()),
        Some((code, partition)) => Err(ClientError::broker(
            code,
            format!("add {partition} to the transaction of {transactional_id}"),
        )),
    }
}

pub(super) fn add_offsets(
    transactional_id: &str,
    identity: Identity,
    group_id: &str,
) -> AddOffsetsToTxnRequest {
    AddOffsetsToTxnRequest {
        transactional_id: Str::from(transactional_id),
        producer_id: identity.id,
        producer_epoch: identity.epoch,
        group_id: Str::from(group_id),
        ..AddOffsetsToTxnRequest::default()
    }
}

pub(super) fn offset_commit(
    transactional_id: &str,
    identity: Identity,
    offsets: &BTreeMap<TopicPartition, OffsetAndMetadata>,
    group: &GroupMetadata,
) -> TxnOffsetCommitRequest {
    let offsets: Vec<(&TopicPartition, &OffsetAndMetadata)> = offsets.iter().collect();
    TxnOffsetCommitRequest {
        transactional_id: Str::from(transactional_id),
        group_id: Str::from(&group.group_id),
        producer_id: identity.id,
        producer_epoch: identity.epoch,
        generation_id: group.generation_id,
        member_id: Str::from(&group.member_id),
        group_instance_id: group.group_instance_id.as_ref().map(Str::from),
        topics: offsets
            .chunk_by(|a, b| a.0.topic == b.0.topic)
            .filter_map(|chunk| {
                Some(TxnOffsetCommitRequestTopic {
                    name: Str::from(&*chunk.first()?.0.topic),
                    partitions: chunk
                        .iter()
                        .map(|(partition, offset)| TxnOffsetCommitRequestPartition {
                            partition_index: partition.partition,
                            committed_offset: offset.offset,
                            committed_leader_epoch: offset.leader_epoch.unwrap_or(-1),
                            committed_metadata: Some(Str::from(&offset.metadata)),
                            ..TxnOffsetCommitRequestPartition::default()
                        })
                        .collect(),
                    ..TxnOffsetCommitRequestTopic::default()
                })
            })
            .collect(),
        ..TxnOffsetCommitRequest::default()
    }
}

/// The worst error of an answer: one that cannot be retried before one that can.
pub(super) fn offsets_committed(
    group_id: &str,
    response: &TxnOffsetCommitResponse,
) -> Result<(), ClientError> {
    let codes = response.topics.iter().flat_map(|t| {
        t.partitions.iter().map(|p| {
            (
                ErrorCode::from(p.error_code),
                format!("{}-{}", t.name, p.partition_index),
            )
        })
    });
    let worst = codes
        .filter(|(code, _)| code.is_error())
        .max_by_key(|(code, _)| !code.is_retriable());
    match worst {
        None => Ok(()),
        Some((code, partition)) => Err(ClientError::broker(
            code,
            format!("commit the offset of {partition} for group {group_id} in a transaction"),
        )),
    }
}

pub(super) fn end(transactional_id: &str, identity: Identity, commit: bool) -> EndTxnRequest {
    EndTxnRequest {
        transactional_id: Str::from(transactional_id),
        producer_id: identity.id,
        producer_epoch: identity.epoch,
        committed: commit,
        ..EndTxnRequest::default()
    }
}
