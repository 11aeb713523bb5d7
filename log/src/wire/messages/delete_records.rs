//! DeleteRecords: request and response.

use crate::wire::Str;
use crate::wire::declare::messages;

messages! {
    /// Deletes the records below an offset.
    request DeleteRecordsRequest(DeleteRecords) {
        topics: Vec<DeleteRecordsTopic>;
        timeout_ms: i32;
    }

    /// What to delete in one topic.
    struct DeleteRecordsTopic {
        name: Str;
        partitions: Vec<DeleteRecordsPartition>;
    }

    /// The offset to delete up to, in one partition; -1 is the high watermark.
    struct DeleteRecordsPartition {
        partition_index: i32;
        offset: i64;
    }

    /// The answer to a [`DeleteRecordsRequest`].
    response DeleteRecordsResponse(DeleteRecords) {
        throttle_time_ms: i32;
        topics: Vec<DeleteRecordsTopicResult>;
    }

    /// The answer for one topic.
    struct DeleteRecordsTopicResult {
        name: Str;
        partitions: Vec<DeleteRecordsPartitionResult>;
    }

    /// The answer for one partition.
    struct DeleteRecordsPartitionResult {
        partition_index: i32;
        low_watermark: i64;
        error_code: i16;
    }
}
