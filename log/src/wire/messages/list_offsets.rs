//! ListOffsets: request and response.

use crate::wire::Str;
use crate::wire::declare::messages;

messages! {
    /// Looks offsets up by timestamp; -1 is the end of the log, -2 its start.
    request ListOffsetsRequest(ListOffsets) {
        replica_id: i32;
        isolation_level: i8 [2..];
        topics: Vec<ListOffsetsTopic>;
        timeout_ms: i32 [10..], ignorable;
    }

    /// The lookups in one topic.
    struct ListOffsetsTopic {
        name: Str;
        partitions: Vec<ListOffsetsPartition>;
    }

    /// The lookup in one partition.
    struct ListOffsetsPartition {
        partition_index: i32;
        current_leader_epoch: i32 [4..] = -1, ignorable;
        timestamp: i64;
    }

    /// The answer to a [`ListOffsetsRequest`].
    response ListOffsetsResponse(ListOffsets) {
        throttle_time_ms: i32 [2..], ignorable;
        topics: Vec<ListOffsetsTopicResponse>;
    }

    /// The offsets found in one topic.
    struct ListOffsetsTopicResponse {
        name: Str;
        partitions: Vec<ListOffsetsPartitionResponse>;
    }

    /// The offset found in one partition.
    struct ListOffsetsPartitionResponse {
        partition_index: i32;
        error_code: i16;
        timestamp: i64 = -1;
        offset: i64 = -1;
        leader_epoch: i32 [4..] = -1, ignorable;
    }
}
