//! ListOffsets: the start, the end, or the offset at a timestamp, as far as the asker may see.

use std::collections::HashSet;
use std::sync::Arc;

use crate::broker::codes;
use crate::broker::core::{Context, Core};
use crate::broker::partition::Partition;
use crate::broker::replicas::Registry;
use crate::storage::{FetchIsolation, TimestampOffset};
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
const EARLIEST_PENDING_UPLOAD: i64 = -6;

/// The replica id of a client; any other is a replica, or a tool that asks for the whole log.
const CONSUMER: i32 = -1;

/// From this version on a client knows `OFFSET_NOT_AVAILABLE`.
const KNOWS_NOT_AVAILABLE: i16 = 5;

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
        return answer(&core.replicas.registry(), version, request);
    }
    let registry = core.replicas.registry();
    // A lookup by time reads the log.
    tokio::task::spawn_blocking(move || answer(&registry, version, request))
        .await
        .unwrap_or_else(|e| {
            tracing::error!(error = %e, "a lookup of offsets failed");
            ListOffsetsResponse::default()
        })
}

fn answer(registry: &Registry, version: i16, request: ListOffsetsRequest) -> ListOffsetsResponse {
    let isolation = match (request.replica_id, request.isolation_level) {
        (CONSUMER, 1) => FetchIsolation::TxnCommitted,
        (CONSUMER, _) => FetchIsolation::HighWatermark,
        _ => FetchIsolation::LogEnd,
    };
    let twice = asked_twice(&request);
    let topics = request
        .topics
        .into_iter()
        .map(|topic| {
            let partitions = topic
                .partitions
                .iter()
                .map(|asked| {
                    let found = if twice.contains(&(topic.name.to_string(), asked.partition_index))
                    {
                        Err(ErrorCode::InvalidRequest)
                    } else if !is_supported(asked.timestamp, version) {
                        Err(ErrorCode::UnsupportedVersion)
                    } else {
                        registry
                            .partition(&topic.name, asked.partition_index)
                            .and_then(|partition| find(&partition, asked, isolation))
                    };
                    respond(asked, found, version)
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

/// The partitions that a request names more than once: no order between the answers would be right.
fn asked_twice(request: &ListOffsetsRequest) -> HashSet<(String, i32)> {
    let mut seen = HashSet::new();
    let mut twice = HashSet::new();
    for topic in &request.topics {
        for asked in &topic.partitions {
            if !seen.insert((&*topic.name, asked.partition_index)) {
                twice.insert((topic.name.to_string(), asked.partition_index));
            }
        }
    }
    twice
}

/// Whether this version of the request knows what it asks for.
fn is_supported(timestamp: i64, version: i16) -> bool {
    let since = match timestamp {
        LATEST | EARLIEST => 1,
        MAX_TIMESTAMP => 7,
        EARLIEST_LOCAL => 8,
        LATEST_TIERED => 9,
        EARLIEST_PENDING_UPLOAD => 11,
        timestamp => return timestamp >= 0,
    };
    version >= since
}

fn respond(
    asked: &ListOffsetsPartition,
    found: Result<TimestampOffset, ErrorCode>,
    version: i16,
) -> ListOffsetsPartitionResponse {
    let answer = ListOffsetsPartitionResponse {
        partition_index: asked.partition_index,
        ..ListOffsetsPartitionResponse::default()
    };
    match found {
        Ok(at) => ListOffsetsPartitionResponse {
            timestamp: at.timestamp,
            offset: at.offset,
            leader_epoch: if version >= 4 { at.leader_epoch } else { -1 },
            ..answer
        },
        Err(ErrorCode::OffsetNotAvailable) if version < KNOWS_NOT_AVAILABLE => {
            ListOffsetsPartitionResponse {
                error_code: ErrorCode::LeaderNotAvailable.code(),
                ..answer
            }
        }
        Err(code) => ListOffsetsPartitionResponse {
            error_code: code.code(),
            ..answer
        },
    }
}

fn find(
    partition: &Partition,
    asked: &ListOffsetsPartition,
    isolation: FetchIsolation,
) -> Result<TimestampOffset, ErrorCode> {
    partition.check_epoch(asked.current_leader_epoch)?;
    let position = partition.log.position();
    let at = |offset: i64, leader_epoch: i32| TimestampOffset {
        timestamp: -1,
        offset,
        leader_epoch,
    };
    // After an election what lies below the high watermark may be less than what was seen before.
    let lags = isolation != FetchIsolation::LogEnd
        && partition.epoch_start_offset() > position.high_watermark;
    let looked_up = match asked.timestamp {
        LATEST if lags => return Err(ErrorCode::OffsetNotAvailable),
        LATEST => return Ok(at(position.end(isolation), partition.leader_epoch())),
        EARLIEST | EARLIEST_LOCAL => {
            let epoch = partition.epoch_of_start(&position);
            return Ok(at(position.log_start_offset, epoch));
        }
        // Nothing is tiered.
        LATEST_TIERED | EARLIEST_PENDING_UPLOAD => return Ok(at(-1, -1)),
        MAX_TIMESTAMP => partition.log.max_timestamp_within(isolation),
        timestamp => partition
            .log
            .offset_for_timestamp_within(timestamp, isolation),
    };
    match looked_up.map_err(|e| codes::storage(&e))? {
        Some(found) => Ok(found),
        None if lags => Err(ErrorCode::OffsetNotAvailable),
        None => Ok(at(-1, -1)),
    }
}
