//! OffsetForLeaderEpoch: request and response.

use crate::wire::Str;
use crate::wire::declare::messages;

messages! {
    /// Asks where leader epochs end.
    request OffsetForLeaderEpochRequest(OffsetForLeaderEpoch) {
        replica_id: i32 [3..] = -2, ignorable;
        topics: Vec<OffsetForLeaderTopic>;
    }

    /// The epochs asked for in one topic.
    struct OffsetForLeaderTopic {
        topic: Str;
        partitions: Vec<OffsetForLeaderPartition>;
    }

    /// The epoch asked for in one partition.
    struct OffsetForLeaderPartition {
        partition: i32;
        current_leader_epoch: i32 = -1, ignorable;
        leader_epoch: i32;
    }

    /// The answer to an [`OffsetForLeaderEpochRequest`].
    response OffsetForLeaderEpochResponse(OffsetForLeaderEpoch) {
        throttle_time_ms: i32, ignorable;
        topics: Vec<OffsetForLeaderTopicResult>;
    }

    /// Where the epochs end in one topic.
    struct OffsetForLeaderTopicResult {
        topic: Str;
        partitions: Vec<LeaderEpochEndOffset>;
    }

    /// The largest epoch up to the one asked for that the partition's log has, and where it ends.
    struct LeaderEpochEndOffset {
        error_code: i16;
        partition: i32;
        leader_epoch: i32 = -1, ignorable;
        end_offset: i64 = -1;
    }
}
