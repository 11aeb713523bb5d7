//! AlterPartitionReassignments: request and response.

use crate::wire::Str;
use crate::wire::declare::messages;

messages! {
    /// Moves partitions to other replicas, or cancels a move under way.
    request AlterPartitionReassignmentsRequest(AlterPartitionReassignments) {
        timeout_ms: i32 = 60_000;
        allow_replication_factor_change: bool [1..] = true;
        topics: Vec<ReassignableTopic>;
    }

    /// The moves of one topic.
    struct ReassignableTopic {
        name: Str;
        partitions: Vec<ReassignablePartition>;
    }

    /// The new replicas of one partition; null cancels.
    struct ReassignablePartition {
        partition_index: i32;
        replicas: Option<Vec<i32>> = None;
    }

    /// The answer to an [`AlterPartitionReassignmentsRequest`].
    response AlterPartitionReassignmentsResponse(AlterPartitionReassignments) {
        throttle_time_ms: i32;
        allow_replication_factor_change: bool [1..] = true, ignorable;
        error_code: i16;
        error_message: Option<Str>;
        responses: Vec<ReassignableTopicResponse>;
    }

    /// The answer for one topic.
    struct ReassignableTopicResponse {
        name: Str;
        partitions: Vec<ReassignablePartitionResponse>;
    }

    /// The answer for one partition.
    struct ReassignablePartitionResponse {
        partition_index: i32;
        error_code: i16;
        error_message: Option<Str>;
    }
}
