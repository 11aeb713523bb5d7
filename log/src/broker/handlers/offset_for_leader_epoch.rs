//! OffsetForLeaderEpoch: where leader epochs end, for a client that checks whether the log it read
//! is still the one there is.

use std::sync::Arc;

use crate::broker::core::Core;
use crate::broker::replicas::Registry;
use crate::storage::EpochEndOffset;
use crate::wire::messages::{
    LeaderEpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
    OffsetForLeaderPartition, OffsetForLeaderTopicResult,
};
use crate::wire::{ErrorCode, Str};

pub(crate) fn handle(
    core: &Arc<Core>,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let registry = core.replicas.registry();
    let topics = request
        .topics
        .into_iter()
        .map(|topic| {
            let partitions = topic
                .partitions
                .iter()
                .map(|asked| {
                    let (code, end) = match end_offset(&registry, &topic.topic, asked) {
                        Ok(end) => (ErrorCode::None, end),
                        Err(code) => (code, EpochEndOffset::UNKNOWN),
                    };
                    LeaderEpochEndOffset {
                        error_code: code.code(),
                        partition: asked.partition,
                        leader_epoch: end.leader_epoch,
                        end_offset: end.end_offset,
                        ..LeaderEpochEndOffset::default()
                    }
                })
                .collect();
            OffsetForLeaderTopicResult {
                topic: topic.topic,
                partitions,
                ..OffsetForLeaderTopicResult::default()
            }
        })
        .collect();
    OffsetForLeaderEpochResponse {
        topics,
        ..OffsetForLeaderEpochResponse::default()
    }
}

fn end_offset(
    registry: &Registry,
    topic: &Str,
    asked: &OffsetForLeaderPartition,
) -> Result<EpochEndOffset, ErrorCode> {
    let partition = registry.partition(topic, asked.partition)?;
    partition.check_epoch(asked.current_leader_epoch)?;
    Ok(partition.end_offset_for_epoch(asked.leader_epoch))
}
