//! ListPartitionReassignments: request and response.

use crate::wire::Str;
use crate::wire::declare::messages;

messages! {
    /// Asks for the moves under way; null topics stand for all.
    request ListPartitionReassignmentsRequest(ListPartitionReassignments) {
        timeout_ms: i32 = 60_000;
        topics: Option<Vec<ListPartitionReassignmentsTopics>> = None;
    }

    /// The partitions of one topic asked for.
    struct ListPartitionReassignmentsTopics {
        name: Str;
        partition_indexes: Vec<i32>;
    }

    /// The answer to a [`ListPartitionReassignmentsRequest`].
    response ListPartitionReassignmentsResponse(ListPartitionReassignments) {
        throttle_time_ms: i32;
        error_code: i16;
        error_message: Option<Str>;
        topics: Vec<OngoingTopicReassignment>;
    }

    /// The moves of one topic.
    struct OngoingTopicReassignment {
        name: Str;
        partitions: Vec<OngoingPartitionReassignment>;
    }

    /// The move of one partition.
    struct OngoingPartitionReassignment {
        partition_index: i32;
        replicas: Vec<i32>;
        adding_replicas: Vec<i32>;
        removing_replicas: Vec<i32>;
    }
}
