//! ElectLeaders: request and response.

use crate::wire::Str;
use crate::wire::declare::messages;

messages! {
    /// Has the controller elect leaders; null partitions stand for all.
    request ElectLeadersRequest(ElectLeaders) {
        election_type: i8 [1..];
        topic_partitions: Option<Vec<ElectLeadersTopicPartitions>>;
        timeout_ms: i32 = 60_000;
    }

    /// The partitions of one topic.
    struct ElectLeadersTopicPartitions {
        topic: Str;
        partitions: Vec<i32>;
    }

    /// The answer to an [`ElectLeadersRequest`].
    response ElectLeadersResponse(ElectLeaders) {
        throttle_time_ms: i32;
        error_code: i16 [1..];
        replica_election_results: Vec<ReplicaElectionResult>;
    }

    /// The answer for one topic.
    struct ReplicaElectionResult {
        topic: Str;
        partition_result: Vec<ElectLeadersPartitionResult>;
    }

    /// The answer for one partition.
    struct ElectLeadersPartitionResult {
        partition_id: i32;
        error_code: i16;
        error_message: Option<Str>;
    }
}
