//! DeleteRecords: moves the log start offset up, unless the topic is only compacted.

use std::sync::Arc;

use crate::broker::codes;
use crate::broker::core::Core;
use crate::broker::topics;
use crate::wire::ErrorCode;
use crate::wire::messages::{
    DeleteRecordsPartitionResult, DeleteRecordsRequest, DeleteRecordsResponse,
    DeleteRecordsTopicResult,
};

/// Stands for the high watermark.
const HIGH_WATERMARK: i64 = -1;

pub(crate) async fn handle(
    core: &Arc<Core>,
    request: DeleteRecordsRequest,
) -> DeleteRecordsResponse {
    let shared = Arc::clone(core);
    // Segments may be deleted.
    let done = tokio::task::spawn_blocking(move || {
        request
            .topics
            .into_iter()
            .map(|topic| DeleteRecordsTopicResult {
                partitions: topic
                    .partitions
                    .iter()
                    .map(|p| {
                        let deleted = delete(&shared, &topic.name, p.partition_index, p.offset);
                        DeleteRecordsPartitionResult {
                            partition_index: p.partition_index,
                            low_watermark: deleted.unwrap_or(-1),
                            error_code: deleted.err().unwrap_or(ErrorCode::None).code(),
                            ..DeleteRecordsPartitionResult::default()
                        }
                    })
                    .collect(),
                name: topic.name,
                ..DeleteRecordsTopicResult::default()
            })
            .collect()
    });
    let topics = done.await.unwrap_or_else(|e| {
        tracing::error!(error = %e, "records could not be deleted");
        vec![]
    });
    DeleteRecordsResponse {
        topics,
        ..DeleteRecordsResponse::default()
    }
}

fn delete(core: &Core, topic: &str, index: i32, offset: i64) -> Result<i64, ErrorCode> {
    if topics::is_internal(topic) {
        return Err(ErrorCode::InvalidTopicException);
    }
    let partition = core.replicas.registry().partition(topic, index)?;
    let config = partition.log.config();
    if config.cleanup_compact && !config.cleanup_delete {
        return Err(ErrorCode::PolicyViolation);
    }
    let position = partition.log.position();
    let before = if offset == HIGH_WATERMARK {
        position.high_watermark
    } else {
        offset
    };
    if before < 0 || before > position.high_watermark {
        return Err(ErrorCode::OffsetOutOfRange);
    }
    if before <= position.log_start_offset {
        return Ok(position.log_start_offset);
    }
    partition.log.delete_records(before).map_err(|e| {
        tracing::error!(topic, partition = index, error = %e, "records could not be deleted");
        codes::storage(&e)
    })
}
