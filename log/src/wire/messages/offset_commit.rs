//! OffsetCommit: request and response.

use uuid::Uuid;

use crate::wire::Str;
use crate::wire::declare::messages;

messages! {
    /// Commits a group's offsets.
    request OffsetCommitRequest(OffsetCommit) {
        group_id: Str;
        generation_id_or_member_epoch: i32 = -1;
        member_id: Str;
        group_instance_id: Option<Str> [7..] = None;
        retention_time_ms: i64 [..=4] = -1, ignorable;
        topics: Vec<OffsetCommitRequestTopic>;
    }

    /// The offsets of one topic.
    struct OffsetCommitRequestTopic {
        name: Str [..=9], ignorable;
        topic_id: Uuid [10..], ignorable;
        partitions: Vec<OffsetCommitRequestPartition>;
    }

    /// The offset of one partition.
    struct OffsetCommitRequestPartition {
        partition_index: i32;
        committed_offset: i64;
        committed_leader_epoch: i32 [6..] = -1, ignorable;
        committed_metadata: Option<Str>;
    }

    /// The answer to an [`OffsetCommitRequest`].
    response OffsetCommitResponse(OffsetCommit) {
        throttle_time_ms: i32 [3..], ignorable;
        topics: Vec<OffsetCommitResponseTopic>;
    }

    /// The answer for one topic.
    struct OffsetCommitResponseTopic {
        name: Str [..=9], ignorable;
        topic_id: Uuid [10..], ignorable;
        partitions: Vec<OffsetCommitResponsePartition>;
    }

    /// The answer for one partition.
    struct OffsetCommitResponsePartition {
        partition_index: i32;
        error_code: i16;
    }
}
