//! ListOffsets: the start, the end, or the offset at a timestamp.

use std::sync::Arc;

use crate::broker::codes;
use crate::broker::core::{Context, Core};
use crate::broker::partition::Partition;
use crate::storage::TimestampOffset;
use crate::wire::ErrorCode;
use crate::wire::messages::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse,
    ListOffsetsTopicResponse,
};

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;

pub(crate) async fn handle(
    core: &Arc<Core>,
    cx: &Context,
    request: ListOffsetsRequest,
) -> ListOffsetsResponse {
    let version = cx.version;
    let looks_up = |timestamp: i64| timestamp >= 0 || timestamp == MAX_TIMESTAMP;
    let blocks = request
        .topics
        .iter()
        .flat_map(|t| &t.partitions)
        .any(|p| looks_up(p.timestamp));
    if !blocks {
        return answer(core, version, request);
    }
    let shared = Arc::clone(core);
    // A lookup by time reads the log.
    tokio::task::spawn_blocking(move || answer(&shared, version, request))
        .await
        .unwrap_or_else(|e| {
            tracing::error!(error = %e, "a lookup of offsets failed");
            ListOffsetsResponse::default()
        })
}

fn answer(core: &Core, version: i16, request: ListOffsetsRequest) -> ListOffsetsResponse {
    let registry = core.replicas.registry();
    let committed = request.isolation_level == 1;
    let topics = request
        .topics
        .into_iter()
        .map(|topic| {
            let partitions = topic
                .partitions
                .iter()
                .map(|asked| {
                    let found = registry
                        .partition(&topic.name, asked.partition_index)
                        .and_then(|partition| find(&partition, asked, committed));
                    let empty = ListOffsetsPartitionResponse {
                        partition_index: asked.partition_index,
                        ..ListOffsetsPartitionResponse::default()
                    };
                    match found {
                        Ok(at) => ListOffsetsPartitionResponse {
                            timestamp: at.timestamp,
                            offset: at.offset,
                            leader_epoch: if version >= 4 { at.leader_epoch } else { -1 },
                            ..empty
                        },
                        Err(code) => ListOffsetsPartitionResponse {
                            error_code: code.code(),
                            ..empty
                        },
                    }
                })
                .collect();
            ListOffsetsTopicResponse {
                name: topic.name,
                partitions,
                ..ListOffsetsTopicResponse::default()
            }
        })
        .collect();
    ListOffsetsResponse {
        topics,
        ..ListOffsetsResponse::default()
    }
}

fn find(
    partition: &Partition,
    asked: &ListOffsetsPartition,
    committed: bool,
) -> Result<TimestampOffset, ErrorCode> {
    partition.check_epoch(asked.current_leader_epoch)?;
    let position = partition.log.position();
    let end = if committed {
        position.last_stable_offset
    } else {
        position.high_watermark
    };
    let at = |offset: i64, leader_epoch: i32| TimestampOffset {
        timestamp: -1,
        offset,
        leader_epoch,
    };
    let start = || {
        let epoch = partition.log.epoch_for_offset(position.log_start_offset);
        at(position.log_start_offset, epoch.unwrap_or(-1))
    };
    let looked_up = match asked.timestamp {
        LATEST => return Ok(at(end, partition.leader_epoch())),
        EARLIEST | EARLIEST_LOCAL => return Ok(start()),
        LATEST_TIERED => return Ok(at(-1, -1)),
        MAX_TIMESTAMP => partition.log.max_timestamp(),
        timestamp if timestamp >= 0 => partition.log.offset_for_timestamp(timestamp),
        _ => return Err(ErrorCode::UnsupportedVersion),
    };
    let found = looked_up.map_err(|e| codes::storage(&e))?;
    Ok(found.filter(|f| f.offset < end).unwrap_or(at(-1, -1)))
}
